/* The tiles of sequence.h: sums of x and h together, and how rows are shared out among tiles. */
#if DL_BYTES == 64
#define ROWS4 6 /* rows whose 4, 3 or 2 registers of sums fit beside one of B and one of A */
#define ROWS3 8
#define ROWS2 12
#else
#define ROWS4 3
#define ROWS3 4
#define ROWS2 6
#endif

/* out[i][j] = sum over k of x[i][k] b[k][j] + sum over k of h[i][k] b[depth of x + k][j]; x may have no depth. */
DL_INLINE void DL_FN(sequence_sums)(const int rows, const int vectors, const dl_part *x, const dl_part *h,
                                    const real *DL_R b, real *DL_R out) {
    vec acc[12][4];
    DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < vectors; j++) acc[i][j] = DL_FN(vsplat)(0);
    b = DL_FN(row_tile)(rows, vectors, x->depth, (const real *)x->a, x->lda, 1, b, vectors * LANES, acc);
    DL_FN(row_tile)(rows, vectors, h->depth, (const real *)h->a, h->lda, 1, b, vectors * LANES, acc);
    DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < vectors; j++)
        DL_FN(vstore)(out + (i * vectors + j) * LANES, acc[i][j]);
}
/* The same for one row, of which so few registers are summed that each sum would wait for its last addition: several
   sums take turns along k, and are added in the end.  It is for batches of one, whoever computes them. */
DL_INLINE void DL_FN(lone_sums)(const int vectors, const int turns, const dl_part *x, const dl_part *h,
                                const real *DL_R b, real *DL_R out) {
    const dl_part *const parts[2] = {x, h};
    vec acc[4][4];
    DL_UNROLL for (int i = 0; i < turns; i++) DL_UNROLL for (int j = 0; j < vectors; j++) acc[i][j] = DL_FN(vsplat)(0);
    for (int part = 0; part < 2; part++) {
        const real *a = (const real *)parts[part]->a;
        long k = 0;
        for (; k + turns <= parts[part]->depth; k += turns, b += turns * vectors * LANES)
            DL_UNROLL for (int i = 0; i < turns; i++) DL_UNROLL for (int j = 0; j < vectors; j++)
                acc[i][j] += DL_FN(vsplat)(a[k + i]) * DL_FN(vload)(b + (i * vectors + j) * LANES);
        for (; k < parts[part]->depth; k++, b += vectors * LANES)
            DL_UNROLL for (int j = 0; j < vectors; j++) acc[0][j] += DL_FN(vsplat)(a[k]) * DL_FN(vload)(b + j * LANES);
    }
    DL_UNROLL for (int j = 0; j < vectors; j++) {
        const vec sum = acc[0][j] + acc[1][j];
        DL_FN(vstore)(out + j * LANES, turns > 2 ? sum + (acc[2][j] + acc[3][j]) : sum);
    }
}
#define DL_LONE_SUMS(vectors, turns)                                                                                \
    DL_NOINLINE void DL_FN(lone_sums_##vectors)(const dl_part *x, const dl_part *h, const real *b, real *out) {     \
        DL_FN(lone_sums)(vectors, turns, x, h, b, out);                                                             \
    }
DL_LONE_SUMS(2, 4)
DL_LONE_SUMS(3, 2)
DL_LONE_SUMS(4, 2)
#undef DL_LONE_SUMS
#define DL_SUMS(rows, vectors)                                                                                      \
    DL_NOINLINE void DL_FN(sums_##rows##_##vectors)(const dl_part *x, const dl_part *h, const real *b, real *out) { \
        DL_FN(sequence_sums)(rows, vectors, x, h, b, out);                                                          \
    }
#define DL_SUMS_UP_TO_3(vectors) DL_SUMS(1, vectors) DL_SUMS(2, vectors) DL_SUMS(3, vectors)
DL_SUMS_UP_TO_3(2)
DL_SUMS_UP_TO_3(3)
DL_SUMS_UP_TO_3(4)
DL_SUMS(4, 2)
DL_SUMS(5, 2)
DL_SUMS(6, 2)
DL_SUMS(4, 3)
#if DL_BYTES == 64
DL_SUMS(8, 2)
DL_SUMS(10, 2)
DL_SUMS(12, 2)
DL_SUMS(5, 3)
DL_SUMS(6, 3)
DL_SUMS(7, 3)
DL_SUMS(8, 3)
DL_SUMS(4, 4)
DL_SUMS(5, 4)
DL_SUMS(6, 4)
#endif
#undef DL_SUMS
#undef DL_SUMS_UP_TO_3

/* By registers and rows, 0: a batch of one. */
typedef void (*DL_FN(sums_kernel))(const dl_part *, const dl_part *, const real *, real *);
static const DL_FN(sums_kernel) DL_FN(sums_kernels)[3][13] = {
#define K(rows, vectors) [rows] = DL_FN(sums_##rows##_##vectors)
#define L(vectors) [0] = DL_FN(lone_sums_##vectors)
#if DL_BYTES == 64
    {L(2), K(1, 2), K(2, 2), K(3, 2), K(4, 2), K(5, 2), K(6, 2), K(8, 2), K(10, 2), K(12, 2)},
    {L(3), K(1, 3), K(2, 3), K(3, 3), K(4, 3), K(5, 3), K(6, 3), K(7, 3), K(8, 3)},
    {L(4), K(1, 4), K(2, 4), K(3, 4), K(4, 4), K(5, 4), K(6, 4)},
#else
    {L(2), K(1, 2), K(2, 2), K(3, 2), K(4, 2), K(5, 2), K(6, 2)},
    {L(3), K(1, 3), K(2, 3), K(3, 3), K(4, 3)},
    {L(4), K(1, 4), K(2, 4), K(3, 4)},
#endif
#undef K
#undef L
};

/* Rows of the next tile where `left` are left: tiles as equal as can be, since one of few rows is slow. */
DL_INLINE long DL_FN(tile_rows_of)(long left, int vectors) {
    const long most = vectors == 4 ? ROWS4 : vectors == 3 ? ROWS3 : ROWS2;
    long rows = dl_ceil_div(left, dl_ceil_div(left, most));
    while (!DL_FN(sums_kernels)[vectors - 2][rows]) rows--;
    return rows;
}
#undef ROWS2
#undef ROWS3
#undef ROWS4
