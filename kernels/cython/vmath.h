/* Elementary functions on registers, for the activations.  float32: polynomials, errors (against float64, all of
   float32) exp 1.5 ulp, tanh, sigmoid, expm1 (x <= 0), log1p (0 <= x <= 1) 3 ulp, normal 5 ulp; results below the
   normal range keep that error absolutely.  NaN gives NaN and infinities give their limits.  float64: the C library,
   lane by lane.

   exp: x = n ln 2 + r, |r| <= ln 2 / 2, e^x = 2^n (1 + r + r^2 p(r)); ln 2 in two parts (Cody and Waite 1980, chapter
   6). exp and log polynomials: S. Moshier, Cephes (expf, logf).  The normal distribution function: Phi(-z) = exp(-z^2 /
   2) p(t) / (z + 4), t = (z - 4) / (z + 4) = 1 - 8 / (z + 4), z >= 0, p a minimax fit, after M. Shepherd and J.
   Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x" (1981); z^2 is split as in fdlibm's s_erf.c,
   because its rounding error would be multiplied by exp. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))

#if !DL_VECTORS
DL_INLINE vec V(vabs)(vec x) { return (real)fabs(x); }
#elif DL_DOUBLE
DL_INLINE vec V(vabs)(vec x) { return (vec)((ivec)x & V(isplat)(INT64_MAX)); }
#else
DL_INLINE vec V(vabs)(vec x) { return (vec)((ivec)x & V(isplat)(INT32_MAX)); }
#endif

#if DL_DOUBLE || !DL_VECTORS
#define DL_LANEWISE(name, f)            \
    DL_INLINE vec V(name)(vec x) {      \
        real lane[LANES];               \
        V(vstore)(lane, x);             \
        for (int i = 0; i < LANES; i++) \
            lane[i] = (real)f(lane[i]); \
        return V(vload)(lane);          \
    }
DL_LANEWISE(vexp, exp)
DL_LANEWISE(vexpm1, expm1)
DL_LANEWISE(vlog1p, log1p)
DL_LANEWISE(vtanh, tanh)
DL_LANEWISE(verfc, erfc)
#undef DL_LANEWISE

DL_INLINE vec V(vexp_within)(vec x) { return V(vexp)(x); }

/* Phi(x) = erfc(-x / sqrt 2) / 2 for x <= 0 and, in *density, exp(-x^2 / 2). */
DL_INLINE vec V(vnormal)(vec x, vec *density) {
    *density = V(vexp)(C(-0.5) * (x * x));
    return C(0.5) * V(verfc)(x * C(-0.70710678118654752));
}
#else
#define ROUNDER 12582912.0f /* 1.5 * 2^23: adding it leaves an integer in the low bits */

/* 2^n for the integer n in the low bits of `shifted`, -126 <= n <= 127. */
DL_INLINE vec V(vpow2)(ivec n) { return (vec)((n + 127) << 23); }

/* r with x = n ln 2 + r. */
DL_INLINE vec V(vreduce)(vec x, ivec *n_out) {
    vec shifted = x * C(1.44269504088896341f) + C(ROUNDER);
    *n_out = (ivec)shifted - (ivec)C(ROUNDER);
    vec n = shifted - C(ROUNDER);
    return (x - n * C(0.693359375f)) - n * C(-2.12194440e-4f);
}

/* e^r - 1 for |r| <= ln 2 / 2.  In pairs (Estrin): the latency of the steps decides, not their number. */
DL_INLINE vec V(vexpm1_reduced)(vec r) {
    vec square = r * r;
    vec p = C(1.9875691500e-4f) * r + C(1.3981999507e-3f);
    p = p * square + (C(8.3334519073e-3f) * r + C(4.1665795894e-2f));
    p = p * square + (C(1.6666665459e-1f) * r + C(5.0000001201e-1f));
    return p * square + r;
}

/* x 2^n for -150 <= n <= 0.  Two factors, since 2^n need not be a normal number. */
DL_INLINE vec V(vscale)(vec x, ivec n) { return x * V(vpow2)(n + 24) * C(5.9604644775390625e-8f); }

/* e^x for -104 <= x <= 0 (and NaN); 0 for -104. */
DL_INLINE vec V(vexp_within)(vec x) {
    ivec n;
    const vec r = V(vreduce)(x, &n);
    return V(vscale)(V(vexpm1_reduced)(r) + C(1), n);
}
DL_INLINE vec V(vexp)(vec x) { return V(vexp_within)(V(vsel)(x < C(-104), C(-104), x)); } /* x <= 0 (and NaN) */

