/* The forward jobs of pool.h. */

/* Pixel `at` of a row from its numbers in a phase and the other way round: C numbers, by whole registers that spill into
   the pixel behind, or exactly. */
DL_INLINE void DL_FN(copy_pixel)(real *to, const real *from, long c, const int spill) {
    for (long i = 0; i < c; i += LANES)
        if (spill)
            DL_FN(vstore)(to + i, DL_FN(vload)(from + i));
        else
            DL_FN(vstore_n)(to + i, DL_FN(vload_n)(from + i, c - i), c - i);
}

/* A row of the image, sorted by phase: to (phases, wide).  Behind the row are `behind` numbers that may be read. */
static void DL_FN(sort_row)(const dl_pool *v, const real *row, real *to, long behind) {
    const long c = v->c, step = v->phases * c, spilt = dl_round_up(c, LANES) - c;
    for (long phase = 0; phase < v->phases; phase++) {
        const real *from = row + phase * c, *end = row + v->w * c, *safe = end - (spilt > behind ? c + spilt - 1 : 0);
        for (real *pixel = to + phase * v->wide; from < end; from += step, pixel += c)
            if (from < safe)
                DL_FN(copy_pixel)(pixel, from, c, 1);
            else
                DL_FN(copy_pixel)(pixel, from, c, 0);
    }
}

/* The windows of a run: n numbers of y, of which `at` is the first; rows x cols cells, `down` numbers and by `offset`
   apart from `cell`, the first of them number `first` in its window. */
typedef struct {
    const real *cell;
    const long *offset;
    long rows, cols, down, first, at, n;
    real share; /* 1 / cells that count */
} DL_FN(windows_run);

/* The winners of `count` lanes from number e on; rows = cols = `square` is known to the compiler, or `square` is 0. */
DL_INLINE void DL_FN(max_register)(const dl_pool *v, const DL_FN(windows_run) * run, const int square, const int wide,
                                   long e, long count) {
    const long down = run->down, first = run->first, width = v->s;
    const real *cell = run->cell + e;
    vec best = DL_FN(vload_n)(cell + run->offset[0], count);
    ivec index = DL_FN(isplat)((ireal)first);
    if (square)
        DL_UNROLL for (int k = 1; k < square * square; k++) {
            const long i = k / square, j = k % square;
            DL_FN(keep_larger)(DL_FN(vload_n)(cell + i * down + run->offset[j], count), (ireal)(first + i * width + j),
                               &best, &index);
        }
    else
        for (long i = 0; i < run->rows; i++)
            for (long j = !i; j < run->cols; j++)
                DL_FN(keep_larger)(DL_FN(vload_n)(cell + i * down + run->offset[j], count),
                                   (ireal)(first + i * width + j), &best, &index);
    DL_FN(vstore_n)((real *)v->out + run->at + e, best, count);
    DL_FN(store_index)(v->index, wide, run->at + e, index, count);
}

/* The means likewise, summed by columns, as lines.h has it. */
DL_INLINE void DL_FN(avg_register)(const dl_pool *v, const DL_FN(windows_run) * run, const int square, const int wide,
                                   long e, long count) {
    vec sum = DL_FN(vsplat)(0);
    if (square)
        DL_UNROLL for (int j = 0; j < square; j++) {
            const real *cell = run->cell + e + run->offset[j];
            vec column = DL_FN(vload_n)(cell, count);
            DL_UNROLL for (int i = 1; i < square; i++) column += DL_FN(vload_n)(cell + i * run->down, count);
            sum += column;
        }
    else
        for (long j = 0; j < run->cols; j++) {
            const real *cell = run->cell + e + run->offset[j];
            vec column = DL_FN(vload_n)(cell, count);
            for (long i = 1; i < run->rows; i++)
                column += DL_FN(vload_n)(cell + i * run->down, count);
            sum += column;
        }
    DL_FN(vstore_n)((real *)v->out + run->at + e, sum * DL_FN(vsplat)(run->share), count);
    (void)wide;
}

/* The means of many cells: blocks of them are summed in registers, the blocks in double. */
DL_INLINE void DL_FN(avg_many)(const dl_pool *v, const DL_FN(windows_run) * run, const int square, const int wide,
                               long e, long count) {
    const long cells = run->rows * run->cols;
    double total[LANES] = {0};
    real mean[LANES];
    vec block = DL_FN(vsplat)(0);
    for (long i = 0, k = 1; i < run->rows; i++)
        for (long j = 0; j < run->cols; j++, k++) {
            block += DL_FN(vload_n)(run->cell + e + i * run->down + run->offset[j], count);
            if (k % DL_POOL_CELLS && k < cells) continue;
            for (int lane = 0; lane < LANES; lane++)
                total[lane] += (double)DL_FN(vlane)(block, lane);
            block = DL_FN(vsplat)(0);
        }
    for (int lane = 0; lane < LANES; lane++)
        mean[lane] = (real)(total[lane] * (double)run->share);
    DL_FN(vstore_n)((real *)v->out + run->at + e, DL_FN(vload)(mean), count);
    (void)square, (void)wide;
}

