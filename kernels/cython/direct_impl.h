/* The jobs of direct.h. */
#define NR (2 * LANES)

/* Job: one panel of W^T. */
static void DL_FN(direct_pack_job)(void *ctx, long panel, long worker) {
    const dl_direct *d = (const dl_direct *)ctx;
    DL_FN(pack_panel)(d->depth, NR, dl_min(NR, d->v->k - panel * NR), (const real *)d->weight + panel * NR * d->depth,
                      d->depth, 1, (real *)d->packed + panel * NR * d->depth);
    (void)worker;
}

/* The image rows, with their padding, that `rows` output rows from p on read. */
DL_NOINLINE void DL_FN(fetch_rows)(const dl_direct *d, long image, long p, long rows, real *out) {
    const dl_conv *v = d->v;
    const long height = (rows - 1) * v->sh + (v->r - 1) * v->dh + 1, left = dl_min(v->left * v->c, d->line);
    const long begin = dl_max(-v->left * v->c, 0), count = dl_max(0, dl_min(v->w * v->c - begin, d->line - left));
    for (long i = 0, h = p * v->sh - v->top; i < height; i++, h++, out += d->line) {
        const long valid = h >= 0 && h < v->h ? count : 0;
        DL_FN(zero_run)(out, left);
        if (valid) DL_FN(copy_run)(out + left, (const real *)d->x + (image * v->h + h) * v->w * v->c + begin, valid);
        DL_FN(zero_run)(out + left + valid, d->line - left - valid);
    }
}

/* c (DL_MR pixels x NR) = relu?(bias + sum over taps), from the packed panel b; a: the first pixel's first number. */
DL_NOINLINE void DL_FN(direct_tile)(const dl_direct *d, const real *a, const real *b, real *c, long ldc,
                                    const real *bias, int relu) {
    const dl_conv *v = d->v;
    const long step = v->sw * v->c, run = v->s * v->c;
    vec acc[DL_MR][2];
    DL_UNROLL for (int i = 0; i < DL_MR; i++) DL_UNROLL for (int j = 0; j < 2; j++) acc[i][j] = DL_FN(vsplat)(0);
    for (long r = 0; r < v->r; r++, a += v->dh * d->line - run)
        for (long k = 0; k < run; k++, a++, b += NR) {
            const vec b0 = DL_FN(vload)(b), b1 = DL_FN(vload)(b + LANES);
            DL_UNROLL for (int i = 0; i < DL_MR; i++) {
                const vec ai = DL_FN(vsplat)(a[i * step]);
                acc[i][0] += ai * b0;
                acc[i][1] += ai * b1;
            }
        }
    DL_UNROLL for (int i = 0; i < DL_MR; i++) DL_UNROLL for (int j = 0; j < 2; j++) {
        if (bias) acc[i][j] += DL_FN(vload)(bias + j * LANES);
        DL_FN(vstore)(c + i * ldc + j * LANES, relu ? DL_FN(vrelu)(acc[i][j]) : acc[i][j]);
    }
}

/* Job: a block of output rows of one image.  The last tile of a row overlaps the one before it. */
static void DL_FN(direct_row_job)(void *ctx, long job, long worker) {
    const dl_direct *d = (const dl_direct *)ctx;
    const dl_conv *v = d->v;
    const long image = job / d->blocks, first = job % d->blocks * d->rows, last = dl_min(first + d->rows, v->p);
    real *rows = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (d->rows * v->sh + v->r * v->dh) * d->line);
    real edge[DL_MR * NR];
    DL_FN(fetch_rows)(d, image, first, last - first, rows);
    for (long p = first; p < last; p++) {
        const real *row = rows + (p - first) * v->sh * d->line;
        real *y = (real *)d->out + (image * v->p + p) * v->q * v->k;
        for (long k = 0; k < v->k; k += NR)
            for (long at = 0; at < v->q; at += DL_MR) {
                const long q = dl_max(0, dl_min(at, v->q - DL_MR)), cols = dl_min(NR, v->k - k);
                const int whole = cols == NR && q + DL_MR <= v->q;
                DL_FN(direct_tile)(d, row + q * v->sw * v->c, (const real *)d->packed + k * d->depth,
                                   whole ? y + q * v->k + k : edge, whole ? v->k : NR,
                                   d->bias ? (const real *)d->bias + k : NULL, v->activation == DL_RELU);
                if (!whole) DL_FN(copy_tile)(edge, NR, y + q * v->k + k, v->k, dl_min(DL_MR, v->q - q), cols);
            }
        if (v->activation != DL_RELU) DL_FN(activate_block)(y, v->k, v->q, v->k, v->activation);
    }
    (void)worker;
}

