/* For machines with an operating system: which kernels this processor has, and threads. */
#include "taran_host.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "taran_kernels.h"

#ifdef TARAN_X86
#include <cpuid.h>
extern const taran_kernels taran_avx512, taran_avx2;
#ifdef TARAN_AVXVNNI
extern const taran_kernels taran_avxvnni;
#endif
#ifdef TARAN_AMX
#include <sys/syscall.h>
#include <unistd.h>
extern const taran_kernels taran_amx;

/* The registers of AMX are large, so the system keeps them only for a process that has asked for it. */
static int may_use_amx(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
}
#endif

/* What the operating system keeps of registers, as bits of XCR0. */
static uint32_t kept_registers(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return 0;
    __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a;
}

static int has(const taran_kernels *kernels)
{
    uint32_t a, b, c, d, b1 = 0, c1 = 0, d1 = 0, a7 = 0, more, kept = kept_registers();
    int fma = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_FMA);
    if (__get_cpuid_count(7, 0, &more, &b, &c, &d)) {
        b1 = b, c1 = c, d1 = d;
        if (more >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
            a7 = a;
    }
    int avx2 = (kept & 6) == 6 && fma && (b1 & bit_AVX2);
    const uint32_t needed = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    int avx512 = (kept & 0xE6) == 0xE6 && (b1 & needed) == needed && (c1 & bit_AVX512VNNI);
    if (kernels == &taran_avx512)
        return avx512;
#ifdef TARAN_AMX
    if (kernels == &taran_amx)
        return avx512 && (kept & 0x60000) == 0x60000 && (d1 & 1 << 24) && (d1 & 1 << 25) && may_use_amx();
#else
    (void)d1;
#endif
#ifdef TARAN_AVXVNNI
    if (kernels == &taran_avxvnni)
        return avx2 && (a7 & 1 << 4);
#endif
    return avx2;
}

static const taran_kernels *const all[] = {
#ifdef TARAN_AMX
    &taran_amx,
#endif
    &taran_avx512,
#ifdef TARAN_AVXVNNI
    &taran_avxvnni,
#endif
    &taran_avx2,
    &taran_portable,
};
#elif defined(TARAN_ARM)
#ifdef __linux__
#include <sys/auxv.h>
#endif
extern const taran_kernels taran_neondot, taran_neon;

static int has(const taran_kernels *kernels)
{
#ifdef __linux__
    return kernels == &taran_neon || (getauxval(AT_HWCAP) & 1 << 20); /* HWCAP_ASIMDDP */
#else
    return kernels == &taran_neon;
#endif
}

static const taran_kernels *const all[] = {&taran_neondot, &taran_neon, &taran_portable};
#else
static int has(const taran_kernels *kernels)
{
    (void)kernels;
    return 0;
}

static const taran_kernels *const all[] = {&taran_portable};
#endif

const taran_kernels *taran_kernels_at(int32_t place, int32_t *here)
{
    if (place < 0 || place >= (int32_t)(sizeof all / sizeof *all))
        return NULL;
    *here = all[place] == &taran_portable || has(all[place]);
    return all[place];
}

const char *taran_kernels_name(const taran_kernels *kernels)
{
    return kernels->name;
}

int64_t taran_kernels_peak(const taran_kernels *kernels, int64_t rounds)
{
    return kernels->peak(rounds);
}

/* ---- threads that share the units of a stripe ---- */

/* A wait is first spent spinning, as the next stripe mostly comes within microseconds, then asleep. */
enum { SPINS = 20000 };

typedef struct {
    taran_body *body;
    void *context;
    int32_t units, next, left; /* next to be taken; helpers still at work */
    uint32_t round;            /* counts the stripes */
    int32_t stop, asleep;
    pthread_mutex_t lock;
    pthread_cond_t begin;
    int32_t helpers;
    pthread_t threads[];
} crew;

static void pause_a_little(int32_t spins)
{
    if (spins % 64 == 63)
        sched_yield();
#ifdef TARAN_X86
    __builtin_ia32_pause();
#endif
}

static void take_units(crew *self)
{
    int32_t unit;
    while ((unit = __atomic_fetch_add(&self->next, 1, __ATOMIC_RELAXED)) < self->units)
        self->body(self->context, unit);
}

static void *help(void *argument)
{
    crew *self = argument;
    uint32_t seen = 0;
    for (;;) {
        for (int32_t spins = 0; spins < SPINS && __atomic_load_n(&self->round, __ATOMIC_ACQUIRE) == seen; spins++)
            pause_a_little(spins);
        if (__atomic_load_n(&self->round, __ATOMIC_ACQUIRE) == seen) {
            pthread_mutex_lock(&self->lock);
            __atomic_fetch_add(&self->asleep, 1, __ATOMIC_SEQ_CST);
            while (__atomic_load_n(&self->round, __ATOMIC_SEQ_CST) == seen)
                pthread_cond_wait(&self->begin, &self->lock);
            __atomic_fetch_sub(&self->asleep, 1, __ATOMIC_SEQ_CST);
            pthread_mutex_unlock(&self->lock);
        }
        seen++;
        if (__atomic_load_n(&self->stop, __ATOMIC_ACQUIRE))
            return NULL;
        take_units(self);
        __atomic_fetch_sub(&self->left, 1, __ATOMIC_ACQ_REL);
    }
}

static void begin_round(crew *self)
{
    __atomic_store_n(&self->left, self->helpers, __ATOMIC_RELAXED);
    __atomic_fetch_add(&self->round, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&self->asleep, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&self->lock);
        pthread_cond_broadcast(&self->begin);
        pthread_mutex_unlock(&self->lock);
    }
}

static void run_units(void *argument, int32_t units, taran_body *body, void *context)
{
    crew *self = argument;
    self->body = body, self->context = context, self->units = units;
    __atomic_store_n(&self->next, 0, __ATOMIC_RELAXED);
    begin_round(self);
    take_units(self);
    for (int32_t spins = 0; __atomic_load_n(&self->left, __ATOMIC_ACQUIRE); spins++)
        pause_a_little(spins);
}

int taran_workers_open(taran_workers *workers, int32_t threads)
{
    crew *self = calloc(1, sizeof *self + (size_t)(threads > 1 ? threads - 1 : 0) * sizeof(pthread_t));
    if (self == NULL)
        return 0;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->begin, NULL);
    while (self->helpers < threads - 1 && !pthread_create(&self->threads[self->helpers], NULL, help, self))
        self->helpers++;
    workers->run = run_units;
    workers->self = self;
    workers->threads = 1 + self->helpers;
    return 1;
}

void taran_workers_close(taran_workers *workers)
{
    crew *self = workers->self;
    __atomic_store_n(&self->stop, 1, __ATOMIC_RELEASE);
    begin_round(self);
    for (int32_t i = 0; i < self->helpers; i++)
        pthread_join(self->threads[i], NULL);
    pthread_cond_destroy(&self->begin);
    pthread_mutex_destroy(&self->lock);
    free(self);
}
