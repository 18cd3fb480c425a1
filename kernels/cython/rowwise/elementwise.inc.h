/* The jobs of elementwise.h: DL_MAP(name, value) stores value, an expression of a, b (registers of the inputs), p and
   q; DL_MAP_SLOPE(name, f) stores f(a) and the derivative that f makes of a. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))
#define SEL V(vsel)

typedef void (*V(map_run))(const dl_map *m, const real *a, const real *b, real *out, real *slope, long n);

/* A job: whole registers where they lie, and what is left by way of a register's worth of memory. */
static void V(map_job)(const dl_map *m, long job, V(map_run) run) {
    const long begin = job * DL_MAP_JOB, n = dl_min(DL_MAP_JOB, m->n - begin), rest = n % LANES, at = begin + n - rest;
    const real *a = (const real *)m->a, *b = (const real *)m->b;
    real *out = (real *)m->out, *slope = m->slope ? (real *)m->slope : out;
    real last[2][LANES], made[2][LANES];
    run(m, a + begin, b + begin, out + begin, slope + begin, n - rest);
    if (!rest) return;
    V(vstore)(last[0], V(load_part)(a + at, rest));
    V(vstore)(last[1], V(load_part)(b + at, rest));
    run(m, last[0], last[1], made[0], made[1], LANES);
    memcpy(out + at, made[0], sizeof(real) * rest);
    if (m->slope) memcpy(slope + at, made[1], sizeof(real) * rest);
}

