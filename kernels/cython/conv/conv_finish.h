/* What may follow a convolution z in evaluation, channel by channel: batch normalisation by statistics that are given,
   a residual and an activation,

       y = act(scale z + shift + residual),  scale = weight / sqrt(var + eps),  shift = (bias_z - mean) scale + bias

   The jobs of each method call finish_rows on what they have just made, so y passes through memory once. */
#ifndef DLFAST_CONV_FINISH_H
#define DLFAST_CONV_FINISH_H
#include "conv/conv_plan.h"
#include "product/gemm_block.h"

#define DL_IMPL "conv/conv_finish.inc.h"
#include "simd/simd.h"
static void (*const dl_finish_tables_of[2][DL_ISAS])(long, const void *, const void *, const void *, const void *,
                                                     const void *, double, void *) = DL_TABLE(finish_tables);

/* Fills `tables` (2, K), scale and shift; each of bias_z, weight and bias may be NULL. */
DL_UNUSED static void dl_finish_tables(dl_finish *f, long k, int dtype, const void *bias_z, const void *weight,
                                       const void *bias, const void *mean, const void *var, double eps, void *tables) {
    f->scale = tables;
    f->shift = (char *)tables + k * (dtype ? 8 : 4);
    DL_PICK(dl_finish_tables_of, dtype)(k, bias_z, weight, bias, mean, var, eps, tables);
}
#endif
