/* The jobs of norm.h. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))
#define EACH_ROW for (long row = job * m->chunk; row < dl_min((job + 1) * m->chunk, m->rows); row++)
#define ROW(array) ((array) ? (real *)(array) + row * m->cols : NULL)

/* The mean of a row of n numbers: a short row may be off by some roundings, which the mean of what is left makes up. */
static real V(row_mean)(const real *x, long n) {
    vec sum = C(0);
    if (n <= DL_NORM_SHORT) {
        for (long c = 0; c < n; c += LANES)
            sum += V(vload_n)(x + c, n - c);
        return V(vsum)(sum) / (real)n;
    }
    double sums[2 * LANES] = {0}, total = 0; /* beside each other, so that no addition waits for the one before */
    long c = 0;
    for (; c + 2 * LANES <= n; c += 2 * LANES) {
        DL_UNROLL for (int i = 0; i < 2 * LANES; i++) sums[i] += (double)x[c + i];
    }
    for (; c < n; c++)
        total += (double)x[c];
    for (int width = LANES; width; width /= 2)
        for (int i = 0; i < width; i++)
            sums[i] += sums[i + width];
    return (real)((total + sums[0]) / (double)n);
}

/* Job: y = (x - mean) rstd scale + shift, mean and rstd of each row. */
static void V(layer_norm_job)(void *ctx, long job, long worker) {
    const dl_norm *m = (const dl_norm *)ctx;
    const real *scale = (const real *)m->scale, *shift = (const real *)m->shift;
    const long n = m->cols;
    EACH_ROW {
        const real *x = ROW(m->x);
        real *y = ROW(m->out);
        const real mean = V(row_mean)(x, n);
        vec left = C(0), square = C(0);
        for (long c = 0; c < n; c += LANES) {
            const vec d = V(vload_pad)(x + c, n - c, mean) - C(mean);
            left += d;
            square += d * d;
        }
        const real rest = V(vsum)(left) / (real)n;
        const double var = (double)(V(vsum)(square) / (real)n) - (double)rest * (double)rest;
        const real rstd = (real)(1 / sqrt((var > 0 ? var : var * 0) + m->eps));
        for (long c = 0; c < n; c += LANES) {
            vec u = (V(vload_n)(x + c, n - c) - C(mean) - C(rest)) * C(rstd);
            if (scale) u *= V(vload_n)(scale + c, n - c);
            if (shift) u += V(vload_n)(shift + c, n - c);
            V(vstore_n)(y + c, u, n - c);
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
        vec sum = C(0), dot = C(0), left = C(0);
        for (long c = 0; c < n; c += LANES) {
            const vec d = V(vload_pad)(x + c, n - c, mean) - C(mean);
            left += d;
            if (!dx) continue;
            vec g = V(vload_n)(dy + c, n - c);
            if (scale) g = V(vheld)(g * V(vload_n)(scale + c, n - c)); /* the same in both passes */
            sum += g;
            dot += g * d;
        }
        const real rest = V(vsum)(left) / (real)n, total = V(vsum)(sum);
        const vec a = C(total / (real)n), b = C((V(vsum)(dot) - rest * total) * rstd / (real)n);
        for (long c = 0; dx && c < n; c += LANES) {
            vec g = V(vload_n)(dy + c, n - c);
            if (scale) g = V(vheld)(g * V(vload_n)(scale + c, n - c));
            const vec u = (V(vload_pad)(x + c, n - c, mean) - C(mean) - C(rest)) * C(rstd);
            V(vstore_n)(dx + c, C(rstd) * (g - a - u * b), n - c);
        }
        for (long c = 0; c < n; c++) {
            plain[c] += (double)dy[c];
            product[c] += (double)(dy[c] * ((x[c] - mean - rest) * rstd));
        }
    }
    (void)worker;
}
#undef V
#undef C
#undef EACH_ROW
#undef ROW
