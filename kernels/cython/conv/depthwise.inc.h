/* The jobs of depthwise.h. */
#define PIXELS DL_DEPTHWISE_PIXELS

/* Channels of a tile: two registers where there are so many. */
DL_INLINE long DL_FN(depthwise_width)(long channels) { return channels < 2 * LANES ? LANES : 2 * LANES; }

/* The weights (C, R, S) of a phase in panels of `width` channels, (panels, taps, width), the taps in the order of their
   offsets. */
static void DL_FN(depthwise_pack)(const dl_conv *v, const void *weight, const dl_phase *phase, void *to) {
    const long width = DL_FN(depthwise_width)(v->c);
    real *out = (real *)to;
    for (long panel = 0; panel < v->c; panel += width)
        for (long t = 0; t < phase->down.taps; t++)
            for (long u = 0; u < phase->across.taps; u++, out += width) {
                const long r = phase->down.tap + t * phase->down.next, s = phase->across.tap + u * phase->across.next;
                for (long c = dl_min(panel, v->c - width), i = 0; i < width; i++)
                    out[i] = ((const real *)weight)[((c + i) * v->r + r) * v->s + s];
            }
}

/* The taps that point i meets within the source: from *begin to before *end. */
DL_INLINE void DL_FN(taps_inside)(const dl_axis *axis, long i, long *begin, long *end) {
    const long at = i * axis->step + axis->first;
    *begin = dl_min(axis->taps, dl_ceil_div(dl_max(0, -at), axis->apart));
    *end = dl_max(*begin, dl_min(axis->taps, dl_ceil_div(dl_max(0, axis->size - at), axis->apart)));
}

/* The points that meet all taps within the source: from *begin to before *end. */
DL_INLINE void DL_FN(points_whole)(const dl_axis *axis, long *begin, long *end) {
    const long last = axis->first + (axis->taps - 1) * axis->apart;
    *begin = dl_min(axis->points, dl_ceil_div(dl_max(0, -axis->first), axis->step));
    *end = dl_max(*begin, dl_min(axis->points, dl_ceil_div(dl_max(0, axis->size - last), axis->step)));
}

/* What the points of one row share: element steps between neighbouring points and taps of the source, and between
   neighbouring points of the result; taps of a kernel row and of the kernel. */
typedef struct {
    long channels, point, down, across, out, taps, all_taps;
    const real *bias, *weight;
    int relu, stream;
} DL_FN(depthwise_row);

DL_INLINE void DL_FN(depthwise_start)(const int pixels, const int vectors, vec acc[PIXELS][2], const real *bias) {
    DL_UNROLL for (int i = 0; i < pixels; i++) DL_UNROLL for (int j = 0; j < vectors; j++) acc[i][j] =
        bias ? DL_FN(vload)(bias + j * LANES) : DL_FN(vsplat)(0);
}

DL_INLINE void DL_FN(depthwise_finish)(const int pixels, const int vectors, vec acc[PIXELS][2],
                                       const DL_FN(depthwise_row) * d, real *out) {
    if (d->relu)
        DL_UNROLL for (int i = 0; i < pixels; i++) DL_UNROLL for (int j = 0; j < vectors; j++) acc[i][j] =
            DL_FN(vrelu)(acc[i][j]);
    if (d->stream)
        DL_UNROLL for (int i = 0; i < pixels; i++, out += d->out) DL_UNROLL for (int j = 0; j < vectors; j++)
            DL_FN(vstream)(out + j * LANES, acc[i][j]);
    else
        DL_UNROLL for (int i = 0; i < pixels; i++, out += d->out) DL_UNROLL for (int j = 0; j < vectors; j++)
            DL_FN(vstore)(out + j * LANES, acc[i][j]);
}

/* A tile: `pixels` neighbouring points, `vectors` registers of channels; rows x cols taps, of which the first reads at
   `in`. */
