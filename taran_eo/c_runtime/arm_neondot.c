/* 64-bit ARM with dot products of signed bytes, from Armv8.2 on. */
#include "taran_kernels.h"

#ifdef TARAN_ARM
#ifdef __clang__
#define TARGET __attribute__((target("dotprod")))
#define INLINE static inline __attribute__((always_inline, target("dotprod")))
#else
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#define INLINE static inline __attribute__((always_inline, target("arch=armv8.2-a+dotprod")))
#endif
#define NAME(x) neondot_##x
#include <arm_neon.h>

/* Bytes up to 127 are signed ones too. */
#define DOT_PAIRS(sums, pixels, weights) \
    vdotq_s32(sums, vreinterpretq_s8_s32(weights), vreinterpretq_s8_s32(pixels))

/* Beyond, the highest bit is counted by itself. */
INLINE int32x4_t neondot_dot_bytes(int32x4_t sums, int32x4_t pixels, int32x4_t weights)
{
    uint8x16_t a = vreinterpretq_u8_s32(pixels);
    int8x16_t w = vreinterpretq_s8_s32(weights);
    sums = vdotq_s32(sums, w, vreinterpretq_s8_u8(vandq_u8(a, vdupq_n_u8(127))));
    int32x4_t highest = vdotq_s32(vdupq_n_s32(0), w, vreinterpretq_s8_u8(vshrq_n_u8(a, 7)));
    return vaddq_s32(sums, vshlq_n_s32(highest, 7));
}
#define DOT_BYTES(sums, pixels, weights) neondot_dot_bytes(sums, pixels, weights)

#include "arm_neon.inc"

const taran_kernels taran_neondot = {"neondot", 0, neondot_convolve, neondot_largest, neondot_peak};
#endif
