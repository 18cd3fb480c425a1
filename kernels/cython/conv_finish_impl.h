/* The loops of conv_finish.h. */

DL_UNUSED static void DL_FN(finish_tables)(long k, const void *bias_z, const void *weight, const void *bias,
                                           const void *mean, const void *var, double eps, void *tables) {
    real *scale = (real *)tables, *shift = scale + k;
    for (long c = 0; c < k; c++) {
        const double gain = (weight ? ((const real *)weight)[c] : 1) / sqrt(((const real *)var)[c] + eps);
        const double centre = (double)((const real *)mean)[c] - (bias_z ? ((const real *)bias_z)[c] : 0);
        scale[c] = (real)gain;
        shift[c] = (real)((bias ? ((const real *)bias)[c] : 0) - centre * gain);
    }
}

/* LANES channels, or as many as there are. */
DL_INLINE void DL_FN(finish_lanes)(const real *scale, const real *shift, const real *residual, vec floor, real *y,
                                   long n) {
    vec v = DL_FN(lanes)(y, n) * DL_FN(lanes)(scale, n) + DL_FN(lanes)(shift, n);
    if (residual) v += DL_FN(lanes)(residual, n);
    DL_STORE(y, 0, n, DL_FN(vsel)(v <= floor, floor, v));
}

/* In place on `rows` rows of n channels, from channel col on, that lie ld apart. */
DL_NOINLINE void DL_FN(finish_rows)(const dl_finish *f, void *start, long ld, long rows, long col, long n) {
    const real *scale = (const real *)f->scale + col, *shift = (const real *)f->shift + col;
    real *y = (real *)start;
    const real *residual = f->residual ? (const real *)f->residual + (y - (const real *)f->out) : NULL;
    const vec floor = DL_FN(vsplat)(f->activation == DL_RELU ? 0 : -INFINITY);
    const long whole = n / LANES * LANES;
    for (long i = 0; i < rows; i++) {
        real *to = y + i * ld;
        const real *add = residual ? residual + i * ld : NULL;
        for (long c = 0; c < whole; c += LANES)
            DL_FN(finish_lanes)(scale + c, shift + c, add ? add + c : NULL, floor, to + c, LANES);
        if (whole < n)
            DL_FN(finish_lanes)(scale + whole, shift + whole, add ? add + whole : NULL, floor, to + whole, n - whole);
    }
    if (f->activation > DL_RELU) DL_FN(activate_block)(y, ld, rows, n, f->activation);
}
