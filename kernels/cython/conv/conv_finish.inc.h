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

/* In place on `rows` rows of n channels, from channel col on, that lie ld apart. */
DL_NOINLINE void DL_FN(finish_rows)(const dl_finish *f, void *start, long ld, long rows, long col, long n) {
    const real *scale = (const real *)f->scale + col, *shift = (const real *)f->shift + col;
    real *y = (real *)start;
    const real *residual = f->residual ? (const real *)f->residual + (y - (const real *)f->out) : NULL;
    const vec floor = DL_FN(vsplat)(f->activation == DL_RELU ? 0 : -INFINITY);
    for (long i = 0; i < rows; i++) {
        real *to = y + i * ld;
        const real *add = residual ? residual + i * ld : NULL;
        for (long c = 0; c < n; c += LANES) {
            vec v = DL_FN(vload_n)(to + c, n - c) * DL_FN(vload_n)(scale + c, n - c) + DL_FN(vload_n)(shift + c, n - c);
            if (add) v += DL_FN(vload_n)(add + c, n - c);
            DL_FN(vstore_n)(to + c, DL_FN(vsel)(DL_FN(vle)(v, floor), floor, v), n - c);
        }
    }
    if (f->activation > DL_RELU) DL_FN(activate_block)(y, ld, rows, n, f->activation);
}
