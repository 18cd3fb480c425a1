/* The part of direct.h that knows of windows. */
#define NR (2 * LANES)

/* One row of windows of a panel of channels, from its `lines` (height, d->v->q, NR), to `at` in y and in the index;
   `count` channels of them exist. */
DL_INLINE void DL_FN(largest_of_lines)(const dl_direct *d, const long height, const long width, const real *lines,
                                       long at, long count) {
    const long row = d->v->q * NR;
    for (long q = 0; q < d->v->q / width; q++, at += d->v->k)
        for (long c = 0; c < dl_min(NR, count); c += LANES) {
            const real *cell = lines + q * width * NR + c;
            vec best = DL_FN(vload)(cell);
            ivec winner = DL_FN(isplat)(0);
            for (long r = 0; r < height; r++)
                for (long s = r ? 0 : 1; s < width; s++)
                    DL_FN(keep_larger)(DL_FN(vload)(cell + r * row + s * NR), (ireal)(r * width + s), &best, &winner);
            if (d->v->activation == DL_RELU) best = DL_FN(vrelu)(best);
            DL_STORE((real *)d->out + at, c, count, best);
            DL_FN(store_index)(d->index, d->wide, at + c, winner, count - c);
        }
}

/* dz (height rows of d->v->q pixels, npad) from a row of windows at `at`: the gradient of each at its winner and 0 at
   its other pixels; sum (npad) += the gradients. */
DL_INLINE void DL_FN(spread_windows)(const dl_direct *d, const long height, const long width, long at, real *dz,
                                     real *sum) {
    const long k = d->v->k, row = d->v->q * d->npad;
    const real *y = (const real *)d->y;
    for (long q = 0; q < d->v->q / width; q++, at += k, dz += width * d->npad)
        for (long j = 0; j < d->npad; j += LANES) {
            const long from = at + j, count = dl_max(0, k - j);
            vec gain = DL_FN(lanes)((const real *)d->dy + from, count);
            const ivec winner = DL_FN(load_index)(d->index, d->wide, from, count);
            if (y) gain = DL_FN(vactivation_gradient)(gain, DL_FN(lanes)(y + from, count), d->v->activation);
            DL_FN(vstore)(sum + j, DL_FN(vload)(sum + j) + gain);
            for (long r = 0; r < height; r++)
                for (long s = 0; s < width; s++) {
                    const ivec wins = winner == DL_FN(isplat)((ireal)(r * width + s));
                    DL_FN(vstore)(dz + r * row + s * d->npad + j, DL_FN(vsel)(wins, gain, DL_FN(vsplat)(0)));
                }
        }
}

/* dz of `rows` output rows, whole windows, from row `first` of all on, as direct_dz; behind it is room for a sum. */
DL_NOINLINE void DL_FN(direct_windows_dz)(const dl_direct *d, long first, long rows, real *dz, real *total) {
    const long y_row = d->v->q / d->pool_w * d->v->k;
    real *sum = dz + rows * d->v->q * d->npad;
    memset(sum, 0, sizeof(real) * d->npad);
    for (long row = 0; row < rows; row += d->pool_h, dz += d->pool_h * d->v->q * d->npad)
        if (d->pool_h == 2 && d->pool_w == 2)
            DL_FN(spread_windows)(d, 2, 2, (first + row) / 2 * y_row, dz, sum);
        else
            DL_FN(spread_windows)(d, d->pool_h, d->pool_w, (first + row) / d->pool_h * y_row, dz, sum);
    for (long k = 0; k < d->npad; k++)
        total[k] += sum[k];
}
#undef NR
