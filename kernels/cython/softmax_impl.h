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

/* As log_softmax_row for up to LANES rows of n <= DL_SHORT_ROW, one row in each lane. */
static void V(log_softmax_short)(const real *x, real *y, long rows, long n) {
    real turned[DL_SHORT_ROW * LANES], log_sums[LANES];
    for (long c = 0; c < n; c++)
        for (long row = 0; row < LANES; row++)
            turned[c * LANES + row] = x[dl_min(row, rows - 1) * n + c];
    vec most = V(vsplat)(-(real)INFINITY), sum = V(vsplat)(0);
    for (long c = 0; c < n; c++) {
        const vec v = V(vload)(turned + c * LANES);
        most = V(vsel)(v > most, v, most);
    }
    for (long c = 0; c < n; c++)
        sum += V(vexp)(V(vload)(turned + c * LANES) - most);
    V(vstore)(log_sums, sum);
    for (long row = 0; row < rows; row++)
        log_sums[row] = (real)log((double)log_sums[row]);
    const vec log_sum = V(vload)(log_sums);
    for (long c = 0; c < n; c++)
        V(vstore)(turned + c * LANES, V(vload)(turned + c * LANES) - most - log_sum);
    for (long row = 0; row < rows; row++)
        for (long c = 0; c < n; c++)
            y[row * n + c] = turned[c * LANES + row];
}

static void V(log_softmax_rows)(const real *x, real *y, long rows, long n) {
    const int together = n <= DL_SHORT_ROW && rows > 1;
    for (long row = 0; row < rows; row += together ? LANES : 1)
        if (together)
            V(log_softmax_short)(x + row * n, y + row * n, dl_min(LANES, rows - row), n);
        else
            V(log_softmax_row)(x + row * n, y + row * n, n);
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
    if (m->logarithm && !m->dy) {
        const long first = job * m->step, start = first * m->n;
        V(log_softmax_rows)((const real *)m->a + start, (real *)m->out + start, dl_min(m->step, m->rows - first), m->n);
        return;
    }
    for (long row = job * m->step; row < dl_min((job + 1) * m->step, m->rows); row++) {
        const real *a = (const real *)m->a + row * m->n, *dy = (const real *)m->dy + row * m->n;
        real *out = (real *)m->out + row * m->n;
        if (m->dy)
            (m->logarithm ? V(log_softmax_back) : V(softmax_back))(a, dy, out, m->n);
        else
            V(softmax_row)(a, out, m->n);
    }
    (void)worker;
}
#undef V
