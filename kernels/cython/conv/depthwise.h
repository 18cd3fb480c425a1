/* Depthwise convolution: every channel has a kernel of its own, so the channels are the lanes of the registers.

       y[n, i, j, c] = act(b[c] + sum over r, s of x[n, i sh + r dh - top, j sw + s dw - left, c] w[r, s, c])

   There is little arithmetic for each byte, so what counts is how often an array passes through the caches.  Forward
   reads x and writes y once: a job takes neighbouring rows, the next row of x is asked for while this one is in work,
   and a y that no cache would keep is written past the caches.  The backward takes the rows of dz one after the other;
   for each it makes the rows of dx that lie there, and adds its products with x to the sums of dweight and dbias while
   the row is still in L2: dz and x are read once, dx is written once.

   dx is the same sum over dz, for each phase of pixels (h mod sh, w mod sw) with its own taps (as in conv.h).  dweight
   is summed over chunks of rows, and these in order.  The last register of a row of channels overlaps the one before,
   so there must be at least one register of channels.

   Source: Sifre 2014, "Rigid-Motion Scattering for Image Classification", section 6.2. */
#ifndef DLFAST_DEPTHWISE_H
#define DLFAST_DEPTHWISE_H
#include "conv/conv.h"

#define DL_DEPTHWISE_PIXELS 4 /* of a row, in registers */
#define DL_DEPTHWISE_RUN 8    /* pixels whose products are summed in registers: those of x and dz stay in L1 */
#define DL_DEPTHWISE_RUNS 64  /* runs in one sum: the errors grow with the number of sums */
#define DL_DEPTHWISE_JOBS 16  /* of the weight gradient, at most: each has a partial sum */
#define DL_DEPTHWISE_ROWS 16  /* in a job of the forward, at most */
#define DL_DEPTHWISE_STREAM 8 /* see dl_streams */

/* One axis: point i of `points` meets the pixels i step + first + t apart, t < taps, of `size`, there with tap
   `tap` + t next of the kernel; it is pixel origin + i spread of the result. */
typedef struct {
    long step, first, apart, taps, tap, next, size, origin, spread, points;
} dl_axis;

/* Points of a result that meet the same taps; their weights, packed. */
typedef struct {
    dl_axis down, across;
    const char *weight;
} dl_phase;

typedef struct {
    const dl_conv *v;
    const void *x, *dz, *bias;
    void *out; /* y or dx; NULL: not wanted */
    dl_phase *phase;
    dl_phase view; /* what dweight meets of x */
    char *partial; /* of each chunk: the sums of dweight and dbias, (registers, R S + 1, LANES); NULL: not wanted */
    char *blocks;  /* the same for what was added last */
    long out_w, lines, chunk, npad;
    int stream;
} dl_depthwise;

#define DL_IMPL "conv/depthwise.inc.h"
#include "simd/simd.h"
static const dl_job dl_depthwise_forward_jobs[2][DL_ISAS] = DL_TABLE(depthwise_forward_job);
static const dl_job dl_depthwise_gradient_jobs[2][DL_ISAS] = DL_TABLE(depthwise_gradient_job);
static void (*const dl_depthwise_packs[2][DL_ISAS])(const dl_conv *, const void *, const dl_phase *,
                                                    void *) = DL_TABLE(depthwise_pack);
static void (*const dl_depthwise_totals[2][DL_ISAS])(const dl_depthwise *, long, void *,
                                                     void *) = DL_TABLE(depthwise_total);

/* Output i of an axis sees pixels i stride + t dilation - before. */
static dl_axis dl_forward_axis(long points, long stride, long dilation, long taps, long before, long size) {
    return (dl_axis){.step = stride,
                     .first = -before,
                     .apart = dilation,
                     .taps = taps,
                     .next = 1,
                     .size = size,
                     .spread = 1,
                     .points = points};
}

/* Pixels phase + i stride of dx see pixels i + (phase + before - t dilation) / stride of dz, for t that leave no rest.
 */
static dl_axis dl_phase_axis(long phase, long pixels, long stride, long dilation, long taps, long before, long size) {
    dl_axis axis = {.step = 1, .apart = 1, .size = size, .origin = phase, .spread = stride};
    axis.points = dl_ceil_div(dl_max(0, pixels - phase), stride);
    for (long t = taps - 1; t >= 0; t--) {
        const long at = phase + before - t * dilation;
        if (at % stride) continue;
        if (++axis.taps == 1) axis.first = at / stride, axis.tap = t;
        if (axis.taps == 2) axis.apart = at / stride - axis.first, axis.next = t - axis.tap;
    }
    return axis;
}

