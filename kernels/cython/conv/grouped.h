/* Groups of few channels: their products are too small for a matrix tile, so the lanes are outputs of several groups.

       out[i, k] = act(b[k] + sum over taps t and j of src[pixel(i, t), first(k) + j] w[k, t, j])

   where first(k) is the first of the `each` channels of k's group.  Lane by lane every group reads other channels, so a
   job spreads the rows that it reads once, with their padding: for one register of outputs, the numbers (pixel, j,
   lane) that these lanes multiply.  What follows is a depthwise convolution with taps times `each` products, several
   pixels for each register of weights.  Spreading costs a register of loads and stores for each number, paid once for
   all taps.

   The gradient of the image is the same over dz, for each phase of pixels with its own taps (depthwise.h); here the
   lanes are input channels, and `each` counts the kernels of a group.  dweight is summed over chunks of rows, and these
   in order.  Source: the lanes are those of Sifre 2014 (depthwise.h). */
#ifndef DLFAST_GROUPED_H
#define DLFAST_GROUPED_H
#include "conv/depthwise.h"

#define DL_GROUPED_PIXELS 8       /* in registers, for one register of weights */
#define DL_GROUPED_TAPS 10        /* of dweight in registers, for one of dz */
#define DL_GROUPED_BYTES 65536    /* of spread rows: they come from L2, one row of them from L1 */
#define DL_GROUPED_JOB_WORK 250000.0 /* multiplications in a sum of dweight, at least: some 20 us */
#define DL_GROUPED_PARTIALS (1L << 22) /* numbers in all sums, at most */

typedef struct {
    const dl_conv *v;
    const void *src, *bias, *dz;
    void *out;
    char *weight;            /* (panels, taps, each, LANES), or the sums of dweight (chunks, the same) */
    dl_axis down, across;    /* of the points that are computed, or of those of dz */
    long n, h, w, c;         /* the image that is read */
    long out_h, out_w;       /* pixels of the result */
    long outputs, each, sharing; /* outputs in all, channels that each reads, outputs of a group */
    long rows, blocks, panels, chunk, chunks, cell; /* cell: numbers of weights in a panel */
    int finish;
} dl_grouped;

/* Rows and columns of the source that `points` of an axis read. */
static long dl_reach(const dl_axis *axis, long points) {
    return axis->taps ? (points - 1) * axis->step + (axis->taps - 1) * axis->apart + 1 : 0;
}

#define DL_IMPL "conv/grouped.inc.h"
#include "simd/simd.h"
static const dl_job dl_grouped_jobs[2][DL_ISAS] = DL_TABLE(grouped_job);
static const dl_job dl_grouped_weight_jobs[2][DL_ISAS] = DL_TABLE(grouped_weight_job);
static const dl_job dl_grouped_sum_jobs[2][DL_ISAS] = DL_TABLE(grouped_sum_job);
static void (*const dl_grouped_packs[2][DL_ISAS])(const dl_grouped *, const void *, int) = DL_TABLE(grouped_pack);

/* Cuts the rows of one image into blocks whose spread source stays in cache. */
static void dl_grouped_cut(dl_grouped *g) {
    const long lanes = dl_lanes(g->v->dtype), item = (long)dl_item(g->v->dtype);
    const long row = dl_max(1, dl_reach(&g->across, g->across.points)) * g->each * lanes * item;
    g->rows = 1;
    while (g->rows < g->down.points && dl_reach(&g->down, g->rows + 1) * row <= DL_GROUPED_BYTES)
        g->rows++;
    g->blocks = dl_ceil_div(g->down.points, g->rows);
    g->panels = dl_ceil_div(g->outputs, lanes);
    g->cell = g->down.taps * g->across.taps * g->each * lanes;
}

static double dl_grouped_work(const dl_grouped *g) {
    return (double)g->n * g->down.points * g->across.points * g->panels * g->cell;
}

