/* The jobs of lines.h that make the gradient of the weights. */

/* sum (taps x height) += the sums over the registers of `rows` rows of dz (rows, vectors, height) and the image, where
   lanes outside `inside` of the last register of a row count for nothing: only needed where the image is not finite. */
DL_INLINE void DL_FN(lines_gradient_tile)(const int height, const int taps, const int masked, const dl_lines *d,
                                          const real *image, const long *offset, long rows, const real *dz,
                                          vmask inside, real *sum) {
    const long vectors = d->vectors, down = d->v->sh * d->v->c * d->width;
    const real *from[4];
    vec acc[4][DL_LINES_HIGH];
    DL_UNROLL for (int t = 0; t < taps; t++) from[t] = image + offset[t];
    DL_UNROLL for (int t = 0; t < taps; t++) DL_UNROLL for (int i = 0; i < height; i++) acc[t][i] = DL_FN(vsplat)(0);
    for (long p = 0; p < rows; p++)
        for (long v = 0, at = p * down; v < vectors; v++, at += LANES, dz += height * LANES) {
            vec pixels[4];
            DL_UNROLL for (int t = 0; t < taps; t++) {
                pixels[t] = DL_FN(vload)(from[t] + at);
                if (masked && v == vectors - 1) pixels[t] = DL_FN(vsel)(inside, pixels[t], DL_FN(vsplat)(0));
            }
            DL_UNROLL for (int i = 0; i < height; i++) {
                const vec z = DL_FN(vheld)(DL_FN(vload)(dz + i * LANES)); /* GCC would load it for each tap */
                DL_UNROLL for (int t = 0; t < taps; t++) acc[t][i] += pixels[t] * z;
            }
        }
    DL_UNROLL for (int t = 0; t < taps; t++) DL_UNROLL for (int i = 0; i < height; i++) {
        real *to = sum + (t * height + i) * LANES;
        DL_FN(vstore)(to, DL_FN(vload)(to) + acc[t][i]);
    }
}
#define TILE(name, height, taps, masked)                                                                             \
    DL_NOINLINE void DL_FN(name)(const dl_lines *d, const real *image, const long *offset, long rows, const real *dz, \
                                 vmask inside, real *sum) {                                                           \
        DL_FN(lines_gradient_tile)(height, taps, masked, d, image, offset, rows, dz, inside, sum);                   \
    }
TILE(lines_gradient_high, DL_LINES_HIGH, 2, 0)
TILE(lines_gradient_low, DL_LINES_LOW, 4, 0)
TILE(lines_gradient_high_masked, DL_LINES_HIGH, 2, 1)
TILE(lines_gradient_low_masked, DL_LINES_LOW, 4, 1)
#undef TILE

/* Whether n numbers, and whatever fills their last register, are finite. */
DL_INLINE int DL_FN(lines_finite)(const real *x, long n) {
    vec zero[2] = {DL_FN(vsplat)(0), DL_FN(vsplat)(0)}; /* two chains of sums */
    for (long i = 0; i < n; i += 2 * LANES) {
        zero[0] += DL_FN(vload_n)(x + i, n - i) * 0;
        if (i + LANES < n) zero[1] += DL_FN(vload_n)(x + i + LANES, n - i - LANES) * 0;
    }
    return DL_FN(vsum)(zero[0] + zero[1]) == 0;
}

/* gain (K, vectors): dy / 4 of a row of windows at both pixels of each, 0 beyond the windows.  dy (Q/2, K), of which
   `left` numbers can be read. */
DL_NOINLINE void DL_FN(lines_gain)(const dl_lines *d, const real *dy, long left, real *gain) {
    const long width = d->vectors * LANES, windows = d->v->q / 2, k = d->v->k;
#if DL_VECTORS
    for (long c = 0; c < k; c += LANES)
        for (long at = 0; at < width; at += LANES) {
            vec row[LANES];
            DL_UNROLL for (int i = 0; i < LANES; i += 2) {
                const long w = (at + i) / 2, from = w * k + c;
                row[i] = w < windows ? DL_FN(vload_n)(dy + from, left - from) * (real)0.25 : DL_FN(vsplat)(0);
                row[i + 1] = row[i];
            }
            DL_FN(transpose)(row);
            DL_UNROLL for (int i = 0; i < LANES; i++) if (c + i < k) DL_FN(vstore)(gain + (c + i) * width + at, row[i]);
        }
#else
    for (long i = 0; i < k * width; i++) {
        const long w = i % width / 2;
        gain[i] = w < windows ? dy[w * k + i / width] * (real)0.25 : 0;
    }
    (void)left;
#endif
}

/* dz (vectors, height) of a row from its gain (K, vectors) and a (K, Q), of which `left` numbers can be read; total
   (height registers) += dz. */
