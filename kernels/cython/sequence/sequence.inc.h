/* The jobs of sequence.h on the way forward, and what those of the way back share with them. */
#define V(name) DL_FN(name)
#define ONE V(vsplat)(1)
#define AT(p) V(vload_n)(p, n)
#define MOST_SUMS (12 * 4 * LANES)

DL_INLINE void V(copy_row)(real *to, const real *from, long count) {
    for (long u = 0; u < count; u += LANES) {
        const long n = count - u;
        V(vstore_n)(to + u, AT(from + u), n);
    }
}

/* to[k][unit] = from[unit][k], k < depth, for the units of a panel, 0 beyond the last one. */
DL_INLINE void V(pack_units)(real *to, long width, long each, long units, const real *from, long depth) {
    for (long u = 0; u < each; u += LANES, to += LANES, from += LANES * depth) {
        const long valid = units - u;
        long k = 0;
#if DL_VECTORS
        for (; k + LANES <= depth; k += LANES) {
            vec row[LANES];
            DL_UNROLL for (int i = 0; i < LANES; i++) row[i] =
                i < valid ? V(vload)(from + i * depth + k) : V(vsplat)(0);
            V(transpose)(row);
            DL_UNROLL for (int i = 0; i < LANES; i++) V(vstore)(to + (k + i) * width, row[i]);
        }
#endif
        for (; k < depth; k++)
            for (long i = 0; i < LANES; i++)
                to[k * width + i] = i < valid ? from[i * depth + k] : 0;
    }
}

/* Panel `job` of W_ih^T above W_hh^T: [k][gate][lane], or [k][2 lanes] where there is one gate. */
static void V(sequence_pack_job)(void *ctx, long job, long worker) {
    const dl_sequence *s = (const dl_sequence *)ctx;
    const long gates = dl_sequence_gates(s->kind), hidden = s->hidden, each = s->width, unit = job * each;
    const long width = gates * each, units = dl_min(each, hidden - unit);
    real *to = (real *)s->packed + job * (s->features + hidden) * width;
    for (long g = 0; g < gates; g++) {
        const long row = g * hidden + unit;
        real *column = to + g * each;
        V(pack_units)(column, width, each, units, (const real *)s->weight_ih + row * s->features, s->features);
        V(pack_units)(column + s->features * width, width, each, units, (const real *)s->weight + row * hidden, hidden);
    }
    (void)worker;
}

/* The row of state j at step t. */
DL_INLINE long V(row_of)(const dl_sequence *s, long t, long j) { return s->offset[t] + j * s->stride; }

/* How many states at step t have a step before them in this direction; those beyond begin here. */
DL_INLINE long V(running)(const dl_sequence *s, long t) {
    const long before = s->reverse ? t + 1 : t - 1;
    return before < 0 || before >= s->steps ? 0 : dl_min(s->count[before], s->count[t]);
}
/* A row (Hd) of `rows`, which lie ld apart, before step t for state j, or of `start` where the state begins. */
DL_INLINE const real *V(before)(const dl_sequence *s, const void *rows, long ld, const void *start, long t, long j,
                                long running) {
    return j < running ? (const real *)rows + V(row_of)(s, s->reverse ? t + 1 : t - 1, j) * ld
                       : (const real *)start + j * s->hidden;
}

/* One register of units at `unit`, n of them, of one row: sums in z, what is to be added (`from`, G Hd, the bias or the
   input's part), and where the gates go. */
DL_INLINE void V(lstm_unit)(const dl_sequence *s, const real *z, const real *from, real *gates, long row, long unit,
                            long n, const real *c_before) {
    const long hidden = s->hidden;
    const real *zi = from + unit, *zf = zi + hidden, *zg = zf + hidden, *zo = zg + hidden;
    real *gi = gates + unit, *gf = gi + hidden, *gg = gf + hidden, *go = gg + hidden;
    const vec i = V(vsigmoid)(V(vload)(z) + AT(zi)), f = V(vsigmoid)(V(vload)(z + LANES) + AT(zf));
    const vec g = V(vtanh)(V(vload)(z + 2 * LANES) + AT(zg)), o = V(vsigmoid)(V(vload)(z + 3 * LANES) + AT(zo));
    const vec c = f * AT(c_before + unit) + i * g;
    V(vstore_n)(gi, i, n);
    V(vstore_n)(gf, f, n);
    V(vstore_n)(gg, g, n);
    V(vstore_n)(go, o, n);
    V(vstore_n)((real *)s->extra + row * hidden + unit, c, n);
    V(vstore_n)((real *)s->y + row * s->ld + unit, o * V(vtanh)(c), n);
}

