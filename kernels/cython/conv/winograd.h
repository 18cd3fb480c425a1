/* Winograd's minimal filtering F(4x4, 3x3): 36 multiplications for 4 x 4 outputs that need 144 the direct way; likewise
   F(3x3, 4x4), 36 in place of 144, and F(2x2, 5x5), 36 in place of 100.

   With the interpolation points 0, 1, -1, infinity, 2 and -2 a tile of output is

       Y = A^T [ (G g G^T) * (B^T d B) ] A

   where d is a 6 x 6 tile of the image (tiles overlap by one pixel less than the kernel), g the kernel and * the
   elementwise product.  Six points serve all tiles of `side` outputs and kernels of 7 - side taps along an axis, with the
   same B; G and A have the powers of the points in their rows, as many as there are taps and outputs.  Summed over
   channels, each of the 36 elements, here called points, is a matrix product of its own:

       M[point] (tiles, K) = V[point] (tiles, C) U[point] (C, K)

   - forward: V from x, U from the weights, Y = A^T M A;
   - dx: the same with dz for x, the kernels flipped and the channels swapped;
   - dweight: dU[point] (K, C) = Z[point]^T (K, tiles) V[point] (tiles, C) with Z = A dZ A^T, then dg = G^T dU G.
     winograd_both.h does both gradients at once.

   U is packed once, in the order in which the products read it.  A job then takes a block of tiles through transform,
   products and transform back without meeting the other jobs: its V and M stay in its core's cache.  A job of the
   weight gradient keeps the dU of a block of channels there, and turns it into a partial dg at the end.

   Where few tiles meet many kernels, a job has a block of columns instead: it transforms a part of their kernels and
   multiplies it by all tiles at once, so that U, four times as large as the weights, is never written.

   At the lower and the right edge a tile of 4 x 4 may have one or two lines of output left.  It is short: F(2, 3)
   along that axis, with the points 0, 1, -1 and infinity.  These are the first four of the six, and a block has its
   tiles sorted, so that those with a point are neighbours: a 14 x 14 image needs 22^2 products instead of 24^2.

   With max-pooling in 2 x 2 windows behind 3 x 3 kernels, the output transform writes the largest of each window, and the
   transform of dz makes its tiles from the gradient of the windows: neither y nor dz exists in memory.

   The transforms add and subtract what lies in one tile, so a number that is not finite would spread over all outputs of
   its tile, infinity as NaN.  The jobs note whether all that they make is finite: products with 0 are added up beside it,
   and give NaN where it is not.  If so, everything is computed again by the methods that multiply only what belongs
   together, and is what they make of it.

   Source: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", sections 4.1 and 4.3. */
#ifndef DLFAST_WINOGRAD_H
#define DLFAST_WINOGRAD_H
#include "conv/direct.h"

#define DL_WINOGRAD_COLS 64      /* of M in a block: one pass through V for each */
#define DL_WINOGRAD_TILES 24     /* in a block, at least: each makes one pass through U */
#define DL_WINOGRAD_CHUNK 32     /* rows of U packed by a job */
#define DL_WINOGRAD_JOBS 8
#define DL_WINOGRAD_PARTIALS 16
#define DL_WINOGRAD_FEW 64       /* tiles whose products share a part of U that is in the cache, at most */
#define DL_WINOGRAD_LARGE 131072 /* bytes of U from which on it is made part by part then */
#define DL_WINOGRAD_ROWS 12      /* of any register tile, at most */
#define DL_WINOGRAD_SUMS 32      /* tiles summed in registers by a job of the weight gradient */
#define DL_WINOGRAD_CHANNELS 64  /* of K and of C whose dU a job of the weight gradient keeps */

/* An image (n, h, w, c) cut into tiles of side x side of the p x q outputs: tile (i, j) of the grid begins at pixel
   (side i - top, side j - left).  Not NULL, the index tells which pixel of each 2 x 2 window has the value that `image`
   (n, h/2, w/2, c) holds for it, others 0; y is what `activation` gave there, or NULL. */
typedef struct {
    const void *image, *y;
    const uint8_t *index;
    int activation;
    long n, h, w, c, top, left, p, q, side, grid_h, grid_w;
} dl_tiles;

