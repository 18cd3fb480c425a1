/* The jobs of max pooling, see pool.h; dx where windows lie side by side is made in pool_impl.h. */

/* The winners among rows x cols cells `down` and `right` numbers apart, from `cell` on, the first of them number
   `first` of a window whose rows have `width`: whole registers of n channels.  Returns how many channels that are. */
DL_INLINE long DL_FN(max_cells)(const dl_pool *v, const real *cell, const long rows, const long cols, long down,
                                long right, long first, long at) {
    const long width = v->s, n = v->c;
    const int wide = v->wide_index;
    long c = 0;
    for (; c + LANES <= n; c += LANES) {
        vec best = DL_FN(vload)(cell + c);
        ivec index = DL_FN(isplat)((ireal)first);
        for (long i = 0; i < rows; i++)
            for (long j = !i; j < cols; j++)
                DL_FN(keep_larger)(DL_FN(vload)(cell + i * down + j * right + c), (ireal)(first + i * width + j), &best,
                                   &index);
        DL_FN(vstore)((real *)v->out + at + c, best);
        DL_FN(put_index)(v->index, wide, at + c, index);
    }
    return c;
}

/* The winners of the window whose first pixel is `cell`, for the channels that fill registers: how many these are. */
DL_INLINE long DL_FN(max_window)(const dl_pool *v, const real *cell, const dl_span *r, const dl_span *s, long at) {
    const long rows = r->end - r->begin, cols = s->end - s->begin, first = r->begin * v->s + s->begin;
    const long down = v->dh * v->w * v->c, right = v->dw * v->c;
    cell += r->begin * down + s->begin * right;
    if (rows == 2 && cols == 2) return DL_FN(max_cells)(v, cell, 2, 2, down, right, first, at);
    if (rows == 3 && cols == 3) return DL_FN(max_cells)(v, cell, 3, 3, down, right, first, at);
    if (rows > 0 && cols > 0) return DL_FN(max_cells)(v, cell, rows, cols, down, right, first, at);
    return 0;
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
    const dl_pool plan = *(const dl_pool *)ctx, *v = &plan; /* a copy: stores cannot change it */
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->p); row++) {
        const real *image = (const real *)v->in + row / v->p * v->h * v->w * v->c;
        const dl_span *r = v->rows_of + row % v->p;
        for (long q = 0; q < v->q; q++) {
            const dl_span *s = v->cols_of + q;
            const real *cell = image + (r->start * v->w + s->start) * v->c;
            const long at = (row * v->q + q) * v->c;
            for (long c = DL_FN(max_window)(v, cell, r, s, at); c < v->c; c++)
                DL_FN(max_window_1)(v, cell + c, r, s, at + c);
        }
    }
    (void)worker;
}

/* dx (+)= the sum of dy over the claims whose window the pixel won, for n channels. */
DL_INLINE void DL_FN(max_claims)(const dl_pool *v, real *DL_R dx, const dl_claim *claims, const int count, const int wide,
                                 int add) {
    const vec zero = DL_FN(vsplat)(0);
    const real *dy[DL_CLAIMS];
    const void *index[DL_CLAIMS];
    ivec cell[DL_CLAIMS];
    for (int i = 0; i < count; i++) {
        dy[i] = (const real *)claims[i].dy;
        index[i] = claims[i].index;
        cell[i] = DL_FN(isplat)((ireal)claims[i].cell);
    }
    long c = 0;
    for (; c + LANES <= v->c; c += LANES) {
        vec sum = add ? DL_FN(vload)(dx + c) : zero;
        for (int i = 0; i < count; i++) {
            const ivec won = DL_FN(get_index)(index[i], wide, c) == cell[i];
            sum += DL_FN(vsel)(won, DL_FN(vload)(dy[i] + c), zero);
        }
        if (v->stream)
            DL_FN(vstream)(dx + c, sum);
        else
            DL_FN(vstore)(dx + c, sum);
    }
    for (; c < v->c; c++) {
        real sum = add ? dx[c] : 0;
        for (int i = 0; i < count; i++) {
            const long winner = wide ? ((const int32_t *)index[i])[c] : ((const uint8_t *)index[i])[c];
            sum += winner == claims[i].cell ? dy[i][c] : 0;
        }
        dx[c] = sum;
    }
}
static void DL_FN(max_gather)(const dl_pool *v, real *dx, const dl_claim *claims, int count, int add) {
    if (v->wide_index)
        DL_FN(max_claims)(v, dx, claims, count, 1, add);
    else if (count == 1 && !add)
        DL_FN(max_claims)(v, dx, claims, 1, 0, 0);
    else if (count == 2 && !add)
        DL_FN(max_claims)(v, dx, claims, 2, 0, 0);
    else if (count == DL_CLAIMS && !add)
        DL_FN(max_claims)(v, dx, claims, DL_CLAIMS, 0, 0);
    else
        DL_FN(max_claims)(v, dx, claims, count, 0, add);
}

