/* For machines with an operating system. */
#ifndef TARAN_HOST_H
#define TARAN_HOST_H

#include "taran.h"

/* The kernels that were built, the fastest first, and whether this processor has them; NULL behind the last. */
const taran_kernels *taran_kernels_at(int32_t place, int32_t *here);
const char *taran_kernels_name(const taran_kernels *kernels);
int64_t taran_kernels_peak(const taran_kernels *kernels, int64_t rounds);

/* Threads, as many as can be had of those asked for; 0 where there is no memory for them. */
int taran_workers_open(taran_workers *workers, int32_t threads);
void taran_workers_close(taran_workers *workers);

#endif
