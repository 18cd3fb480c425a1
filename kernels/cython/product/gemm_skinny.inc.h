/* Of gemm.h: products with few rows of A, or few rows of B; every matrix is read once, where it lies. */

/* The sum of each of `count` registers, its lanes added as vsum does: as many registers as there are lanes are
   transposed, and added to one. */
DL_INLINE void DL_FN(vsums)(const int count, const vec *v, real *sums) {
#if DL_VECTORS
    UNROLL for (int first = 0; first < count; first += LANES) {
        vec row[LANES];
        UNROLL for (int i = 0; i < LANES; i++) row[i] = first + i < count ? v[first + i] : DL_FN(vsplat)(0);
        DL_FN(transpose)(row);
        UNROLL for (int width = LANES / 2; width; width /= 2) UNROLL for (int i = 0; i < width; i++) row[i] +=
            row[i + width];
        DL_FN(vstore)(sums + first, row[0]);
    }
#else
    for (int i = 0; i < count; i++)
        sums[i] = v[i];
#endif
}

/* c (rows x cols): dot products of rows of A with columns of B, both contiguous in k; summed in blocks, and the blocks
   then, so that the rounding errors grow with the number of blocks rather than with k. */
DL_INLINE void DL_FN(dots)(const int rows, const int cols, const dl_gemm *g, long row, long col) {
    const real *a = (const real *)g->a + row * g->ars, *b = (const real *)g->b + col * g->bcs;
    const long whole = g->k - g->k % LANES;
    vec total[16];
    UNROLL for (int i = 0; i < rows * cols; i++) total[i] = DL_FN(vsplat)(0);
    long x = 0;
    while (x < whole) {
        const long end = dl_min(x + DL_DOTS_BLOCK * LANES, whole);
        vec acc[4][4], w[4];
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < cols; j++) acc[i][j] = DL_FN(vsplat)(0);
        DL_UNROLL_4 for (; x < end; x += LANES) {
            UNROLL for (int j = 0; j < cols; j++) w[j] = DL_FN(vload)(b + j * g->bcs + x);
            UNROLL for (int i = 0; i < rows; i++) {
                const vec v = DL_FN(vload)(a + i * g->ars + x);
                UNROLL for (int j = 0; j < cols; j++) acc[i][j] += v * w[j];
            }
        }
        UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < cols; j++) total[i * cols + j] += acc[i][j];
    }
    real sums[16 + LANES];
    DL_FN(vsums)(rows * cols, total, sums);
    for (; x < g->k; x++)
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < cols; j++)
                sums[i * cols + j] += a[i * g->ars + x] * b[j * g->bcs + x];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            real *c = (real *)g->c + (row + i) * g->ldc + col + j;
            *c = sums[i * cols + j] + (g->accumulate ? *c : g->bias ? ((const real *)g->bias)[col + j] : 0);
        }
}

/* Job: DL_DOTS_COLS columns of C, B transposed (its columns contiguous). */
static void DL_FN(gemm_dots_job)(void *ctx, long job, long worker) {
    const dl_gemm *g = ((const dl_plan *)ctx)->g;
    const long first = job * DL_DOTS_COLS, end = dl_min(first + DL_DOTS_COLS, g->n);
    long j = first;
    for (; g->m < 4 && j + 4 <= end; j += 4)
        switch (g->m) {
        case 1: DL_FN(dots)(1, 4, g, 0, j); break;
        case 2: DL_FN(dots)(2, 4, g, 0, j); break;
        default: DL_FN(dots)(3, 4, g, 0, j);
        }
    for (; j + 3 <= end; j += 3) {
        long i = 0;
        for (; i + 4 <= g->m; i += 4)
            DL_FN(dots)(4, 3, g, i, j);
        for (; i < g->m; i++)
            DL_FN(dots)(1, 3, g, i, j);
    }
    for (; j < end; j++)
        for (long i = 0; i < g->m; i++)
            DL_FN(dots)(1, 1, g, i, j);
    DL_FN(activate_block)((real *)g->c + first, g->ldc, g->m, end - first, g->activation);
    (void)worker;
}