typedef struct {
    dl_tiles in;
    const void *weight;
    long stride_k, stride_col, flip; /* of the weights along rows and columns of U; kernels turned by 180 degrees */
    const void *bias;
    void *out;      /* (n, p, q, cols), or */
    uint8_t *index; /* (n, p/2, q/2, cols): the largest of each 2 x 2 window, with its number here */
    long cols, npad, depth, kc, width, tiles, block, blocks, splits;
    int activation;
    const dl_finish *finish;
    int *strange; /* set where not all outputs are finite, or not all weights */
    char *u; /* for each block of `width` columns and each of `parts` blocks of kc rows the points, `plane` apart */
    long plane, parts;
} dl_winograd;

/* Where the tiles of a block go: those of short columns, of no short lines, of short rows, of both. */
typedef struct {
    long ends[4], place[];
} dl_order;

/* Few tiles: their V, in chunks of channels, is shared by the jobs, which have columns of their own. */
typedef struct {
    dl_winograd p;
    dl_order *order;
    char *v;
    long v_plane;
} dl_winograd_few;

typedef struct {
    dl_tiles x, dz;
    dl_weight_gradient sum; /* the partial dg, and where they go */
    long c, k, tiles, chunk, block, c_blocks, k_blocks;
    int *strange; /* set where not all of dg is finite */
} dl_winograd_gradient;

/* Taps of the kernels that tiles of this size serve, and points along line i of the tiles of p outputs. */
static long dl_kernel_taps(const dl_tiles *g) { return (7 - g->side) * (7 - g->side); }
static int dl_line_points(const dl_tiles *g, long p, long i) { return g->side == 4 && p - 4 * i <= 2 ? 4 : 6; }

static int dl_tile_kind(const dl_tiles *g, long tile) {
    const int rows = dl_line_points(g, g->p, tile / g->grid_w % g->grid_h),
              cols = dl_line_points(g, g->q, tile % g->grid_w);
    return rows == 4 ? (cols == 4 ? 3 : 0) : (cols == 4 ? 2 : 1);
}

/* Of n channels of a tile, how many are read: whole registers of `lanes`, if the image does not end behind them. */
static long dl_channels_read(const dl_tiles *g, long tile, long n, long lanes) {
    const long i = tile / g->grid_w % g->grid_h, image = tile / (g->grid_w * g->grid_h);
    const long rows = image * g->h + dl_min(g->h, g->side * i - g->top + 6); /* up to the last that it reads */
    return rows * g->w * g->c + lanes <= g->n * g->h * g->w * g->c ? dl_round_up(n, lanes) : n;
}

static void dl_order_tiles(const dl_tiles *g, long first, long count, dl_order *order) {
    long next[5] = {0};
    for (long t = 0; t < count; t++)
        next[dl_tile_kind(g, first + t) + 1]++;
    for (int kind = 0; kind < 4; kind++)
        order->ends[kind] = next[kind + 1] += next[kind];
    for (long t = 0; t < count; t++)
        order->place[t] = next[dl_tile_kind(g, first + t)]++;
}
static size_t dl_order_bytes(long tiles) { return dl_round_up(sizeof(dl_order) + sizeof(long) * tiles, 64); }

/* The places of tiles with this point: from first to last. */
static long dl_first_place(const dl_order *order, long point) { return point / 6 > 3 ? order->ends[0] : 0; }
static long dl_last_place(const dl_order *order, long point) {
    return order->ends[point % 6 > 3 ? 1 : point / 6 > 3 ? 2 : 3];
}

/* `function` of a tile, compiled for each kind, for its channels from 0 to n: whole registers of them and the rest.
   What the kind says, the points down and across, comes before other arguments; DL_BY_SIDE adds the taps before these. */
#define DL_BY_KIND(kind, function, n, ...)                           \
    switch (kind) {                                                  \
        DL_ONE_KIND(0, DL_LIST(4, 6), function, n, __VA_ARGS__)      \
        DL_ONE_KIND(1, DL_LIST(6, 6), function, n, __VA_ARGS__)      \
        DL_ONE_KIND(2, DL_LIST(6, 4), function, n, __VA_ARGS__)      \
        DL_ONE_KIND(3, DL_LIST(4, 4), function, n, __VA_ARGS__)      \
    }
