/* The jobs of resize.h. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))

/* y = (1 - share) a + share b, or a where share is 0. */
DL_INLINE void V(blend)(real *DL_R y, const real *a, const real *b, real share, long n) {
    if (share == 0) {
        memcpy(y, a, sizeof(real) * n);
        return;
    }
    const real rest = 1 - share;
    long c = 0;
    for (; c + LANES <= n; c += LANES)
        V(vstore)(y + c, C(rest) * V(vload)(a + c) + C(share) * V(vload)(b + c));
    for (; c < n; c++)
        y[c] = rest * a[c] + share * b[c];
}
/* y += share x. */
DL_INLINE void V(add_share)(real *DL_R y, const real *DL_R x, real share, long n) {
    long c = 0;
    for (; c + LANES <= n; c += LANES)
        V(vstore)(y + c, V(vload)(y + c) + C(share) * V(vload)(x + c));
    for (; c < n; c++)
        y[c] += share * x[c];
}

/* Pixels of a row: those of a line that `across` says; channels: C, known to the compiler where few. */
DL_INLINE void V(blend_pixels)(const dl_resize *m, const real *line, real *y, const long channels) {
    for (long q = 0; q < m->q; q++, y += channels) {
        const real *low = line + m->across.low[q] * channels, *high = line + m->across.high[q] * channels;
        const real share = (real)m->across.share[q], rest = 1 - share;
        if (channels > 4)
            V(blend)(y, low, high, share, channels);
        else
            for (long c = 0; c < channels; c++)
                y[c] = share == 0 ? low[c] : rest * low[c] + share * high[c];
    }
}
static void V(blend_row)(const dl_resize *m, const real *line, real *y) {
    switch (m->c) {
    case 1: V(blend_pixels)(m, line, y, 1); break;
    case 2: V(blend_pixels)(m, line, y, 2); break;
    case 3: V(blend_pixels)(m, line, y, 3); break;
    case 4: V(blend_pixels)(m, line, y, 4); break;
    default: V(blend_pixels)(m, line, y, m->c);
    }
}

/* The columns of two rows that `across` reads, blended into a line; neighbours, as nearly all are, together. */
static void V(blend_line)(const dl_resize *m, const real *a, const real *b, real share, real *line) {
    if (2 * m->q >= m->w) {
        V(blend)(line, a, b, share, m->w * m->c);
        return;
    }
    for (long q = 0, done = 0; q < m->q; q++) {
        const long from = dl_max(done, m->across.low[q]), to = m->across.high[q] + 1;
        if (to > from) V(blend)(line + from * m->c, a + from * m->c, b + from * m->c, share, (to - from) * m->c);
        done = dl_max(done, to);
    }
}

/* Job: rows of y. */
static void V(blend_job)(void *ctx, long job, long worker) {
    const dl_resize *m = (const dl_resize *)ctx;
    const long first = job * m->rows, width = m->w * m->c, size = m->q * m->c;
    real *line = (real *)m->lines + job * width;
    for (long row = first; row < dl_min(first + m->rows, m->n * m->p); row++) {
        const long p = row % m->p;
        const real *x = (const real *)m->in + row / m->p * m->h * width, *a = x + m->down.low[p] * width;
        const real share = (real)m->down.share[p];
        real *y = (real *)m->out + row * size;
        if (p && row > first && share == 0 && m->down.share[p - 1] == 0 && m->down.low[p] == m->down.low[p - 1]) {
            memcpy(y, y - size, sizeof(real) * size);
            continue;
        }
        if (share != 0) V(blend_line)(m, a, x + m->down.high[p] * width, share, line);
        V(blend_row)(m, share == 0 ? a : line, y);
    }
    (void)worker;
}

/* A row of dy, gathered into a line by the pixels that it was made of. */
DL_INLINE void V(gather_pixels)(const dl_resize *m, const real *dy, real *line, const long channels) {
    for (long q = 0; q < m->q; q++, dy += channels) {
        const real share = (real)m->across.share[q];
        V(add_share)(line + m->across.low[q] * channels, dy, 1 - share, channels);
        if (share != 0) V(add_share)(line + m->across.high[q] * channels, dy, share, channels);
    }
}
static void V(gather_line)(const dl_resize *m, const real *dy, real *line) {
    memset(line, 0, sizeof(real) * m->w * m->c);
    switch (m->c) {
    case 1: V(gather_pixels)(m, dy, line, 1); break;
    case 2: V(gather_pixels)(m, dy, line, 2); break;
    case 3: V(gather_pixels)(m, dy, line, 3); break;
    case 4: V(gather_pixels)(m, dy, line, 4); break;
    default: V(gather_pixels)(m, dy, line, m->c);
    }
}

