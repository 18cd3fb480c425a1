/* One block of C, by one thread: see gemm_block.h. */
#define NR (2 * LANES)
/* Asks for `count` elements that will be read soon. */
DL_INLINE void DL_FN(prefetch)(const real *p, long count) {
#if DL_VECTORS
    for (long i = 0; i < count; i += 64 / (long)sizeof(real))
        __builtin_prefetch(p + i, 0, 2);
#endif
    (void)p, (void)count;
}

/* Asks for the tile of C that a product will be added to. */
DL_INLINE void DL_FN(prefetch_tile)(const real *c, long ldc, long rows, long cols) {
#if DL_VECTORS
    for (long i = 0; i < rows; i++, c += ldc) {
        __builtin_prefetch(c);
        __builtin_prefetch(c + cols - 1);
    }
#endif
    (void)c, (void)ldc, (void)rows, (void)cols;
}

/* In place on a block that is still in cache. */
DL_INLINE void DL_FN(activate_rows)(real *c, long ldc, long m, long n, const int activation) {
    for (long i = 0; i < m; i++, c += ldc) {
        long j = 0;
        for (; j + LANES <= n; j += LANES)
            DL_FN(vstore)(c + j, DL_FN(vactivate)(DL_FN(vload)(c + j), activation));
        if (j < n) DL_FN(store_part)(c + j, DL_FN(vactivate)(DL_FN(load_part)(c + j, n - j), activation), n - j);
    }
}
DL_NOINLINE void DL_FN(activate_block)(real *c, long ldc, long m, long n, int activation) {
    switch (activation) { /* not in the loop, which then keeps its constants in registers */
    case DL_RELU: DL_FN(activate_rows)(c, ldc, m, n, DL_RELU); break;
    case DL_SIGMOID: DL_FN(activate_rows)(c, ldc, m, n, DL_SIGMOID); break;
    case DL_TANH: DL_FN(activate_rows)(c, ldc, m, n, DL_TANH); break;
    case DL_GELU: DL_FN(activate_rows)(c, ldc, m, n, DL_GELU); break;
    case DL_GELU_TANH: DL_FN(activate_rows)(c, ldc, m, n, DL_GELU_TANH); break;
    case DL_SILU: DL_FN(activate_rows)(c, ldc, m, n, DL_SILU); break;
    }
}
/* c (m x n) = or += A[0..m, k_begin..k_end] B[k_begin..k_end, col..col+n].  m <= DL_MC. */
DL_NOINLINE void DL_FN(gemm_block)(const dl_operands *g, const real *a0, long m, long col, long n, long k_begin,
                                   long k_end, real *c, long ldc, int accumulate) {
    const int direct = g->acs == 1 && !g->pack_a && !g->mpad;
    const real *bias = (const real *)g->bias;
    const long rows_k = (DL_MC + 2 * DL_MR) * DL_MOST_KC;
    real *packed = (real *)dl_scratch(DL_SCRATCH_TILE, sizeof(real) * (rows_k + NR * DL_MOST_KC));
    if (!packed) return;
    real *own = packed + rows_k; /* a panel of B */
    long k = k_begin;
    do {
        const long kc = dl_min(g->kc, k_end - k), ldb = g->ldb ? g->ldb : NR;
        const int first = k == k_begin && !accumulate, ends = k + kc == g->k && g->finish;
        const int relu = ends && g->activation == DL_RELU;
        const real *a = a0 + k * g->acs;
        const real *panels = g->mpad ? a0 + k * g->mpad + g->row * kc : packed;
        if (!g->mpad && !direct) DL_FN(pack_panels)(kc, DL_MR, m, a, g->ars, g->acs, packed);
        const long tiles = dl_ceil_div(m, DL_MR), ahead = g->ldb || g->bn ? 0 : dl_ceil_div(kc * NR, tiles);
        for (long j = 0; j < n; j += NR) {
            const long cols = dl_min(NR, n - j);
            const real *b = (const real *)g->b + (g->ldb ? k * g->ldb + col + j : k * g->npad + (col + j) * kc);
            const real *next = b + kc * NR, *from = NULL, *start = bias ? bias + col + j : NULL;
            if (g->bn) {
                from = (const real *)g->b + k * g->brs + (col + j) * g->bcs;
                if (g->bcs != 1 || m <= DL_MR || cols < NR) {
                    DL_FN(pack_panel)(kc, NR, dl_min(NR, g->bn - col - j), from, g->bcs, g->brs, own);
                    from = NULL;
                }
                b = own;
            }
            const int vectors = cols > LANES ? 2 : 1;
            for (long i = 0, rows; i < m; i += rows, next += ahead) {
                const long lda = direct ? g->ars : DL_MR, within = i % DL_MR;
                const real *rows_a = direct ? a + i * g->ars : panels + (i - within) * kc + within;
                rows = DL_FN(tile_height)(m - i);
                const long start_ld = first ? 0 : ldc;
                real *to = c + i * ldc + j;
                const real *begin = first ? start : to;
                if (ahead) DL_FN(prefetch)(next, ahead); /* a share of the next panel of B */
                if (!first) DL_FN(prefetch_tile)(to, ldc, rows, cols);
                if (i || !from)
                    DL_FN(tiles)[rows - 1][direct][vectors - 1](kc, rows_a, lda, b, ldb, to, ldc, cols, begin, start_ld,
                                                                relu);
                else
                    (direct ? DL_FN(tile_rows_keep) : DL_FN(tile_panel_keep))(own, kc, rows_a, lda, from, g->brs, to,
                                                                             ldc, begin, start_ld, relu);
            }
            if (ends && g->activation > DL_RELU) DL_FN(activate_block)(c + j, ldc, m, cols, g->activation);
        }
        k += kc;
    } while (k < k_end);
}
#undef NR
