/* The jobs of pool.h. */

/* The winner among rows x cols cells from `cell` on, the first of them number `first`, for LANES channels. */
DL_INLINE void DL_FN(max_cells)(const dl_pool *v, const real *cell, const long rows, const long cols, long first,
                                long at) {
    vec best = DL_FN(vload)(cell);
    ivec index = DL_FN(isplat)((ireal)first);
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < cols; j++)
            DL_FN(keep_larger)(DL_FN(vload)(cell + (i * v->dh * v->w + j * v->dw) * v->c),
                               (ireal)(first + i * v->s + j), &best, &index);
    DL_FN(vstore)((real *)v->out + at, best);
    DL_FN(put_index)(v->index, v->wide_index, at, index);
}

/* The winner of the window whose first pixel is `cell`. */
DL_INLINE void DL_FN(max_window)(const dl_pool *v, const real *cell, const dl_span *r, const dl_span *s, long at) {
    const long rows = r->end - r->begin, cols = s->end - s->begin, first = r->begin * v->s + s->begin;
    cell += (r->begin * v->dh * v->w + s->begin * v->dw) * v->c;
    if (rows == 2 && cols == 2)
        DL_FN(max_cells)(v, cell, 2, 2, first, at);
    else if (rows > 0 && cols > 0)
        DL_FN(max_cells)(v, cell, rows, cols, first, at);
    else {
        DL_FN(vstore)((real *)v->out + at, DL_FN(vsplat)(-(real)INFINITY));
        DL_FN(put_index)(v->index, v->wide_index, at, DL_FN(isplat)(0));
    }
}

/* The same for one channel: those that do not fill a register. */
DL_INLINE void DL_FN(max_window_1)(const dl_pool *v, const real *cell, const dl_span *r, const dl_span *s, long at) {
    real best = -(real)INFINITY;
    long index = -1;
    for (long i = r->begin; i < r->end; i++)
        for (long j = s->begin; j < s->end; j++) {
            const real x = cell[(i * v->dh * v->w + j * v->dw) * v->c];
            if (index >= 0 && !(x > best || (x != x && best == best))) continue;
            best = x;
            index = i * v->s + j;
        }
    ((real *)v->out)[at] = best;
    if (v->wide_index)
        ((int32_t *)v->index)[at] = (int32_t)dl_max(index, 0);
    else
        ((uint8_t *)v->index)[at] = (uint8_t)dl_max(index, 0);
}

/* Job: v->rows rows (image, p) of the output. */
static void DL_FN(max_forward_job)(void *ctx, long job, long worker) {
    const dl_pool *v = (const dl_pool *)ctx;
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->p); row++) {
        const real *image = (const real *)v->in + row / v->p * v->h * v->w * v->c;
        const dl_span *r = v->rows_of + row % v->p;
        for (long q = 0; q < v->q; q++) {
            const dl_span *s = v->cols_of + q;
            const real *cell = image + (r->start * v->w + s->start) * v->c;
            const long at = (row * v->q + q) * v->c;
            long c = 0;
            for (; c + LANES <= v->c; c += LANES)
                DL_FN(max_window)(v, cell + c, r, s, at + c);
            for (; c < v->c; c++)
                DL_FN(max_window_1)(v, cell + c, r, s, at + c);
        }
    }
    (void)worker;
}

/* dx = or += dy where index is this cell of the window, for n channels. */
DL_INLINE void DL_FN(max_gain)(real *DL_R dx, const real *DL_R dy, const void *index, const int wide, long n, long cell,
                               int add) {
    const ivec wanted = DL_FN(isplat)((ireal)cell);
    const vec zero = DL_FN(vsplat)(0);
    long c = 0;
    for (; c + LANES <= n; c += LANES) {
        const vec gain = DL_FN(vsel)(DL_FN(get_index)(index, wide, c) == wanted, DL_FN(vload)(dy + c), zero);
        DL_FN(vstore)(dx + c, add ? DL_FN(vload)(dx + c) + gain : gain);
    }
    for (; c < n; c++) {
        const long winner = wide ? ((const int32_t *)index)[c] : ((const uint8_t *)index)[c];
        dx[c] = (add ? dx[c] : 0) + (winner == cell ? dy[c] : 0);
    }
}

