/* Direct convolution: the forward and the gradient of the image are brgemm.h, which takes any; here are the parts for
   few channels, where an image row under a kernel row is one contiguous run x[p sh + r dh, q sw : q sw + S, :].

   The gradient of the weights is the product the other way round,

       dweight[k, (r, s, c)] = sum over pixels (p, q) of dz[p, q, k] x[p sh + r dh, q sw + s, c]

   where a tile (taps x output channels) runs through the pixels of a block.  dz = dy act'(y) of that block is made on
   the way, and summed for dbias: dy and y are read once and dz is never written to memory.

   The gradient of an image of few channels is a product with the rows of dz as the image and the columns (s, c) of the
   weights as outputs: for one row h,

       u[q, (s, c)] = sum over r, k of dz[p, q, k] w[k, r, s, c],  p sh + r dh - top = h
       dx[h, w, c] = sum over s of u[q, (s, c)],  q sw + s - left = w

   so that 3 or 6 channels fill the registers all the same, and u stays in L1.

   With max-pooling in windows side by side behind it, the forward keeps the lines of a row of windows in cache, or
   windows of 2 x 2 pixels in registers, and writes the largest of each and its place; the gradient of a window goes back
   to that place when dz is made, or straight to the weights (direct_sparse.inc.h).  With average-pooling behind it, the
   backward makes dz of a whole image in cache, for both gradients.

   All this is without dilation along the row and without groups.  Source: Zhang, Franchetti and Low 2018, "High Performance
   Zero-Memory Overhead Direct Convolutions". */
#ifndef DLFAST_DIRECT_H
#define DLFAST_DIRECT_H
#include "conv/brgemm.h"

#define DL_DIRECT_BYTES 32768       /* of image rows: they share L1 and L2 with the packed weights */
#define DL_DIRECT_BLOCK 24576       /* bytes of dz in L1 */
#define DL_DIRECT_JOB_WORK 500000.0 /* multiplications: some 10 us */
#define DL_DIRECT_CHUNK_WORK 60000.0 /* multiplications in a partial sum of the weight gradient, at least, */
#define DL_DIRECT_PARTIALS 16       /* of the weight gradient, at most */
#define DL_DIRECT_RUN 4096          /* pixels of a row in one sum: the errors grow with the number of sums */
#define DL_DIRECT_COLLECT 4         /* multiplications that take as long as collecting one register */
#define DL_DIRECT_SUM_SERIAL 65536  /* numbers that one thread adds sooner than it wakes another */

typedef struct dl_direct {
    const dl_conv *v;
    const void *x, *weight, *bias, *dy, *y; /* y: NULL without activation */
    void *out, *dbias, *index;              /* index: the winners of windows, or NULL */
    const struct dl_direct *dx;             /* the plan for the gradient of the image from the same dz, or NULL */
    long pool_h, pool_w;                    /* of windows, 1 without */
    long cells;                             /* pixels of dy: windows where there are some */
    int mean;                               /* dy is that of the means of windows */
    int wide, sparse;                       /* int32 in the index instead of uint8; direct_sparse.inc.h may serve */
    char *packed; /* panels of the weights, or the partial sums */
    long line, depth, npad; /* numbers in a padded image row; R S C; columns in whole registers */
    dl_run *runs;           /* the kernel rows */
    long rows, blocks;      /* output rows (of dx: image rows) in a block; blocks in an image */
    long lowest, highest;   /* output pixels of a row that an image row's taps reach, those beyond its ends included */
    long chunk, chunks, tall; /* output rows of all images in a partial sum; rows of such a sum, the last for dbias */
} dl_direct;

/* What windows in registers sum over: `run` numbers of each of `rows` kernel rows.  step: from pixel to pixel of the
   image, down: from kernel row to kernel row. */
typedef struct {
    long step, down, run, rows;
} dl_taps;

/* Heights of the register tiles with 4 registers and 2; DL_HIGH1 and DL_LOW1 of those with one. */
#define DL_HIGH4 (DL_MR / 2)
#define DL_HIGH2 DL_MR
#define DL_LOW2 (DL_MR * 5 / 6)

