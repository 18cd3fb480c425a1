/* Pooling of images (N, H, W, C): every array is read once and written once, in whole registers however few channels
   there are.

   max: y = the largest cell of the window (NaN beats all, the first of equals wins), index = r S + s of the winner.
   avg: y = sum of the window / number of its cells.
   Both backward passes gather: a pixel of dx sums what comes from the windows that contain it, in the order of the
   windows, so that rows of dx are independent jobs and the sum has one order.  Means go along the rows first: what a row
   of windows gives is the same for all rows of dx below it.  Windows that lie side by side need no
   sums: each writes its own cells.

   A row of pixels is cut into runs, within which all windows have the same cells, and a run into registers:

   - stride 1: neighbouring windows see neighbouring pixels, so a run is all of them, P C numbers side by side;
   - a stride along the row, and channels that fill their registers: a run is one pixel;
   - a stride, and channels that do not: the row is sorted by phase (the pixels 0, sw, 2 sw, .., then 1, 1 + sw, ..) on
     its way into the cache, or out of it, and windows see neighbours again.

   Where rows are short, the windows of max pooling give to their winners one by one, an image a job.

   The last register of a run overlaps the one before; only a run shorter than a register is masked.  A large dx of max
   pooling goes past the caches.  Jobs are whole rows, as many as make DL_POOL_JOB cells. */
#ifndef DLFAST_POOL_H
#define DLFAST_POOL_H
#include "runtime/threads.h"
#include "simd/simd.h"

#define DL_POOL_JOB 32768 /* cells read in a job, some 5 us */
#define DL_POOL_STREAM 4  /* see dl_streams */
#define DL_POOL_CELLS 64  /* of a window in one sum: the errors grow with the number of sums */
#define DL_POOL_RUN 12    /* numbers that can be given one by one in the time of a run */
#define DL_POOL_WASTE 7   /* channels may leave one lane in so many empty */

typedef struct {
    int dtype, wide_index, count_pad, largest; /* wide_index: int32 instead of uint8; largest: max pooling */
    long n, h, w, c, p, q, r, s, sh, sw, ph, pw, dh, dw; /* sh, sw 0: windows are bins, of r x s cells at most */
    const void *in; /* x or dy */
    void *out;      /* y or dx */
    void *index;
    /* filled in by dl_pool_plan */
    int stream;
    long phases, wide, rows;           /* rows sorted by phase, 1: as they are; numbers of a phase; rows of a job */
    struct dl_span *rows_of, *cols_of; /* of each p, of each q */
    struct dl_run *runs;
    long run_count, *offset;                /* offset: of the cells s of a window from its pixel's numbers */
    long *cells;                            /* of all cells r S + s, from the window's first pixel */
    long *row_begin, *col_begin;            /* of each h, of each w: where its claims begin, and those of the next */
    struct dl_claim *row_claims, *col_claims;
} dl_pool;

/* A window along one axis: it starts at pixel `start` (< 0 in the padding); its cells [begin, end) lie in the image. */
typedef struct dl_span {
    long start, begin, end, counted;
} dl_span;

/* `pixels` neighbours (of one phase) from `first` on, whose numbers begin at `at` of a row. */
typedef struct dl_run {
    long first, pixels, at;
} dl_run;

/* Along one axis: a window that a pixel lies in, as the window's cell number `cell`, one of `counted`. */
typedef struct dl_claim {
    long window, cell, counted;
} dl_claim;

/* Cells that count for a mean: those in the image, or with count_pad also those in the padding, but never what ceil_mode
   lets hang beyond it. */
static void dl_spans(dl_span *spans, long out, long size, long kernel, long stride, long padding, long dilation,
                     int count_pad) {
    for (long i = 0; i < out; i++) {
        dl_span *span = spans + i;
        span->start = i * stride - padding;
        span->begin = span->start < 0 ? dl_min(dl_ceil_div(-span->start, dilation), kernel) : 0;
        span->end = span->start < size ? dl_min(kernel, (size - 1 - span->start) / dilation + 1) : 0;
        span->end = dl_max(span->end, span->begin);
        span->counted =
            count_pad ? dl_min(span->start + kernel, size + padding) - span->start : span->end - span->begin;
    }
}

/* The claims of each pixel, last cell first: they are then in the order of the windows. */
static void dl_claims(const dl_span *spans, dl_claim *claims, long *begin, long out, long size, long kernel, long stride,
                      long padding, long dilation) {
    long count = 0;
    for (long i = 0; i < size; i++) {
        begin[i] = count;
        for (long r = kernel - 1; r >= 0; r--) {
            const long start = i + padding - r * dilation;
            if (start < 0 || start % stride || start / stride >= out) continue;
            claims[count++] = (dl_claim){start / stride, r, spans[start / stride].counted};
        }
    }
    begin[size] = count;
}

