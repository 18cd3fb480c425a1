/* Winograd's minimal filtering F(4x4, 3x3): 36 multiplications for 4 x 4 outputs that need 144 the direct way.

   With the interpolation points 0, 1, -1, 2, -2 and infinity a tile of output is

       Y = A^T [ (G g G^T) * (B^T d B) ] A

   where d is a 6 x 6 tile of the image (tiles overlap by two), g the 3 x 3 kernel and * the elementwise product. Summed
   over channels, each of the 36 elements, here called points, is a matrix product of its own:

       M[point] (tiles, K) = V[point] (tiles, C) U[point] (C, K)

   - forward: V from x, U from the weights, Y = A^T M A;
   - dx: the same with dz for x, the kernels flipped and the channels swapped;
   - dweight: dU[point] (K, C) = Z[point]^T (K, tiles) V[point] (tiles, C) with Z = A dZ A^T, then dg = G^T dU G.

   U is packed once, in the order in which the products read it.  A job then takes a block of tiles through transform,
   products and transform back without meeting the other jobs: its V and M stay in its core's cache.  A job of the
   weight gradient keeps the dU of a block of channels there, and turns it into a partial dg at the end.

   With max-pooling in 2 x 2 windows behind it, the output transform writes the largest of each window, and the
   transforms of dz make its tiles from the gradient of the windows: neither y nor dz exists in memory.

   Source: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", sections 4.1 and 4.3. */
#ifndef DLFAST_WINOGRAD_H
#define DLFAST_WINOGRAD_H
#include "conv.h"

#define DL_WINOGRAD_BYTES 360448 /* of a job's V and M: within L2, beside a part of U */
#define DL_WINOGRAD_TILES 24     /* in a block, at least: each makes one pass through U */
#define DL_WINOGRAD_COLS 64      /* of M in a block: one pass through V for each */
#define DL_WINOGRAD_CHUNK 32     /* rows of U packed by a job */
#define DL_WINOGRAD_JOBS 8
#define DL_WINOGRAD_PARTIALS 16
#define DL_WINOGRAD_SUMS 32      /* tiles summed in registers by a job of the weight gradient */
#define DL_WINOGRAD_CHANNELS 64  /* of K and of C whose dU a job of the weight gradient keeps */

/* An image (n, h, w, c) cut into tiles: tile (i, j) of the grid begins at pixel (4 i - top, 4 j - left).  Not NULL, the
   index tells which pixel of each 2 x 2 window has the value that `image` (n, h/2, w/2, c) holds for it, others 0. */
typedef struct {
    const void *image;
    const uint8_t *index;
    long h, w, c, top, left, grid_h, grid_w;
} dl_tiles;

typedef struct {
    dl_tiles in;
    const void *weight;
    long stride_k, stride_col, flip; /* of the weights along rows and columns of U; kernels turned by 180 degrees */
    const void *bias;
    void *out;      /* (n, p, q, cols), or */
    uint8_t *index; /* (n, p/2, q/2, cols): the largest of each 2 x 2 window, with its number here */
    long p, q, cols, npad, depth, kc, width, tiles, block, blocks, splits;
    int activation;
    char *u;
} dl_winograd;

typedef struct {
    dl_tiles x, dz;
    dl_weight_gradient sum; /* the partial dg, and where they go */
    long c, k, tiles, chunk, block, c_blocks, k_blocks;
} dl_winograd_gradient;

/* Elements from one point to the next: an odd number of cache lines, which spreads the points over the cache sets. */
static long dl_winograd_plane(long elements, size_t item) {
    return (dl_ceil_div(elements * (long)item, 64) | 1) * 64 / (long)item;
}

#define DL_IMPL "winograd_points_impl.h"
#include "simd.h"
#define DL_IMPL "winograd_impl.h"
#include "simd.h"
static const dl_job dl_winograd_weight_jobs[2][DL_ISAS] = DL_TABLE(winograd_weight_job);
static const dl_job dl_winograd_tile_jobs[2][DL_ISAS] = DL_TABLE(winograd_tile_job);
static const dl_job dl_winograd_gradient_jobs[2][DL_ISAS] = DL_TABLE(winograd_gradient_job);

/* Tiles in a block, from the shapes alone: V and M within the cache, whole register tiles, blocks of even length. */
static void dl_winograd_blocks(dl_winograd *p, int dtype) {
    const long mr = dl_tile_rows(dtype), channels = dl_round_up(p->depth, dl_tile_cols(dtype)) + p->width;
    const long most = dl_max(DL_WINOGRAD_TILES, DL_WINOGRAD_BYTES / (36 * channels * (long)dl_item(dtype)));
    p->block = dl_round_up(dl_ceil_div(p->tiles, dl_ceil_div(p->tiles, most)), mr);
    p->blocks = dl_ceil_div(p->tiles, p->block);
    p->splits = dl_min(dl_ceil_div(DL_WINOGRAD_JOBS, p->blocks), dl_ceil_div(p->npad, p->width));
}