/* dx of one pixel: the windows that it lies in, last cell first, are in the order of the windows. */
static void DL_FN(max_pixel)(const dl_pool *v, real *dx, const long *row_windows, const long *col_windows, long image) {
    int add = 0;
    for (long r = v->r - 1; r >= 0; r--) {
        if (row_windows[r] < 0) continue;
        for (long s = v->s - 1; s >= 0; s--) {
            if (col_windows[s] < 0) continue;
            const long at = ((image * v->p + row_windows[r]) * v->q + col_windows[s]) * v->c, cell = r * v->s + s;
            const real *dy = (const real *)v->in + at;
            if (v->wide_index)
                DL_FN(max_gain)(dx, dy, (const int32_t *)v->index + at, 1, v->c, cell, add);
            else
                DL_FN(max_gain)(dx, dy, (const uint8_t *)v->index + at, 0, v->c, cell, add);
            add = 1;
        }
    }
    if (!add) memset(dx, 0, sizeof(real) * v->c);
}

/* Job: rows (image, h) of dx. */
static void DL_FN(max_backward_job)(void *ctx, long job, long worker) {
    const dl_pool *v = (const dl_pool *)ctx;
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->h); row++)
        for (long w = 0; w < v->w; w++)
            DL_FN(max_pixel)(v, (real *)v->out + (row * v->w + w) * v->c, v->row_windows + row % v->h * v->r,
                             v->col_windows + w * v->s, row / v->h);
    (void)worker;
}

/* dx of the cells of one window, where no other window reads them; dx: the window's first pixel. */
DL_INLINE void DL_FN(max_spread)(const dl_pool *v, real *dx, const dl_span *r, const dl_span *s, long at) {
    const real *dy = (const real *)v->in + at;
    const vec zero = DL_FN(vsplat)(0);
    long c = 0;
    for (; c + LANES <= v->c; c += LANES) {
        const ivec winner = DL_FN(get_index)(v->index, v->wide_index, at + c);
        const vec gain = DL_FN(vload)(dy + c);
        for (long i = r->begin; i < r->end; i++)
            for (long j = s->begin; j < s->end; j++) {
                const ivec cell = DL_FN(isplat)((ireal)(i * v->s + j));
                DL_FN(vstore)(dx + (i * v->w + j) * v->c + c, DL_FN(vsel)(winner == cell, gain, zero));
            }
    }
    for (; c < v->c; c++) {
        const long winner = v->wide_index ? ((const int32_t *)v->index)[at + c] : ((const uint8_t *)v->index)[at + c];
        for (long i = r->begin; i < r->end; i++)
            for (long j = s->begin; j < s->end; j++)
                dx[(i * v->w + j) * v->c + c] = winner == i * v->s + j ? dy[c] : 0;
    }
}

/* Whether registers from channel c on may be stored whole for a window of column q: what goes beyond the pixel is
   overwritten by the next one, if that is in the same row of the output and of the image. */
DL_INLINE int DL_FN(has_room)(const dl_pool *v, const dl_span *s, long q, long c) {
    return q * v->c + c + LANES <= v->q * v->c && (s->start + s->end - 1) * v->c + c + LANES <= v->w * v->c;
}

/* The mean of rows x cols cells; cell: the first of them. */
DL_INLINE void DL_FN(avg_cells)(const dl_pool *v, const real *cell, const long rows, const long cols, vec share,
                                real *out) {
    vec sum = DL_FN(vsplat)(0);
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < cols; j++)
            sum += DL_FN(vload)(cell + (i * v->w + j) * v->c);
    DL_FN(vstore)(out, sum * share);
}

/* The mean of the window of column q whose first pixel is `cell`; share: 1 / cells. */
DL_INLINE void DL_FN(avg_window)(const dl_pool *v, const real *cell, const dl_span *r, long q, real share, real *out) {
    const dl_span *s = v->cols_of + q;
    const long rows = r->end - r->begin, cols = s->end - s->begin;
    cell += (r->begin * v->w + s->begin) * v->c;
    long c = 0;
    for (; c < v->c && DL_FN(has_room)(v, s, q, c); c += LANES)
        if (rows == 2 && cols == 2)
            DL_FN(avg_cells)(v, cell + c, 2, 2, DL_FN(vsplat)(share), out + c);
        else
            DL_FN(avg_cells)(v, cell + c, rows, cols, DL_FN(vsplat)(share), out + c);
    for (; c < v->c; c++) {
        real sum = 0;
        for (long i = 0; i < rows; i++)
            for (long j = 0; j < cols; j++)
                sum += cell[(i * v->w + j) * v->c + c];
        out[c] = sum * share;
    }
}

