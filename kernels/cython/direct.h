/* Direct convolution for images of few channels: a product over an overlapping view of the image, nothing is gathered.

   For one kernel row r, output pixel q reads the contiguous run x[p sh + r dh, q sw : q sw + S, :]: the rows of a matrix
   that overlap, sw C numbers apart.  A register tile (pixels x output channels) therefore runs through all taps of the
   kernel without leaving the registers, and adds bias and ReLU before it is stored.  The image rows that a job reads are
   copied once, with their padding, so that no tile needs to know about borders.

   The gradient of the weights is the product the other way round,

       dweight[k, (r, s, c)] = sum over pixels (p, q) of dz[p, q, k] x[p sh + r dh, q sw + s, c]

   where a tile (taps x output channels) runs through the pixels of a block.  dz = dy act'(y) of that block is made on
   the way, and summed for dbias: dy and y are read once and dz is never written to memory.

   With max-pooling in windows side by side behind it, the forward keeps the lines of a row of windows in cache and
   writes the largest of each window and its place; the gradient of a window goes back to that place when dz is made.

   Without dilation along the row and without groups.  Source: Zhang, Franchetti and Low 2018, "High Performance
   Zero-Memory Overhead Direct Convolutions". */
#ifndef DLFAST_DIRECT_H
#define DLFAST_DIRECT_H
#include "conv.h"

#define DL_DIRECT_BYTES 32768       /* of image rows: they share L1 and L2 with the packed weights */
#define DL_DIRECT_BLOCK 24576       /* bytes of dz in L1 */
#define DL_DIRECT_JOB_WORK 500000.0 /* multiplications: some 10 us */
#define DL_DIRECT_PARTIALS 16       /* of the weight gradient, at most */
#define DL_DIRECT_SUM_SERIAL 65536  /* numbers that one thread adds sooner than it wakes another */

typedef struct {
    const dl_conv *v;
    const void *x, *weight, *bias, *dy, *y; /* y: NULL without activation */
    void *out, *dbias, *index;              /* index: the winners of windows, or NULL */
    long pool_h, pool_w;                    /* of windows, 1 without */
    int wide;                               /* int32 in the index instead of uint8 */
    char *packed; /* panels of W^T, (R S C, npad), or the partial sums */
    long line, depth, npad; /* numbers in a padded image row; R S C; K in whole panels */
    long rows, blocks;      /* output rows in a block; blocks in an image */
    long chunk, chunks, tall; /* output rows of all images in a partial sum; rows of such a sum, the last for dbias */
} dl_direct;

#define DL_IMPL "direct_pool_impl.h"
#include "simd.h"
#define DL_IMPL "direct_impl.h"
#include "simd.h"
static const dl_job dl_direct_pack_jobs[2][DL_ISAS] = DL_TABLE(direct_pack_job);
static const dl_job dl_direct_row_jobs[2][DL_ISAS] = DL_TABLE(direct_row_job);
static const dl_job dl_direct_window_jobs[2][DL_ISAS] = DL_TABLE(direct_window_job);
static const dl_job dl_direct_gradient_jobs[2][DL_ISAS] = DL_TABLE(direct_gradient_job);
static const dl_job dl_direct_sum_jobs[2][DL_ISAS] = DL_TABLE(direct_sum_job);

/* v: only the output that windows cover, where there are windows. */
static dl_direct dl_direct_plan(const dl_conv *v, const void *x) {
    const long pixels = dl_max(v->q, dl_tile_rows(v->dtype)); /* a tile reads whole, even where the row is shorter */
    return (dl_direct){.v = v,
                       .x = x,
                       .pool_h = 1,
                       .pool_w = 1,
                       .line = ((pixels - 1) * v->sw + v->s) * v->c,
                       .depth = v->r * v->s * v->c,
                       .npad = dl_round_up(v->k, dl_tile_cols(v->dtype))};
}

