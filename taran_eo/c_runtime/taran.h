/* The integer runtime of taran_eo: C99, no allocation, no floating point in the portable part.
 *
 * A program is a list of operations over tensors, written by taran_eo.c_runtime.writer. A tile flows through it in
 * stripes of rows: every tensor is a ring of the few rows that are still needed, so the working set stays in cache
 * whatever the height of the tile. Numbers lie pixel by pixel, all channels of a pixel together.
 *
 *     taran_layout(&program, rows, cols, &wanted, stripe, rings)   how many bytes the arena needs; the program reads
 *                                                                  every tensor that it makes
 *     taran_prepare(&program, rings, arena)                        once for each size of tile, and window of it
 *     taran_compute(&program, rings, arena, ...)                   for each tile
 *
 * Of every tensor only those rows and columns are made that the wanted logits depend on.
 */
#ifndef TARAN_H
#define TARAN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TARAN_LOAD = 0, TARAN_CONV = 1, TARAN_POOL = 2, TARAN_UPSAMPLE = 3 };
enum {
    TARAN_ALIGNMENT = 64, /* of rows in the arena, in bytes */
    TARAN_SEGMENTS = 64,  /* that a convolution may have in a phase */
    TARAN_OUTPUTS = 16,   /* channels that are made at a time */
    TARAN_OVERREAD = 64,  /* pixels behind the last row that kernels may read, and not use */
    TARAN_PIECE = 192     /* columns that are made at a time: what they read stays in the smallest cache */
};

/* A tensor of (rows >> level) x (cols >> level) pixels. */
typedef struct {
    int32_t channels; /* as they lie in memory; a pixel takes a multiple of four bytes */
    int32_t level;
    int32_t lane;   /* bytes of a number: 1, unsigned; or 2, signed */
    int32_t zero;   /* what stands for 0: 0; or 128 in bytes that hold signed numbers */
    int32_t margin; /* pixels of 0 at either end of a row */
} taran_tensor;

/* What a convolution reads of one row: neighbouring numbers, in groups of four bytes. */
typedef struct {
    int32_t tensor;
    int32_t folded;  /* 1: the tensor has half the rows and columns; its upsampling is in the weights */
    int32_t row;     /* the row that is read, less that of the output (or half of it) */
    int32_t col;     /* the first pixel that is read, less that of the output (or half of it) */
    int32_t groups;
    int32_t weights; /* where its weights begin, in bytes: [groups][padded][4 bytes] */
} taran_segment;

typedef struct {
    int32_t kind;
    int32_t source; /* -1: the pixels of the tile; of a convolution, see its segments */
    int32_t target; /* -1: the logits */
    /* The rest is of convolutions. */
    int32_t channels;
    int32_t padded;   /* channels, up to a multiple of TARAN_OUTPUTS */
    int32_t phases;   /* 1; or 4, one for each (row & 1) * 2 + (col & 1) of the output */
    int32_t first[4]; /* segments of each phase */
    int32_t count[4];
    int32_t lane;      /* bytes of a factor */
    int32_t pairs_fit; /* bytes read are below 128, and two products always fit int16 */
    int32_t exact;     /* no accumulator reaches 2**(24 + exact); -1: multipliers are not all 1, or a shift is smaller
                          than exact + 2 */
    int32_t mantissa;  /* bits of the grid of the target; -1: uniform */
    int32_t low, high; /* range of the target */
    const int8_t *weights; /* as kernels read them; NULL: they are packed in codes */
    const int32_t *bias;   /* [padded], for bytes as they are stored */
    const int32_t *multipliers; /* [padded] */
    const int32_t *shifts;      /* [padded] */
    const uint8_t *codes;       /* one after the other, from the lowest bit of a byte on */
    const int16_t *values;      /* that codes stand for; NULL: themselves, in two's complement */
    int32_t bits;               /* of a code, at most 16 */
    int32_t numbers;            /* so many weights */
    int32_t binades;            /* that the grid of the target has above its finest step */
} taran_op;

