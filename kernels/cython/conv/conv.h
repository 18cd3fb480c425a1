/* Convolution as a matrix product (im2col), images (N, H, W, C): forward, and both gradients.

   y[n, p, q, :] = act(patch(n, p, q) W^T + b), where a patch is the R S C/groups inputs under the kernel, as one row.
   No matrix of all patches is made: each job takes up to 192 output pixels and goes through their patches in blocks of
   taps, so that what it gathers stays in L2, and multiplies each block with the weights, packed once (gemm_block.h).  A
   block is a list of segments: taps that lie side by side in memory (a kernel row, without dilation or groups) are
   copied in one piece.  1 x 1 kernels need no patches.

   dx is the same product with dz as the image: dx[h, w] sums dz[p, q] W[r, s] over p sh + r dh - top = h, q sw + s dw -
   left = w.  With strides, the pixels of each phase (h mod sh, w mod sw) meet a fixed subset of the taps, so each phase
   is a convolution of stride 1: nothing is scattered or summed twice, and jobs write disjoint pixels.  Images of few
   channels are better served by direct.h.

   dweight = dz^T patches, over chunks of pixels with a partial sum each, added in the order of the chunks.

   Source: Chellapilla et al. 2006 (im2col); Dumoulin and Visin 2016, chapter 4 (transposed convolution). */
#ifndef DLFAST_CONV_H
#define DLFAST_CONV_H
#include "conv/conv_finish.h"

#define DL_CONV_JOBS 16
#define DL_CONV_JOB_WORK 500000.0 /* multiplications: some 10 us */
#define DL_CONV_SERIAL_WORK 250000.0
#define DL_CONV_FEW 1024 /* points: of a product that is cut by columns too */
#define DL_CONV_SPLITS 4  /* ranges of columns, at most: each gathers the patches for itself */
#define DL_CONV_RANGE 320          /* columns of patches that a job of the weight gradient holds */
#define DL_CONV_PATCH_BYTES 393216 /* of patches in L2 */
#define DL_CONV_CHUNK 512          /* pixels in a chunk, at least */
#define DL_CONV_SUM 2048           /* numbers of the gradient that a job adds up */

typedef struct {
    long dy, dx, pixels; /* `pixels` neighbours from (i step_h + dy, j step_w + dx) on */
} dl_segment;

/* Grid point (image, i, j) sees `taps` pixels of a source image (h, w, c), `run` channels of each.  They come in blocks
   of `most` taps, of which block b is the segments from begin[b] to begin[b + 1]. */
typedef struct {
    const void *src;
    long h, w, c, run, grid_h, grid_w, step_h, step_w, taps, most, blocks;
    dl_segment *segment;
    long *begin;
} dl_patches;

/* out[point] = patches(point) B for every group, B (o.k, cols) from the weights. */
typedef struct {
    dl_patches patches;
    dl_operands o;
    const void *weight;
    long group_stride, col_stride;
    const long *row; /* offset of each row of B, NULL if row k is at k */
    char *packed;
    long groups, cols, points, block, ld, step, parts; /* columns of a block of taps, and its k blocks */
    long splits, width;                                /* ranges of columns that are jobs of their own */
    const dl_finish *finish;
    int direct, spread; /* patches are the image itself; grid points are every step-th pixel of out */
    void *out;
    long out_h, out_w, out_c, out_y, out_x, out_step_h, out_step_w;
} dl_product;

typedef struct {
    dl_patches patches;
    const void *dz;
    void *dweight;
    char *partial;
    long groups, kernels, width; /* kernels of one group, and the size of one */
    long points, chunk, chunks, block, ld;
} dl_weight_gradient;

/* Image rows that `rows` neighbouring output rows read. */
static long dl_rows_read(const dl_conv *v, long rows) { return (rows - 1) * v->sh + (v->r - 1) * v->dh + 1; }

/* A row length for patches: whole panels, and an odd number of 64 bytes, so that rows use all sets of the cache. */
static long dl_patch_ld(long width, int dtype) {
    const long line = 64 / (long)dl_item(dtype), step = dl_max(line, dl_tile_cols(dtype));
    const long ld = dl_round_up(dl_max(width, 1), step);
    return ld / line % 2 ? ld : ld + line;
}

