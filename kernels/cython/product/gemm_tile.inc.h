/* The register tile and the packing of panels, the two inner parts of gemm.h; in gemm_block.h.

   The tile keeps up to DL_MR x 2 vectors of C in registers and adds a rank-1 update for each k: two loads of B, DL_MR
   broadcasts of A, 2 DL_MR fused multiply-adds.  A smaller tile, of the last rows or of columns that fit in one
   register, keeps several sums of each number, which take turns along k: else each addition would wait for the one
   before.  The accumulators are explicit vectors: left to the auto-vectoriser the same loop runs at a tenth of the
   speed.  Source: Goto and van de Geijn 2008, section 5; Van Zee and van de Geijn 2015 (BLIS). */
#define NR (2 * LANES)
#if DL_VECTORS
#define DL_SOON(p) __builtin_prefetch(p, 0, 2)
#else
#define DL_SOON(p) ((void)0)
#endif

/* The end of a tile whose columns do not fill its registers. */
DL_NOINLINE void DL_FN(tile_end)(const real *sums, long rows, real *c, long ldc, long cols, const real *start,
                                 long start_ld, int relu) {
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < cols; j += LANES) {
            vec sum = DL_FN(vload)(sums + i * NR + j);
            if (start) sum += DL_FN(vload_n)(start + i * start_ld + j, cols - j);
            DL_FN(vstore_n)(c + i * ldc + j, relu ? DL_FN(vrelu)(sum) : sum, cols - j);
        }
}

/* c (rows x cols) = relu?(start + sum over k of a[:, k] b[k, :]), cols up to `vectors` registers.  `start` (C so far, the
   bias, or NULL) is added at the end: the rounding errors of a k block then do not grow with what came before.
   direct: a is rows of the matrix, lda apart, else packed panels, or the columns of a transposed matrix, lda the step
   of k.  keep, or NULL: where the panel that is read from b, rows ldb apart, is left packed for the tiles that follow. */
DL_INLINE void DL_FN(tile)(const int rows, const int vectors, const int direct, real *DL_R keep, long kc,
                           const real *DL_R a, long lda, const real *DL_R b, long ldb, real *DL_R c, long ldc,
                           long cols, const real *start, long start_ld, int relu) {
    const long step_i = direct ? lda : 1, step_k = direct ? 1 : lda;
    const int turns = 4 * rows * vectors <= 2 * DL_MR ? 4 : 2 * rows * vectors <= 2 * DL_MR ? 2 : 1;
    vec acc[4][DL_MR][2];
    DL_UNROLL for (int t = 0; t < turns; t++) DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (
        int j = 0; j < vectors; j++) acc[t][i][j] = DL_FN(vsplat)(0);
    long k = 0;
    for (; turns > 1 && k + turns <= kc; k += turns)
        DL_UNROLL for (int t = 0; t < turns; t++, a += step_k, b += ldb) {
            vec bk[2];
            DL_UNROLL for (int j = 0; j < vectors; j++) bk[j] = DL_FN(vload)(b + j * LANES);
            DL_UNROLL for (int i = 0; i < rows; i++) {
                const vec ai = DL_FN(vsplat)(a[i * step_i]);
                DL_UNROLL for (int j = 0; j < vectors; j++) acc[t][i][j] += ai * bk[j];
            }
        }
    DL_UNROLL_4 for (; k < kc; k++, a += step_k, b += ldb) {
        vec bk[2];
        DL_UNROLL for (int j = 0; j < vectors; j++) bk[j] = DL_FN(vload)(b + j * LANES);
        if (keep) {
            DL_SOON(b + NR); /* what the first tile of the next panel reads */
            DL_UNROLL for (int j = 0; j < vectors; j++) DL_FN(vstore)(keep + k * NR + j * LANES, bk[j]);
        }
        DL_UNROLL for (int i = 0; i < rows; i++) {
            const vec ai = DL_FN(vsplat)(a[i * step_i]);
            DL_UNROLL for (int j = 0; j < vectors; j++) acc[0][i][j] += ai * bk[j];
        }
    }
    DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < vectors; j++) {
        if (turns == 4) acc[1][i][j] += acc[3][i][j], acc[0][i][j] += acc[2][i][j];
        if (turns > 1) acc[0][i][j] += acc[1][i][j];
    }
    if (cols == vectors * LANES) {
        DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < vectors; j++) {
            if (start) acc[0][i][j] += DL_FN(vload)(start + i * start_ld + j * LANES);
            DL_FN(vstore)(c + i * ldc + j * LANES, relu ? DL_FN(vrelu)(acc[0][i][j]) : acc[0][i][j]);
        }
    } else {
        real sums[DL_MR * NR];
        DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < vectors; j++)
            DL_FN(vstore)(sums + i * NR + j * LANES, acc[0][i][j]);
        DL_FN(tile_end)(sums, rows, c, ldc, cols, start, start_ld, relu);
    }
}

