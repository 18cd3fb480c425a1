/* The backward jobs of pool.h. */

/* What the pixels of a run get from the windows that they lie in: rows x cols claims; `at`, the numbers of dy before
   those of the image's first window. */
typedef struct {
    const dl_claim *rows, *cols;
    long row_count, col_count, at, n;
} DL_FN(claims_run);

/* dx of `registers` registers from number e of a run on; of one register, `count` lanes. */
DL_INLINE void DL_FN(gain_registers)(const dl_pool *v, const DL_FN(claims_run) * run, real *dx, const int registers,
                                     const int largest, const int wide, const int stream, long e, long count) {
    const real *dy = (const real *)v->in;
    vec sum[4];
    DL_UNROLL for (int k = 0; k < registers; k++) sum[k] = DL_FN(vsplat)(0);
    for (long i = 0; i < run->row_count; i++)
        for (long j = 0; j < run->col_count; j++) {
            const dl_claim *row = run->rows + i, *col = run->cols + j;
            const long at = run->at + (row->window * v->q + col->window) * v->c + e;
            if (largest) {
                const ivec cell = DL_FN(isplat)((ireal)(row->cell * v->s + col->cell));
                DL_UNROLL for (int k = 0; k < registers; k++) {
                    const vmask won = DL_FN(ieq)(DL_FN(load_index)(v->index, wide, at + k * LANES, count), cell);
                    const vec g = DL_FN(vheld)(DL_FN(vload_n)(dy + at + k * LANES, count)); /* not by the mask */
                    sum[k] += DL_FN(vkeep)(won, g);
                }
            } else {
                const vec share = DL_FN(vsplat)(1 / (real)(row->counted * col->counted));
                DL_UNROLL for (int k = 0; k < registers; k++)
                    sum[k] += DL_FN(vload_n)(dy + at + k * LANES, count) * share;
            }
        }
    DL_UNROLL for (int k = 0; k < registers; k++)
        if (stream)
            DL_FN(vstream)(dx + e + k * LANES, sum[k]);
        else
            DL_FN(vstore_n)(dx + e + k * LANES, sum[k], count);
}

/* The same of max pooling where `count` claims, known to the compiler, are set out: their numbers of dy, and cells. */
DL_INLINE void DL_FN(gain_known)(const dl_pool *v, const long *at, const ivec *cell, const int count, const int registers,
                                 const int stream, real *dx, long e) {
    vec sum[4];
    DL_UNROLL for (int k = 0; k < registers; k++) sum[k] = DL_FN(vsplat)(0);
    DL_UNROLL for (int i = 0; i < count; i++)
        DL_UNROLL for (int k = 0; k < registers; k++) {
            const long from = at[i] + e + k * LANES;
            const vmask won = DL_FN(ieq)(DL_FN(get_index)(v->index, 0, from), cell[i]);
            const vec g = DL_FN(vheld)(DL_FN(vload)((const real *)v->in + from)); /* a masked load waits for its mask */
            sum[k] += DL_FN(vkeep)(won, g);
        }
    DL_UNROLL for (int k = 0; k < registers; k++)
        if (stream)
            DL_FN(vstream)(dx + e + k * LANES, sum[k]);
        else
            DL_FN(vstore)(dx + e + k * LANES, sum[k]);
}
DL_INLINE void DL_FN(gain_few)(const dl_pool *v, const DL_FN(claims_run) * run, real *dx, const int count,
                               const int stream) {
    const long last = run->n - LANES;
    long at[4], e = 0;
    ivec cell[4];
    for (long i = 0; i < count; i++) {
        const dl_claim *row = run->rows + i / run->col_count, *col = run->cols + i % run->col_count;
        at[i] = run->at + (row->window * v->q + col->window) * v->c;
        cell[i] = DL_FN(isplat)((ireal)(row->cell * v->s + col->cell));
    }
    for (; e <= run->n - 4 * LANES; e += 4 * LANES)
        DL_FN(gain_known)(v, at, cell, count, 4, stream, dx, e);
    for (; e <= last; e += LANES)
        DL_FN(gain_known)(v, at, cell, count, 1, stream, dx, e);
    if (e < run->n) DL_FN(gain_known)(v, at, cell, count, 1, stream, dx, last);
}

