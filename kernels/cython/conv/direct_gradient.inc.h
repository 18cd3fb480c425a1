/* The jobs of direct.h that make the gradient of the weights. */
#define NR (2 * LANES)

/* Of `registers` columns from j on: gain (cells, npad) = dy act'(y), anything beyond the last; total += the sum. */
DL_INLINE void DL_FN(direct_gain_panel)(const int registers, const int activation, const dl_direct *d, long first,
                                        long cells, long j, real *gain, real *total) {
    const long k = d->v->k, npad = d->npad, begin = first * k + j, end = d->cells * k;
    const long safe = dl_min(cells, (end - begin - registers * LANES + k) / k); /* cells whose registers are in dy */
    const real *dy = (const real *)d->dy + begin, *y = activation ? (const real *)d->y + begin : dy;
    vec sum[2];
    DL_UNROLL for (int i = 0; i < registers; i++) sum[i] = DL_FN(vsplat)(0);
    gain += j;
    for (long q = 0; q < cells; q++, dy += k, y += k, gain += npad)
        DL_UNROLL for (int i = 0; i < registers; i++) {
            const long at = i * LANES, count = q < safe ? LANES : dl_max(0, k - j - at);
            vec g = DL_FN(vload_n)(dy + at, count);
            if (activation) g = DL_FN(vactivation_gradient)(g, DL_FN(vload_n)(y + at, count), activation);
            DL_FN(vstore)(gain + at, g);
            sum[i] += g;
        }
    DL_UNROLL for (int i = 0; i < registers; i++) {
        real *to = total + j + i * LANES;
        DL_FN(vstore)(to, DL_FN(vload)(to) + sum[i]);
    }
}

/* All columns of `cells` pixels or windows from `first` of all on. */
DL_NOINLINE void DL_FN(direct_gain)(const dl_direct *d, long first, long cells, real *gain, real *total) {
#define PANEL(activation)                                                                  \
    if (d->npad - j > LANES)                                                               \
        DL_FN(direct_gain_panel)(2, activation, d, first, count, j, gain, total);          \
    else                                                                                   \
        DL_FN(direct_gain_panel)(1, activation, d, first, count, j, gain, total);          \
    break;
    for (const real *end = gain + cells * d->npad; gain < end; gain += DL_DIRECT_RUN * d->npad, first += DL_DIRECT_RUN)
        for (long j = 0, count = dl_min(DL_DIRECT_RUN, (end - gain) / d->npad); j < d->npad; j += NR)
            switch (d->y ? d->v->activation : DL_IDENTITY) {
            case DL_RELU: PANEL(DL_RELU)
            case DL_SIGMOID: PANEL(DL_SIGMOID)
            case DL_TANH: PANEL(DL_TANH)
            default: PANEL(DL_IDENTITY)
            }
#undef PANEL
}

/* One register of columns, `count` of which exist, of dz of `rows` rows of one image from row `line` of all on: the share
   of each window's dy times act'(y), 0 beyond the windows; total += the sum. */
DL_INLINE void DL_FN(mean_gain_lanes)(const int activation, const dl_direct *d, long line, long rows, long j,
                                      real *gain, real *total) {
    const dl_conv *v = d->v;
    const long k = v->k, count = k - j, down = v->p / d->pool_h, across = v->q / d->pool_w, p = line % v->p;
    const vec share = DL_FN(vsplat)(1 / (real)(d->pool_h * d->pool_w)), zero = DL_FN(vsplat)(0);
    const real *y = (const real *)(activation ? d->y : d->dy) + line * v->q * k + j;
    vec sum = zero;
    for (long i = p; i < p + rows; i++) {
        const real *dy = (const real *)d->dy + (line / v->p * down + i / d->pool_h) * across * k + j;
        for (long q = 0, s = 0, windows = i / d->pool_h < down ? across : 0; q < v->q; q++, y += k, gain += d->npad) {
            vec g = windows > 0 ? DL_FN(vload_n)(dy, count) * share : zero;
            if (activation) g = DL_FN(vactivation_gradient)(g, DL_FN(vload_n)(y, count), activation);
            DL_FN(vstore)(gain, g);
            sum += g;
            if (++s == d->pool_w) s = 0, windows--, dy += k;
            if ((q + 1) % DL_DIRECT_RUN) continue;
            DL_FN(vstore)(total, DL_FN(vload)(total) + sum);
            sum = zero;
        }
    }
    DL_FN(vstore)(total, DL_FN(vload)(total) + sum);
}

