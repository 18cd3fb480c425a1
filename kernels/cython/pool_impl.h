/* The jobs of pool.h. */

/* Window positions are as wide as `real` in registers, and uint8 or int32 in the index array. */
#if DL_VECTORS
typedef uint8_t DL_FN(bytes) __attribute__((vector_size(LANES)));
typedef int32_t DL_FN(words) __attribute__((vector_size(LANES * 4)));
#define CONVERT(v, type) __builtin_convertvector(v, type)
#else
typedef uint8_t DL_FN(bytes);
typedef int32_t DL_FN(words);
#define CONVERT(v, type) ((type)(v))
#endif
DL_INLINE void DL_FN(put_index)(void *to, int wide, long at, ivec index) {
    if (wide) {
        const DL_FN(words) words = CONVERT(index, DL_FN(words));
        memcpy((int32_t *)to + at, &words, sizeof words);
    } else {
        const DL_FN(bytes) bytes = CONVERT(index, DL_FN(bytes));
        memcpy((uint8_t *)to + at, &bytes, sizeof bytes);
    }
}
DL_INLINE ivec DL_FN(get_index)(const void *from, int wide, long at) {
    DL_FN(words) words;
    DL_FN(bytes) bytes;
    if (wide) {
        memcpy(&words, (const int32_t *)from + at, sizeof words);
        return CONVERT(words, ivec);
    }
    memcpy(&bytes, (const uint8_t *)from + at, sizeof bytes);
    return CONVERT(bytes, ivec);
}
#undef CONVERT

/* The winner among the window's cells [r0, r1) x [s0, s1) for LANES channels from `cell` on (the window's first pixel).
 */
DL_INLINE void DL_FN(max_window)(const dl_pool *v, const real *cell, const dl_span *r, const dl_span *s, long at) {
    vec best = DL_FN(vsplat)(-(real)INFINITY);
    ivec index = DL_FN(isplat)(0);
    int started = 0;
    for (long i = r->begin; i < r->end; i++)
        for (long j = s->begin; j < s->end; j++) {
            const vec x = DL_FN(vload)(cell + (i * v->dh * v->w + j * v->dw) * v->c);
            const ivec wins =
                started ? (ivec)(x > best) | ((ivec)(x != x) & (ivec)(best == best)) : (ivec)(x == x) | (ivec)(x != x);
            best = DL_FN(vsel)(wins, x, best);
            index = DL_FN(isel)(wins, DL_FN(isplat)((ireal)(i * v->s + j)), index);
            started = 1;
        }
    DL_FN(vstore)((real *)v->out + at, best);
    DL_FN(put_index)(v->index, v->wide_index, at, index);
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

/* Job: rows (image, p) of window means. */
static void DL_FN(avg_forward_job)(void *ctx, long job, long worker) {
    const dl_pool *v = (const dl_pool *)ctx;
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->p); row++) {
        const real *image = (const real *)v->in + row / v->p * v->h * v->w * v->c;
        const dl_span *r = v->rows_of + row % v->p;
        for (long q = 0; q < v->q; q++) {
            const dl_span *s = v->cols_of + q;
            const real divisor = (real)(r->counted * s->counted);
            real *DL_R out = (real *)v->out + (row * v->q + q) * v->c;
            memset(out, 0, sizeof(real) * v->c);
            for (long i = r->begin; i < r->end; i++)
                for (long j = s->begin; j < s->end; j++) {
                    const real *DL_R cell = image + ((r->start + i) * v->w + s->start + j) * v->c;
                    for (long c = 0; c < v->c; c++)
                        out[c] += cell[c];
                }
            for (long c = 0; c < v->c; c++)
                out[c] /= divisor;
        }
    }
    (void)worker;
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