/* dx of a run. */
#define RUN(name, largest, wide, stream)                                                                   \
    static void DL_FN(name)(const dl_pool *v, const DL_FN(claims_run) * shared, real *dx) {                \
        const DL_FN(claims_run) run = *shared; /* a copy: stores cannot change it */                       \
        const long last = run.n - LANES, claims = run.row_count * run.col_count;                           \
        long e = 0;                                                                                        \
        if (last < 0) {                                                                                    \
            DL_FN(gain_registers)(v, &run, dx, 1, largest, wide, 0, 0, run.n);                             \
            return;                                                                                        \
        }                                                                                                  \
        if (largest && !wide && (claims == 1 || claims == 2 || claims == 4)) {                             \
            if (claims == 1) DL_FN(gain_few)(v, &run, dx, 1, stream);                                      \
            if (claims == 2) DL_FN(gain_few)(v, &run, dx, 2, stream);                                      \
            if (claims == 4) DL_FN(gain_few)(v, &run, dx, 4, stream);                                      \
            return;                                                                                        \
        }                                                                                                  \
        for (; e <= run.n - 4 * LANES; e += 4 * LANES)                                                     \
            DL_FN(gain_registers)(v, &run, dx, 4, largest, wide, stream, e, LANES);                        \
        for (; e <= last; e += LANES)                                                                      \
            DL_FN(gain_registers)(v, &run, dx, 1, largest, wide, stream, e, LANES);                        \
        if (e < run.n) DL_FN(gain_registers)(v, &run, dx, 1, largest, wide, stream, last, LANES);          \
    }
RUN(max_gains, 1, 0, 0)
RUN(max_gains_streamed, 1, 0, 1)
RUN(max_gains_wide, 1, 1, 0)
RUN(avg_gains, 0, 0, 0)
#undef RUN

/* A row of dx from its phases (phases, wide), which spill into the pixel behind but not beyond the row. */
static void DL_FN(join_phases)(const dl_pool *v, const real *from, real *dx) {
    const long c = v->c, filled = dl_round_up(c, LANES);
    for (long w = 0, phase = 0, at = 0; w < v->w; w++) {
        const real *pixel = from + phase * v->wide + at;
        if ((v->w - w) * c >= filled)
            DL_FN(copy_pixel)(dx + w * c, pixel, c, 1);
        else
            DL_FN(copy_pixel)(dx + w * c, pixel, c, 0);
        if (++phase == v->phases) phase = 0, at += c;
    }
}

/* What the windows of rows `claims` give to the numbers of a row. */
DL_INLINE void DL_FN(gain_row)(const dl_pool *v, const dl_claim *claims, long count, long image, real *to,
                               void (*gains)(const dl_pool *, const DL_FN(claims_run) *, real *)) {
    for (long i = 0; i < v->run_count; i++) {
        const dl_run *along = v->runs + i;
        const long first = v->col_begin[along->first];
        const DL_FN(claims_run) run = {.rows = claims,
                                       .cols = v->col_claims + first,
                                       .row_count = count,
                                       .col_count = v->col_begin[along->first + 1] - first,
                                       .at = image * v->p * v->q * v->c,
                                       .n = along->pixels * v->c};
        gains(v, &run, to + along->at);
    }
}

/* Job: rows (image, h) of dx of max pooling. */
static void DL_FN(max_gather_job)(void *ctx, long job, long worker) {
    const dl_pool plan = *(const dl_pool *)ctx, *v = &plan;
    const long room = v->phases > 1 ? v->phases * v->wide + LANES : 0;
    real *phases = room ? (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * room) : NULL;
    if (room && !phases) return;
    void (*const gains)(const dl_pool *, const DL_FN(claims_run) *, real *) =
        v->wide_index ? DL_FN(max_gains_wide) : v->stream ? DL_FN(max_gains_streamed) : DL_FN(max_gains);
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->h); row++) {
        const long image = row / v->h, h = row % v->h;
        real *dx = (real *)v->out + row * v->w * v->c;
        DL_FN(gain_row)(v, v->row_claims + v->row_begin[h], v->row_begin[h + 1] - v->row_begin[h], image,
                        phases ? phases : dx, gains);
        if (phases) DL_FN(join_phases)(v, phases, dx);
    }
    if (v->stream) dl_fence();
    (void)worker;
}

