/* Layer normalisation of rows x (M, C): formulas as in the reference.

   A row is read three times while it is in cache.  Its mean is that of x - x_0, so that rows far from 0 keep their
   digits, and the mean of what is left once it is subtracted, below a rounding, counts too.  Sums down the columns are
   those of DL_NORM_DEPTH rows, added up in double for fixed chunks of rows, which are added in order. */
#ifndef DLFAST_NORM_H
#define DLFAST_NORM_H
#include "runtime/threads.h"
#include "simd/simd.h"

#define DL_NORM_CHUNKS 64
#define DL_NORM_DEPTH 64 /* rows in a sum that is not double */
#define DL_NORM_JOB 8192 /* elements in a chunk, at least: some 5 us */

typedef struct {
    long rows, cols, chunk;
    const void *x, *dy, *scale, *shift;
    void *mean, *rstd, *out;
    double *partial, eps;
} dl_norm;

#define DL_IMPL "rowwise/norm.inc.h"
#include "simd/simd.h"
static const dl_job dl_layer_norm_jobs[2][DL_ISAS] = DL_TABLE(layer_norm_job);
static const dl_job dl_layer_norm_back_jobs[2][DL_ISAS] = DL_TABLE(layer_norm_back_job);

/* The forward, or with `sums` (2 cols) the backward: the partial sums of the chunks are added into it.
   Returns 0, or -1 when there is no memory. */
static int dl_layer_norm_run(dl_norm *m, double *sums, int dtype) {
    m->chunk = dl_max(dl_ceil_div(DL_NORM_JOB, dl_max(m->cols, 1)), dl_ceil_div(m->rows, DL_NORM_CHUNKS));
    const long chunks = dl_ceil_div(m->rows, m->chunk), width = 2 * m->cols;
    m->partial = (double *)dl_scratch(DL_SCRATCH_SHARED, sizeof(double) * (chunks * 2 * width + 1));
    if (!m->partial) return -1;
    dl_parallel_for(sums ? DL_PICK(dl_layer_norm_back_jobs, dtype) : DL_PICK(dl_layer_norm_jobs, dtype), m, chunks);
    if (!sums) return 0;
    memset(sums, 0, sizeof(double) * width);
    for (long chunk = 0; chunk < chunks; chunk++)
        for (long c = 0; c < width; c++)
            sums[c] += m->partial[chunk * 2 * width + c];
    return 0;
}
#endif
