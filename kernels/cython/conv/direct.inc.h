/* The jobs of direct.h that write images: y and dx. */
#define NR (2 * LANES)

/* Job: one panel of W^T. */
static void DL_FN(direct_pack_job)(void *ctx, long panel, long worker) {
    const dl_direct *d = (const dl_direct *)ctx;
    const long k = panel * NR;
    DL_FN(pack_panel)(d->depth, dl_min(NR, d->npad - k), dl_min(NR, d->v->k - k),
                      (const real *)d->weight + k * d->depth, d->depth, 1, (real *)d->packed + k * d->depth);
    (void)worker;
}

/* The image rows, with their padding, that `rows` output rows from p on read. */
DL_NOINLINE void DL_FN(fetch_rows)(const dl_direct *d, long image, long p, long rows, real *out) {
    const dl_conv *v = d->v;
    const long height = dl_rows_read(v, rows), left = dl_min(v->left * v->c, d->line);
    const long begin = dl_max(-v->left * v->c, 0), count = dl_max(0, dl_min(v->w * v->c - begin, d->line - left));
    for (long i = 0, h = p * v->sh - v->top; i < height; i++, h++, out += d->line) {
        const long valid = h >= 0 && h < v->h ? count : 0;
        DL_FN(zero_run)(out, left);
        if (valid) DL_FN(copy_run)(out + left, (const real *)d->x + (image * v->h + h) * v->w * v->c + begin, valid);
        DL_FN(zero_run)(out + left + valid, d->line - left - valid);
    }
}

/* Job: a block of output rows of one image.  Where K does not fill registers, they are made aside (see direct_line).
   What was stored a moment ago in other pieces is slow to load, so that the rest waits for the whole block. */
static void DL_FN(direct_row_job)(void *ctx, long job, long worker) {
    const dl_direct *d = (const dl_direct *)ctx;
    const dl_conv *v = d->v;
    const long image = job / d->blocks, first = job % d->blocks * d->rows, rows = dl_min(d->rows, v->p - first);
    const long held = dl_rows_read(v, rows) * d->line, width = v->q * v->k, fills = v->k % LANES == 0;
    const dl_taps taps = {v->sw * v->c, v->dh * d->line, v->s * v->c, v->r, 0, 1, v->r, d->stream};
    real *in = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (held + (fills ? 0 : rows * width) + LANES));
    if (!in) return;
    real *y = (real *)d->out + (image * v->p + first) * width, *out = fills ? y : in + held;
    DL_FN(fetch_rows)(d, image, first, rows, in);
    for (long i = 0; i < rows; i++)
        DL_FN(direct_line)(&taps, in + i * v->sh * d->line, (const real *)d->packed, out + i * width, v->k, v->q, v->k,
                           (const real *)d->bias, v->activation == DL_RELU);
    if (v->activation != DL_RELU) DL_FN(activate_block)(out, 0, 1, rows * width, v->activation);
    if (!fills) DL_FN(copy_run)(y, out, rows * width);
    if (d->means) DL_FN(mean_rows)(d, out, rows, image * (v->p / d->pool_h) + first / d->pool_h);
    if (v->finish) DL_FN(finish_rows)(v->finish, y, v->k, rows * v->q, 0, v->k);
    if (d->stream) dl_fence();
    (void)worker;
}

/* A row of windows of any size at `at`; `lines` is room for the convolution of one, for one panel of channels. */
DL_NOINLINE void DL_FN(direct_window_lines)(const dl_direct *d, const dl_taps *taps, const real *rows, real *lines,
                                            long at) {
    const dl_conv *v = d->v;
    for (long k = 0; k < v->k; k += NR) {
        for (long r = 0; r < d->pool_h; r++)
            DL_FN(direct_line)(taps, rows + r * v->sh * d->line, (const real *)d->packed + k * d->depth,
                               lines + r * v->q * NR, NR, v->q, dl_min(NR, v->k - k), (const real *)d->bias + k, 0);
        if (d->pool_h == 2 && d->pool_w == 2)
            DL_FN(largest_of_lines)(d, 2, 2, lines, at + k, v->k - k);
        else
            DL_FN(largest_of_lines)(d, d->pool_h, d->pool_w, lines, at + k, v->k - k);
    }
}

/* Job: some rows of windows of one image. */
static void DL_FN(direct_window_job)(void *ctx, long job, long worker) {
    const dl_direct *d = (const dl_direct *)ctx;
    const dl_conv *v = d->v;
    const long image = job / d->blocks, first = job % d->blocks * d->rows, last = dl_min(first + d->rows, v->p);
    const long y_row = v->q / d->pool_w * v->k, held = dl_rows_read(v, last - first) * d->line;
    const long end = (image * v->p + last) / d->pool_h * y_row;
    const dl_taps taps = {v->sw * v->c, v->dh * d->line, v->s * v->c, v->r, 0, 1, v->r, 0};
    real *in = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (held + d->pool_h * v->q * NR));
    if (!in) return;
    DL_FN(fetch_rows)(d, image, first, last - first, in);
    for (long p = first; p < last; p += d->pool_h) {
        const long at = (image * v->p + p) / d->pool_h * y_row;
        const real *rows = in + (p - first) * v->sh * d->line;
        if (d->pool_h != 2 || d->pool_w != 2 || !DL_FN(direct_window_row)(d, &taps, rows, at, end))
            DL_FN(direct_window_lines)(d, &taps, rows, in + held, at);
        DL_FN(activate_block)((real *)d->out + at, y_row, 1, v->activation > DL_RELU ? y_row : 0, v->activation);
    }
    (void)worker;
}