typedef struct {
    int32_t tensors, ops, segments;
    int32_t level;   /* of the logits */
    int32_t lead;    /* rows of the output, no fewer than between it and what it reads from afar */
    int32_t scratch; /* bytes for the unpacked weights of any one operation */
    const taran_tensor *tensor;
    const taran_op *op;
    const taran_segment *segment;
} taran_program;

/* Some logits of a tile. */
typedef struct {
    int32_t row, col, rows, cols;
} taran_window;

/* Where the rows of a tensor lie, and how far it is: row r is at offset + r % rows * row_bytes. */
typedef struct {
    int64_t offset, row_bytes;
    int32_t rows;         /* that the ring holds */
    int32_t height;       /* of the whole tensor */
    int32_t top;          /* the first row that is made */
    int32_t left, width;  /* the first column that is made, and how many */
    int32_t done, needed; /* the row behind those that are made; behind those that this stripe needs */
} taran_ring;

/* One row of one convolution, for one phase of its columns. */
typedef struct {
    const uint8_t *pixels; /* for the first output */
    const int8_t *weights;
    int64_t step; /* bytes from output to output */
    int32_t groups;
} taran_reads;

typedef struct {
    const taran_op *op;
    int32_t segments;
    int32_t outputs; /* pixels to make */
    uint8_t *target; /* the first of them */
    int64_t step;    /* bytes from one to the next */
    int32_t zero, lane; /* of the target */
    int32_t *logits; /* instead of target */
    int64_t plane;   /* from channel to channel of the logits, in numbers; step is in numbers too */
    taran_reads reads[TARAN_SEGMENTS];
} taran_row;

/* What a kind of processor does in its own way. */
typedef struct {
    const char *name;
    int32_t across; /* 1: weights lie [groups][numbers of a group][channels], not [groups][channels][numbers] */
    void (*convolve)(const taran_row *row);
    void (*largest)(const uint8_t *upper, const uint8_t *lower, uint8_t *target, int32_t outputs, int32_t numbers,
                    int32_t lane);
    int64_t (*peak)(int64_t rounds); /* multiplications that so many rounds of nothing else did */
} taran_kernels;

extern const taran_kernels taran_portable;

/* Does body(context, unit) for all units, in any order, perhaps at the same time; returns when all are done. */
typedef void taran_body(void *context, int32_t unit);
typedef struct {
    void (*run)(void *self, int32_t units, taran_body *body, void *context);
    void *self;
    int32_t threads;
} taran_workers;

typedef struct {
    const uint8_t *pixels;
    int64_t band, row, col; /* bytes from one to the next */
    int32_t bands;
    taran_window wanted; /* as it was laid out */
    int32_t *logits;     /* [channels][wanted.rows][wanted.cols] */
} taran_tile;

/* Fill in the rings of a tile of rows x cols pixels, of whose wanted logits `stripe` rows are made at a time; returns
 * the bytes of the arena. */
int64_t taran_layout(const taran_program *program, int32_t rows, int32_t cols, const taran_window *wanted,
                     int32_t stripe, taran_ring *rings);

/* Write what never changes, the margins, into an arena. It is aligned to two bytes, and for kernels of
 * x86 to TARAN_ALIGNMENT. */
void taran_prepare(const taran_program *program, const taran_ring *rings, uint8_t *arena);

/* Run a tile; workers may be NULL. */
void taran_compute(const taran_program *program, taran_ring *rings, uint8_t *arena, int32_t stripe,
                   const taran_kernels *kernels, const taran_workers *workers, const taran_tile *tile);

/* The requantization of taran_eo.graph.requantize for the channels from `first` on; see there. */
void taran_requantize(const taran_op *op, int32_t first, int32_t count, int32_t *accumulators);

#ifdef __cplusplus
}
#endif

#endif