/* For x <= 0 (and NaN). */
DL_INLINE vec V(vexpm1)(vec x) {
    ivec n;
    vec p = V(vexpm1_reduced)(V(vreduce)(V(vsel)(x < C(-30), C(-30), x), &n));
    vec scale = V(vpow2)(n);
    return scale * p + (scale - C(1));
}

/* tanh |x| = -m / (2 + m), m = exp(-2 |x|) - 1. */
DL_INLINE vec V(vtanh)(vec x) {
    const ivec sign = V(isplat)(INT32_MIN);
    vec m = V(vexpm1)(C(2) * (vec)((ivec)x | sign));
    vec y = (C(0) - m) / (C(2) + m);
    return (vec)((ivec)y | ((ivec)x & sign)); /* -0 stays -0 */
}

/* log(1 + x) for 0 <= x <= 1; above sqrt 2 - 1 as log 2 + log(1 + f), f = (x - 1) / 2. */
DL_INLINE vec V(vlog1p)(vec x) {
    ivec upper = x > C(0.414213562f);
    vec f = V(vsel)(upper, C(0.5f) * (x - C(1)), x);
    vec p = C(7.0376836292e-2f);
    p = p * f + C(-1.1514610310e-1f);
    p = p * f + C(1.1676998740e-1f);
    p = p * f + C(-1.2420140846e-1f);
    p = p * f + C(1.4249322787e-1f);
    p = p * f + C(-1.6668057665e-1f);
    p = p * f + C(2.0000714765e-1f);
    p = p * f + C(-2.4999993993e-1f);
    p = p * f + C(3.3333331174e-1f);
    vec square = f * f;
    vec y = f + (p * f * square - C(0.5f) * square);
    return V(vsel)(upper, y + C(0.693147181f), y);
}

/* Phi(x) for -14.43 <= x <= 0 (and NaN) and, in *density, exp(-x^2 / 2); both are 0 for -14.43. */
DL_INLINE vec V(vnormal)(vec x, vec *density) {
    const vec head = (vec)((ivec)x & V(isplat)(-4096)), tail = x - head; /* the square of half the digits is exact */
    const vec share = C(1) / (C(4) - x), t = C(1) - C(8) * share, square = t * t;
    vec p = (C(-1.34197586e-4f) * t + C(1.74658752e-4f)) * square + (C(1.56841031e-3f) * t + C(-3.51021108e-3f));
    p = p * square + (C(-7.52400605e-3f) * t + C(6.04034897e-2f));
    p = p * square + (C(-1.86523656e-1f) * t + C(3.87136916e-1f));
    p = p * square + (C(-6.0789658e-1f) * t + C(7.55285135e-1f));
    ivec n;
    const vec r = V(vreduce)(C(-0.5f) * head * head, &n) - tail * (C(0.5f) * tail + head);
    *density = V(vscale)(V(vexpm1_reduced)(r) + C(1), n);
    return *density * (p * share);
}
#undef ROUNDER
#endif

DL_INLINE vec V(vsigmoid)(vec x) {
    vec e = V(vexp)(-V(vabs)(x));
    return V(vsel)(x < C(0), e, C(1)) / (C(1) + e);
}
/* -|x|, not below `least`. */
DL_INLINE vec V(vminus_abs)(vec x, double least) {
    const vec negative = -V(vabs)(x);
    return V(vsel)(negative < C(least), C(least), negative);
}
DL_INLINE vec V(vsoftplus)(vec x) { return V(vsel)(x < C(0), C(0), x) + V(vlog1p)(V(vexp)(-V(vabs)(x))); }

/* The activations that linear, conv2d and the cells apply to their output, by number (common.pxi). */
DL_INLINE vec V(vactivate)(vec x, int activation) {
    switch (activation) {
    case 1: return V(vrelu)(x);
    case 2: return V(vsigmoid)(x);
    case 3: return V(vtanh)(x);
    default: return x;
    }
}
/* dy act'(.), from the output y. */
DL_INLINE vec V(vactivation_gradient)(vec dy, vec y, int activation) {
    switch (activation) {
    case 1: return V(vsel)(y <= C(0), C(0), dy);
    case 2: return dy * (y * (C(1) - y));
    case 3: return dy * (C(1) - y * y);
    default: return dy;
    }
}
#undef V
#undef C
