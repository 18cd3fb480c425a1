/* Convolution as a batch-reduce product: no patch is gathered, a register tile reads the image where it lies.

   out[pixel, :] = act(bias + sum over runs of image[pixel + run] B[run, :]), a run being so many numbers side by side: a
   kernel row (S C numbers), or with dilation along the row or with groups the channels of one tap.  Stride and dilation
   are in the list of pixels and the list of runs, so one tile serves all; its pixels may lie in several rows and images.
   The image rows that a job reads are copied once, with their padding; without padding they are read in place.

   A job takes a block of pixels, whose image rows stay in L2, and goes panel by panel (2 registers of outputs, 3 for the
   last of an odd number) through blocks of the depth, so that a part of a panel stays in L1 while all pixels meet it; the
   sums go on in the output.  The last register of a panel lies across the one before where the outputs do not fill it:
   the same number is made twice, and nothing is masked.

   The gradient of the image is the same with dz as the image.  With strides, the pixels of each phase (h mod sh, w mod
   sw) meet a fixed subset of the taps, so each phase is a convolution of stride 1 (conv.h).

   Source: Georganas et al. 2020, "Harnessing Deep Learning via a Single Building Block" (batch-reduce GEMM); Dukhan
   2019, "The Indirect Convolution Algorithm" (lists of addresses); Zhang, Franchetti and Low 2018. */
#ifndef DLFAST_BRGEMM_H
#define DLFAST_BRGEMM_H
#include "conv/conv.h"

#define DL_BRGEMM_BYTES 131072  /* of image rows of a job, in L2 */
#define DL_BRGEMM_PIXELS 192    /* of a job */
#define DL_BRGEMM_FEW_PIXELS 48 /* are not cut further */
#define DL_BRGEMM_STREAM 8      /* see dl_streams */
#define DL_BRGEMM_PACK_SERIAL 65536 /* numbers that one thread packs sooner than it wakes another */

/* `run` numbers from `at` behind a pixel on meet the rows from `row` on of a panel. */
typedef struct {
    long at, row, run;
} dl_run;

/* Where an output's first number is read from, and where the output goes. */
typedef struct {
    long at, to;
} dl_pixel;

/* What the pixels of a job meet one after the other: runs of one panel. */
typedef struct {
    const dl_run *run, *end;
    const void *b, *bias;
    long part, last;            /* outputs in a panel that fills no register, else 0; where its last register goes */
    const void *spill;          /* up to there a register of which only a part exists may be stored whole, or NULL */
    int first, relu, stream;    /* first: the sums begin here, else they go on */
} dl_panel;

typedef struct {
    const dl_conv *v;
    const void *src, *weight, *bias;
    void *out;
    char *packed, *packed_bias;             /* panels of the weights, and the bias in their order */
    const dl_finish *finish;                /* of y, or NULL */
    void *means;                            /* of windows of y, or NULL */
    long pool_h, pool_w;
    int activation;
    long n, h, w, c;                        /* the image that is read */
    long grid_h, grid_w;                    /* outputs of one image: */
    long step_h, step_w, top, left;         /* (i, j) reads from pixel (i step_h - top, j step_w - left) on, */
    long reach_h, reach_w;                  /* and so far */
    long out_at, out_n, out_h, out_w;       /* and goes to out_at + image out_n + i out_h + j out_w */
    long groups, cols, taps, run;           /* outputs of a group; taps and the numbers of each */
    long depth, kc, blocks;                 /* of a group: taps run, in blocks of kc */
    long group_stride, col_stride, row_stride; /* of the weights: from group to group, output to output, row to row */
    long *dy, *dx, *from;                   /* of each tap: where it reads, where its weights are */
    dl_run *runs;
    long *begin;                            /* the first run of each block */
    long registers, panels;                 /* of a group */
    long line;                              /* numbers from row to row of the image as it is read */
    long rows, wide, row_blocks, col_blocks, splits; /* lines and columns of a job; jobs */
    long span;                              /* lines that are cut into jobs: those of all images, or each of one */
    long packings, jobs;                    /* of this plan and those before it */
    int packs;                              /* each panel is met by one job, which packs it when its turn comes */
    int in_place, stream, spills;           /* spills: outputs lie side by side, see dl_panel */
} dl_brgemm;

