/* Reads an archive byte by byte. What follows from other numbers is worked out and not read, so it cannot be wrong. */
#include "taran_archive.h"

#include <string.h>

enum { HEADER = 56, STEP = 8, CHECKSUM = 4, NO_CODES = 255, UNIFORM = 255, LOGITS = 4 };

/* What is still to read, and what was taken of the room. */
typedef struct {
    taran_archive *archive;
    const uint8_t *bytes;
    size_t left;
    int32_t tensors, segments, numbers, meanings;
    int64_t reach; /* pixels, no fewer than between a logit and what it depends on */
    int32_t formats, bits[TARAN_ARCHIVE_FORMATS];
    const int16_t *values[TARAN_ARCHIVE_FORMATS];
    uint8_t is_read[TARAN_ARCHIVE_STEPS];
} reading;

typedef struct {
    int32_t kind, lane, kernel, format, channels, sources, mantissa;
} step_head;

static uint32_t number_at(const uint8_t *bytes, int32_t count)
{
    uint32_t number = 0;
    for (int32_t i = 0; i < count; i++)
        number |= (uint32_t)bytes[i] << 8 * i;
    return number;
}

static int32_t signed_at(const uint8_t *bytes)
{
    uint32_t number = number_at(bytes, 4);
    return number > INT32_MAX ? -(int32_t)(~number) - 1 : (int32_t)number;
}

static int16_t word_at(const uint8_t *bytes)
{
    int32_t number = (int32_t)number_at(bytes, 2);
    return (int16_t)(number > INT16_MAX ? number - 65536 : number);
}

