/* The jobs of rms_norm.h. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))
#define EACH_ROW for (long row = job * m->chunk; row < dl_min((job + 1) * m->chunk, m->rows); row++)

/* The sum of a b w, where w is 1 if there is none, over at most BLOCK numbers. */
DL_INLINE real V(rms_block)(const real *a, const real *b, const real *w, long n) {
    vec sum[4] = {C(0), C(0), C(0), C(0)};
    long c = 0;
    for (; c + 4 * LANES <= n; c += 4 * LANES)
        DL_UNROLL
        for (int k = 0; k < 4; k++) {
            const vec ab = V(vload)(a + c + k * LANES) * V(vload)(b + c + k * LANES);
            sum[k] += w ? ab * V(vload)(w + c + k * LANES) : ab;
        }
    for (; c < n; c += LANES) {
        const vec ab = V(vload_n)(a + c, n - c) * V(vload_n)(b + c, n - c);
        sum[0] += w ? ab * V(vload_n)(w + c, n - c) : ab;
    }
    return V(vsum)((sum[0] + sum[1]) + (sum[2] + sum[3]));
}
DL_INLINE double V(rms_sum)(const real *a, const real *b, const real *w, long n) {
    double sum = 0;
    for (long c = 0; c < n; c += DL_RMS_BLOCK)
        sum += (double)V(rms_block)(a + c, b + c, w ? w + c : NULL, dl_min(DL_RMS_BLOCK, n - c));
    return sum;
}

/* Job: y = x rstd weight, and rstd of each row. */
static void V(rms_forward_job)(void *ctx, long job, long worker) {
    const dl_rms_norm *m = (const dl_rms_norm *)ctx;
    const real *weight = (const real *)m->weight;
    const long n = m->cols;
    EACH_ROW {
        const real *x = (const real *)m->x + row * n;
        real *y = (real *)m->out + row * n;
        const real mean = (real)(V(rms_sum)(x, x, NULL, n) / (double)dl_max(n, 1));
        const real rstd = (real)(1 / sqrt((double)mean + m->eps));
        for (long c = 0; c < n; c += LANES) {
            const vec u = V(vload_n)(x + c, n - c) * C(rstd);
            V(vstore_n)(y + c, weight ? u * V(vload_n)(weight + c, n - c) : u, n - c);
        }
        ((real *)m->rstd)[row] = rstd;
    }
    (void)worker;
}

/* dx = rstd (g - u mean), g = dy weight, u = x rstd, where wanted; and sums += dy u, where wanted. */
DL_INLINE void V(rms_back_row)(const real *x, const real *dy, const real *weight, real rstd, real mean, real *dx,
                               real *sums, long n) {
    for (long c = 0; c < n; c += LANES) {
        const vec u = V(vload_n)(x + c, n - c) * C(rstd), d = V(vload_n)(dy + c, n - c);
        if (dx) V(vstore_n)(dx + c, C(rstd) * ((weight ? d * V(vload_n)(weight + c, n - c) : d) - u * C(mean)), n - c);
        if (sums) V(vstore_n)(sums + c, V(vload_n)(sums + c, n - c) + d * u, n - c);
    }
}

static void V(rms_flush)(double *DL_R total, real *DL_R sums, long n) {
    for (long c = 0; c < n; c++)
        total[c] += (double)sums[c];
    memset(sums, 0, sizeof(real) * n);
}

/* Job: dx of some rows, and their share of dweight. */
static void V(rms_backward_job)(void *ctx, long job, long worker) {
    const dl_rms_norm *m = (const dl_rms_norm *)ctx;
    const real *weight = (const real *)m->weight;
    const long n = m->cols;
    double *total = m->partial ? m->partial + job * 2 * n : NULL;
    real *sums = total ? (real *)(total + n) : NULL;
    if (total) memset(total, 0, sizeof(double) * 2 * n);
    EACH_ROW {
        const real *x = (const real *)m->x + row * n, *dy = (const real *)m->dy + row * n;
        real *dx = m->out ? (real *)m->out + row * n : NULL;
        const real rstd = ((const real *)m->rstd)[row];
        const real mean = dx ? (real)(V(rms_sum)(x, dy, weight, n) * (double)rstd / (double)dl_max(n, 1)) : 0;
        V(rms_back_row)(x, dy, weight, rstd, mean, dx, sums, n);
        if (sums && row % DL_RMS_DEPTH == DL_RMS_DEPTH - 1) V(rms_flush)(total, sums, n);
    }
    if (sums) V(rms_flush)(total, sums, n);
    (void)worker;
}
#undef V
#undef C
#undef EACH_ROW
