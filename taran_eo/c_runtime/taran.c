/* The portable part: where rows lie, in which order they are made, and kernels in plain integers. */
#include "taran.h"

static int64_t aligned(int64_t bytes)
{
    return (bytes + TARAN_ALIGNMENT - 1) / TARAN_ALIGNMENT * TARAN_ALIGNMENT;
}

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t most(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static int32_t half(int32_t a) /* rounded down, negative numbers too */
{
    return a >= 0 ? a / 2 : -((1 - a) / 2);
}

static int32_t pixel_bytes(const taran_tensor *tensor)
{
    return tensor->channels * tensor->lane;
}

static void fill(uint8_t *bytes, int64_t count, int32_t value)
{
    for (int64_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)value;
}

/* ---- which rows and columns are needed, and when ---- */

enum { DOWN = 0, ACROSS = 1 };

/* Visit each tensor that an operation reads; for its outputs [from, to), rows or columns, it reads [*first, *end). */
static int32_t reads(const taran_program *program, const taran_op *op, int32_t index, int32_t along, int32_t from,
                     int32_t to, int32_t *first, int32_t *end)
{
    const taran_segment *segment;
    int32_t at = 0, count = 1, bytes;
    switch (op->kind) {
    case TARAN_CONV:
        segment = &program->segment[op->first[0] + index];
        at = segment->row;
        if (along == ACROSS) {
            bytes = pixel_bytes(&program->tensor[segment->tensor]);
            at = segment->col;
            count = (4 * segment->groups + bytes - 1) / bytes;
        }
        *first = (segment->folded ? half(from) : from) + at;
        *end = (segment->folded ? half(to - 1) : to - 1) + at + count;
        return segment->tensor;
    case TARAN_POOL:
        *first = 2 * from;
        *end = 2 * to;
        return op->source;
    case TARAN_UPSAMPLE:
        *first = half(from);
        *end = half(to - 1) + 1;
        return op->source;
    default:
        return -1;
    }
}

static int32_t segments_of(const taran_op *op)
{
    int32_t all = 0;
    if (op->kind != TARAN_CONV)
        return op->kind == TARAN_LOAD ? 0 : 1;
    for (int32_t phase = 0; phase < op->phases; phase++)
        all += op->count[phase];
    return all;
}

/* Where each tensor begins, and how wide it is, for the wanted logits. */
static void trim(const taran_program *program, int32_t cols, const taran_window *wanted, taran_ring *rings)
{
    for (int32_t t = 0; t < program->tensors; t++) {
        rings[t].top = rings[t].left = INT32_MAX;
        rings[t].width = 0;
    }
    for (int32_t o = program->ops - 1; o >= 0; o--) {
        const taran_op *op = &program->op[o];
        const taran_ring *target = op->target < 0 ? NULL : &rings[op->target];
        int32_t top = target == NULL ? wanted->row : target->top;
        int32_t left = target == NULL ? wanted->col : target->left;
        int32_t width = target == NULL ? wanted->cols : target->width;
        for (int32_t i = 0; i < segments_of(op); i++) {
            int32_t first = 0, end = 0, right, tensor = reads(program, op, i, DOWN, top, top + 1, &first, &end);
            taran_ring *source = &rings[tensor];
            source->top = least(source->top, most(first, 0));
            reads(program, op, i, ACROSS, left, left + width, &first, &end);
            right = most(source->width == 0 ? 0 : source->left + source->width,
                         least(end, cols >> program->tensor[tensor].level));
            source->left = least(source->left, most(first, 0));
            source->width = right - source->left;
        }
    }
}

/* How many rows of every tensor are needed before the output has those above `rows`; before its first row, too, where
 * the tensors that it reads from afar are filled bit by bit. */
static void need(const taran_program *program, taran_ring *rings, int32_t rows)
{
    for (int32_t t = 0; t < program->tensors; t++)
        rings[t].needed = -program->lead;
    for (int32_t o = program->ops - 1; o >= 0; o--) {
        const taran_op *op = &program->op[o];
        int32_t to = op->target < 0 ? rows : rings[op->target].needed;
        for (int32_t i = 0; i < segments_of(op); i++) {
            int32_t first, end = 0, tensor = reads(program, op, i, DOWN, 0, to, &first, &end);
            rings[tensor].needed = least(most(rings[tensor].needed, end), rings[tensor].height);
        }
    }
    for (int32_t t = 0; t < program->tensors; t++)
        rings[t].needed = most(rings[t].needed, rings[t].done);
}

/* The rows of the output, less the first that is wanted, before which tensors begin to be filled. */
static int32_t begin(const taran_program *program, int32_t stripe)
{
    return -(program->lead + stripe - 1) / stripe * stripe;
}

/* The first row of a tensor that operations still to come will read, when the output has those above `rows`. */
static int32_t oldest(const taran_program *program, const taran_ring *rings, int32_t tensor, int32_t rows)
{
    int32_t low = INT32_MAX;
    for (int32_t o = 0; o < program->ops; o++) {
        const taran_op *op = &program->op[o];
        int32_t from = op->target < 0 ? rows : rings[op->target].done;
        for (int32_t i = 0; i < segments_of(op); i++) {
            int32_t first, end;
            if (reads(program, op, i, DOWN, from, from + 1, &first, &end) == tensor)
                low = least(low, most(first, 0));
        }
    }
    return low;
}

/* One row more for those beyond the tile, which are all 0; and what kernels read behind it, as they make whole blocks of
 * pixels. */
static int64_t ring_bytes(const taran_tensor *tensor, const taran_ring *ring)
{
    return (ring->rows + 1) * ring->row_bytes + aligned((int64_t)TARAN_OVERREAD * pixel_bytes(tensor));
}

int64_t taran_layout(const taran_program *program, int32_t rows, int32_t cols, const taran_window *wanted,
                     int32_t stripe, taran_ring *rings)
{
    int64_t arena = aligned(program->scratch);
    trim(program, cols, wanted, rings);
    for (int32_t t = 0; t < program->tensors; t++) {
        const taran_tensor *tensor = &program->tensor[t];
        rings[t].height = rows >> tensor->level;
        rings[t].row_bytes = aligned((int64_t)(rings[t].width + 2 * tensor->margin) * pixel_bytes(tensor));
        rings[t].done = rings[t].top;
        rings[t].rows = 0;
    }
    for (int32_t made = begin(program, stripe); made < wanted->rows; made += stripe) {
        need(program, rings, wanted->row + least(made + stripe, wanted->rows));
        for (int32_t o = 0; o < program->ops; o++) {
            int32_t target = program->op[o].target;
            if (target < 0)
                continue;
            if (rings[target].needed > rings[target].done)
                rings[target].rows =
                    most(rings[target].rows,
                         rings[target].needed - oldest(program, rings, target, wanted->row + most(made, 0)));
            rings[target].done = rings[target].needed;
        }
    }
    for (int32_t t = 0; t < program->tensors; t++) {
        rings[t].offset = arena;
        arena += ring_bytes(&program->tensor[t], &rings[t]);
    }
    return arena;
}

/* The first column that is held of a row. */
static uint8_t *row_at(const taran_program *program, const taran_ring *rings, uint8_t *arena, int32_t tensor,
                       int32_t row)
{
    const taran_ring *ring = &rings[tensor];
    int32_t place = row >= 0 && row < ring->height ? row % ring->rows : ring->rows;
    return arena + ring->offset + place * ring->row_bytes +
           (int64_t)program->tensor[tensor].margin * pixel_bytes(&program->tensor[tensor]);
}

void taran_prepare(const taran_program *program, const taran_ring *rings, uint8_t *arena)
{
    for (int32_t t = 0; t < program->tensors; t++) {
        const taran_tensor *tensor = &program->tensor[t];
        const int64_t margin = (int64_t)tensor->margin * pixel_bytes(tensor), bytes = rings[t].row_bytes;
        const int64_t inside = (int64_t)rings[t].width * pixel_bytes(tensor);
        uint8_t *row = arena + rings[t].offset;
        for (int32_t r = 0; r < rings[t].rows; r++, row += bytes) {
            fill(row, margin, tensor->zero);
            fill(row + margin + inside, bytes - margin - inside, tensor->zero);
        }
        fill(row, bytes, tensor->zero);
    }
}

/* ---- a stripe of one operation, in units that do not touch one another's rows ---- */

typedef struct {
    const taran_program *program;
    const taran_ring *rings;
    uint8_t *arena;
    const taran_kernels *kernels;
    const taran_tile *tile;
    const taran_op *op;
    const int8_t *weights;
    int32_t left, width; /* of its target */
    int32_t first, rows; /* of the stripe */
} taran_work;

static void load(const taran_work *work, int32_t row)
{
    const taran_tensor *tensor = &work->program->tensor[work->op->target];
    /* Not read again for each pixel, as they would be: bytes that are written could be they. */
    const int64_t band = work->tile->band, col = work->tile->col;
    const int32_t bands = work->tile->bands, width = work->width, channels = tensor->channels;
    const uint8_t *pixels = work->tile->pixels + row * work->tile->row + work->left * col;
    uint8_t *bytes = row_at(work->program, work->rings, work->arena, work->op->target, row);
    int16_t *words = (int16_t *)(void *)bytes;
    if (tensor->lane == 1 && bands == 3)
        for (int32_t i = 0; i < width; i++, pixels += col, bytes += channels) {
            bytes[0] = pixels[0];
            bytes[1] = pixels[band];
            bytes[2] = pixels[2 * band];
        }
    else if (tensor->lane == 1)
        for (int32_t i = 0; i < width; i++, pixels += col, bytes += channels)
            for (int32_t k = 0; k < bands; k++)
                bytes[k] = pixels[k * band];
    else
        for (int32_t i = 0; i < width; i++, pixels += col, words += channels)
            for (int32_t k = 0; k < bands; k++)
                words[k] = pixels[k * band];
}

static void upsample(const taran_work *work, int32_t row)
{
    int32_t bytes = pixel_bytes(&work->program->tensor[work->op->source]);
    int32_t before = work->rings[work->op->source].left;
    const uint8_t *source = row_at(work->program, work->rings, work->arena, work->op->source, row / 2);
    uint8_t *target = row_at(work->program, work->rings, work->arena, work->op->target, row);
    for (int32_t col = 0; col < work->width; col++)
        for (int32_t i = 0; i < bytes; i++)
            target[(int64_t)col * bytes + i] = source[(int64_t)((work->left + col) / 2 - before) * bytes + i];
}

static void pool(const taran_work *work, int32_t row)
{
    const taran_tensor *tensor = &work->program->tensor[work->op->source];
    int64_t skip = (int64_t)(2 * work->left - work->rings[work->op->source].left) * pixel_bytes(tensor);
    work->kernels->largest(row_at(work->program, work->rings, work->arena, work->op->source, 2 * row) + skip,
                           row_at(work->program, work->rings, work->arena, work->op->source, 2 * row + 1) + skip,
                           row_at(work->program, work->rings, work->arena, work->op->target, row),
                           work->width, tensor->channels, tensor->lane);
}

static void convolve(const taran_work *work, int32_t row, int32_t piece)
{
    const taran_program *program = work->program;
    const taran_op *op = work->op;
    int32_t across = op->phases == 4 ? 2 : 1; /* phases of a row */
    int32_t begin = work->left + piece * TARAN_PIECE, end = least(begin + TARAN_PIECE, work->left + work->width);
    taran_row job;
    job.op = op;
    for (int32_t side = 0; side < across; side++) {
        int32_t col = begin + side;
        int32_t phase = across == 2 ? row % 2 * 2 + col % 2 : 0;
        job.outputs = (end - begin - side + across - 1) / across;
        if (job.outputs <= 0)
            continue;
        job.segments = op->count[phase];
        for (int32_t s = 0; s < op->count[phase]; s++) {
            const taran_segment *segment = &program->segment[op->first[phase] + s];
            int32_t bytes = pixel_bytes(&program->tensor[segment->tensor]);
            int32_t at = (segment->folded ? col / 2 : col) + segment->col - work->rings[segment->tensor].left;
            job.reads[s].pixels = row_at(program, work->rings, work->arena, segment->tensor,
                                         (segment->folded ? row / 2 : row) + segment->row) + (int64_t)at * bytes;
            job.reads[s].weights = work->weights + segment->weights;
            job.reads[s].step = (int64_t)bytes * (segment->folded ? 1 : across);
            job.reads[s].groups = segment->groups;
        }
        if (op->target < 0) {
            job.target = NULL;
            const taran_window *wanted = &work->tile->wanted;
            job.logits = work->tile->logits + (int64_t)(row - wanted->row) * wanted->cols + col - wanted->col;
            job.plane = (int64_t)wanted->rows * wanted->cols;
            job.step = across;
            job.zero = job.lane = 0;
        } else {
            const taran_tensor *tensor = &program->tensor[op->target];
            job.logits = NULL;
            job.plane = 0;
            job.target = row_at(program, work->rings, work->arena, op->target, row) +
                         (int64_t)(col - work->left) * pixel_bytes(tensor);
            job.step = (int64_t)across * pixel_bytes(tensor);
            job.zero = tensor->zero;
            job.lane = tensor->lane;
        }
        work->kernels->convolve(&job);
    }
}

static void unit(void *context, int32_t number)
{
    const taran_work *work = (const taran_work *)context;
    int32_t row = work->first + number % work->rows;
    switch (work->op->kind) {
    case TARAN_LOAD:
        load(work, row);
        break;
    case TARAN_POOL:
        pool(work, row);
        break;
    case TARAN_UPSAMPLE:
        upsample(work, row);
        break;
    default:
        convolve(work, row, number / work->rows);
    }
}

static void stripe_of(taran_work *work, const taran_workers *workers)
{
    /* A piece of all rows comes before the next piece, as the rows of a piece read much of the same. */
    int32_t pieces = work->op->kind == TARAN_CONV ? (work->width + TARAN_PIECE - 1) / TARAN_PIECE : 1;
    if (workers != NULL && workers->threads > 1) {
        workers->run(workers->self, work->rows * pieces, unit, work);
        return;
    }
    for (int32_t number = 0; number < work->rows * pieces; number++)
        unit(work, number);
}

/* The next code of an operation, as the number that it stands for. */
typedef struct {
    const uint8_t *from;
    uint32_t held;
    int32_t bits;
} taran_codes;

static int32_t next_number(const taran_op *op, taran_codes *codes)
{
    uint32_t code;
    while (codes->bits < op->bits) {
        codes->held |= (uint32_t)*codes->from++ << codes->bits;
        codes->bits += 8;
    }
    code = codes->held & ((1U << op->bits) - 1U);
    codes->held >>= op->bits;
    codes->bits -= op->bits;
    if (op->values == NULL) /* two's complement */
        return (int32_t)code - (int32_t)(code >> (op->bits - 1) << op->bits);
    return op->values[code];
}

/* The weights of an operation as its kernels read them: from codes, and in the order that they ask for. */
static const int8_t *unpacked(const taran_op *op, int32_t across, uint8_t *scratch)
{
    const int32_t each = op->lane == 1 ? 4 : 2;
    const int32_t to_channel = across ? 1 : each, to_number = across ? op->padded : 1;
    const int16_t *words = (const int16_t *)(const void *)op->weights;
    taran_codes codes = {op->codes, 0, 0};
    if (op->kind != TARAN_CONV || (op->codes == NULL && !across))
        return op->weights;
    for (int32_t group = 0; group < op->numbers; group += each * op->padded)
        for (int32_t i = 0; i < op->padded; i++)
            for (int32_t k = 0; k < each; k++) {
                const int32_t from = group + i * each + k, to = group + i * to_channel + k * to_number;
                if (op->lane == 1)
                    scratch[to] = (uint8_t)(op->codes == NULL ? op->weights[from] : next_number(op, &codes));
                else
                    ((int16_t *)(void *)scratch)[to] =
                        (int16_t)(op->codes == NULL ? words[from] : next_number(op, &codes));
            }
    return (const int8_t *)scratch;
}

void taran_compute(const taran_program *program, taran_ring *rings, uint8_t *arena, int32_t stripe,
                   const taran_kernels *kernels, const taran_workers *workers, const taran_tile *tile)
{
    const taran_window *wanted = &tile->wanted;
    taran_work work = {program, rings, arena, kernels, tile, NULL, NULL, 0, 0, 0, 0};
    for (int32_t t = 0; t < program->tensors; t++)
        rings[t].done = rings[t].top;
    for (int32_t made = begin(program, stripe); made < wanted->rows; made += stripe) {
        int32_t end = wanted->row + least(made + stripe, wanted->rows);
        need(program, rings, end);
        for (int32_t o = 0; o < program->ops; o++) {
            taran_ring *target = program->op[o].target < 0 ? NULL : &rings[program->op[o].target];
            work.op = &program->op[o];
            work.first = target == NULL ? wanted->row + most(made, 0) : target->done;
            work.rows = (target == NULL ? end : target->needed) - work.first;
            work.left = target == NULL ? wanted->col : target->left;
            work.width = target == NULL ? wanted->cols : target->width;
            if (work.rows > 0) {
                work.weights = unpacked(work.op, kernels->across, arena);
                stripe_of(&work, workers);
            }
            if (target != NULL)
                target->done = target->needed;
        }
    }
}

/* ---- in plain integers ---- */

/* A number or another by a comparison, without a branch: the time does not depend on which. */
static uint64_t chosen(int yes, uint64_t number, uint64_t otherwise)
{
    const uint64_t mask = (uint64_t)0 - (uint64_t)yes;
    return (number & mask) | (otherwise & ~mask);
}

/* To nearest even; places below 63. No negative number is shifted: what that does is the compiler's choice. */
static uint64_t shift_to_even(uint64_t magnitude, int32_t places)
{
    uint64_t whole = magnitude >> places, rest = magnitude - (whole << places), unit = (uint64_t)1 << places;
    return whole + (uint64_t)((2 * rest > unit) | ((2 * rest == unit) & (int)(whole & 1)));
}

void taran_requantize(const taran_op *op, int32_t first, int32_t count, int32_t *accumulators)
{
    for (int32_t i = 0; i < count; i++) {
        const int64_t product = (int64_t)accumulators[i] * op->multipliers[first + i];
        const int negative = product < 0;
        const uint64_t magnitude = chosen(negative, 0 - (uint64_t)product, (uint64_t)product);
        const uint64_t bound = chosen(negative, (uint64_t)-(int64_t)op->low, (uint64_t)op->high);
        const int32_t shift = op->shifts[first + i];
        int32_t coarser = 0;
        uint64_t rounded;
        /* As often for every number, so that the time does not depend on it; beyond the last binade it saturates. */
        for (int32_t binade = 0; binade < op->binades; binade++)
            coarser += (magnitude >> shift >> binade >> (op->mantissa + 1)) != 0;
        rounded = shift_to_even(magnitude, shift + coarser) << coarser;
        /* Saturated before the sign, so that nothing overflows. */
        rounded = chosen(rounded > bound, bound, rounded);
        accumulators[i] = (int32_t)rounded - 2 * (int32_t)chosen(negative, rounded, 0);
    }
}

/* Whether the compiler makes vectors of a loop over channels. */
#ifndef TARAN_VECTORS
#if defined(__SSE2__) || defined(__ARM_NEON)
#define TARAN_VECTORS 1
#else
#define TARAN_VECTORS 0
#endif
#endif

/* Sums are unsigned, as one may pass int32 on its way and come back. */
#if TARAN_VECTORS
enum { TARAN_AT_ONCE = TARAN_OUTPUTS };

#define MULTIPLY(pixels, weights)                                   \
    for (int32_t k = 0; k < count; k++, (weights) += padded)        \
        for (int32_t i = 0; i < TARAN_AT_ONCE; i++)                 \
            sums[i] += (uint32_t)((int16_t)(pixels)[k] * (int16_t)(weights)[i])
#else
enum { TARAN_AT_ONCE = 4 };

/* In registers, in which compilers do not keep an array. */
#define MULTIPLY(pixels, weights)                                       \
    do {                                                                \
        uint32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];    \
        for (int32_t k = 0; k < count; k++, (weights) += padded) {      \
            const int32_t number = (pixels)[k];                         \
            a += (uint32_t)(number * (weights)[0]);                     \
            b += (uint32_t)(number * (weights)[1]);                     \
            c += (uint32_t)(number * (weights)[2]);                     \
            d += (uint32_t)(number * (weights)[3]);                     \
        }                                                               \
        sums[0] = a;                                                    \
        sums[1] = b;                                                    \
        sums[2] = c;                                                    \
        sums[3] = d;                                                    \
    } while (0)