DL_INLINE void DL_FN(depthwise_tile)(const int pixels, const int vectors, const DL_FN(depthwise_row) * d, long rows,
                                     long cols, const real *in, const real *weight, const real *bias, real *out) {
    vec acc[PIXELS][2];
    DL_FN(depthwise_start)(pixels, vectors, acc, bias);
    for (long r = 0; r < rows; r++, in += d->down, weight += d->taps * vectors * LANES) {
        const real *tap = in, *w = weight;
        for (long s = 0; s < cols; s++, tap += d->across, w += vectors * LANES) {
            const real *from = tap;
            vec ws[2];
            DL_UNROLL for (int j = 0; j < vectors; j++) ws[j] = DL_FN(vload)(w + j * LANES);
            DL_UNROLL for (int i = 0; i < pixels; i++, from += d->point) DL_UNROLL for (int j = 0; j < vectors; j++)
                acc[i][j] += DL_FN(vload)(from + j * LANES) * ws[j];
        }
    }
    DL_FN(depthwise_finish)(pixels, vectors, acc, d, out);
}

/* The same for a 3 x 3 kernel whose taps are as far apart as the points: each pixel is loaded once for three taps. */
DL_INLINE void DL_FN(depthwise_dense_tile)(const int vectors, const DL_FN(depthwise_row) * d, const real *in,
                                           const real *weight, const real *bias, real *out) {
    vec acc[PIXELS][2];
    DL_FN(depthwise_start)(PIXELS, vectors, acc, bias);
    DL_UNROLL for (int r = 0; r < 3; r++, in += d->down, weight += 3 * vectors * LANES) {
        const real *from = in;
        vec w[3][2];
        DL_UNROLL for (int s = 0; s < 3; s++) DL_UNROLL for (int j = 0; j < vectors; j++) w[s][j] =
            DL_FN(vload)(weight + (s * vectors + j) * LANES);
        DL_UNROLL for (int i = 0; i < PIXELS + 2; i++, from += d->point) DL_UNROLL for (int j = 0; j < vectors; j++) {
            const vec x = DL_FN(vload)(from + j * LANES);
            DL_UNROLL for (int s = 0; s < 3; s++) if (i >= s && i - s < PIXELS) acc[i - s][j] += x * w[s][j];
        }
    }
    DL_FN(depthwise_finish)(PIXELS, vectors, acc, d, out);
}

/* Asks for the pixels that the same points of the next row will be the first to read. */
DL_INLINE void DL_FN(depthwise_ahead)(const real *in, long count) {
#if DL_VECTORS
    for (long i = 0; i < count; i += 64 / (long)sizeof(real))
        DL_PREFETCH(in + i);
#endif
    (void)in, (void)count;
}

/* All channels of PIXELS points that meet all columns of the kernel. */
DL_INLINE void DL_FN(depthwise_block)(const int vectors, const DL_FN(depthwise_row) * d, long rows, const real *in,
                                      const real *weight, real *out) {
    const int dense = rows == 3 && d->taps == 3 && d->across == d->point;
    for (long from = 0; from < d->channels; from += vectors * LANES, weight += d->all_taps * vectors * LANES) {
        const long c = dl_min(from, d->channels - vectors * LANES);
        const real *bias = d->bias ? d->bias + c : NULL;
        if (dense)
            DL_FN(depthwise_dense_tile)(vectors, d, in + c, weight, bias, out + c);
        else
            DL_FN(depthwise_tile)(PIXELS, vectors, d, rows, d->taps, in + c, weight, bias, out + c);
    }
}

/* All channels of one point at an edge. */
DL_INLINE void DL_FN(depthwise_point)(const int vectors, const DL_FN(depthwise_row) * d, long rows, long cols,
                                      const real *in, const real *weight, real *out) {
    for (long from = 0; from < d->channels; from += vectors * LANES, weight += d->all_taps * vectors * LANES) {
        const long c = dl_min(from, d->channels - vectors * LANES);
        DL_FN(depthwise_tile)(1, vectors, d, rows, cols, in + c, weight, d->bias ? d->bias + c : NULL, out + c);
    }
}