#define DL_IMPL "conv/direct_tile.inc.h"
#include "simd/simd.h"
#define DL_IMPL "conv/direct_pool.inc.h"
#include "simd/simd.h"
#define DL_IMPL "conv/direct_window.inc.h"
#include "simd/simd.h"
#define DL_IMPL "conv/direct.inc.h"
#include "simd/simd.h"
#define DL_IMPL "conv/direct_sparse.inc.h"
#include "simd/simd.h"
#define DL_IMPL "conv/direct_gradient.inc.h"
#include "simd/simd.h"
static const dl_job dl_direct_pack_jobs[2][DL_ISAS] = DL_TABLE(direct_pack_job);
static const dl_job dl_direct_window_jobs[2][DL_ISAS] = DL_TABLE(direct_window_job);
static const dl_job dl_direct_gradient_jobs[2][DL_ISAS] = DL_TABLE(direct_gradient_job);
static const dl_job dl_direct_sum_jobs[2][DL_ISAS] = DL_TABLE(direct_sum_job);
static const dl_job dl_direct_dx_pack_jobs[2][DL_ISAS] = DL_TABLE(direct_dx_pack_job);
static const dl_job dl_direct_dx_jobs[2][DL_ISAS] = DL_TABLE(direct_dx_job);

/* v: only the output that windows cover, where there are windows. */
static dl_direct dl_direct_plan(const dl_conv *v, const void *x) {
    return (dl_direct){.v = v,
                       .x = x,
                       .pool_h = 1,
                       .pool_w = 1,
                       .cells = v->n * v->p * v->q,
                       .line = ((dl_max(v->q, 1) - 1) * v->sw + v->s) * v->c,
                       .depth = v->r * v->s * v->c,
                       .npad = dl_round_up(v->k, dl_lanes(v->dtype))};
}

/* y (N, P, Q, K), and the means of its windows.  Returns 0, or -1 when there is no memory; also below. */
static int dl_direct_means(const dl_conv *v, long pool_h, long pool_w, const void *x, const void *weight,
                           const void *bias, void *y, void *means) {
    return dl_brgemm_forward(v, x, weight, bias, y, means, pool_h, pool_w);
}

static int dl_direct_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y) {
    return dl_brgemm_forward(v, x, weight, bias, y, NULL, 1, 1);
}

/* Whether the columns (s, c) of the weights take less work as outputs than the channels c: these may leave registers
   half empty, and meet the zeros around dz; those have to be collected. */
static int dl_direct_collects(const dl_conv *v) {
    if (v->groups > 1 || v->dw > 1) return 0;
    const double lanes = dl_lanes(v->dtype), across = ceil(v->s * v->c / lanes), deep = ceil(v->c / lanes);
    const double of_columns = (double)v->p * dl_round_up(v->q, dl_tile_rows(v->dtype)) * v->r * v->k * across;
    const double of_channels = (double)v->h * v->w * v->r * v->s * v->k * deep / (v->sh * v->sw);
    const double collected = (double)DL_DIRECT_COLLECT * v->h * v->w * v->s * deep / v->sw;
    return of_columns + collected < of_channels;
}

/* The gradient of the image, but for dz and the packed weights. */
static dl_direct dl_direct_dx_plan(const dl_conv *v, const void *weight, void *dx) {
    return (dl_direct){.v = v,
                       .weight = weight,
                       .out = dx,
                       .npad = dl_round_up(v->s * v->c, dl_lanes(v->dtype)),
                       .lowest = dl_min(0, -dl_ceil_div(dl_max(0, v->s - 1 - v->left), v->sw)),
                       .highest = dl_max(v->q - 1, dl_max(0, v->w - 1 + v->left) / v->sw)};
}
static size_t dl_direct_dx_bytes(const dl_direct *d) {
    return dl_item(d->v->dtype) * d->v->r * d->v->k * d->npad + 64;
}
static int dl_direct_dx_pack(dl_direct *d, char *packed) {
    const dl_conv *v = d->v;
    d->packed = packed;
    return dl_launch(DL_PICK(dl_direct_dx_pack_jobs, v->dtype), d, dl_ceil_div(v->s * v->c, dl_tile_cols(v->dtype)),
                     d->npad * v->r * v->k < DL_DIRECT_SUM_SERIAL);
}