/* dx of one pixel: the windows that it lies in, last cell first, are in the order of the windows. */
static void DL_FN(max_pixel)(const dl_pool *v, real *dx, const long *row_windows, const long *col_windows, long image) {
    const size_t item = v->wide_index ? sizeof(int32_t) : sizeof(uint8_t);
    dl_claim claims[DL_CLAIMS];
    int count = 0, add = 0;
    for (long r = v->r - 1; r >= 0; r--) {
        if (row_windows[r] < 0) continue;
        for (long s = v->s - 1; s >= 0; s--) {
            if (col_windows[s] < 0) continue;
            if (count == DL_CLAIMS) {
                DL_FN(max_gather)(v, dx, claims, count, add);
                count = 0;
                add = 1;
            }
            const long at = ((image * v->p + row_windows[r]) * v->q + col_windows[s]) * v->c;
            claims[count++] =
                (dl_claim){(const real *)v->in + at, (const char *)v->index + item * at, r * v->s + s};
        }
    }
    DL_FN(max_gather)(v, dx, claims, count, add);
}

/* The windows along one axis that a pixel lies in, last cell first: `to` gets each one's number times `step`, as `at`,
   and its cell there times `width`.  Returns how many they are, or -1 for more than DL_CLAIMS. */
DL_INLINE int DL_FN(axis_claims)(const long *windows, long kernel, long step, long width, dl_axis_claim *to) {
    int count = 0;
    for (long r = kernel - 1; r >= 0; r--) {
        if (windows[r] < 0) continue;
        if (count == DL_CLAIMS) return -1;
        to[count++] = (dl_axis_claim){windows[r] * step, r * width};
    }
    return count;
}

/* Job: rows (image, h) of dx.  What the pixels of a row have in common is looked up once. */
static void DL_FN(max_backward_job)(void *ctx, long job, long worker) {
    const dl_pool plan = *(const dl_pool *)ctx, *v = &plan;
    const size_t item = v->wide_index ? sizeof(int32_t) : sizeof(uint8_t);
    dl_axis_claim down[DL_CLAIMS], right[DL_CLAIMS];
    dl_claim claims[DL_CLAIMS];
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->h); row++) {
        const long image = row / v->h, *row_windows = v->row_windows + row % v->h * v->r;
        const int rows = DL_FN(axis_claims)(row_windows, v->r, v->q * v->c, v->s, down);
        real *dx = (real *)v->out + row * v->w * v->c;
        for (long w = 0; w < v->w; w++, dx += v->c) {
            const int cols = DL_FN(axis_claims)(v->col_windows + w * v->s, v->s, v->c, 1, right);
            if (rows < 0 || cols < 0 || rows * cols > DL_CLAIMS) {
                DL_FN(max_pixel)(v, dx, row_windows, v->col_windows + w * v->s, image);
                continue;
            }
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < cols; j++) {
                    const long at = image * v->p * v->q * v->c + down[i].at + right[j].at;
                    claims[i * cols + j] = (dl_claim){(const real *)v->in + at, (const char *)v->index + item * at,
                                                      down[i].cell + right[j].cell};
                }
            DL_FN(max_gather)(v, dx, claims, rows * cols, 0);
        }
    }
    if (v->stream) dl_fence();
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