/* What row p of an image's windows gives to each row of dx below it: by runs, or where those are short by windows. */
static void DL_FN(spread_along)(const dl_pool *v, long image, long p, real *to) {
    const dl_claim row = {p, 0, v->rows_of[p].counted};
    const real *dy = (const real *)v->in + (image * v->p + p) * v->q * v->c;
    if (v->phases > 1 || v->q * v->s * v->c > DL_POOL_RUN * v->run_count) {
        DL_FN(gain_row)(v, &row, 1, image, to, DL_FN(avg_gains));
        return;
    }
    memset(to, 0, sizeof(real) * v->w * v->c);
    for (long q = 0; q < v->q; q++) {
        const dl_span *s = v->cols_of + q;
        const real share = 1 / (real)(row.counted * s->counted);
        for (long w = s->start + s->begin; w < s->start + s->end; w++)
            for (long e = 0; e < v->c; e++)
                to[w * v->c + e] += dy[q * v->c + e] * share;
    }
}

/* The sum of the rows of `count` claims, n numbers each and `size` apart; row 0 is that of window `first`. */
static void DL_FN(sum_claims)(const dl_claim *claims, long count, long first, const real *rows, long size, real *to,
                              long n) {
    for (long e = 0; e < n; e += LANES) {
        vec sum = DL_FN(vsplat)(0);
        for (long i = 0; i < count; i++)
            sum += DL_FN(vload)(rows + (claims[i].window - first) * size + e);
        DL_FN(vstore_n)(to + e, sum, n - e);
    }
}

/* Job: v->rows rows of dx of average pooling in one image, each the sum of rows of windows that are spread along it. */
static void DL_FN(avg_gather_job)(void *ctx, long job, long worker) {
    const dl_pool plan = *(const dl_pool *)ctx, *v = &plan;
    const long blocks = dl_ceil_div(v->h, v->rows), image = job / blocks, from = job % blocks * v->rows;
    const long to = dl_min(from + v->rows, v->h), begin = v->row_begin[from], end = v->row_begin[to];
    const long first = begin < end ? v->row_claims[begin].window : 0;
    const long windows = begin < end ? v->row_claims[end - 1].window + 1 - first : 0;
    const long width = v->w * v->c, size = dl_round_up(v->phases * v->wide, LANES);
    real *rows = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (windows + 1) * size), *sum = rows + windows * size;
    if (!rows) return;
    for (long p = 0; p < windows; p++)
        DL_FN(spread_along)(v, image, first + p, rows + p * size);
    for (long h = from; h < to; h++) {
        const dl_claim *claims = v->row_claims + v->row_begin[h];
        const long count = v->row_begin[h + 1] - v->row_begin[h];
        real *dx = (real *)v->out + (image * v->h + h) * width;
        if (v->phases == 1) {
            DL_FN(sum_claims)(claims, count, first, rows, size, dx, width);
        } else {
            DL_FN(sum_claims)(claims, count, first, rows, size, sum, size);
            DL_FN(join_phases)(v, sum, dx);
        }
    }
    (void)worker;
}

/* Where windows lie side by side, each writes its own cells, from left to right: what a register has beyond its pixel is
   overwritten by the next one.  dx of one window of rows x cols pixels, from `pixel` on, `first` the number of its first
   cell; whole registers may be stored where their first number is `room` numbers before the end of the row. */
