/* The jobs of grouped.h. */
#define PIXELS DL_GROUPED_PIXELS
#define TAPS DL_GROUPED_TAPS

/* The weights (K, R, S, C/groups) as a job reads them; transposed: of the image's gradient, whose outputs are the C. */
static void DL_FN(grouped_pack)(const dl_grouped *g, const void *weight, int transposed) {
    const dl_conv *v = g->v;
    const long channels = v->c / v->groups, kernels = v->k / v->groups;
    real *to = (real *)g->weight;
    for (long first = 0; first < g->panels * LANES; first += LANES)
        for (long t = 0; t < g->down.taps; t++)
            for (long u = 0; u < g->across.taps; u++) {
                const long r = g->down.tap + t * g->down.next, s = g->across.tap + u * g->across.next;
                for (long j = 0; j < g->each; j++)
                    for (long lane = first; lane < first + LANES; lane++) {
                        const long k = transposed ? lane / channels * kernels + j : lane;
                        const long c = transposed ? lane % channels : j;
                        const long at = ((k * v->r + r) * v->s + s) * channels + c;
                        *to++ = lane < g->outputs ? ((const real *)weight)[at] : 0;
                    }
            }
}

/* What the lanes of a panel read: the first channel of each, in the order of the lanes. */
typedef struct {
    long first[LANES], channel, reads; /* channel: the lowest; reads: numbers from there to the last */
    ivec order;                        /* lane -> place in a register that holds `reads` numbers */
} DL_FN(lanes_of);

DL_INLINE void DL_FN(find_lanes)(const dl_grouped *g, long panel, DL_FN(lanes_of) *l) {
    ireal order[LANES];
    for (long i = 0; i < LANES; i++)
        l->first[i] = dl_min(panel * LANES + i, g->outputs - 1) / g->sharing * g->each;
    l->channel = l->first[0];
    l->reads = l->first[LANES - 1] - l->channel + g->each;
    for (long i = 0; i < LANES; i++)
        order[i] = (ireal)(l->first[i] - l->channel);
    memcpy(&l->order, order, sizeof order);
}

/* to (each, LANES) = the numbers that the lanes read of one pixel; `whole`: a register may be read from `channel` on.
 */
DL_INLINE void DL_FN(spread_pixel)(long each, const DL_FN(lanes_of) * l, const real *pixel, int whole, real *to) {
#if DL_VECTORS && !defined(__clang__)
    if (l->reads <= LANES) {
        const vec x = whole ? DL_FN(vload)(pixel + l->channel) : DL_FN(load_part)(pixel + l->channel, l->reads);
        for (long j = 0; j < each; j++)
            DL_FN(vstore)(to + j * LANES, __builtin_shuffle(x, l->order + DL_FN(isplat)((ireal)j)));
        return;
    }
#endif
    for (long j = 0; j < each; j++, pixel++)
        for (long i = 0; i < LANES; i++)
            *to++ = pixel[l->first[i]];
    (void)whole;
}

/* The rows of image n that `rows` rows of points from `first` on read, spread for a panel: (rows, columns, each,
   LANES). */
DL_NOINLINE void DL_FN(spread_rows)(const dl_grouped *g, const DL_FN(lanes_of) * l, long n, long first, long rows,
                                    real *to) {
    const long down = dl_reach(&g->down, rows), across = dl_reach(&g->across, g->across.points), cell = g->each * LANES;
    const real *end = (const real *)g->src + g->n * g->h * g->w * g->c - LANES;
    const DL_FN(lanes_of) own = *l; /* that no store may change */
    const long each = g->each, channels = g->c;
    for (long i = 0; i < down; i++) {
        const long y = first * g->down.step + g->down.first + i;
        const long left = y < 0 || y >= g->h ? across : dl_min(across, dl_max(0, -g->across.first));
        const long right = dl_max(left, dl_min(across, g->w - g->across.first));
        const real *row = (const real *)g->src + ((n * g->h + y) * g->w + g->across.first) * g->c;
        memset(to, 0, sizeof(real) * left * cell);
        for (long x = left; x < right; x++)
            DL_FN(spread_pixel)(each, &own, row + x * channels, row + x * channels + own.channel <= end, to + x * cell);
        memset(to + right * cell, 0, sizeof(real) * (across - right) * cell);
        to += across * cell;
    }
}

/* Steps between what a tile reads: from row to row of points, and of taps, tap to tap, point to point. */
typedef struct {
    long row, down, across, point, taps_down, taps_across, each;
} DL_FN(grouped_steps);

