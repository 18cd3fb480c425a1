/* Softmax of rows, and the jobs of softmax.h.  What follows a loop over whole registers is the rest of a row: a call
   inside the loop would have its constants in memory. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))
#define LOWEST (-(real)INFINITY)

/* The largest number of a row; NaN is passed over here and comes back through exp(x - max). */
DL_INLINE real V(row_max)(const real *x, long n) {
    vec most[4] = {C(LOWEST), C(LOWEST), C(LOWEST), C(LOWEST)}; /* a maximum waits for the one before */
    long i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        DL_UNROLL
        for (int k = 0; k < 4; k++)
            most[k] = V(vmax)(V(vload)(x + i + k * LANES), most[k]);
    }
    for (; i + LANES <= n; i += LANES)
        most[0] = V(vmax)(V(vload)(x + i), most[0]);
    if (i < n) most[1] = V(vmax)(V(vload_pad)(x + i, n - i, LOWEST), most[1]);
    return V(vlargest)(V(vmax)(V(vmax)(most[0], most[1]), V(vmax)(most[2], most[3])));
}

/* y = exp(x - most), unless y is NULL; returns its sum. */
DL_INLINE real V(row_exp)(const real *x, real *y, real most, long n) {
    vec sum = C(0);
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vec e = V(vexp_normal)(V(vload)(x + i) - C(most));
        sum += e;
        if (y) V(vstore)(y + i, e);
    }
    if (i < n) {
        const vec e = V(vexp_normal)(V(vload_pad)(x + i, n - i, LOWEST) - C(most));
        sum += e;
        if (y) V(vstore_n)(y + i, e, n - i);
    }
    return V(vsum)(sum);
}

/* turned = rows (up to LANES) of n <= DL_SHORT_ROW numbers, one row in each lane, and back. */
DL_INLINE void V(turn)(const real *x, real *turned, long rows, long n) {
    for (long row = 0; row < LANES; row++)
        for (long c = 0; c < n; c++)
            turned[c * LANES + row] = x[dl_min(row, rows - 1) * n + c];
}
DL_INLINE void V(turn_back)(const real *turned, real *y, long rows, long n) {
    for (long row = 0; row < rows; row++)
        for (long c = 0; c < n; c++)
            y[row * n + c] = turned[c * LANES + row];
}

/* Of n numbers in each lane: the maximum, and the sum of exp(x - max). */
DL_INLINE void V(turned_sums)(const real *turned, long n, vec *most, vec *sum) {
    *most = C(LOWEST);
    *sum = C(0);
    for (long c = 0; c < n; c++)
        *most = V(vmax)(V(vload)(turned + c * LANES), *most);
    for (long c = 0; c < n; c++)
        *sum += V(vexp_normal)(V(vload)(turned + c * LANES) - *most);
}

/* most = max x and log_sum = log(sum of exp(x - max)) of each row. */
static void V(row_logs)(const real *x, real *most, real *log_sum, long rows, long n) {
    const int together = n <= DL_SHORT_ROW && rows > 1;
    for (long row = 0; row < rows && !together; row++) {
        most[row] = V(row_max)(x + row * n, n);
        log_sum[row] = V(row_exp)(x + row * n, NULL, most[row], n);
    }
    for (long row = 0; row < rows; row += LANES) {
        const long count = dl_min(LANES, rows - row);
        real turned[DL_SHORT_ROW * LANES];
        vec peak, sum;
        if (together) {
            V(turn)(x + row * n, turned, count, n);
            V(turned_sums)(turned, n, &peak, &sum);
            V(vstore_n)(most + row, peak, rows - row);
        } else
            sum = V(vload_pad)(log_sum + row, rows - row, 1);
        V(vstore_n)(log_sum + row, V(vlog)(sum), rows - row);
    }
}

static void V(softmax_row)(const real *x, real *y, long n) {
    const vec share = C(1 / V(row_exp)(x, y, V(row_max)(x, n), n));
    long i = 0;
    for (; i + LANES <= n; i += LANES)
        V(vstore)(y + i, V(vload)(y + i) * share);
    for (; i < n; i++)
        y[i] *= V(vlane)(share, 0);
}

