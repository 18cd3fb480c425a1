/* The forward jobs of lines.h. */

/* Job: the weights, tap by tap, 0 for channels that a tile has beyond K. */
static void DL_FN(lines_pack_job)(void *ctx, long job, long worker) {
    const dl_lines *d = (const dl_lines *)ctx;
    real *to = (real *)d->packed;
    for (long t = 0; t < d->taps; t++)
        for (long k = 0; k < d->height; k++)
            *to++ = k < d->v->k ? ((const real *)d->weight)[k * d->taps + t] : 0;
    (void)job, (void)worker;
}

/* out (rows, C, width): the image rows, with their padding, that `rows` output rows from p on read. */
DL_NOINLINE void DL_FN(fetch_lines)(const dl_lines *d, long image, long p, long rows, real *out) {
    const dl_conv *v = d->v;
    const long height = dl_rows_read(v, rows), left = dl_min(v->left, d->width);
    const long begin = dl_max(-v->left, 0), count = dl_max(0, dl_min(v->w - begin, d->width - left));
    memset(out, 0, sizeof(real) * height * v->c * d->width);
    for (long i = 0, h = p * v->sh - v->top; i < height; i++, h++)
        for (long c = 0; h >= 0 && h < v->h && c < v->c; c++) {
            const real *from = (const real *)d->x + ((image * v->h + h) * v->w + begin) * v->c + c;
            real *to = out + (i * v->c + c) * d->width + left;
            if (v->c == 1) DL_FN(copy_run)(to, from, count);
            for (long w = 0; v->c > 1 && w < count; w++)
                to[w] = from[w * v->c];
        }
}

/* z of `height` channels of `across` registers of pixels that begin at x[...] in the lines and at to[...] in a. */
DL_INLINE void DL_FN(lines_tile)(const int height, const int across, const dl_lines *d, const real *const *x,
                                 real *const *to) {
    const long taps = d->taps, q = d->v->q, k = d->v->k, *offset = d->offset;
    const real *w = (const real *)d->packed, *bias = (const real *)d->bias;
    const real *from[4];
    vec acc[DL_LINES_HIGH][4];
    DL_UNROLL for (int j = 0; j < across; j++) from[j] = x[j];
    DL_UNROLL for (int i = 0; i < height; i++) DL_UNROLL for (int j = 0; j < across; j++) acc[i][j] = DL_FN(vsplat)(0);
    for (long t = 0; t < taps; t++, w += height) {
        const long at = offset[t];
        vec pixels[4];
        DL_UNROLL for (int j = 0; j < across; j++) pixels[j] = DL_FN(vload)(from[j] + at);
        DL_UNROLL for (int i = 0; i < height; i++) {
            const vec weight = DL_FN(vsplat)(w[i]);
            DL_UNROLL for (int j = 0; j < across; j++) acc[i][j] += pixels[j] * weight;
        }
    }
    DL_UNROLL for (int i = 0; i < height; i++) {
        if (i == k) return;
        const vec more = DL_FN(vsplat)(bias ? bias[i] : 0);
        DL_UNROLL for (int j = 0; j < across; j++)
            DL_FN(vstore)(to[j] + i * q, bias ? acc[i][j] + more : acc[i][j]);
    }
}
DL_NOINLINE void DL_FN(lines_tile_high)(const dl_lines *d, const real *const *x, real *const *to) {
    DL_FN(lines_tile)(DL_LINES_HIGH, 2, d, x, to);
}
DL_NOINLINE void DL_FN(lines_tile_low)(const dl_lines *d, const real *const *x, real *const *to) {
    DL_FN(lines_tile)(DL_LINES_LOW, 4, d, x, to);
}

/* z (rows, K, Q) from the lines of the image, register by register; the last tile of all repeats its last register. */
static void DL_FN(lines_block)(const dl_lines *d, const real *image, long rows, real *z) {
    const long q = d->v->q, down = d->v->sh * d->v->c * d->width, items = rows * d->vectors;
    for (long item = 0, row = 0, at = 0; item < items;) {
        const real *x[4];
        real *to[4];
        for (long j = 0; j < d->across; j++) {
            const long first = dl_min(at, q - LANES);
            x[j] = image + row * down + first;
            to[j] = z + row * d->v->k * q + first;
            if (++item >= items) continue;
            at += LANES;
            if (at >= q) at = 0, row++;
        }
        (d->height == DL_LINES_HIGH ? DL_FN(lines_tile_high) : DL_FN(lines_tile_low))(d, x, to);
    }
}

/* y (Q/2, K) of a row of windows, a (2, K, Q).  Sums are those of avg_pool2d: of columns, then of the two.  What is
   stored may spill into the next window, but not beyond the row. */
DL_NOINLINE void DL_FN(lines_means)(const dl_lines *d, const real *a, real *y) {
    const long q = d->v->q, k = d->v->k, windows = q / 2;
#if DL_VECTORS
    for (long c = (k - 1) / LANES * LANES; c >= 0; c -= LANES)
        for (long at = 0; at < windows; at += LANES / 2) {
            const long first = dl_min(at, windows - LANES / 2);
            const real *upper = a + c * q + 2 * first;
            vec pixel[LANES];
            DL_UNROLL for (int i = 0; i < LANES; i++) pixel[i] =
                c + i < k ? DL_FN(vload)(upper + i * q) + DL_FN(vload)(upper + (k + i) * q) : DL_FN(vsplat)(0);
            DL_FN(transpose)(pixel);
            DL_UNROLL for (int i = 0; i < LANES / 2; i++) {
                const vec mean = (pixel[2 * i] + pixel[2 * i + 1]) * (real)0.25;
                DL_FN(vstore_n)(y + (first + i) * k + c, mean, (windows - first - i) * k - c);
            }
        }
#else
    for (long w = 0; w < windows; w++)
        for (long i = 0; i < k; i++) {
            const real *upper = a + i * q + 2 * w, *lower = upper + k * q;
            y[w * k + i] = ((upper[0] + lower[0]) + (upper[1] + lower[1])) * (real)0.25;
        }
#endif
}

/* Job: some rows of one image. */
static void DL_FN(lines_job)(void *ctx, long job, long worker) {
    const dl_lines *d = (const dl_lines *)ctx;
    const dl_conv *v = d->v;
    const long image = job / d->blocks, first = job % d->blocks * d->rows, rows = dl_min(d->rows, v->p - first);
    const long row = v->k * v->q, held = dl_rows_read(v, rows) * v->c * d->width;
    real *in = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (held + LANES));
    if (!in) return;
    real *a = (real *)d->pixels + (image * v->p + first) * row;
    real *y = (real *)d->out + (image * (v->p / 2) + first / 2) * (v->q / 2) * v->k;
    DL_FN(fetch_lines)(d, image, first, rows, in);
    DL_FN(lines_block)(d, in, rows, a);
    DL_FN(activate_block)(a, 0, 1, v->activation ? rows * row : 0, v->activation);
    for (long p = 0; p + 1 < rows; p += 2, y += v->q / 2 * v->k)
        DL_FN(lines_means)(d, a + p * row, y);
    (void)worker;
}