/* Job: rows (image, p) of window means.  A copy of the plan: the compiler must not think that stores change it. */
static void DL_FN(avg_forward_job)(void *ctx, long job, long worker) {
    const dl_pool plan = *(const dl_pool *)ctx, *v = &plan;
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->p); row++) {
        const real *image = (const real *)v->in + row / v->p * v->h * v->w * v->c;
        const dl_span *r = v->rows_of + row % v->p;
        real *out = (real *)v->out + row * v->q * v->c;
        for (long q = 0; q < v->q; q++, out += v->c)
            DL_FN(avg_window)(v, image + (r->start * v->w + v->cols_of[q].start) * v->c, r, q,
                              1 / (real)(r->counted * v->cols_of[q].counted), out);
    }
    (void)worker;
}

/* dx = dy / cells for the cells of one window, where no other window reads them; dx: the window's first pixel. */
DL_INLINE void DL_FN(avg_spread)(const dl_pool *v, real *dx, const dl_span *r, long q, const real *dy) {
    const dl_span *s = v->cols_of + q;
    const real share = 1 / (real)(r->counted * s->counted);
    for (long i = r->begin; i < r->end; i++)
        for (long j = s->begin; j < s->end; j++) {
            real *to = dx + (i * v->w + j) * v->c;
            long c = 0;
            for (; c < v->c && DL_FN(has_room)(v, s, q, c); c += LANES)
                DL_FN(vstore)(to + c, DL_FN(vload)(dy + c) * DL_FN(vsplat)(share));
            for (; c < v->c; c++)
                to[c] = dy[c] * share;
        }
}

/* The rows of dx under rows (image, p) of windows that lie side by side, and what is left below and beside them. */
DL_INLINE void DL_FN(tiled_rows)(const dl_pool *shared, long job, const int max) {
    const dl_pool plan = *shared, *v = &plan;
    const long right = v->cols_of[v->q - 1].start + v->s, below = v->rows_of[v->p - 1].start + v->r;
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->p); row++) {
        const dl_span *r = v->rows_of + row % v->p;
        real *image = (real *)v->out + row / v->p * v->h * v->w * v->c;
        for (long q = 0; q < v->q; q++) {
            const dl_span *s = v->cols_of + q;
            real *dx = image + (r->start * v->w + s->start) * v->c;
            const long at = (row * v->q + q) * v->c;
            if (max)
                DL_FN(max_spread)(v, dx, r, s, at);
            else
                DL_FN(avg_spread)(v, dx, r, q, (const real *)v->in + at);
        }
        for (long h = r->start + r->begin; right < v->w && h < r->start + r->end; h++)
            memset(image + (h * v->w + right) * v->c, 0, sizeof(real) * (v->w - right) * v->c);
        if (row % v->p == v->p - 1 && below < v->h)
            memset(image + below * v->w * v->c, 0, sizeof(real) * (v->h - below) * v->w * v->c);
    }
}
static void DL_FN(max_tiled_job)(void *ctx, long job, long worker) {
    (void)worker;
    DL_FN(tiled_rows)((const dl_pool *)ctx, job, 1);
}
static void DL_FN(avg_tiled_job)(void *ctx, long job, long worker) {
    (void)worker;
    DL_FN(tiled_rows)((const dl_pool *)ctx, job, 0);
}

/* Job: rows (image, h) of dx, the sum of dy / cells over the windows of each pixel. */
static void DL_FN(avg_backward_job)(void *ctx, long job, long worker) {
    const dl_pool *v = (const dl_pool *)ctx;
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->h); row++)
        for (long w = 0; w < v->w; w++) {
            real *DL_R dx = (real *)v->out + (row * v->w + w) * v->c;
            memset(dx, 0, sizeof(real) * v->c);
            for (long r = v->r - 1; r >= 0; r--) {
                const long p = v->row_windows[row % v->h * v->r + r];
                if (p < 0) continue;
                for (long s = v->s - 1; s >= 0; s--) {
                    const long q = v->col_windows[w * v->s + s];
                    if (q < 0) continue;
                    const real divisor = (real)(v->rows_of[p].counted * v->cols_of[q].counted);
                    const real *DL_R dy = (const real *)v->in + ((row / v->h * v->p + p) * v->q + q) * v->c;
                    for (long c = 0; c < v->c; c++)
                        dx[c] += dy[c] / divisor;
                }
            }
        }
    (void)worker;
}
