/* The jobs of group_norm.h. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))
#define ROOM(row) ((real *)(m->rooms + (job * DL_GN_ROWS + (row)) * m->stride * (long)sizeof(real)))
#define FOUND (m->found + job * DL_GN_FOUND(m))
/* The images of a job, all of each or one chunk. */
#define EACH_IMAGE                                                                                 \
    for (long chunk = job % m->chunks, image = job / m->chunks * m->images,                        \
              behind = dl_min(image + m->images, m->n), offset = image * m->pixels * m->cols;      \
         image < behind; image++, offset += m->pixels * m->cols)
#define EACH_BLOCK(part)                                            \
    for (dl_gn_part part = dl_gn_block(m, chunk, 0); part.rows > 0; \
         part = dl_gn_block(m, chunk, part.index + 1))

/* What a loop over some rows reads and writes. */
typedef struct {
    const real *x, *dy, *mean, *scale, *shift, *slope;
    real *out, *sum, *product;
} V(gn_rows);

/* OP(rows, width, number of rows, column, columns from there) over the rows of a part, four at a time. */
#define GN_COLUMNS(OP, r, at, count)             \
    do {                                         \
        long c_ = 0;                             \
        for (; c_ + LANES <= n; c_ += LANES)     \
            OP(r, at, width, count, c_, LANES);  \
        if (c_ < n) OP(r, at, width, count, c_, n - c_); \
    } while (0)
#define GN_LOOP(name, OP)                                                                           \
    static void name(const V(gn_rows) * r, dl_gn_part part, long width) {                           \
        const V(gn_rows) rows = *r;                                                                 \
        const long n = part.n, end = part.at + part.rows * width;                                   \
        long at = part.at;                                                                          \
        for (; at + 3 * width < end; at += 4 * width)                                               \
            GN_COLUMNS(OP, &rows, at, 4);                                                           \
        for (; at < end; at += width)                                                               \
            GN_COLUMNS(OP, &rows, at, 1);                                                           \
    }

/* sum += x. */
DL_INLINE void V(gn_add)(const V(gn_rows) * r, long at, long width, const int count, long c, long lanes) {
    vec sum = V(vload_n)(r->sum + c, lanes);
    DL_UNROLL
    for (int i = 0; i < count; i++)
        sum += V(vload_n)(r->x + at + i * width + c, lanes);
    V(vstore_n)(r->sum + c, sum, lanes);
}
GN_LOOP(V(gn_add_rows), V(gn_add))

/* sum += x - mean, product += (x - mean)^2. */
DL_INLINE void V(gn_square)(const V(gn_rows) * r, long at, long width, const int count, long c, long lanes) {
    const vec mean = V(vload_n)(r->mean + c, lanes);
    vec sum = V(vload_n)(r->sum + c, lanes), square = V(vload_n)(r->product + c, lanes);
    DL_UNROLL
    for (int i = 0; i < count; i++) {
        const vec d = V(vload_n)(r->x + at + i * width + c, lanes) - mean;
        sum += d;
        square += d * d;
    }
    V(vstore_n)(r->sum + c, sum, lanes);
    V(vstore_n)(r->product + c, square, lanes);
}
GN_LOOP(V(gn_square_rows), V(gn_square))

/* sum += dy, product += dy (x - mean). */
DL_INLINE void V(gn_product)(const V(gn_rows) * r, long at, long width, const int count, long c, long lanes) {
    const vec mean = V(vload_n)(r->mean + c, lanes);
    vec sum = V(vload_n)(r->sum + c, lanes), product = V(vload_n)(r->product + c, lanes);
    DL_UNROLL
    for (int i = 0; i < count; i++) {
        const vec dy = V(vload_n)(r->dy + at + i * width + c, lanes);
        sum += dy;
        product += dy * (V(vload_n)(r->x + at + i * width + c, lanes) - mean);
    }
    V(vstore_n)(r->sum + c, sum, lanes);
    V(vstore_n)(r->product + c, product, lanes);
}
GN_LOOP(V(gn_product_rows), V(gn_product))

/* y = (x - mean) scale + shift. */
DL_INLINE void V(gn_scale)(const V(gn_rows) * r, long at, long width, const int count, long c, long lanes) {
    const vec mean = V(vload_n)(r->mean + c, lanes), scale = V(vload_n)(r->scale + c, lanes);
    const vec shift = V(vload_n)(r->shift + c, lanes);
    DL_UNROLL
    for (int i = 0; i < count; i++) {
        const long here = at + i * width + c;
        V(vstore_n)(r->out + here, (V(vload_n)(r->x + here, lanes) - mean) * scale + shift, lanes);
    }
}
GN_LOOP(V(gn_scale_rows), V(gn_scale))

