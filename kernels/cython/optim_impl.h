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
/* Job: the sum of squares of a stretch, in double: squares of large float32 numbers would be infinite. */
static void DL_FN(square_sum_job)(void *ctx, long job, long worker) {
    const dl_square_sum *m = (const dl_square_sum *)ctx;
    STRETCH(m);
    const real *x = AT(m->x);
    double lanes[DL_SUM_LANES] = {0}, sum = 0;
    long i = 0;
    for (; i + DL_SUM_LANES <= n; i += DL_SUM_LANES)
        for (int lane = 0; lane < DL_SUM_LANES; lane++)
            lanes[lane] += (double)x[i + lane] * (double)x[i + lane];
    for (int lane = 0; lane < DL_SUM_LANES; lane++)
        sum += lanes[lane];
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    m->partial[job] = sum;
    (void)worker;
}
#undef SQRT
#undef STRETCH
#undef AT