DL_INLINE DL_FN(grouped_steps) DL_FN(steps_of)(const dl_grouped *g) {
    const long cell = g->each * LANES, line = dl_reach(&g->across, g->across.points) * cell;
    return (DL_FN(grouped_steps)){.row = g->down.step * line,
                                  .down = g->down.apart * line,
                                  .across = g->across.apart * cell,
                                  .point = g->across.step * cell,
                                  .taps_down = g->down.taps,
                                  .taps_across = g->across.taps,
                                  .each = g->each};
}

/* Room for the rows that a block reads, spread; NULL where there is no memory. */
DL_INLINE real *DL_FN(spread_room)(const dl_grouped *g) {
    const long cells = dl_reach(&g->down, g->rows) * dl_reach(&g->across, g->across.points) + 1;
    return (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * cells * g->each * LANES);
}

/* acc[i] = bias + the sum over taps and j for `pixels` neighbouring points. */
DL_INLINE void DL_FN(grouped_tile)(const int pixels, const DL_FN(grouped_steps) *s, const real *in, const real *w,
                                   vec bias, vec *acc) {
    DL_UNROLL for (int i = 0; i < pixels; i++) acc[i] = bias;
    for (long t = 0; t < s->taps_down; t++, in += s->down) {
        const real *tap = in;
        for (long u = 0; u < s->taps_across; u++, tap += s->across) {
            const real *from = tap;
            for (long j = 0; j < s->each; j++, from += LANES, w += LANES) {
                const vec weight = DL_FN(vload)(w);
                DL_UNROLL for (int i = 0; i < pixels; i++) acc[i] += DL_FN(vload)(from + i * s->point) * weight;
            }
        }
    }
}

#define TILE(n) \
    case n: DL_FN(grouped_tile)(n, s, in, w, bias, acc); break;
DL_NOINLINE void DL_FN(grouped_points)(long points, const DL_FN(grouped_steps) *s, const real *in, const real *w,
                                       vec bias, vec *acc) {
    switch (points) { TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) }
}
#undef TILE

/* Job: one panel of outputs of a block of rows of one image. */
static void DL_FN(grouped_job)(void *ctx, long job, long worker) {
    const dl_grouped *g = (const dl_grouped *)ctx;
    const long panel = job % g->panels, block = job / g->panels % g->blocks, n = job / g->panels / g->blocks;
    const long first = block * g->rows, rows = dl_min(g->rows, g->down.points - first), k = panel * LANES;
    const long count = dl_min(LANES, g->outputs - k);
    const int activation = g->finish ? g->v->activation : DL_IDENTITY;
    real *spread = DL_FN(spread_room)(g);
    if (!spread) return;
    DL_FN(lanes_of) lanes;
    DL_FN(find_lanes)(g, panel, &lanes);
    if (g->down.taps && g->across.taps) DL_FN(spread_rows)(g, &lanes, n, first, rows, spread);
    const DL_FN(grouped_steps) steps = DL_FN(steps_of)(g);
    const real *weight = (const real *)g->weight + panel * g->cell;
    const vec bias = g->bias ? DL_FN(vload_n)((const real *)g->bias + k, count) : DL_FN(vsplat)(0);
    const long step = g->across.spread * g->outputs;
    for (long i = 0; i < rows; i++) {
        const real *in = spread + i * steps.row;
        const long y = g->down.origin + (first + i) * g->down.spread;
        real *out = (real *)g->out + ((n * g->out_h + y) * g->out_w + g->across.origin) * g->outputs + k;
        for (long x = 0; x < g->across.points; x += PIXELS, in += PIXELS * steps.point) {
            const long some = dl_min(PIXELS, g->across.points - x);
            vec acc[PIXELS];
            DL_FN(grouped_points)(some, &steps, in, weight, bias, acc);
            for (long p = 0; p < some; p++, out += step)
                DL_FN(vstore_n)(out, activation == DL_RELU ? DL_FN(vrelu)(acc[p]) : acc[p], count);
        }
    }
    if (!g->finish || (activation <= DL_RELU && !g->v->finish)) return;
    for (long i = 0; i < rows; i++) { /* forward: points are neighbours */
        real *out = (real *)g->out + (n * g->out_h + first + i) * g->out_w * g->outputs + k;
        if (activation > DL_RELU) DL_FN(activate_block)(out, g->outputs, g->out_w, count, activation);
        if (g->v->finish) DL_FN(finish_rows)(g->v->finish, out, g->outputs, g->out_w, k, count);
    }
    (void)worker;
}

