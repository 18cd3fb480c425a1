/* The jobs of polyphase.h.  In both, run j of an image row is the sw pixels from j sw - left on: of its n numbers those
   from *first to *last lie in the row. */
DL_INLINE long DL_FN(run_in_row)(const dl_phases *g, long j, long n, long *first, long *last) {
    const long start = (j * g->sw - g->left) * g->c;
    *first = dl_min(dl_max(0, -start), n);
    *last = dl_max(*first, dl_min(n, g->w * g->c - start));
    return start;
}

/* Job: a row of phases: each pixel takes a run from each of sh rows of the image, 0 outside it.  A run shorter than a
   register is copied with what follows it in the image, if the next run will be written over that. */
static void DL_FN(phases_job)(void *ctx, long job, long worker) {
    const dl_phases *g = (const dl_phases *)ctx;
    const long n = g->sw * g->c, top = job % g->rows * g->sh - g->top, line = g->w * g->c;
    const real *image = (const real *)g->image + (job / g->rows * g->h + top) * line;
    real *to = (real *)g->phases + job * g->cols * g->sh * n, *end = to + (g->cols * g->sh - 1) * n - LANES;
    for (long j = 0; j < g->cols; j++) {
        long first, last, start = DL_FN(run_in_row)(g, j, n, &first, &last);
        for (long a = 0; a < g->sh; a++, to += n) {
            const real *from = image + a * line + start;
            if (top + a < 0 || top + a >= g->h)
                DL_FN(zero_run)(to, n);
            else if (n < LANES && to < end && start >= 0 && start + LANES <= line)
                DL_FN(vstore)(to, DL_FN(vload)(from));
            else {
                DL_FN(zero_run)(to, first);
                DL_FN(copy_run)(to + first, from + first, last - first);
                DL_FN(zero_run)(to + last, n - last);
            }
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