/* dx = dy scale - shift - (x - mean) slope. */
DL_INLINE void V(gn_slope)(const V(gn_rows) * r, long at, long width, const int count, long c, long lanes) {
    const vec mean = V(vload_n)(r->mean + c, lanes), scale = V(vload_n)(r->scale + c, lanes);
    const vec shift = V(vload_n)(r->shift + c, lanes), slope = V(vload_n)(r->slope + c, lanes);
    DL_UNROLL
    for (int i = 0; i < count; i++) {
        const long here = at + i * width + c;
        const vec x = V(vload_n)(r->x + here, lanes), dy = V(vload_n)(r->dy + here, lanes);
        V(vstore_n)(r->out + here, (dy * scale - shift) - (x - mean) * slope, lanes);
    }
}
GN_LOOP(V(gn_slope_rows), V(gn_slope))

static V(gn_rows) V(gn_tables)(const dl_group_norm *m, long job, long offset) {
    const V(gn_rows) rows = {(const real *)m->x + offset,
                             m->dy ? (const real *)m->dy + offset : NULL,
                             ROOM(DL_GN_MEAN),
                             ROOM(DL_GN_SCALE),
                             ROOM(DL_GN_SHIFT),
                             ROOM(DL_GN_SLOPE),
                             m->out ? (real *)m->out + offset : NULL,
                             ROOM(DL_GN_SUM),
                             ROOM(DL_GN_PRODUCT)};
    return rows;
}

/* The sums of columns that are one channel, into the first C of n. */
static void V(gn_fold)(real *DL_R sum, long n, long cols) {
    for (long at = cols; at < n; at += cols)
        for (long c = 0; c < cols; c++)
            sum[c] += sum[at + c];
}
/* The first C of n numbers again for the other pixels of a wide row. */
static void V(gn_repeat)(real *row, long n, long cols) {
    for (long at = cols; at < n; at += cols)
        memcpy(row + at, row, sizeof(real) * cols);
}
/* The sum of n numbers: of up to 64 in their dtype. */
DL_INLINE double V(gn_sum)(const real *x, long n) {
    double sum = 0;
    for (long start = 0; start < n; start += 64) {
        real part = 0;
        for (long c = start; c < dl_min(start + 64, n); c++)
            part += x[c];
        sum += (double)part;
    }
    return sum;
}

/* Joins the moments of the groups in a block of rows to `found`; behind it there is room for those of the block. */
static void V(gn_moments)(const dl_group_norm *m, const V(gn_rows) * r, dl_gn_part part, double *found) {
    const long groups = m->groups, depth = m->cols / groups;
    const double count = (double)(part.rows * (part.n / m->cols) * depth), share = 1 / count;
    double *mean = found + 2 * groups + 1, *square = mean + groups;
    real *centre = (real *)r->mean;
    memset(r->sum, 0, sizeof(real) * part.n);
    V(gn_add_rows)(r, part, m->width);
    V(gn_fold)(r->sum, part.n, m->cols);
    for (long g = 0; g < groups; g++) {
        const real near = (real)(V(gn_sum)(r->sum + g * depth, depth) * share);
        mean[g] = (double)near;
        for (long c = g * depth; c < (g + 1) * depth; c++)
            centre[c] = near;
    }
    V(gn_repeat)(centre, part.n, m->cols);
    memset(r->sum, 0, sizeof(real) * part.n);
    memset(r->product, 0, sizeof(real) * part.n);
    V(gn_square_rows)(r, part, m->width);
    V(gn_fold)(r->sum, part.n, m->cols);
    V(gn_fold)(r->product, part.n, m->cols);
    for (long g = 0; g < groups; g++) {
        const double more = V(gn_sum)(r->sum + g * depth, depth) * share;
        const double squares = V(gn_sum)(r->product + g * depth, depth) - count * more * more;
        mean[g] += more;
        square[g] = squares < 0 ? 0 : squares;
    }
    dl_gn_join(found, mean, groups, count);
}

/* For each column of a wide row: the mean of its group, scale = rstd weight, shift = bias - rest scale, where rest is
   what the mean has more than its first part. */
static void V(gn_means)(const dl_group_norm *m, long job, long image) {
    const long depth = m->cols / m->groups;
    const real *weight = (const real *)m->weight, *bias = (const real *)m->bias;
    real *mean = ROOM(DL_GN_MEAN), *scale = ROOM(DL_GN_SCALE), *shift = ROOM(DL_GN_SHIFT);
    for (long g = 0; g < m->groups; g++) {
        const double exact = m->mean[image * m->groups + g];
        const real most = (real)exact, rest = (real)(exact - (double)most);
        const real rstd = ((const real *)m->rstd)[image * m->groups + g];
        for (long c = g * depth; c < (g + 1) * depth; c++) {
            mean[c] = most;
            scale[c] = weight ? rstd * weight[c] : rstd;
            shift[c] = (bias ? bias[c] : 0) - rest * scale[c];
        }
    }
    for (int row = DL_GN_MEAN; row <= DL_GN_SHIFT; row++)
        V(gn_repeat)(ROOM(row), m->width, m->cols);
}

