/* The jobs of depthwise.h.  Registers run along the channels; the last, partial register goes through vload_n. */
#define EACH_CHANNELS(c) for (long c = 0, n = dl_min(LANES, v->c); c < v->c; c += LANES, n = dl_min(LANES, v->c - c))
#define LOAD(p) (n == LANES ? DL_FN(vload)(p) : DL_FN(vload_n)(p, n))
DL_INLINE void DL_FN(put)(real *p, vec value, long n) {
    if (n == LANES)
        DL_FN(vstore)(p, value);
    else
        DL_FN(vstore_n)(p, value, n);
}

/* weight (K, taps) to (taps, K), or back. */
static void DL_FN(depthwise_transpose)(const void *from, void *to, long rows, long cols) {
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < cols; j++)
            ((real *)to)[j * rows + i] = ((const real *)from)[i * cols + j];
}

/* Job: one output row (image, p). */
static void DL_FN(depthwise_forward_job)(void *ctx, long job, long worker) {
    const dl_depthwise *d = (const dl_depthwise *)ctx;
    const dl_conv *v = d->v;
    const long p = job % v->p;
    const real *image = (const real *)d->in + job / v->p * v->h * v->w * v->c, *weight = (const real *)d->taps;
    real *out = (real *)d->out + job * v->q * v->c;
    for (long q = 0; q < v->q; q++, out += v->c)
        EACH_CHANNELS(c) {
            vec acc = DL_FN(vsplat)(0);
            for (long r = 0; r < v->r; r++) {
                const long y = p * v->sh + r * v->dh - v->top;
                if (y < 0 || y >= v->h) continue;
                for (long s = 0; s < v->s; s++) {
                    const long x = q * v->sw + s * v->dw - v->left;
                    if (x < 0 || x >= v->w) continue;
                    acc += LOAD(image + (y * v->w + x) * v->c + c) * LOAD(weight + (r * v->s + s) * v->c + c);
                }
            }
            if (d->bias) acc += LOAD((const real *)d->bias + c);
            DL_FN(put)(out + c, acc, n);
        }
    DL_FN(activate_block)(out - v->q * v->c, v->c, v->q, v->c, v->activation);
    (void)worker;
}

/* Job: one row (image, h) of dx. */
static void DL_FN(depthwise_input_job)(void *ctx, long job, long worker) {
    const dl_depthwise *d = (const dl_depthwise *)ctx;
    const dl_conv *v = d->v;
    const real *image = (const real *)d->in + job / v->h * v->p * v->q * v->c, *weight = (const real *)d->taps;
    real *out = (real *)d->out + job * v->w * v->c;
    for (long w = 0; w < v->w; w++, out += v->c)
        EACH_CHANNELS(c) {
            vec acc = DL_FN(vsplat)(0);
            for (long r = 0; r < v->r; r++) {
                const long y = job % v->h + v->top - r * v->dh, p = y / v->sh;
                if (y < 0 || y % v->sh || p >= v->p) continue;
                for (long s = 0; s < v->s; s++) {
                    const long x = w + v->left - s * v->dw, q = x / v->sw;
                    if (x < 0 || x % v->sw || q >= v->q) continue;
                    acc += LOAD(image + (p * v->q + q) * v->c + c) * LOAD(weight + (r * v->s + s) * v->c + c);
                }
            }
            DL_FN(put)(out + c, acc, n);
        }
    (void)worker;
}

/* Job: the partial dweight (taps, C) of a chunk of output rows; each row is summed in registers first. */
static void DL_FN(depthwise_weight_job)(void *ctx, long job, long worker) {
    const dl_depthwise *d = (const dl_depthwise *)ctx;
    const dl_conv *v = d->v;
    real *partial = (real *)d->taps + job * v->r * v->s * v->c;
    memset(partial, 0, sizeof(real) * v->r * v->s * v->c);
    for (long row = job * d->chunk; row < dl_min((job + 1) * d->chunk, v->n * v->p); row++) {
        const real *image = (const real *)d->in + row / v->p * v->h * v->w * v->c,
                   *dz = (const real *)d->dz + row * v->q * v->c;
        for (long r = 0; r < v->r; r++) {
            const long y = row % v->p * v->sh + r * v->dh - v->top;
            if (y < 0 || y >= v->h) continue;
            for (long s = 0; s < v->s; s++)
                EACH_CHANNELS(c) {
                    vec acc = DL_FN(vsplat)(0);
                    for (long q = 0; q < v->q; q++) {
                        const long x = q * v->sw + s * v->dw - v->left;
                        if (x >= 0 && x < v->w)
                            acc += LOAD(image + (y * v->w + x) * v->c + c) * LOAD(dz + q * v->c + c);
                    }
                    real *to = partial + (r * v->s + s) * v->c + c;
                    DL_FN(put)(to, LOAD(to) + acc, n);
                }
        }
    }
    (void)worker;
}

/* The partial sums, in the order of the chunks, into the first. */
static void DL_FN(depthwise_total)(void *partial, long chunks, long size) {
    real *total = (real *)partial;
    for (long chunk = 1; chunk < chunks; chunk++)
        for (long i = 0; i < size; i++)
            total[i] += total[chunk * size + i];
}
#undef EACH_CHANNELS
#undef LOAD
