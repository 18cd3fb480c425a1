/* The jobs of batch_norm.h. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))
#define TABLE(k) ((const real *)m->table + (k) * m->stride)

/* Means of n rows of `len` columns, what they lack times n, and sums of squared distances from them. */
static void V(bn_moments)(const real *DL_R x, long n, long width, long len, real *DL_R mean, real *DL_R rest,
                          real *DL_R square) {
    memset(mean, 0, sizeof(real) * len);
    memset(rest, 0, sizeof(real) * len);
    memset(square, 0, sizeof(real) * len);
    long i = 0;
    for (; i + 4 <= n; i += 4) {
        const real *DL_R row = x + i * width;
        for (long c = 0; c < len; c++)
            mean[c] += (row[c] + row[c + width]) + (row[c + 2 * width] + row[c + 3 * width]);
    }
    for (; i < n; i++)
        for (long c = 0; c < len; c++)
            mean[c] += x[i * width + c];
    for (long c = 0; c < len; c++)
        mean[c] /= (real)n;
    for (i = 0; i + 4 <= n; i += 4) {
        const real *DL_R row = x + i * width;
        for (long c = 0; c < len; c++) {
            const real a = row[c] - mean[c], b = row[c + width] - mean[c], d = row[c + 2 * width] - mean[c],
                       e = row[c + 3 * width] - mean[c];
            rest[c] += (a + b) + (d + e);
            square[c] += (a * a + b * b) + (d * d + e * e);
        }
    }
    for (; i < n; i++)
        for (long c = 0; c < len; c++) {
            const real d = x[i * width + c] - mean[c];
            rest[c] += d;
            square[c] += d * d;
        }
}

/* The moments (mean, square) of `before` rows become those of n more as well. */
static void V(bn_join)(double *DL_R total, double before, const real *DL_R mean, const real *DL_R rest,
                       const real *DL_R square, double n, long width, long len) {
    for (long c = 0; c < len; c++)
        dl_bn_join(total + c, total + width + c, before, (double)mean[c] + (double)rest[c] / n, (double)square[c], n);
}

/* Job: the moments of the columns of a chunk, in partial. */
static void V(bn_moments_job)(void *ctx, long job, long worker) {
    const dl_batch_norm *m = (const dl_batch_norm *)ctx;
    const long width = m->width, begin = job * m->chunk, end = dl_min(begin + m->chunk, m->wide);
    const real *x = (const real *)m->x;
    double *total = m->partial + job * 2 * width;
    real *mean = (real *)m->blocks + job * 3 * m->stride, *rest = mean + m->stride, *square = rest + m->stride;
    memset(total, 0, sizeof(double) * 2 * width);
    for (long row = begin; row < end; row += DL_BN_BLOCK) {
        const long n = dl_min(DL_BN_BLOCK, end - row);
        V(bn_moments)(x + row * width, n, width, width, mean, rest, square);
        V(bn_join)(total, (double)(row - begin), mean, rest, square, (double)n, width, width);
    }
    if (end == m->wide && m->rest) {
        V(bn_moments)(x + end * width, 1, width, m->rest, mean, rest, square);
        V(bn_join)(total, (double)(end - begin), mean, rest, square, 1, width, m->rest);
    }
    (void)worker;
}

DL_INLINE void V(bn_store)(real *p, vec v, long n, const int stream) {
    if (stream)
        V(vstream)(p, v);
    else
        V(vstore_n)(p, v, n);
}

