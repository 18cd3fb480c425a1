/* The jobs of optim.h: one pass over a stretch of param, grad and state. */
#if DL_DOUBLE
#define SQRT sqrt
#else
#define SQRT sqrtf
#endif
#define STRETCH(m) const long begin = job * DL_STEP_JOB, n = dl_min(DL_STEP_JOB, m->n - begin)
#define AT(array) ((real *)(array) + begin)

static void DL_FN(sgd_job)(void *ctx, long job, long worker) {
    const dl_sgd *m = (const dl_sgd *)ctx;
    STRETCH(m);
    real *DL_R w = AT(m->param), *DL_R buffer = m->buffer ? AT(m->buffer) : NULL;
    const real *DL_R grad = AT(m->grad);
    const real lr = (real)m->lr, decay = (real)m->decay, momentum = (real)m->momentum, fresh = (real)(1 - m->dampening),
               scale = (real)m->scale;
    if (!buffer)
        for (long i = 0; i < n; i++)
            w[i] -= lr * (scale * grad[i] + decay * w[i]);
    else if (m->first)
        for (long i = 0; i < n; i++) {
            const real g = scale * grad[i] + decay * w[i];
            buffer[i] = g;
            w[i] -= lr * (m->nesterov ? g + momentum * g : g);
        }
    else if (m->nesterov)
        for (long i = 0; i < n; i++) {
            const real g = scale * grad[i] + decay * w[i];
            buffer[i] = momentum * buffer[i] + fresh * g;
            w[i] -= lr * (g + momentum * buffer[i]);
        }
    else
        for (long i = 0; i < n; i++) {
            buffer[i] = momentum * buffer[i] + fresh * (scale * grad[i] + decay * w[i]);
            w[i] -= lr * buffer[i];
        }
    (void)worker;
}

static void DL_FN(rmsprop_job)(void *ctx, long job, long worker) {
    const dl_rmsprop *m = (const dl_rmsprop *)ctx;
    STRETCH(m);
    real *DL_R w = AT(m->param), *DL_R square = AT(m->square), *DL_R buffer = m->buffer ? AT(m->buffer) : NULL;
    const real *DL_R grad = AT(m->grad);
    const real lr = (real)m->lr, alpha = (real)m->alpha, rest = (real)(1 - m->alpha), decay = (real)m->decay;
    const real inner = m->eps_inside ? (real)m->eps : 0, outer = m->eps_inside ? 0 : (real)m->eps,
               momentum = (real)m->momentum, scale = (real)m->scale;
    if (!buffer)
        for (long i = 0; i < n; i++) {
            const real g = scale * grad[i] + decay * w[i];
            square[i] = alpha * square[i] + rest * (g * g);
            w[i] -= lr * (g / (SQRT(square[i] + inner) + outer));
        }
    else
        for (long i = 0; i < n; i++) {
            const real g = scale * grad[i] + decay * w[i];
            square[i] = alpha * square[i] + rest * (g * g);
            buffer[i] = momentum * buffer[i] + g / (SQRT(square[i] + inner) + outer);
            w[i] -= lr * buffer[i];
        }
    (void)worker;
}

/* Root and quotient decide: without them the loop takes three fifths of its time in the cache.  Estimates of 12 bits
   and a step of Newton's in place of one of them were a tenth faster on an idle core (Zen 3), slower beside a busy one. */
static void DL_FN(adam_job)(void *ctx, long job, long worker) {
    const dl_adam *m = (const dl_adam *)ctx;
    STRETCH(m);
    real *DL_R w = AT(m->param), *DL_R mean = AT(m->mean), *DL_R square = AT(m->square);
    const real *DL_R grad = AT(m->grad);
    const real beta1 = (real)m->beta1, rest1 = (real)(1 - m->beta1), beta2 = (real)m->beta2,
               rest2 = (real)(1 - m->beta2);
    const real keep = m->decoupled ? (real)(1 - m->lr * m->decay) : 1, decay = m->decoupled ? 0 : (real)m->decay;
    const real rate = (real)(m->lr / m->correction1), root = (real)(1 / sqrt(m->correction2)), eps = (real)m->eps,
               scale = (real)m->scale;
    for (long i = 0; i < n; i++) {
        const real g = decay ? scale * grad[i] + decay * w[i] : scale * grad[i];
        mean[i] = beta1 * mean[i] + rest1 * g;
        square[i] = beta2 * square[i] + rest2 * (g * g);
        w[i] = keep * w[i] - rate * (mean[i] / (SQRT(square[i]) * root + eps));
    }
    (void)worker;
}

static void DL_FN(adagrad_job)(void *ctx, long job, long worker) {
    const dl_adagrad *m = (const dl_adagrad *)ctx;
    STRETCH(m);
    real *DL_R w = AT(m->param), *DL_R sum = AT(m->sum);
    const real *DL_R grad = AT(m->grad);
    const real lr = (real)m->lr, eps = (real)m->eps, decay = (real)m->decay, scale = (real)m->scale;
    for (long i = 0; i < n; i++) {
        const real g = scale * grad[i] + decay * w[i];
        sum[i] += g * g;
        w[i] -= lr * (g / (SQRT(sum[i]) + eps));
    }
    (void)worker;
}