/* One phase of a result, from weights (K, R, S, C/groups).  Returns 0, or -1 when there is no memory. */
static int dl_grouped_run(dl_grouped *g, const void *weight, int transposed) {
    dl_grouped_cut(g);
    if (!g->n || !g->blocks || !g->across.points) return 0;
    g->weight = (char *)dl_scratch(DL_SCRATCH_SHARED, dl_item(g->v->dtype) * g->panels * g->cell + 64);
    if (!g->weight) return -1;
    DL_PICK(dl_grouped_packs, g->v->dtype)(g, weight, transposed);
    return dl_launch(DL_PICK(dl_grouped_jobs, g->v->dtype), g, g->n * g->blocks * g->panels,
                     dl_grouped_work(g) < DL_CONV_SERIAL_WORK);
}

static dl_grouped dl_grouped_of_image(const dl_conv *v, const void *x) {
    return (dl_grouped){.v = v,
                        .src = x,
                        .down = dl_forward_axis(v->p, v->sh, v->dh, v->r, v->top, v->h),
                        .across = dl_forward_axis(v->q, v->sw, v->dw, v->s, v->left, v->w),
                        .n = v->n,
                        .h = v->h,
                        .w = v->w,
                        .c = v->c,
                        .out_h = v->p,
                        .out_w = v->q,
                        .outputs = v->k,
                        .each = v->c / v->groups,
                        .sharing = v->k / v->groups};
}

/* Whether the channels as they lie are lanes, as many as a register has: depthwise.h. */
static int dl_depthwise_fits(const dl_conv *v) {
    return v->c == v->groups && v->k == v->groups && v->c >= dl_lanes(v->dtype);
}

static int dl_grouped_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y) {
    if (dl_depthwise_fits(v)) return dl_depthwise_forward(v, x, weight, bias, y);
    dl_grouped g = dl_grouped_of_image(v, x);
    g.bias = bias, g.out = y, g.finish = 1;
    return dl_grouped_run(&g, weight, 0);
}

static int dl_grouped_input_gradient(const dl_conv *v, const void *dz, const void *weight, void *dx) {
    if (v->n * v->h * v->w * v->c == 0) return 0;
    for (long phase = 0; phase < v->sh * v->sw; phase++) {
        dl_grouped g = {.v = v,
                        .src = dz,
                        .out = dx,
                        .down = dl_phase_axis(phase / v->sw, v->h, v->sh, v->dh, v->r, v->top, v->p),
                        .across = dl_phase_axis(phase % v->sw, v->w, v->sw, v->dw, v->s, v->left, v->q),
                        .n = v->n,
                        .h = v->p,
                        .w = v->q,
                        .c = v->k,
                        .out_h = v->h,
                        .out_w = v->w,
                        .outputs = v->c,
                        .each = v->k / v->groups,
                        .sharing = v->c / v->groups};
        if (!v->p || !v->q) g.down.taps = 0;
        if (dl_grouped_run(&g, weight, 1)) return -1;
    }
    return 0;
}

static int dl_grouped_weight_gradient(const dl_conv *v, const void *dz, const void *x, void *dweight) {
    dl_grouped g = dl_grouped_of_image(v, x);
    g.dz = dz, g.out = dweight;
    const long size = v->k * v->r * v->s * g.each;
    if (!size) return 0;
    dl_grouped_cut(&g);
    const long blocks = v->n * g.blocks;
    if (!blocks || !v->q) {
        memset(dweight, 0, dl_item(v->dtype) * size);
        return 0;
    }
    /* Chunks of enough work that all their sums have room, as the shape alone says. */
    const double work = dl_grouped_work(&g) / blocks;
    g.chunk = dl_max(1, (long)(DL_GROUPED_JOB_WORK * g.panels / dl_max(1, (long)work)));
    g.chunk = dl_max(g.chunk, dl_ceil_div(blocks, dl_max(1, DL_GROUPED_PARTIALS / (g.panels * g.cell))));
    g.chunks = dl_ceil_div(blocks, g.chunk);
    g.weight = (char *)dl_scratch(DL_SCRATCH_SHARED, dl_item(v->dtype) * g.chunks * g.panels * g.cell + 64);
    if (!g.weight) return -1;
    const int serial = dl_grouped_work(&g) < DL_CONV_SERIAL_WORK;
    if (dl_launch(DL_PICK(dl_grouped_weight_jobs, v->dtype), &g, g.chunks * g.panels, serial)) return -1;
    return dl_launch(DL_PICK(dl_grouped_sum_jobs, v->dtype), &g, g.panels, serial);
}
#endif