/* All columns of dz (rows, Q, npad). */
DL_NOINLINE void DL_FN(direct_mean_gain)(const dl_direct *d, long line, long rows, real *gain, real *total) {
    for (long j = 0; j < d->npad; j += LANES)
        switch (d->y ? d->v->activation : DL_IDENTITY) {
        case DL_RELU: DL_FN(mean_gain_lanes)(DL_RELU, d, line, rows, j, gain + j, total + j); break;
        case DL_SIGMOID: DL_FN(mean_gain_lanes)(DL_SIGMOID, d, line, rows, j, gain + j, total + j); break;
        case DL_TANH: DL_FN(mean_gain_lanes)(DL_TANH, d, line, rows, j, gain + j, total + j); break;
        default: DL_FN(mean_gain_lanes)(DL_IDENTITY, d, line, rows, j, gain + j, total + j);
        }
}

/* c (taps x registers) += the sum over `rows` x q pixels of a[tap] dz. */
DL_INLINE void DL_FN(direct_gradient_tile)(const int taps, const int registers, const dl_direct *d,
                                           const real *const *from, long rows, const real *dz, real *c) {
    const long step = d->v->sw * d->v->c, down = d->v->sh * d->line, ld = d->npad, pixels = d->v->q;
    const real *a[DL_HIGH1];
    vec acc[DL_HIGH1][4], b[4];
    DL_UNROLL for (int i = 0; i < taps; i++) a[i] = from[i];
    DL_UNROLL for (int i = 0; i < taps; i++) DL_UNROLL for (int j = 0; j < registers; j++) acc[i][j] = DL_FN(vsplat)(0);
    for (long p = 0; p < rows; p++)
        for (long q = 0, at = p * down; q < pixels;) {
            for (const long end = dl_min(pixels, q + DL_DIRECT_RUN); q < end; q++, at += step, dz += ld) {
                DL_UNROLL for (int j = 0; j < registers; j++) b[j] = DL_FN(vload)(dz + j * LANES);
                DL_UNROLL for (int i = 0; i < taps; i++) {
                    const vec ai = DL_FN(vsplat)(a[i][at]);
                    DL_UNROLL for (int j = 0; j < registers; j++) acc[i][j] += ai * b[j];
                }
            }
            if (q < pixels || p == rows - 1)
                DL_UNROLL for (int i = 0; i < taps; i++) DL_UNROLL for (int j = 0; j < registers; j++) {
                    real *to = c + i * ld + j * LANES;
                    DL_FN(vstore)(to, DL_FN(vload)(to) + acc[i][j]);
                    acc[i][j] = DL_FN(vsplat)(0);
                }
        }
}
#define TILE(name, taps, registers)                                                                               \
    DL_NOINLINE void DL_FN(name)(const dl_direct *d, const real *const *from, long rows, const real *dz, real *c) { \
        DL_FN(direct_gradient_tile)(taps, registers, d, from, rows, dz, c);                                       \
    }
TILE(direct_gradient_high4, DL_HIGH4, 4)
TILE(direct_gradient_high2, DL_HIGH2, 2)
TILE(direct_gradient_low2, DL_LOW2, 2)
TILE(direct_gradient_high1, DL_HIGH1, 1)
TILE(direct_gradient_low1, DL_LOW1, 1)
#undef TILE

/* A block of `rows` output rows, whose image rows are in cache: sum (depth, npad) += its part, by tiles of taps; those
   beyond the last tap repeat it, and there is room for them.  A tile is as wide as there are outputs for, since kernel
   rows often have 3 taps. */