/* The new gate's two parts stay apart: the hidden side's stands in z, the input's in `input`, or `from`. */
DL_INLINE void V(gru_unit)(const dl_sequence *s, const real *z, vec input, const real *from, real *gates, long row,
                           long unit, long n, const real *h_before) {
    const long hidden = s->hidden;
    real *gr = gates + unit, *gz = gr + hidden, *gn = gz + hidden;
    vec inner = V(vload)(z + 2 * LANES);
    if (s->inner_bias) inner += AT((const real *)s->inner_bias + unit);
    const vec r = V(vsigmoid)(V(vload)(z) + AT(from + unit));
    const vec u = V(vsigmoid)(V(vload)(z + LANES) + AT(from + hidden + unit));
    const vec t = V(vtanh)(input + AT(from + 2 * hidden + unit) + r * inner);
    V(vstore_n)(gr, r, n);
    V(vstore_n)(gz, u, n);
    V(vstore_n)(gn, t, n);
    V(vstore_n)((real *)s->extra + row * hidden + unit, inner, n);
    V(vstore_n)((real *)s->y + row * s->ld + unit, (ONE - u) * t + u * AT(h_before + unit), n);
}

DL_INLINE void V(rnn_unit)(const dl_sequence *s, const real *z, const real *from, long row, long unit, long n) {
    const vec sum = V(vload)(z) + AT(from + unit);
    V(vstore_n)((real *)s->y + row * s->ld + unit, s->kind == DL_SEQUENCE_RNN ? V(vtanh)(sum) : V(vrelu)(sum), n);
}

/* Adds the input's part of the gates r and z to the hidden side's. */
DL_INLINE void V(join_gates)(real *sums, const real *inputs, long rows) {
    for (long i = 0; i < rows; i++)
        for (long g = 0; g < 2; g++) {
            const long at = (3 * i + g) * LANES;
            V(vstore)(sums + at, V(vload)(sums + at) + V(vload)(inputs + at));
        }
}

/* The gates of one row and panel of units, from its sums. */
DL_INLINE void V(finish_row)(const dl_sequence *s, long t, long j, long unit, long running, const real *z,
                             const real *inputs) {
    const long hidden = s->hidden, n = hidden - unit, row = V(row_of)(s, t, j);
    real *gates = s->gates ? (real *)s->gates + row * dl_sequence_gates(s->kind) * hidden : NULL;
    const real *from = s->within ? (const real *)s->bias : gates;
    if (s->kind == DL_SEQUENCE_LSTM)
        V(lstm_unit)(s, z, from, gates, row, unit, n, V(before)(s, s->extra, hidden, s->c0, t, j, running));
    else if (s->kind == DL_SEQUENCE_GRU)
        V(gru_unit)(s, z, inputs ? V(vload)(inputs) : V(vsplat)(0), from, gates, row, unit, n,
                    V(before)(s, s->y, s->ld, s->h0, t, j, running));
    else {
        V(rnn_unit)(s, z, from, row, unit, n);
        if (n > LANES) V(rnn_unit)(s, z + LANES, from, row, unit + LANES, n - LANES);
    }
}

/* Asks for what finish_row will read and has not been read lately. */
DL_INLINE void V(soon)(const dl_sequence *s, long t, long j, long unit) {
    const long gates = dl_sequence_gates(s->kind), hidden = s->hidden;
    if (s->gates)
        for (long g = 0; g < gates; g++)
            DL_PREFETCH((const real *)s->gates + (V(row_of)(s, t, j) * gates + g) * hidden + unit);
}

/* Step t of the states begin .. end, all running on or all beginning here, for the units of panels first .. last. */
DL_NOINLINE void V(step_forward)(const dl_sequence *s, long t, long begin, long end, long running, long first,
                                 long last) {
    const long gates = dl_sequence_gates(s->kind), hidden = s->hidden, features = s->features;
    const int vectors = gates == 1 ? 2 : gates, apart = gates == 3 && s->within;
    const long each = gates == 1 ? 2 * LANES : LANES, depth = features + hidden;
    const real *panel = (const real *)s->packed + first * depth * vectors * LANES;
    real sums[MOST_SUMS], inputs[MOST_SUMS];
    for (long p = first; p < last; p++, panel += depth * vectors * LANES)
        for (long j = begin, rows; j < end; j += rows) {
            rows = V(tile_rows_of)(end - j, vectors);
            const V(sums_kernel) kernel = V(sums_kernels)[vectors - 2][s->batch == 1 ? 0 : rows];
            const real *row = (const real *)s->x + V(row_of)(s, t, j) * features;
            const real *state = V(before)(s, s->y, s->ld, s->h0, t, j, running);
            const dl_part none = {NULL, 0, 0}, x = {row, features, s->stride * features};
            const dl_part h = {state, hidden, j < running ? s->stride * s->ld : hidden};
            for (long i = 0; i < rows; i++)
                V(soon)(s, t, j + i, p * each);
            if (apart) kernel(&none, &x, panel, inputs);
            const int joined = s->within && !apart;
            kernel(joined ? &x : &none, &h, joined ? panel : panel + features * vectors * LANES, sums);
            if (apart) V(join_gates)(sums, inputs, rows);
            for (long i = 0; i < rows; i++)
                V(finish_row)(s, t, j + i, p * each, running, sums + i * vectors * LANES,
                              apart ? inputs + (3 * i + 2) * LANES : NULL);
        }
}

