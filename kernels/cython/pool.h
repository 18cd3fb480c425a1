/* Pooling of images (N, H, W, C): registers run along the channels, and every array is read once and written once.

   max: y = the largest cell of the window (NaN beats all, the first of equals wins), index = r S + s of the winner.
   avg: y = sum of the window / number of its cells.
   Both backward passes gather: a pixel of dx looks up the windows that contain it, so that rows of dx are independent
   jobs and the sum has one order, that of the windows.  Windows that lie side by side need no looking up: each writes
   its own cells.  A large dx of max pooling goes past the caches, a whole register at a time.  Jobs are whole rows, as
   many as make JOB elements. */
#ifndef DLFAST_POOL_H
#define DLFAST_POOL_H
#include "threads.h"
#include "simd.h"

#define DL_POOL_JOB 32768 /* cells read in a job, some 5 us */
#define DL_POOL_STREAM ((size_t)8 << 20) /* bytes of a dx that is written past the caches */
#define DL_CLAIMS 4                      /* windows whose gradients a pixel adds up in registers */

typedef struct {
    int dtype, wide_index, count_pad, stream; /* wide_index: int32 instead of uint8 */
    long n, h, w, c, p, q, r, s, sh, sw, ph, pw, dh, dw, rows;
    const void *in; /* x or dy */
    void *out;      /* y or dx */
    void *index;
    struct dl_span *rows_of, *cols_of; /* of each p, of each q */
    long *row_windows, *col_windows;   /* [h R + r] and [w S + s]: the window whose cell that is, or -1 */
} dl_pool;

/* A window that a pixel lies in: its dy and index, from channel 0 on, and the pixel's number in it. */
typedef struct dl_claim {
    const void *dy, *index;
    long cell;
} dl_claim;

/* The same along one axis: how far its numbers lie from the first window's, and its part of the cell's number. */
typedef struct dl_axis_claim {
    long at, cell;
} dl_axis_claim;

/* A window along one axis: it starts at pixel `start` (< 0 in the padding); its cells [begin, end) lie in the image. */
typedef struct dl_span {
    long start, begin, end, counted;
} dl_span;

/* Tables along one axis, so that no job divides; with the windows that hold a pixel if `windows` is not NULL.  Cells
   that count for a mean: those in the image, or with count_pad also those in the padding, but never what ceil_mode lets
   hang beyond it. */
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
    for (long i = 0; windows && i < size; i++)
        for (long r = 0; r < kernel; r++) {
            const long start = i + padding - r * dilation;
            windows[i * kernel + r] = start >= 0 && start % stride == 0 && start / stride < out ? start / stride : -1;
        }
}

/* Returns 0, or -1 when there is no memory.  gather: with the tables for looking up a pixel's windows. */
static int dl_pool_tables(dl_pool *v, int gather) {
    const size_t spans = sizeof(dl_span) * (v->p + v->q), entries = gather ? v->h * v->r + v->w * v->s : 0;
    char *room = (char *)dl_scratch(DL_SCRATCH_SHARED, spans + sizeof(long) * entries);
    if (!room) return -1;
    v->rows_of = (dl_span *)room;
    v->cols_of = v->rows_of + v->p;
    v->row_windows = gather ? (long *)(room + spans) : NULL;
    v->col_windows = gather ? v->row_windows + v->h * v->r : NULL;
    dl_axis(v->rows_of, v->row_windows, v->p, v->h, v->r, v->sh, v->ph, v->dh, v->count_pad);
    dl_axis(v->cols_of, v->col_windows, v->q, v->w, v->s, v->sw, v->pw, v->dw, v->count_pad);
    return 0;
}

#define DL_IMPL "index_impl.h"
#include "simd.h"
#define DL_IMPL "pool_max_impl.h"
#include "simd.h"
#define DL_IMPL "pool_impl.h"
#include "simd.h"
static const dl_job dl_max_forward_jobs[2][DL_ISAS] = DL_TABLE(max_forward_job);
static const dl_job dl_max_backward_jobs[2][DL_ISAS] = DL_TABLE(max_backward_job);
static const dl_job dl_max_tiled_jobs[2][DL_ISAS] = DL_TABLE(max_tiled_job);
static const dl_job dl_avg_forward_jobs[2][DL_ISAS] = DL_TABLE(avg_forward_job);
static const dl_job dl_avg_tiled_jobs[2][DL_ISAS] = DL_TABLE(avg_tiled_job);
static const dl_job dl_avg_backward_jobs[2][DL_ISAS] = DL_TABLE(avg_backward_job);

static int dl_pool_run(dl_pool *v, dl_job fn, int gather, long rows, long cells_a_row) {
    if (!v->c || !rows) return 0;
    if (dl_pool_tables(v, gather)) return -1;
    v->rows = dl_max(1, DL_POOL_JOB / dl_max(cells_a_row, 1));
    dl_parallel_for(fn, v, dl_ceil_div(rows, v->rows));
    return 0;
}
static int dl_pool_forward(dl_pool *v, int max) {
    const dl_job fn = max ? DL_PICK(dl_max_forward_jobs, v->dtype) : DL_PICK(dl_avg_forward_jobs, v->dtype);
    return dl_pool_run(v, fn, 0, v->n * v->p, v->q * v->c * v->r * v->s);
}
static int dl_pool_backward(dl_pool *v, int max) {
    const dl_job tiled = max ? DL_PICK(dl_max_tiled_jobs, v->dtype) : DL_PICK(dl_avg_tiled_jobs, v->dtype);
    const dl_job fn = max ? DL_PICK(dl_max_backward_jobs, v->dtype) : DL_PICK(dl_avg_backward_jobs, v->dtype);
    if (v->r == v->sh && v->s == v->sw && v->dh == 1 && v->dw == 1 && v->p && v->q)
        return dl_pool_run(v, tiled, 0, v->n * v->p, v->w * v->c * 4 * v->r);
    const size_t item = v->dtype ? sizeof(double) : sizeof(float);
    const int once = v->dh == 1 && v->dw == 1 && dl_ceil_div(v->r, v->sh) * dl_ceil_div(v->s, v->sw) <= DL_CLAIMS;
    v->stream = max && once && dl_streams(v->out, item * v->n * v->h * v->w * v->c, item * v->c, DL_POOL_STREAM);
    return dl_pool_run(v, fn, 1, v->n * v->h, v->w * v->c * 4);
}
#endif
