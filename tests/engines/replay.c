/* Runs a program from a file on the kernels of one name: for processors, and under tools, that Python does not run on.
 *
 *     replay PROGRAM KERNELS THREADS > LOGITS
 *
 * The file is what tests/engines/replaying.py writes: the structures of taran.h with offsets in place of pointers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taran_host.h"

typedef struct {
    int64_t tensors, ops, segments, level, lead, scratch, rows, cols, bands, classes, stripe, row, col, wanted_rows,
        wanted_cols;
} header;

static void *read_all(FILE *file, size_t count, size_t size)
{
    /* Of the very size, so that a sanitizer sees the smallest step beyond. */
    void *memory = malloc(count * size);
    if (memory == NULL || fread(memory, size, count, file) != count) {
        fprintf(stderr, "replay: the file ends too early\n");
        exit(2);
    }
    return memory;
}

int main(int argc, char **argv)
{
    FILE *file = argc == 4 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        fprintf(stderr, "replay PROGRAM KERNELS THREADS\n");
        return 2;
    }
    header *head = read_all(file, 1, sizeof *head);
    taran_tensor *tensors = read_all(file, (size_t)head->tensors, sizeof *tensors);
    taran_op *ops = read_all(file, (size_t)head->ops, sizeof *ops);
    taran_segment *segments = read_all(file, (size_t)head->segments, sizeof *segments);
    void **arrays = calloc((size_t)head->ops * 4, sizeof *arrays);
    for (int64_t o = 0; o < head->ops; o++) {
        if (ops[o].kind != TARAN_CONV)
            continue;
        int64_t bytes = (int64_t)(intptr_t)ops[o].weights;
        size_t padded = (size_t)ops[o].padded;
        ops[o].weights = arrays[4 * o] = read_all(file, (size_t)bytes, 1);
        ops[o].bias = arrays[4 * o + 1] = read_all(file, padded, 4);
        ops[o].multipliers = arrays[4 * o + 2] = read_all(file, padded, 4);
        ops[o].shifts = arrays[4 * o + 3] = read_all(file, padded, 4);
    }
    uint8_t *pixels = read_all(file, (size_t)(head->bands * head->rows * head->cols), 1);
    fclose(file);

    taran_program program = {(int32_t)head->tensors, (int32_t)head->ops, (int32_t)head->segments,
                             (int32_t)head->level, (int32_t)head->lead, (int32_t)head->scratch, tensors, ops, segments};
    const taran_kernels *kernels;
    int32_t place = 0, here = 0;
    while ((kernels = taran_kernels_at(place++, &here)) != NULL && strcmp(taran_kernels_name(kernels), argv[2]) != 0)
        ;
    if (kernels == NULL || !here) {
        fprintf(stderr, "replay: no kernels %s here\n", argv[2]);
        return 3;
    }
    taran_ring *rings = calloc((size_t)head->tensors, sizeof *rings);
    int32_t rows = (int32_t)head->rows, cols = (int32_t)head->cols, stripe = (int32_t)head->stripe;
    taran_window wanted = {(int32_t)head->row, (int32_t)head->col, (int32_t)head->wanted_rows,
                           (int32_t)head->wanted_cols};
    int64_t size = taran_layout(&program, rows, cols, &wanted, stripe, rings);
    void *arena = NULL;
    if (posix_memalign(&arena, TARAN_ALIGNMENT, (size_t)size))
        return 4;
    int64_t plane = (int64_t)wanted.rows * wanted.cols;
    int32_t *logits = calloc((size_t)(head->classes * plane), sizeof *logits);
    taran_workers workers;
    taran_tile tile = {pixels, (int64_t)rows * cols, cols, 1, (int32_t)head->bands, wanted, logits};
    taran_prepare(&program, rings, arena);
    if (!taran_workers_open(&workers, atoi(argv[3])))
        return 4;
    for (int tiles = 0; tiles < 2; tiles++) /* the second finds what the first left behind */
        taran_compute(&program, rings, arena, stripe, kernels, &workers, &tile);
    taran_workers_close(&workers);
    fwrite(logits, sizeof *logits, (size_t)(head->classes * plane), stdout);

    for (int64_t i = 0; i < 4 * head->ops; i++)
        free(arrays[i]);
    free(arrays), free(head), free(tensors), free(ops), free(segments), free(pixels);
    free(rings), free(arena), free(logits);
    return 0;
}
