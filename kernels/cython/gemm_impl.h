/* The jobs of gemm.h: packing B, one block of C, the sum over chunks of k, and the skinny products. */
#define NR (2 * LANES)

/* Job: DL_PACK_PANELS panels of one k block of B, zero-padded to whole panels. */
static void DL_FN(gemm_pack_job)(void *ctx, long job, long worker) {
    const dl_plan *p = (const dl_plan *)ctx;
    const long panels = p->o.npad / NR, groups = dl_ceil_div(panels, DL_PACK_PANELS);
    const long k = job / groups * p->o.kc, kc = dl_min(p->o.kc, p->g->k - k), begin = job % groups * DL_PACK_PANELS;
    for (long j = begin * NR; j < dl_min(begin + DL_PACK_PANELS, panels) * NR; j += NR)
        DL_FN(pack_panel)(kc, NR, dl_min(NR, p->g->n - j), (const real *)p->g->b + k * p->g->brs + j * p->g->bcs,
                          p->g->bcs, p->g->brs, (real *)p->packed + k * p->o.npad + j * kc);
    (void)worker;
}

/* Job: one block of C, or of the partial C of one chunk of K. */
static void DL_FN(gemm_block_job)(void *ctx, long job, long worker) {
    const dl_plan *p = (const dl_plan *)ctx;
    const dl_gemm *g = p->g;
    const long chunk = job / (p->row_blocks * p->col_blocks), block = job % (p->row_blocks * p->col_blocks);
    const long row = block / p->col_blocks * p->mc, col = block % p->col_blocks * p->nc;
    const long m = dl_min(p->mc, g->m - row), n = dl_min(p->nc, g->n - col);
    if (m <= 0 || n <= 0) return;
    const long k_begin = chunk * p->k_chunk, k_end = dl_min(k_begin + p->k_chunk, g->k);
    const real *a = (const real *)g->a + row * g->ars;
    const int split = p->chunks > 1;
    real *c = split ? (real *)p->partial + (chunk * g->m + row) * g->n + col : (real *)g->c + row * g->ldc + col;
    const long ldc = split ? g->n : g->ldc;
    DL_FN(gemm_block)(&p->o, a, m, col, n, k_begin, k_end, c, ldc, split ? 0 : g->accumulate);
    if (!split && g->activation != DL_RELU) DL_FN(activate_block)(c, ldc, m, n, g->activation); /* ReLU: in the tile */
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
        DL_FN(vstore_n)(c + j, sum, n);
    }
    DL_FN(activate_block)(c, g->ldc, 1, g->n, g->activation);
    (void)worker;
}

/* c[i][j], j < cols: dot products of `rows` rows of A with `cols` columns of B, both contiguous in k. */
DL_INLINE void DL_FN(dots)(const int rows, const int cols, long k, const real *a, long lda, const real *b, long ldb,
                           real *c, long ldc, const real *bias, int accumulate) {
    vec acc[4][4];
    long x = 0;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            acc[i][j] = DL_FN(vsplat)(0);
    for (; x + LANES <= k; x += LANES)
        for (int j = 0; j < cols; j++) {
            const vec w = DL_FN(vload)(b + j * ldb + x);
            for (int i = 0; i < rows; i++)
                acc[i][j] += DL_FN(vload)(a + i * lda + x) * w;
        }
    if (x < k)
        for (int j = 0; j < cols; j++) {
            const vec w = DL_FN(vload_n)(b + j * ldb + x, k - x);
            for (int i = 0; i < rows; i++)
                acc[i][j] += DL_FN(vload_n)(a + i * lda + x, k - x) * w;
        }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            const real start = accumulate ? c[i * ldc + j] : bias ? bias[j] : 0;
            c[i * ldc + j] = start + DL_FN(vsum)(acc[i][j]);
        }
}

/* Job: DL_SKINNY columns of C for m <= 4 rows, B transposed (its columns contiguous): the weights are read once,
   unpacked. */
