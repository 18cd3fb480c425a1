/* The jobs of group_norm.h. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))
#define ROOM(row) ((real *)(m->rooms + (job * DL_GN_ROWS + (row)) * m->stride * (long)sizeof(real)))
#define FOUND (m->found + job * (3 * m->groups + 2 * m->cols))
/* The images of a job, all of each or one chunk. */
#define EACH_IMAGE                                                                                 \
    for (long chunk = job % m->chunks, image = job / m->chunks * m->images,                        \
              behind = dl_min(image + m->images, m->n), offset = image * m->pixels * m->cols;      \
         image < behind; image++, offset += m->pixels * m->cols)
#define EACH_BLOCK(part)                                                   \
    for (dl_gn_part part = dl_gn_block(m, chunk, 0); part.rows > 0; \
         part = dl_gn_block(m, chunk, part.index + 1))

/* For `tile` registers of columns: the sums over rows of x - centre, and of squares where wanted. */
DL_INLINE void V(gn_tile)(const real *x, long rows, long width, long n, const real *centre, real *sum, real *square,
                          const int tile) {
    vec s[4], q[4], mid[4];
    DL_UNROLL
    for (int k = 0; k < tile; k++) {
        s[k] = q[k] = C(0);
        mid[k] = centre ? DL_LOAD(centre, k * LANES, n, 0) : C(0);
    }
    for (long row = 0; row < rows; row++, x += width)
        DL_UNROLL
        for (int k = 0; k < tile; k++) {
            const vec d = DL_LOAD(x, k * LANES, n, 0) - mid[k];
            s[k] += d;
            q[k] += d * d;
        }
    DL_UNROLL
    for (int k = 0; k < tile; k++) {
        DL_STORE(sum, k * LANES, n, s[k]);
        if (square) DL_STORE(square, k * LANES, n, q[k]);
    }
}
DL_NOINLINE void V(gn_columns)(const real *x, long rows, long width, long n, const real *centre, real *sum,
                               real *square) {
    long c = 0;
    for (; c + 4 * LANES <= n; c += 4 * LANES)
        V(gn_tile)(x + c, rows, width, 4 * LANES, centre ? centre + c : NULL, sum + c, square ? square + c : NULL, 4);
    for (; c < n; c += LANES)
        V(gn_tile)(x + c, rows, width, n - c, centre ? centre + c : NULL, sum + c, square ? square + c : NULL, 1);
}

/* The sums of columns that are one channel, into the first C of n. */
DL_INLINE void V(gn_fold)(real *DL_R sum, long n, long cols) {
    for (long at = cols; at < n; at += cols)
        for (long c = 0; c < cols; c++)
            sum[c] += sum[at + c];
}
/* The first C of n numbers again for the other pixels of a wide row. */
DL_INLINE void V(gn_repeat)(real *row, long n, long cols) {
    for (long at = cols; at < n; at += cols)
        memcpy(row + at, row, sizeof(real) * cols);
}
DL_INLINE double V(gn_sum)(const real *x, long n) {
    double sum = 0;
    for (long c = 0; c < n; c++)
        sum += (double)x[c];
    return sum;
}

/* Joins the moments of the groups in a block of rows to `found`. */
static void V(gn_moments)(const dl_group_norm *m, const real *x, dl_gn_part part, real *centre, real *sum, real *square,
                          double *found) {
    const long depth = m->cols / m->groups;
    const double count = (double)(part.rows * (part.n / m->cols) * depth);
    V(gn_columns)(x, part.rows, m->width, part.n, NULL, sum, NULL);
    V(gn_fold)(sum, part.n, m->cols);
    for (long g = 0; g < m->groups; g++) {
        const real mean = (real)(V(gn_sum)(sum + g * depth, depth) / count);
        for (long c = g * depth; c < (g + 1) * depth; c++)
            centre[c] = mean;
    }
    V(gn_repeat)(centre, part.n, m->cols);
    V(gn_columns)(x, part.rows, m->width, part.n, centre, sum, square);
    V(gn_fold)(sum, part.n, m->cols);
    V(gn_fold)(square, part.n, m->cols);
    for (long g = 0; g < m->groups; g++) {
        const double more = V(gn_sum)(sum + g * depth, depth) / count;
        const double squares = V(gn_sum)(square + g * depth, depth) - count * more * more;
        dl_gn_join(found + 3 * g, (double)centre[g * depth] + more, squares < 0 ? 0 : squares, count);
    }
}