/* Rows first..end-1 of the dx of an image. */
static void V(gather_rows)(const dl_resize *m, const real *dy, real *dx, long first, long end, real *line) {
    const long width = m->w * m->c;
    memset(dx + first * width, 0, sizeof(real) * (end - first) * width);
    for (long p = 0; p < m->p && m->down.low[p] < end; p++) {
        const long low = m->down.low[p], high = m->down.high[p];
        const real share = (real)m->down.share[p];
        if (high < first) continue;
        V(gather_line)(m, dy + p * m->q * m->c, line);
        if (low >= first) V(add_share)(dx + low * width, line, 1 - share, width);
        if (share != 0 && high < end) V(add_share)(dx + high * width, line, share, width);
    }
}

/* Job: rows of dx. */
static void V(gather_job)(void *ctx, long job, long worker) {
    const dl_resize *m = (const dl_resize *)ctx;
    const long width = m->w * m->c, behind = dl_min((job + 1) * m->rows, m->n * m->h);
    for (long row = job * m->rows, end; row < behind; row = end) {
        const long image = row / m->h;
        end = dl_min(behind, (image + 1) * m->h);
        V(gather_rows)(m, (const real *)m->in + image * m->p * m->q * m->c, (real *)m->out + image * m->h * width,
                       row - image * m->h, end - image * m->h, (real *)m->lines + job * width);
    }
    (void)worker;
}

/* The largest of a bin's cells in up to LANES channels, the first of equals, and which pixel it is; NaN beats all. */
DL_INLINE void V(bin_max)(const dl_resize *m, const real *x, long p, long q, long at, real *y, int32_t *index) {
    const long left = m->across.low[q], n = m->c;
    vec best = V(vload_n)(x + (m->down.low[p] * m->w + left) * n + at, n - at);
    ivec which = V(isplat)((ireal)(m->down.low[p] * m->w + left));
    for (long h = m->down.low[p]; h < m->down.high[p]; h++)
        for (long w = left; w < m->across.high[q]; w++) {
            const vec v = V(vload_n)(x + (h * m->w + w) * n + at, n - at);
            const vmask larger = ~V(vle)(v, best) & V(veq)(best, best); /* NaN is larger too */
            best = V(vsel)(larger, v, best);
            which = V(isel)(larger, V(isplat)((ireal)(h * m->w + w)), which);
        }
    V(vstore_n)(y + at, best, n - at);
    real lanes[LANES];
    V(vstore)(lanes, (vec)which);
    for (long i = 0; i < dl_min(LANES, n - at); i++) {
        ireal number;
        memcpy(&number, lanes + i, sizeof(number));
        index[at + i] = (int32_t)number;
    }
}

/* Job: rows (image, p) of bins. */
static void V(bins_job)(void *ctx, long job, long worker) {
    const dl_resize *m = (const dl_resize *)ctx;
    for (long row = job * m->rows; row < dl_min((job + 1) * m->rows, m->n * m->p); row++)
        for (long q = 0; q < m->q; q++) {
            const long to = (row * m->q + q) * m->c;
            const real *x = (const real *)m->in + row / m->p * m->h * m->w * m->c;
            for (long c = 0; c < m->c; c += LANES)
                V(bin_max)(m, x, row % m->p, q, c, (real *)m->out + to, m->index + to);
        }
    (void)worker;
}

/* Job: some channels of dx in one image. */
static void V(bins_back_job)(void *ctx, long job, long worker) {
    const dl_resize *m = (const dl_resize *)ctx;
    const long parts = dl_ceil_div(m->c, DL_RESIZE_CHANNELS), image = job / parts;
    const long first = job % parts * DL_RESIZE_CHANNELS, end = dl_min(first + DL_RESIZE_CHANNELS, m->c);
    real *dx = (real *)m->out + image * m->h * m->w * m->c;
    for (long pixel = 0; pixel < m->h * m->w; pixel++)
        memset(dx + pixel * m->c + first, 0, sizeof(real) * (end - first));
    for (long bin = image * m->p * m->q; bin < (image + 1) * m->p * m->q; bin++)
        for (long c = first; c < end; c++)
            dx[m->index[bin * m->c + c] * m->c + c] += ((const real *)m->in)[bin * m->c + c];
    (void)worker;
}
#undef V
#undef C