#endif

/* The sums of TARAN_AT_ONCE channels of one pixel. */
static void sums_of(const taran_row *row, int32_t first, int32_t pixel, uint32_t *sums)
{
    const int32_t padded = row->op->padded, lane = row->op->lane;
    for (int32_t i = 0; i < TARAN_AT_ONCE; i++)
        sums[i] = (uint32_t)row->op->bias[first + i];
    for (int32_t s = 0; s < row->segments; s++) {
        const uint8_t *pixels = row->reads[s].pixels + pixel * row->reads[s].step;
        const int8_t *weights = row->reads[s].weights + (int64_t)first * lane;
        const int32_t count = row->reads[s].groups * (lane == 1 ? 4 : 2);
        if (lane == 1) {
            MULTIPLY(pixels, weights);
        } else {
            const int16_t *words = (const int16_t *)(const void *)pixels;
            const int16_t *wide = (const int16_t *)(const void *)weights;
            MULTIPLY(words, wide);
        }
    }
}

static void convolve_portable(const taran_row *row)
{
    const taran_op *op = row->op;
    for (int32_t first = 0; first < op->padded; first += TARAN_OUTPUTS) {
        for (int32_t pixel = 0; pixel < row->outputs; pixel++) {
            uint32_t sums[TARAN_OUTPUTS];
            int32_t numbers[TARAN_OUTPUTS];
            for (int32_t i = 0; i < TARAN_OUTPUTS; i += TARAN_AT_ONCE)
                sums_of(row, first + i, pixel, sums + i);
            for (int32_t i = 0; i < TARAN_OUTPUTS; i++)
                numbers[i] = sums[i] > INT32_MAX ? -(int32_t)(~sums[i]) - 1 : (int32_t)sums[i];
            if (row->logits != NULL) {
                for (int32_t i = 0; i < TARAN_OUTPUTS && first + i < op->channels; i++)
                    row->logits[(first + i) * row->plane + pixel * row->step] = numbers[i];
                continue;
            }
            taran_requantize(op, first, TARAN_OUTPUTS, numbers);
            for (int32_t i = 0; i < TARAN_OUTPUTS; i++) {
                uint8_t *target = row->target + pixel * row->step;
                if (row->lane == 1)
                    target[first + i] = (uint8_t)(numbers[i] + row->zero);
                else
                    ((int16_t *)(void *)target)[first + i] = (int16_t)numbers[i];
            }
        }
    }
}

