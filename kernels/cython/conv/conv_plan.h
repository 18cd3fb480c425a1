/* A convolution as C reads it, for the modules that only hand it on. */
#ifndef DLFAST_CONV_PLAN_H
#define DLFAST_CONV_PLAN_H

/* What follows it, see conv_finish.h. */
typedef struct dl_finish {
    const void *scale, *shift; /* (K,) */
    const void *residual;      /* like y, or NULL */
    const void *out;           /* y */
    int activation;
} dl_finish;

typedef struct {
    int dtype, activation;
    long n, h, w, c, k, r, s, p, q, sh, sw, top, left, dh, dw, groups;
    const dl_finish *finish; /* of the forward, or NULL; then there is neither bias nor activation */
} dl_conv;
#endif
