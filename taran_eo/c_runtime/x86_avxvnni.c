/* AVX-VNNI: as AVX-512 with VNNI, in half the width and half the registers. */
#include "taran_kernels.h"

#ifdef TARAN_AVXVNNI
#define TARGET __attribute__((target("avx2,fma,avxvnni")))
#define INLINE static inline __attribute__((always_inline, target("avx2,fma,avxvnni")))
#define NAME(x) avxvnni_##x
#define PIXELS_OF_16 6
#define PIXELS_OF_32 0

#define DOT_BYTES(sums, pixels, weights) _mm256_dpbusd_avx_epi32(sums, pixels, weights)
#define DOT_PAIRS DOT_BYTES
#define DOT_WORDS(sums, pixels, weights) _mm256_dpwssd_avx_epi32(sums, pixels, weights)
#define PEAK_DOT DOT_BYTES

#include "x86_256.inc"

const taran_kernels taran_avxvnni = {"avxvnni", 0, avxvnni_convolve, avxvnni_largest, avxvnni_peak};
#endif