/* Returns 0, or -1 when there is no memory. */
static int dl_winograd_run(dl_winograd *p, int dtype) {
    const size_t item = dl_item(dtype);
    const long nr = dl_tile_cols(dtype);
    p->npad = dl_round_up(p->cols, nr);
    p->width = dl_min(p->npad, DL_WINOGRAD_COLS);
    p->kc = dl_round_up(dl_gemm_kc(p->depth), DL_WINOGRAD_CHUNK);
    dl_winograd_blocks(p, dtype);
    const size_t packed = dl_round_up(item * 36 * p->depth * p->npad, 64);
    p->u = (char *)dl_scratch(DL_SCRATCH_SHARED, packed + item * p->npad);
    if (!p->u) return -1;
    p->bias = dl_pad_bias(p->bias, p->cols, p->npad, item, p->u + packed);
    const int serial = (double)p->tiles * 36 * p->depth * p->cols < DL_CONV_SERIAL_WORK;
    dl_launch(DL_PICK(dl_winograd_weight_jobs, dtype), p,
              p->npad / nr * dl_ceil_div(p->depth, DL_WINOGRAD_CHUNK), serial);
    dl_launch(DL_PICK(dl_winograd_tile_jobs, dtype), p, p->blocks * p->splits, serial);
    return 0;
}

/* y, or with an index the largest of each 2 x 2 window of y. */
static int dl_winograd_windows(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y,
                               uint8_t *index) {
    dl_winograd p = {.in = {x, NULL, v->h, v->w, v->c, v->top, v->left, dl_ceil_div(v->p, 4), dl_ceil_div(v->q, 4)},
                     .weight = weight,
                     .stride_k = 1,
                     .stride_col = 9 * v->c,
                     .bias = bias,
                     .out = y,
                     .index = index,
                     .p = v->p,
                     .q = v->q,
                     .cols = v->k,
                     .depth = v->c,
                     .activation = v->activation};
    p.tiles = v->n * p.in.grid_h * p.in.grid_w;
    return p.tiles && p.cols ? dl_winograd_run(&p, v->dtype) : 0;
}

static int dl_winograd_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y) {
    return dl_winograd_windows(v, x, weight, bias, y, NULL);
}

/* dz with the index of the windows that it belongs to, or NULL; also below. */
static dl_tiles dl_winograd_source(const dl_conv *v, const void *dz, const uint8_t *index) {
    const long size = index ? 2 : 1;
    return (dl_tiles){.image = dz, .index = index, .h = v->p / size * size, .w = v->q / size * size, .c = v->k};
}

static int dl_winograd_windows_dx(const dl_conv *v, const void *dz, const uint8_t *index, const void *weight,
                                  void *dx) {
    dl_winograd p = {.in = dl_winograd_source(v, dz, index),
                     .weight = weight,
                     .stride_k = 9 * v->c,
                     .stride_col = 1,
                     .flip = 1,
                     .out = dx,
                     .p = v->h,
                     .q = v->w,
                     .cols = v->c,
                     .depth = v->k};
    p.in.top = 2 - v->top;
    p.in.left = 2 - v->left;
    p.in.grid_h = dl_ceil_div(v->h, 4);
    p.in.grid_w = dl_ceil_div(v->w, 4);
    p.tiles = v->n * p.in.grid_h * p.in.grid_w;
    return p.tiles && p.cols ? dl_winograd_run(&p, v->dtype) : 0;
}

static int dl_winograd_input_gradient(const dl_conv *v, const void *dz, const void *weight, void *dx) {
    return dl_winograd_windows_dx(v, dz, NULL, weight, dx);
}

static int dl_winograd_windows_dweight(const dl_conv *v, const void *dz, const uint8_t *index, const void *x,
                                       void *dweight) {
    const long h = dl_ceil_div(v->p, 4), w = dl_ceil_div(v->q, 4), size = v->k * 9 * v->c;
    const size_t item = dl_item(v->dtype);
    dl_winograd_gradient p = {.x = {x, NULL, v->h, v->w, v->c, v->top, v->left, h, w},
                              .dz = dl_winograd_source(v, dz, index),
                              .sum = {.dweight = dweight, .groups = 1, .kernels = v->k, .width = 9 * v->c},
                              .c = dl_min(v->c, DL_WINOGRAD_CHANNELS),
                              .k = dl_min(v->k, DL_WINOGRAD_CHANNELS),
                              .tiles = v->n * h * w,
                              .block = DL_WINOGRAD_SUMS};
    if (!size) return 0;
    p.dz.grid_h = h;
    p.dz.grid_w = w;
    p.c_blocks = dl_ceil_div(v->c, p.c);
    p.k_blocks = dl_ceil_div(v->k, p.k);
    const long jobs = p.c_blocks * p.k_blocks, blocks = dl_max(1, dl_ceil_div(p.tiles, p.block));
    p.chunk = p.block * dl_ceil_div(blocks, dl_min(dl_ceil_div(DL_WINOGRAD_PARTIALS, jobs), blocks));
    p.sum.chunks = dl_max(1, dl_ceil_div(p.tiles, p.chunk));
    p.sum.partial =
        p.sum.chunks > 1 ? (char *)dl_scratch(DL_SCRATCH_SHARED, item * p.sum.chunks * size) : (char *)dweight;
    if (!p.sum.partial) return -1;
    const int serial = (double)p.tiles * 36 * v->c * v->k < DL_CONV_SERIAL_WORK;
    dl_launch(DL_PICK(dl_winograd_gradient_jobs, v->dtype), &p, p.sum.chunks * jobs, serial);
    if (p.sum.chunks > 1)
        dl_launch(DL_PICK(dl_conv_sum_jobs, v->dtype), &p.sum, dl_ceil_div(size, DL_CONV_SUM), serial);
    return 0;
}
static int dl_winograd_weight_gradient(const dl_conv *v, const void *dz, const void *x, void *dweight) {
    return dl_winograd_windows_dweight(v, dz, NULL, x, dweight);
}
#endif
