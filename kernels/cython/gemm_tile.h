/* The register tile and the packing of panels: the two inner parts of gemm.h.

   The tile keeps DL_MR x 2 vectors of C in registers and adds a rank-1 update for each k: two loads of B, DL_MR
   broadcasts of A, 2 DL_MR fused multiply-adds.  The accumulators are explicit vectors: left to the
   auto-vectoriser the same loop runs at a tenth of the speed.  Source: Goto and van de Geijn 2008, section 5; Van Zee
   and van de Geijn 2015 (BLIS). */
#define NR (2 * LANES)

/* c (DL_MR x NR) = relu?(start + sum over k of a[:, k] b[k, :]).  `start` (C so far, the bias, or NULL) is added at the
   end: the rounding errors of a k block then do not grow with what came before. */
#if DL_VECTORS
#define DL_TILE(name, A_AT)                                                                                         \
    DL_NOINLINE void DL_FN(name)(long kc, const real *DL_R a, long lda, const real *DL_R b, long ldb, real *DL_R c, \
                                 long ldc, const real *start, long start_ld, int relu) {                            \
        vec acc[DL_MR][2];                                                                                          \
        DL_UNROLL for (int i = 0; i < DL_MR; i++) DL_UNROLL for (int j = 0; j < 2; j++) acc[i][j] = DL_FN(vsplat)(0);     \
        for (long k = 0; k < kc; k++) {                                                                             \
            vec b0 = DL_FN(vload)(b), b1 = DL_FN(vload)(b + LANES);                                                 \
            DL_UNROLL for (int i = 0; i < DL_MR; i++) {                                                                \
                vec ai = DL_FN(vsplat)(A_AT);                                                                       \
                acc[i][0] += ai * b0;                                                                               \
                acc[i][1] += ai * b1;                                                                               \
            }                                                                                                       \
            b += ldb;                                                                                               \
            DL_TILE_NEXT_##name                                                                                     \
        }                                                                                                           \
        DL_UNROLL for (int i = 0; i < DL_MR; i++) DL_UNROLL for (int j = 0; j < 2; j++) {                                 \
            if (start) acc[i][j] += DL_FN(vload)(start + i * start_ld + j * LANES);                                 \
            DL_FN(vstore)(c + i * ldc + j * LANES, relu ? DL_FN(vrelu)(acc[i][j]) : acc[i][j]);                     \
        }                                                                                                           \
    }
#else
#define DL_TILE(name, A_AT)                                                                                    \
    static void DL_FN(name)(long kc, const real *DL_R a, long lda, const real *DL_R b, long ldb, real *DL_R c, \
                            long ldc, const real *start, long start_ld, int relu) {                            \
        real acc[DL_MR][NR];                                                                                   \
        for (int i = 0; i < DL_MR; i++)                                                                        \
            for (int j = 0; j < NR; j++)                                                                       \
                acc[i][j] = 0;                                                                                 \
        for (long k = 0; k < kc; k++, b += ldb) {                                                              \
            for (int i = 0; i < DL_MR; i++)                                                                    \
                for (int j = 0; j < NR; j++)                                                                   \
                    acc[i][j] += A_AT * b[j];                                                                  \
            DL_TILE_NEXT_##name                                                                                \
        }                                                                                                      \
        for (int i = 0; i < DL_MR; i++)                                                                        \
            for (int j = 0; j < NR; j++) {                                                                     \
                if (start) acc[i][j] += start[i * start_ld + j];                                               \
                c[i * ldc + j] = relu && acc[i][j] <= 0 ? 0 : acc[i][j];                                       \
            }                                                                                                  \
    }
#endif
#define DL_TILE_NEXT_tile_panel a += lda;
#define DL_TILE_NEXT_tile_rows a++;
DL_TILE(tile_panel, a[i])      /* packed panels, or the columns of a transposed matrix: lda is the step of k */
DL_TILE(tile_rows, a[i * lda]) /* straight from the rows of a matrix: lda is the step of i */
#undef DL_TILE
#undef DL_TILE_NEXT_tile_panel
#undef DL_TILE_NEXT_tile_rows