DL_INLINE void DL_FN(lines_row)(const int activation, const dl_lines *d, const real *gain, const real *a, long left,
                                vmask inside, real *dz, real *total) {
    const long last = (d->vectors - 1) * LANES, step = d->height, q = d->v->q;
    for (long i = 0; i < d->v->k; i++, a += q, left -= q, dz += LANES, total += LANES) {
        vec sum = DL_FN(vsplat)(0), z;
        for (long at = 0; at < last; at += LANES, gain += LANES) {
            z = DL_FN(vload)(gain);
            if (activation) z = DL_FN(vactivation_gradient)(z, DL_FN(vload)(a + at), activation);
            DL_FN(vstore)(dz + at * step, z);
            sum += z;
        }
        z = DL_FN(vload)(gain);
        if (activation) z = DL_FN(vactivation_gradient)(z, DL_FN(vload_n)(a + last, left - last), activation);
        z = DL_FN(vsel)(inside, z, DL_FN(vsplat)(0));
        DL_FN(vstore)(dz + last * step, z);
        DL_FN(vstore)(total, DL_FN(vload)(total) + (sum + z));
        gain += LANES;
    }
}

/* dz (rows, vectors, height) of rows first.. of an image; `gain` is room for a row (K, vectors). */
static void DL_FN(lines_gradient_rows)(const dl_lines *d, long image, long first, long rows, vmask inside, real *gain,
                                       real *dz, real *total) {
    const dl_conv *v = d->v;
    const long row = v->k * v->q, windows = v->q / 2 * v->k, width = d->vectors * LANES;
    const real *a = (const real *)d->pixels + (image * v->p + first) * row;
    const real *dy = (const real *)d->dy + (image * (v->p / 2) + first / 2) * windows;
    long left = (v->n * v->p - image * v->p - first) * row;
    const long all = v->n * (v->p / 2) * windows - (dy - (const real *)d->dy);
    for (long p = 0; p < rows; p++, a += row, left -= row, dz += width * d->height) {
        if (first + p == v->p / 2 * 2)
            DL_FN(zero_run)(gain, v->k * width);
        else if (p % 2 == 0)
            DL_FN(lines_gain)(d, dy + p / 2 * windows, all - p / 2 * windows, gain);
        switch (v->activation) {
        case DL_RELU: DL_FN(lines_row)(DL_RELU, d, gain, a, left, inside, dz, total); break;
        case DL_SIGMOID: DL_FN(lines_row)(DL_SIGMOID, d, gain, a, left, inside, dz, total); break;
        case DL_TANH: DL_FN(lines_row)(DL_TANH, d, gain, a, left, inside, dz, total); break;
        default: DL_FN(lines_row)(DL_IDENTITY, d, gain, a, left, inside, dz, total);
        }
    }
}

/* Job: the partial sums of one chunk of blocks. */
static void DL_FN(lines_gradient_job)(void *ctx, long job, long worker) {
    const dl_lines *d = (const dl_lines *)ctx;
    const dl_conv *v = d->v;
    const int high = d->height == DL_LINES_HIGH;
    const long held = d->rows * d->vectors * LANES * d->height;
    const long seen = dl_rows_read(v, d->rows) * v->c * d->width;
    const long sums = dl_lines_sums(d), end = dl_min((job + 1) * d->chunk, v->n * d->blocks);
    real *dz = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (held + seen + (v->k * d->vectors + 1) * LANES));
    if (!dz) return;
    real *gain = dz + held, *image = gain + v->k * d->vectors * LANES, *sum = (real *)d->packed + job * sums;
    const vmask inside = DL_FN(vfirst)(v->q - (d->vectors - 1) * LANES);
    memset(sum, 0, sizeof(real) * sums);
    memset(dz, 0, sizeof(real) * held); /* channels beyond K stay 0 */
    for (long block = job * d->chunk; block < end; block++) {
        const long n = block / d->blocks, first = block % d->blocks * d->rows, rows = dl_min(d->rows, v->p - first);
        const long size = dl_rows_read(v, rows) * v->c * d->width;
        DL_FN(fetch_lines)(d, n, first, rows, image);
        DL_FN(lines_gradient_rows)(d, n, first, rows, inside, gain, dz, sum + sums - d->height * LANES);
        const int finite = DL_FN(lines_finite)(image, size);
        for (long t = 0; t < d->taps; t += d->across)
            (high ? finite ? DL_FN(lines_gradient_high) : DL_FN(lines_gradient_high_masked)
             : finite ? DL_FN(lines_gradient_low) : DL_FN(lines_gradient_low_masked))(
                d, image, d->offset + t, rows, dz, inside, sum + t * d->height * LANES);
    }
    (void)worker;
}

/* Job: dweight and dbias, the partial sums added in the order of the chunks, then their lanes. */
static void DL_FN(lines_sum_job)(void *ctx, long job, long worker) {
    const dl_lines *d = (const dl_lines *)ctx;
    const long sums = dl_lines_sums(d), last = sums / (d->height * LANES) - 1;
    for (long t = 0; t <= d->taps; t++) {
        const int of_bias = t == d->taps;
        real *out = (real *)(of_bias ? d->dbias : d->out);
        for (long k = 0; out && k < d->v->k; k++) {
            const real *from = (const real *)d->packed + ((of_bias ? last : t) * d->height + k) * LANES;
            vec sum = DL_FN(vsplat)(0);
            for (long chunk = 0; chunk < d->chunks; chunk++)
                sum += DL_FN(vload)(from + chunk * sums);
            out[of_bias ? k : k * d->taps + t] = DL_FN(vsum)(sum);
        }
    }
    (void)job, (void)worker;
}
