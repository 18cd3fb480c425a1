/* Few tiles and many kernels, of winograd.h: U, 36/9 as large as the weights, would cost more than the products. */
#define NR (2 * LANES)

/* Job: V of all tiles for some of the channels. */
static void DL_FN(winograd_few_data_job)(void *ctx, long job, long worker) {
    const dl_winograd_few *f = (const dl_winograd_few *)ctx;
    const dl_tiles *in = &f->p.in;
    const long c0 = job * DL_WINOGRAD_CHUNK, n = dl_min(DL_WINOGRAD_CHUNK, f->p.depth - c0);
    const size_t zero = sizeof(real) * (6 * in->c + LANES);
    real *zeros = (real *)dl_scratch(DL_SCRATCH_JOB, zero);
    if (!zeros) return;
    memset(zeros, 0, zero);
    DL_FN(winograd_data)(in, f->order, 0, f->p.tiles, c0, n, zeros, (real *)f->v + job * 36 * f->v_plane, f->v_plane,
                         DL_WINOGRAD_CHUNK);
    (void)worker;
}

/* Job: a block of columns.  A part of their kernels at a time is transformed and multiplied by all tiles. */
static void DL_FN(winograd_few_job)(void *ctx, long job, long worker) {
    const dl_winograd_few *f = (const dl_winograd_few *)ctx;
    const dl_winograd *p = &f->p;
    const long col = job * p->width, width = dl_min(p->width, p->npad - col);
    const long plane = dl_winograd_plane((p->tiles + DL_MR) * width, sizeof(real));
    const long room = dl_kernel_taps(&p->in) * DL_WINOGRAD_CHUNK * NR;
    real *m = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (36 * (plane + p->plane) + room));
    if (!m) return;
    real *u = m + 36 * plane, *g = u + 36 * p->plane;
    for (long k = 0; k < p->depth; k += DL_WINOGRAD_CHUNK) {
        const long kc = dl_min(DL_WINOGRAD_CHUNK, p->depth - k);
        const real *v = (const real *)f->v + k / DL_WINOGRAD_CHUNK * 36 * f->v_plane;
        for (long j = 0; j < width; j += NR)
            DL_FN(winograd_filter)(p, k, kc, col + j, g, u + j * kc, p->plane);
        for (long point = 0; point < 36; point++)
            for (long j = 0; j < width; j += NR)
                for (long i = dl_first_place(f->order, point); i < dl_last_place(f->order, point); i += DL_MR) {
                    real *c = m + point * plane + i * width + j;
                    DL_FN(tile_rows)(kc, v + point * f->v_plane + i * DL_WINOGRAD_CHUNK, DL_WINOGRAD_CHUNK,
                                     u + point * p->plane + j * kc, NR, c, width, k ? c : NULL, width, 0);
                }
    }
    DL_FN(winograd_output)(p, f->order, 0, p->tiles, col, width, m, plane);
    (void)worker;
}
#undef NR