/* Row i of a phase: image -> out.  The last block overlaps the one before. */
DL_INLINE void DL_FN(depthwise_points)(const int vectors, const dl_phase *phase, const DL_FN(depthwise_row) * d, long i,
                                       const real *image, real *out) {
    const dl_axis *down = &phase->down, *across = &phase->across;
    const long line = across->size * d->channels;
    long r0, r1, s0, s1, low, high;
    DL_FN(taps_inside)(down, i, &r0, &r1);
    DL_FN(points_whole)(across, &low, &high);
    const real *in = image + (i * down->step + down->first + r0 * down->apart) * line + across->first * d->channels;
    const real *weight = d->weight + r0 * d->taps * vectors * LANES;
    for (long j = 0; j < across->points;)
        if (j >= low && j < high && high - low >= PIXELS) {
            j = dl_min(j, high - PIXELS);
            const real *from = in + j * d->point;
            DL_FN(depthwise_ahead)(from + (r1 - r0 - 1) * d->down + down->step * line, PIXELS * d->point);
            DL_FN(depthwise_block)(vectors, d, r1 - r0, from, weight, out + j * d->out);
            j += PIXELS;
        } else {
            DL_FN(taps_inside)(across, j, &s0, &s1);
            DL_FN(depthwise_point)(vectors, d, r1 - r0, s1 - s0, in + j * d->point + s0 * d->across,
                                   weight + s0 * vectors * LANES, out + j * d->out);
            j++;
        }
}

/* Row i of a phase, of images of the source and of the result. */
DL_NOINLINE void DL_FN(depthwise_phase_row)(const dl_depthwise *d, const dl_phase *phase, const real *bias, int relu,
                                            long i, const real *image, real *out) {
    const long channels = d->v->c;
    out += ((phase->down.origin + i * phase->down.spread) * d->out_w + phase->across.origin) * channels;
    const DL_FN(depthwise_row) row = {
        .channels = channels,
        .point = phase->across.step * channels,
        .down = phase->down.apart * phase->across.size * channels,
        .across = phase->across.apart * channels,
        .out = phase->across.spread * channels,
        .taps = phase->across.taps,
        .all_taps = phase->down.taps * phase->across.taps,
        .bias = bias,
        .weight = (const real *)phase->weight,
        .relu = relu,
        .stream = d->stream};
    if (DL_FN(depthwise_width)(channels) == 2 * LANES)
        DL_FN(depthwise_points)(2, phase, &row, i, image, out);
    else
        DL_FN(depthwise_points)(1, phase, &row, i, image, out);
}

/* Job: a chunk of the rows of all images of y. */
static void DL_FN(depthwise_forward_job)(void *ctx, long job, long worker) {
    const dl_depthwise *d = (const dl_depthwise *)ctx;
    const dl_conv *v = d->v;
    for (long line = job * d->chunk; line < dl_min((job + 1) * d->chunk, d->lines); line++) {
        const long image = line / v->p, p = line % v->p;
        real *out = (real *)d->out + image * v->p * v->q * v->c;
        DL_FN(depthwise_phase_row)(d, d->phase, (const real *)d->bias, v->activation == DL_RELU, p,
                                   (const real *)d->x + image * v->h * v->w * v->c, out);
        if (v->activation != DL_RELU) DL_FN(activate_block)(out + p * v->q * v->c, v->c, v->q, v->c, v->activation);
        if (v->finish) DL_FN(finish_rows)(v->finish, out + p * v->q * v->c, v->c, v->q, 0, v->c);
    }
    dl_fence();
    (void)worker;
}

/* What the products of one row of dz share: element steps between neighbouring points and taps of x; taps of a kernel
   row and of the kernel. */
typedef struct {
    long channels, step, apart, down, taps, all_taps;
} DL_FN(correlation);