static void largest_portable(const uint8_t *upper, const uint8_t *lower, uint8_t *target, int32_t outputs,
                             int32_t numbers, int32_t lane)
{
    for (int32_t pixel = 0; pixel < outputs; pixel++)
        for (int32_t i = 0; i < numbers; i++) {
            int64_t left = (int64_t)2 * pixel * numbers + i, right = left + numbers;
            if (lane == 1) {
                target[(int64_t)pixel * numbers + i] =
                    (uint8_t)most(most(upper[left], upper[right]), most(lower[left], lower[right]));
            } else {
                const int16_t *above = (const int16_t *)(const void *)upper;
                const int16_t *below = (const int16_t *)(const void *)lower;
                ((int16_t *)(void *)target)[(int64_t)pixel * numbers + i] =
                    (int16_t)most(most(above[left], above[right]), most(below[left], below[right]));
            }
        }
}

static int64_t peak_portable(int64_t rounds)
{
    volatile uint32_t kept;
    uint32_t sums[TARAN_OUTPUTS] = {0};
    for (int64_t round = 0; round < rounds; round++)
        for (int32_t i = 0; i < TARAN_OUTPUTS; i++)
            sums[i] += (uint32_t)((round + i) & 255) * (uint32_t)((round >> 3) + i);
    for (int32_t i = 0; i < TARAN_OUTPUTS; i++)
        kept = sums[i];
    (void)kept;
    return rounds * TARAN_OUTPUTS;
}

const taran_kernels taran_portable = {"portable", 1, convolve_portable, largest_portable, peak_portable};