/* Job: the moments of some images, and y where they are whole; or of a chunk. */
static void V(gn_moments_job)(void *ctx, long job, long worker) {
    const dl_group_norm *m = (const dl_group_norm *)ctx;
    double *found = FOUND;
    EACH_IMAGE {
        const V(gn_rows) rows = V(gn_tables)(m, job, offset);
        memset(found, 0, sizeof(double) * (2 * m->groups + 1));
        EACH_BLOCK(part) V(gn_moments)(m, &rows, part, found);
        if (m->chunks > 1) {
            memcpy(m->partial + job * (2 * m->groups + 1), found, sizeof(double) * (2 * m->groups + 1));
            continue;
        }
        dl_gn_settle(m, image, found);
        V(gn_means)(m, job, image);
        EACH_BLOCK(part) V(gn_scale_rows)(&rows, part, m->width);
    }
    (void)worker;
}
/* Job: y of a chunk. */
static void V(gn_apply_job)(void *ctx, long job, long worker) {
    const dl_group_norm *m = (const dl_group_norm *)ctx;
    EACH_IMAGE {
        const V(gn_rows) rows = V(gn_tables)(m, job, offset);
        V(gn_means)(m, job, image);
        EACH_BLOCK(part) V(gn_scale_rows)(&rows, part, m->width);
    }
    (void)worker;
}

/* Adds the sums of dy and of dy (x - mean) of a chunk to `sums` (2, C). */
static void V(gn_sums)(const dl_group_norm *m, const V(gn_rows) * r, long chunk, long image, double *DL_R sums) {
    const long cols = m->cols, depth = cols / m->groups;
    const real *sum = r->sum, *product = r->product;
    EACH_BLOCK(part) {
        memset(r->sum, 0, sizeof(real) * part.n);
        memset(r->product, 0, sizeof(real) * part.n);
        V(gn_product_rows)(r, part, m->width);
        V(gn_fold)(r->sum, part.n, cols);
        V(gn_fold)(r->product, part.n, cols);
        for (long c = 0; c < cols; c++) {
            sums[c] += (double)sum[c];
            sums[cols + c] += (double)product[c];
        }
    }
    for (long g = 0; g < m->groups; g++) { /* what the mean has more than its first part */
        const double rest = m->mean[image * m->groups + g] - (double)r->mean[g * depth];
        for (long c = g * depth; c < (g + 1) * depth; c++)
            sums[cols + c] -= rest * sums[c];
    }
}

/* dx of a chunk: scale = rstd weight, slope = rstd^2 mean of g u, shift = rstd mean of g - rest slope, from the sums of
   the image. */
static void V(gn_back)(const dl_group_norm *m, const V(gn_rows) * r, long image, long chunk, const double *sums) {
    const long depth = m->cols / m->groups;
    const double share = 1 / (double)(m->pixels * depth);
    const real *weight = (const real *)m->weight;
    real *shift = (real *)r->shift, *slope = (real *)r->slope;
    for (long g = 0; g < m->groups; g++) {
        const double rstd = (double)((const real *)m->rstd)[image * m->groups + g];
        const double rest = m->mean[image * m->groups + g] - (double)r->mean[g * depth];
        double sum = 0, product = 0;
        for (long c = g * depth; c < (g + 1) * depth; c++) {
            sum += sums[c] * (weight ? (double)weight[c] : 1);
            product += sums[m->cols + c] * (weight ? (double)weight[c] : 1);
        }
        product *= rstd * rstd * rstd * share;
        for (long c = g * depth; c < (g + 1) * depth; c++) {
            slope[c] = (real)product;
            shift[c] = (real)(rstd * sum * share - rest * product);
        }
    }
    V(gn_repeat)(shift, m->width, m->cols);
    V(gn_repeat)(slope, m->width, m->cols);
    EACH_BLOCK(part) V(gn_slope_rows)(r, part, m->width);
}

/* Job: the sums of some images, and dx where they are whole; or of a chunk. */
static void V(gn_sums_job)(void *ctx, long job, long worker) {
    const dl_group_norm *m = (const dl_group_norm *)ctx;
    double *of_job = m->job_sums + job * 2 * m->cols;
    memset(of_job, 0, sizeof(double) * 2 * m->cols);
    EACH_IMAGE {
        const V(gn_rows) rows = V(gn_tables)(m, job, offset);
        double *sums = m->chunks == 1 ? FOUND : m->partial + job * 2 * m->cols;
        memset(sums, 0, sizeof(double) * 2 * m->cols);
        V(gn_means)(m, job, image);
        V(gn_sums)(m, &rows, chunk, image, sums);
        if (m->chunks > 1) continue;
        dl_gn_add(m, image, sums, of_job);
        if (m->out) V(gn_back)(m, &rows, image, 0, sums);
    }
    (void)worker;
}
/* Job: dx of a chunk. */
static void V(gn_back_job)(void *ctx, long job, long worker) {
    const dl_group_norm *m = (const dl_group_norm *)ctx;
    const double *of_images = m->partial + m->n * m->chunks * DL_GN_FOUND(m);
    EACH_IMAGE {
        const V(gn_rows) rows = V(gn_tables)(m, job, offset);
        V(gn_means)(m, job, image);
        V(gn_back)(m, &rows, image, chunk, of_images + image * 2 * m->cols);
    }
    (void)worker;
}
#undef V
#undef C
#undef ROOM
#undef FOUND
#undef EACH_IMAGE
#undef EACH_BLOCK
#undef GN_COLUMNS
#undef GN_LOOP
