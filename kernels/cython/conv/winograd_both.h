/* Both gradients of a 3 x 3 convolution at once by winograd.h, for small images of few channels: dz is transformed once.

   Besides dU, dV[point] (tiles, C) = Z[point] U[point]^T, and dx = B dV B^T, tiles added where they overlap. */
#ifndef DLFAST_WINOGRAD_BOTH_H
#define DLFAST_WINOGRAD_BOTH_H
#include "conv/winograd.h"

#define DL_WINOGRAD_BOTH_TILES 32 /* in a block of both gradients, as whole images allow */
#define DL_WINOGRAD_BOTH_IMAGE 64 /* in an image of which both gradients are computed at once, at most */

/* Both gradients: `kernels` describes U^T, `dx` is x's geometry with dx as its image, NULL where it is not wanted. */
typedef struct {
    dl_tiles x, dz, dx;
    dl_winograd kernels;
    dl_weight_gradient sum; /* partial NULL where dweight is not wanted */
    char *dbias;            /* partial sums (chunks, K), or NULL */
    int *strange;           /* set where not all of dz, or of dg, is finite */
    long tiles, chunk, block;
} dl_winograd_both;

#define DL_IMPL "conv/winograd_both.inc.h"
#include "simd/simd.h"
static const dl_job dl_winograd_both_jobs[2][DL_ISAS] = DL_TABLE(winograd_both_job);
static void (*const dl_winograd_spreads[2][DL_ISAS])(const dl_tiles *, void *) = DL_TABLE(winograd_spread);

/* Whether both gradients are best computed at once: images of few tiles, enough of them for all jobs, and kernels whose
   U and dU stay near. */
static int dl_winograd_fits_both(const dl_conv *v) {
    const long image = dl_ceil_div(v->p, 4) * dl_ceil_div(v->q, 4);
    return v->r == 3 && v->sh == 1 && v->sw == 1 && v->c && v->c <= DL_WINOGRAD_CHANNELS && v->k &&
           v->c * v->k <= DL_WINOGRAD_CHANNELS * DL_WINOGRAD_CHANNELS && v->k <= dl_sizes_for(v->dtype)->kc && image <= DL_WINOGRAD_BOTH_IMAGE &&
           v->n * image >= DL_WINOGRAD_JOBS * DL_WINOGRAD_BOTH_TILES;
}

/* dx and dweight, each unless NULL, by conv.h.  Returns 0, or -1 when there is no memory. */
static int dl_winograd_neither(const dl_conv *v, const void *dz, const void *y, const uint8_t *index, const void *x,
                               const void *weight, void *dx, void *dweight) {
    void *pixels = index ? malloc(dl_item(v->dtype) * v->n * v->p * v->q * v->k) : NULL;
    if (index && !pixels) return -1;
    const dl_tiles windows = dl_winograd_source(v, dz, y, index);
    if (index) DL_PICK(dl_winograd_spreads, v->dtype)(&windows, pixels);
    int status = dx ? dl_conv_input_gradient(v, index ? pixels : dz, weight, dx) : 0;
    if (!status && dweight) status = dl_conv_weight_gradient(v, index ? pixels : dz, x, dweight);
    free(pixels);
    return status;
}

/* dx, dweight and dbias, each unless NULL, from dz, or with an index from the gradient dz of the 2 x 2 windows whose
   activation gave y (NULL without): for what dl_winograd_fits_both. */
static int dl_winograd_both_gradients(const dl_conv *v, const void *dz, const void *y, const uint8_t *index,
                                      const void *x, const void *weight, void *dx, void *dweight, void *dbias) {
    const long size = v->k * 9 * v->c, image = dl_ceil_div(v->p, 4) * dl_ceil_div(v->q, 4);
    const size_t item = dl_item(v->dtype);
    int strange = 0;
    dl_winograd_both p = {.strange = &strange,
                          .x = dl_winograd_image(v, x),
                          .dz = dl_winograd_source(v, dz, y, index),
                          .dx = dl_winograd_image(v, dx),
                          .kernels = {.in = {.side = 4},
                                      .weight = weight,
                                      .stride_k = 9 * v->c,
                                      .stride_col = 1,
                                      .cols = v->c,
                                      .depth = v->k,
                                      .strange = &strange,
                                      .width = dl_round_up(v->c, dl_tile_cols(v->dtype))},
                          .sum = {.dweight = dweight, .groups = 1, .kernels = v->k, .width = 9 * v->c},
                          .tiles = v->n * image,
                          .block = dl_max(1, DL_WINOGRAD_BOTH_TILES / image) * image};
    p.chunk = p.block * dl_ceil_div(dl_ceil_div(p.tiles, p.block), DL_WINOGRAD_PARTIALS);
    p.sum.chunks = dl_ceil_div(p.tiles, p.chunk);
    const size_t sums = dweight ? item * p.sum.chunks * size : 0, biases = dbias ? item * p.sum.chunks * v->k : 0;
    if (dl_winograd_weights(&p.kernels, sums + biases, v->dtype, 0)) return -1;
    char *room = p.kernels.u + item * 36 * p.kernels.plane;
    p.sum.partial = dweight ? room : NULL;
    p.dbias = dbias ? room + sums : NULL;
    if (dl_launch(DL_PICK(dl_winograd_both_jobs, v->dtype), &p, p.sum.chunks, 0)) return -1;
    if (dweight && dl_launch(DL_PICK(dl_conv_sum_jobs, v->dtype), &p.sum, dl_ceil_div(size, DL_CONV_SUM), 0)) return -1;
    p.sum = (dl_weight_gradient){.dweight = dbias, .partial = p.dbias, .groups = 1, .kernels = 1, .width = v->k,
                                 .chunks = p.sum.chunks};
    if (dbias) DL_PICK(dl_conv_sum_jobs, v->dtype)(&p.sum, 0, 0);
    return strange ? dl_winograd_neither(v, dz, y, index, x, weight, dx, dweight) : 0;
}
#endif
