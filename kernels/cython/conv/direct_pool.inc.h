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
            DL_FN(vstore_n)((real *)d->out + at + c, best, count - c);
            DL_FN(store_index)(d->index, d->wide, at + c, winner, count - c);
        }
}

/* dz (height rows of d->v->q pixels, npad) of a row of windows at `at`: the gain of each at its winner, else 0. */
DL_INLINE void DL_FN(spread_windows)(const dl_direct *d, const long height, const long width, long at, const real *gain,
                                     real *dz) {
    const long k = d->v->k, row = d->v->q * d->npad, end = d->cells * k;
    for (long q = 0; q < d->v->q / width; q++, at += k, gain += d->npad, dz += width * d->npad)
        for (long j = 0; j < d->npad; j += LANES) {
            const vec g = DL_FN(vload)(gain + j);
            const ivec winner = DL_FN(load_index)(d->index, d->wide, at + j, end - at - j);
            for (long r = 0; r < height; r++)
                for (long s = 0; s < width; s++) {
                    const vmask wins = DL_FN(ieq)(winner, DL_FN(isplat)((ireal)(r * width + s)));
                    DL_FN(vstore)(dz + r * row + s * d->npad + j, DL_FN(vsel)(wins, g, DL_FN(vsplat)(0)));
                }
        }
}

/* dz of `rows` output rows, whole windows, the first of them at `at`, from their gains. */
DL_NOINLINE void DL_FN(direct_spread)(const dl_direct *d, long at, long rows, const real *gain, real *dz) {
    const long width = d->v->q / d->pool_w;
    for (long row = 0; row < rows; row += d->pool_h) {
        if (d->pool_h == 2 && d->pool_w == 2)
            DL_FN(spread_windows)(d, 2, 2, at, gain, dz);
        else
            DL_FN(spread_windows)(d, d->pool_h, d->pool_w, at, gain, dz);
        at += width * d->v->k, gain += width * d->npad, dz += d->pool_h * d->v->q * d->npad;
    }
}
#undef NR
