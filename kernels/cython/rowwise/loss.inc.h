/* The jobs of loss.h. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))

/* The loss of a row: its logits x, and (x - most) - log_sum is their log-softmax. */
DL_INLINE real V(cross_entropy_row)(const dl_cross_entropy *m, const real *x, long label, real most, real log_sum) {
    const real *weight = (const real *)m->weight, share = weight ? weight[label] : 1;
    const real loss = share == 0 ? 0 : -share * ((x[label] - most) - log_sum);
    if (!(m->smoothing > 0)) return loss;
    double spread = 0;
    for (long c = 0; c < m->classes; c++)
        spread -= (double)((weight ? weight[c] : 1) * ((x[c] - most) - log_sum));
    return (real)(1 - m->smoothing) * loss + (real)m->smoothing * (real)(spread / (double)m->classes);
}

/* Job: m->step rows of logits. */
static void V(cross_entropy_job)(void *ctx, long job, long worker) {
    const dl_cross_entropy *m = (const dl_cross_entropy *)ctx;
    const long first = job * m->step, end = dl_min(first + m->step, m->rows);
    const real *logits = (const real *)m->logits;
    real *most = (real *)m->most, *log_sum = (real *)m->log_sum;
    V(row_logs)(logits + first * m->classes, most + first, log_sum + first, end - first, m->classes);
    for (long row = first; row < end; row++)
        ((real *)m->losses)[row] = m->target[row] == m->ignore
                                       ? 0
                                       : V(cross_entropy_row)(m, logits + row * m->classes, m->target[row], most[row],
                                                              log_sum[row]);
    (void)worker;
}

/* What a row's gradient is made of, d (exp(log_probs) total - each weight), and at the label d (... - at_label) more:
   numbers of one row in each lane or of one row in all. */
typedef struct {
    vec most, log_sum, d, total, each;
} V(row_slope);

DL_INLINE vec V(row_probabilities)(const V(row_slope) * s, vec x) {
    return V(vexp_normal)((x - s->most) - s->log_sum);
}

/* total and at_label of a row, and d, the gradient of its loss; label < 0: an ignored row. */
DL_INLINE void V(label_shares)(const dl_cross_entropy *m, long row, real all, real *d, real *total, real *at_label) {
    const real *weight = (const real *)m->weight, *dy = (const real *)m->dy;
    const long label = m->target[row];
    *at_label = (real)(1 - m->smoothing) * (weight ? weight[label] : 1);
    *total = (real)(m->smoothing / (double)m->classes) * all + *at_label;
    *d = dy[m->dy_rows ? row : 0] / (real)m->divisor;
}

/* dlogits of a row. */
static void V(cross_entropy_back_row)(const dl_cross_entropy *m, long row, real all) {
    const long n = m->classes, label = m->target[row];
    const real *x = (const real *)m->logits + row * n, *weight = (const real *)m->weight;
    real *out = (real *)m->dlogits + row * n, d, total, at_label;
    V(label_shares)(m, row, all, &d, &total, &at_label);
    const real each = (real)(m->smoothing / (double)n);
    const V(row_slope) s = {C(((const real *)m->most)[row]), C(((const real *)m->log_sum)[row]), C(d), C(total),
                            C(each)};
    long c = 0;
    for (; c + LANES <= n; c += LANES) {
        const vec q = weight ? s.each * V(vload)(weight + c) : s.each;
        V(vstore)(out + c, s.d * (V(row_probabilities)(&s, V(vload)(x + c)) * s.total - q));
    }
    if (c < n) {
        const vec q = weight ? s.each * V(load_part)(weight + c, n - c) : s.each;
        V(store_part)(out + c, s.d * (V(row_probabilities)(&s, V(load_part)(x + c, n - c)) * s.total - q), n - c);
    }
    const real q = (weight ? each * weight[label] : each) + at_label;
    out[label] = d * (V(vlane)(V(row_probabilities)(&s, C(x[label])), 0) * total - q);
}