/* A tile whose shape the compiler knows: rows, then registers; from a panel of A, or from rows of the matrix. */
typedef void (*DL_FN(tile_fn))(long kc, const real *a, long lda, const real *b, long ldb, real *c, long ldc, long cols,
                               const real *start, long start_ld, int relu);
#define DL_TILE(name, rows, vectors, direct)                                                                        \
    DL_NOINLINE void DL_FN(name)(long kc, const real *a, long lda, const real *b, long ldb, real *c, long ldc,      \
                                 long cols, const real *start, long start_ld, int relu) {                           \
        DL_FN(tile)(rows, vectors, direct, NULL, kc, a, lda, b, ldb, c, ldc, cols, start, start_ld, relu);          \
    }
#define DL_TILES(rows)                                                                                              \
    DL_TILE(panel_##rows##_1, rows, 1, 0) DL_TILE(panel_##rows##_2, rows, 2, 0)                                     \
    DL_TILE(rows_##rows##_1, rows, 1, 1) DL_TILE(rows_##rows##_2, rows, 2, 1)
#define DL_TILES_OF(rows)                                                                                           \
    {{DL_FN(panel_##rows##_1), DL_FN(panel_##rows##_2)}, {DL_FN(rows_##rows##_1), DL_FN(rows_##rows##_2)}}
DL_TILES(1)
DL_TILES(2)
DL_TILES(3)
DL_TILES(4)
#if DL_BYTES >= 32
DL_TILES(5)
DL_TILES(6)
#endif
#if DL_BYTES == 64
DL_TILES(8)
DL_TILES(10)
DL_TILES(12)
#endif
DL_UNUSED static const DL_FN(tile_fn) DL_FN(tiles)[DL_MR][2][2] = { /* by rows - 1, direct, registers - 1 */
    DL_TILES_OF(1), DL_TILES_OF(2), DL_TILES_OF(3), DL_TILES_OF(4),
#if DL_BYTES >= 32
    DL_TILES_OF(5), DL_TILES_OF(6),
#endif
#if DL_BYTES == 64
    [7] = DL_TILES_OF(8), [9] = DL_TILES_OF(10), [11] = DL_TILES_OF(12),
#endif
};
/* Rows of the next tile where `left` are left: of the taller ones there are those of even height. */
DL_INLINE long DL_FN(tile_height)(long left) { return left >= DL_MR ? DL_MR : left > 6 ? left & ~1L : left; }
#undef DL_TILES
#undef DL_TILES_OF
#undef DL_TILE

#define DL_TILE_KEEP(name, direct)                                                                                  \
    DL_NOINLINE void DL_FN(name)(real *keep, long kc, const real *a, long lda, const real *b, long ldb, real *c,    \
                                 long ldc, const real *start, long start_ld, int relu) {                            \
        DL_FN(tile)(DL_MR, 2, direct, keep, kc, a, lda, b, ldb, c, ldc, NR, start, start_ld, relu);                 \
    }
DL_TILE_KEEP(tile_panel_keep, 0)
DL_TILE_KEEP(tile_rows_keep, 1)
#undef DL_TILE_KEEP

/* Whole tiles, which Winograd's products are made of. */
DL_INLINE void DL_FN(tile_panel)(long kc, const real *a, long lda, const real *b, long ldb, real *c, long ldc,
                                 const real *start, long start_ld, int relu) {
    DL_FN(tiles)[DL_MR - 1][0][1](kc, a, lda, b, ldb, c, ldc, NR, start, start_ld, relu);
}
DL_INLINE void DL_FN(tile_rows)(long kc, const real *a, long lda, const real *b, long ldb, real *c, long ldc,
                                const real *start, long start_ld, int relu) {
    DL_FN(tiles)[DL_MR - 1][1][1](kc, a, lda, b, ldb, c, ldc, NR, start, start_ld, relu);
}

#if DL_VECTORS
/* LANES rows of the source, k contiguous, to LANES columns of the panel; returns the number of k done. */
DL_NOINLINE long DL_FN(pack_transposed)(long kc, long width, long valid, const real *DL_R src, long stride_i,
                                        real *DL_R dst) {
    long k = 0;
    for (; k + LANES <= kc; k += LANES) {
        vec row[LANES];
        DL_UNROLL for (int i = 0; i < LANES; i++) row[i] =
            i < valid ? DL_FN(vload)(src + i * stride_i + k) : DL_FN(vsplat)(0);
        DL_FN(transpose)(row);
        DL_UNROLL for (int i = 0; i < LANES; i++) DL_FN(vstore)(dst + (k + i) * width, row[i]);
    }
    return k;
}
#endif

#if DL_VECTORS
/* Rows of the source, `registers` for each panel, to as many panels; returns the number of k done.  Where width is no
   multiple of LANES, the end of a register is overwritten by what is stored next, and the last k, which would spill
   over the end of the panel, is left out.  A row is read through all panels before the next: rows may be a page
   apart. */
DL_INLINE long DL_FN(pack_rows)(const int registers, long kc, long width, long panels, const real *DL_R src,
                                long stride_k, real *DL_R dst) {
    const long count = kc - (registers * LANES != width), line = 64 / (long)sizeof(real);
    for (long k = 0; k < count; k++, src += stride_k, dst += width) {
        for (long i = 0; i < panels * width; i += line)
            DL_SOON(src + DL_PACK_ROWS * stride_k + i);
        for (long p = 0; p < panels; p++)
            DL_UNROLL for (int r = 0; r < registers; r++)
                DL_FN(vstore)(dst + p * kc * width + r * LANES, DL_FN(vload)(src + p * width + r * LANES));
    }
    return dl_max(count, 0);
}
#endif

/* dst[k][i] = src[i stride_i + k stride_k] for i < valid, 0 for valid <= i < width; k < kc; the same for `panels`
   panels, each behind the one before, of which only a single one may have valid < width. */
DL_NOINLINE void DL_FN(pack_several)(long kc, long width, long valid, long panels, const real *DL_R src, long stride_i,
                                     long stride_k, real *DL_R dst) {
    long done = 0;
#if DL_VECTORS
    if (stride_i == 1 && valid == width && width <= 2 * LANES && stride_k >= 2 * LANES)
        done = width > LANES ? DL_FN(pack_rows)(2, kc, width, panels, src, stride_k, dst)
                             : DL_FN(pack_rows)(1, kc, width, panels, src, stride_k, dst);
#endif
    for (long p = 0; p < panels; p++, src += width * stride_i, dst += kc * width) {
        long k = done;
#if DL_VECTORS
        if (stride_k == 1 && stride_i != 1) /* columns from right to left: they spill like rows */
            for (long i = (width - 1) / LANES * LANES; i >= 0; i -= LANES)
                k = DL_FN(pack_transposed)(kc - (width % LANES != 0), width, valid - i, src + i * stride_i, stride_i,
                                           dst + i);
#endif
        for (; k < kc; k++)
            for (long i = 0; i < width; i++)
                dst[k * width + i] = i < valid ? src[i * stride_i + k * stride_k] : 0;
    }
}

/* One panel. */
DL_INLINE void DL_FN(pack_panel)(long kc, long width, long valid, const real *DL_R src, long stride_i, long stride_k,
                                 real *DL_R dst) {
    DL_FN(pack_several)(kc, width, valid, 1, src, stride_i, stride_k, dst);
}

/* `valid` columns of the source as panels of `width`, one behind the other. */
DL_NOINLINE void DL_FN(pack_panels)(long kc, long width, long valid, const real *DL_R src, long stride_i, long stride_k,
                                    real *DL_R dst) {
    const long rest = valid % width, whole = valid - rest, group = DL_PACK_PANELS * width;
    for (long i = 0; i < whole; i += group)
        DL_FN(pack_several)(kc, width, width, dl_min(group, whole - i) / width, src + i * stride_i, stride_i, stride_k,
                            dst + i * kc);
    if (rest) DL_FN(pack_panel)(kc, width, rest, src + whole * stride_i, stride_i, stride_k, dst + whole * kc);
}
#undef DL_SOON
#undef NR