#define DL_IMPL "simd/index.inc.h"
#include "simd/simd.h"
#define DL_IMPL "conv/conv.inc.h"
#include "simd/simd.h"
static const dl_job dl_conv_pack_jobs[2][DL_ISAS] = DL_TABLE(conv_pack_job);
static const dl_job dl_conv_product_jobs[2][DL_ISAS] = DL_TABLE(conv_product_job);
static const dl_job dl_conv_weight_jobs[2][DL_ISAS] = DL_TABLE(conv_weight_job);
static const dl_job dl_conv_sum_jobs[2][DL_ISAS] = DL_TABLE(conv_sum_job);

/* Room for the segments of up to `taps` taps, in equal blocks of at most `columns` columns (one tap at least).
   Returns 0, or -1 when there is no memory. */
static int dl_room_for_taps(dl_patches *g, long taps, long columns) {
    g->segment = (dl_segment *)dl_scratch(DL_SCRATCH_TAPS, (sizeof(dl_segment) + sizeof(long)) * (taps + 2));
    if (!g->segment) return -1;
    g->begin = (long *)(g->segment + taps + 2);
    g->most = dl_max(1, columns / dl_max(g->run, 1));
    g->most = dl_max(1, dl_ceil_div(taps, dl_max(1, dl_ceil_div(taps, g->most))));
    return 0;
}

/* Appends a tap, to the last segment if it continues it in memory and in its block. */
static void dl_add_tap(dl_patches *g, long dy, long dx) {
    const long segments = g->blocks ? g->begin[g->blocks] : 0;
    dl_segment *last = g->segment + segments - 1;
    if (g->taps++ % g->most == 0)
        g->begin[g->blocks++] = segments;
    else if (g->run == g->c && last->dy == dy && last->dx + last->pixels == dx) {
        last->pixels++;
        return;
    }
    g->segment[segments] = (dl_segment){dy, dx, 1};
    g->begin[g->blocks] = segments + 1;
}

/* The image that the forward reads. */
static dl_patches dl_forward_patches(const dl_conv *v, const void *x) {
    return (dl_patches){.src = x,
                        .h = v->h,
                        .w = v->w,
                        .c = v->c,
                        .run = v->c / v->groups,
                        .grid_h = v->p,
                        .grid_w = v->q,
                        .step_h = v->sh,
                        .step_w = v->sw};
}

/* Its taps, in the order (r, s) of the weights. */
static void dl_forward_taps(const dl_conv *v, dl_patches *g) {
    for (long r = 0; r < v->r; r++)
        for (long s = 0; s < v->s; s++)
            dl_add_tap(g, r * v->dh - v->top, s * v->dw - v->left);
}

static double dl_product_work(const dl_product *p) { return (double)p->points * p->groups * p->cols * p->o.k; }

/* Cuts the product into jobs of enough work.  With few points a job takes some of the columns rather than few of the
   rows, since every block of rows reads all weights. */
static void dl_cut_product(dl_product *p, int dtype) {
    const long nr = dl_tile_cols(dtype), mr = dl_tile_rows(dtype);
    const double work = dl_product_work(p);
    p->block = dl_sizes_for(dtype)->mc;
    p->splits = 1;
    if (p->points < DL_CONV_FEW && p->groups == 1 && !p->spread) {
        p->block = dl_round_up(dl_ceil_div(p->points, dl_ceil_div(p->points, p->block)), mr);
        while (p->splits < DL_CONV_SPLITS && p->cols >= 4 * p->splits * nr && work > 4 * p->splits * DL_CONV_JOB_WORK)
            p->splits *= 2;
    }
    p->width = dl_round_up(dl_ceil_div(p->cols, p->splits), nr);
    p->splits = dl_max(1, dl_ceil_div(p->cols, p->width));
    while (p->splits == 1 && p->block > 2 * mr && dl_ceil_div(p->points, p->block) < DL_CONV_JOBS &&
           work / p->points * p->block > 2 * DL_CONV_JOB_WORK)
        p->block /= 2;
}

