/* Elementary functions on registers, for elementwise.h and others.  float32: polynomials, errors (against float64, all of
   float32) exp, expm1 (x <= 0) 1.1 ulp, log1p (0 <= x <= 1), log (x >= 1) 1.5 ulp, tanh, sigmoid 2.5 ulp, normal 8 ulp;
   results below the normal range keep that error absolutely, or where a function says so are 0.  NaN gives NaN and
   infinities give their limits.  float64: the C library, lane by lane.

   exp: x = n ln 2 + r, |r| <= ln 2 / 2, e^x = 2^n (1 + r + r^2 p(r)); ln 2 in two parts (Cody and Waite 1980, chapter
   6), p a minimax fit.  log polynomial: S. Moshier, Cephes (logf).  The normal distribution function: Phi(-z) =
   exp(-z^2 / 2) p(t) / (z + 4), t = (z - 4) / (z + 4) = 1 - 8 / (z + 4), z >= 0, p a minimax fit, after M. Shepherd and J.
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
DL_LANEWISE(vlog, log)
DL_LANEWISE(vtanh, tanh)
DL_LANEWISE(verfc, erfc)
#undef DL_LANEWISE

DL_INLINE vec V(vexp_within)(vec x) { return V(vexp)(x); }
DL_INLINE vec V(vexp_normal)(vec x) { return V(vexp)(x); }

/* Phi(x) = erfc(-x / sqrt 2) / 2 for x <= 0 and, in *density, exp(-x^2 / 2). */
DL_INLINE vec V(vnormal)(vec x, vec *density) {
    *density = V(vexp)(C(-0.5) * (x * x));
    return C(0.5) * V(verfc)(x * C(-0.70710678118654752));
}
#else
#define ROUNDER 12582912.0f /* 1.5 * 2^23: adding it leaves an integer in the low bits */

/* r with x = n ln 2 + r, |r| <= ln 2 / 2, and *power = 2^(n + more), 0 for n + more = -127.  The low bits of `shifted`
   are the exponent's; the shift drops the others. */
DL_INLINE vec V(vreduce)(vec x, const int more, vec *power) {
    const vec rounder = C(ROUNDER + 127 + more), shifted = x * C(1.44269504088896341f) + rounder, n = shifted - rounder;
    *power = (vec)((ivec)shifted << 23);
    return (x - n * C(0.693359375f)) - n * C(-2.12194440e-4f);
}

/* e^r - 1 for |r| <= ln 2 / 2.  In pairs (Estrin), which shortens the chain of steps that wait for each other. */
DL_INLINE vec V(vexpm1_reduced)(vec r) {
    const vec square = r * r;
    vec p = C(1.39517128e-3f) * square + (C(8.36959802e-3f) * r + C(4.16661874e-2f));
    p = p * square + (C(1.66665129e-1f) * r + C(5.0000001e-1f));
    return p * square + r;
}

/* e^x for x <= 0 (and NaN), 0 where that is below the normal range. */
DL_INLINE vec V(vexp_normal)(vec x) {
    vec power;
    const vec m = V(vexpm1_reduced)(V(vreduce)(V(vmax)(C(-88), x), 0, &power));
    return power + power * m;
}
/* e^x for -104 <= x <= 0 (and NaN); 0 for -104.  Two factors, since 2^n need not be a normal number. */
DL_INLINE vec V(vexp_within)(vec x) {
    vec power;
    const vec m = V(vexpm1_reduced)(V(vreduce)(x, 24, &power));
    return (power + power * m) * C(5.9604644775390625e-8f);
}
DL_INLINE vec V(vexp)(vec x) { return V(vexp_within)(V(vmax)(C(-104), x)); } /* x <= 0 (and NaN) */

/* For x <= 0 (and NaN). */
DL_INLINE vec V(vexpm1)(vec x) {
    vec power;
    const vec m = V(vexpm1_reduced)(V(vreduce)(V(vmax)(C(-30), x), 0, &power));
    return power * m + (power - C(1));
}

/* tanh |x| = -m / (2 + m), m = exp(-2 |x|) - 1. */
DL_INLINE vec V(vtanh)(vec x) {
    const ivec sign = V(isplat)(INT32_MIN);
    vec m = V(vexpm1)(C(2) * (vec)((ivec)x | sign));
    vec y = (C(0) - m) / (C(2) + m);
    return (vec)((ivec)y | ((ivec)x & sign)); /* -0 stays -0 */
}

/* log(1 + f) for sqrt 1/2 - 1 <= f <= sqrt 2 - 1. */
DL_INLINE vec V(vlog_near)(vec f) {
    vec p = C(7.0376836292e-2f);
    p = p * f + C(-1.1514610310e-1f);
    p = p * f + C(1.1676998740e-1f);
    p = p * f + C(-1.2420140846e-1f);
    p = p * f + C(1.4249322787e-1f);
    p = p * f + C(-1.6668057665e-1f);
    p = p * f + C(2.0000714765e-1f);
    p = p * f + C(-2.4999993993e-1f);
    p = p * f + C(3.3333331174e-1f);
    const vec square = f * f;
    return f + (p * f * square - C(0.5f) * square);
}
/* log(1 + x) for 0 <= x <= 1; above sqrt 2 - 1 as log 2 + log(1 + f), f = (x - 1) / 2. */
DL_INLINE vec V(vlog1p)(vec x) {
    const vmask upper = V(vlt)(C(0.414213562f), x);
    const vec y = V(vlog_near)(V(vsel)(upper, C(0.5f) * (x - C(1)), x));
    return V(vsel)(upper, y + C(0.693147181f), y);
}
/* log x for finite x >= 1 (and NaN), as n log 2 + log(1 + f), x = 2^n (1 + f). */
DL_INLINE vec V(vlog)(vec x) {
    const ivec exponent = ((ivec)x - (ivec)C(0.70710678f)) >> 23;
    const vec n = __builtin_convertvector(exponent, vec), f = (vec)((ivec)x - (exponent << 23)) - C(1);
    const vec y = n * C(0.693359375f) + (V(vlog_near)(f) + n * C(-2.12194440e-4f));
    return V(vsel)(V(veq)(x, x), y, x);
}