/* dweight and dbias, each unless NULL, from d->dy and the output d->y (NULL without activation); and dx, unless NULL. */
static int dl_direct_sums(dl_direct *d, void *dweight, void *dbias, dl_direct *dx) {
    const dl_conv *v = d->v;
    const size_t item = dl_item(v->dtype);
    const long lines = v->n * v->p;
    const double row_work = (double)v->q * v->k * dl_max(d->depth, 1);
    if (!v->k) return 0;
    d->out = dweight;
    d->dbias = dbias;
    d->rows = DL_DIRECT_BLOCK / (dl_max(v->q, 1) * d->npad * (long)item);
    d->rows = d->mean ? v->p : dl_max(1, d->rows / d->pool_h) * d->pool_h;
    d->chunk = dl_max(dl_ceil_div(lines, DL_DIRECT_PARTIALS), (long)(DL_DIRECT_CHUNK_WORK / dl_max(row_work, 1)) + 1);
    d->chunk = dl_round_up(d->chunk, d->mean ? v->p : d->pool_h);
    d->chunks = dl_max(1, dl_ceil_div(lines, d->chunk));
    d->tall = d->depth + 2 * dl_tile_rows(v->dtype) + 1;
    const size_t sums = dl_round_up(item * d->chunks * d->tall * d->npad, 64);
    d->packed = (char *)dl_scratch(DL_SCRATCH_SHARED, sums + (dx ? dl_direct_dx_bytes(dx) : 0));
    if (!d->packed) return -1;
    if (dx && dl_direct_dx_pack(dx, d->packed + sums)) return -1;
    d->dx = dx;
    if (dl_launch(DL_PICK(dl_direct_gradient_jobs, v->dtype), d, d->chunks, row_work * lines < DL_CONV_SERIAL_WORK))
        return -1;
    return dl_launch(DL_PICK(dl_direct_sum_jobs, v->dtype), d, d->depth + 1,
                     d->chunks * d->depth * d->npad < DL_DIRECT_SUM_SERIAL);
}

static int dl_direct_gradient(const dl_conv *v, const void *dy, const void *y, const void *x, void *dweight,
                              void *dbias) {
    dl_direct d = dl_direct_plan(v, x);
    d.dy = dy;
    d.y = y;
    return dl_direct_sums(&d, dweight, dbias, NULL);
}

static int dl_direct_weight_gradient(const dl_conv *v, const void *dz, const void *x, void *dweight) {
    return dl_direct_gradient(v, dz, NULL, x, dweight, NULL);
}

/* Whether the winners of windows give straight to the weights, by direct_sparse.inc.h. */
static int dl_direct_sparse_fits(const dl_conv *v, long pool_h, long pool_w) {
    return pool_h == 2 && pool_w == 2 && v->c * v->sw <= 3 && v->sh == v->dh && v->r > 1 && v->s > 1;
}

/* Windows of pool_h x pool_w pixels; `index` is int32 where they have more than 256. */
static dl_direct dl_direct_windows_plan(dl_conv *v, long pool_h, long pool_w, const void *x, void *index) {
    v->p = v->p / pool_h * pool_h;
    v->q = v->q / pool_w * pool_w;
    dl_direct d = dl_direct_plan(v, x);
    d.index = index;
    d.pool_h = pool_h;
    d.pool_w = pool_w;
    d.cells /= pool_h * pool_w;
    d.wide = pool_h * pool_w > 256;
    d.sparse = dl_direct_sparse_fits(v, pool_h, pool_w);
    return d;
}

