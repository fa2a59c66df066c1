/* AVX2 and FMA: two bytes times two bytes into a word, where that fits, else words. */
#include "taran_kernels.h"

#ifdef TARAN_X86
#define TARGET __attribute__((target("avx2,fma")))
#define INLINE static inline __attribute__((always_inline, target("avx2,fma")))
#define NAME(x) avx2_##x
#define PIXELS_OF_16 4
#define PIXELS_OF_32 0

#define DOT_BYTES avx2_dot_bytes
#define DOT_PAIRS(sums, pixels, weights) \
    _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(pixels, weights), _mm256_set1_epi16(1)))
#define DOT_WORDS(sums, pixels, weights) _mm256_add_epi32(sums, _mm256_madd_epi16(pixels, weights))
#define PEAK_DOT DOT_PAIRS

#include <immintrin.h>

INLINE __m256i avx2_dot_bytes(__m256i sums, __m256i pixels, __m256i weights)
{
    __m256i even = _mm256_madd_epi16(_mm256_and_si256(pixels, _mm256_set1_epi16(255)),
                                     _mm256_srai_epi16(_mm256_slli_epi16(weights, 8), 8));
    __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(pixels, 8), _mm256_srai_epi16(weights, 8));
    return _mm256_add_epi32(sums, _mm256_add_epi32(even, odd));
}

#include "x86_256.inc"

const taran_kernels taran_avx2 = {"avx2", 0, avx2_convolve, avx2_largest, avx2_peak};
#endif
