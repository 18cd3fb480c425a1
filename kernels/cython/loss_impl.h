/* The jobs of loss.h. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))

/* Job: rows of logits to log-probabilities, their losses and the weights of their labels. */
static void V(cross_entropy_job)(void *ctx, long job, long worker) {
    const dl_cross_entropy *m = (const dl_cross_entropy *)ctx;
    const real smoothing = (real)m->smoothing, *weight = (const real *)m->weight;
    const long first = job * m->step, end = dl_min(first + m->step, m->rows), start = first * m->classes;
    V(log_softmax_rows)((const real *)m->logits + start, (real *)m->log_probs + start, end - first, m->classes);
    for (long row = first; row < end; row++) {
        const real *log_probs = (const real *)m->log_probs + row * m->classes;
        real loss = 0, row_weight = 0;
        if (m->target[row] != m->ignore) {
            row_weight = weight ? weight[m->target[row]] : 1;
            loss = -row_weight * log_probs[m->target[row]];
            if (smoothing > 0) {
                real spread = 0;
                for (long c = 0; c < m->classes; c++)
                    spread -= weight ? weight[c] * log_probs[c] : log_probs[c];
                loss = (real)(1 - m->smoothing) * loss + smoothing * (spread / (real)m->classes);
            }
        }
        ((real *)m->losses)[row] = loss;
        ((real *)m->row_weights)[row] = row_weight;
    }
    (void)worker;
}

/* Job: rows of dlogits = d (exp(log_probs) sum of q - q). */
static void V(cross_entropy_back_job)(void *ctx, long job, long worker) {
    const dl_cross_entropy *m = (const dl_cross_entropy *)ctx;
    const long classes = m->classes;
    const real *weight = (const real *)m->weight, each = (real)(m->smoothing / (double)classes),
               peak = (real)(1 - m->smoothing);
    real all = (real)classes;
    if (weight)
        for (long c = all = 0; c < classes; c++)
            all += weight[c];
    for (long row = job * m->step; row < dl_min((job + 1) * m->step, m->rows); row++) {
        const real *log_probs = (const real *)m->log_probs + row * classes;
        real *out = (real *)m->dlogits + row * classes;
        const long label = m->target[row] == m->ignore ? -1 : m->target[row];
        const real at_label = label < 0 ? 0 : peak * (weight ? weight[label] : 1);
        const real d =
            label < 0 ? 0 : (real)(m->dy_rows ? ((const real *)m->dy)[row] : *(const real *)m->dy) / (real)m->divisor;
        const real total = each * all + at_label;
        if (label < 0) { /* an ignored row may hold NaN */
            memset(out, 0, sizeof(real) * (size_t)classes);
            continue;
        }
        for (long c = 0; c < classes; c += LANES) {
            const vec q = weight ? C(each) * DL_LOAD(weight, c, classes, 0) : C(each);
            DL_STORE(out, c, classes, C(d) * (V(vexp)(DL_LOAD(log_probs, c, classes, 0)) * C(total) - q));
        }
        const real q = (weight ? each * weight[label] : each) + at_label;
        out[label] = d * ((real)exp((double)log_probs[label]) * total - q);
    }
    (void)worker;
}

/* log(1 + exp(x)) times weight, 0 where the weight is 0. */
DL_INLINE vec V(weighted_softplus)(vec x, vec weight) {
    return V(vsel)(weight == C(0), C(0), V(vsoftplus)(x) * weight);
}

DL_INLINE vec V(clipped)(vec x, vec limit) {
    x = V(vsel)(x > limit, limit, x);
    return V(vsel)(x < -limit, -limit, x);
}

/* The loss of x against target t; w and pw are 1 where there are none. */
DL_INLINE vec V(pair_loss)(int kind, vec x, vec t, vec w, vec pw, vec delta) {
    const vec d = V(vabs)(x - t), near = V(clipped)(d, delta);
    switch (kind) {
    case DL_MSE: return d * d;
    case DL_L1: return d;
    case DL_HUBER: return near * (d - C(0.5) * near);
    default: return w * (V(weighted_softplus)(-x, pw * t) + V(weighted_softplus)(x, C(1) - t));
    }
}

/* Its derivative by x. */
DL_INLINE vec V(pair_slope)(int kind, vec x, vec t, vec w, vec pw, vec delta) {
    const vec d = x - t;
    switch (kind) {
    case DL_MSE: return C(2) * d;
    case DL_L1: return V(vsel)(d > C(0), C(1), V(vsel)(d < C(0), C(-1), d));
    case DL_HUBER: return V(clipped)(d, delta);
    default: return w * ((C(1) - t) * V(vsigmoid)(x) - pw * t * V(vsigmoid)(-x));
    }
}

#define EACH_PAIR                                                                                      \
    const dl_pairs *m = (const dl_pairs *)ctx;                                                         \
    const real *px = (const real *)m->x, *pt = (const real *)m->target, *pw = (const real *)m->weight; \
    const real *pp = (const real *)m->pos_weight;                                                      \
    const long end = dl_min((job + 1) * DL_PAIRS_JOB, m->n);                                           \
    const vec delta = C(m->delta);                                                                     \
    for (long i = job * DL_PAIRS_JOB; i < end; i += LANES) {                                           \
        const vec x = DL_LOAD(px, i, end, 0), t = DL_LOAD(pt, i, end, 0);                              \
        const vec w = pw ? DL_LOAD(pw, i, end, 0) : C(1), p = pp ? DL_LOAD(pp, i, end, 0) : C(1);

/* Job: losses, or their sum (in double, over blocks of 64 registers). */
static void V(pairs_job)(void *ctx, long job, long worker) {
    vec block = C(0);
    double total = 0;
    EACH_PAIR
    const vec loss = V(pair_loss)(m->kind, x, t, w, p, delta);
    if (m->losses) {
        DL_STORE((real *)m->losses, i, end, loss);
        continue;
    }
    block += end - i >= LANES ? loss : V(vload_n)((const real *)&loss, end - i);
    if (i / LANES % 64 == 63 || end - i <= LANES) {
        total += (double)V(vsum)(block);
        block = C(0);
    }
}
if (!m->losses) m->partial[job] = total;
(void)worker;
}

/* Job: dx = d slope; dtarget = -dx, or for bce d w (pw softplus(-x) - softplus(x)). */
static void V(pairs_back_job)(void *ctx, long job, long worker) {
    EACH_PAIR
    const vec d = m->dy_each ? DL_LOAD((const real *)m->dy, i, end, 0) : C(*(const real *)m->dy / (real)m->divisor);
    const vec dx = d * V(pair_slope)(m->kind, x, t, w, p, delta);
    if (m->dx) {
        DL_STORE((real *)m->dx, i, end, dx);
    }
    if (m->dtarget) {
        const vec dt = m->kind == DL_BCE ? d * w * (p * V(vsoftplus)(-x) - V(vsoftplus)(x)) : -dx;
        DL_STORE((real *)m->dtarget, i, end, dt);
    }
}
(void)worker;
}
#undef V
#undef C
#undef EACH_PAIR