/* Up to LANES rows of n <= DL_SHORT_ROW. */
static void V(softmax_short)(const real *x, real *y, long rows, long n) {
    real turned[DL_SHORT_ROW * LANES];
    vec most, sum;
    V(turn)(x, turned, rows, n);
    V(turned_sums)(turned, n, &most, &sum);
    for (long c = 0; c < n; c++)
        V(vstore)(turned + c * LANES, V(vexp_normal)(V(vload)(turned + c * LANES) - most) / sum);
    V(turn_back)(turned, y, rows, n);
}

static void V(softmax_rows)(const real *x, real *y, long rows, long n) {
    const int together = n <= DL_SHORT_ROW && rows > 1;
    for (long row = 0; row < rows; row += together ? LANES : 1)
        if (together)
            V(softmax_short)(x + row * n, y + row * n, dl_min(LANES, rows - row), n);
        else
            V(softmax_row)(x + row * n, y + row * n, n);
}

static void V(log_softmax_rows)(const real *x, real *y, long rows, long n) {
    real most[LANES], log_sum[LANES];
    for (long row = 0; row < rows; row++) {
        if (row % LANES == 0) V(row_logs)(x + row * n, most, log_sum, dl_min(LANES, rows - row), n);
        const real peak = most[row % LANES], rest = log_sum[row % LANES];
        for (long i = row * n; i < (row + 1) * n; i++)
            y[i] = (x[i] - peak) - rest;
    }
}

/* The sum of y dy, or of dy alone where y is NULL. */
DL_INLINE vec V(row_dot)(const real *y, const real *dy, long n) {
    vec dot = C(0);
    long i = 0;
    for (; i + LANES <= n; i += LANES)
        dot += y ? V(vload)(y + i) * V(vload)(dy + i) : V(vload)(dy + i);
    if (i < n) dot += y ? V(vload_n)(y + i, n - i) * V(vload_n)(dy + i, n - i) : V(vload_n)(dy + i, n - i);
    return C(V(vsum)(dot));
}

/* dx = y (dy - sum of y dy). */
static void V(softmax_back)(const real *y, const real *dy, real *dx, long n) {
    const vec mean = V(row_dot)(y, dy, n);
    long i = 0;
    for (; i + LANES <= n; i += LANES)
        V(vstore)(dx + i, V(vload)(y + i) * (V(vload)(dy + i) - mean));
    for (; i < n; i++)
        dx[i] = y[i] * (dy[i] - V(vlane)(mean, 0));
}

/* dx = dy - exp(y) (sum of dy). */
static void V(log_softmax_back)(const real *y, const real *dy, real *dx, long n) {
    const vec sum = V(row_dot)(NULL, dy, n);
    long i = 0;
    for (; i + LANES <= n; i += LANES)
        V(vstore)(dx + i, V(vload)(dy + i) - V(vexp_normal)(V(vload)(y + i)) * sum);
    if (i < n)
        V(vstore_n)(dx + i, V(vload_n)(dy + i, n - i) - V(vexp_normal)(V(vload_n)(y + i, n - i)) * sum, n - i);
}

/* Job: m->step rows. */
static void V(softmax_job)(void *ctx, long job, long worker) {
    const dl_softmax *m = (const dl_softmax *)ctx;
    const long first = job * m->step, rows = dl_min(m->step, m->rows - first), n = m->n;
    const real *a = (const real *)m->a + first * n, *dy = (const real *)m->dy + first * n;
    real *out = (real *)m->out + first * n;
    if (!m->dy)
        (m->logarithm ? V(log_softmax_rows) : V(softmax_rows))(a, out, rows, n);
    else
        for (long at = 0; at < rows * n; at += n)
            (m->logarithm ? V(log_softmax_back) : V(softmax_back))(a + at, dy + at, out + at, n);
    (void)worker;
}
#undef V
#undef C
#undef LOWEST
