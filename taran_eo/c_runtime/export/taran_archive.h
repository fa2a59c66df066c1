/* Loads a model that was packed into an archive, for the runtime of taran.h; ARCHIVE.md specifies the file.
 *
 *     static taran_archive archive;
 *     if (taran_archive_open(bytes, size, &archive) != TARAN_ARCHIVE_GOOD)
 *         ...                                    not to be flown
 *     taran_layout(&archive.program, ...)        and so on, as taran.h says
 *
 * Whatever the bytes are, nothing beyond them is read. What is accepted can be run, with any stripe, on any tile whose
 * rows and columns are multiples of `alignment` and no more than TARAN_ARCHIVE_SIDE, of so many `bands`: it stays within
 * the arena that taran_layout asks for. Of any byte order, and bytes may lie anywhere.
 */
#ifndef TARAN_ARCHIVE_H
#define TARAN_ARCHIVE_H

#include "taran.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What there is room for. */
#ifndef TARAN_ARCHIVE_STEPS
#define TARAN_ARCHIVE_STEPS 64
#endif
#ifndef TARAN_ARCHIVE_SEGMENTS
#define TARAN_ARCHIVE_SEGMENTS 512 /* rows of kernels, times the tensors that each reads */
#endif
#ifndef TARAN_ARCHIVE_NUMBERS
#define TARAN_ARCHIVE_NUMBERS 16384 /* three for each channel of a convolution */
#endif

enum {
    TARAN_ARCHIVE_GOOD = 0,
    TARAN_ARCHIVE_SHORT = 1,    /* fewer bytes, or more, than were written */
    TARAN_ARCHIVE_STRANGE = 2,  /* no archive */
    TARAN_ARCHIVE_VERSION = 3,  /* of another version */
    TARAN_ARCHIVE_CHECKSUM = 4, /* some bytes are not those that were written */
    TARAN_ARCHIVE_TABLE = 5,    /* tables that no network has */
    TARAN_ARCHIVE_ROOM = 6      /* more than there is room for */
};

enum {
    TARAN_ARCHIVE_DIGEST = 32, /* bytes */
    TARAN_ARCHIVE_FORMATS = 16,
    TARAN_ARCHIVE_VALUES = 16 * 256, /* of all formats */
    TARAN_ARCHIVE_CHANNELS = 4096,
    TARAN_ARCHIVE_KERNEL = 15,
    TARAN_ARCHIVE_LEVELS = 10,
    TARAN_ARCHIVE_SIDE = 32768
};

/* Stays where it was filled in, as it points into itself; and the archive too, as codes are read where they lie. */
typedef struct {
    taran_program program;
    const uint8_t *digest; /* the SHA-256 that says which network it is */
    int32_t bands, classes, alignment;
    taran_tensor tensor[TARAN_ARCHIVE_STEPS];
    taran_op op[TARAN_ARCHIVE_STEPS];
    taran_segment segment[TARAN_ARCHIVE_SEGMENTS];
    int32_t numbers[TARAN_ARCHIVE_NUMBERS];
    int16_t values[TARAN_ARCHIVE_VALUES];
} taran_archive;

/* Check and take an archive; returns TARAN_ARCHIVE_GOOD, or why it cannot be flown. */
int32_t taran_archive_open(const uint8_t *bytes, size_t size, taran_archive *archive);

#ifdef __cplusplus
}
#endif

#endif