/* y of n wide rows. */
DL_INLINE void V(bn_apply_rows)(const dl_batch_norm *m, long row, long n, long len, const int add, const int stream) {
    const long width = m->width, at = row * width;
    const real *x = (const real *)m->x + at, *residual = add ? (const real *)m->residual + at : x;
    const real *mean = TABLE(DL_BN_MEAN), *scale = TABLE(DL_BN_SCALE), *shift = TABLE(DL_BN_SHIFT);
    const vec floor = C(m->relu ? 0 : -INFINITY);
    real *y = (real *)m->out + at;
    for (long i = 0; i < n; i++, x += width, residual += width, y += width)
        for (long c = 0; c < len; c += LANES) {
            const vec centred = V(vload_n)(x + c, len - c) - V(vload)(mean + c);
            vec v = centred * V(vload)(scale + c) + V(vload)(shift + c);
            if (add) v += V(vload_n)(residual + c, len - c);
            V(bn_store)(y + c, V(vsel)(V(vle)(v, floor), floor, v), len - c, stream);
        }
}

static void V(bn_apply)(const dl_batch_norm *m, long row, long n, long len, int stream) {
    if (m->residual)
        V(bn_apply_rows)(m, row, n, len, 1, 0);
    else if (stream)
        V(bn_apply_rows)(m, row, n, len, 0, 1);
    else
        V(bn_apply_rows)(m, row, n, len, 0, 0);
}

/* Job: y of a chunk, the last chunk first. */
static void V(bn_apply_job)(void *ctx, long job, long worker) {
    const dl_batch_norm *m = (const dl_batch_norm *)ctx;
    const long begin = (m->chunks - 1 - job) * m->chunk, end = dl_min(begin + m->chunk, m->wide);
    V(bn_apply)(m, begin, end - begin, m->width, m->stream);
    if (end == m->wide && m->rest) V(bn_apply)(m, end, 1, m->rest, 0);
    if (m->stream) dl_fence();
    (void)worker;
}

/* g = dy act'(y) and x - mean of LANES columns. */
#define GRADIENT                                                                                    \
    const vec centred = V(vload_n)(x + c, len - c) - V(vload)(mean + c);                            \
    vec g = V(vload_n)(dy + c, len - c);                                                            \
    if (mask == DL_BN_FROM_Y) g = V(vsel)(V(vle)(V(vload_n)(y + c, len - c), C(0)), C(0), g);       \
    if (mask == DL_BN_FROM_X)                                                                       \
    g = V(vsel)(V(vle)(centred * V(vload)(scale + c) + V(vload)(shift + c), C(0)), C(0), g)

/* sum += g, product += g (x - mean) down n wide rows; dresidual = g with `keep`. */
DL_INLINE void V(bn_sums_rows)(const dl_batch_norm *m, long row, long n, long len, real *sum, real *product,
                               const int mask, const int keep, const int stream) {
    const long width = m->width, at = row * width;
    const real *x = (const real *)m->x + at, *dy = (const real *)m->dy + at, *y = (const real *)m->y + at;
    const real *mean = TABLE(DL_BN_MEAN), *scale = TABLE(DL_BN_SCALE), *shift = TABLE(DL_BN_SHIFT);
    real *dresidual = (real *)m->dresidual + at;
    for (long i = 0; i < n; i++, x += width, dy += width, y += width, dresidual += width)
        for (long c = 0; c < len; c += LANES) {
            GRADIENT;
            V(vstore)(sum + c, V(vload)(sum + c) + g);
            V(vstore)(product + c, V(vload)(product + c) + g * centred);
            if (keep) V(bn_store)(dresidual + c, g, len - c, stream);
        }
    (void)scale, (void)shift;
}

/* partial += block, block = 0. */
static void V(bn_flush)(real *DL_R block, double *DL_R partial, long stride, long len) {
    for (long k = 0; k < 2; k++)
        for (long c = 0; c < len; c++)
            partial[k * len + c] += (double)block[k * stride + c];
    memset(block, 0, sizeof(real) * 2 * stride);
}

