/* A register tile for sequence.h and attention.h: a few rows of A times a packed panel of `vectors` registers, whose
   sums are left in memory for what comes next.  Sequences take one row of A after the other along k, attention any
   strides. */
/* acc[i][j] += sum over k of a[i lda + k step] b[k ldb + j]; returns where b ends. */
DL_INLINE const real *DL_FN(row_tile)(const int rows, const int vectors, long depth, const real *DL_R a, long lda,
                                      long step, const real *DL_R b, long ldb, vec acc[12][4]) {
    DL_UNROLL_4 for (long k = 0; k < depth; k++, a += step, b += ldb) {
        vec few[4]; /* what is kept of A or B: the sums leave room for no more */
        if (rows < vectors) {
            DL_UNROLL for (int i = 0; i < rows; i++) few[i] = DL_FN(vsplat)(a[i * lda]);
            DL_UNROLL for (int j = 0; j < vectors; j++) {
                const vec bj = DL_FN(vload)(b + j * LANES);
                DL_UNROLL for (int i = 0; i < rows; i++) acc[i][j] += few[i] * bj;
            }
        } else {
            DL_UNROLL for (int j = 0; j < vectors; j++) few[j] = DL_FN(vload)(b + j * LANES);
            DL_UNROLL for (int i = 0; i < rows; i++) {
                const vec ai = DL_FN(vsplat)(a[i * lda]);
                DL_UNROLL for (int j = 0; j < vectors; j++) acc[i][j] += ai * few[j];
            }
        }
    }
    return b;
}
