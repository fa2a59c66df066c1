/* Runs archives that no network made, or damages one in every way that it can think of; sanitizers watch.
 *
 *     archive_fuzz SEED load ARCHIVE      damages an archive, loads it, and never runs it
 *     archive_fuzz SEED run ARCHIVE       damages an archive, and runs it where it is accepted nevertheless
 *     archive_fuzz SEED made ARCHIVE...   runs archives, all of which must be accepted
 *
 * Damage that the checksum knows of must be refused. With the checksum mended, what is accepted is run on a small tile.
 * All memory is of the very size that it should have.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taran_archive.h"

enum { HEADER = 56, CHECKSUM = 4, MANY = 4096, LARGE = 1 << 14 };

static const int64_t MOST_BYTES = (int64_t)64 << 20;

static taran_archive archive;
static taran_ring rings[TARAN_ARCHIVE_STEPS];
static uint64_t state;
static long refused[8], accepted, ran;
static int runs;

static uint32_t chance(uint32_t below)
{
    state = state * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(state >> 33) % below;
}

static void *memory(size_t size)
{
    void *room = NULL;
    if (posix_memalign(&room, TARAN_ALIGNMENT, size > 0 ? size : 1) != 0)
        exit(3);
    return room;
}

static uint8_t *copy_of(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    memcpy(copy, bytes, size);
    return copy;
}

static void put(uint8_t *bytes, uint32_t number, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(number >> 8 * i);
}

static size_t text_of(const uint8_t *bytes)
{
    return bytes[52] | (size_t)bytes[53] << 8 | (size_t)bytes[54] << 16 | (size_t)bytes[55] << 24;
}

static void mend(uint8_t *bytes, size_t size)
{
    static uint32_t table[256];
    uint32_t sum = 0xFFFFFFFFU;
    if (table[1] == 0)
        for (uint32_t i = 0; i < 256; i++) {
            table[i] = i;
            for (int32_t bit = 0; bit < 8; bit++)
                table[i] = table[i] >> 1 ^ (table[i] & 1U ? 0xEDB88320U : 0);
        }
    for (size_t i = 0; i < size - CHECKSUM; i++)
        sum = sum >> 8 ^ table[(sum ^ bytes[i]) & 255U];
    put(bytes + size - CHECKSUM, ~sum, CHECKSUM);
}

/* A tile of the smallest sizes, as a whole or in part, in stripes of any height. */
static void run(void)
{
    const taran_program *program = &archive.program;
    const int32_t rows = archive.alignment * (int32_t)(1 + chance(2)), cols = archive.alignment * (int32_t)(1 + chance(3));
    const int32_t stripe = 1 << chance(6), height = rows >> program->level, width = cols >> program->level;
    taran_window wanted = {0, 0, height, width};
    if (chance(2)) {
        wanted.row = (int32_t)chance((uint32_t)height);
        wanted.col = (int32_t)chance((uint32_t)width);
        wanted.rows = 1 + (int32_t)chance((uint32_t)(height - wanted.row));
        wanted.cols = 1 + (int32_t)chance((uint32_t)(width - wanted.col));
    }
    const int64_t size = taran_layout(program, rows, cols, &wanted, stripe, rings);
    const int64_t plane = (int64_t)rows * cols, logit_bytes = (int64_t)archive.classes * wanted.rows * wanted.cols * 4;
    if (size > MOST_BYTES || plane * archive.bands > MOST_BYTES || plane > 64 * 64)
        return;
    uint8_t *arena = memory((size_t)size), *pixels = memory((size_t)(plane * archive.bands));
    int32_t *logits = memory((size_t)logit_bytes);
    /* Every byte may be anything: the runtime must not lean on one that it did not write. */
    memset(arena, (int)chance(256), (size_t)size);
    memset(pixels, (int)chance(256), (size_t)(plane * archive.bands));
    const taran_tile tile = {pixels, plane, cols, 1, archive.bands, wanted, logits};
    taran_prepare(program, rings, arena);
    taran_compute(program, rings, arena, stripe, &taran_portable, NULL, &tile);
    free(arena), free(pixels), free(logits);
    ran++;
}

/* Takes the bytes; returns whether they were accepted. */
static int try(uint8_t *bytes, size_t size)
{
    const int32_t error = taran_archive_open(bytes, size, &archive);
    if (error == TARAN_ARCHIVE_GOOD) {
        accepted++;
        if (runs)
            run();
    } else
        refused[error]++;
    free(bytes);
    return error == TARAN_ARCHIVE_GOOD;
}

static void must_refuse(uint8_t *bytes, size_t size, const char *what, size_t at)
{
    if (!try(bytes, size))
        return;
    fprintf(stderr, "accepted, though %s at %lu\n", what, (unsigned long)at);
    exit(1);
}