/* Job: some rows of windows of one image; `lines` holds the convolution of one of them, for one panel of channels. */
static void DL_FN(direct_window_job)(void *ctx, long job, long worker) {
    const dl_direct *d = (const dl_direct *)ctx;
    const dl_conv *v = d->v;
    const long image = job / d->blocks, first = job % d->blocks * d->rows, last = dl_min(first + d->rows, v->p);
    const long pixels = dl_max(v->q, DL_MR), y_row = v->q / d->pool_w * v->k, height = d->rows * v->sh + v->r * v->dh;
    real *rows = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (height * d->line + d->pool_h * pixels * NR));
    real *lines = rows + height * d->line;
    DL_FN(fetch_rows)(d, image, first, last - first, rows);
    for (long p = first; p < last; p += d->pool_h) {
        const long at = (image * v->p + p) / d->pool_h * y_row;
        for (long k = 0; k < v->k; k += NR) {
            for (long r = 0; r < d->pool_h; r++)
                for (long q = 0; q < v->q; q += DL_MR) {
                    const long begin = dl_max(0, dl_min(q, v->q - DL_MR));
                    DL_FN(direct_tile)(d, rows + (p - first + r) * v->sh * d->line + begin * v->sw * v->c,
                                       (const real *)d->packed + k * d->depth, lines + (r * pixels + begin) * NR, NR,
                                       d->bias ? (const real *)d->bias + k : NULL, 0);
                }
            if (d->pool_h == 2 && d->pool_w == 2)
                DL_FN(largest_of_lines)(d, 2, 2, lines, at + k, v->k - k);
            else
                DL_FN(largest_of_lines)(d, d->pool_h, d->pool_w, lines, at + k, v->k - k);
        }
        DL_FN(activate_block)((real *)d->out + at, y_row, 1, v->activation > DL_RELU ? y_row : 0, v->activation);
    }
    (void)worker;
}

/* dz (pixels, npad) = dy act'(y) from pixel `first` of all on, padded with 0; total (npad) += its sum over pixels. */
DL_NOINLINE void DL_FN(direct_dz)(const dl_direct *d, long first, long pixels, real *dz, real *total) {
    const long k = d->v->k;
    const real *dy = (const real *)d->dy + first * k, *y = d->y ? (const real *)d->y + first * k : dy;
    for (long j = 0; j < d->npad; j += NR) {
        vec sum[2] = {DL_FN(vsplat)(0), DL_FN(vsplat)(0)};
        for (long q = 0; q < pixels; q++)
            DL_UNROLL for (int i = 0; i < 2; i++) {
                const long c = j + i * LANES, at = q * k + c, n = k - c;
                vec z = n >= LANES ? DL_FN(vload)(dy + at) : DL_FN(vload_n)(dy + at, n);
                if (d->y)
                    z = DL_FN(vactivation_gradient)(z, n >= LANES ? DL_FN(vload)(y + at) : DL_FN(vload_n)(y + at, n),
                                                    d->v->activation);
                DL_FN(vstore)(dz + q * d->npad + c, z);
                sum[i] += z;
            }
        DL_UNROLL for (int i = 0; i < 2; i++) {
            real *to = total + j + i * LANES;
            DL_FN(vstore)(to, DL_FN(vload)(to) + sum[i]);
        }
    }
}

