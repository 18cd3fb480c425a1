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

/* Job: the rows of dx under rows (image, p) of windows that lie side by side, and what is left below and beside them.
 */
static void DL_FN(max_tiled_job)(void *ctx, long job, long worker) {
    const dl_pool *v = (const dl_pool *)ctx;
    const long right = v->cols_of[v->q - 1].start + v->s, below = v->rows_of[v->p - 1].start + v->r;
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->p); row++) {
        const dl_span *r = v->rows_of + row % v->p;
        real *image = (real *)v->out + row / v->p * v->h * v->w * v->c;
        for (long q = 0; q < v->q; q++) {
            const dl_span *s = v->cols_of + q;
            DL_FN(max_spread)(v, image + (r->start * v->w + s->start) * v->c, r, s, (row * v->q + q) * v->c);
        }
        for (long h = r->start + r->begin; right < v->w && h < r->start + r->end; h++)
            memset(image + (h * v->w + right) * v->c, 0, sizeof(real) * (v->w - right) * v->c);
        if (row % v->p == v->p - 1 && below < v->h)
            memset(image + below * v->w * v->c, 0, sizeof(real) * (v->h - below) * v->w * v->c);
    }
    (void)worker;
}

/* Channels c.. c+LANES of a row's pixels are written from left to right: what a register holds beyond a pixel's last
   channel lands on the next pixel, which is written after it; DL_STORE leaves out what lies beyond the row.  With a
   register or more of channels the last one ends with the last channel instead. */
#define EACH_REGISTER(c, channels) \
    for (long block = 0, c; c = dl_max(0, dl_min(block, channels - LANES)), block < channels; block += LANES)

/* Job: rows (image, p) of window means. */
static void DL_FN(avg_forward_job)(void *ctx, long job, long worker) {
    const dl_pool *v = (const dl_pool *)ctx;
    const long width = v->w * v->c;
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->p); row++) {
        const dl_span *r = v->rows_of + row % v->p;
        const real *top = (const real *)v->in + (row / v->p * v->h + r->start + r->begin) * width;
        real *out = (real *)v->out + row * v->q * v->c;
        for (long q = 0; q < v->q; q++) {
            const dl_span *s = v->cols_of + q;
            const vec divisor = DL_FN(vsplat)((real)(r->counted * s->counted));
            EACH_REGISTER(c, v->c) {
                vec sum = DL_FN(vsplat)(0);
                for (long i = 0; i < r->end - r->begin; i++)
                    for (long j = s->begin; j < s->end; j++)
                        sum += DL_LOAD(top + i * width, (s->start + j) * v->c + c, width, 0);
                DL_STORE(out, q * v->c + c, v->q * v->c, sum / divisor);
            }
        }
    }
    (void)worker;
}

/* Job: the rows of dx under rows (image, p) of windows that lie side by side, and what is left below and beside them. */
static void DL_FN(avg_tiled_job)(void *ctx, long job, long worker) {
    const dl_pool *v = (const dl_pool *)ctx;
    const long width = v->w * v->c, right = dl_min(v->w, v->cols_of[v->q - 1].start + v->s) * v->c,
               below = v->rows_of[v->p - 1].start + v->r;
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->p); row++) {
        const dl_span *r = v->rows_of + row % v->p;
        real *image = (real *)v->out + row / v->p * v->h * width;
        const real *dy = (const real *)v->in + row * v->q * v->c;
        for (long i = r->begin; i < r->end; i++) {
            real *line = image + (r->start + i) * width;
            for (long q = 0; q < v->q; q++) {
                const dl_span *s = v->cols_of + q;
                const vec divisor = DL_FN(vsplat)((real)(r->counted * s->counted));
                for (long j = s->begin; j < s->end; j++)
                    EACH_REGISTER(c, v->c) {
                        const vec share = DL_LOAD(dy, q * v->c + c, v->q * v->c, 0) / divisor;
                        DL_STORE(line, (s->start + j) * v->c + c, right, share);
                    }
            }
            memset(line + right, 0, sizeof(real) * (width - right));
        }
        if (row % v->p == v->p - 1 && below < v->h)
            memset(image + below * width, 0, sizeof(real) * (v->h - below) * width);
    }
    (void)worker;
}
#undef EACH_REGISTER

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
