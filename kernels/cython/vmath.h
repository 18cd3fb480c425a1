/* Elementary functions on registers, for the activations.  float32: polynomials, errors (against float64, all of
   float32) exp 1.5 ulp, tanh, sigmoid, expm1 (x <= 0), log1p (0 <= x <= 1) 3 ulp, erfc 5 ulp; results below the normal
   range keep that error absolutely.  NaN gives NaN and infinities give their limits.  float64: the C library, lane by
   lane.

   exp: x = n ln 2 + r, |r| <= ln 2 / 2, e^x = 2^n (1 + r + r^2 p(r)); ln 2 in two parts (Cody and Waite 1980, chapter
   6). exp and log polynomials: S. Moshier, Cephes (expf, logf). erfc(z) = exp(-z^2) q(t) / (1 + 2 z), t = (z - 3) / (z
   + 3), q interpolated at Chebyshev nodes on 0 <= z <= 11 (relative error 4e-9); z^2 is split as in fdlibm's s_erf.c,
   because its rounding error would be multiplied by exp. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))

DL_INLINE vec V(vabs)(vec x) { return V(vsel)(x < C(0), -x, V(vsel)(x == C(0), C(0), x)); }

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
#else
#define ROUNDER 12582912.0f /* 1.5 * 2^23: adding it leaves an integer in the low bits */

DL_INLINE vec V(vclip)(vec x, real low, real high) {
    x = V(vsel)(x < C(low), C(low), x);
    return V(vsel)(x > C(high), C(high), x);
}

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

/* Two factors 2^(n/2), so that neither leaves the normal range where the product overflows or turns subnormal. */
DL_INLINE vec V(vscale)(vec x, ivec n) {
    ivec half = n >> 1;
    return x * V(vpow2)(half) * V(vpow2)(n - half);
}

/* e^(hi + lo). */
DL_INLINE vec V(vexp_sum)(vec hi, vec lo) {
    ivec n;
    vec r = V(vreduce)(V(vclip)(hi, -104.0f, 89.0f), &n) + lo;
    return V(vscale)(V(vexpm1_reduced)(r) + C(1), n);
}
DL_INLINE vec V(vexp)(vec x) {
    ivec n;
    vec r = V(vreduce)(V(vclip)(x, -104.0f, 89.0f), &n);
    return V(vscale)(V(vexpm1_reduced)(r) + C(1), n);
}

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

DL_INLINE vec V(verfc)(vec x) {
    vec z = V(vclip)(V(vabs)(x), 0.0f, 11.0f);
    vec t = (z - C(3)) / (z + C(3));
    vec q = C(-2.690068022e-4f);
    q = q * t + C(-7.75897423e-4f);
    q = q * t + C(2.009782327e-3f);
    q = q * t + C(2.57290446e-3f);
    q = q * t + C(-2.380005901e-2f);
    q = q * t + C(6.829274811e-2f);
    q = q * t + C(-1.19270944e-1f);
    q = q * t + C(1.296468575e-1f);
    q = q * t + C(-4.756237295e-2f);
    q = q * t + C(-1.356211556e-1f);
    q = q * t + C(1.253008059f);
    vec head = (vec)((ivec)z & V(isplat)((int32_t)0xfffff000)); /* 12 bits: its square is exact */
    vec y = V(vexp_sum)(-head * head, (head - z) * (head + z)) * q / (C(1) + C(2) * z);
    return V(vsel)(x < C(0), C(2) - y, y);
}
#undef ROUNDER
#endif

DL_INLINE vec V(vsigmoid)(vec x) {
    vec e = V(vexp)(-V(vabs)(x));
    return V(vsel)(x < C(0), e, C(1)) / (C(1) + e);
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
