/* Strided convolution as one of stride 1, which winograd.h can do: polyphase decomposition.

   The pixels (i sh + a, j sw + b) of each phase (a, b) make an image of their own.  With r = r' sh + a, s = s' sw + b

       y[p, q] = sum over r', s', a, b of x[(p + r') sh + a - top, (q + s') sw + b - left] w[r' sh + a, s' sw + b]

   is a convolution of stride 1 and no padding over an image (n, p + R' - 1, q + S' - 1) whose pixels have sh sw c
   channels, those of all phases, with R' = ceil(r / sh) kernel rows and S' = ceil(s / sw) columns; weights beyond the
   kernel are 0.  So 11 x 11 with stride 4 on 3 channels is 3 x 3 on 48.  Images and weights, and their gradients, are
   moved there and back by the same two jobs.  What Winograd's method does not make of numbers that are not finite, conv.h
   does.  Source: Vaidyanathan 1993, "Multirate Systems and Filter Banks",
   section 4.3. */
#ifndef DLFAST_POLYPHASE_H
#define DLFAST_POLYPHASE_H
#include "conv/winograd.h"

#define DL_PHASES_SERIAL 16384 /* numbers */

/* An image (n, h, w, c) and its phases (n, rows, cols, sh sw c), of which the first begins at pixel (-top, -left). */
typedef struct {
    void *image, *phases;
    long n, h, w, c, top, left, sh, sw, rows, cols;
} dl_phases;

#define DL_IMPL "conv/polyphase.inc.h"
#include "simd/simd.h"
static const dl_job dl_phases_jobs[2][DL_ISAS] = DL_TABLE(phases_job);
static const dl_job dl_phases_back_jobs[2][DL_ISAS] = DL_TABLE(phases_back_job);

/* A convolution and the one of stride 1 that does its work, with the phases of its image and of its weight. */
typedef struct {
    dl_conv one;
    dl_phases image, weight;
} dl_polyphase;

/* Returns 0, or -1 when there is no memory for the phases. */
static int dl_polyphase_plan(dl_polyphase *p, const dl_conv *v, const void *x, const void *weight) {
    const long rows = dl_ceil_div(v->r, v->sh), cols = dl_ceil_div(v->s, v->sw), channels = v->sh * v->sw * v->c;
    p->image = (dl_phases){.image = (void *)x, .n = v->n, .h = v->h, .w = v->w, .c = v->c, .top = v->top,
                           .left = v->left, .sh = v->sh, .sw = v->sw, .rows = v->p + rows - 1, .cols = v->q + cols - 1};
    p->weight = (dl_phases){.image = (void *)weight, .n = v->k, .h = v->r, .w = v->s, .c = v->c, .sh = v->sh,
                            .sw = v->sw, .rows = rows, .cols = cols};
    p->one = *v;
    p->one.h = p->image.rows;
    p->one.w = p->image.cols;
    p->one.c = channels;
    p->one.r = rows;
    p->one.s = cols;
    p->one.top = p->one.left = 0;
    p->one.sh = p->one.sw = 1;
    const size_t item = dl_item(v->dtype), image = dl_round_up(item * v->n * p->one.h * p->one.w * channels, 64);
    p->image.phases = dl_scratch(DL_SCRATCH_EXTRA, image + item * v->k * rows * cols * channels + 64);
    p->weight.phases = (char *)p->image.phases + image;
    return p->image.phases ? 0 : -1;
}

static int dl_to_phases(dl_phases *g, int dtype) {
    return dl_launch(DL_PICK(dl_phases_jobs, dtype), g, g->n * g->rows,
                     g->n * g->rows * g->cols * g->c < DL_PHASES_SERIAL);
}
static int dl_from_phases(dl_phases *g, int dtype) {
    return dl_launch(DL_PICK(dl_phases_back_jobs, dtype), g, g->n * g->h, g->n * g->h * g->w * g->c < DL_PHASES_SERIAL);
}

static int dl_polyphase_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y) {
    dl_polyphase p;
    int status;
    if (v->sh == 1 && v->sw == 1)
        status = dl_winograd_forward(v, x, weight, bias, y);
    else {
        if (dl_polyphase_plan(&p, v, x, weight)) return -1;
        if (dl_to_phases(&p.image, v->dtype) || dl_to_phases(&p.weight, v->dtype)) return -1;
        status = dl_winograd_forward(&p.one, p.image.phases, p.weight.phases, bias, y);
    }
    return status > 0 ? dl_conv_forward(v, x, weight, bias, y) : status;
}

static int dl_polyphase_input_gradient(const dl_conv *v, const void *dz, const void *weight, void *dx) {
    dl_polyphase p;
    int status;
    if (v->sh == 1 && v->sw == 1)
        status = dl_winograd_input_gradient(v, dz, weight, dx);
    else {
        if (dl_polyphase_plan(&p, v, dx, weight)) return -1;
        if (dl_to_phases(&p.weight, v->dtype)) return -1;
        status = dl_winograd_input_gradient(&p.one, dz, p.weight.phases, p.image.phases);
        if (!status) status = dl_from_phases(&p.image, v->dtype);
    }
    return status > 0 ? dl_conv_input_gradient(v, dz, weight, dx) : status;
}

static int dl_polyphase_weight_gradient(const dl_conv *v, const void *dz, const void *x, void *dweight) {
    dl_polyphase p;
    int status;
    if (v->sh == 1 && v->sw == 1)
        status = dl_winograd_weight_gradient(v, dz, x, dweight);
    else {
        if (dl_polyphase_plan(&p, v, x, dweight)) return -1;
        if (dl_to_phases(&p.image, v->dtype)) return -1;
        status = dl_winograd_weight_gradient(&p.one, dz, p.image.phases, p.weight.phases);
        if (!status) status = dl_from_phases(&p.weight, v->dtype);
    }
    return status > 0 ? dl_conv_weight_gradient(v, dz, x, dweight) : status;
}
#endif
