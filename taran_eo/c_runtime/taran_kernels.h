/* What the kernels of each kind of processor share. */
#ifndef TARAN_KERNELS_H
#define TARAN_KERNELS_H

#include <string.h>

#include "taran.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define TARAN_X86
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
#define TARAN_AVXVNNI
#ifdef __linux__ /* elsewhere the permission to use it is asked for in other ways */
#define TARAN_AMX
#endif
#endif
#elif defined(__aarch64__) && defined(__GNUC__)
#define TARAN_ARM
#endif

#define TARAN_PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define UNROLL TARAN_PRAGMA(clang loop unroll(full))
#else
#define UNROLL TARAN_PRAGMA(GCC unroll 64)
#endif

/* Keeps the compiler from moving a loop's work out of it. */
#ifdef TARAN_X86
#define KEEP(v) __asm__ volatile("" : "+x"(v))
#else
#define KEEP(v) __asm__ volatile("" : "+w"(v))
#endif

static inline int32_t taran_four(const uint8_t *bytes)
{
    int32_t number;
    memcpy(&number, bytes, sizeof number);
    return number;
}

#endif
