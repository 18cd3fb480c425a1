/* Root mean square normalisation of rows x (M, C): formulas as in the reference.

   Sums along a row are kept in registers for up to BLOCK numbers, then in double.  Sums down the columns are taken for up
   to DEPTH rows in the arrays' dtype, in double for a fixed chunk of rows, and chunks are added in order. */
#ifndef DLFAST_RMS_NORM_H
#define DLFAST_RMS_NORM_H
#include "runtime/threads.h"
#include "simd/simd.h"

#define DL_RMS_CHUNKS 64
#define DL_RMS_JOB 8192 /* elements in a chunk, at least: some 2 us */
#define DL_RMS_BLOCK 4096
#define DL_RMS_DEPTH 16

typedef struct {
    long rows, cols, chunk;
    const void *x, *dy, *weight;
    void *rstd, *out; /* out: y or dx, NULL where dx is not wanted */
    double eps, *partial; /* partial: (chunks, 2 C), a row of sums and one for the arrays' dtype; NULL: no dweight */
} dl_rms_norm;

#define DL_IMPL "rowwise/rms_norm.inc.h"
#include "simd/simd.h"
static const dl_job dl_rms_forward_jobs[2][DL_ISAS] = DL_TABLE(rms_forward_job);
static const dl_job dl_rms_backward_jobs[2][DL_ISAS] = DL_TABLE(rms_backward_job);

static long dl_rms_chunks(dl_rms_norm *m) {
    m->chunk = dl_max(dl_ceil_div(DL_RMS_JOB, dl_max(m->cols, 1)), dl_ceil_div(m->rows, DL_RMS_CHUNKS));
    return dl_ceil_div(m->rows, m->chunk);
}

static void dl_rms_forward(dl_rms_norm *m, int dtype) {
    const long chunks = dl_rms_chunks(m);
    dl_parallel_for(DL_PICK(dl_rms_forward_jobs, dtype), m, chunks);
}

/* dx where there is room for it, and the sums of dweight where these are wanted.  Returns 0, or -1 without memory. */
static int dl_rms_backward(dl_rms_norm *m, double *dweight, int dtype) {
    const long chunks = dl_rms_chunks(m), n = m->cols;
    m->partial = dweight ? (double *)dl_scratch(DL_SCRATCH_SHARED, sizeof(double) * (chunks + 1) * 2 * n) : NULL;
    if (dweight && !m->partial) return -1;
    dl_parallel_for(DL_PICK(dl_rms_backward_jobs, dtype), m, chunks);
    for (long c = 0; dweight && c < n; c++)
        dweight[c] = 0;
    for (long chunk = 0; dweight && chunk < chunks; chunk++)
        for (long c = 0; c < n; c++)
            dweight[c] += m->partial[chunk * 2 * n + c];
    return 0;
}
#endif