/* With so many bytes from a place on set to a number; in the file's true size, and with its checksum. */
static void with(const uint8_t *bytes, size_t size, size_t at, uint32_t number, size_t count)
{
    uint8_t *copy = copy_of(bytes, size);
    put(copy + at, number, count);
    mend(copy, size);
    try(copy, size);
}

/* Which bytes any number may take without being refused: weights, and the text. */
static uint8_t *free_bytes(uint8_t *bytes, size_t size)
{
    uint8_t *is_free = calloc(size, 1);
    if (taran_archive_open(bytes, size, &archive) != TARAN_ARCHIVE_GOOD)
        exit(3);
    for (int32_t o = 0; o < archive.program.ops; o++)
        if (archive.op[o].codes != NULL)
            memset(is_free + (archive.op[o].codes - bytes), 1,
                   (size_t)(((int64_t)archive.op[o].numbers * archive.op[o].bits + 7) / 8));
    memset(is_free + size - CHECKSUM - text_of(bytes), 1, text_of(bytes));
    return is_free;
}

static void damage(uint8_t *bytes, size_t size)
{
    static const uint32_t extremes[] = {0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000,
                                        0xFFFFFFFF};
    uint8_t *is_free = free_bytes(bytes, size);
    const size_t step = size / MANY + 1;
    for (size_t i = 0; i < size; i += step)
        must_refuse(copy_of(bytes, i), i, "truncated", i);
    for (size_t more = 1; more <= 8; more++) {
        uint8_t *longer = calloc(size + more, 1);
        memcpy(longer, bytes, size);
        must_refuse(longer, size + more, "longer", more);
    }
    const size_t flips = size > LARGE ? size / 256 : 1; /* each takes the time of a whole checksum */
    for (size_t i = 0; i < size; i += flips) {
        uint8_t *copy = copy_of(bytes, size);
        copy[i] ^= (uint8_t)(1 + chance(255));
        must_refuse(copy, size, "flipped", i);
    }

    /* Checksum and size agree from here on. */
    const size_t mended = size > LARGE ? 64 : 1;
    for (size_t i = HEADER; i < size - CHECKSUM; i += step * mended) {
        uint8_t *copy = copy_of(bytes, i + CHECKSUM);
        put(copy + 12, (uint32_t)(i + CHECKSUM), 4);
        if (chance(2)) /* the text was the last of it, and may be shorter */
            put(copy + 52, (uint32_t)(52 + i - size), 4);
        mend(copy, i + CHECKSUM);
        try(copy, i + CHECKSUM);
    }
    for (size_t i = 0; i < size - CHECKSUM; i++) {
        if (is_free[i] && chance((uint32_t)(size / 16)) != 0)
            continue;
        if (mended > 1 && chance(64) != 0)
            continue;
        with(bytes, size, i, bytes[i] ^ (1 + chance(255)), 1);
        for (size_t e = 0; e < sizeof extremes / sizeof *extremes; e++) {
            const size_t count = e < 8 ? 1 : e < 11 ? 2 : 4;
            if (i + count <= size - CHECKSUM)
                with(bytes, size, i, extremes[e], count);
        }
    }
    for (int32_t round = 0; round < MANY / (int32_t)mended; round++) {
        uint8_t *copy = copy_of(bytes, size);
        for (uint32_t several = 2 + chance(6); several > 0; several--) {
            const size_t at = chance((uint32_t)(size - CHECKSUM));
            if (!is_free[at])
                copy[at] = chance(2) ? (uint8_t)chance(16) : (uint8_t)chance(256);
        }
        mend(copy, size);
        try(copy, size);
    }
    free(is_free);
}

int main(int argc, char **argv)
{
    static uint8_t all[1 << 20];
    if (argc < 4)
        return 3;
    state = strtoul(argv[1], NULL, 10);
    runs = strcmp(argv[2], "load") != 0;
    for (int each = 3; each < argc; each++) {
        FILE *file = fopen(argv[each], "rb");
        const size_t size = file == NULL ? 0 : fread(all, 1, sizeof all, file);
        uint8_t *bytes = copy_of(all, size);
        if (file != NULL)
            fclose(file);
        for (int time = 0; time < 4; time++)
            if (!try(copy_of(bytes, size), size)) {
                fprintf(stderr, "refused: %s\n", argv[each]);
                return 1;
            }
        if (strcmp(argv[2], "made") != 0)
            damage(bytes, size);
        free(bytes);
    }
    printf("accepted %ld, ran %ld, refused", accepted, ran);
    for (int32_t error = 1; error < 7; error++)
        printf(" %ld", refused[error]);
    printf("\n");
    return 0;
}
