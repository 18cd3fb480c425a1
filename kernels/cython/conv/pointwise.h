/* Convolution with 1 x 1 kernels, stride 1: the images are a matrix (N H W, C), and each pass is one product (gemm.h).

       y = act(x W^T + b)      dx = dz W      dweight = dz^T x

   Source: Lin, Chen and Yan 2014, "Network In Network". */
#ifndef DLFAST_POINTWISE_H
#define DLFAST_POINTWISE_H
#include "conv/conv.h"
#include "product/products.h"

static int dl_pointwise_forward(const dl_conv *v, const void *x, const void *weight, const void *bias, void *y) {
    const dl_gemm g = {.dtype = v->dtype,
                       .m = v->n * v->h * v->w,
                       .n = v->k,
                       .k = v->c,
                       .a = x,
                       .ars = v->c,
                       .acs = 1,
                       .b = weight,
                       .brs = 1,
                       .bcs = v->c,
                       .bias = bias,
                       .c = y,
                       .ldc = v->k,
                       .activation = v->activation};
    return dl_gemm_run(&g);
}

static int dl_pointwise_input_gradient(const dl_conv *v, const void *dz, const void *weight, void *dx) {
    const dl_gemm g = {.dtype = v->dtype,
                       .m = v->n * v->h * v->w,
                       .n = v->c,
                       .k = v->k,
                       .a = dz,
                       .ars = v->k,
                       .acs = 1,
                       .b = weight,
                       .brs = v->c,
                       .bcs = 1,
                       .c = dx,
                       .ldc = v->c};
    return dl_gemm_run(&g);
}

static int dl_pointwise_weight_gradient(const dl_conv *v, const void *dz, const void *x, void *dweight) {
    const dl_gemm g = {.dtype = v->dtype,
                       .m = v->k,
                       .n = v->c,
                       .k = v->n * v->h * v->w,
                       .a = dz,
                       .ars = 1,
                       .acs = v->k,
                       .b = x,
                       .brs = v->c,
                       .bcs = 1,
                       .c = dweight,
                       .ldc = v->c};
    return dl_gemm_run(&g);
}
#endif
