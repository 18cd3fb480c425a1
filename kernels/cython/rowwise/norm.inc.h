/* The jobs of norm.h. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))
#define EACH_ROW for (long row = job * m->chunk; row < dl_min((job + 1) * m->chunk, m->rows); row++)
#define ROW(array) ((array) ? (real *)(array) + row * m->cols : NULL)
/* OP(.., column, lanes) over a row of n numbers: that whole registers are whole is known to the compiler. */
#define EACH_REGISTER(OP, ...)                 \
    do {                                       \
        long c_ = 0;                           \
        for (; c_ + LANES <= n; c_ += LANES)   \
            OP(__VA_ARGS__, c_, LANES);        \
        if (c_ < n) OP(__VA_ARGS__, c_, n - c_); \
    } while (0)

/* Sums over a row of n numbers, 4 chains of additions side by side: of x - about, and of its square. */
DL_INLINE void V(sums_about)(const real *x, long n, real about, vec *sum, vec *square) {
    vec left[4] = {C(0), C(0), C(0), C(0)}, squares[4] = {C(0), C(0), C(0), C(0)};
    long c = 0;
    for (; c + 4 * LANES <= n; c += 4 * LANES)
        DL_UNROLL for (int k = 0; k < 4; k++) {
            const vec d = V(vload)(x + c + k * LANES) - C(about);
            left[k] += d;
            squares[k] += d * d;
        }
    for (; c < n; c += LANES) {
        const vec d = V(vload_pad)(x + c, n - c, about) - C(about);
        left[0] += d;
        squares[0] += d * d;
    }
    *sum = (left[0] + left[1]) + (left[2] + left[3]);
    *square = (squares[0] + squares[1]) + (squares[2] + squares[3]);
}

/* y = (x - mean - rest) rstd scale + shift. */
DL_INLINE void V(norm_register)(const real *x, real *y, const real *scale, const real *shift, real mean, real rest,
                                real rstd, long c, long lanes) {
    vec u = (V(vload_n)(x + c, lanes) - C(mean) - C(rest)) * C(rstd);
    if (scale) u *= V(vload_n)(scale + c, lanes);
    if (shift) u += V(vload_n)(shift + c, lanes);
    V(vstore_n)(y + c, u, lanes);
}

/* Job: y = (x - mean) rstd scale + shift, mean and rstd of each row. */
static void V(layer_norm_job)(void *ctx, long job, long worker) {
    const dl_norm *m = (const dl_norm *)ctx;
    const real *scale = (const real *)m->scale, *shift = (const real *)m->shift;
    const long n = m->cols;
    EACH_ROW {
        const real *x = ROW(m->x), first = n ? x[0] : 0;
        real *y = ROW(m->out);
        vec sum, square;
        V(sums_about)(x, n, first, &sum, &square);
        const real mean = first + V(vsum)(sum) / (real)n;
        V(sums_about)(x, n, mean, &sum, &square);
        const real rest = V(vsum)(sum) / (real)n;
        const double var = (double)(V(vsum)(square) / (real)n) - (double)rest * (double)rest;
        const real rstd = (real)(1 / sqrt((var > 0 ? var : var * 0) + m->eps));
        EACH_REGISTER(V(norm_register), x, y, scale, shift, mean, rest, rstd);
        ((real *)m->mean)[row] = mean;
        ((real *)m->rstd)[row] = rstd;
    }
    (void)worker;
}

/* g = dy scale of a register; the same in both passes over a row. */
DL_INLINE vec V(scaled)(vec dy, const real *scale, long c, long lanes) {
    return scale ? V(vheld)(dy * V(vload_n)(scale + c, lanes)) : dy;
}

/* sums += d, g, g d with d = x - mean. */
DL_INLINE void V(back_sums)(const real *x, const real *dy, const real *scale, real mean, vec *sums, long c,
                            long lanes) {
    const vec d = V(vload_pad)(x + c, lanes, mean) - C(mean), g = V(scaled)(V(vload_n)(dy + c, lanes), scale, c, lanes);
    sums[0] += d;
    sums[1] += g;
    sums[2] += g * d;
}

/* The means over a row of d = x - mean, of g, and of g (d - mean of d), by 2 chains of additions. */
DL_INLINE void V(back_means)(const real *x, const real *dy, const real *scale, real mean, long n, real *rest, real *a,
                             real *b) {
    vec even[3] = {C(0), C(0), C(0)}, odd[3] = {C(0), C(0), C(0)};
    long c = 0;
    for (; c + 2 * LANES <= n; c += 2 * LANES) {
        V(back_sums)(x, dy, scale, mean, even, c, LANES);
        V(back_sums)(x, dy, scale, mean, odd, c + LANES, LANES);
    }
    for (; c < n; c += LANES)
        V(back_sums)(x, dy, scale, mean, even, c, n - c);
    *rest = V(vsum)(even[0] + odd[0]) / (real)n;
    *a = V(vsum)(even[1] + odd[1]) / (real)n;
    *b = V(vsum)(even[2] + odd[2]) / (real)n - *rest * *a;
}

/* dx = rstd (g - a - u b), where wanted, and sums += dy, products += dy u. */
DL_INLINE void V(back_register)(const real *x, const real *dy, const real *scale, real mean, real rest, real rstd,
                                real a, real b, real *dx, real *sums, real *products, long c, long lanes) {
    const vec d = V(vload_n)(dy + c, lanes), u = (V(vload_n)(x + c, lanes) - C(mean) - C(rest)) * C(rstd);
    if (dx) V(vstore_n)(dx + c, C(rstd) * (V(scaled)(d, scale, c, lanes) - C(a) - u * C(b)), lanes);
    V(vstore_n)(sums + c, V(vload_n)(sums + c, lanes) + d, lanes);
    V(vstore_n)(products + c, V(vload_n)(products + c, lanes) + d * u, lanes);
}

/* dx of a row, where wanted, and its share of the sums (2, n). */
DL_INLINE void V(back_row)(const real *x, const real *dy, const real *scale, real mean, real rstd, real *dx, real *sums,
                           long n) {
    real rest, a, b;
    V(back_means)(x, dy, scale, mean, n, &rest, &a, &b);
    EACH_REGISTER(V(back_register), x, dy, scale, mean, rest, rstd, a, b * rstd, dx, sums, sums + n);
}

/* Job: dx = rstd (g - mean of g - u mean of g u) with g = dy scale, and sums of dy and dy u down the columns. */
static void V(layer_norm_back_job)(void *ctx, long job, long worker) {
    const dl_norm *m = (const dl_norm *)ctx;
    const real *scale = (const real *)m->scale;
    const long n = m->cols, last = dl_min((job + 1) * m->chunk, m->rows) - 1;
    double *total = m->partial + job * 4 * n;
    real *sums = (real *)(total + 2 * n);
    memset(total, 0, sizeof(double) * 4 * n);
    EACH_ROW {
        V(back_row)(ROW(m->x), ROW(m->dy), scale, ((const real *)m->mean)[row], ((const real *)m->rstd)[row],
                    ROW(m->out), sums, n);
        if (row < last && (row + 1) % DL_NORM_DEPTH) continue;
        for (long c = 0; c < 2 * n; c++)
            total[c] += (double)sums[c];
        memset(sums, 0, sizeof(real) * 2 * n);
    }
    (void)worker;
}
#undef V
#undef C
#undef EACH_ROW
#undef ROW
#undef EACH_REGISTER