/* sum (taps, LANES) += the products of `points` points with `taps` of the places that they read. */
DL_INLINE void DL_FN(grouped_weight_tile)(const int taps, const real *const *at, long point, const real *dz, long step,
                                          long count, long points, real *sum) {
    vec acc[TAPS];
    const real *from[TAPS];
    DL_UNROLL for (int i = 0; i < taps; i++) acc[i] = DL_FN(vsplat)(0), from[i] = at[i];
    for (long x = 0; x < points; x++, dz += step) {
        const vec g = DL_FN(vload_n)(dz, count);
        DL_UNROLL for (int i = 0; i < taps; i++) acc[i] += DL_FN(vload)(from[i] + x * point) * g;
    }
    DL_UNROLL for (int i = 0; i < taps; i++) DL_FN(vstore)(sum + i * LANES, DL_FN(vload)(sum + i * LANES) + acc[i]);
}

#define TILE(n) \
    case n: DL_FN(grouped_weight_tile)(n, at, point, dz, step, count, points, sum); break;
DL_NOINLINE void DL_FN(grouped_weight_taps)(long taps, const real *const *at, long point, const real *dz, long step,
                                            long count, long points, real *sum) {
    switch (taps) { TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) TILE(10) }
}
#undef TILE

/* One row of dz with all taps of all channels that it meets. */
DL_INLINE void DL_FN(grouped_weight_row)(const dl_grouped *g, const DL_FN(grouped_steps) *s, const real *in,
                                         const real *dz, long count, real *sum) {
    const long all = s->taps_down * s->taps_across * s->each;
    const long most = dl_ceil_div(all, dl_ceil_div(all, TAPS)); /* about as many in each tile */
    for (long tap = 0; tap < all; tap += most) {
        const long some = dl_min(most, all - tap);
        const real *at[TAPS];
        for (long i = 0; i < some; i++) {
            const long j = (tap + i) % s->each, u = (tap + i) / s->each % s->taps_across;
            at[i] = in + (tap + i) / s->each / s->taps_across * s->down + u * s->across + j * LANES;
        }
        DL_FN(grouped_weight_taps)(some, at, s->point, dz, g->outputs, count, g->across.points, sum + tap * LANES);
    }
}

/* Job: one panel of the sums over one chunk of blocks of rows. */
static void DL_FN(grouped_weight_job)(void *ctx, long job, long worker) {
    const dl_grouped *g = (const dl_grouped *)ctx;
    const long panel = job % g->panels, chunk = job / g->panels, k = panel * LANES;
    const long count = dl_min(LANES, g->outputs - k), last = dl_min((chunk + 1) * g->chunk, g->n * g->blocks);
    real *spread = DL_FN(spread_room)(g);
    if (!spread) return;
    real *sum = (real *)g->weight + job * g->cell;
    memset(sum, 0, sizeof(real) * g->cell);
    DL_FN(lanes_of) lanes;
    DL_FN(find_lanes)(g, panel, &lanes);
    const DL_FN(grouped_steps) steps = DL_FN(steps_of)(g);
    for (long block = chunk * g->chunk; block < last; block++) {
        const long n = block / g->blocks, first = block % g->blocks * g->rows;
        const long rows = dl_min(g->rows, g->down.points - first);
        DL_FN(spread_rows)(g, &lanes, n, first, rows, spread);
        const real *dz = (const real *)g->dz + (n * g->out_h + first) * g->out_w * g->outputs + k;
        for (long i = 0; i < rows; i++, dz += g->out_w * g->outputs)
            DL_FN(grouped_weight_row)(g, &steps, spread + i * steps.row, dz, count, sum);
    }
    (void)worker;
}

/* Job: one panel of dweight (K, R, S, C/groups), the sums added in the order of the chunks. */
static void DL_FN(grouped_sum_job)(void *ctx, long panel, long worker) {
    const dl_grouped *g = (const dl_grouped *)ctx;
    const long taps = g->cell / LANES, count = dl_min(LANES, g->outputs - panel * LANES);
    const real *from = (const real *)g->weight + panel * g->cell;
    real *out = (real *)g->out + panel * LANES * taps;
    for (long tap = 0; tap < taps; tap++, from += LANES) {
        vec sum = DL_FN(vload)(from);
        for (long chunk = 1; chunk < g->chunks; chunk++)
            sum += DL_FN(vload)(from + chunk * g->panels * g->cell);
        real lane[LANES];
        DL_FN(vstore)(lane, sum);
        for (long i = 0; i < count; i++)
            out[i * taps + tap] = lane[i];
    }
    (void)worker;
}
#undef PIXELS
#undef TAPS