static dl_phase dl_depthwise_view(const dl_conv *v) {
    return (dl_phase){.down = dl_forward_axis(v->p, v->sh, v->dh, v->r, v->top, v->h),
                      .across = dl_forward_axis(v->q, v->sw, v->dw, v->s, v->left, v->w)};
}

/* Channels in whole panels. */
static long dl_depthwise_pad(const dl_conv *v) { return dl_round_up(v->c, dl_tile_cols(v->dtype)); }

/* Packs the weights of a phase, and says where they lie; returns the room behind them. */
static char *dl_pack_phase(const dl_conv *v, const void *weight, dl_phase *phase, char *room) {
    phase->weight = room;
    DL_PICK(dl_depthwise_packs, v->dtype)(v, weight, phase, room);
    return room + dl_item(v->dtype) * phase->down.taps * phase->across.taps * dl_depthwise_pad(v);
}

static int dl_depthwise_serial(const dl_conv *v) {
    return (double)v->n * v->p * v->q * v->c * v->r * v->s < DL_CONV_SERIAL_WORK / 4;
}

static int dl_depthwise_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y) {
    dl_phase view = dl_depthwise_view(v);
    dl_depthwise d = {.v = v, .x = x, .bias = bias, .out = y, .phase = &view, .out_w = v->q, .lines = v->n * v->p};
    char *room = (char *)dl_scratch(DL_SCRATCH_SHARED, dl_item(v->dtype) * v->r * v->s * dl_depthwise_pad(v));
    if (!room) return -1;
    dl_pack_phase(v, weight, &view, room);
    d.chunk = dl_max(1, dl_min(DL_DEPTHWISE_ROWS, dl_ceil_div(d.lines, DL_DEPTHWISE_JOBS)));
    const size_t pixel = dl_item(v->dtype) * v->c;
    d.stream = dl_streams(y, pixel * d.lines * v->q, pixel, DL_DEPTHWISE_STREAM) && v->activation <= DL_RELU && !v->finish;
    return dl_launch(DL_PICK(dl_depthwise_forward_jobs, v->dtype), &d, dl_ceil_div(d.lines, d.chunk),
                     dl_depthwise_serial(v));
}

/* Each of dx, dweight and dbias may be NULL; dbias comes with dweight alone. */
static int dl_depthwise_gradient(const dl_conv *v, const void *dz, const void *x, const void *weight, void *dx,
                                 void *dweight, void *dbias) {
    const size_t item = dl_item(v->dtype), phases = dl_round_up(sizeof(dl_phase) * v->sh * v->sw, 64),
                 weights = dl_round_up(item * v->r * v->s * dl_depthwise_pad(v), 64);
    dl_depthwise d = {.v = v, .x = x, .dz = dz, .out = dx, .view = dl_depthwise_view(v), .out_w = v->w};
    d.lines = v->n * v->p;
    d.chunk = dl_max(1, dl_ceil_div(d.lines, DL_DEPTHWISE_JOBS));
    d.npad = dl_depthwise_pad(v);
    const long chunks = dl_ceil_div(d.lines, d.chunk);
    char *room = (char *)dl_scratch(DL_SCRATCH_SHARED,
                                    phases + weights + item * 2 * dl_max(chunks, 1) * (v->r * v->s + 1) * d.npad);
    if (!room) return -1;
    d.phase = (dl_phase *)room;
    d.partial = dweight ? room + phases + weights : NULL;
    d.blocks = room + phases + weights + item * chunks * (v->r * v->s + 1) * d.npad;
    room += phases;
    for (long i = 0; dx && i < v->sh * v->sw; i++) {
        d.phase[i].down = dl_phase_axis(i / v->sw, v->h, v->sh, v->dh, v->r, v->top, v->p);
        d.phase[i].across = dl_phase_axis(i % v->sw, v->w, v->sw, v->dw, v->s, v->left, v->q);
        room = dl_pack_phase(v, weight, d.phase + i, room);
    }
    const size_t size = item * v->n * v->h * v->w * v->c;
    if (dx && !chunks) memset(dx, 0, size);
    d.stream = dl_streams(dx, size, item * v->c, DL_DEPTHWISE_STREAM);
    if (dl_launch(DL_PICK(dl_depthwise_gradient_jobs, v->dtype), &d, chunks, dl_depthwise_serial(v))) return -1;
    if (dweight) DL_PICK(dl_depthwise_totals, v->dtype)(&d, chunks, dweight, dbias);
    return 0;
}
#endif