#define DL_IMPL "conv/brgemm_tile.inc.h"
#include "simd/simd.h"
#define DL_IMPL "conv/brgemm.inc.h"
#include "simd/simd.h"
static const dl_job dl_brgemm_pack_jobs[2][DL_ISAS] = DL_TABLE(brgemm_pack_job);
static const dl_job dl_brgemm_jobs[2][DL_ISAS] = DL_TABLE(brgemm_job);

/* Room for the tables of `count` plans with so many taps of g->run numbers together.
   Returns 0, or -1 when there is no memory. */
static int dl_brgemm_room(dl_brgemm *g, long taps, long count) {
    const long blocks = dl_ceil_div(taps * g->run, 16) + 2 * count;
    const size_t tables = sizeof(long) * (3 * taps + blocks);
    g->dy = (long *)dl_scratch(DL_SCRATCH_TAPS, tables + sizeof(dl_run) * (taps + blocks));
    if (!g->dy) return -1;
    g->dx = g->dy + taps;
    g->from = g->dx + taps;
    g->begin = g->from + taps;
    g->runs = (dl_run *)((char *)g->dy + tables);
    return 0;
}

static void dl_brgemm_tap(dl_brgemm *g, long dy, long dx, long from) {
    g->dy[g->taps] = dy;
    g->dx[g->taps] = dx;
    g->from[g->taps++] = from;
    g->depth += g->run;
}

/* The taps as runs, joined where they lie side by side, cut at the ends of blocks of kc. */
static void dl_brgemm_runs(dl_brgemm *g) {
    long count = 0;
    g->blocks = 0;
    for (long k0 = 0; k0 < g->depth || !g->blocks; k0 += g->kc) {
        const long end = dl_min(k0 + g->kc, g->depth);
        g->begin[g->blocks++] = count;
        for (long k = k0, length; k < end; k += length) {
            const long tap = k / g->run, at = g->dy[tap] * g->line + g->dx[tap] * g->c + k % g->run;
            dl_run *last = g->runs + count - 1;
            length = dl_min(g->run - k % g->run, end - k);
            if (k > k0 && last->at + last->run == at) /* it goes on */
                last->run += length;
            else
                g->runs[count++] = (dl_run){at, k, length};
        }
    }
    g->begin[g->blocks] = count;
}

/* Cuts the outputs into jobs: of so many pixels, lines and columns, and of some of the panels where pixels are few.  With
   windows behind it a job has whole rows of them, of one image. */
static void dl_brgemm_cut(dl_brgemm *g, double work, long jobs) {
    const long item = (long)dl_item(g->v->dtype), lines = g->n * g->grid_h, unit = g->means ? g->pool_h : 1;
    const int few = lines * g->grid_w <= 2 * DL_BRGEMM_PIXELS;
    const long fit = DL_BRGEMM_BYTES / item / dl_max(1, g->c); /* pixels of the image that stay in L2 */
    g->wide = g->grid_w;
    if (!g->means &&
        (g->wide > 2 * DL_BRGEMM_PIXELS || g->reach_h * ((g->wide - 1) * g->step_w + g->reach_w) > fit))
        g->wide = dl_min(g->wide, dl_max(16, dl_min(DL_BRGEMM_PIXELS, fit / (g->reach_h * g->step_w))));
    const long line = (g->wide - 1) * g->step_w + g->reach_w;
    g->span = g->means ? g->grid_h : lines;
    g->rows = dl_max(1, dl_min(DL_BRGEMM_PIXELS / g->wide, (fit / line - g->reach_h) / g->step_h + 1));
    g->splits = 1;
    for (;;) {
        g->rows = dl_min(dl_round_up(g->rows, unit), g->span);
        g->row_blocks = lines / g->span * dl_ceil_div(g->span, g->rows);
        g->col_blocks = dl_ceil_div(g->grid_w, g->wide);
        const long now = g->row_blocks * g->col_blocks * g->splits;
        if (now >= jobs || work < 2 * DL_CONV_JOB_WORK * now) break;
        if (few && !g->means && g->panels >= 4 * g->splits)
            g->splits *= 2;
        else if (g->rows > unit && g->rows * g->wide >= 2 * DL_BRGEMM_FEW_PIXELS)
            g->rows = dl_ceil_div(g->rows, 2);
        else if (!g->means && g->panels >= 4 * g->splits)
            g->splits *= 2;
        else
            break;
    }
    g->in_place = g->top <= 0 && g->left <= 0 && (g->grid_h - 1) * g->step_h - g->top + g->reach_h <= g->h &&
                  (g->grid_w - 1) * g->step_w - g->left + g->reach_w <= g->w;
    g->line = (g->in_place ? g->w : line) * g->c;
}

