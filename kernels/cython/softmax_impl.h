/* Softmax of one row, and the jobs of softmax.h. */
#define V(name) DL_FN(name)

DL_INLINE real V(row_max)(const real *x, long n) {
    vec most = V(vsplat)(-(real)INFINITY);
    real part[LANES], best = -(real)INFINITY;
    for (long i = 0; i < n; i += LANES) {
        const vec v = DL_LOAD(x, i, n, -(real)INFINITY);
        most = V(vsel)(v > most, v, most); /* NaN is passed over here and comes back through exp(x - max) */
    }
    V(vstore)(part, most);
    for (int i = 0; i < LANES; i++)
        best = part[i] > best ? part[i] : best;
    return best;
}

/* y = exp(x - max); returns its sum. */
DL_INLINE real V(row_exp)(const real *x, real *y, real most, long n) {
    vec sum = V(vsplat)(0);
    for (long i = 0; i < n; i += LANES) {
        const vec e = V(vexp)(DL_LOAD(x, i, n, -(real)INFINITY) - V(vsplat)(most));
        sum += n - i >= LANES ? e : V(vload_n)((const real *)&e, n - i);
        if (y) {
            DL_STORE(y, i, n, e);
        }
    }
    return V(vsum)(sum);
}

static void V(softmax_row)(const real *x, real *y, long n) {
    const real sum = V(row_exp)(x, y, V(row_max)(x, n), n);
    for (long i = 0; i < n; i += LANES) {
        DL_STORE(y, i, n, DL_LOAD(y, i, n, 0) / V(vsplat)(sum));
    }
}

static void V(log_softmax_row)(const real *x, real *y, long n) {
    const real most = V(row_max)(x, n), log_sum = (real)log((double)V(row_exp)(x, NULL, most, n));
    for (long i = 0; i < n; i += LANES) {
        DL_STORE(y, i, n, DL_LOAD(x, i, n, 0) - V(vsplat)(most) - V(vsplat)(log_sum));
    }
}

/* dx = y (dy - sum of y dy). */
static void V(softmax_back)(const real *y, const real *dy, real *dx, long n) {
    vec dot = V(vsplat)(0);
    for (long i = 0; i < n; i += LANES)
        dot += DL_LOAD(y, i, n, 0) * DL_LOAD(dy, i, n, 0);
    const vec mean = V(vsplat)(V(vsum)(dot));
    for (long i = 0; i < n; i += LANES) {
        DL_STORE(dx, i, n, DL_LOAD(y, i, n, 0) * (DL_LOAD(dy, i, n, 0) - mean));
    }
}

/* dx = dy - exp(y) (sum of dy). */
static void V(log_softmax_back)(const real *y, const real *dy, real *dx, long n) {
    vec total = V(vsplat)(0);
    for (long i = 0; i < n; i += LANES)
        total += DL_LOAD(dy, i, n, 0);
    const vec sum = V(vsplat)(V(vsum)(total));
    for (long i = 0; i < n; i += LANES) {
        DL_STORE(dx, i, n, DL_LOAD(dy, i, n, 0) - V(vexp)(DL_LOAD(y, i, n, 0)) * sum);
    }
}

/* Job: m->step rows. */
static void V(softmax_job)(void *ctx, long job, long worker) {
    const dl_softmax *m = (const dl_softmax *)ctx;
    for (long row = job * m->step; row < dl_min((job + 1) * m->step, m->rows); row++) {
        const real *a = (const real *)m->a + row * m->n, *dy = (const real *)m->dy + row * m->n;
        real *out = (real *)m->out + row * m->n;
        if (m->dy)
            (m->logarithm ? V(log_softmax_back) : V(softmax_back))(a, dy, out, m->n);
        else
            (m->logarithm ? V(log_softmax_row) : V(softmax_row))(a, out, m->n);
    }
    (void)worker;
}
#undef V
