/* AVX-512 with VNNI: four bytes, or two words, times as many in one instruction. */
#include "taran_kernels.h"

#ifdef TARAN_X86
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INLINE static inline __attribute__((always_inline, target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define NAME(x) avx512_##x
#define PEAK_DOT DOT_BYTES

#include "x86_512.inc"

const taran_kernels taran_avx512 = {"avx512vnni", 0, avx512_convolve, avx512_largest, avx512_peak};
#endif