/* From `count` filled in structs: packs the weights and runs the jobs of all.  Returns 0, or -1 when there is no
   memory. */
static int dl_brgemm_run(dl_brgemm *plans, long count) {
    const int dtype = plans->v->dtype;
    const long lanes = dl_lanes(dtype);
    const size_t item = dl_item(dtype);
    size_t bytes = 0;
    double all = 0;
    long packings = 0, jobs = 0, numbers = 0;
    for (dl_brgemm *g = plans; g < plans + count; g++) {
        const double work = (double)g->n * g->grid_h * g->grid_w * g->groups * g->cols * dl_max(g->depth, 1);
        g->registers = dl_ceil_div(g->cols, lanes);
        g->panels = dl_max(1, g->registers / 2);
        g->kc = g->registers > 1 ? dl_gemm_kc(g->depth, dl_sizes_for(dtype)->kc) : dl_max(1, g->depth);
        dl_brgemm_cut(g, work, dl_ceil_div(DL_CONV_JOBS, count));
        if (g > plans) { /* the tables go on behind those of the plan before */
            g->runs = g[-1].runs + g[-1].begin[g[-1].blocks];
            g->begin = g[-1].begin + g[-1].blocks + 1;
        }
        dl_brgemm_runs(g);
        g->stream = g->stream && g->blocks == 1;
        const size_t width = item * g->groups * g->registers * lanes, panels = dl_round_up(width * g->depth, 64);
        g->packed = (char *)bytes;
        g->packed_bias = g->packed + panels;
        bytes += panels + dl_round_up(width, 64);
        g->packs = g->row_blocks * g->col_blocks == 1;
        g->packings = packings += g->packs ? 0 : g->groups * g->panels;
        g->jobs = jobs += g->row_blocks * g->col_blocks * g->splits;
        all += work;
        numbers += g->groups * g->registers * lanes * g->depth;
    }
    char *room = (char *)dl_scratch(DL_SCRATCH_SHARED, bytes + 64);
    if (!room) return -1;
    for (dl_brgemm *g = plans; g < plans + count; g++) {
        g->packed = room + (size_t)g->packed;
        g->packed_bias = room + (size_t)g->packed_bias;
    }
    const int serial = all < DL_CONV_SERIAL_WORK;
    if (packings &&
        dl_launch(DL_PICK(dl_brgemm_pack_jobs, dtype), plans, packings, serial || numbers < DL_BRGEMM_PACK_SERIAL))
        return -1;
    return dl_launch(DL_PICK(dl_brgemm_jobs, dtype), plans, jobs, serial);
}

/* y, and unless NULL the means of its windows of pool_h x pool_w.  Returns 0, or -1 when there is no memory; also
   below. */
static int dl_brgemm_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y,
                             void *means, long pool_h, long pool_w) {
    const size_t pixel = dl_item(v->dtype) * v->k;
    if (v->n * v->p * v->q * v->k == 0) return 0;
    const long channels = v->c / v->groups, cols = v->k / v->groups, size = v->r * v->s * channels;
    dl_brgemm g = {.v = v,
                   .src = x,
                   .weight = weight,
                   .bias = bias,
                   .out = y,
                   .finish = v->finish,
                   .means = means,
                   .pool_h = pool_h,
                   .pool_w = pool_w,
                   .activation = v->activation,
                   .n = v->n,
                   .h = v->h,
                   .w = v->w,
                   .c = v->c,
                   .grid_h = v->p,
                   .grid_w = v->q,
                   .step_h = v->sh,
                   .step_w = v->sw,
                   .top = v->top,
                   .left = v->left,
                   .reach_h = (v->r - 1) * v->dh + 1,
                   .reach_w = (v->s - 1) * v->dw + 1,
                   .out_n = v->p * v->q * v->k,
                   .out_h = v->q * v->k,
                   .out_w = v->k,
                   .groups = v->groups,
                   .cols = cols,
                   .run = channels,
                   .group_stride = cols * size,
                   .col_stride = size,
                   .row_stride = 1,
                   .spills = v->groups == 1,
                   .stream = dl_streams(y, pixel * v->n * v->p * v->q, pixel, DL_BRGEMM_STREAM) && v->groups == 1 &&
                             v->activation <= DL_RELU && !v->finish && !means};
    if (dl_brgemm_room(&g, v->r * v->s, 1)) return -1;
    for (long r = 0; r < v->r; r++)
        for (long s = 0; s < v->s; s++)
            dl_brgemm_tap(&g, r * v->dh, s * v->dw, (r * v->s + s) * channels);
    return dl_brgemm_run(&g, 1);
}