/* Job: one panel of the columns (s, c) of W, kernel row by kernel row: (R, K, NR). */
static void DL_FN(direct_dx_pack_job)(void *ctx, long panel, long worker) {
    const dl_direct *d = (const dl_direct *)ctx;
    const dl_conv *v = d->v;
    const long j = panel * NR, columns = v->s * v->c, width = dl_min(NR, d->npad - j);
    for (long r = 0; r < v->r; r++)
        DL_FN(pack_panel)(v->k, width, dl_min(NR, columns - j), (const real *)d->weight + r * columns + j, 1,
                          v->r * columns, (real *)d->packed + (j * v->r + r * width) * v->k);
    (void)worker;
}

/* dx[w, c] = sum over s of u[q, (s, c)]: one row.  Registers are stored whole, pixels from left to right, and there is
   room behind both u and dx. */
static void DL_FN(direct_collect)(const dl_direct *d, const real *u, real *dx) {
    const long width = d->v->w, channels = d->v->c, taps = d->v->s, stride = d->v->sw, npad = d->npad;
    const long left = d->v->left - d->lowest * stride, down = stride * channels - npad;
    for (long w = 0; w < width; w++, dx += channels) {
        const long first = stride == 1 ? 0 : (w + left) % stride;
        const real *from = u + (stride == 1 ? w + left : (w + left) / stride) * npad + first * channels;
        for (long c = 0; c < channels; c += LANES) {
            vec sum = DL_FN(vsplat)(0);
            for (long s = first, at = c; s < taps; s += stride, at += down)
                sum += DL_FN(vload)(from + at);
            DL_FN(vstore)(dx + c, sum);
        }
    }
}

/* The kernel rows that reach row h of dx, every skip-th; returns the output row that the first of them reads.  ld:
   from pixel to pixel of dz. */
static long DL_FN(direct_dx_taps)(const dl_conv *v, long h, long ld, dl_taps *taps) {
    long highest = 0;
    *taps = (dl_taps){ld, 0, v->k, 0, 0, 1, v->r, 0};
    for (long r = 0; r < v->r; r++) {
        const long place = h + v->top - r * v->dh, p = v->sh == 1 ? place : place / v->sh; /* dividing takes long */
        if (place < 0 || p * v->sh != place || p >= v->p) continue;
        if (!taps->rows)
            taps->first = r, highest = p;
        else if (taps->rows == 1)
            taps->skip = r - taps->first, taps->down = (p - highest) * v->q * ld;
        taps->rows++;
    }
    return highest;
}

/* Rows begin.. of an image of dx from its dz (P, Q, ld).  Around u are zeros for the pixels q beyond the ends of a row
   that taps reach.  There are two u, because what was stored a moment ago in other pieces is slow to load. */
DL_NOINLINE void DL_FN(direct_dx_rows)(const dl_direct *d, const real *dz, long ld, long image, long begin, long end) {
    const dl_conv *v = d->v;
    const long line = v->w * v->c, held = (d->highest - d->lowest + 1) * d->npad + LANES;
    real *u = (real *)dl_scratch(DL_SCRATCH_TILE, sizeof(real) * (2 * held + line + LANES));
    if (!u) return;
    real *row = u + 2 * held;
    DL_FN(zero_run)(u, 2 * held);
    for (long h = begin; h <= end; h++) {
        real *now = u + h % 2 * held, *before = u + (h + 1) % 2 * held;
        dl_taps taps;
        const long p = DL_FN(direct_dx_taps)(v, h, ld, &taps);
        if (h < end && taps.rows && v->q > 0 && v->k)
            DL_FN(direct_line)(&taps, dz + p * v->q * ld, (const real *)d->packed, now - d->lowest * d->npad, d->npad,
                               v->q, v->s * v->c, NULL, 0);
        else
            DL_FN(zero_run)(now, held);
        if (h == begin) continue;
        DL_FN(direct_collect)(d, before, row);
        DL_FN(copy_run)((real *)d->out + (image * v->h + h - 1) * line, row, line);
    }
}

/* Job: some rows of one image of dx. */
static void DL_FN(direct_dx_job)(void *ctx, long job, long worker) {
    const dl_direct *d = (const dl_direct *)ctx;
    const dl_conv *v = d->v;
    const long image = job / d->blocks, begin = job % d->blocks * d->rows;
    DL_FN(direct_dx_rows)(d, (const real *)d->dy + image * v->p * v->q * v->k, v->k, image, begin,
                          dl_min(begin + d->rows, v->h));
    (void)worker;
}
#undef NR
