/* The jobs of fold.h. */
#define NR (2 * LANES)

/* Job: the panels of one k block of W (K, R S C). */
static void DL_FN(fold_pack_job)(void *ctx, long job, long worker) {
    const dl_fold *f = (const dl_fold *)ctx;
    const long k = job * f->o.kc, kc = dl_min(f->o.kc, f->o.k - k);
    for (long j = 0; j < f->depth; j += NR)
        DL_FN(pack_panel)(kc, NR, dl_min(NR, f->depth - j), (const real *)f->weight + k * f->depth + j, 1, f->depth,
                          (real *)f->packed + k * f->o.npad + j * kc);
    (void)worker;
}

/* Adds one row of T, the taps of point (p, q), to rows [begin, end) of an image. */
DL_INLINE void DL_FN(fold_point)(const dl_conv *v, real *image, long begin, long end, long p, long q, const real *t) {
    const long pixels = v->dw == 1 ? v->s : 1, w0 = q * v->sw - v->left; /* neighbours in memory on both sides */
    for (long r = 0; r < v->r; r++) {
        const long h = p * v->sh + r * v->dh - v->top;
        if (h < begin || h >= end) continue;
        for (long s = 0; s < v->s; s += pixels) {
            const long w = w0 + s * v->dw, first = dl_max(0, -w) * v->c, last = dl_min(pixels, v->w - w) * v->c;
            real *DL_R to = image + (h * v->w + w) * v->c;
            const real *DL_R from = t + (r * v->s + s) * v->c;
            for (long i = first; i < last; i++)
                to[i] += from[i];
        }
    }
}

/* Job: some rows of one image of dx. */
static void DL_FN(fold_job)(void *ctx, long job, long worker) {
    const dl_fold *f = (const dl_fold *)ctx;
    const dl_conv *v = f->v;
    const long begin = job % f->blocks * f->rows, end = dl_min(begin + f->rows, v->h), n = job / f->blocks;
    const long p_begin = dl_ceil_div(dl_max(0, begin + v->top - (v->r - 1) * v->dh), v->sh);
    const long p_end = dl_min(v->p, (end - 1 + v->top) / v->sh + 1);
    real *image = (real *)f->dx + n * v->h * v->w * v->c;
    real *t = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * DL_GEMM_MC * f->depth);
    memset(image + begin * v->w * v->c, 0, sizeof(real) * (end - begin) * v->w * v->c);
    for (long first = p_begin * v->q; first < p_end * v->q; first += DL_GEMM_MC) {
        const long count = dl_min(DL_GEMM_MC, p_end * v->q - first);
        const real *dz = (const real *)f->dz + (n * v->p * v->q + first) * v->k;
        DL_FN(gemm_block)(&f->o, dz, count, 0, f->depth, 0, v->k, t, f->depth, 0);
        for (long i = 0, p = first / v->q, q = first % v->q; i < count; i++) {
            DL_FN(fold_point)(v, image, begin, end, p, q, t + i * f->depth);
            if (++q < v->q) continue;
            q = 0;
            p++;
        }
    }
    (void)worker;
}
#undef NR
