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

/* y = exp(x - most), unless y is NULL; returns its sum, of blocks that are summed one by one. */
DL_INLINE real V(row_exp)(const real *x, real *y, real most, long n) {
    vec sum = C(0);
    long i = 0;
    while (i + LANES <= n) {
        vec block = C(0);
        for (const long end = dl_min(i + DL_SOFTMAX_BLOCK * LANES, n / LANES * LANES); i < end; i += LANES) {
            const vec e = V(vexp_normal)(V(vload)(x + i) - C(most));
            block += e;
            if (y) V(vstore)(y + i, e);
        }
        sum += block;
    }
    if (i < n) {
        const vec e = V(vexp_normal)(V(vload_pad)(x + i, n - i, LOWEST) - C(most));
        sum += e;
        if (y) V(vstore_n)(y + i, e, n - i);
    }
    return V(vsum)(sum);
}

/* turned = rows (up to LANES) of n <= DL_SHORT_ROW numbers, one row in each lane (and the last one in lanes beyond), and
   back.  Registers of a row begin where it does and hold what follows it as well: back they come from right to left, so
   that this is overwritten, but nothing behind the last row. */
DL_INLINE void V(turn)(const real *x, real *turned, long rows, long n) {
#if DL_VECTORS
    for (long c = 0; c < n; c += LANES) {
        vec row[LANES];
        DL_UNROLL for (int i = 0; i < LANES; i++) {
            const long at = dl_min(i, rows - 1) * n + c;
            row[i] = V(vload_n)(x + at, rows * n - at);
        }
        V(transpose)(row);
        DL_UNROLL for (int i = 0; i < LANES; i++) V(vstore)(turned + (c + i) * LANES, row[i]);
    }
#else
    memcpy(turned, x, sizeof(real) * n);
    (void)rows;
#endif
}
DL_INLINE void V(turn_back)(const real *turned, real *y, long rows, long n) {
#if DL_VECTORS
    for (long c = (n - 1) / LANES * LANES; c >= 0; c -= LANES) {
        vec row[LANES];
        DL_UNROLL for (int i = 0; i < LANES; i++) row[i] = V(vload)(turned + (c + i) * LANES);
        V(transpose)(row);
        DL_UNROLL for (int i = 0; i < LANES; i++) {
            const long at = i * n + c;
            if (i < rows) V(vstore_n)(y + at, row[i], rows * n - at);
        }
    }
#else
    memcpy(y, turned, sizeof(real) * n);
    (void)rows;
#endif
}

/* Of n numbers in each lane: the maximum, and the sum of exp(x - max), which replace them if `keep`. */
DL_INLINE void V(turned_sums)(real *turned, long n, const int keep, vec *most, vec *sum) {
    vec peak = C(LOWEST), total = C(0);
    for (long c = 0; c < n; c++)
        peak = V(vmax)(V(vload)(turned + c * LANES), peak);
    for (long c = 0; c < n; c++) {
        const vec e = V(vexp_normal)(V(vload)(turned + c * LANES) - peak);
        total += e;
        if (keep) V(vstore)(turned + c * LANES, e);
    }
    *most = peak, *sum = total;
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
            V(turned_sums)(turned, n, 0, &peak, &sum);
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
    if (i < n) V(store_part)(y + i, V(load_part)(y + i, n - i) * share, n - i);
}