/* All channels of `count` points: to[r, s] += the sum of x dz for rows x taps of the kernel, the first of them number
   `first`; with `ones`, the last sum += that of dz.  The last register of channels has a place of its own: those that
   it shares with the one before must not be added twice. */
DL_INLINE void DL_FN(correlate)(const int rows, const int taps, const DL_FN(correlation) * g, long count, long first,
                                const real *x, const real *dz, real *to, int ones) {
    for (long c = 0; c < g->channels; c += LANES, to += (g->all_taps + 1) * LANES) {
        const long at = dl_min(c, g->channels - LANES);
        const real *z = dz + at, *from[3];
        vec acc[3][4], sum = DL_FN(vsplat)(0);
        DL_UNROLL for (int r = 0; r < rows; r++) {
            from[r] = x + r * g->down + at;
            DL_UNROLL for (int s = 0; s < taps; s++) acc[r][s] = DL_FN(vsplat)(0);
        }
        for (long i = 0; i < count; i++, z += g->channels) {
            const vec zi = DL_FN(vload)(z);
            DL_UNROLL for (int r = 0; r < rows; r++) {
                DL_UNROLL for (int s = 0; s < taps; s++) acc[r][s] += DL_FN(vload)(from[r] + s * g->apart) * zi;
                from[r] += g->step;
            }
            sum += zi;
        }
        DL_UNROLL for (int r = 0; r < rows; r++) DL_UNROLL for (int s = 0; s < taps; s++) {
            real *place = to + (first + r * g->taps + s) * LANES;
            DL_FN(vstore)(place, DL_FN(vload)(place) + acc[r][s]);
        }
        real *last = to + g->all_taps * LANES;
        if (ones) DL_FN(vstore)(last, DL_FN(vload)(last) + sum);
    }
}

/* `count` points that meet rows x cols taps of the kernel, the first of them at `x`. */
DL_NOINLINE void DL_FN(correlate_points)(const DL_FN(correlation) * g, long count, long rows, long cols, long first,
                                         const real *x, const real *dz, real *to) {
    if (rows == 3 && cols == 3) {
        DL_FN(correlate)(3, 3, g, count, first, x, dz, to, 1);
        return;
    }
    if (rows == 3 && cols == 2) { /* at an edge */
        DL_FN(correlate)(3, 2, g, count, first, x, dz, to, 1);
        return;
    }
    DL_FN(correlate)(0, 0, g, count, first, x, dz, to, 1);
    for (long r = 0; r < rows; r++, x += g->down, first += g->taps)
        for (long s = 0; s < cols; s += 4) {
            const real *from = x + s * g->apart;
            switch (dl_min(4, cols - s)) {
            case 1: DL_FN(correlate)(1, 1, g, count, first + s, from, dz, to, 0); break;
            case 2: DL_FN(correlate)(1, 2, g, count, first + s, from, dz, to, 0); break;
            case 3: DL_FN(correlate)(1, 3, g, count, first + s, from, dz, to, 0); break;
            default: DL_FN(correlate)(1, 4, g, count, first + s, from, dz, to, 0);
            }
        }
}

/* sums += block, block = 0. */
static void DL_FN(correlate_flush)(real *DL_R block, real *DL_R sums, long size) {
    for (long i = 0; i < size; i++) {
        sums[i] += block[i];
        block[i] = 0;
    }
}

/* Row p of dz, with the image x that it belongs to: block += its part; sums += block after so many runs, of which there
   were `runs` since. */