/* Packs the weights and runs the product, bias (groups cols) or NULL.  Returns 0, or -1 when there is no memory. */
static int dl_run_product(dl_product *p, int dtype, const void *bias) {
    const size_t item = dl_item(dtype);
    const long nr = dl_tile_cols(dtype);
    p->o.k = p->patches.taps * p->patches.run;
    p->step = p->patches.most * p->patches.run;
    p->o.kc = dl_gemm_kc(p->step, dl_sizes_for(dtype)->kc);
    p->parts = dl_max(1, dl_ceil_div(p->step, p->o.kc));
    p->o.npad = dl_round_up(p->cols, nr);
    p->o.acs = p->o.finish = 1;
    p->ld = dl_patch_ld(p->step, dtype);
    dl_cut_product(p, dtype);
    const double work = dl_product_work(p);
    if (p->points <= p->block && !p->row) { /* each panel is needed once: packed when its turn comes */
        p->o.bn = p->cols;
        p->o.brs = 1;
        p->o.bcs = p->col_stride;
    }
    const size_t panels = p->o.bn ? 0 : dl_round_up(item * p->groups * p->o.npad * p->o.k, 64);
    p->packed = (char *)dl_scratch(DL_SCRATCH_SHARED, panels + item * p->groups * p->o.npad + 64);
    if (!p->packed) return -1;
    for (long group = 0; bias && group < p->groups; group++) {
        char *room = p->packed + panels + group * p->o.npad * item;
        memcpy(room, (const char *)bias + group * p->cols * item, p->cols * item);
        memset(room + p->cols * item, 0, (p->o.npad - p->cols) * item);
    }
    p->o.bias = bias ? p->packed + panels : NULL;
    const int serial = work < DL_CONV_SERIAL_WORK;
    if (!p->o.bn &&
        dl_launch(DL_PICK(dl_conv_pack_jobs, dtype), p, p->groups * p->patches.blocks * p->parts, serial))
        return -1;
    return dl_launch(DL_PICK(dl_conv_product_jobs, dtype), p, dl_ceil_div(p->points, p->block) * p->splits, serial);
}

DL_UNUSED static int dl_conv_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y) {
    const long taps = v->r * v->s, channels = v->c / v->groups, cols = v->k / v->groups;
    if (v->n * v->p * v->q * v->k == 0) return 0;
    dl_product p = {.patches = dl_forward_patches(v, x),
                    .weight = weight,
                    .groups = v->groups,
                    .cols = cols,
                    .group_stride = cols * taps * channels,
                    .col_stride = taps * channels,
                    .points = v->n * v->p * v->q,
                    .finish = v->finish,
                    .out = y,
                    .out_c = v->k};
    if (dl_room_for_taps(&p.patches, taps, dl_sizes_for(v->dtype)->kc)) return -1;
    dl_forward_taps(v, &p.patches);
    p.o.activation = v->activation;
    p.direct = taps == 1 && v->sh == 1 && v->sw == 1 && !v->top && !v->left && v->p == v->h && v->q == v->w;
    return dl_run_product(&p, v->dtype, bias);
}

/* The taps that reach output rows of phase (a, b), and the rows of B for them: the K/groups kernels at each tap. */
static void dl_phase_taps(const dl_conv *v, long a, long b, dl_patches *g, long *row) {
    const long kernels = v->k / v->groups, channels = v->c / v->groups, size = v->r * v->s * channels;
    for (long r = 0; r < v->r; r++)
        for (long s = v->s - 1; s >= 0; s--) { /* from right to left, so that their dx ascends and taps join */
            const long y = a + v->top - r * v->dh, x = b + v->left - s * v->dw;
            if (y % v->sh || x % v->sw) continue;
            dl_add_tap(g, y / v->sh, x / v->sw);
            for (long k = 0; k < kernels; k++)
                *row++ = k * size + (r * v->s + s) * channels;
        }
}

/* How many pixels of a row (or column) of dx apart in steps of `stride` tap t meets, the first of them below `stride`. */
static long dl_tap_phase(long t, long dilation, long before, long stride) {
    const long phase = (t * dilation - before) % stride;
    return phase < 0 ? phase + stride : phase;
}

/* The phases of an axis that meet a tap, in ascending order: how many; `phase` has room for all taps. */
static long dl_met_phases(long taps, long dilation, long before, long stride, long *phase) {
    long count = 0;
    for (long t = 0; t < taps; t++) {
        const long met = dl_tap_phase(t, dilation, before, stride);
        long i = count;
        while (i > 0 && phase[i - 1] >= met)
            i--;
        if (i < count && phase[i] == met) continue;
        memmove(phase + i + 1, phase + i, sizeof(long) * (count++ - i));
        phase[i] = met;
    }
    return count;
}