/* All registers of a run. */
#define RUN(name, kind, square, wide)                                                          \
    static void DL_FN(name)(const dl_pool *v, const DL_FN(windows_run) * shared) {             \
        const DL_FN(windows_run) run = *shared; /* a copy: stores cannot change it */          \
        const long last = run.n - LANES;                                                       \
        if (last < 0) {                                                                        \
            kind(v, &run, square, wide, 0, run.n);                                             \
            return;                                                                            \
        }                                                                                      \
        for (long e = 0; e < last; e += LANES)                                                 \
            kind(v, &run, square, wide, e, LANES);                                             \
        kind(v, &run, square, wide, last, LANES);                                              \
    }
RUN(max_run_2x2, DL_FN(max_register), 2, 0)
RUN(max_run_3x3, DL_FN(max_register), 3, 0)
RUN(max_run, DL_FN(max_register), 0, 0)
RUN(max_run_wide, DL_FN(max_register), 0, 1)
RUN(avg_run_2x2, DL_FN(avg_register), 2, 0)
RUN(avg_run_3x3, DL_FN(avg_register), 3, 0)
RUN(avg_run, DL_FN(avg_register), 0, 0)
RUN(avg_run_many, DL_FN(avg_many), 0, 0)
#undef RUN

/* Windows that see nothing but padding. */
static void DL_FN(no_cells)(const dl_pool *v, const DL_FN(windows_run) * run) {
    for (long e = run->at; e < run->at + run->n; e++) {
        ((real *)v->out)[e] = v->largest ? -(real)INFINITY : 0 * run->share;
        if (v->largest) DL_FN(store_index)(v->index, v->wide_index, e, DL_FN(isplat)(0), 1);
    }
}

/* One row (image, p) of windows; `rows` begins with row `h` of the image, its rows `line` numbers apart. */
static void DL_FN(pool_row)(const dl_pool *v, long row, const real *rows, long h, long line) {
    const dl_span *down = v->rows_of + row % v->p;
    const long step = v->phases > 1 ? v->c : v->sw * v->c;
    for (long i = 0; i < v->run_count; i++) {
        const dl_run *along = v->runs + i;
        const dl_span *across = v->cols_of + along->first;
        const DL_FN(windows_run) run = {
            .cell = rows + (down->start + down->begin * v->dh - h) * line +
                    (v->sw ? along->first * step : across->start * v->c),
            .offset = v->offset + across->begin,
            .rows = down->end - down->begin,
            .cols = across->end - across->begin,
            .down = v->dh * line,
            .first = down->begin * v->s + across->begin,
            .at = row * v->q * v->c + along->at,
            .n = along->pixels * v->c,
            .share = 1 / (real)(down->counted * across->counted)};
        const int square = run.rows == run.cols ? (int)run.rows : 0;
        (run.rows * run.cols == 0 ? DL_FN(no_cells)
         : !v->largest            ? (square == 2   ? DL_FN(avg_run_2x2)
                                     : square == 3 ? DL_FN(avg_run_3x3)
                                     : run.rows * run.cols > DL_POOL_CELLS ? DL_FN(avg_run_many)
                                                                           : DL_FN(avg_run))
         : v->wide_index          ? DL_FN(max_run_wide)
         : square == 2            ? DL_FN(max_run_2x2)
         : square == 3            ? DL_FN(max_run_3x3)
                                  : DL_FN(max_run))(v, &run);
    }
}

/* Rows p0.. to before p1 of one image's windows, from rows that are sorted by phase on the way. */
static void DL_FN(pool_sorted)(const dl_pool *v, long image, long p0, long p1) {
    const long size = v->w * v->c, line = v->phases * v->wide, left = (v->n - image) * v->h * size;
    const long first = dl_max(0, v->rows_of[p0].start);
    const long end = dl_max(first, dl_min(v->h, v->rows_of[p1 - 1].start + (v->r - 1) * v->dh + 1));
    const real *from = (const real *)v->in + image * v->h * size;
    real *rows = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * ((end - first) * line + LANES));
    if (!rows) return;
    for (long h = first; h < end; h++)
        DL_FN(sort_row)(v, from + h * size, rows + (h - first) * line, left - (h + 1) * size);
    for (long p = p0; p < p1; p++)
        DL_FN(pool_row)(v, image * v->p + p, rows, first, line);
}

/* Job: v->rows rows (image, p) of the output.  A copy of the plan: the compiler must not think that stores change it. */
static void DL_FN(pool_forward_job)(void *ctx, long job, long worker) {
    const dl_pool plan = *(const dl_pool *)ctx, *v = &plan;
    const long end = dl_min((job + 1) * v->rows, v->n * v->p), size = v->w * v->c;
    for (long row = job * v->rows, stop; row < end; row = stop) {
        const long image = row / v->p;
        stop = dl_min(end, (image + 1) * v->p);
        if (v->phases > 1)
            DL_FN(pool_sorted)(v, image, row - image * v->p, stop - image * v->p);
        else
            for (long i = row; i < stop; i++)
                DL_FN(pool_row)(v, i, (const real *)v->in + image * v->h * size, 0, size);
    }
    (void)worker;
}
