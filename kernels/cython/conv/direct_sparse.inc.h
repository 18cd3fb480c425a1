/* Of direct.h: the gradient of the weights behind windows of 2 x 2 pixels, of which the winner alone has a gradient.

       dweight[k, (r, s)] = sum over windows of gain[k] x[winner of k + (r, s)],  gain = dy act'(y)

   With up to 3 channels, 4 neighbours of an image row hold a tap for both columns of a window, and a lane picks that of
   its winner by a permutation.  Half of the multiplications are left, those with either row of the window, and dz is not
   made.  Its zeros would matter where the image is not finite: there they are multiplied after
   all. */
#if DL_ISA >= 256 && !DL_DOUBLE
#define DL_PICKS 1
#else
#define DL_PICKS 0
#endif

#if DL_PICKS
/* Four numbers in each quarter or half of a register, of which `lane` picks. */
DL_INLINE vec DL_FN(four)(const real *p) {
#if DL_ISA == 256
    return (vec)_mm256_broadcast_ps((const __m128 *)p);
}
DL_INLINE vec DL_FN(pick)(vec v, ivec lane) { return (vec)_mm256_permutevar_ps(v, (__m256i)lane); }
#else
    return (vec)_mm512_broadcast_f32x4(_mm_loadu_ps(p));
}
DL_INLINE vec DL_FN(pick)(vec v, ivec lane) { return (vec)_mm512_permutevar_ps(v, (__m512i)lane); }
#endif

/* sum (rows x taps of the kernel, from `image` and `sum` on, a register of channels) += its part from `count` rows of
   windows, the first at `at` in the index. */
DL_INLINE void DL_FN(sparse_tile)(const int rows, const int taps, const dl_direct *d, const real *image, long count,
                                  long at, const real *gain, real *sum) {
    const long line = d->v->sh * d->line, npad = d->npad, run = d->v->s * d->v->c, k = d->v->k;
    const long step = d->v->sw * d->v->c, width = d->v->q / 2 * 2 * step, end = d->cells * k;
    const vec zero = DL_FN(vsplat)(0);
    vec acc[3][3];
    DL_UNROLL for (int r = 0; r < rows; r++) DL_UNROLL for (int s = 0; s < taps; s++)
        acc[r][s] = zero;
    for (; count; count--, image += 2 * line)
        for (long q = 0; q < width; q += 2 * step, at += k, gain += npad) {
            const ivec winner = DL_FN(load_index)(d->index, 0, at, end - at);
            const vmask is_lower = DL_FN(ilt)(DL_FN(isplat)(1), winner);
            const ivec lane = (winner & 1) * (ireal)step;
            const vec g = DL_FN(vload)(gain);
            const vec upper = DL_FN(vsel)(is_lower, zero, g), lower = DL_FN(vsel)(is_lower, g, zero);
            DL_UNROLL for (int r = 0; r <= rows; r++) DL_UNROLL for (int s = 0; s < taps; s++) {
                const vec x = DL_FN(pick)(DL_FN(four)(image + r * line + q + s), lane);
                if (r < rows) acc[r][s] += upper * x;
                if (r) acc[r - 1][s] += lower * x;
            }
        }
    DL_UNROLL for (int r = 0; r < rows; r++) DL_UNROLL for (int s = 0; s < taps; s++) {
        real *to = sum + (r * run + s) * npad;
        DL_FN(vstore)(to, DL_FN(vload)(to) + acc[r][s]);
    }
}
#define TILE(name, rows, taps)                                                                                       \
    DL_NOINLINE void DL_FN(name)(const dl_direct *d, const real *image, long count, long at, const real *gain,       \
                                 real *sum) {                                                                        \
        DL_FN(sparse_tile)(rows, taps, d, image, count, at, gain, sum);                                              \
    }
TILE(sparse_tile33, 3, 3)
TILE(sparse_tile32, 3, 2)
TILE(sparse_tile23, 2, 3)
TILE(sparse_tile22, 2, 2)
#undef TILE

/* 3 of n taps, or 2 where they would leave a single one. */
DL_INLINE int DL_FN(sparse_step)(long n) { return n == 2 || n == 4 ? 2 : 3; }

/* Adds the part of `count` rows of windows, the first at `at` in the index, to sum (R, S C, npad); gain (windows, npad).
   Returns 0, with nothing done, where the image, of `size` numbers here, is not finite. */
static int DL_FN(direct_sparse)(const dl_direct *d, const real *image, long size, long count, long at,
                                const real *gain, real *sum) {
    const long run = d->v->s * d->v->c;
    vec zero = DL_FN(vsplat)(0);
    for (long i = 0; i < size; i += LANES)
        zero += DL_FN(vload_n)(image + i, size - i) * 0;
    if (!(DL_FN(vsum)(zero) == 0)) return 0;
    for (long k = 0; k < d->npad; k += LANES)
        for (long r = 0, rows; r < d->v->r; r += rows) {
            rows = DL_FN(sparse_step)(d->v->r - r);
            for (long s = 0, taps; s < run; s += taps) {
                taps = DL_FN(sparse_step)(run - s);
                (rows == 3 ? taps == 3 ? DL_FN(sparse_tile33) : DL_FN(sparse_tile32)
                 : taps == 3 ? DL_FN(sparse_tile23) : DL_FN(sparse_tile22))(
                    d, image + r * d->v->dh * d->line + s, count, at + k, gain + k,
                    sum + (r * run + s) * d->npad + k);
            }
        }
    return 1;
}
#else
static int DL_FN(direct_sparse)(const dl_direct *d, const real *image, long size, long count, long at,
                                const real *gain, real *sum) {
    return (void)d, (void)image, (void)size, (void)count, (void)at, (void)gain, (void)sum, 0;
}
#endif
#undef DL_PICKS
