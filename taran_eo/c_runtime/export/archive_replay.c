/* Loads an archive, runs golden vectors, and tells whether every logit is as it must be.
 *
 *     archive_replay ARCHIVE PIXELS LOGITS VECTORS ROWS COLS
 *
 * PIXELS is uint8[vectors][bands][rows][cols]; LOGITS is int32[vectors][classes][rows][cols], of the size of the logits,
 * little-endian. Exits with 0 where all are right, 1 where not, 2 where it could not tell.
 */
#include <stdio.h>
#include <stdlib.h>

#include "taran_archive.h"

enum { STRIPE = 16, MOST_VECTORS = 1 << 16 };

static taran_archive archive;

static void stop(const char *why)
{
    printf("replay: %s\nreplay: FAILED\n", why);
    exit(2);
}

static void *memory(size_t size)
{
    void *room = malloc(size > 0 ? size : 1);
    if (room == NULL)
        stop("too little memory");
    return room;
}

/* A whole file, or the first `wanted` bytes of one that must have as many. */
static uint8_t *contents(const char *path, size_t *size, size_t wanted)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes;
    long end;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (end = ftell(file)) < 0 || fseek(file, 0, SEEK_SET) != 0)
        stop("a file cannot be read");
    *size = (size_t)end;
    if (wanted > 0 && *size != wanted)
        stop("a file of golden vectors has not the size that it should have");
    bytes = memory(*size);
    if (fread(bytes, 1, *size, file) != *size)
        stop("a file cannot be read");
    fclose(file);
    return bytes;
}

static int32_t logit_at(const uint8_t *bytes)
{
    uint32_t number = 0;
    for (int32_t i = 0; i < 4; i++)
        number |= (uint32_t)bytes[i] << 8 * i;
    return number > INT32_MAX ? -(int32_t)(~number) - 1 : (int32_t)number;
}

static int32_t number_of(const char *text, int32_t most)
{
    const long number = strtol(text, NULL, 10);
    if (number < 1 || number > most)
        stop("VECTORS, ROWS and COLS are numbers from 1 up");
    return (int32_t)number;
}

int main(int argc, char **argv)
{
    size_t size, wrong = 0;
    if (argc != 7)
        stop("archive_replay ARCHIVE PIXELS LOGITS VECTORS ROWS COLS");
    uint8_t *bytes = contents(argv[1], &size, 0);
    const int32_t error = taran_archive_open(bytes, size, &archive);
    if (error != TARAN_ARCHIVE_GOOD) {
        printf("replay: the archive is refused, error %d of taran_archive.h\nreplay: FAILED\n", (int)error);
        return 2;
    }
    const int32_t vectors = number_of(argv[4], MOST_VECTORS);
    const int32_t rows = number_of(argv[5], TARAN_ARCHIVE_SIDE), cols = number_of(argv[6], TARAN_ARCHIVE_SIDE);
    if (rows % archive.alignment != 0 || cols % archive.alignment != 0)
        stop("ROWS and COLS must be multiples of the network's alignment");
    const taran_window wanted = {0, 0, rows >> archive.program.level, cols >> archive.program.level};
    const size_t plane = (size_t)rows * (size_t)cols, tile_pixels = plane * (size_t)archive.bands;
    const size_t tile_logits = (size_t)wanted.rows * (size_t)wanted.cols * (size_t)archive.classes;
    uint8_t *pixels = contents(argv[2], &size, (size_t)vectors * tile_pixels);
    uint8_t *expected = contents(argv[3], &size, 4 * (size_t)vectors * tile_logits);

    static taran_ring rings[TARAN_ARCHIVE_STEPS];
    const int64_t arena_bytes = taran_layout(&archive.program, rows, cols, &wanted, STRIPE, rings);
    /* malloc aligns to fewer bytes than the runtime asks for. */
    uint8_t *room = memory((size_t)arena_bytes + TARAN_ALIGNMENT);
    uint8_t *arena = room + (TARAN_ALIGNMENT - (uintptr_t)room % TARAN_ALIGNMENT) % TARAN_ALIGNMENT;
    int32_t *logits = memory(tile_logits * sizeof *logits);
    for (int32_t vector = 0; vector < vectors; vector++) {
        const taran_tile tile = {pixels + (size_t)vector * tile_pixels, (int64_t)plane, cols, 1, archive.bands, wanted,
                                 logits};
        const uint8_t *right = expected + 4 * (size_t)vector * tile_logits;
        size_t differ = 0;
        /* What is not written is wrong, whatever the vector before has left. */
        for (size_t i = 0; i < tile_logits; i++)
            logits[i] = logit_at(right + 4 * i) ^ 1;
        taran_prepare(&archive.program, rings, arena);
        taran_compute(&archive.program, rings, arena, STRIPE, &taran_portable, NULL, &tile);
        for (size_t i = 0; i < tile_logits; i++)
            differ += logits[i] != logit_at(right + 4 * i);
        printf("vector %d: %lu of %lu logits differ\n", (int)vector, (unsigned long)differ, (unsigned long)tile_logits);
        wrong += differ;
    }
    free(bytes), free(pixels), free(expected), free(room), free(logits);
    printf("replay: %s\n", wrong == 0 ? "passed" : "FAILED");
    return wrong != 0;
}