/* out[i, j] (+)= sum over `depth` steps of k of a[i, k] b[k, j], for `rows` rows and columns j < n. */
DL_INLINE void DL_FN(axpys)(const int rows, const int depth, const dl_gemm *g, long i, long k, long col, long n,
                            real *out, long ld, int first) {
    const real *b = (const real *)g->b + k * g->brs + col;
    vec a[2][4];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int d = 0; d < depth; d++) a[r][d] =
        DL_FN(vsplat)(((const real *)g->a)[(i + r) * g->ars + (k + d) * g->acs]);
    long j = 0;
    for (; j + LANES <= n; j += LANES) {
        vec row[4];
        UNROLL for (int d = 0; d < depth; d++) row[d] = DL_FN(vload)(b + d * g->brs + j);
        UNROLL for (int r = 0; r < rows; r++) {
            vec sum = first ? DL_FN(vsplat)(0) : DL_FN(vload)(out + r * ld + j);
            UNROLL for (int d = 0; d < depth; d++) sum += a[r][d] * row[d];
            DL_FN(vstore)(out + r * ld + j, sum);
        }
    }
    for (; j < n; j++)
        for (int r = 0; r < rows; r++) {
            real sum = first ? 0 : out[r * ld + j];
            for (int d = 0; d < depth; d++)
                sum += DL_FN(vlane)(a[r][d], 0) * b[d * g->brs + j];
            out[r * ld + j] = sum;
        }
}

/* out (rows x n) = rows i.. of A times columns col.. of B, of k from begin to end, four steps and two rows at a time. */
DL_INLINE void DL_FN(combine)(const dl_gemm *g, long i, long rows, long col, long n, long begin, long end, real *out,
                              long ld) {
    long k = begin;
    for (; k + 4 <= end; k += 4) {
        long r = 0;
        for (; r + 2 <= rows; r += 2)
            DL_FN(axpys)(2, 4, g, i + r, k, col, n, out + r * ld, ld, k == begin);
        if (r < rows) DL_FN(axpys)(1, 4, g, i + r, k, col, n, out + r * ld, ld, k == begin);
    }
    for (; k < end; k++)
        for (long r = 0; r < rows; r++)
            DL_FN(axpys)(1, 1, g, i + r, k, col, n, out + r * ld, ld, k == begin);
}

/* Job: DL_COMBINE_COLS columns of C, all of its few rows. The sums lie side by side: rows of C, and those of B, are
   often a multiple of 4 kB apart, and compete for one place in L1.  A long k is summed in blocks, and these then. */
static void DL_FN(gemm_combine_job)(void *ctx, long job, long worker) {
    const dl_gemm *g = ((const dl_plan *)ctx)->g;
    const long col = job * DL_COMBINE_COLS, n = dl_min(DL_COMBINE_COLS, g->n - col);
    real *c = (real *)g->c + col, sums[DL_COMBINE_ROWS * DL_COMBINE_COLS], more[DL_COMBINE_ROWS * DL_COMBINE_COLS];
    for (long k = 0; k < g->k; k += DL_COMBINE_BLOCK) {
        DL_FN(combine)(g, 0, g->m, col, n, k, dl_min(k + DL_COMBINE_BLOCK, g->k), k ? more : sums, DL_COMBINE_COLS);
        for (long i = 0; k && i < g->m * DL_COMBINE_COLS; i += DL_COMBINE_COLS)
            for (long j = 0; j < n; j++)
                sums[i + j] += more[i + j];
    }
    for (long i = 0; i < g->m; i++)
        for (long j = 0; j < n; j++) {
            const real start = g->accumulate ? c[i * g->ldc + j] : g->bias ? ((const real *)g->bias)[col + j] : 0;
            c[i * g->ldc + j] = start + sums[i * DL_COMBINE_COLS + j];
        }
    DL_FN(activate_block)(c, g->ldc, g->m, n, g->activation);
    (void)worker;
}

/* Job: p->mc rows of C = A B for a short k: each row is written once, from end to end. */
static void DL_FN(gemm_outer_job)(void *ctx, long job, long worker) {
    const dl_plan *p = (const dl_plan *)ctx;
    const dl_gemm *g = p->g;
    const long row = job * p->mc;
    DL_FN(combine)(g, row, dl_min(p->mc, g->m - row), 0, g->n, 0, g->k, (real *)g->c + row * g->ldc, g->ldc);
    (void)worker;
}
