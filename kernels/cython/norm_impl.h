/* The jobs of norm.h. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))
#define EACH_ROW for (long row = job * m->chunk; row < dl_min((job + 1) * m->chunk, m->rows); row++)
#define ROW(array) ((array) ? (real *)(array) + row * m->cols : NULL)

/* Job: sums down the columns of a chunk of rows, of x, or with a mean of its squared distance. */
static void V(norm_sum_job)(void *ctx, long job, long worker) {
    const dl_norm *m = (const dl_norm *)ctx;
    double *DL_R sum = m->partial + job * 2 * m->cols;
    memset(sum, 0, sizeof(double) * m->cols);
    EACH_ROW {
        const real *DL_R x = ROW(m->x);
        if (!m->centre)
            for (long c = 0; c < m->cols; c++)
                sum[c] += (double)x[c];
        else
            for (long c = 0; c < m->cols; c++) {
                const double d = (double)x[c] - m->centre[c];
                sum[c] += d * d;
            }
    }
    (void)worker;
}

/* Job: y = (x - mean) scale + shift, each (cols). */
static void V(batch_norm_job)(void *ctx, long job, long worker) {
    const dl_norm *m = (const dl_norm *)ctx;
    const real *DL_R mean = (const real *)m->mean, *DL_R scale = (const real *)m->scale,
                     *DL_R shift = (const real *)m->shift;
    EACH_ROW {
        const real *DL_R x = ROW(m->x);
        real *DL_R y = ROW(m->out);
        for (long c = 0; c < m->cols; c++)
            y[c] = (x[c] - mean[c]) * scale[c] + shift[c];
    }
    (void)worker;
}

/* Job: sums of dy and of dy u down the columns, u = (x - mean) rstd; rstd is in `shift`. */
static void V(batch_norm_sums_job)(void *ctx, long job, long worker) {
    const dl_norm *m = (const dl_norm *)ctx;
    const real *DL_R mean = (const real *)m->mean, *DL_R rstd = (const real *)m->shift;
    double *DL_R plain = m->partial + job * 2 * m->cols, *DL_R product = plain + m->cols;
    memset(plain, 0, sizeof(double) * 2 * m->cols);
    EACH_ROW {
        const real *DL_R x = ROW(m->x), *DL_R dy = ROW(m->dy);
        for (long c = 0; c < m->cols; c++) {
            plain[c] += (double)dy[c];
            product[c] += (double)(dy[c] * ((x[c] - mean[c]) * rstd[c]));
        }
    }
    (void)worker;
}

/* Job: dx = (dy - a - u b) scale, a and b (cols) the means of dy and dy u. */
static void V(batch_norm_back_job)(void *ctx, long job, long worker) {
    const dl_norm *m = (const dl_norm *)ctx;
    const real *DL_R mean = (const real *)m->mean, *DL_R rstd = (const real *)m->shift,
                     *DL_R scale = (const real *)m->scale;
    const real *DL_R a = (const real *)m->a, *DL_R b = (const real *)m->b;
    EACH_ROW {
        const real *DL_R x = ROW(m->x), *DL_R dy = ROW(m->dy);
        real *DL_R dx = ROW(m->out);
        for (long c = 0; c < m->cols; c++)
            dx[c] = (dy[c] - a[c] - (x[c] - mean[c]) * rstd[c] * b[c]) * scale[c];
    }
    (void)worker;
}

/* Job: y = (x - mean) rstd scale + shift, mean and rstd of each row. */
static void V(layer_norm_job)(void *ctx, long job, long worker) {
    const dl_norm *m = (const dl_norm *)ctx;
    const real *scale = (const real *)m->scale, *shift = (const real *)m->shift;
    const long n = m->cols;
    EACH_ROW {
        const real *x = ROW(m->x);
        real *y = ROW(m->out);
        vec sum = C(0), square = C(0);
        for (long c = 0; c < n; c += LANES)
            sum += DL_LOAD(x, c, n, 0);
        const real mean = V(vsum)(sum) / (real)n;
        for (long c = 0; c < n; c += LANES) {
            const vec d = DL_LOAD(x, c, n, mean) - C(mean);
            square += d * d;
        }
        const real rstd = (real)(1 / sqrt((double)(V(vsum)(square) / (real)n) + m->eps));
        for (long c = 0; c < n; c += LANES) {
            vec u = (DL_LOAD(x, c, n, 0) - C(mean)) * C(rstd);
            if (scale) u *= DL_LOAD(scale, c, n, 0);
            if (shift) u += DL_LOAD(shift, c, n, 0);
            DL_STORE(y, c, n, u);
        }
        ((real *)m->mean)[row] = mean;
        ((real *)m->rstd)[row] = rstd;
    }
    (void)worker;
}

/* Job: dx = rstd (g - mean of g - u mean of g u) with g = dy scale, and sums of dy and dy u down the columns. */
static void V(layer_norm_back_job)(void *ctx, long job, long worker) {
    const dl_norm *m = (const dl_norm *)ctx;
    const real *scale = (const real *)m->scale;
    const long n = m->cols;
    double *DL_R plain = m->partial + job * 2 * n, *DL_R product = plain + n;
    memset(plain, 0, sizeof(double) * 2 * n);
    EACH_ROW {
        const real *x = ROW(m->x), *dy = ROW(m->dy), mean = ((const real *)m->mean)[row],
                   rstd = ((const real *)m->rstd)[row];
        real *dx = ROW(m->out);
        vec sum = C(0), dot = C(0);
        for (long c = 0; dx && c < n; c += LANES) {
            vec g = DL_LOAD(dy, c, n, 0);
            if (scale) g *= DL_LOAD(scale, c, n, 0);
            sum += g;
            dot += g * (DL_LOAD(x, c, n, mean) - C(mean));
        }
        const vec a = C(V(vsum)(sum) / (real)n), b = C(V(vsum)(dot) * rstd / (real)n);
        for (long c = 0; dx && c < n; c += LANES) {
            vec g = DL_LOAD(dy, c, n, 0);
            if (scale) g *= DL_LOAD(scale, c, n, 0);
            const vec u = (DL_LOAD(x, c, n, mean) - C(mean)) * C(rstd);
            DL_STORE(dx, c, n, C(rstd) * (g - a - u * b));
        }
        for (long c = 0; c < n; c++) {
            plain[c] += (double)dy[c];
            product[c] += (double)(dy[c] * ((x[c] - mean) * rstd));
        }
    }
    (void)worker;
}
#undef V
#undef C
#undef EACH_ROW
#undef ROW
