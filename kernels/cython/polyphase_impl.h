/* The jobs of polyphase.h.  In both, run j of an image row is the sw pixels from j sw - left on: of its n numbers those
   from *first to *last lie in the row. */
DL_INLINE long DL_FN(run_in_row)(const dl_phases *g, long j, long n, long *first, long *last) {
    const long start = (j * g->sw - g->left) * g->c;
    *first = dl_min(dl_max(0, -start), n);
    *last = dl_max(*first, dl_min(n, g->w * g->c - start));
    return start;
}

/* Job: a row of phases: each pixel takes a run from each of sh rows of the image, 0 outside it. */
static void DL_FN(phases_job)(void *ctx, long job, long worker) {
    const dl_phases *g = (const dl_phases *)ctx;
    const long n = g->sw * g->c, pixel = g->sh * n;
    for (long a = 0; a < g->sh; a++) {
        const long h = job % g->rows * g->sh + a - g->top;
        const real *row = (const real *)g->image + (job / g->rows * g->h + h) * g->w * g->c;
        real *to = (real *)g->phases + job * g->cols * pixel + a * n;
        for (long j = 0; j < g->cols; j++, to += pixel) {
            long first, last, start = DL_FN(run_in_row)(g, j, n, &first, &last);
            if (h < 0 || h >= g->h) first = last = n;
            DL_FN(zero_run)(to, first);
            DL_FN(copy_run)(to + first, row + start + first, last - first);
            DL_FN(zero_run)(to + last, n - last);
        }
    }
    (void)worker;
}

/* Job: a row of the image from its phases, 0 where there are none. */
static void DL_FN(phases_back_job)(void *ctx, long job, long worker) {
    const dl_phases *g = (const dl_phases *)ctx;
    const long n = g->sw * g->c, pixel = g->sh * n, h = job % g->h + g->top, i = h / g->sh;
    const real *from = (const real *)g->phases + (job / g->h * g->rows + i) * g->cols * pixel + h % g->sh * n;
    real *row = (real *)g->image + job * g->w * g->c;
    for (long j = g->left / g->sw; j * g->sw < g->w + g->left; j++) {
        long first, last, start = DL_FN(run_in_row)(g, j, n, &first, &last);
        if (i < g->rows && j < g->cols)
            DL_FN(copy_run)(row + start + first, from + j * pixel + first, last - first);
        else
            DL_FN(zero_run)(row + start + first, last - first);
    }
    (void)worker;
}