#define DL_MAP_RUN(name, STORE)                                                                                 \
    static void V(name##_run)(const dl_map *m, const real *from_a, const real *from_b, real *to, real *slopes, \
                              long n) {                                                                         \
        const vec p = C(m->p), q = C(m->q);                                                                     \
        for (long i = 0; i < n; i += LANES) {                                                                   \
            const vec a = V(vload)(from_a + i), b = V(vload)(from_b + i);                                       \
            STORE;                                                                                              \
            (void)b;                                                                                            \
        }                                                                                                       \
        (void)p, (void)q, (void)slopes;                                                                         \
    }                                                                                                           \
    static void V(name)(void *ctx, long job, long worker) {                                                     \
        (void)worker;                                                                                           \
        V(map_job)((const dl_map *)ctx, job, V(name##_run));                                                    \
    }
#define DL_MAP(name, VALUE) DL_MAP_RUN(name, V(vstore)(to + i, VALUE))
#define DL_MAP_SLOPE(name, FUNCTION)         \
    DL_MAP_RUN(name, {                       \
        vec slope;                           \
        V(vstore)(to + i, FUNCTION(a, &slope)); \
        V(vstore)(slopes + i, slope);        \
    })

DL_INLINE vec V(gated)(vec x, vec gate) { return SEL(V(veq)(gate, C(0)), C(0), x * gate); }
DL_INLINE vec V(negative_part)(vec x) { return SEL(V(vlt)(C(0), x), C(0), x); }

/* t = tanh(softplus(x)) from e = exp(-|x|): top / d, and 1 - t^2 times sigmoid(x) is 4 power (1 + e) / d^2, with
       top = e (e + 2), d = top + 2,       power = e      for x <= 0
       top = 1 + 2 e,   d = top + 2 e^2,   power = e^2    for x > 0 */
DL_INLINE vec V(mish)(vec x, vec *slope) {
    const vec m = V(vminus_abs)(x, DL_DOUBLE ? -746 : -104), e = V(vexp_within)(m);
    const vmask positive = V(vlt)(C(0), x);
    const vec top = SEL(positive, C(1) + C(2) * e, e * (e + C(2)));
    const vec d = top + SEL(positive, C(2) * (e * e), C(2)), t = top / d;
    *slope = t + SEL(positive, -m * e, m) * (C(4) * e * (C(1) + e) / (d * d));
    return SEL(positive, x, m) * t;
}
DL_INLINE vec V(hardswish_gate)(vec x) {
    const vec t = x + C(3), low = SEL(V(vlt)(t, C(0)), C(0), t);
    return SEL(V(vlt)(C(6), low), C(6), low) / C(6);
}
DL_INLINE vec V(softsign)(vec x) { /* infinity divided by itself would be NaN */
    const vec near = SEL(V(vlt)(x, C(-1e30)), C(-1e30), SEL(V(vlt)(C(1e30), x), C(1e30), x));
    return near / (C(1) + V(vabs)(near));
}
DL_INLINE vec V(hardswish_slope)(vec x) { return SEL(V(vle)(C(3), x), C(1), SEL(V(vle)(x, C(-3)), C(0), x / C(3) + C(0.5))); }

/* Forward: a = x.  Backward: a = dy, b = the saved x or y. */
DL_MAP(relu_forward, V(vrelu)(a))
DL_MAP(relu_backward, SEL(V(vle)(b, C(0)), C(0), a))
DL_MAP(sigmoid_forward, V(vsigmoid)(a))
DL_MAP(sigmoid_backward, a *(b *(C(1) - b)))
DL_MAP(tanh_forward, V(vtanh)(a))
DL_MAP(tanh_backward, a *(C(1) - b * b))
DL_MAP(leaky_relu_forward, SEL(V(vlt)(C(0), a), a, p *a))
DL_MAP(leaky_relu_backward, SEL(V(vlt)(C(0), b), a, p *a))
DL_MAP(elu_forward, SEL(V(vlt)(C(0), a), a, p *V(vexpm1)(V(negative_part)(a))))
DL_MAP(elu_backward, SEL(V(vlt)(C(0), b), a, a *(p *V(vexp)(V(negative_part)(b)))))
DL_MAP(softplus_forward, SEL(V(vlt)(q, p *a), a, V(vsoftplus)(p *a) / p))
DL_MAP(softplus_backward, SEL(V(vlt)(q, p *b), a, a *V(vsigmoid)(p *b)))
DL_MAP(hardswish_forward, V(gated)(a, V(hardswish_gate)(a)))
DL_MAP(hardswish_backward, a *V(hardswish_slope)(b))
DL_MAP(hardtanh_forward, SEL(V(vlt)(a, p), p, SEL(V(vlt)(q, a), q, a)))
DL_MAP(hardtanh_backward, SEL(V(vle)(b, p), C(0), SEL(V(vle)(q, b), C(0), a)))
DL_MAP(hardsigmoid_forward, V(hardswish_gate)(a))
DL_MAP(hardsigmoid_backward, SEL(V(vle)(b, C(-3)), C(0), SEL(V(vle)(C(3), b), C(0), a / C(6))))
DL_MAP(selu_forward, SEL(V(vlt)(C(0), a), q *a, p *V(vexpm1)(V(negative_part)(a))))
DL_MAP(selu_backward, SEL(V(vlt)(C(0), b), q *a, a *(p *V(vexp)(V(negative_part)(b)))))
DL_MAP(celu_forward, SEL(V(vlt)(C(0), a), a, p *V(vexpm1)(V(negative_part)(a) / p)))
DL_MAP(celu_backward, SEL(V(vlt)(C(0), b), a, a *V(vexp)(V(negative_part)(b) / p)))
DL_MAP(softsign_forward, V(softsign)(a))
DL_MAP(softsign_backward, a / ((C(1) + V(vabs)(b)) * (C(1) + V(vabs)(b))))
DL_MAP(logsigmoid_forward, -V(vsoftplus)(-a))
DL_MAP(logsigmoid_backward, a *V(vsigmoid)(-b))
DL_MAP(threshold_forward, SEL(V(vle)(a, p), q, a))
DL_MAP(threshold_backward, SEL(V(vle)(b, p), C(0), a))
DL_MAP(hardshrink_forward, SEL(V(vle)(V(vabs)(a), p), C(0), a))
DL_MAP(hardshrink_backward, SEL(V(vle)(V(vabs)(b), p), C(0), a))
DL_MAP(softshrink_forward, SEL(V(vlt)(p, a), a - p, SEL(V(vlt)(a, -p), a + p, a *C(0))))
DL_MAP(softshrink_backward, SEL(V(vle)(V(vabs)(b), p), C(0), a))
DL_MAP(product, a *b)
DL_MAP_SLOPE(mish_slope, V(mish))
DL_MAP_SLOPE(gelu_slope, V(gelu))
DL_MAP_SLOPE(gelu_tanh_slope, V(gelu_tanh))
DL_MAP_SLOPE(silu_slope, V(silu))

/* Job: y = keep ? x scale : 0. */
static void V(dropout_job)(void *ctx, long job, long worker) {
    const dl_map *m = (const dl_map *)ctx;
    const real scale = (real)m->p, *DL_R from = (const real *)m->a;
    real *DL_R to = (real *)m->out;
    const long end = dl_min((job + 1) * DL_MAP_JOB, m->n);
    const dl_keys keys = dl_hash_keys(m->seed, (uint32_t)((uint64_t)(job * DL_MAP_JOB) >> 32));
    const uint32_t threshold = m->threshold;
    for (long i = job * DL_MAP_JOB; i < end; i += DL_DROP) {
        uint32_t word[DL_DROP];
        const long n = dl_min(DL_DROP, end - i);
        V(hash_words)(keys, (uint32_t)i, word);
        for (long k = 0; k < n;
             k++) { /* a mask instead of a choice: a branch would be unpredictable, and not vectorised */
            const real scaled = from[i + k] * scale;
            ireal bits;
            memcpy(&bits, &scaled, sizeof bits);
            bits &= -(ireal)(word[k] >= threshold);
            memcpy(to + i + k, &bits, sizeof bits);
        }
    }
    (void)worker;
}
#undef V
#undef C
#undef SEL
#undef DL_MAP
#undef DL_MAP_SLOPE
#undef DL_MAP_RUN