/* c (taps x vectors) += the sum over `rows` x q pixels of a[tap] dz. */
DL_INLINE void DL_FN(direct_gradient_tile)(const int taps, const int vectors, const dl_direct *d, const real *const *a,
                                           long rows, const real *dz, real *c) {
    const long step = d->v->sw * d->v->c, down = d->v->sh * d->line, ld = d->npad;
    vec acc[DL_MR][4], b[4];
    DL_UNROLL for (int i = 0; i < taps; i++) DL_UNROLL for (int j = 0; j < vectors; j++) acc[i][j] = DL_FN(vsplat)(0);
    for (long p = 0; p < rows; p++)
        for (long q = 0, at = p * down; q < d->v->q; q++, at += step, dz += ld) {
            DL_UNROLL for (int j = 0; j < vectors; j++) b[j] = DL_FN(vload)(dz + j * LANES);
            DL_UNROLL for (int i = 0; i < taps; i++) {
                const vec ai = DL_FN(vsplat)(a[i][at]);
                DL_UNROLL for (int j = 0; j < vectors; j++) acc[i][j] += ai * b[j];
            }
        }
    DL_UNROLL for (int i = 0; i < taps; i++) DL_UNROLL for (int j = 0; j < vectors; j++) {
        real *to = c + i * ld + j * LANES;
        DL_FN(vstore)(to, DL_FN(vload)(to) + acc[i][j]);
    }
}

/* The same for `width` columns and all taps; taps beyond the last repeat it. */
DL_NOINLINE void DL_FN(direct_gradient_tiles)(const dl_direct *d, const real *image, long rows, long width,
                                              const real *dz, real *c) {
    const long run = d->v->s * d->v->c, taps = width == NR ? DL_MR : DL_MR / 2;
    for (long tap = 0; tap < d->depth; tap += taps) {
        const real *a[DL_MR];
        for (long i = 0; i < taps; i++) {
            const long t = dl_min(tap + i, d->depth - 1);
            a[i] = image + t / run * d->v->dh * d->line + t % run;
        }
        if (width == NR)
            DL_FN(direct_gradient_tile)(DL_MR, 2, d, a, rows, dz, c + tap * d->npad);
        else
            DL_FN(direct_gradient_tile)(DL_MR / 2, 4, d, a, rows, dz, c + tap * d->npad);
    }
}

/* Job: the partial sum of one chunk of output rows, block by block.  A tile is as wide as there are outputs for: kernel
   rows often have 3 taps. */
static void DL_FN(direct_gradient_job)(void *ctx, long job, long worker) {
    const dl_direct *d = (const dl_direct *)ctx;
    const dl_conv *v = d->v;
    const long end = dl_min((job + 1) * d->chunk, v->n * v->p);
    real *dz = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * ((d->rows * v->q + 1) * d->npad +
                                                                 (d->rows * v->sh + v->r * v->dh) * d->line));
    real *image = dz + (d->rows * v->q + 1) * d->npad, *sum = (real *)d->packed + job * d->tall * d->npad;
    memset(sum, 0, sizeof(real) * d->tall * d->npad);
    for (long row = job * d->chunk, rows; row < end; row += rows) {
        rows = dl_min(dl_min(d->rows, end - row), v->p - row % v->p);
        DL_FN(fetch_rows)(d, row / v->p, row % v->p, rows, image);
        if (d->index)
            DL_FN(direct_windows_dz)(d, row, rows, dz, sum + (d->tall - 1) * d->npad);
        else
            DL_FN(direct_dz)(d, row * v->q, rows * v->q, dz, sum + (d->tall - 1) * d->npad);
        for (long k = 0, width; k < d->npad; k += width) {
            width = d->npad - k >= 2 * NR ? 2 * NR : NR;
            DL_FN(direct_gradient_tiles)(d, image, rows, width, dz + k, sum + k);
        }
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
    for (long k = 0; out && k < d->v->k; k++) {
        real sum = from[k];
        for (long chunk = 1; chunk < d->chunks; chunk++)
            sum += from[chunk * d->tall * d->npad + k];
        out[k * step] = sum;
    }
    (void)worker;
}
#undef NR
