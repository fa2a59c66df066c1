/* AVX-512 with VNNI: four bytes, or two words, times as many in one instruction. */
#include "taran_kernels.h"

#ifdef TARAN_X86
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline, target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define NAME(x) avx512_##x

#define VEC __m512i
#define REAL __m512
#define LANES 16
#define AT_ONCE 4
#define PIXELS_OF_16 24
#define PIXELS_OF_32 12

#define ZERO() _mm512_setzero_si512()
#define LOAD(p) _mm512_loadu_si512(p)
#define STORE(p, v) _mm512_storeu_si512(p, v)
#define SPLAT(p) _mm512_set1_epi32(taran_four(p))
#define DOT_BYTES(sums, pixels, weights) _mm512_dpbusd_epi32(sums, pixels, weights)
#define DOT_PAIRS DOT_BYTES
#define DOT_WORDS(sums, pixels, weights) _mm512_dpwssd_epi32(sums, pixels, weights)
#define PEAK_DOT DOT_BYTES

#define CONSTANT(number) _mm512_set1_ps(number)
#define TO_REAL(v) _mm512_cvtepi32_ps(v)
#define TO_INT(r) _mm512_cvtps_epi32(r)
#define TIMES(r, s) _mm512_mul_ps(r, s)
#define ADD_TIMES(a, b, c) _mm512_fmadd_ps(b, c, a)
#define LESS_TIMES(a, b, c) _mm512_fnmadd_ps(b, c, a)
#define EXPONENT(r, least) _mm512_max_ps(_mm512_and_ps(r, _mm512_castsi512_ps(_mm512_set1_epi32(0x7F800000))), least)
#define SCALES(p) \
    _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_sub_epi32(_mm512_set1_epi32(127), _mm512_loadu_si512(p)), 23))

INLINE __m512i avx512_round_to_odd(__m512i sums, int32_t places)
{
    __m512i below = _mm512_set1_epi32((1 << places) - 1);
    __m512i any = _mm512_add_epi32(_mm512_and_si512(sums, below), below);
    /* (sums | any) without what is below. */
    return _mm512_ternarylogic_epi32(sums, any, below, 0x54);
}
#define ROUND_TO_ODD(v, places) avx512_round_to_odd(v, places)

/* Packing works within quarters of a vector; afterwards these are put in order. */
INLINE void avx512_pack_bytes(uint8_t *target, __m512i a, __m512i b, __m512i c, __m512i d, int32_t zero, int32_t low,
                              int32_t high)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i first = _mm512_packs_epi32(a, b), second = _mm512_packs_epi32(c, d);
    if (zero) {
        first = _mm512_adds_epi16(first, _mm512_set1_epi16((int16_t)zero));
        second = _mm512_adds_epi16(second, _mm512_set1_epi16((int16_t)zero));
    }
    __m512i bytes = _mm512_min_epu8(_mm512_packus_epi16(first, second), _mm512_set1_epi8((int8_t)high));
    if (low)
        bytes = _mm512_max_epu8(bytes, _mm512_set1_epi8((int8_t)low));
    _mm512_storeu_si512(target, _mm512_permutexvar_epi32(order, bytes));
}
#define PACK_BYTES(target, a, b, c, d, zero, low, high) avx512_pack_bytes(target, a, b, c, d, zero, low, high)

INLINE void avx512_pack_words(uint8_t *target, __m512i a, __m512i b, int32_t low, int32_t high)
{
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    __m512i words = _mm512_min_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16((int16_t)high));
    words = _mm512_max_epi16(words, _mm512_set1_epi16((int16_t)low));
    _mm512_storeu_si512(target, _mm512_permutexvar_epi64(order, words));
}
#define PACK_WORDS(target, a, b, low, high) avx512_pack_words(target, a, b, low, high)

#include "vectors.inc"

const taran_kernels taran_avx512 = {"avx512vnni", avx512_convolve, avx512_largest, avx512_peak};
#endif
