/* Images (N, H, W, C) of another size (N, P, Q, C): formulas as in the reference.

   Interpolation goes by rows: two rows of x are blended, where the output needs them, into a line, and the columns of
   this are blended into a row of y.  Backward a row of dy is first gathered into a line, then added to one or two rows of
   dx; a job has rows of dx and meets each row of dy that reaches them, from the top down.
   Maxima of bins: registers run along the channels; backward a job has up to CHANNELS of them in one image. */
#ifndef DLFAST_RESIZE_H
#define DLFAST_RESIZE_H
#include "runtime/threads.h"
#include "simd/simd.h"

#define DL_RESIZE_JOB 16384 /* elements in a job, some 5 us */
#define DL_RESIZE_JOBS 64   /* at most: each has a line of its own */
#define DL_RESIZE_CHANNELS 64

/* Where the pixels along an axis come from; for bins low is the first and high the one behind the last. */
typedef struct {
    const int64_t *low, *high;
    const double *share;
} dl_taps;

typedef struct {
    long n, h, w, c, p, q;
    const void *in; /* x or dy */
    void *out;      /* y or dx */
    int32_t *index;
    dl_taps down, across;
    long rows;   /* of a job, of all images one behind the other */
    char *lines; /* one for each job, of W C elements */
} dl_resize;

#define DL_IMPL "pool/resize.inc.h"
#include "simd/simd.h"
static const dl_job dl_blend_jobs[2][DL_ISAS] = DL_TABLE(blend_job);
static const dl_job dl_gather_jobs[2][DL_ISAS] = DL_TABLE(gather_job);
static const dl_job dl_bins_jobs[2][DL_ISAS] = DL_TABLE(bins_job);
static const dl_job dl_bins_back_jobs[2][DL_ISAS] = DL_TABLE(bins_back_job);

/* Jobs over `rows` rows of `cells` elements each.  Returns 0, or -1 when there is no memory. */
static int dl_resize_rows(dl_resize *m, dl_job fn, long rows, long cells, int dtype) {
    if (!rows || !cells) return 0;
    m->rows = dl_max(dl_ceil_div(rows, DL_RESIZE_JOBS), dl_max(1, DL_RESIZE_JOB / cells));
    const long jobs = dl_ceil_div(rows, m->rows);
    m->lines = (char *)dl_scratch(DL_SCRATCH_SHARED, (size_t)(jobs * m->w * m->c) * (dtype ? 8 : 4) + 64);
    if (!m->lines) return -1;
    dl_parallel_for(fn, m, jobs);
    return 0;
}
static int dl_blend(dl_resize *m, int dtype) {
    return dl_resize_rows(m, DL_PICK(dl_blend_jobs, dtype), m->n * m->p, m->q * m->c, dtype);
}
static int dl_gather(dl_resize *m, int dtype) {
    return dl_resize_rows(m, DL_PICK(dl_gather_jobs, dtype), m->n * m->h, m->w * m->c, dtype);
}
static void dl_bins(dl_resize *m, int dtype) {
    if (!m->n || !m->c) return;
    m->rows = dl_max(1, DL_RESIZE_JOB * m->p / (m->h * m->w * m->c));
    dl_parallel_for(DL_PICK(dl_bins_jobs, dtype), m, dl_ceil_div(m->n * m->p, m->rows));
}
static void dl_bins_back(dl_resize *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_bins_back_jobs, dtype), m, m->n * dl_ceil_div(m->c, DL_RESIZE_CHANNELS));
}
#endif