/* The states begin .. end at step t: first those that run on, then those that begin here. */
DL_INLINE void V(whole_step)(const dl_sequence *s, long t, long begin, long end, long first, long last) {
    const long running = V(running)(s, t), stop = dl_min(end, s->count[t]), middle = dl_min(stop, running);
    if (begin < middle) V(step_forward)(s, t, begin, middle, running, first, last);
    if (dl_max(begin, middle) < stop) V(step_forward)(s, t, dl_max(begin, middle), stop, running, first, last);
}

/* gates of the rows begin .. end = x W_ih^T + bias, for the panels first .. last. */
DL_NOINLINE void V(inputs)(const dl_sequence *s, long begin, long end, long first, long last) {
    const long gates = dl_sequence_gates(s->kind), hidden = s->hidden, features = s->features;
    const int vectors = gates == 1 ? 2 : gates;
    const long each = gates == 1 ? 2 * LANES : LANES, numbers = (features + hidden) * vectors * LANES;
    const dl_part none = {NULL, 0, 0};
    real sums[MOST_SUMS];
    for (long p = first; p < last; p++)
        for (long row = begin, rows; row < end; row += rows) {
            rows = V(tile_rows_of)(end - row, vectors);
            const dl_part x = {(const real *)s->x + row * features, features, features};
            V(sums_kernels)[vectors - 2][rows](&none, &x, (const real *)s->packed + p * numbers, sums);
            for (long i = 0; i < rows * vectors; i++) {
                const long unit = p * each + (gates == 1 ? i % 2 * LANES : 0), gate = gates == 1 ? 0 : i % gates;
                const long at = gate * hidden + unit, n = hidden - unit;
                if (n <= 0) continue;
                V(vstore_n)((real *)s->gates + (row + i / vectors) * gates * hidden + at,
                            V(vload)(sums + i * LANES) + AT((const real *)s->bias + at), n);
            }
        }
}

/* The rows of the turns that are taken, where the batch is one: they follow each other. */
DL_INLINE long V(first_row)(const dl_sequence *s) { return s->reverse ? s->steps - s->end : s->begin; }

/* Job: some sequences of one loop, the turns that it takes. */
static void V(sequence_forward_job)(void *ctx, long job, long worker) {
    const dl_sequences *all = (const dl_sequences *)ctx;
    const dl_sequence *s = all->loops + job / all->jobs;
    const long panels = dl_ceil_div(s->hidden, dl_sequence_gates(s->kind) == 1 ? 2 * LANES : LANES);
    const int64_t *cut = all->cut + job % all->jobs;
    if (all->stack) V(inputs)(s, V(first_row)(s), V(first_row)(s) + s->end - s->begin, 0, panels);
    for (long turn = s->begin; turn < s->end; turn++)
        V(whole_step)(s, dl_sequence_at(s, turn), cut[0], cut[1], 0, panels);
    (void)worker;
}

/* Job: one step, some units. */
static void V(sequence_units_job)(void *ctx, long job, long worker) {
    const dl_sequence *s = (const dl_sequence *)ctx;
    const long each = dl_sequence_gates(s->kind) == 1 ? 2 * LANES : LANES, panels = dl_ceil_div(s->hidden, each);
    const long first = job * s->width / each, last = dl_min(panels, first + s->width / each);
    V(whole_step)(s, dl_sequence_at(s, s->step), 0, s->batch, first, last);
    (void)worker;
}

/* Job: s->width steps: x and the state before of each row side by side. */
static void V(sequence_beside_job)(void *ctx, long job, long worker) {
    const dl_sequence *s = (const dl_sequence *)ctx;
    const long hidden = s->hidden, features = s->features, end = dl_min(s->steps, (job + 1) * s->width);
    for (long t = job * s->width; t < end; t++)
        for (long j = 0, running = V(running)(s, t); j < s->count[t]; j++) {
            const long row = V(row_of)(s, t, j);
            real *to = (real *)s->beside + row * (features + hidden);
            V(copy_row)(to, (const real *)s->x + row * features, features);
            V(copy_row)(to + features, V(before)(s, s->y, s->ld, s->h0, t, j, running), hidden);
        }
    (void)worker;
}
#undef V
#undef ONE
#undef AT
#undef MOST_SUMS