static void DL_FN(gemm_dots_job)(void *ctx, long job, long worker) {
    const dl_gemm *g = ((const dl_plan *)ctx)->g;
    const long first = job * DL_SKINNY, end = dl_min(first + DL_SKINNY, g->n);
    const real *a = (const real *)g->a, *bias = (const real *)g->bias;
    real *c = (real *)g->c;
#define DOTS(rows, cols)                                                                             \
    for (; j + cols <= end; j += cols)                                                               \
    DL_FN(dots)(rows, cols, g->k, a, g->ars, (const real *)g->b + j * g->bcs, g->bcs, c + j, g->ldc, \
                bias ? bias + j : NULL, g->accumulate)
    long j = first;
    switch (g->m) {
    case 1: DOTS(1, 4); break;
    case 2: DOTS(2, 4); break;
    case 3: DOTS(3, 2); break;
    default: DOTS(4, 2);
    }
#undef DOTS
    for (; j < end; j++)
        for (long i = 0; i < g->m; i++)
            DL_FN(dots)(1, 1, g->k, a + i * g->ars, 0, (const real *)g->b + j * g->bcs, 0, c + i * g->ldc + j, 0,
                        bias ? bias + j : NULL, g->accumulate);
    DL_FN(activate_block)(c + first, g->ldc, g->m, end - first, g->activation);
    (void)worker;
}

/* c (rows x 2 registers, or as many as n reaches) += sum over one k block of a[:, k] b[k, :], B straight from its rows.
 */
DL_INLINE void DL_FN(axpys)(const int rows, const dl_gemm *g, long k_begin, long k_end, long col, long n) {
    const real *a = (const real *)g->a, *b = (const real *)g->b + k_begin * g->brs + col;
    real *c = (real *)g->c + col;
    const long n0 = dl_min(n, LANES), n1 = n - n0;
    vec acc[4][2];
    for (int i = 0; i < rows; i++)
        acc[i][0] = acc[i][1] = DL_FN(vsplat)(0);
    for (long k = k_begin; k < k_end; k++, b += g->brs) {
        const vec b0 = n1 == LANES ? DL_FN(vload)(b) : DL_FN(vload_n)(b, n0);
        const vec b1 = n1 == LANES ? DL_FN(vload)(b + LANES) : DL_FN(vload_n)(b + LANES, n1);
        for (int i = 0; i < rows; i++) {
            const vec ai = DL_FN(vsplat)(a[i * g->ars + k * g->acs]);
            acc[i][0] += ai * b0;
            acc[i][1] += ai * b1;
        }
    }
    for (int i = 0; i < rows; i++, c += g->ldc) {
        DL_FN(vstore_n)(c, DL_FN(vload_n)(c, n0) + acc[i][0], n0);
        DL_FN(vstore_n)(c + LANES, DL_FN(vload_n)(c + LANES, n1) + acc[i][1], n1);
    }
}

/* Job: DL_SKINNY columns of C for m <= 4 rows, rows of B contiguous. */
static void DL_FN(gemm_axpys_job)(void *ctx, long job, long worker) {
    const dl_gemm *g = ((const dl_plan *)ctx)->g;
    const long first = job * DL_SKINNY, end = dl_min(first + DL_SKINNY, g->n);
    if (!g->accumulate)
        for (long i = 0; i < g->m; i++)
            for (long j = first; j < end; j++)
                ((real *)g->c)[i * g->ldc + j] = g->bias ? ((const real *)g->bias)[j] : 0;
    for (long k = 0; k < g->k; k += DL_GEMM_KC)
        for (long j = first; j < end; j += NR) {
            const long k_end = dl_min(k + DL_GEMM_KC, g->k), n = dl_min(NR, end - j);
            switch (g->m) {
            case 1: DL_FN(axpys)(1, g, k, k_end, j, n); break;
            case 2: DL_FN(axpys)(2, g, k, k_end, j, n); break;
            case 3: DL_FN(axpys)(3, g, k, k_end, j, n); break;
            default: DL_FN(axpys)(4, g, k, k_end, j, n);
            }
        }
    DL_FN(activate_block)((real *)g->c + first, g->ldc, g->m, end - first, g->activation);
    (void)worker;
}
#undef NR
