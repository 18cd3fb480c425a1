/* Pooling of images (N, H, W, C): registers run along the channels, and every array is read once and written once.

   max: y = the largest cell of the window (NaN beats all, the first of equals wins), index = r S + s of the winner.
   avg: y = sum of the window / number of its cells.
   Both backward passes gather: a pixel of dx looks up the windows that contain it, so that rows of dx are independent
   jobs and the sum has one order, that of the windows.  Windows that lie side by side need no looking up: each writes
   its own cells.  Jobs are whole rows, as many as make JOB elements. */
#ifndef DLFAST_POOL_H
#define DLFAST_POOL_H
#include "threads.h"
#include "simd.h"

#define DL_POOL_JOB 32768 /* cells read in a job, some 5 us */

typedef struct {
    int dtype, wide_index, count_pad; /* wide_index: int32 instead of uint8 */
    long n, h, w, c, p, q, r, s, sh, sw, ph, pw, dh, dw, rows;
    const void *in; /* x or dy */
    void *out;      /* y or dx */
    void *index;
    struct dl_span *rows_of, *cols_of; /* of each p, of each q */
    long *row_windows, *col_windows;   /* [h R + r] and [w S + s]: the window whose cell that is, or -1 */
} dl_pool;

/* A window along one axis: it starts at pixel `start` (< 0 in the padding); its cells [begin, end) lie in the image. */
typedef struct dl_span {
    long start, begin, end, counted;
} dl_span;

/* Tables along one axis, so that no job divides.  Cells that count for a mean: those in the image, or with count_pad
   also those in the padding, but never what ceil_mode lets hang beyond it. */
static void dl_axis(dl_span *spans, long *windows, long out, long size, long kernel, long stride, long padding,
                    long dilation, int count_pad) {
    for (long i = 0; i < out; i++) {
        dl_span *span = spans + i;
        span->start = i * stride - padding;
        span->begin = span->start < 0 ? dl_min(dl_ceil_div(-span->start, dilation), kernel) : 0;
        span->end = span->start < size ? dl_min(kernel, (size - 1 - span->start) / dilation + 1) : 0;
        span->counted =
            count_pad ? dl_min(span->start + kernel, size + padding) - span->start : span->end - span->begin;
    }
    for (long i = 0; i < size; i++)
        for (long r = 0; r < kernel; r++) {
            const long start = i + padding - r * dilation;
            windows[i * kernel + r] = start >= 0 && start % stride == 0 && start / stride < out ? start / stride : -1;
        }
}

/* Returns 0, or -1 when there is no memory. */
static int dl_pool_tables(dl_pool *v) {
    char *room = (char *)dl_scratch(DL_SCRATCH_SHARED,
                                    sizeof(dl_span) * (v->p + v->q) + sizeof(long) * (v->h * v->r + v->w * v->s));
    if (!room) return -1;
    v->rows_of = (dl_span *)room;
    v->cols_of = v->rows_of + v->p;
    v->row_windows = (long *)(v->cols_of + v->q);
    v->col_windows = v->row_windows + v->h * v->r;
    dl_axis(v->rows_of, v->row_windows, v->p, v->h, v->r, v->sh, v->ph, v->dh, v->count_pad);
    dl_axis(v->cols_of, v->col_windows, v->q, v->w, v->s, v->sw, v->pw, v->dw, v->count_pad);
    return 0;
}

#define DL_IMPL "index_impl.h"
#include "simd.h"
#define DL_IMPL "pool_impl.h"
#include "simd.h"
static const dl_job dl_max_forward_jobs[2][DL_ISAS] = DL_TABLE(max_forward_job);
static const dl_job dl_max_backward_jobs[2][DL_ISAS] = DL_TABLE(max_backward_job);
static const dl_job dl_max_tiled_jobs[2][DL_ISAS] = DL_TABLE(max_tiled_job);
static const dl_job dl_avg_forward_jobs[2][DL_ISAS] = DL_TABLE(avg_forward_job);
static const dl_job dl_avg_backward_jobs[2][DL_ISAS] = DL_TABLE(avg_backward_job);
static const dl_job dl_avg_tiled_jobs[2][DL_ISAS] = DL_TABLE(avg_tiled_job);

static int dl_pool_run(dl_pool *v, dl_job fn, long rows, long cells_a_row) {
    if (!v->c || !rows) return 0;
    if (dl_pool_tables(v)) return -1;
    v->rows = dl_max(1, DL_POOL_JOB / dl_max(cells_a_row, 1));
    dl_parallel_for(fn, v, dl_ceil_div(rows, v->rows));
    return 0;
}
static int dl_pool_forward(dl_pool *v, int max) {
    return dl_pool_run(v, max ? DL_PICK(dl_max_forward_jobs, v->dtype) : DL_PICK(dl_avg_forward_jobs, v->dtype),
                       v->n * v->p, v->q * v->c * v->r * v->s);
}
static int dl_pool_backward(dl_pool *v, int max) {
    const int tiled = v->r == v->sh && v->s == v->sw && v->dh == 1 && v->dw == 1 && v->p && v->q;
    if (tiled)
        return dl_pool_run(v, max ? DL_PICK(dl_max_tiled_jobs, v->dtype) : DL_PICK(dl_avg_tiled_jobs, v->dtype),
                           v->n * v->p, v->w * v->c * 4 * v->r);
    return dl_pool_run(v, max ? DL_PICK(dl_max_backward_jobs, v->dtype) : DL_PICK(dl_avg_backward_jobs, v->dtype),
                       v->n * v->h, v->w * v->c * 4);
}
#endif
