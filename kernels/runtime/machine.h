/* What the machine can do at best, for roofs to hold kernels against: multiply-adds in registers, copies of memory. */
#ifndef DLFAST_MACHINE_H
#define DLFAST_MACHINE_H
#include "runtime/threads.h"
#include "simd/simd.h"

#define DL_FMA_STEPS 50000               /* of one job: some 0.1 ms */
#define DL_FMA_CHAINS (DL_X86 ? 12 : 16) /* more than latency times units: 4 x 2 on x86, 4 x 4 on AArch64 */
#define DL_COPY_JOB ((size_t)1 << 20)

typedef struct {
    double a;
    double *results; /* one for each job, so that no compiler drops the work */
} dl_fma;

typedef struct {
    size_t bytes;
    const char *source;
    char *target;
} dl_copy;

#define DL_IMPL "runtime/machine.inc.h"
#include "simd/simd.h"
static const dl_job dl_fma_jobs[2][DL_ISAS] = DL_TABLE(fma_job);
static const int dl_fma_lanes[2][DL_ISAS] = DL_TABLE(fma_lanes);

/* Multiply-adds count as two operations. */
static double dl_fma_run(dl_fma *m, long jobs, int dtype) {
    dl_parallel_for(DL_PICK(dl_fma_jobs, dtype), m, jobs);
    return 2.0 * DL_FMA_STEPS * DL_FMA_CHAINS * DL_PICK(dl_fma_lanes, dtype) * (double)jobs;
}

static void dl_copy_job(void *ctx, long job, long worker) {
    const dl_copy *m = (const dl_copy *)ctx;
    const size_t begin = (size_t)job * DL_COPY_JOB, left = m->bytes - begin;
    memcpy(m->target + begin, m->source + begin, left < DL_COPY_JOB ? left : DL_COPY_JOB);
    (void)worker;
}
static void dl_copy_run(dl_copy *m) {
    dl_parallel_for(dl_copy_job, m, (long)((m->bytes + DL_COPY_JOB - 1) / DL_COPY_JOB));
}
#endif
