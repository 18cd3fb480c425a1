/* The jobs of direct.h that write images: windows of y, and dx. */
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

/* A row of windows of any size at `at`; `lines` is room for the convolution of one, for one panel of channels, and
   `pixel` says where those of a line are. */
DL_NOINLINE void DL_FN(direct_window_lines)(const dl_direct *d, const dl_pixel *pixel, const real *rows, real *lines,
                                            long at) {
    const dl_conv *v = d->v;
    for (long k = 0; k < v->k; k += NR) {
        for (long r = 0; r < d->pool_h; r++)
            DL_FN(direct_line)(d->runs, v->r, d->depth, rows + r * v->sh * d->line, pixel, v->q,
                               (const real *)d->packed + k * d->depth, lines + r * v->q * NR, dl_min(NR, v->k - k),
                               (const real *)d->bias + k);
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
    const dl_taps taps = {v->sw * v->c, v->dh * d->line, v->s * v->c, v->r};
    const size_t listed = dl_round_up(v->q * sizeof(dl_pixel), 64);
    dl_pixel *pixel =
        (dl_pixel *)dl_scratch(DL_SCRATCH_JOB, listed + sizeof(real) * (held + d->pool_h * v->q * NR));
    if (!pixel) return;
    real *in = (real *)((char *)pixel + listed);
    for (long q = 0; q < v->q; q++)
        pixel[q] = (dl_pixel){q * v->sw * v->c, q * NR};
    DL_FN(fetch_rows)(d, image, first, last - first, in);
    for (long p = first; p < last; p += d->pool_h) {
        const long at = (image * v->p + p) / d->pool_h * y_row;
        const real *rows = in + (p - first) * v->sh * d->line;
        if (d->pool_h != 2 || d->pool_w != 2 || !DL_FN(direct_window_row)(d, &taps, rows, at, end))
            DL_FN(direct_window_lines)(d, pixel, rows, in + held, at);
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

/* The kernel rows that reach row h of dx as runs from dz on, whose pixels are ld apart; returns how many. */
static long DL_FN(direct_dx_runs)(const dl_conv *v, long h, long ld, dl_run *runs) {
    long count = 0;
    for (long r = 0; r < v->r; r++) {
        const long place = h + v->top - r * v->dh, p = v->sh == 1 ? place : place / v->sh; /* dividing takes long */
        if (place >= 0 && p * v->sh == place && p < v->p) runs[count++] = (dl_run){p * v->q * ld, r * v->k, v->k};
    }
    return count;
}

/* Rows begin.. of an image of dx from its dz (P, Q, ld).  Around u are zeros for the pixels q beyond the ends of a row
   that taps reach.  There are two u, because what was stored a moment ago in other pieces is slow to load. */
DL_NOINLINE void DL_FN(direct_dx_rows)(const dl_direct *d, const real *dz, long ld, long image, long begin, long end) {
    const dl_conv *v = d->v;
    const long line = v->w * v->c, held = (d->highest - d->lowest + 1) * d->npad + LANES;
    const size_t listed = dl_round_up(v->r * sizeof(dl_run) + v->q * sizeof(dl_pixel), 64);
    dl_run *runs = (dl_run *)dl_scratch(DL_SCRATCH_TILE, listed + sizeof(real) * (2 * held + line + LANES));
    if (!runs) return;
    dl_pixel *pixel = (dl_pixel *)(runs + v->r);
    real *u = (real *)((char *)runs + listed), *row = u + 2 * held;
    for (long q = 0; q < v->q; q++)
        pixel[q] = (dl_pixel){q * ld, q * d->npad};
    DL_FN(zero_run)(u, 2 * held);
    for (long h = begin; h <= end; h++) {
        real *now = u + h % 2 * held, *before = u + (h + 1) % 2 * held;
        const long count = h < end && v->q > 0 && v->k ? DL_FN(direct_dx_runs)(v, h, ld, runs) : 0;
        if (count)
            DL_FN(direct_line)(runs, count, v->r * v->k, dz, pixel, v->q, (const real *)d->packed,
                               now - d->lowest * d->npad, v->s * v->c, NULL);
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