DL_NOINLINE void DL_FN(correlate_row)(const dl_depthwise *d, long p, const real *image, const real *dz, real *block,
                                      real *sums, long *runs) {
    const dl_conv *v = d->v;
    const dl_axis *down = &d->view.down, *across = &d->view.across;
    const long line = v->w * v->c;
    const DL_FN(correlation) g = {v->c, v->sw * v->c, v->dw * v->c, v->dh * line, v->s, v->r * v->s};
    long r0, r1, s0, s1, low, high, count;
    DL_FN(taps_inside)(down, p, &r0, &r1);
    DL_FN(points_whole)(across, &low, &high);
    const real *x = image + (p * v->sh + down->first + r0 * v->dh) * line + across->first * v->c;
    for (long q = 0; q < v->q; q += count) {
        count = q >= low && q < high ? dl_min(DL_DEPTHWISE_RUN, high - q) : 1;
        DL_FN(taps_inside)(across, q, &s0, &s1);
        const real *from = x + q * g.step + s0 * g.apart, *z = dz + q * v->c;
        DL_FN(depthwise_ahead)(from + (r1 - r0 - 1) * g.down + v->sh * line, count * g.step);
        if (!d->out) DL_FN(depthwise_ahead)(z + v->q * v->c, count * v->c);
        DL_FN(correlate_points)(&g, count, r1 - r0, s1 - s0, r0 * v->s + s0, from, z, block);
        if (++*runs < DL_DEPTHWISE_RUNS) continue;
        *runs = 0;
        DL_FN(correlate_flush)(block, sums, (v->r * v->s + 1) * d->npad);
    }
}

/* Job: a chunk of the rows of dz: the rows of dx that lie at them, and the partial sums of dweight and dbias. */
static void DL_FN(depthwise_gradient_job)(void *ctx, long job, long worker) {
    const dl_depthwise *d = (const dl_depthwise *)ctx;
    const dl_conv *v = d->v;
    const long size = (v->r * v->s + 1) * d->npad;
    real *sums = d->partial ? (real *)d->partial + job * size : NULL, *block = (real *)d->blocks + job * size;
    long runs = 0;
    if (sums) {
        memset(sums, 0, sizeof(real) * size);
        memset(block, 0, sizeof(real) * size);
    }
    for (long line = job * d->chunk; line < dl_min((job + 1) * d->chunk, d->lines); line++) {
        const long image = line / v->p, p = line % v->p;
        const real *dz = (const real *)d->dz + image * v->p * v->q * v->c;
        const long end = p == v->p - 1 ? v->h : dl_min(v->h, (p + 1) * v->sh);
        for (long h = p * v->sh; d->out && h < end; h++)
            for (long b = 0; b < v->sw; b++)
                DL_FN(depthwise_phase_row)(d, d->phase + h % v->sh * v->sw + b, NULL, 0, h / v->sh, dz,
                                           (real *)d->out + image * v->h * v->w * v->c);
        if (sums)
            DL_FN(correlate_row)(d, p, (const real *)d->x + image * v->h * v->w * v->c, dz + p * v->q * v->c, block,
                                 sums, &runs);
    }
    if (sums) DL_FN(correlate_flush)(block, sums, size);
    dl_fence();
    (void)worker;
}

/* The partial sums, in the order of the chunks: dweight (C, R, S), and dbias where it is not NULL. */
static void DL_FN(depthwise_total)(const dl_depthwise *d, long chunks, void *dweight, void *dbias) {
    const dl_conv *v = d->v;
    const long taps = v->r * v->s, size = (taps + 1) * d->npad, whole = v->c / LANES * LANES;
    real *total = (real *)d->partial;
    if (!chunks) memset(total, 0, sizeof(real) * size);
    for (long chunk = 1; chunk < chunks; chunk++)
        for (long i = 0; i < size; i++)
            total[i] += total[chunk * size + i];
    for (long c = 0; c < v->c; c++) {
        const long at = c < whole ? c : c + dl_round_up(v->c, LANES) - v->c; /* the overlapping register */
        const real *sums = total + at / LANES * (taps + 1) * LANES + at % LANES;
        for (long t = 0; t < taps; t++)
            ((real *)dweight)[c * taps + t] = sums[t * LANES];
        if (dbias) ((real *)dbias)[c] = sums[taps * LANES];
    }
}
#undef PIXELS
