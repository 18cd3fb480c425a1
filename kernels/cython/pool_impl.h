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

/* How many windows of a row, from the left, may be read and written in whole registers: what goes beyond a pixel then
   lies in the same row of the image and of the output, where the next pixel overwrites it. */
DL_INLINE long DL_FN(roomy_columns)(const dl_pool *v) {
    const long more = dl_round_up(v->c, LANES) - v->c;
    long q = v->q;
    for (; q > 0 && more; q--) {
        const dl_span *s = v->cols_of + q - 1;
        if (more <= (v->q - q) * v->c && more <= (v->w - s->start - s->end) * v->c) break;
    }
    return q;
}

/* The cells of a window, and 1 / cells, which is as a rule that of the window before. */
DL_INLINE void DL_FN(count_cells)(const dl_span *r, const dl_span *s, long *cells, real *share) {
    if (r->counted * s->counted == *cells) return;
    *cells = r->counted * s->counted;
    *share = 1 / (real)*cells;
}

/* The mean of rows x cols cells; cell: the first of them. */
DL_INLINE vec DL_FN(avg_cells)(const dl_pool *v, const real *cell, const long rows, const long cols, real share) {
    vec sum = DL_FN(vsplat)(0);
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < cols; j++)
            sum += DL_FN(vload)(cell + (i * v->w + j) * v->c);
    return sum * DL_FN(vsplat)(share);
}

/* The mean of a window: cell, its first one in the image; share, 1 / cells; registers up to channel `whole`. */
DL_INLINE void DL_FN(avg_window)(const dl_pool *v, const real *cell, long rows, long cols, real share, long whole,
                                 real *out) {
    long c = 0;
    for (; c < whole; c += LANES)
        DL_FN(vstore)(out + c, rows == 2 && cols == 2 ? DL_FN(avg_cells)(v, cell + c, 2, 2, share)
                                                      : DL_FN(avg_cells)(v, cell + c, rows, cols, share));
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
    const long roomy = DL_FN(roomy_columns)(v);
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->p); row++) {
        const dl_span *r = v->rows_of + row % v->p;
        const real *line = (const real *)v->in + (row / v->p * v->h + r->start + r->begin) * v->w * v->c;
        real *out = (real *)v->out + row * v->q * v->c, share = 0;
        for (long q = 0, cells = -1; q < v->q; q++, out += v->c) {
            const dl_span *s = v->cols_of + q;
            DL_FN(count_cells)(r, s, &cells, &share);
            DL_FN(avg_window)(v, line + (s->start + s->begin) * v->c, r->end - r->begin, s->end - s->begin, share,
                              q < roomy ? v->c : v->c / LANES * LANES, out);
        }
    }
    (void)worker;
}

/* Writes one register to rows x cols pixels, `width` and c numbers apart. */
DL_INLINE void DL_FN(spread_share)(real *to, const long rows, const long cols, long width, long c, vec share) {
    for (long j = 0; j < cols; j++)
        for (long i = 0; i < rows; i++)
            DL_FN(vstore)(to + i * width + j * c, share);
}

/* dx = dy / cells of a row of windows, where no other window reads its pixels: dx, the first row; dy, the first window.
   Registers that are stored whole go from left to right in each row. */
DL_INLINE void DL_FN(avg_spread)(const dl_pool *v, real *dx, const dl_span *r, const real *dy, long roomy) {
    const long width = v->w * v->c, rows = r->end - r->begin;
    real share = 0;
    for (long q = 0, cells = -1; q < v->q; q++, dy += v->c) {
        const dl_span *s = v->cols_of + q;
        const long whole = q < roomy ? v->c : v->c / LANES * LANES, cols = s->end - s->begin;
        real *to = dx + (s->start + s->begin) * v->c;
        DL_FN(count_cells)(r, s, &cells, &share);
        const vec shares = DL_FN(vsplat)(share);
        if (v->c <= LANES && whole == v->c && rows == 2 && cols == 2) {
            DL_FN(spread_share)(to, 2, 2, width, v->c, DL_FN(vload)(dy) * shares);
            continue;
        }
        for (long j = 0; j < cols; j++, to += v->c) {
            long c = 0;
            for (; c < whole; c += LANES)
                DL_FN(spread_share)(to + c, rows, 1, width, 0, DL_FN(vload)(dy + c) * shares);
            for (; c < v->c; c++)
                for (long i = 0; i < rows; i++)
                    to[i * width + c] = dy[c] * share;
        }
    }
}

/* Job: the rows of dx under rows (image, p) of windows that lie side by side, and what is left below and beside them. */
DL_INLINE void DL_FN(tiled_rows)(const dl_pool *shared, long job, const int max) {
    const dl_pool plan = *shared, *v = &plan;
    const long right = v->cols_of[v->q - 1].start + v->s, below = v->rows_of[v->p - 1].start + v->r;
    const long roomy = max ? 0 : DL_FN(roomy_columns)(v), width = v->w * v->c;
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->p); row++) {
        const dl_span *r = v->rows_of + row % v->p;
        real *image = (real *)v->out + row / v->p * v->h * width, *top = image + (r->start + r->begin) * width;
        for (long q = 0; max && q < v->q; q++) {
            const dl_span *s = v->cols_of + q;
            DL_FN(max_spread)(v, image + (r->start * v->w + s->start) * v->c, r, s, (row * v->q + q) * v->c);
        }
        if (!max) DL_FN(avg_spread)(v, top, r, (const real *)v->in + row * v->q * v->c, roomy);
        for (long i = 0; right < v->w && i < r->end - r->begin; i++)
            memset(top + i * width + right * v->c, 0, sizeof(real) * (v->w - right) * v->c);
        if (row % v->p == v->p - 1 && below < v->h)
            memset(image + below * width, 0, sizeof(real) * (v->h - below) * width);
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
