/* The register tiles of direct.h: pixels x registers of columns, and lines of them.

   A panel of columns is 2 registers wide, or 1 where no more columns are left: with 6 or 8 channels of output a second
   register would be empty.  A tile of one register has twice the pixels.  Each has a lower variant, because a line of
   10 or 28 pixels is cut into whole tiles of 5 or 10 of them; and one of a single pixel, for shorter lines. */
#define NR (2 * LANES)

/* c (rows x registers) = relu?(bias + sum over the kernel rows of `t`); a: the first number of the first pixel, b: the
   packed panel. */
DL_INLINE void DL_FN(direct_tile)(const int rows, const int registers, const dl_taps *t, const real *a, const real *b,
                                  real *c, long ldc, const real *bias, int relu) {
    const long step = t->step, down = t->down - t->run, skip = (t->skip - 1) * t->run * registers * LANES;
    vec acc[DL_HIGH1][2];
    DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < registers; j++) acc[i][j] = DL_FN(vsplat)(0);
    b += t->first * t->run * registers * LANES;
    for (long r = 0; r < t->rows; r++, a += down, b += skip)
        for (long k = 0; k < t->run; k++, a++, b += registers * LANES) {
            vec bj[2];
            DL_UNROLL for (int j = 0; j < registers; j++) bj[j] = DL_FN(vload)(b + j * LANES);
            DL_UNROLL for (int i = 0; i < rows; i++) {
                const vec ai = DL_FN(vsplat)(a[i * step]);
                DL_UNROLL for (int j = 0; j < registers; j++) acc[i][j] += ai * bj[j];
            }
        }
    DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < registers; j++) {
        if (bias) acc[i][j] += DL_FN(vload)(bias + j * LANES);
        if (relu) acc[i][j] = DL_FN(vrelu)(acc[i][j]);
    }
    if (t->stream)
        DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < registers; j++)
            DL_FN(vstream)(c + i * ldc + j * LANES, acc[i][j]);
    else
        DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < registers; j++)
            DL_FN(vstore)(c + i * ldc + j * LANES, acc[i][j]);
}
#define TILE(name, rows, registers)                                                                 \
    DL_NOINLINE void DL_FN(name)(const dl_taps *t, const real *a, const real *b, real *c, long ldc, \
                                 const real *bias, int relu) {                                      \
        DL_FN(direct_tile)(rows, registers, t, a, b, c, ldc, bias, relu);                           \
    }
TILE(direct_tile_high2, DL_HIGH2, 2)
TILE(direct_tile_low2, DL_LOW2, 2)
TILE(direct_tile_one2, 1, 2)
TILE(direct_tile_high1, DL_HIGH1, 1)
TILE(direct_tile_low1, DL_LOW1, 1)
TILE(direct_tile_one1, 1, 1)
#undef TILE

/* The height of the tiles that cover n rows with the least waste; never more than n. */
DL_INLINE long DL_FN(direct_height)(long n, int registers) {
    const long high = registers == 2 ? DL_HIGH2 : DL_HIGH1, low = registers == 2 ? DL_LOW2 : DL_LOW1;
    if (n < low) return 1;
    return n < high || dl_ceil_div(n, low) * low < dl_ceil_div(n, high) * high ? low : high;
}

/* c (pixels, ldc) = relu?(bias + sums) in `columns` columns.  The last tile overlaps the one before.  Registers are
   stored whole: the last of a pixel may spill into the next pixel, so panels go from right to left and pixels from left
   to right, and there must be room for LANES numbers behind c. */
static void DL_FN(direct_line)(const dl_taps *t, const real *a, const real *b, real *c, long ldc, long pixels,
                               long columns, const real *bias, int relu) {
    for (long k = (columns - 1) / NR * NR; k >= 0; k -= NR) {
        const int registers = columns - k > LANES ? 2 : 1;
        const long rows = DL_FN(direct_height)(pixels, registers);
        const real *panel = b + k * t->run * t->all, *from = bias ? bias + k : NULL;
        for (long at = 0; at < pixels; at += rows) {
            const long q = dl_min(at, pixels - rows);
            const real *pixel = a + q * t->step;
            real *to = c + q * ldc + k;
            if (registers == 2)
                (rows == DL_HIGH2  ? DL_FN(direct_tile_high2)
                 : rows == DL_LOW2 ? DL_FN(direct_tile_low2)
                                : DL_FN(direct_tile_one2))(t, pixel, panel, to, ldc, from, relu);
            else
                (rows == DL_HIGH1  ? DL_FN(direct_tile_high1)
                 : rows == DL_LOW1 ? DL_FN(direct_tile_low1)
                                : DL_FN(direct_tile_one1))(t, pixel, panel, to, ldc, from, relu);
        }
    }
}
#undef NR