static void DL_FN(direct_gradient_block)(const dl_direct *d, const real *image, long rows, const real *dz, real *sum) {
    const long run = d->v->s * d->v->c;
    for (long k = 0, width; k < d->npad; k += width) {
        const long left = d->npad - k;
        const int wide = left >= 2 * NR, narrow = left <= LANES;
        const long high = wide ? DL_HIGH4 : narrow ? DL_HIGH1 : DL_HIGH2;
        const long low = wide ? DL_HIGH4 : narrow ? DL_LOW1 : DL_LOW2;
        const long taps = dl_round_up(d->depth, low) < dl_round_up(d->depth, high) ? low : high;
        width = wide ? 2 * NR : NR;
        for (long tap = 0; tap < d->depth; tap += taps) {
            const real *a[DL_HIGH1];
            for (long i = 0; i < taps; i++) {
                const long t = dl_min(tap + i, d->depth - 1);
                a[i] = image + t / run * d->v->dh * d->line + t % run;
            }
            (wide     ? DL_FN(direct_gradient_high4)
             : narrow ? taps == high ? DL_FN(direct_gradient_high1) : DL_FN(direct_gradient_low1)
             : taps == high ? DL_FN(direct_gradient_high2)
                            : DL_FN(direct_gradient_low2))(d, a, rows, dz + k, sum + tap * d->npad + k);
        }
    }
}

/* Job: the partial sum of one chunk of output rows, block by block. */
static void DL_FN(direct_gradient_job)(void *ctx, long job, long worker) {
    const dl_direct *d = (const dl_direct *)ctx;
    const dl_conv *v = d->v;
    const long end = dl_min((job + 1) * d->chunk, v->n * v->p), width = v->q / d->pool_w;
    const long held = d->rows * v->q * d->npad, seen = dl_rows_read(v, d->rows) * d->line;
    real *gain = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (2 * held + d->npad + seen + LANES));
    if (!gain) return;
    real *dz = gain + held, *image = dz + held + d->npad, *sum = (real *)d->packed + job * d->tall * d->npad;
    memset(sum, 0, sizeof(real) * d->tall * d->npad);
    for (long row = job * d->chunk, rows; row < end; row += rows) {
        rows = dl_min(dl_min(d->rows, end - row), v->p - row % v->p);
        const long first = row / d->pool_h * width, at = first * v->k, lines = rows / d->pool_h;
        const long size = dl_rows_read(v, rows) * d->line;
        real *total = sum + (d->tall - 1) * d->npad;
        if (d->mean)
            DL_FN(direct_mean_gain)(d, row, rows, gain, total);
        else
            DL_FN(direct_gain)(d, first, lines * width, gain, total);
        if (d->dx) DL_FN(direct_dx_rows)(d->dx, gain, d->npad, row / v->p, 0, v->h);
        if (!d->out) continue;
        DL_FN(fetch_rows)(d, row / v->p, row % v->p, rows, image);
        if (d->sparse && DL_FN(direct_sparse)(d, image, size, lines, at, gain, sum)) continue;
        if (d->index) DL_FN(direct_spread)(d, at, rows, gain, dz);
        DL_FN(direct_gradient_block)(d, image, rows, d->index ? dz : gain, sum);
    }
    (void)worker;
}

/* Job: one tap of dweight, or dbias: the partial sums added in the order of the chunks. */
static void DL_FN(direct_sum_job)(void *ctx, long job, long worker) {
    const dl_direct *d = (const dl_direct *)ctx;
    const int last = job == d->depth;
    const long step = last ? 1 : d->depth;
    real *out = last ? (real *)d->dbias : d->out ? (real *)d->out + job : NULL;
    const real *from = (const real *)d->packed + (last ? d->tall - 1 : job) * d->npad;
    for (long k = 0; out && k < d->v->k; k += LANES) {
        real lane[LANES];
        vec sum = DL_FN(vload)(from + k);
        for (long chunk = 1; chunk < d->chunks; chunk++)
            sum += DL_FN(vload)(from + chunk * d->tall * d->npad + k);
        DL_FN(vstore)(lane, sum);
        for (long i = 0; i < dl_min(LANES, d->v->k - k); i++)
            out[(k + i) * step] = lane[i];
    }
    (void)worker;
}
#undef NR
