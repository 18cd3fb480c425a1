/* Convolution to few channels, tanh or the like, and average pooling in windows of 2 x 2: the lanes of a register are
   neighbouring pixels of a row.

   With 6 channels of output, lanes along the channels (direct.h) leave a quarter of each register empty.  Here a tile is
   channels x registers of pixels: each tap loads the pixels that lie s to the right and multiplies them with one weight
   for each channel.  The image is kept in cache as padded lines, a channel at a time; so are the outputs,

       a[n, p, k, q] = act(b[k] + sum over r, s, c of x[n, p sh + r dh - top, q + s dw - left, c] w[k, r, s, c])

   (N, P, K, Q), which the backward pass reads again.  The last register of a row lies across the one before.  The means
   of the windows are made from the lines and turned to (N, P/2, Q/2, K) by transposing registers.

   The gradient of the weights,

       dweight[k, r, s, c] = sum over n, p, q of dz[n, p, k, q] x[...],  dz = dy[window] / 4 act'(a)

   has a register of partial sums for each weight, whose lanes are added at the very end.  dz of a block of rows is made
   in cache, filled up with zeros to whole registers; these must not meet an image that is not finite.

   Sums are formed in the order of direct.h, so y has the same bits.  Stride 1 along the row, no groups.  Source: the
   broadcast of weights to pixels is that of Zhang, Franchetti and Low 2018, "High Performance Zero-Memory Overhead
   Direct Convolutions", with the roles of channels and pixels exchanged. */
#ifndef DLFAST_LINES_H
#define DLFAST_LINES_H
#include "conv/conv.h"

#define DL_LINES_HIGH 6      /* channels of a tile, with 2 registers of pixels or taps; */
#define DL_LINES_LOW 3       /* or these with 4 */
#define DL_LINES_BLOCK 24576 /* bytes of a or dz in L1 */
#define DL_LINES_PARTIALS 16 /* of the weight gradient, at most */

typedef struct {
    const dl_conv *v;
    const void *x, *weight, *bias, *dy;
    void *pixels, *out;   /* a; y, or dweight */
    void *dbias;          /* or NULL */
    long taps, width;     /* R S C; of a padded line */
    long height, across;  /* channels of a tile; registers of pixels or taps */
    long vectors;         /* registers of a row of dz */
    long rows, blocks;    /* output rows in a block, a multiple of 2; blocks in an image */
    long chunk, chunks;   /* blocks of all images in a partial sum */
    long *offset;         /* of each tap in the lines, filled up to whole tiles */
    char *packed;         /* weights (taps, height), or the partial sums */
} dl_lines;

/* Numbers in the sums of a chunk: a register for each weight of whole tiles, and those of dbias. */
static long dl_lines_sums(const dl_lines *d) {
    return (dl_round_up(d->taps, d->across) + 1) * d->height * dl_lanes(d->v->dtype);
}

#define DL_IMPL "conv/lines.inc.h"
#include "simd/simd.h"
#define DL_IMPL "conv/lines_gradient.inc.h"
#include "simd/simd.h"
static const dl_job dl_lines_jobs[2][DL_ISAS] = DL_TABLE(lines_job);
static const dl_job dl_lines_gradient_jobs[2][DL_ISAS] = DL_TABLE(lines_gradient_job);
static const dl_job dl_lines_sum_jobs[2][DL_ISAS] = DL_TABLE(lines_sum_job);
static const dl_job dl_lines_pack_jobs[2][DL_ISAS] = DL_TABLE(lines_pack_job);

/* Whether it takes this convolution. */
static int dl_lines_fit(const dl_conv *v) {
    return v->k <= DL_LINES_HIGH && v->sw == 1 && v->groups == 1 && v->q >= 16 && v->p >= 2;
}

/* How the convolution is cut into blocks and tiles. */
static dl_lines dl_lines_plan(const dl_conv *v) {
    const long lanes = dl_lanes(v->dtype);
    dl_lines d = {.v = v, .taps = v->r * v->s * v->c, .vectors = dl_ceil_div(v->q, lanes)};
    d.width = d.vectors * lanes + (v->s - 1) * v->dw;
    d.height = v->k > DL_LINES_LOW ? DL_LINES_HIGH : DL_LINES_LOW;
    d.across = 2 * DL_LINES_HIGH / d.height;
    d.rows = DL_LINES_BLOCK / (d.vectors * lanes * d.height * (long)dl_item(v->dtype));
    d.rows = dl_min(dl_max(2, d.rows / 2 * 2), v->p);
    d.blocks = dl_ceil_div(v->p, d.rows);
    return d;
}

/* Room for `bytes` at packed, and the table of offsets.  Returns 0, or -1 when there is no memory. */
static int dl_lines_room(dl_lines *d, size_t bytes) {
    const dl_conv *v = d->v;
    const long filled = dl_round_up(d->taps, d->across);
    bytes = dl_round_up(bytes, 64);
    d->packed = (char *)dl_scratch(DL_SCRATCH_SHARED, bytes + sizeof(long) * filled);
    if (!d->packed) return -1;
    d->offset = (long *)(d->packed + bytes);
    for (long r = 0, t = 0; r < v->r; r++)
        for (long s = 0; s < v->s; s++)
            for (long c = 0; c < v->c; c++)
                d->offset[t++] = (r * v->dh * v->c + c) * d->width + s * v->dw;
    for (long t = d->taps; t < filled; t++)
        d->offset[t] = d->offset[d->taps - 1];
    return 0;
}

/* pixels (N, P, K, Q) = act(x * w + b), y (N, P/2, Q/2, K) their means.  Returns 0, or -1 when there is no memory. */
static int dl_lines_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *pixels,
                            void *y) {
    dl_lines d = dl_lines_plan(v);
    if (!v->n) return 0;
    if (dl_lines_room(&d, dl_item(v->dtype) * d.taps * d.height)) return -1;
    d.x = x;
    d.weight = weight;
    d.bias = bias;
    d.pixels = pixels;
    d.out = y;
    DL_PICK(dl_lines_pack_jobs, v->dtype)(&d, 0, 0);
    return dl_launch(DL_PICK(dl_lines_jobs, v->dtype), &d, v->n * d.blocks,
                     (double)v->n * v->p * v->q * v->k * d.taps < DL_CONV_SERIAL_WORK);
}

/* dweight and dbias, each unless NULL, from dy (N, P/2, Q/2, K).  Returns 0, or -1 when there is no memory. */
static int dl_lines_gradient(const dl_conv *v, const void *dy, const void *pixels, const void *x, void *dweight,
                             void *dbias) {
    dl_lines d = dl_lines_plan(v);
    const long blocks = v->n * d.blocks;
    d.chunk = dl_max(1, dl_ceil_div(blocks, DL_LINES_PARTIALS));
    d.chunks = dl_ceil_div(blocks, d.chunk);
    if (dl_lines_room(&d, dl_item(v->dtype) * dl_max(d.chunks, 1) * dl_lines_sums(&d))) return -1;
    d.dy = dy;
    d.pixels = (void *)pixels;
    d.x = x;
    d.out = dweight;
    d.dbias = dbias;
    if (dl_launch(DL_PICK(dl_lines_gradient_jobs, v->dtype), &d, d.chunks,
                  (double)v->n * v->p * v->q * v->k * d.taps < DL_CONV_SERIAL_WORK))
        return -1;
    DL_PICK(dl_lines_sum_jobs, v->dtype)(&d, 0, 0);
    return 0;
}
#endif