/* Up to LANES rows of n <= DL_SHORT_ROW. */
static void V(softmax_short)(const real *x, real *y, long rows, long n) {
    real turned[DL_SHORT_ROW * LANES];
    vec most, sum;
    V(turn)(x, turned, rows, n);
    V(turned_sums)(turned, n, 1, &most, &sum);
    const vec share = C(1) / sum;
    for (long c = 0; c < n; c++)
        V(vstore)(turned + c * LANES, V(vload)(turned + c * LANES) * share);
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

/* Up to LANES rows. */
static void V(log_softmax_short)(const real *x, real *y, long rows, long n) {
    real turned[DL_SHORT_ROW * LANES];
    vec most, sum;
    V(turn)(x, turned, rows, n);
    V(turned_sums)(turned, n, 0, &most, &sum);
    const vec rest = V(vlog)(sum);
    for (long c = 0; c < n; c++)
        V(vstore)(turned + c * LANES, (V(vload)(turned + c * LANES) - most) - rest);
    V(turn_back)(turned, y, rows, n);
}
static void V(log_softmax_long)(const real *x, real *y, long rows, long n) {
    real most[LANES], log_sum[LANES];
    V(row_logs)(x, most, log_sum, rows, n);
    for (long row = 0; row < rows; row++, x += n, y += n) {
        const vec peak = C(most[row]), rest = C(log_sum[row]);
        for (long i = 0; i < n; i += LANES)
            V(vstore_n)(y + i, (V(vload_n)(x + i, n - i) - peak) - rest, n - i);
    }
}
static void V(log_softmax_rows)(const real *x, real *y, long rows, long n) {
    for (long row = 0; row < rows; row += LANES)
        (n <= DL_SHORT_ROW && rows > 1 ? V(log_softmax_short) : V(log_softmax_long))(x + row * n, y + row * n,
                                                                                     dl_min(LANES, rows - row), n);
}

/* The sum of y dy, or of dy alone where y is NULL. */
DL_INLINE vec V(row_dot)(const real *y, const real *dy, long n) {
    vec dot = C(0);
    long i = 0;
    while (i + LANES <= n) {
        vec block = C(0);
        for (const long end = dl_min(i + DL_SOFTMAX_BLOCK * LANES, n / LANES * LANES); i < end; i += LANES)
            block += y ? V(vload)(y + i) * V(vload)(dy + i) : V(vload)(dy + i);
        dot += block;
    }
    if (i < n) dot += y ? V(load_part)(y + i, n - i) * V(load_part)(dy + i, n - i) : V(load_part)(dy + i, n - i);
    return C(V(vsum)(dot));
}

/* dx = y (dy - sum of y dy), or dy - exp(y) (sum of dy) for the logarithm. */
DL_INLINE vec V(softmax_slope)(const int logarithm, vec y, vec dy, vec sum) {
    return logarithm ? dy - V(vexp_normal)(y) * sum : y * (dy - sum);
}
DL_INLINE void V(softmax_back)(const int logarithm, const real *y, const real *dy, real *dx, long n) {
    const vec sum = V(row_dot)(logarithm ? NULL : y, dy, n);
    long i = 0;
    for (; i + LANES <= n; i += LANES)
        V(vstore)(dx + i, V(softmax_slope)(logarithm, V(vload)(y + i), V(vload)(dy + i), sum));
    if (i < n && n >= LANES) { /* the last register again from its end */
        i = n - LANES;
        V(vstore)(dx + i, V(softmax_slope)(logarithm, V(vload)(y + i), V(vload)(dy + i), sum));
    } else if (i < n)
        V(store_part)(dx, V(softmax_slope)(logarithm, V(load_part)(y, n), V(load_part)(dy, n), sum), n);
}
/* Up to LANES rows of less than a register. */
DL_INLINE void V(softmax_back_short)(const int logarithm, const real *y, const real *dy, real *dx, long rows, long n) {
    real ys[LANES * LANES], dys[LANES * LANES];
    vec sum = C(0);
    V(turn)(y, ys, rows, n);
    V(turn)(dy, dys, rows, n);
    for (long c = 0; c < n; c++)
        sum += logarithm ? V(vload)(dys + c * LANES) : V(vload)(ys + c * LANES) * V(vload)(dys + c * LANES);
    for (long c = 0; c < n; c++)
        V(vstore)(dys + c * LANES,
                  V(softmax_slope)(logarithm, V(vload)(ys + c * LANES), V(vload)(dys + c * LANES), sum));
    V(turn_back)(dys, dx, rows, n);
}
DL_INLINE void V(softmax_back_rows)(const int logarithm, const real *y, const real *dy, real *dx, long rows, long n) {
    const long step = n < LANES && rows > 1 ? LANES : 1;
    for (long row = 0; row < rows; row += step, y += step * n, dy += step * n, dx += step * n)
        if (step > 1)
            V(softmax_back_short)(logarithm, y, dy, dx, dl_min(LANES, rows - row), n);
        else
            V(softmax_back)(logarithm, y, dy, dx, n);
}

/* Job: m->step rows. */
static void V(softmax_job)(void *ctx, long job, long worker) {
    const dl_softmax *m = (const dl_softmax *)ctx;
    const long first = job * m->step, rows = dl_min(m->step, m->rows - first), n = m->n;
    const real *a = (const real *)m->a + first * n, *dy = (const real *)m->dy + first * n;
    real *out = (real *)m->out + first * n;
    if (!m->dy)
        (m->logarithm ? V(log_softmax_rows) : V(softmax_rows))(a, out, rows, n);
    else if (m->logarithm)
        V(softmax_back_rows)(1, a, dy, out, rows, n);
    else
        V(softmax_back_rows)(0, a, dy, out, rows, n);
    (void)worker;
}
#undef V
#undef C
#undef LOWEST