/* CRC-32 of IEEE 802.3. */
static uint32_t checksum_of(const uint8_t *bytes, size_t size)
{
    uint32_t sum = 0xFFFFFFFFU;
    for (size_t i = 0; i < size; i++) {
        sum ^= bytes[i];
        for (int32_t bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (0xEDB88320U & (0U - (sum & 1U)));
    }
    return ~sum;
}

/* So many bytes; NULL where there are fewer. */
static const uint8_t *take(reading *from, size_t size)
{
    const uint8_t *taken = from->bytes;
    if (size > from->left)
        return NULL;
    from->bytes += size;
    from->left -= size;
    return taken;
}

/* The tensor that a step reads; NULL where no step before makes it. */
static taran_tensor *source_at(reading *from, const uint8_t *place, int32_t *tensor)
{
    *tensor = (int32_t)number_at(place, 2);
    if (*tensor >= from->tensors)
        return NULL;
    from->is_read[*tensor] = 1;
    return &from->archive->tensor[*tensor];
}

static int32_t take_format(reading *from)
{
    const uint8_t *bits = take(from, 1), *values;
    int32_t count;
    if (bits == NULL || *bits < 1 || *bits > 8)
        return TARAN_ARCHIVE_TABLE;
    count = 1 << *bits;
    values = take(from, 2 * (size_t)count);
    if (values == NULL)
        return TARAN_ARCHIVE_TABLE;
    from->bits[from->formats] = *bits;
    from->values[from->formats++] = &from->archive->values[from->meanings];
    for (int32_t i = 0; i < count; i++)
        from->archive->values[from->meanings++] = word_at(values + 2 * i);
    return TARAN_ARCHIVE_GOOD;
}

static int32_t take_load(reading *from, const step_head *head)
{
    const taran_tensor tensor = {(head->channels + 3) / 4 * 4, 0, head->lane, 0, 0};
    if (from->tensors != 0 || (head->lane != 1 && head->lane != 2) || head->channels < 1 ||
        head->channels > TARAN_ARCHIVE_CHANNELS || head->sources != 0)
        return TARAN_ARCHIVE_TABLE;
    from->archive->bands = head->channels;
    from->archive->tensor[from->tensors++] = tensor;
    return TARAN_ARCHIVE_GOOD;
}

static int32_t take_resize(reading *from, const step_head *head, taran_op *op)
{
    const uint8_t *place = take(from, 2);
    const taran_tensor *source;
    taran_tensor *target = &from->archive->tensor[from->tensors];
    if (head->sources != 1 || place == NULL || (source = source_at(from, place, &op->source)) == NULL)
        return TARAN_ARCHIVE_TABLE;
    *target = *source;
    target->margin = 0;
    target->level += op->kind == TARAN_POOL ? 1 : -1;
    if (target->level < 0 || target->level > TARAN_ARCHIVE_LEVELS)
        return TARAN_ARCHIVE_TABLE;
    if (op->kind == TARAN_UPSAMPLE) /* a part of the small pixel is beyond what is wanted of the large ones */
        from->reach += (int64_t)1 << source->level;
    from->tensors++;
    return TARAN_ARCHIVE_GOOD;
}

/* The segments of a convolution: each row of the kernel for each tensor, and all columns of the kernel at once. */
static int32_t take_segments(reading *from, const step_head *head, const uint8_t *places, taran_op *op)
{
    const int32_t margin = head->kernel / 2;
    int64_t weights = 0;
    op->first[0] = from->segments;
    op->count[0] = head->kernel * head->sources;
    if (op->count[0] > TARAN_ARCHIVE_SEGMENTS - from->segments)
        return TARAN_ARCHIVE_ROOM;
    for (int32_t i = 0; i < head->sources; i++) {
        int32_t place, groups;
        taran_tensor *source = source_at(from, places + 2 * i, &place);
        if (source == NULL)
            return TARAN_ARCHIVE_TABLE;
        if (i == 0)
            op->lane = source->lane;
        if (source->lane != op->lane || source->level != from->archive->tensor[number_at(places, 2)].level)
            return TARAN_ARCHIVE_TABLE;
        if (source->margin < margin)
            source->margin = margin;
        groups = head->kernel * source->channels * source->lane / 4;
        for (int32_t row = -margin; row <= margin; row++) {
            const taran_segment segment = {place, 0, row, -margin, groups, (int32_t)weights};
            from->archive->segment[from->segments++] = segment;
            weights += (int64_t)groups * op->padded * 4;
            if (weights > INT32_MAX / 2)
                return TARAN_ARCHIVE_ROOM;
        }
    }
    op->numbers = (int32_t)weights / op->lane;
    if (weights > from->archive->program.scratch)
        from->archive->program.scratch = (int32_t)weights;
    return TARAN_ARCHIVE_GOOD;
}

static int32_t take_channels(reading *from, taran_op *op)
{
    const size_t channels = (size_t)op->channels;
    const uint8_t *bytes = take(from, channels * 9);
    int32_t *numbers = &from->archive->numbers[from->numbers];
    if (bytes == NULL)
        return TARAN_ARCHIVE_TABLE;
    if (3 * op->padded > TARAN_ARCHIVE_NUMBERS - from->numbers)
        return TARAN_ARCHIVE_ROOM;
    from->numbers += 3 * op->padded;
    memset(numbers, 0, 3 * (size_t)op->padded * sizeof *numbers);
    op->bias = numbers;
    op->multipliers = numbers + op->padded;
    op->shifts = numbers + 2 * op->padded;
    for (size_t i = 0; i < channels; i++) {
        const int32_t multiplier = signed_at(bytes + 4 * (channels + i)), shift = bytes[8 * channels + i];
        if (multiplier < 1 || multiplier >= 1 << 24 || shift > 56)
            return TARAN_ARCHIVE_TABLE;
        numbers[i] = signed_at(bytes + 4 * i);
        numbers[(size_t)op->padded + i] = multiplier;
        numbers[2 * (size_t)op->padded + i] = shift;
    }
    return TARAN_ARCHIVE_GOOD;
}

static int32_t take_weights(reading *from, int32_t format, taran_op *op)
{
    if (format < from->formats) {
        op->bits = from->bits[format];
        op->values = from->values[format];
    } else if (format == NO_CODES && op->lane == 2) {
        op->bits = 16;
    } else {
        return TARAN_ARCHIVE_TABLE;
    }
    op->codes = take(from, (size_t)(((int64_t)op->numbers * op->bits + 7) / 8));
    return op->codes == NULL ? TARAN_ARCHIVE_TABLE : TARAN_ARCHIVE_GOOD;
}

/* The range and the grid of the numbers that a convolution makes, and the tensor that they lie in. */
static int32_t take_target(reading *from, const step_head *head, const uint8_t *range, int32_t level, taran_op *op)
{
    const int32_t low = signed_at(range), high = signed_at(range + 4);
    const int32_t lowest = head->lane == 2 ? INT16_MIN : INT8_MIN;
    const int32_t highest = head->lane == 2 ? INT16_MAX : low < 0 ? INT8_MAX : UINT8_MAX;
    taran_tensor tensor = {op->padded, level, head->lane, head->lane == 1 && low < 0 ? 128 : 0, 0};
    op->mantissa = -1;
    if (head->lane == LOGITS) {
        op->target = -1;
        return TARAN_ARCHIVE_GOOD;
    }
    if ((head->lane != 1 && head->lane != 2) || low > 0 || low < lowest || high < 0 || high > highest)
        return TARAN_ARCHIVE_TABLE;
    op->low = low;
    op->high = high;
    if (head->mantissa != UNIFORM) {
        if (head->mantissa > 15)
            return TARAN_ARCHIVE_TABLE;
        op->mantissa = head->mantissa;
        while (high >> (op->mantissa + 1) >> op->binades != 0)
            op->binades++;
    }
    from->archive->tensor[from->tensors++] = tensor;
    return TARAN_ARCHIVE_GOOD;
}

static int32_t take_convolution(reading *from, const step_head *head, taran_op *op)
{
    const uint8_t *places = take(from, 2 * (size_t)head->sources), *range = take(from, 8);
    int32_t level, error;
    if (head->kernel % 2 == 0 || head->kernel > TARAN_ARCHIVE_KERNEL || head->channels < 1 ||
        head->channels > TARAN_ARCHIVE_CHANNELS || head->sources < 1 ||
        head->sources > TARAN_SEGMENTS / head->kernel || places == NULL || range == NULL)
        return TARAN_ARCHIVE_TABLE;
    op->phases = 1;
    op->pairs_fit = 0; /* only faster kernels ask for these two, and can do without */
    op->exact = -1;
    op->channels = head->channels;
    op->padded = (head->channels + TARAN_OUTPUTS - 1) / TARAN_OUTPUTS * TARAN_OUTPUTS;
    if ((error = take_segments(from, head, places, op)) != 0 || (error = take_channels(from, op)) != 0 ||
        (error = take_weights(from, head->format, op)) != 0)
        return error;
    level = from->archive->tensor[number_at(places, 2)].level;
    from->reach += (int64_t)(head->kernel / 2) << level;
    from->archive->program.level = level; /* of the last convolution, which makes the logits */
    from->archive->classes = head->channels;
    return take_target(from, head, range, level, op);
}

static int32_t take_step(reading *from, int32_t index)
{
    const taran_op empty = {0};
    const uint8_t *bytes = take(from, STEP);
    taran_op *op = &from->archive->op[index];
    step_head head;
    /* Of all steps the last alone makes no tensor: the logits. */
    if (bytes == NULL || from->tensors != index)
        return TARAN_ARCHIVE_TABLE;
    head.kind = bytes[0];
    head.lane = bytes[1];
    head.kernel = bytes[2];
    head.format = bytes[3];
    head.channels = (int32_t)number_at(bytes + 4, 2);
    head.sources = bytes[6];
    head.mantissa = bytes[7];
    *op = empty;
    op->kind = head.kind;
    op->source = -1;
    op->target = index;
    switch (head.kind) {
    case TARAN_LOAD:
        return take_load(from, &head);
    case TARAN_CONV:
        return take_convolution(from, &head, op);
    case TARAN_POOL:
    case TARAN_UPSAMPLE:
        return take_resize(from, &head, op);
    default:
        return TARAN_ARCHIVE_TABLE;
    }
}

static int32_t take_tables(reading *from, int32_t formats, int32_t steps)
{
    taran_archive *archive = from->archive;
    taran_program *program = &archive->program;
    int32_t deepest = 0;
    for (int32_t i = 0; i < formats; i++) {
        const int32_t error = take_format(from);
        if (error != TARAN_ARCHIVE_GOOD)
            return error;
    }
    for (int32_t i = 0; i < steps; i++) {
        const int32_t error = take_step(from, i);
        if (error != TARAN_ARCHIVE_GOOD)
            return error;
    }
    if (steps < 2 || from->tensors != steps - 1)
        return TARAN_ARCHIVE_TABLE;
    for (int32_t i = 0; i < from->tensors; i++) {
        if (!from->is_read[i])
            return TARAN_ARCHIVE_TABLE;
        if (archive->tensor[i].level > deepest)
            deepest = archive->tensor[i].level;
    }
    archive->alignment = 1 << deepest;
    program->tensors = from->tensors;
    program->ops = steps;
    program->segments = from->segments;
    program->lead = (int32_t)((from->reach + ((int64_t)1 << program->level) - 1) >> program->level);
    program->tensor = archive->tensor;
    program->op = archive->op;
    program->segment = archive->segment;
    return TARAN_ARCHIVE_GOOD;
}

int32_t taran_archive_open(const uint8_t *bytes, size_t size, taran_archive *archive)
{
    reading from;
    int32_t formats, steps, error;
    if (size < HEADER + CHECKSUM)
        return TARAN_ARCHIVE_SHORT;
    if (memcmp(bytes, "taran_eo", 8) != 0)
        return TARAN_ARCHIVE_STRANGE;
    if (number_at(bytes + 8, 4) != 1)
        return TARAN_ARCHIVE_VERSION;
    if (number_at(bytes + 12, 4) != size)
        return TARAN_ARCHIVE_SHORT;
    if (number_at(bytes + size - CHECKSUM, 4) != checksum_of(bytes, size - CHECKSUM))
        return TARAN_ARCHIVE_CHECKSUM;
    formats = (int32_t)number_at(bytes + 48, 2);
    steps = (int32_t)number_at(bytes + 50, 2);
    if (formats > TARAN_ARCHIVE_FORMATS || steps > TARAN_ARCHIVE_STEPS)
        return TARAN_ARCHIVE_ROOM;
    memset(&from, 0, sizeof from);
    memset(&archive->program, 0, sizeof archive->program);
    from.archive = archive;
    from.bytes = bytes + HEADER;
    from.left = size - HEADER - CHECKSUM;
    error = take_tables(&from, formats, steps);
    if (error == TARAN_ARCHIVE_GOOD && number_at(bytes + 52, 4) != from.left)
        error = TARAN_ARCHIVE_TABLE;
    archive->digest = bytes + 16;
    return error;
}