/* For each column of a wide row the mean of its group, in two parts, and rstd weight, where wanted bias, in A and B. */
static void V(gn_means)(const dl_group_norm *m, long job, long image) {
    const long depth = m->cols / m->groups;
    const real *weight = (const real *)m->weight, *bias = (const real *)m->bias;
    real *mean = ROOM(DL_GN_MEAN), *less = ROOM(DL_GN_LESS), *a = ROOM(DL_GN_A), *b = ROOM(DL_GN_B);
    for (long g = 0; g < m->groups; g++) {
        const double exact = m->mean[image * m->groups + g];
        const real most = (real)exact, rest = (real)(exact - (double)most);
        const real rstd = ((const real *)m->rstd)[image * m->groups + g];
        for (long c = g * depth; c < (g + 1) * depth; c++) {
            mean[c] = most;
            less[c] = rest;
            a[c] = weight ? rstd * weight[c] : rstd;
            b[c] = bias ? bias[c] : 0;
        }
    }
    for (int row = DL_GN_MEAN; row <= DL_GN_B; row++)
        V(gn_repeat)(ROOM(row), m->width, m->cols);
}

/* y = (x - mean) rstd weight + bias for a chunk of an image. */
static void V(gn_apply)(const dl_group_norm *m, long job, long chunk, const real *x, real *y) {
    const real *mean = ROOM(DL_GN_MEAN), *less = ROOM(DL_GN_LESS), *a = ROOM(DL_GN_A), *b = ROOM(DL_GN_B);
    EACH_BLOCK(part)
    for (long c = 0; c < part.n; c += LANES) {
        const vec most = DL_LOAD(mean, c, part.n, 0), rest = DL_LOAD(less, c, part.n, 0);
        const vec scale = DL_LOAD(a, c, part.n, 0), shift = DL_LOAD(b, c, part.n, 0);
        for (long row = 0, at = part.at; row < part.rows; row++, at += m->width)
            DL_STORE(y + at, c, part.n, (DL_LOAD(x + at, c, part.n, 0) - most - rest) * scale + shift);
    }
}

/* Job: the moments of some images, and y where they are whole; or of a chunk. */
static void V(gn_moments_job)(void *ctx, long job, long worker) {
    const dl_group_norm *m = (const dl_group_norm *)ctx;
    EACH_IMAGE {
        const real *x = (const real *)m->x + offset;
        double *found = m->chunks == 1 ? FOUND : m->partial + job * 3 * m->groups;
        memset(found, 0, sizeof(double) * 3 * m->groups);
        EACH_BLOCK(part)
        V(gn_moments)(m, x + part.at, part, ROOM(DL_GN_MEAN), ROOM(DL_GN_SUM), ROOM(DL_GN_SQUARE), found);
        if (m->chunks > 1) continue;
        dl_gn_settle(m, image, found);
        V(gn_means)(m, job, image);
        V(gn_apply)(m, job, 0, x, (real *)m->out + offset);
    }
    (void)worker;
}
/* Job: y of a chunk. */
static void V(gn_apply_job)(void *ctx, long job, long worker) {
    const dl_group_norm *m = (const dl_group_norm *)ctx;
    EACH_IMAGE {
        V(gn_means)(m, job, image);
        V(gn_apply)(m, job, chunk, (const real *)m->x + offset, (real *)m->out + offset);
    }
    (void)worker;
}

/* For `tile` registers of columns: the sums over rows of dy, and of dy (x - mean). */
DL_INLINE void V(gn_back_tile)(const dl_group_norm *m, const real *x, const real *dy, long rows, long n,
                               const real *mean, const real *less, real *sum, real *product, const int tile) {
    vec s[2], p[2], most[2], rest[2];
    DL_UNROLL
    for (int k = 0; k < tile; k++) {
        s[k] = p[k] = C(0);
        most[k] = DL_LOAD(mean, k * LANES, n, 0);
        rest[k] = DL_LOAD(less, k * LANES, n, 0);
    }
    for (long row = 0; row < rows; row++, x += m->width, dy += m->width)
        DL_UNROLL
        for (int k = 0; k < tile; k++) {
            const vec d = DL_LOAD(dy, k * LANES, n, 0);
            s[k] += d;
            p[k] += d * (DL_LOAD(x, k * LANES, n, 0) - most[k] - rest[k]);
        }
    DL_UNROLL
    for (int k = 0; k < tile; k++) {
        DL_STORE(sum, k * LANES, n, s[k]);
        DL_STORE(product, k * LANES, n, p[k]);
    }
}