/* The taps that pixels (a + i sh, b + j sw) of dx meet, around pixel (i - top, j - left) of dz. */
static void dl_brgemm_phase(const dl_conv *v, long a, long b, dl_brgemm *g) {
    long low_y = LONG_MAX, low_x = LONG_MAX, high_y = LONG_MIN, high_x = LONG_MIN;
    for (long r = 0; r < v->r; r++)
        for (long s = v->s - 1; s >= 0; s--) { /* from right to left, so that their dx ascends and runs join */
            const long y = a + v->top - r * v->dh, x = b + v->left - s * v->dw;
            if (y % v->sh || x % v->sw) continue;
            dl_brgemm_tap(g, y / v->sh, x / v->sw, (r * v->s + s) * (v->c / v->groups));
            low_y = dl_min(low_y, y / v->sh), high_y = dl_max(high_y, y / v->sh);
            low_x = dl_min(low_x, x / v->sw), high_x = dl_max(high_x, x / v->sw);
        }
    g->top = -low_y, g->reach_h = high_y - low_y + 1;
    g->left = -low_x, g->reach_w = high_x - low_x + 1;
    for (long t = 0; t < g->taps; t++)
        g->dy[t] -= low_y, g->dx[t] -= low_x;
}

static int dl_brgemm_input_gradient(const dl_conv *v, const void *dz, const void *weight, void *dx) {
    const long kernels = v->k / v->groups, channels = v->c / v->groups, size = v->r * v->s * channels;
    const long taps = v->p && v->q && v->k ? v->r * v->s : 0;
    if (v->n * v->h * v->w * v->c == 0) return 0;
    long *down = (long *)dl_scratch(DL_SCRATCH_ROWS, sizeof(long) * (v->r + v->s) + sizeof(dl_brgemm) * (taps + 1));
    if (!down) return -1;
    long *across = down + v->r, count = 0;
    dl_brgemm *plans = (dl_brgemm *)(across + v->s);
    const long downs = taps ? dl_met_phases(v->r, v->dh, v->top, v->sh, down) : 0;
    const long acrosses = taps ? dl_met_phases(v->s, v->dw, v->left, v->sw, across) : 0;
    /* A stride longer than the kernel leaves pixels that no tap reads. */
    if (downs < v->sh || acrosses < v->sw) memset(dx, 0, dl_item(v->dtype) * v->n * v->h * v->w * v->c);
    for (long phase = 0; phase < downs * acrosses; phase++) {
        const long a = down[phase / acrosses], b = across[phase % acrosses];
        dl_brgemm *g = plans + count;
        if (a >= v->h || b >= v->w) continue;
        *g = (dl_brgemm){.v = v,
                         .src = dz,
                         .weight = weight,
                         .out = dx,
                         .n = v->n,
                         .h = v->p,
                         .w = v->q,
                         .c = v->k,
                         .grid_h = dl_ceil_div(v->h - a, v->sh),
                         .grid_w = dl_ceil_div(v->w - b, v->sw),
                         .step_h = 1,
                         .step_w = 1,
                         .out_at = (a * v->w + b) * v->c,
                         .out_n = v->h * v->w * v->c,
                         .out_h = v->sh * v->w * v->c,
                         .out_w = v->sw * v->c,
                         .groups = v->groups,
                         .cols = channels,
                         .run = kernels,
                         .group_stride = kernels * size,
                         .col_stride = 1,
                         .row_stride = size,
                         .spills = v->groups == 1 && v->sh == 1 && v->sw == 1};
        if (!count++ && dl_brgemm_room(g, taps, downs * acrosses)) return -1;
        if (count > 1) {
            g->dy = g[-1].dy + g[-1].taps;
            g->dx = g[-1].dx + g[-1].taps;
            g->from = g[-1].from + g[-1].taps;
        }
        dl_brgemm_phase(v, a, b, g);
    }
    return count ? dl_brgemm_run(plans, count) : 0;
}
#endif