#define DL_BY_SIDE(g, tile, function, n, ...)                        \
    switch ((g)->side < 4 ? (g)->side + 2 : dl_tile_kind(g, tile)) { \
        DL_ONE_KIND(0, DL_LIST(3, 4, 6), function, n, __VA_ARGS__)   \
        DL_ONE_KIND(1, DL_LIST(3, 6, 6), function, n, __VA_ARGS__)   \
        DL_ONE_KIND(2, DL_LIST(3, 6, 4), function, n, __VA_ARGS__)   \
        DL_ONE_KIND(3, DL_LIST(3, 4, 4), function, n, __VA_ARGS__)   \
        DL_ONE_KIND(4, DL_LIST(5, 6, 6), function, n, __VA_ARGS__)   \
        DL_ONE_KIND(5, DL_LIST(4, 6, 6), function, n, __VA_ARGS__)   \
    }
#define DL_LIST(...) __VA_ARGS__
#define DL_ONE_KIND(kind, sizes, function, n, ...)                   \
    case kind: {                                                     \
        long c = 0;                                                  \
        for (; c + LANES <= (n); c += LANES)                         \
            function(sizes, c, LANES, __VA_ARGS__);                  \
        if (c < (n)) function(sizes, c, (n) - c, __VA_ARGS__);       \
    } break;

/* Elements from one point to the next: an odd number of cache lines, which spreads the points over the cache sets. */
static long dl_winograd_plane(long elements, size_t item) {
    return (dl_ceil_div(elements * (long)item, 64) | 1) * 64 / (long)item;
}

#define DL_IMPL "conv/winograd_lines.inc.h"
#include "simd/simd.h"
#define DL_IMPL "conv/winograd_points.inc.h"
#include "simd/simd.h"
#define DL_IMPL "conv/winograd.inc.h"
#include "simd/simd.h"
#define DL_IMPL "conv/winograd_few.inc.h"
#include "simd/simd.h"
static const dl_job dl_winograd_weight_jobs[2][DL_ISAS] = DL_TABLE(winograd_weight_job);
static const dl_job dl_winograd_tile_jobs[2][DL_ISAS] = DL_TABLE(winograd_tile_job);
static const dl_job dl_winograd_gradient_jobs[2][DL_ISAS] = DL_TABLE(winograd_gradient_job);
static const dl_job dl_winograd_few_data_jobs[2][DL_ISAS] = DL_TABLE(winograd_few_data_job);
static const dl_job dl_winograd_few_jobs[2][DL_ISAS] = DL_TABLE(winograd_few_job);

/* Tiles in a block, from the shapes alone: V and M within the cache, blocks of even length and enough of them to share
   out, whole images if they have several. */
static void dl_winograd_blocks(dl_winograd *p, int dtype) {
    const long channels = dl_round_up(p->depth, dl_tile_cols(dtype)) + p->width, image = p->in.grid_h * p->in.grid_w;
    const long bytes = (long)(dl_cache.l2 - dl_cache.l2 / 8); /* of L2 for V and M, beside a part of U */
    const long room = bytes / (36 * channels * (long)dl_item(dtype));
    const long most = dl_max(DL_WINOGRAD_TILES, dl_min(room, dl_ceil_div(p->tiles, DL_WINOGRAD_JOBS)));
    p->block = dl_ceil_div(p->tiles, dl_ceil_div(p->tiles, most));
    if (p->block > image) p->block = dl_round_up(p->block, image);
    p->blocks = dl_ceil_div(p->tiles, p->block);
    p->splits = dl_min(dl_ceil_div(DL_WINOGRAD_JOBS, p->blocks), dl_ceil_div(p->npad, p->width));
}