DL_INLINE void DL_FN(spread_window)(const dl_pool *v, const int largest, const long rows, const long cols, real *pixel,
                                    long room, long at, long first, real share) {
    const long c = v->c, width = v->w * c, all = v->n * v->p * v->q * c - at;
    for (long from = 0; from < c; from += LANES) {
        const long e = dl_min(from, dl_max(0, c - LANES)), count = all - e >= LANES ? LANES : c;
        const vec dy = DL_FN(vload_n)((const real *)v->in + at + e, count);
        const vec gain = largest ? dy : dy * DL_FN(vsplat)(share);
        const ivec winner =
            largest ? DL_FN(load_index)(v->index, v->wide_index, at + e, count) : DL_FN(isplat)(0);
        for (long i = 0; i < rows; i++)
            for (long j = 0; j < cols; j++) {
                const vmask won = DL_FN(ieq)(winner, DL_FN(isplat)((ireal)(first + i * v->s + j)));
                DL_FN(vstore_n)(pixel + i * width + j * c + e, largest ? DL_FN(vkeep)(won, gain) : gain,
                                room - j * c - e >= LANES ? LANES : c);
            }
    }
}
DL_INLINE void DL_FN(spread_row)(const dl_pool *v, const int largest, long row, real *image) {
    const dl_span *r = v->rows_of + row % v->p;
    const long rows = r->end - r->begin, width = v->w * v->c;
    real *line = image + (r->start + r->begin) * width;
    for (long q = 0; q < v->q; q++) {
        const dl_span *s = v->cols_of + q;
        const long cols = s->end - s->begin, to = (s->start + s->begin) * v->c, at = (row * v->q + q) * v->c;
        const long first = r->begin * v->s + s->begin;
        const real share = 1 / (real)(r->counted * s->counted);
        if (rows == 2 && cols == 2)
            DL_FN(spread_window)(v, largest, 2, 2, line + to, width - to, at, first, share);
        else if (rows == 3 && cols == 3)
            DL_FN(spread_window)(v, largest, 3, 3, line + to, width - to, at, first, share);
        else
            DL_FN(spread_window)(v, largest, rows, cols, line + to, width - to, at, first, share);
    }
}

/* Job: the rows of dx under rows (image, p) of windows, and what is left below and beside them. */
static void DL_FN(pool_spread_job)(void *ctx, long job, long worker) {
    const dl_pool plan = *(const dl_pool *)ctx, *v = &plan;
    const long right = v->cols_of[v->q - 1].start + v->s, below = v->rows_of[v->p - 1].start + v->r;
    const long width = v->w * v->c;
    for (long row = job * v->rows; row < dl_min((job + 1) * v->rows, v->n * v->p); row++) {
        const dl_span *r = v->rows_of + row % v->p;
        real *image = (real *)v->out + row / v->p * v->h * width;
        if (v->largest)
            DL_FN(spread_row)(v, 1, row, image);
        else
            DL_FN(spread_row)(v, 0, row, image);
        for (long i = r->begin; right < v->w && i < r->end; i++)
            memset(image + ((r->start + i) * v->w + right) * v->c, 0, sizeof(real) * (v->w - right) * v->c);
        if (row % v->p == v->p - 1 && below < v->h)
            memset(image + below * width, 0, sizeof(real) * (v->h - below) * width);
    }
    (void)worker;
}

/* Rows of few numbers, of which a run would fill part of a register: the windows, in their order, give to their winners.
   The sums are those of the gathering job, in its order.  Job: images. */
static void DL_FN(pool_scatter_job)(void *ctx, long job, long worker) {
    const dl_pool plan = *(const dl_pool *)ctx, *v = &plan;
    const long c = v->c, size = v->h * v->w * c;
    for (long image = job * v->rows; image < dl_min((job + 1) * v->rows, v->n); image++) {
        real *dx = (real *)v->out + image * size;
        memset(dx, 0, sizeof(real) * size);
        for (long p = 0; p < v->p; p++)
            for (long q = 0; q < v->q; q++) {
                const dl_span *r = v->rows_of + p, *s = v->cols_of + q;
                if (r->begin == r->end || s->begin == s->end) continue; /* sees nothing but padding */
                const long at = ((image * v->p + p) * v->q + q) * c, pixel = (r->start * v->w + s->start) * c;
                for (long e = 0; e < c; e++)
                    dx[pixel + v->cells[((const uint8_t *)v->index)[at + e]] + e] += ((const real *)v->in)[at + e];
            }
    }
    (void)worker;
}
