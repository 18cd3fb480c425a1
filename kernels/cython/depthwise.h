/* Depthwise convolution: each channel with a kernel of its own, y[p, q, c] = act(sum over r, s of x[.., .., c] w[c, r,
   s] + b).

   There is no matrix product here, only R S multiply-adds an output, so registers run along the channels and the
   weights are turned to (R, S, C) first.  dx gathers from dz what the forward scattered; dweight sums chunks of output
   rows in order. */
#ifndef DLFAST_DEPTHWISE_H
#define DLFAST_DEPTHWISE_H
#include "conv.h"

#define DL_DEPTHWISE_CHUNKS 32

typedef struct {
    const dl_conv *v;
    const void *in, *dz, *bias;
    void *out;
    char *taps; /* weights as (R, S, C), or the partial sums of dweight */
    long chunk;
} dl_depthwise;

#define DL_IMPL "depthwise_impl.h"
#include "simd.h"
static const dl_job dl_depthwise_forward_jobs[2][DL_ISAS] = DL_TABLE(depthwise_forward_job);
static const dl_job dl_depthwise_input_jobs[2][DL_ISAS] = DL_TABLE(depthwise_input_job);
static const dl_job dl_depthwise_weight_jobs[2][DL_ISAS] = DL_TABLE(depthwise_weight_job);
static void (*const dl_depthwise_totals[2][DL_ISAS])(void *, long, long) = DL_TABLE(depthwise_total);
static void (*const dl_depthwise_transposes[2][DL_ISAS])(const void *, void *, long,
                                                         long) = DL_TABLE(depthwise_transpose);

static int dl_depthwise_rows(const dl_conv *v, const void *in, const void *weight, const void *bias, void *out,
                             dl_job fn, long rows) {
    dl_depthwise d = {.v = v, .in = in, .bias = bias, .out = out};
    d.taps = (char *)dl_scratch(DL_SCRATCH_SHARED, dl_item(v->dtype) * v->r * v->s * v->c);
    if (!d.taps) return -1;
    DL_PICK(dl_depthwise_transposes, v->dtype)(weight, d.taps, v->c, v->r * v->s);
    dl_launch(fn, &d, rows, (double)v->n * v->p * v->q * v->c * v->r * v->s < DL_CONV_SERIAL_WORK / 4);
    return 0;
}

static int dl_depthwise_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y) {
    return dl_depthwise_rows(v, x, weight, bias, y, DL_PICK(dl_depthwise_forward_jobs, v->dtype), v->n * v->p);
}

static int dl_depthwise_input_gradient(const dl_conv *v, const void *dz, const void *weight, void *dx) {
    return dl_depthwise_rows(v, dz, weight, NULL, dx, DL_PICK(dl_depthwise_input_jobs, v->dtype), v->n * v->h);
}

static int dl_depthwise_weight_gradient(const dl_conv *v, const void *dz, const void *x, void *dweight) {
    const long rows = v->n * v->p, size = v->r * v->s * v->c;
    dl_depthwise d = {.v = v, .in = x, .dz = dz};
    d.chunk = dl_max(1, dl_ceil_div(rows, DL_DEPTHWISE_CHUNKS));
    const long chunks = dl_max(1, dl_ceil_div(rows, d.chunk));
    d.taps = (char *)dl_scratch(DL_SCRATCH_SHARED, dl_item(v->dtype) * chunks * size);
    if (!d.taps) return -1;
    dl_launch(DL_PICK(dl_depthwise_weight_jobs, v->dtype), &d, chunks,
              (double)rows * v->q * size < DL_CONV_SERIAL_WORK / 4);
    DL_PICK(dl_depthwise_totals, v->dtype)(d.taps, chunks, size);
    DL_PICK(dl_depthwise_transposes, v->dtype)(d.taps, dweight, v->r * v->s, v->c);
    return 0;
}
#endif