static void DL_FN(mixed_job)(void *ctx, long job, long worker) {
    const dl_mixed *m = (const dl_mixed *)ctx;
    STRETCH(m);
    real *DL_R w = AT(m->param), *DL_R mean = AT(m->mean), *DL_R square = AT(m->square);
    const real *DL_R grad = AT(m->grad);
    const real beta1 = (real)m->beta1, rest1 = (real)(1 - m->beta1), beta2 = (real)m->beta2,
               rest2 = (real)(1 - m->beta2), fresh = (real)m->fresh, old = (real)m->old, eps = (real)m->eps,
               root = (real)m->root, decay = (real)m->decay, keep = (real)m->keep, scale = (real)m->scale;
    if (m->divides)
        for (long i = 0; i < n; i++) {
            const real g = scale * grad[i] + decay * w[i];
            mean[i] = beta1 * mean[i] + rest1 * g;
            square[i] = beta2 * square[i] + rest2 * (g * g);
            w[i] = keep * w[i] - (fresh * g + old * mean[i]) / (SQRT(square[i]) * root + eps);
        }
    else
        for (long i = 0; i < n; i++) {
            const real g = scale * grad[i] + decay * w[i];
            mean[i] = beta1 * mean[i] + rest1 * g;
            square[i] = beta2 * square[i] + rest2 * (g * g);
            w[i] = keep * w[i] - (fresh * g + old * mean[i]);
        }
    (void)worker;
}

static void DL_FN(lion_job)(void *ctx, long job, long worker) {
    const dl_lion *m = (const dl_lion *)ctx;
    STRETCH(m);
    real *DL_R w = AT(m->param), *DL_R mean = AT(m->mean);
    const real *DL_R grad = AT(m->grad);
    const real beta1 = (real)m->beta1, rest1 = (real)(1 - m->beta1), beta2 = (real)m->beta2,
               rest2 = (real)(1 - m->beta2), lr = (real)m->lr, keep = (real)m->keep, scale = (real)m->scale;
    for (long i = 0; i < n; i++) {
        const real g = scale * grad[i], u = beta1 * mean[i] + rest1 * g;
        mean[i] = beta2 * mean[i] + rest2 * g;
        w[i] = keep * w[i] - (u > 0 ? lr : u < 0 ? -lr : u); /* NaN comes through */
    }
    (void)worker;
}

/* The sum of squares in double, one conversion for each number. */
static double DL_FN(square_sum_exactly)(const real *x, long n) {
    double lanes[DL_SUM_LANES] = {0}, sum = 0;
    long i = 0;
    for (; i + DL_SUM_LANES <= n; i += DL_SUM_LANES)
        for (int lane = 0; lane < DL_SUM_LANES; lane++)
            lanes[lane] += (double)x[i + lane] * (double)x[i + lane];
    for (int lane = 0; lane < DL_SUM_LANES; lane++)
        sum += lanes[lane];
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

#if !DL_DOUBLE
/* The same, DL_SUM_TERMS squares in each of SUM_CHAINS registers added in float32 before a conversion: an error of at
   most DL_SUM_TERMS + 2 roundings of 2^-24, 6e-7 of the sum, since no term is negative. */
#define SUM_CHAINS 4
static double DL_FN(square_sum_in_blocks)(const real *x, long n) {
    const long block = DL_SUM_TERMS * SUM_CHAINS * LANES, whole = n / block * block;
    double lanes[LANES] = {0}, sum = 0;
    for (const real *at = x; at < x + whole; at += block) {
        vec chain[SUM_CHAINS];
        for (int c = 0; c < SUM_CHAINS; c++)
            chain[c] = DL_FN(vsplat)(0);
        for (int term = 0; term < DL_SUM_TERMS; term++) {
            DL_UNROLL
            for (int c = 0; c < SUM_CHAINS; c++) {
                const vec v = DL_FN(vload)(at + (term * SUM_CHAINS + c) * LANES);
                chain[c] += v * v;
            }
        }
        const vec total = (chain[0] + chain[1]) + (chain[2] + chain[3]);
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] += (double)DL_FN(vlane)(total, lane);
    }
    for (int lane = 0; lane < LANES; lane++)
        sum += lanes[lane];
    return sum + DL_FN(square_sum_exactly)(x + whole, n - whole);
}
#undef SUM_CHAINS
#endif

/* Job: the sum of squares of a stretch.  Squares of large float32 numbers are infinite, those of small ones are lost:
   where the sum is not well between, it is formed again in double. */
static void DL_FN(square_sum_job)(void *ctx, long job, long worker) {
    const dl_array_sum *m = (const dl_array_sum *)ctx;
    STRETCH(m);
    const real *x = AT(m->x);
#if DL_DOUBLE
    m->partial[job] = DL_FN(square_sum_exactly)(x, n);
#else
    const double sum = DL_FN(square_sum_in_blocks)(x, n);
    m->partial[job] = sum > DL_SUM_LEAST && sum < (double)INFINITY ? sum : DL_FN(square_sum_exactly)(x, n);
#endif
    (void)worker;
}

/* Job: the sum of |x| of a stretch, in double. */
static void DL_FN(abs_sum_job)(void *ctx, long job, long worker) {
    const dl_array_sum *m = (const dl_array_sum *)ctx;
    STRETCH(m);
    const real *x = AT(m->x);
    double lanes[DL_SUM_LANES] = {0}, sum = 0;
    long i = 0;
    for (; i + DL_SUM_LANES <= n; i += DL_SUM_LANES)
        for (int lane = 0; lane < DL_SUM_LANES; lane++)
            lanes[lane] += fabs((double)x[i + lane]);
    for (int lane = 0; lane < DL_SUM_LANES; lane++)
        sum += lanes[lane];
    for (; i < n; i++)
        sum += fabs((double)x[i]);
    m->partial[job] = sum;
    (void)worker;
}
#undef SQRT
#undef STRETCH
#undef AT