/* dlogits of up to LANES rows of n <= DL_SHORT_ROW numbers, one row in each lane. */
static void V(cross_entropy_back_short)(const dl_cross_entropy *m, long first, long rows, real all) {
    const long n = m->classes;
    const real *x = (const real *)m->logits + first * n, *weight = (const real *)m->weight;
    real *out = (real *)m->dlogits + first * n, turned[DL_SHORT_ROW * LANES], d[LANES] = {0}, total[LANES] = {0},
         at_label[LANES] = {0};
    for (long row = 0; row < rows; row++)
        if (m->target[first + row] != m->ignore)
            V(label_shares)(m, first + row, all, d + row, total + row, at_label + row);
    const V(row_slope) s = {V(vload_n)((const real *)m->most + first, rows),
                            V(vload_n)((const real *)m->log_sum + first, rows), V(vload)(d), V(vload)(total),
                            C(m->smoothing / (double)n)};
    V(turn)(x, turned, rows, n);
    for (long c = 0; c < n; c++)
        V(vstore)(turned + c * LANES, V(row_probabilities)(&s, V(vload)(turned + c * LANES)) * s.total -
                                          s.each * C(weight ? weight[c] : 1));
    for (long row = 0; row < rows; row++)
        if (m->target[first + row] != m->ignore) turned[m->target[first + row] * LANES + row] -= at_label[row];
    for (long c = 0; c < n; c++)
        V(vstore)(turned + c * LANES, s.d * V(vload)(turned + c * LANES));
    V(turn_back)(turned, out, rows, n);
    for (long row = 0; row < rows; row++)
        if (m->target[first + row] == m->ignore) /* its logits may be NaN */
            memset(out + row * n, 0, sizeof(real) * (size_t)n);
}

/* Job: m->step rows of dlogits. */
static void V(cross_entropy_back_job)(void *ctx, long job, long worker) {
    const dl_cross_entropy *m = (const dl_cross_entropy *)ctx;
    const long n = m->classes;
    const real *weight = (const real *)m->weight;
    double sum = 0;
    for (long c = 0; weight && c < n; c++)
        sum += (double)weight[c];
    const real all = (real)(weight ? sum : (double)n);
    const long end = dl_min((job + 1) * m->step, m->rows);
    const int together = n <= DL_SHORT_ROW && m->rows > 1;
    for (long row = job * m->step; row < end; row += together ? LANES : 1)
        if (together)
            V(cross_entropy_back_short)(m, row, dl_min(LANES, end - row), all);
        else if (m->target[row] == m->ignore)
            memset((real *)m->dlogits + row * n, 0, sizeof(real) * (size_t)n);
        else
            V(cross_entropy_back_row)(m, row, all);
    (void)worker;
}

/* log(1 + exp(x)) times weight, 0 where the weight is 0. */
DL_INLINE vec V(weighted_softplus)(vec x, vec weight) {
    return V(vsel)(V(veq)(weight, C(0)), C(0), V(vsoftplus)(x) * weight);
}

DL_INLINE vec V(clipped)(vec x, vec limit) {
    x = V(vsel)(V(vlt)(limit, x), limit, x);
    return V(vsel)(V(vlt)(x, -limit), -limit, x);
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
    case DL_L1: return V(vsel)(V(vlt)(C(0), d), C(1), V(vsel)(V(vlt)(d, C(0)), C(-1), d));
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
        const vec x = V(vload_n)(px + i, end - i), t = V(vload_n)(pt + i, end - i);                              \
        const vec w = pw ? V(vload_n)(pw + i, end - i) : C(1), p = pp ? V(vload_n)(pp + i, end - i) : C(1);

/* Job: losses, or their sum (in double, over blocks of 64 registers). */
static void V(pairs_job)(void *ctx, long job, long worker) {
    vec block = C(0);
    double total = 0;
    EACH_PAIR
    const vec loss = V(pair_loss)(m->kind, x, t, w, p, delta);
    if (m->losses) {
        V(vstore_n)((real *)m->losses + i, loss, end - i);
        continue;
    }
    block += V(vsel)(V(vfirst)(end - i), loss, C(0));
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
    const vec d = m->dy_each ? V(vload_n)((const real *)m->dy + i, end - i) : C(*(const real *)m->dy / (real)m->divisor);
    const vec dx = d * V(pair_slope)(m->kind, x, t, w, p, delta);
    if (m->dx) {
        V(vstore_n)((real *)m->dx + i, dx, end - i);
    }
    if (m->dtarget) {
        const vec dt = m->kind == DL_BCE ? d * w * (p * V(vsoftplus)(-x) - V(vsoftplus)(x)) : -dx;
        V(vstore_n)((real *)m->dtarget + i, dt, end - i);
    }
}
(void)worker;
}
#undef V
#undef C
#undef EACH_PAIR