#if DL_VECTORS
/* Transposes LANES x LANES in log2(LANES) steps; step d exchanges blocks of d lanes between rows i and i + d. */
#define LOW(l, d) ((l) & (d) ? LANES + (l) - (d) : (l))
#define HIGH(l, d) ((l) & (d) ? LANES + (l) : (l) + (d))
#define LIST2(F, l, d) F(l, d), F(l + 1, d)
#define LIST4(F, l, d) LIST2(F, l, d), LIST2(F, l + 2, d)
#define LIST8(F, l, d) LIST4(F, l, d), LIST4(F, l + 4, d)
#define LIST16(F, l, d) LIST8(F, l, d), LIST8(F, l + 8, d)
#if LANES == 2
#define LIST(F, d) LIST2(F, 0, d)
#elif LANES == 4
#define LIST(F, d) LIST4(F, 0, d)
#elif LANES == 8
#define LIST(F, d) LIST8(F, 0, d)
#else
#define LIST(F, d) LIST16(F, 0, d)
#endif
#ifdef __clang__
#define SHUFFLE(a, b, F, d) __builtin_shufflevector(a, b, LIST(F, d))
#else
#define SHUFFLE(a, b, F, d) __builtin_shuffle(a, b, (ivec){LIST(F, d)})
#endif
#define EXCHANGE(d)                                          \
    DL_UNROLL for (int i = 0; i < LANES; i++) if (!(i & (d))) { \
        vec upper = row[i], lower = row[i + (d)];            \
        row[i] = SHUFFLE(upper, lower, LOW, d);              \
        row[i + (d)] = SHUFFLE(upper, lower, HIGH, d);       \
    }
DL_INLINE void DL_FN(transpose)(vec row[LANES]){EXCHANGE(1)
#if LANES > 2
                                                    EXCHANGE(2)
#endif
#if LANES > 4
                                                        EXCHANGE(4)
#endif
#if LANES > 8
                                                            EXCHANGE(8)
#endif
}
#undef LOW
#undef HIGH
#undef LIST2
#undef LIST4
#undef LIST8
#undef LIST16
#undef LIST
#undef SHUFFLE
#undef EXCHANGE

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

/* dst[k][i] = src[i stride_i + k stride_k] for i < valid, 0 for valid <= i < width; k < kc.

   Where width is no multiple of LANES, registers are stored whole: their end is overwritten by what is stored next, so
   columns go from right to left, and the last k, which would spill over the end, alone. */
DL_NOINLINE void DL_FN(pack_panel)(long kc, long width, long valid, const real *DL_R src, long stride_i, long stride_k,
                                   real *DL_R dst) {
    long done = 0;
#if DL_VECTORS
    const long spill = width % LANES != 0;
    if (stride_i == 1 && valid == width && (!spill || stride_k >= LANES))
        for (; done < kc - spill; done++) {
            __builtin_prefetch(src + (done + DL_PACK_ROWS) * stride_k); /* what this panel reads at its next turn */
            for (long i = 0; i < width; i += LANES)
                DL_FN(vstore)(dst + done * width + i, DL_FN(vload)(src + done * stride_k + i));
        }
    else if (stride_k == 1)
        for (long i = (width - 1) / LANES * LANES; i >= 0; i -= LANES)
            done = DL_FN(pack_transposed)(kc - spill, width, valid - i, src + i * stride_i, stride_i, dst + i);
#endif
    for (long k = done; k < kc; k++)
        for (long i = 0; i < width; i++)
            dst[k * width + i] = i < valid ? src[i * stride_i + k * stride_k] : 0;
}

/* `valid` columns of the source as panels of `width`, one behind the other.  Where the columns lie side by side, a row
   is read through several panels before the next: rows may be a page apart. */
DL_NOINLINE void DL_FN(pack_panels)(long kc, long width, long valid, const real *DL_R src, long stride_i, long stride_k,
                                    real *DL_R dst) {
    const long step = stride_i == 1 ? DL_PACK_ROWS : kc, group = DL_PACK_PANELS * width;
    for (long first = 0; first < valid; first += group)
        for (long k = 0; k < kc; k += step)
            for (long i = first; i < dl_min(first + group, valid); i += width)
                DL_FN(pack_panel)(dl_min(step, kc - k), width, dl_min(width, valid - i),
                                  src + i * stride_i + k * stride_k, stride_i, stride_k, dst + i * kc + k * width);
}

/* to[i][j] = from[i][j] for a corner of a tile. */
DL_NOINLINE void DL_FN(copy_tile)(const real *DL_R from, long from_ld, real *DL_R to, long to_ld, long rows,
                                  long cols) {
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < cols; j++)
            to[i * to_ld + j] = from[i * from_ld + j];
}
#undef NR