static int dl_direct_windows(const dl_conv *from, long pool_h, long pool_w, const void *x, const void *weight,
                             const void *bias, void *y, void *index) {
    dl_conv covered = *from;
    const dl_conv *v = &covered;
    dl_direct d = dl_direct_windows_plan(&covered, pool_h, pool_w, x, index);
    const size_t item = dl_item(v->dtype);
    if (v->n * v->p * v->q * v->k == 0) return 0;
    const double row_work = (double)v->q * v->k * dl_max(d.depth, 1);
    const long reach = (v->r - 1) * v->dh + 1, lines = DL_DIRECT_BYTES / (dl_max(d.line, 1) * (long)item);
    d.weight = weight;
    d.out = y;
    d.rows = dl_min((dl_max(lines, reach) - reach) / v->sh + 1, dl_max(1, (long)(DL_DIRECT_JOB_WORK / row_work)));
    d.rows = dl_min(dl_round_up(d.rows, d.pool_h), v->p);
    d.blocks = dl_ceil_div(v->p, d.rows);
    const size_t packed = dl_round_up(item * d.depth * d.npad, 64), padded = dl_round_up(item * d.npad, 64);
    d.packed = (char *)dl_scratch(DL_SCRATCH_SHARED, packed + padded + sizeof(dl_run) * v->r);
    if (!d.packed) return -1;
    d.bias = bias ? dl_pad_bias(bias, v->k, d.npad, item, d.packed + packed) : memset(d.packed + packed, 0, padded);
    d.runs = (dl_run *)(d.packed + packed + padded);
    for (long r = 0, run = v->s * v->c; r < v->r; r++)
        d.runs[r] = (dl_run){r * v->dh * d.line, r * run, run};
    if (dl_launch(DL_PICK(dl_direct_pack_jobs, v->dtype), &d, dl_ceil_div(v->k, dl_tile_cols(v->dtype)),
                  d.npad * d.depth < DL_DIRECT_SUM_SERIAL))
        return -1;
    return dl_launch(DL_PICK(dl_direct_window_jobs, v->dtype), &d, v->n * d.blocks,
                     row_work * v->n * v->p < DL_CONV_SERIAL_WORK);
}

static int dl_direct_windows_gradient(const dl_conv *v, long pool_h, long pool_w, const void *dy, const void *y,
                                      const void *index, const void *x, void *dweight, void *dbias) {
    dl_conv covered = *v;
    dl_direct d = dl_direct_windows_plan(&covered, pool_h, pool_w, x, (void *)index);
    d.dy = dy;
    d.y = y;
    return dl_direct_sums(&d, dweight, dbias, NULL);
}

static int dl_direct_input_gradient(const dl_conv *v, const void *dz, const void *weight, void *dx) {
    if (!dl_direct_collects(v)) return dl_brgemm_input_gradient(v, dz, weight, dx);
    if (v->n * v->h * v->w * v->c == 0) return 0;
    dl_direct d = dl_direct_dx_plan(v, weight, dx);
    const double row_work = (double)v->q * dl_max(v->k, 1) * dl_max(v->r * v->s * v->c, 1);
    d.dy = dz;
    d.rows = dl_min(v->h, dl_max(1, (long)(DL_DIRECT_JOB_WORK / dl_max(row_work, 1))));
    d.blocks = dl_ceil_div(v->h, d.rows);
    char *packed = (char *)dl_scratch(DL_SCRATCH_SHARED, dl_direct_dx_bytes(&d));
    if (!packed || dl_direct_dx_pack(&d, packed)) return -1;
    return dl_launch(DL_PICK(dl_direct_dx_jobs, v->dtype), &d, v->n * d.blocks,
                     row_work * v->n * v->h < DL_CONV_SERIAL_WORK);
}

/* Whether dl_direct_means_gradient takes this: dx is collected, dz of an image fits into L1, and images are many, or
   little work. */
static int dl_direct_means_fit(const dl_conv *v) {
    const double work = (double)v->p * v->q * v->k * v->r * v->s * v->c;
    const size_t held = dl_item(v->dtype) * v->p * v->q * dl_round_up(v->k, dl_lanes(v->dtype));
    return dl_direct_collects(v) && held <= DL_DIRECT_BLOCK &&
           (v->n >= DL_DIRECT_PARTIALS || v->n * work < DL_CONV_SERIAL_WORK);
}

/* All gradients, each unless NULL, from dy of the means of windows and the pixels y (NULL without activation). */
static int dl_direct_means_gradient(const dl_conv *v, long pool_h, long pool_w, const void *dy, const void *y,
                                    const void *x, const void *weight, void *dx, void *dweight, void *dbias) {
    dl_direct d = dl_direct_plan(v, x), of_image = dl_direct_dx_plan(v, weight, dx);
    d.dy = dy;
    d.y = y;
    d.pool_h = pool_h;
    d.pool_w = pool_w;
    d.mean = 1;
    return dl_direct_sums(&d, dweight, dbias, dx && v->n * v->h * v->w * v->c > 0 ? &of_image : NULL);
}
#endif