DL_INLINE void V(bn_sums)(const dl_batch_norm *m, long job, const int mask, const int keep, const int stream) {
    const long width = m->width, end = dl_min((job + 1) * m->chunk, m->wide);
    double *partial = m->partial + job * 2 * width;
    real *sum = (real *)m->blocks + job * 3 * m->stride, *product = sum + m->stride;
    memset(partial, 0, sizeof(double) * 2 * width);
    memset(sum, 0, sizeof(real) * 2 * m->stride);
    for (long row = job * m->chunk; row < end; row += DL_BN_BLOCK) {
        const long n = dl_min(DL_BN_BLOCK, end - row);
        V(bn_sums_rows)(m, row, n, width, sum, product, mask, keep, stream);
        V(bn_flush)(sum, partial, m->stride, width);
    }
    if (end == m->wide && m->rest) {
        V(bn_sums_rows)(m, end, 1, m->rest, sum, product, mask, keep, 0);
        V(bn_flush)(sum, partial, m->stride, width);
    }
    if (stream) dl_fence();
}

/* Job: sums of g and g (x - mean) down the columns of a chunk. */
static void V(bn_sums_job)(void *ctx, long job, long worker) {
    const dl_batch_norm *m = (const dl_batch_norm *)ctx;
    if (m->dresidual && m->relu && m->stream)
        V(bn_sums)(m, job, DL_BN_FROM_Y, 1, 1);
    else if (m->dresidual && m->relu)
        V(bn_sums)(m, job, DL_BN_FROM_Y, 1, 0);
    else if (m->dresidual)
        V(bn_sums)(m, job, DL_BN_PLAIN, 1, 0);
    else if (m->relu && m->y)
        V(bn_sums)(m, job, DL_BN_FROM_Y, 0, 0);
    else if (m->relu)
        V(bn_sums)(m, job, DL_BN_FROM_X, 0, 0);
    else
        V(bn_sums)(m, job, DL_BN_PLAIN, 0, 0);
    (void)worker;
}

/* dx = scale (g - a - (x - mean) b) of n wide rows. */
DL_INLINE void V(bn_back_rows)(const dl_batch_norm *m, long row, long n, long len, const void *gradient,
                               const int mask) {
    const long width = m->width, at = row * width;
    const real *x = (const real *)m->x + at, *dy = (const real *)gradient + at, *y = (const real *)m->y + at;
    const real *mean = TABLE(DL_BN_MEAN), *scale = TABLE(DL_BN_SCALE), *shift = TABLE(DL_BN_SHIFT);
    const real *a = TABLE(DL_BN_A), *b = TABLE(DL_BN_B);
    real *dx = (real *)m->out + at;
    for (long i = 0; i < n; i++, x += width, dy += width, y += width, dx += width)
        for (long c = 0; c < len; c += LANES) {
            GRADIENT;
            const vec slope = V(vload)(b + c), tilt = V(vsel)(V(veq)(slope, C(0)), C(0), centred * slope);
            V(vstore_n)(dx + c, V(vload)(scale + c) * (g - V(vload)(a + c) - tilt), len - c);
        }
    (void)shift;
}

/* g is in dresidual, where that was wanted. */
static void V(bn_back)(const dl_batch_norm *m, long row, long n, long len) {
    if (m->dresidual)
        V(bn_back_rows)(m, row, n, len, m->dresidual, DL_BN_PLAIN);
    else if (m->relu && m->y)
        V(bn_back_rows)(m, row, n, len, m->dy, DL_BN_FROM_Y);
    else if (m->relu)
        V(bn_back_rows)(m, row, n, len, m->dy, DL_BN_FROM_X);
    else
        V(bn_back_rows)(m, row, n, len, m->dy, DL_BN_PLAIN);
}

/* Job: dx of a chunk, the last chunk first. */
static void V(bn_back_job)(void *ctx, long job, long worker) {
    const dl_batch_norm *m = (const dl_batch_norm *)ctx;
    const long begin = (m->chunks - 1 - job) * m->chunk, end = dl_min(begin + m->chunk, m->wide);
    V(bn_back)(m, begin, end - begin, m->width);
    if (end == m->wide && m->rest) V(bn_back)(m, end, 1, m->rest);
    (void)worker;
}
#undef V
#undef C
#undef TABLE
#undef GRADIENT
