/* The jobs of gemm.h: packing, one block of C, the sum over chunks of k. */
#define NR (2 * LANES)

/* Job: DL_PACK_PANELS panels of one k block of A or, with the numbers that follow, of B. */
static void DL_FN(gemm_pack_job)(void *ctx, long job, long worker) {
    const dl_packing *p = (const dl_packing *)ctx;
    if (job >= dl_packing_jobs(p)) job -= dl_packing_jobs(p++);
    const long group = DL_PACK_PANELS * p->width, groups = dl_ceil_div(p->size, group);
    const long k = job / groups * p->kc, kc = dl_min(p->kc, p->k - k), i = job % groups * group;
    const real *from = (const real *)p->from + i * p->stride_i + k * p->stride_k;
    DL_FN(pack_panels)(kc, p->width, dl_min(group, p->size - i), from, p->stride_i, p->stride_k,
                       (real *)p->to + k * dl_round_up(p->size, p->width) + i * kc);
    (void)worker;
}

/* Job: one block of C, or of the partial C of one chunk of K. */
static void DL_FN(gemm_block_job)(void *ctx, long job, long worker) {
    const dl_plan *p = (const dl_plan *)ctx;
    const dl_gemm *g = p->g;
    const long chunk = job / (p->row_blocks * p->col_blocks), block = job % (p->row_blocks * p->col_blocks);
    const long row = dl_cut(block / p->col_blocks, p->row_blocks, g->m, DL_MR);
    const long col = dl_cut(block % p->col_blocks, p->col_blocks, g->n, NR);
    const long m = dl_cut(block / p->col_blocks + 1, p->row_blocks, g->m, DL_MR) - row;
    const long n = dl_cut(block % p->col_blocks + 1, p->col_blocks, g->n, NR) - col;
    const long k_begin = chunk * p->k_chunk, k_end = dl_min(k_begin + p->k_chunk, g->k);
    const real *a = p->o.mpad ? (const real *)p->packed_a : (const real *)g->a + row * g->ars;
    dl_operands o = p->o;
    o.row = row;
    const int split = p->chunks > 1;
    real *c = split ? (real *)p->partial + (chunk * g->m + row) * g->n + col : (real *)g->c + row * g->ldc + col;
    const long ldc = split ? g->n : g->ldc;
    DL_FN(gemm_block)(&o, a, m, col, n, k_begin, k_end, c, ldc, split ? 0 : g->accumulate);
    (void)worker;
}

/* Job: one row of C, the partial sums added in the order of the chunks. */
static void DL_FN(gemm_sum_job)(void *ctx, long row, long worker) {
    const dl_plan *p = (const dl_plan *)ctx;
    const dl_gemm *g = p->g;
    real *c = (real *)g->c + row * g->ldc;
    for (long j = 0; j < g->n; j += LANES) {
        const long n = dl_min(LANES, g->n - j);
        vec sum = g->accumulate ? DL_FN(vload_n)(c + j, n)
                  : g->bias     ? DL_FN(vload_n)((const real *)g->bias + j, n)
                                : DL_FN(vsplat)(0);
        for (long chunk = 0; chunk < p->chunks; chunk++)
            sum += DL_FN(vload_n)((const real *)p->partial + (chunk * g->m + row) * g->n + j, n);
        DL_FN(vstore_n)(c + j, sum, g->n - j);
    }
    DL_FN(activate_block)(c, g->ldc, 1, g->n, g->activation);
    (void)worker;
}

#undef NR