/* Phi(x) for -13.26 <= x <= 0 (and NaN) and, in *density, exp(-x^2 / 2); both are 0 for -13.26. */
DL_INLINE vec V(vnormal)(vec x, vec *density) {
    const vec head = (vec)((ivec)x & V(isplat)(-4096)), tail = x - head; /* the square of half the digits is exact */
    const vec share = C(1) / (C(4) - x), t = C(1) - C(8) * share, square = t * t;
    vec p = (C(-1.34197586e-4f) * t + C(1.74658752e-4f)) * square + (C(1.56841031e-3f) * t + C(-3.51021108e-3f));
    p = p * square + (C(-7.52400605e-3f) * t + C(6.04034897e-2f));
    p = p * square + (C(-1.86523656e-1f) * t + C(3.87136916e-1f));
    p = p * square + (C(-6.0789658e-1f) * t + C(7.55285135e-1f));
    vec power;
    const vec r = V(vreduce)(C(-0.5f) * head * head, 0, &power) - tail * (C(0.5f) * tail + head);
    *density = power + power * V(vexpm1_reduced)(r);
    return *density * (p * share);
}
#undef ROUNDER
#endif

/* -|x|, not below `least`. */
DL_INLINE vec V(vminus_abs)(vec x, double least) { return V(vmax)(C(least), -V(vabs)(x)); }
DL_INLINE vec V(vsigmoid)(vec x) {
    vec e = V(vexp)(-V(vabs)(x));
    return V(vsel)(V(vlt)(x, C(0)), e, C(1)) / (C(1) + e);
}
DL_INLINE vec V(vsoftplus)(vec x) { return V(vmax)(C(0), x) + V(vlog1p)(V(vexp)(-V(vabs)(x))); }

/* y = x G(x) and its derivative, for a gate G with G(-x) = 1 - G(x), from m = -|x|, G(m) and G'(m):
       y = relu(x) + m G(m),   y' = w for x <= 0 and 1 - w for x > 0, w = G(m) + m G'(m)
   m is bounded: G(m) and G'(m) are 0 at the bound, and 0 times infinity does not come up. */
DL_INLINE vec V(symmetric)(vec x, vec m, vec gate, vec density, vec *slope) {
    const vec w = gate + m * density;
    *slope = V(vsel)(V(vlt)(C(0), x), C(1) - w, w);
    return V(vmax)(C(0), x) + m * gate;
}
DL_INLINE vec V(gelu)(vec x, vec *slope) {
    const vec m = V(vminus_abs)(x, DL_DOUBLE ? -40 : -13.26);
    vec density;
    const vec gate = V(vnormal)(m, &density);
    return V(symmetric)(x, m, gate, density * C(0.39894228040143268), slope);
}
/* The gate is sigmoid(2 u), and sigmoid' = sigmoid(v) sigmoid(-v). */
DL_INLINE vec V(gelu_tanh)(vec x, vec *slope) {
    const vec m = V(vminus_abs)(x, DL_DOUBLE ? -22 : -10.69), square = m * m;
    const vec e = V(vexp_within)(C(1.5957691216057308) * (m + C(0.044715) * (square * m)));
    const vec large = C(1) / (C(1) + e), gate = e * large;
    return V(symmetric)(x, m, gate, C(1.5957691216057308) * (C(1) + C(0.134145) * square) * (gate * large), slope);
}
DL_INLINE vec V(silu)(vec x, vec *slope) {
    const vec m = V(vminus_abs)(x, DL_DOUBLE ? -746 : -104);
    const vec e = V(vexp_within)(m), large = C(1) / (C(1) + e), gate = e * large;
    return V(symmetric)(x, m, gate, gate * large, slope);
}

/* The activations that linear, conv2d and the cells apply to their output, by number (common.pxi); those from 4 on are
   for linear without a gradient. */
DL_INLINE vec V(vactivate)(vec x, int activation) {
    vec slope;
    switch (activation) {
    case 1: return V(vrelu)(x);
    case 2: return V(vsigmoid)(x);
    case 3: return V(vtanh)(x);
    case 4: return V(gelu)(x, &slope);
    case 5: return V(gelu_tanh)(x, &slope);
    case 6: return V(silu)(x, &slope);
    default: return x;
    }
}
/* dy act'(.), from the output y. */
DL_INLINE vec V(vactivation_gradient)(vec dy, vec y, int activation) {
    switch (activation) {
    case 1: return V(vsel)(V(vle)(y, C(0)), C(0), dy);
    case 2: return dy * (y * (C(1) - y));
    case 3: return dy * (C(1) - y * y);
    default: return dy;
    }
}
#undef V
#undef C
