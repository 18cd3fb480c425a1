/* Batch and layer normalisation of rows x (M, C): formulas as in the reference.

   Sums down the columns are double partial sums of fixed chunks of rows, added in order; the variance is that of x -
   mean, a second pass, because the difference of squares would cancel.  layer_norm reads a row three times while it is
   in cache. */
#ifndef DLFAST_NORM_H
#define DLFAST_NORM_H
#include "threads.h"
#include "simd.h"

#define DL_NORM_CHUNKS 64
#define DL_NORM_JOB 8192 /* elements in a chunk, at least: some 5 us */

typedef struct {
    long rows, cols, chunk;
    const void *x, *dy, *scale, *shift, *a, *b;
    void *mean, *rstd, *out; /* of each column for batch_norm, of each row for layer_norm */
    const double *centre;
    double *partial, eps;
} dl_norm;

#define DL_IMPL "norm_impl.h"
#include "simd.h"
enum { DL_NORM_SUM, DL_BATCH_NORM, DL_BATCH_NORM_SUMS, DL_BATCH_NORM_BACK, DL_LAYER_NORM, DL_LAYER_NORM_BACK };
static const dl_job dl_norm_jobs[6][2][DL_ISAS] = {DL_TABLE(norm_sum_job),        DL_TABLE(batch_norm_job),
                                                   DL_TABLE(batch_norm_sums_job), DL_TABLE(batch_norm_back_job),
                                                   DL_TABLE(layer_norm_job),      DL_TABLE(layer_norm_back_job)};

/* Runs one pass over the rows; with `sums` (2 cols) the partial sums of the chunks are added into it.
   Returns 0, or -1 when there is no memory. */
static int dl_norm_run(dl_norm *m, int pass, double *sums, int dtype) {
    m->chunk = dl_max(dl_ceil_div(DL_NORM_JOB, dl_max(m->cols, 1)), dl_ceil_div(m->rows, DL_NORM_CHUNKS));
    const long chunks = dl_ceil_div(m->rows, m->chunk), width = 2 * m->cols;
    m->partial = (double *)dl_scratch(DL_SCRATCH_SHARED, sizeof(double) * (chunks + 1) * width);
    if (!m->partial) return -1;
    dl_parallel_for(DL_PICK(dl_norm_jobs[pass], dtype), m, chunks);
    if (!sums) return 0;
    const long used = pass == DL_NORM_SUM ? m->cols : width;
    memset(sums, 0, sizeof(double) * width);
    for (long chunk = 0; chunk < chunks; chunk++)
        for (long c = 0; c < used; c++)
            sums[c] += m->partial[chunk * width + c];
    return 0;
}
#endif
