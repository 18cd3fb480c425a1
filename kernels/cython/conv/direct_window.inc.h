/* The part of direct.h for windows of 2 x 2 pixels, which the register tiles hold whole: no output of the convolution is
   stored at all. */
#define NR (2 * LANES)

/* y and the index of one window, from its pixels z.  NaN is not looked for: `check`, a sum of all, has it. */
DL_INLINE void DL_FN(place_largest)(const dl_direct *d, const vec *z, long at, long end, vec *check) {
    vec best = DL_FN(vmax)(DL_FN(vmax)(z[3], z[2]), DL_FN(vmax)(z[1], z[0]));
    ivec winner = DL_FN(isel)(DL_FN(veq)(z[2], best), DL_FN(isplat)(2), DL_FN(isplat)(3));
    winner = DL_FN(isel)(DL_FN(veq)(z[1], best), DL_FN(isplat)(1), winner);
    winner = DL_FN(isel)(DL_FN(veq)(z[0], best), DL_FN(isplat)(0), winner);
    *check += (z[0] + z[1]) + (z[2] + z[3]);
    if (d->v->activation == DL_RELU) best = DL_FN(vrelu)(best);
    DL_FN(vstore_n)((real *)d->out + at, best, end - at);
    DL_FN(store_index)(d->index, 0, at, winner, end - at);
}

/* One tap of `windows` windows side by side, `registers` registers of channels; w: its weights. */
DL_INLINE void DL_FN(window_tap)(const int windows, const int registers, const real *a, long step, long below,
                                 const real *w, vec z[2][2][4]) {
    vec weight[2];
    DL_UNROLL for (int j = 0; j < registers; j++) weight[j] = DL_FN(vload)(w + j * LANES);
    DL_UNROLL for (int i = 0; i < windows; i++) DL_UNROLL for (int p = 0; p < 4; p++) {
        const vec x = DL_FN(vsplat)(a[p / 2 * below + (2 * i + p % 2) * step]);
        DL_UNROLL for (int j = 0; j < registers; j++) z[i][j][p] += x * weight[j];
    }
}

/* One panel of a row of windows.  a: their first number, b: the packed panel.  What is stored may spill into the next
   window, but not beyond `end`. */
#define ROW(name, windows, registers, TAPS)                                                                           \
    DL_NOINLINE void DL_FN(name)(const dl_direct *d, const dl_taps *t, const real *row, const real *panel,            \
                                 const real *bias, long at, long end, vec *check) {                                   \
        const long width = d->v->q / 2, step = t->step, below = d->v->sh * d->line, down = t->down;                   \
        vec z[2][2][4], sum = *check;                                                                                 \
        for (long q = 0; q < width; q += windows) {                                                                   \
            const long first = dl_min(q, width - windows);                                                            \
            const real *a = row + 2 * first * step, *b = panel;                                                       \
            DL_UNROLL for (int i = 0; i < windows; i++) DL_UNROLL for (int j = 0; j < registers; j++)                 \
                DL_UNROLL for (int p = 0; p < 4; p++) z[i][j][p] = DL_FN(vsplat)(0);                                  \
            TAPS(windows, registers)                                                                                  \
            DL_UNROLL for (int j = 0; j < registers; j++) { /* last, as direct_tile does: the same bits */            \
                const vec last = DL_FN(vload)(bias + j * LANES);                                                      \
                DL_UNROLL for (int i = 0; i < windows; i++) DL_UNROLL for (int p = 0; p < 4; p++) z[i][j][p] += last; \
            }                                                                                                         \
            DL_UNROLL for (int i = 0; i < windows; i++) DL_UNROLL for (int j = registers - 1; j >= 0; j--)            \
                DL_FN(place_largest)(d, z[i][j], at + (first + i) * d->v->k + j * LANES, end, &sum);                  \
        }                                                                                                             \
        *check = sum;                                                                                                 \
    }
#define ALL_TAPS(windows, registers)                                                                                  \
    for (long r = 0; r < t->rows; r++, a += down - t->run)                                                            \
        for (long k = 0; k < t->run; k++, a++, b += registers * LANES)                                                \
            DL_FN(window_tap)(windows, registers, a, step, below, b, z);
#define NINE_TAPS(windows, registers)                                                                                 \
    DL_UNROLL for (int r = 0; r < 3; r++) DL_UNROLL for (int k = 0; k < 3; k++)                                       \
        DL_FN(window_tap)(windows, registers, a + r * down + k, step, below, b + (3 * r + k) * registers * LANES, z);
ROW(window_row2, 1, 2, ALL_TAPS)
ROW(window_row2_3x3, 1, 2, NINE_TAPS)
ROW(window_row1, 2, 1, ALL_TAPS)
ROW(window_row1_single, 1, 1, ALL_TAPS)
#undef ROW
#undef ALL_TAPS
#undef NINE_TAPS

/* A row of windows; returns 0 where some number may be NaN, and the windows are to be looked at one by one.  Panels go
   from right to left, because the last register of a window spills into the next. */
static int DL_FN(direct_window_row)(const dl_direct *d, const dl_taps *t, const real *rows, long at, long end) {
    const int small = t->rows == 3 && t->run == 3;
    vec check = DL_FN(vsplat)(0);
    for (long k = (d->v->k - 1) / NR * NR; k >= 0; k -= NR)
        (d->v->k - k > LANES ? small ? DL_FN(window_row2_3x3) : DL_FN(window_row2)
         : d->v->q >= 4      ? DL_FN(window_row1)
                             : DL_FN(window_row1_single))(d, t, rows, (const real *)d->packed + k * d->depth,
                                                          (const real *)d->bias + k, at + k, end, &check);
    const real sum = DL_FN(vsum)(check);
    return sum == sum;
}
#undef NR
