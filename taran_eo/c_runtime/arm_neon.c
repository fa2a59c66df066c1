/* 64-bit ARM without dot products, as in Cortex-A53. */
#include "taran_kernels.h"

#ifdef TARAN_ARM
#include <arm_neon.h>

#define TARGET
#define INLINE static inline __attribute__((always_inline))
#define NAME(x) neon_##x

/* Bytes up to 127 are signed ones too. Two products fit a word; the pairs of pairs are added up as int32. */
INLINE int32x4_t neon_dot_pairs(int32x4_t sums, int32x4_t pixels, int32x4_t weights)
{
    int8x16_t a = vreinterpretq_s8_s32(pixels), w = vreinterpretq_s8_s32(weights);
    return vpadalq_s16(sums, vpaddq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(w)), vmull_high_s8(a, w)));
}
#define DOT_PAIRS(sums, pixels, weights) neon_dot_pairs(sums, pixels, weights)

INLINE int32x4_t neon_dot_bytes(int32x4_t sums, int32x4_t pixels, int32x4_t weights)
{
    uint8x16_t a = vreinterpretq_u8_s32(pixels);
    int8x16_t w = vreinterpretq_s8_s32(weights);
    int16x8_t a0 = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(a))), w0 = vmovl_s8(vget_low_s8(w));
    int16x8_t a1 = vreinterpretq_s16_u16(vmovl_high_u8(a)), w1 = vmovl_high_s8(w);
    int32x4_t first = vpaddq_s32(vmull_s16(vget_low_s16(a0), vget_low_s16(w0)), vmull_high_s16(a0, w0));
    int32x4_t second = vpaddq_s32(vmull_s16(vget_low_s16(a1), vget_low_s16(w1)), vmull_high_s16(a1, w1));
    return vaddq_s32(sums, vpaddq_s32(first, second));
}
#define DOT_BYTES(sums, pixels, weights) neon_dot_bytes(sums, pixels, weights)

#include "arm_neon.inc"

const taran_kernels taran_neon = {"neon", 0, neon_convolve, neon_largest, neon_peak};
#endif
