/* AMX: 16 pixels times 16 channels, 64 bytes of each, in one instruction. Words, and rows whose parts leave different
 * numbers of groups over, are done with AVX-512, and so is all rounding. */
#include "taran_kernels.h"

#ifdef TARAN_AMX
#define FEATURES "amx-tile,amx-int8,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
#define TARGET __attribute__((target(FEATURES)))
#define INLINE static inline __attribute__((always_inline, target(FEATURES)))
#define NAME(x) amx_##x

#include "x86_512.inc"

enum {
    SIDE = 16,           /* pixels, or channels, of a tile */
    DEPTH = 64,          /* bytes of each that are multiplied at a time */
    GROUPS = DEPTH / 4,
    BLOCK = 2 * SIDE     /* pixels, and channels, of a block: as many as there are tiles for */
};

/* Tiles 0 to 3 hold sums, 4 pixels and 5 their weights; 6 and 7 those of the groups that are left over. */
typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_shapes;

INLINE void amx_set_up(int32_t rest)
{
    amx_shapes shapes = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shapes.rows[tile] = SIDE;
        shapes.row_bytes[tile] = DEPTH;
    }
    if (rest > 0) {
        shapes.row_bytes[6] = (uint16_t)(4 * rest);
        shapes.rows[7] = (uint8_t)rest;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes)); /* all of it; some compilers' intrinsic names the first bytes */
}

/* Groups that are left over, the same of all parts of a row; -1 where they are not. */
static int32_t amx_rest(const taran_row *row)
{
    int32_t rest = 0;
    for (int32_t s = 0; s < row->segments; s++) {
        int32_t left = row->reads[s].groups % GROUPS;
        if (left > 0 && rest > 0 && left != rest)
            return -1;
        rest = left > 0 ? left : rest;
    }
    return rest;
}

/* One step of a block: its pixels, 16 and perhaps 16 more, times 16 channels and perhaps 16 more. */
#define STEP(pixels_tile, weights_tile)                                                       \
    do {                                                                                      \
        _tile_loadd(weights_tile, weights, stride);                                           \
        _tile_loadd(pixels_tile, pixels, step);                                               \
        _tile_dpbusd(0, pixels_tile, weights_tile);                                           \
        if (deep) {                                                                           \
            _tile_loadd(pixels_tile, pixels + SIDE * step, step);                             \
            _tile_dpbusd(2, pixels_tile, weights_tile);                                       \
        }                                                                                     \
        if (wide) {                                                                           \
            _tile_loadd(weights_tile, weights + DEPTH, stride);                               \
            if (deep)                                                                         \
                _tile_dpbusd(3, pixels_tile, weights_tile);                                   \
            _tile_loadd(pixels_tile, pixels, step);                                           \
            _tile_dpbusd(1, pixels_tile, weights_tile);                                       \
        }                                                                                     \
    } while (0)

/* Sums of a block, [pixels][channels]. */
INLINE void amx_tiles(const taran_row *row, int32_t first, int32_t pixel, int32_t *sums, const int deep,
                      const int wide)
{
    const int32_t *bias = row->op->bias + first;
    const int64_t stride = (int64_t)row->op->padded * 4;
    const int64_t line = (wide ? BLOCK : SIDE) * 4;
    _tile_loadd(0, bias, 0);
    if (deep)
        _tile_loadd(2, bias, 0);
    if (wide)
        _tile_loadd(1, bias + SIDE, 0);
    if (deep && wide)
        _tile_loadd(3, bias + SIDE, 0);
    for (int32_t s = 0; s < row->segments; s++) {
        const int64_t step = row->reads[s].step;
        const uint8_t *pixels = row->reads[s].pixels + pixel * step;
        const int8_t *weights = row->reads[s].weights + (int64_t)first * 4;
        int32_t groups = row->reads[s].groups;
        for (; groups >= GROUPS; groups -= GROUPS) {
            STEP(4, 5);
            pixels += DEPTH;
            weights += GROUPS * stride;
        }
        if (groups > 0)
            STEP(6, 7);
    }
    _tile_stored(0, sums, line);
    if (wide)
        _tile_stored(1, sums + SIDE, line);
    if (deep)
        _tile_stored(2, (uint8_t *)sums + SIDE * line, line);
    if (deep && wide)
        _tile_stored(3, (uint8_t *)(sums + SIDE) + SIDE * line, line);
}

/* The sums of a block to where they belong, 16 pixels at a time. */
INLINE void amx_finish(const taran_row *row, int32_t first, int32_t pixel, const int32_t *sums, const int vecs)
{
    for (int32_t p = 0; p < BLOCK && pixel + p < row->outputs; p += SIDE) {
        int32_t outputs = row->outputs - pixel - p < SIDE ? row->outputs - pixel - p : SIDE;
        amx_settle(row, first, pixel + p, (const VEC *)(sums + p * vecs * LANES), outputs, SIDE, vecs);
    }
}

INLINE void amx_tiled(const taran_row *row, int32_t first, const int vecs)
{
    /* In turns, so that a block is multiplied while the sums of the last one are rounded. */
    int32_t sums[2][BLOCK * BLOCK] __attribute__((aligned(64)));
    int turn = 0;
    for (int32_t pixel = 0; pixel < row->outputs; pixel += BLOCK, turn ^= 1) {
        if (row->outputs - pixel > SIDE)
            amx_tiles(row, first, pixel, sums[turn], 1, vecs == 2);
        else
            amx_tiles(row, first, pixel, sums[turn], 0, vecs == 2);
        if (pixel > 0)
            amx_finish(row, first, pixel - BLOCK, sums[turn ^ 1], vecs);
    }
    amx_finish(row, first, (row->outputs - 1) / BLOCK * BLOCK, sums[turn ^ 1], vecs);
}

static TARGET void amx_multiply(const taran_row *row)
{
    const int32_t rest = row->op->lane == 1 ? amx_rest(row) : -1;
    int32_t first = 0;
    if (rest < 0) {
        amx_convolve(row);
        return;
    }
    amx_set_up(rest);
    for (; first + BLOCK <= row->op->padded; first += BLOCK)
        amx_tiled(row, first, 2);
    if (first < row->op->padded)
        amx_tiled(row, first, 1);
    _tile_release();
}

/* Products of tiles that stay where they are. */
static TARGET int64_t amx_tile_peak(int64_t rounds)
{
    amx_set_up(0);
    for (int64_t round = 0; round < rounds; round++) {
        _tile_dpbusd(0, 4, 5);
        _tile_dpbusd(1, 4, 6);
        _tile_dpbusd(2, 7, 5);
        _tile_dpbusd(3, 7, 6);
    }
    _tile_release();
    return rounds * 4 * SIDE * SIDE * DEPTH;
}

const taran_kernels taran_amx = {"amx", 0, amx_multiply, amx_largest, amx_tile_peak};
#endif
