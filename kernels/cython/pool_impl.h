/* The jobs of average pooling, see pool.h, and those of both kinds of pooling whose windows lie side by side. */

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

/* The mean of rows x cols cells, summed by columns, as lines.h has it; cell: the first of them. */
DL_INLINE vec DL_FN(avg_cells)(const dl_pool *v, const real *cell, const long rows, const long cols, real share) {
    vec sum = DL_FN(vsplat)(0);
    for (long j = 0; j < cols; j++) {
        vec column = DL_FN(vload)(cell + j * v->c);
        for (long i = 1; i < rows; i++)
            column += DL_FN(vload)(cell + (i * v->w + j) * v->c);
        sum += column;
    }
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
        for (long j = 0; j < cols; j++) {
            real column = cell[j * v->c + c];
            for (long i = 1; i < rows; i++)
                column += cell[(i * v->w + j) * v->c + c];
            sum += column;
        }
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