/* The same for `out` bins that divide an axis: bin i from floor(i size / out) to before ceil((i + 1) size / out). */
static void dl_bin_spans(dl_span *spans, long out, long size) {
    for (long i = 0; i < out; i++) {
        const long start = i * size / out, cells = dl_ceil_div((i + 1) * size, out) - start;
        spans[i] = (dl_span){start, 0, cells, cells};
    }
}
static void dl_bin_claims(const dl_span *spans, dl_claim *claims, long *begin, long out, long size) {
    long count = 0;
    for (long i = 0, low = 0; i < size; i++) {
        begin[i] = count;
        while (spans[low].start + spans[low].end <= i)
            low++;
        for (long bin = low; bin < out && spans[bin].start <= i; bin++)
            claims[count++] = (dl_claim){bin, i - spans[bin].start, spans[bin].counted};
    }
    begin[size] = count;
}

static long dl_modulo(long a, long b) { return (a % b + b) % b; }

/* The runs of a row of windows, and where their cells lie: number s of the window of pixel q at offset[s] + q step. */
static void dl_window_runs(dl_pool *v) {
    const int joined = v->phases > 1 || v->sw == 1;
    for (long s = 0; s < v->s; s++) {
        const long at = s * v->dw - v->pw, phase = dl_modulo(at, v->phases);
        v->offset[s] = phase * v->wide + (at - phase) / v->phases * v->c;
    }
    for (long q = 0; q < v->q; q++) {
        const dl_span *span = v->cols_of + q, *last = span - 1;
        if (joined && q && span->begin == last->begin && span->end == last->end && span->counted == last->counted)
            v->runs[v->run_count - 1].pixels++;
        else
            v->runs[v->run_count++] = (dl_run){q, 1, q * v->c};
    }
}

/* Whether pixel w has the claims of the pixel before it, each by the next window. */
static int dl_same_claims(const dl_pool *v, long w, long before) {
    const dl_claim *mine = v->col_claims + v->col_begin[w], *other = v->col_claims + v->col_begin[before];
    const long count = v->col_begin[w + 1] - v->col_begin[w];
    if (count != v->col_begin[before + 1] - v->col_begin[before]) return 0;
    for (long i = 0; i < count; i++)
        if (mine[i].window != other[i].window + 1 || mine[i].cell != other[i].cell || mine[i].counted != other[i].counted)
            return 0;
    return 1;
}

/* The runs of a row of dx. */
static void dl_pixel_runs(dl_pool *v) {
    const long step = v->sw == 1 ? 1 : v->phases;
    const int joined = v->phases > 1 || v->sw == 1;
    for (long phase = 0; phase < step; phase++)
        for (long w = phase, j = 0; w < v->w; w += step, j++)
            if (joined && j && dl_same_claims(v, w, w - step))
                v->runs[v->run_count - 1].pixels++;
            else
                v->runs[v->run_count++] = (dl_run){w, 1, phase * v->wide + j * v->c};
}

/* The phases that rows are sorted by. */
static long dl_pool_phases(const dl_pool *v) {
    const long lanes = dl_lanes(v->dtype), filled = dl_round_up(v->c, lanes);
    return v->sw > 1 && (v->c < lanes || (filled - v->c) * DL_POOL_WASTE > filled) ? v->sw : 1;
}

/* Tables of what all rows have in common, so that no job divides.  Returns 0, or -1 when there is no memory. */
static int dl_pool_plan(dl_pool *v, int backward) {
    v->phases = dl_pool_phases(v);
    v->wide = dl_ceil_div(v->w, v->phases) * v->c + dl_lanes(v->dtype);
    const long down = backward ? v->p * v->r : 0, across = backward ? v->q * v->s : 0;
    const size_t spans = sizeof(dl_span) * (v->p + v->q), runs = sizeof(dl_run) * (backward ? v->w : v->q);
    const size_t claims = sizeof(dl_claim) * (down + across), cells = v->wide_index ? 0 : v->r * v->s;
    const size_t numbers = sizeof(long) * (v->s + v->h + v->w + 2 + cells);
    char *room = (char *)dl_scratch(DL_SCRATCH_SHARED, spans + runs + claims + numbers);
    if (!room) return -1;
    v->rows_of = (dl_span *)room;
    v->cols_of = v->rows_of + v->p;
    v->runs = (dl_run *)(room + spans);
    v->row_claims = (dl_claim *)(room + spans + runs);
    v->col_claims = v->row_claims + down;
    v->offset = (long *)(room + spans + runs + claims);
    v->row_begin = v->offset + v->s;
    v->col_begin = v->row_begin + v->h + 1;
    v->cells = v->col_begin + v->w + 1;
    v->run_count = 0;
    if (!v->sw) {
        dl_bin_spans(v->rows_of, v->p, v->h);
        dl_bin_spans(v->cols_of, v->q, v->w);
    } else {
        dl_spans(v->rows_of, v->p, v->h, v->r, v->sh, v->ph, v->dh, v->count_pad);
        dl_spans(v->cols_of, v->q, v->w, v->s, v->sw, v->pw, v->dw, v->count_pad);
    }
    if (!backward) {
        dl_window_runs(v);
        return 0;
    }
    if (!v->sw) {
        dl_bin_claims(v->rows_of, v->row_claims, v->row_begin, v->p, v->h);
        dl_bin_claims(v->cols_of, v->col_claims, v->col_begin, v->q, v->w);
    } else {
        dl_claims(v->rows_of, v->row_claims, v->row_begin, v->p, v->h, v->r, v->sh, v->ph, v->dh);
        dl_claims(v->cols_of, v->col_claims, v->col_begin, v->q, v->w, v->s, v->sw, v->pw, v->dw);
    }
    dl_pixel_runs(v);
    return 0;
}