/* Makes room for U and transforms the kernels, and pads the bias.  Returns 0, or -1 when there is no memory. */
static int dl_winograd_weights(dl_winograd *p, size_t extra, int dtype, int serial) {
    const size_t item = dl_item(dtype);
    const long nr = dl_tile_cols(dtype);
    p->npad = dl_round_up(p->cols, nr);
    p->kc = dl_round_up(dl_gemm_kc(p->depth, dl_sizes_for(dtype)->kc), DL_WINOGRAD_CHUNK);
    p->plane = dl_winograd_plane(dl_min(p->kc, p->depth) * p->width, item);
    p->parts = dl_ceil_div(p->depth, p->kc);
    const size_t packed = item * dl_ceil_div(p->npad, p->width) * p->parts * 36 * p->plane;
    p->u = (char *)dl_scratch(DL_SCRATCH_SHARED, packed + item * p->npad + 64 + extra);
    if (!p->u) return -1;
    p->bias = dl_pad_bias(p->bias, p->cols, p->npad, item, p->u + packed);
    return dl_launch(DL_PICK(dl_winograd_weight_jobs, dtype), p,
                     p->npad / nr * dl_ceil_div(p->depth, DL_WINOGRAD_CHUNK), serial);
}

/* Whether U would be large against the work of its products, and M of a few columns stays in the cache. */
static int dl_winograd_is_few(const dl_winograd *p, int dtype) {
    return p->tiles <= DL_WINOGRAD_FEW && p->depth * p->cols * 36 * (long)dl_item(dtype) > DL_WINOGRAD_LARGE;
}

/* Returns 0, or -1 when there is no memory. */
static int dl_winograd_run_few(const dl_winograd *p, int dtype) {
    const size_t item = dl_item(dtype);
    const long nr = dl_tile_cols(dtype), chunks = dl_ceil_div(p->depth, DL_WINOGRAD_CHUNK);
    dl_winograd_few f = {.p = *p};
    f.p.npad = dl_round_up(p->cols, nr);
    f.p.width = f.p.npad / nr < 2 * DL_WINOGRAD_JOBS ? nr : 2 * nr;
    f.p.plane = dl_winograd_plane(DL_WINOGRAD_CHUNK * f.p.width, item);
    f.v_plane = dl_winograd_plane((p->tiles + DL_WINOGRAD_ROWS) * DL_WINOGRAD_CHUNK, item);
    const size_t order = dl_order_bytes(p->tiles), v = item * chunks * 36 * f.v_plane;
    f.order = (dl_order *)dl_scratch(DL_SCRATCH_SHARED, order + v + item * f.p.npad);
    if (!f.order) return -1;
    f.v = (char *)f.order + order;
    f.p.bias = dl_pad_bias(p->bias, p->cols, f.p.npad, item, f.v + v);
    dl_order_tiles(&p->in, 0, p->tiles, f.order);
    if (dl_launch(DL_PICK(dl_winograd_few_data_jobs, dtype), &f, chunks, 0)) return -1;
    return dl_launch(DL_PICK(dl_winograd_few_jobs, dtype), &f, dl_ceil_div(f.p.npad, f.p.width), 0);
}

/* Returns 0, -1 when there is no memory, or 1 where not all outputs are finite: then they are to be made otherwise. */
static int dl_winograd_run(dl_winograd *p, int dtype) {
    int strange = 0;
    p->strange = &strange;
    p->tiles *= p->in.grid_h * p->in.grid_w;
    if (!p->tiles || !p->cols) return 0;
    if (dl_winograd_is_few(p, dtype)) return dl_winograd_run_few(p, dtype) ? -1 : strange;
    const int serial = (double)p->tiles * 36 * p->depth * p->cols < DL_CONV_SERIAL_WORK;
    p->width = dl_min(dl_round_up(p->cols, dl_tile_cols(dtype)), DL_WINOGRAD_COLS);
    if (dl_winograd_weights(p, 0, dtype, serial)) return -1;
    dl_winograd_blocks(p, dtype);
    return dl_launch(DL_PICK(dl_winograd_tile_jobs, dtype), p, p->blocks * p->splits, serial) ? -1 : strange;
}

/* The tiles of x, and those of dz or (with the index) of the gradient of its windows. */
static dl_tiles dl_winograd_image(const dl_conv *v, const void *x) {
    const long side = 7 - v->r;
    return (dl_tiles){.image = x, .n = v->n, .h = v->h, .w = v->w, .c = v->c, .top = v->top, .left = v->left, .p = v->p,
                      .q = v->q, .side = side, .grid_h = dl_ceil_div(v->p, side), .grid_w = dl_ceil_div(v->q, side)};
}
static dl_tiles dl_winograd_source(const dl_conv *v, const void *dz, const void *y, const uint8_t *index) {
    const long side = 7 - v->r;
    return (dl_tiles){.image = dz, .y = y, .index = index, .activation = v->activation, .n = v->n, .h = v->p, .w = v->q,
                      .c = v->k, .p = v->p, .q = v->q, .side = side, .grid_h = dl_ceil_div(v->p, side),
                      .grid_w = dl_ceil_div(v->q, side)};
}