/* Returns 0, or -1 when there is no memory; also below. */
static int dl_direct_run(dl_direct *d, const void *bias) {
    const dl_conv *v = d->v;
    const size_t item = dl_item(v->dtype);
    if (v->n * v->p * v->q * v->k == 0) return 0;
    const double row_work = (double)v->q * v->k * dl_max(d->depth, 1);
    const long reach = (v->r - 1) * v->dh + 1, lines = DL_DIRECT_BYTES / (dl_max(d->line, 1) * (long)item);
    d->rows = dl_min((dl_max(lines, reach) - reach) / v->sh + 1, dl_max(1, (long)(DL_DIRECT_JOB_WORK / row_work)));
    d->rows = dl_min(dl_round_up(d->rows, d->pool_h), v->p);
    d->blocks = dl_ceil_div(v->p, d->rows);
    const size_t packed = dl_round_up(item * d->depth * d->npad, 64);
    d->packed = (char *)dl_scratch(DL_SCRATCH_SHARED, packed + item * d->npad);
    if (!d->packed) return -1;
    d->bias = dl_pad_bias(bias, v->k, d->npad, item, d->packed + packed);
    dl_launch(DL_PICK(dl_direct_pack_jobs, v->dtype), d, d->npad / dl_tile_cols(v->dtype),
              d->npad * d->depth < DL_DIRECT_SUM_SERIAL);
    dl_launch(d->index ? DL_PICK(dl_direct_window_jobs, v->dtype) : DL_PICK(dl_direct_row_jobs, v->dtype), d,
              v->n * d->blocks, row_work * v->n * v->p < DL_CONV_SERIAL_WORK);
    return 0;
}

static int dl_direct_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y) {
    dl_direct d = dl_direct_plan(v, x);
    d.weight = weight;
    d.out = y;
    return dl_direct_run(&d, bias);
}

/* dweight and dbias, each unless NULL, from d->dy and the output d->y (NULL without activation). */
static int dl_direct_sums(dl_direct *d, void *dweight, void *dbias) {
    const dl_conv *v = d->v;
    const size_t item = dl_item(v->dtype);
    const long lines = v->n * v->p;
    if (!v->k) return 0;
    d->out = dweight;
    d->dbias = dbias;
    d->rows = DL_DIRECT_BLOCK / (dl_max(v->q, 1) * d->npad * (long)item);
    d->rows = dl_max(1, d->rows / d->pool_h) * d->pool_h;
    d->chunk = dl_round_up(dl_max(1, dl_ceil_div(lines, DL_DIRECT_PARTIALS)), d->pool_h);
    d->chunks = dl_max(1, dl_ceil_div(lines, d->chunk));
    d->tall = dl_round_up(d->depth, dl_tile_rows(v->dtype)) + 1;
    d->packed = (char *)dl_scratch(DL_SCRATCH_SHARED, item * d->chunks * d->tall * d->npad);
    if (!d->packed) return -1;
    dl_launch(DL_PICK(dl_direct_gradient_jobs, v->dtype), d, d->chunks,
              (double)lines * v->q * v->k * d->depth < DL_CONV_SERIAL_WORK);
    dl_launch(DL_PICK(dl_direct_sum_jobs, v->dtype), d, d->depth + 1,
              d->chunks * d->depth * d->npad < DL_DIRECT_SUM_SERIAL);
    return 0;
}

static int dl_direct_gradient(const dl_conv *v, const void *dy, const void *y, const void *x, void *dweight,
                              void *dbias) {
    dl_direct d = dl_direct_plan(v, x);
    d.dy = dy;
    d.y = y;
    return dl_direct_sums(&d, dweight, dbias);
}

static int dl_direct_weight_gradient(const dl_conv *v, const void *dz, const void *x, void *dweight) {
    return dl_direct_gradient(v, dz, NULL, x, dweight, NULL);
}

/* Windows of pool_h x pool_w pixels; `index` is int32 where they have more than 256. */
static dl_direct dl_direct_windows_plan(dl_conv *v, long pool_h, long pool_w, const void *x, void *index) {
    v->p = v->p / pool_h * pool_h;
    v->q = v->q / pool_w * pool_w;
    dl_direct d = dl_direct_plan(v, x);
    d.index = index;
    d.pool_h = pool_h;
    d.pool_w = pool_w;
    d.wide = pool_h * pool_w > 256;
    return d;
}

static int dl_direct_windows(const dl_conv *v, long pool_h, long pool_w, const void *x, const void *weight,
                             const void *bias, void *y, void *index) {
    dl_conv covered = *v;
    dl_direct d = dl_direct_windows_plan(&covered, pool_h, pool_w, x, index);
    d.weight = weight;
    d.out = y;
    return dl_direct_run(&d, bias);
}

static int dl_direct_windows_gradient(const dl_conv *v, long pool_h, long pool_w, const void *dy, const void *y,
                                      const void *index, const void *x, void *dweight, void *dbias) {
    dl_conv covered = *v;
    dl_direct d = dl_direct_windows_plan(&covered, pool_h, pool_w, x, (void *)index);
    d.dy = dy;
    d.y = y;
    return dl_direct_sums(&d, dweight, dbias);
}
#endif