/* Adds the sums of dy and of dy (x - mean) of a chunk to `sums` (2, C). */
static void V(gn_sums)(const dl_group_norm *m, long job, long chunk, const real *x, const real *dy, double *DL_R sums) {
    const real *mean = ROOM(DL_GN_MEAN), *less = ROOM(DL_GN_LESS);
    real *sum = ROOM(DL_GN_SUM), *product = ROOM(DL_GN_SQUARE);
    EACH_BLOCK(part) {
        long c = 0;
        for (; c + 2 * LANES <= part.n; c += 2 * LANES)
            V(gn_back_tile)(m, x + part.at + c, dy + part.at + c, part.rows, 2 * LANES, mean + c, less + c, sum + c,
                            product + c, 2);
        for (; c < part.n; c += LANES)
            V(gn_back_tile)(m, x + part.at + c, dy + part.at + c, part.rows, part.n - c, mean + c, less + c, sum + c,
                            product + c, 1);
        V(gn_fold)(sum, part.n, m->cols);
        V(gn_fold)(product, part.n, m->cols);
        for (c = 0; c < m->cols; c++) {
            sums[c] += (double)sum[c];
            sums[m->cols + c] += (double)product[c];
        }
    }
}

/* dx = a dy - b - (x - mean) c for a chunk, with a = rstd weight, b = rstd mean of g, c = rstd^2 mean of g u, from the
   sums of the image. */
static void V(gn_back)(const dl_group_norm *m, long job, long image, long chunk, long offset, const double *sums) {
    const long depth = m->cols / m->groups;
    const double count = (double)(m->pixels * depth);
    const real *weight = (const real *)m->weight;
    const real *mean = ROOM(DL_GN_MEAN), *less = ROOM(DL_GN_LESS), *a = ROOM(DL_GN_A);
    real *b = ROOM(DL_GN_B), *k = ROOM(DL_GN_C);
    for (long g = 0; g < m->groups; g++) {
        const double rstd = (double)((const real *)m->rstd)[image * m->groups + g];
        double sum = 0, product = 0;
        for (long c = g * depth; c < (g + 1) * depth; c++) {
            sum += sums[c] * (weight ? (double)weight[c] : 1);
            product += sums[m->cols + c] * (weight ? (double)weight[c] : 1);
        }
        for (long c = g * depth; c < (g + 1) * depth; c++) {
            b[c] = (real)(rstd * sum / count);
            k[c] = (real)(rstd * rstd * rstd * product / count);
        }
    }
    V(gn_repeat)(b, m->width, m->cols);
    V(gn_repeat)(k, m->width, m->cols);
    const real *x = (const real *)m->x + offset, *dy = (const real *)m->dy + offset;
    real *dx = (real *)m->out + offset;
    EACH_BLOCK(part)
    for (long c = 0; c < part.n; c += LANES) {
        const vec most = DL_LOAD(mean, c, part.n, 0), rest = DL_LOAD(less, c, part.n, 0);
        const vec va = DL_LOAD(a, c, part.n, 0), vb = DL_LOAD(b, c, part.n, 0), vc = DL_LOAD(k, c, part.n, 0);
        for (long row = 0, at = part.at; row < part.rows; row++, at += m->width)
            DL_STORE(dx + at, c, part.n, va * DL_LOAD(dy + at, c, part.n, 0) - vb -
                                             (DL_LOAD(x + at, c, part.n, 0) - most - rest) * vc);
    }
}

/* Job: the sums of some images, and dx where they are whole; or of a chunk. */
static void V(gn_sums_job)(void *ctx, long job, long worker) {
    const dl_group_norm *m = (const dl_group_norm *)ctx;
    double *of_job = m->job_sums + job * 2 * m->cols;
    memset(of_job, 0, sizeof(double) * 2 * m->cols);
    EACH_IMAGE {
        double *sums = m->chunks == 1 ? FOUND : m->partial + job * 2 * m->cols;
        memset(sums, 0, sizeof(double) * 2 * m->cols);
        V(gn_means)(m, job, image);
        V(gn_sums)(m, job, chunk, (const real *)m->x + offset, (const real *)m->dy + offset, sums);
        if (m->chunks > 1) continue;
        dl_gn_add(m, image, sums, of_job);
        if (m->out) V(gn_back)(m, job, image, 0, offset, sums);
    }
    (void)worker;
}
/* Job: dx of a chunk. */
static void V(gn_back_job)(void *ctx, long job, long worker) {
    const dl_group_norm *m = (const dl_group_norm *)ctx;
    const double *of_images = m->partial + m->n * m->chunks * (3 * m->groups + 2 * m->cols);
    EACH_IMAGE {
        V(gn_means)(m, job, image);
        V(gn_back)(m, job, image, chunk, offset, of_images + image * 2 * m->cols);
    }
    (void)worker;
}
#undef V
#undef C
#undef ROOM
#undef FOUND
#undef EACH_IMAGE
#undef EACH_BLOCK
