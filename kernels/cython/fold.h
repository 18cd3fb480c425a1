/* dx of a convolution of few input channels (im2col the other way round, "col2im").

   As a product over patches of dz (conv.h) dx has one column for each channel, so that 1 or 3 channels leave most lanes
   of a register idle.  Here the columns are the taps: T (points, R S C) = dz W, read in place, and each row of T is added
   to the pixels that its patch came from.  A job owns some rows of one image of dx and computes the rows of T that reach
   them; a pixel gets its sum in the order of the points, wherever the jobs are cut.  Without groups.

   Source: Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4. */
#ifndef DLFAST_FOLD_H
#define DLFAST_FOLD_H
#include "conv.h"

#define DL_FOLD_CHANNELS 8 /* below this it is faster than the product over patches */

typedef struct {
    const dl_conv *v;
    const void *weight, *dz;
    void *dx;
    dl_operands o;
    char *packed;
    long depth, rows, blocks; /* R S C; rows of dx in a job; jobs of an image */
} dl_fold;

#define DL_IMPL "fold_impl.h"
#include "simd.h"
static const dl_job dl_fold_pack_jobs[2][DL_ISAS] = DL_TABLE(fold_pack_job);
static const dl_job dl_fold_jobs[2][DL_ISAS] = DL_TABLE(fold_job);

/* Returns 0, or -1 when there is no memory. */
static int dl_fold_input_gradient(const dl_conv *v, const void *dz, const void *weight, void *dx) {
    const long depth = v->r * v->s * v->c, reach = (v->r - 1) * v->dh + v->sh;
    if (v->n * v->h * v->w * v->c == 0) return 0;
    dl_fold f = {.v = v, .weight = weight, .dz = dz, .dx = dx, .depth = depth};
    f.rows = dl_min(v->h, dl_max(4 * reach, dl_ceil_div(v->h, dl_ceil_div(DL_CONV_JOBS, v->n))));
    f.blocks = dl_ceil_div(v->h, f.rows);
    f.o = (dl_operands){
        .k = v->k, .kc = dl_gemm_kc(v->k), .ars = v->k, .acs = 1, .npad = dl_round_up(depth, dl_tile_cols(v->dtype))};
    f.o.b = f.packed = (char *)dl_scratch(DL_SCRATCH_SHARED, dl_item(v->dtype) * f.o.npad * v->k);
    if (!f.packed) return -1;
    const int serial = (double)v->n * v->p * v->q * v->k * depth < DL_CONV_SERIAL_WORK;
    dl_launch(DL_PICK(dl_fold_pack_jobs, v->dtype), &f, dl_ceil_div(v->k, f.o.kc), serial);
    dl_launch(DL_PICK(dl_fold_jobs, v->dtype), &f, v->n * f.blocks, serial);
    return 0;
}
#endif