DL_UNUSED static int dl_conv_input_gradient(const dl_conv *v, const void *dz, const void *weight, void *dx) {
    const long taps = v->r * v->s, kernels = v->k / v->groups, channels = v->c / v->groups;
    if (v->n * v->h * v->w * v->c == 0) return 0;
    long *row = (long *)dl_scratch(DL_SCRATCH_ROWS, sizeof(long) * (taps * kernels + 1 + v->r + v->s));
    if (!row) return -1;
    long *down = row + taps * kernels + 1, *across = down + v->r;
    const long downs = dl_met_phases(v->r, v->dh, v->top, v->sh, down);
    const long acrosses = dl_met_phases(v->s, v->dw, v->left, v->sw, across);
    /* A stride longer than the kernel leaves pixels that no tap reads. */
    if (downs < v->sh || acrosses < v->sw) memset(dx, 0, dl_item(v->dtype) * v->n * v->h * v->w * v->c);
    for (long phase = 0; phase < downs * acrosses; phase++) {
        const long a = down[phase / acrosses], b = across[phase % acrosses];
        dl_product p = {.weight = weight,
                        .row = row,
                        .groups = v->groups,
                        .cols = channels,
                        .group_stride = kernels * taps * channels,
                        .col_stride = 1,
                        .spread = v->sh * v->sw > 1,
                        .out = dx,
                        .out_h = v->h,
                        .out_w = v->w,
                        .out_c = v->c,
                        .out_y = a,
                        .out_x = b,
                        .out_step_h = v->sh,
                        .out_step_w = v->sw};
        p.patches = (dl_patches){.src = dz,
                                 .h = v->p,
                                 .w = v->q,
                                 .c = v->k,
                                 .run = kernels,
                                 .step_h = 1,
                                 .step_w = 1,
                                 .grid_h = dl_ceil_div(dl_max(v->h - a, 0), v->sh),
                                 .grid_w = dl_ceil_div(dl_max(v->w - b, 0), v->sw)};
        p.points = v->n * p.patches.grid_h * p.patches.grid_w;
        if (!p.points) continue;
        if (dl_room_for_taps(&p.patches, taps, dl_sizes_for(v->dtype)->kc)) return -1;
        dl_phase_taps(v, a, b, &p.patches, row);
        p.direct = p.patches.taps == 1 && !p.patches.segment->dy && !p.patches.segment->dx &&
                   v->p == p.patches.grid_h && v->q == p.patches.grid_w;
        if (dl_run_product(&p, v->dtype, NULL)) return -1;
    }
    return 0;
}

DL_UNUSED static int dl_conv_weight_gradient(const dl_conv *v, const void *dz, const void *x, void *dweight) {
    const long taps = v->r * v->s, size = v->k * taps * (v->c / v->groups);
    const size_t item = dl_item(v->dtype);
    if (!size) return 0;
    dl_weight_gradient p = {.patches = dl_forward_patches(v, x),
                            .dz = dz,
                            .dweight = dweight,
                            .groups = v->groups,
                            .kernels = v->k / v->groups,
                            .width = taps * (v->c / v->groups),
                            .points = v->n * v->p * v->q};
    if (dl_room_for_taps(&p.patches, taps, DL_CONV_RANGE)) return -1;
    dl_forward_taps(v, &p.patches);
    const long jobs = p.patches.blocks * p.groups;
    p.ld = dl_patch_ld(p.patches.most * p.patches.run, v->dtype);
    p.block = dl_max(32, dl_min(dl_sizes_for(v->dtype)->kc, DL_CONV_PATCH_BYTES / (long)item / p.ld / 8 * 8));
    p.chunks = dl_max(1, dl_min(dl_ceil_div(DL_CONV_JOBS, jobs), p.points / DL_CONV_CHUNK));
    p.chunk = dl_round_up(dl_max(1, dl_ceil_div(p.points, p.chunks)), p.block);
    p.chunks = dl_max(1, dl_ceil_div(p.points, p.chunk));
    if (!p.points) {
        memset(dweight, 0, item * size);
        return 0;
    }
    p.partial = p.chunks > 1 ? (char *)dl_scratch(DL_SCRATCH_SHARED, item * p.chunks * size) : (char *)dweight;
    if (!p.partial) return -1;
    const int serial = (double)p.points * size / p.groups < DL_CONV_SERIAL_WORK;
    if (dl_launch(DL_PICK(dl_conv_weight_jobs, v->dtype), &p, p.chunks * jobs, serial)) return -1;
    return p.chunks == 1 ? 0 : dl_launch(DL_PICK(dl_conv_sum_jobs, v->dtype), &p, dl_ceil_div(size, DL_CONV_SUM), serial);
}
#endif