#define DL_IMPL "simd/index.inc.h"
#include "simd/simd.h"
#define DL_IMPL "pool/pool.inc.h"
#include "simd/simd.h"
#define DL_IMPL "pool/pool_back.inc.h"
#include "simd/simd.h"
static const dl_job dl_pool_forward_jobs[2][DL_ISAS] = DL_TABLE(pool_forward_job);
static const dl_job dl_max_gather_jobs[2][DL_ISAS] = DL_TABLE(max_gather_job);
static const dl_job dl_avg_gather_jobs[2][DL_ISAS] = DL_TABLE(avg_gather_job);
static const dl_job dl_pool_scatter_jobs[2][DL_ISAS] = DL_TABLE(pool_scatter_job);
static const dl_job dl_pool_spread_jobs[2][DL_ISAS] = DL_TABLE(pool_spread_job);

/* Whether windows that give to their winners, 4/3 ns a number, are faster than gathering: for each window that a pixel
   lies in 1/20 ns a number and 14 ns an edge of a run, besides sorting the phases.  An image is a job. */
static int dl_pool_scatters(const dl_pool *v) {
    if (v->wide_index || (v->n < 16 && v->h * v->w * v->c > DL_POOL_JOB)) return 0;
    const double claims = (double)(v->r * v->s) / (v->sh * v->sw), size = v->w * v->c;
    const int sorted = dl_pool_phases(v) > 1, apart = !sorted && v->sw > 1; /* apart: each pixel is a run */
    const double gather = claims * ((apart ? 0 : 14 * (v->s - 1)) + size / 20) + (sorted ? v->w : 0);
    return (double)(v->p * v->q * v->c) * 4 / 3 < gather * v->h;
}

/* As dl_pool_backward, for max pooling. */
static int dl_pool_scatter(dl_pool *v) {
    v->rows = dl_max(1, DL_POOL_JOB / dl_max(v->h * v->w * v->c * 4, 1));
    if (dl_pool_plan(v, 0)) return -1;
    for (long k = 0; k < v->r * v->s; k++)
        v->cells[k] = (k / v->s * v->dh * v->w + k % v->s * v->dw) * v->c;
    return dl_parallel_for(DL_PICK(dl_pool_scatter_jobs, v->dtype), v, dl_ceil_div(v->n, v->rows));
}

/* Both return 0, or -1 when there is no memory. */
static int dl_pool_forward(dl_pool *v, int max) {
    v->largest = max;
    if (!v->c || !v->n || !v->p) return 0;
    if (dl_pool_plan(v, 0)) return -1;
    v->rows = dl_max(1, DL_POOL_JOB / dl_max(v->q * v->c * v->r * v->s, 1));
    return dl_parallel_for(DL_PICK(dl_pool_forward_jobs, v->dtype), v, dl_ceil_div(v->n * v->p, v->rows));
}
static int dl_pool_backward(dl_pool *v, int max) {
    const size_t item = v->dtype ? sizeof(double) : sizeof(float);
    v->largest = max;
    if (!v->c || !v->n || !v->h) return 0;
    if (max && dl_pool_scatters(v)) return dl_pool_scatter(v);
    const int apart = v->r == v->sh && v->s == v->sw && v->dh == 1 && v->dw == 1 && v->p && v->q;
    if (dl_pool_plan(v, !apart)) return -1;
    if (apart) {
        v->rows = dl_max(1, DL_POOL_JOB / dl_max(v->w * v->c * 4 * v->r, 1));
        return dl_parallel_for(DL_PICK(dl_pool_spread_jobs, v->dtype), v, dl_ceil_div(v->n * v->p, v->rows));
    }
    v->rows = dl_max(1, DL_POOL_JOB / dl_max(v->w * v->c * 4, 1));
    if (!max) { /* what rows at the edge of a job share is computed twice */
        v->rows = dl_max(v->rows, dl_min(4 * v->r, dl_ceil_div(v->h, 4)));
        return dl_parallel_for(DL_PICK(dl_avg_gather_jobs, v->dtype), v, v->n * dl_ceil_div(v->h, v->rows));
    }
    v->stream = v->phases == 1 && v->c % dl_lanes(v->dtype) == 0 &&
                dl_streams(v->out, item * v->n * v->h * v->w * v->c, item * v->c, DL_POOL_STREAM);
    return dl_parallel_for(DL_PICK(dl_max_gather_jobs, v->dtype), v, dl_ceil_div(v->n * v->h, v->rows));
}
#endif