/* y, or with an index the largest of each 2 x 2 window of y.  Returns what dl_winograd_run does, 1 only without index. */
static int dl_winograd_windows(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y,
                               uint8_t *index) {
    dl_winograd p = {.in = dl_winograd_image(v, x),
                     .weight = weight,
                     .stride_k = 1,
                     .stride_col = v->r * v->s * v->c,
                     .bias = bias,
                     .out = y,
                     .index = index,
                     .tiles = v->n,
                     .cols = v->k,
                     .depth = v->c,
                     .activation = v->activation,
                     .finish = v->finish};
    const int status = dl_winograd_run(&p, v->dtype);
    return status > 0 && index ? dl_direct_windows(v, 2, 2, x, weight, bias, y, index) : status;
}

static int dl_winograd_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y) {
    return dl_winograd_windows(v, x, weight, bias, y, NULL);
}

static int dl_winograd_input_gradient(const dl_conv *v, const void *dz, const void *weight, void *dx) {
    dl_winograd p = {.in = dl_winograd_source(v, dz, NULL, NULL),
                     .weight = weight,
                     .stride_k = v->r * v->s * v->c,
                     .stride_col = 1,
                     .flip = 1,
                     .out = dx,
                     .tiles = v->n,
                     .cols = v->c,
                     .depth = v->k};
    p.in.top = v->r - 1 - v->top;
    p.in.left = v->s - 1 - v->left;
    p.in.p = v->h;
    p.in.q = v->w;
    p.in.grid_h = dl_ceil_div(v->h, p.in.side);
    p.in.grid_w = dl_ceil_div(v->w, p.in.side);
    return dl_winograd_run(&p, v->dtype);
}

/* Returns what dl_winograd_run does. */
static int dl_winograd_weight_gradient(const dl_conv *v, const void *dz, const void *x, void *dweight) {
    const long size = v->k * v->r * v->s * v->c;
    const size_t item = dl_item(v->dtype);
    dl_winograd_gradient p = {.x = dl_winograd_image(v, x),
                              .dz = dl_winograd_source(v, dz, NULL, NULL),
                              .sum = {.dweight = dweight, .groups = 1, .kernels = v->k, .width = size / dl_max(v->k, 1)},
                              .c = dl_min(v->c, DL_WINOGRAD_CHANNELS),
                              .k = dl_min(v->k, DL_WINOGRAD_CHANNELS),
                              .block = DL_WINOGRAD_SUMS};
    int strange = 0;
    if (!size) return 0;
    p.strange = &strange;
    p.tiles = v->n * p.x.grid_h * p.x.grid_w;
    p.c_blocks = dl_ceil_div(v->c, p.c);
    p.k_blocks = dl_ceil_div(v->k, p.k);
    const long jobs = p.c_blocks * p.k_blocks, blocks = dl_max(1, dl_ceil_div(p.tiles, p.block));
    p.chunk = p.block * dl_ceil_div(blocks, dl_min(dl_ceil_div(DL_WINOGRAD_PARTIALS, jobs), blocks));
    p.sum.chunks = dl_max(1, dl_ceil_div(p.tiles, p.chunk));
    p.sum.partial =
        p.sum.chunks > 1 ? (char *)dl_scratch(DL_SCRATCH_SHARED, item * p.sum.chunks * size) : (char *)dweight;
    if (!p.sum.partial) return -1;
    const int serial = (double)p.tiles * 36 * v->c * v->k < DL_CONV_SERIAL_WORK;
    if (dl_launch(DL_PICK(dl_winograd_gradient_jobs, v->dtype), &p, p.sum.chunks * jobs, serial)) return -1;
    if (p.sum.chunks == 1) return strange;
    return dl_launch(DL_PICK(dl_conv_sum_jobs, v->dtype), &p.sum, dl_ceil_div(size, DL_CONV_SUM), serial) ? -1 : strange;
}
#endif
