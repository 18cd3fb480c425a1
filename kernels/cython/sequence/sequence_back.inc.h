/* The jobs of sequence.h on the way back; after sequence.inc.h. */
#define V(name) DL_FN(name)
#define ONE V(vsplat)(1)
#define AT(p) V(vload_n)(p, n)
#define MOST_SUMS (12 * 4 * LANES)

/* Panel `job` of W_hh and then of W_ih, whose columns begin at s->start: [row][2 registers of columns]. */
static void V(sequence_pack_back_job)(void *ctx, long job, long worker) {
    const dl_sequence *s = (const dl_sequence *)ctx;
    const long depth = dl_sequence_gates(s->kind) * s->hidden, hidden = s->hidden, features = s->features;
    const long first = job * s->width, end = first + s->width, turned = s->kind == DL_SEQUENCE_GRU ? hidden : 0;
    real *to = (real *)s->packed + job * depth * s->width;
    for (long k = 0; k < depth; k++, to += s->width) {
        const long row = k < turned ? depth - hidden + k : k - turned; /* dz has the GRU's new gate first */
        for (long u = dl_max(first, dl_min(end, hidden)); u < end; u++) to[u - first] = 0;
        if (first < hidden) V(copy_row)(to, (const real *)s->weight + k * hidden + first, dl_min(end, hidden) - first);
        if (features && end > s->start && first < s->start + features) {
            const long from = dl_max(first, s->start) - s->start;
            V(copy_row)(to + s->start + from - first, (const real *)s->weight_ih + row * features + from,
                        dl_min(end - s->start, features) - from);
        }
    }
    (void)worker;
}

/* dz of step t for the states begin .. end and the units first .. last, from dy and the dh and dc that came from the
   step after; leaves in dh what reaches the state before past the gates (GRU), and dc of the cell before (LSTM). */
static void V(sequence_gates_back)(const dl_sequence *s, long t, long begin, long end, long first, long last) {
    const long hidden = s->hidden, running = V(running)(s, t), stop = dl_min(end, s->count[t]);
    for (long j = begin; j < stop; j++) {
        const long row = V(row_of)(s, t, j);
        const real *dy = (const real *)s->dy + row * s->ld, *y = (const real *)s->y + row * s->ld;
        real *carried = (real *)s->dh + j * hidden, *dz = (real *)s->dz + row * dl_sequence_dz(s->kind) * hidden;
        if (s->kind == DL_SEQUENCE_LSTM) {
            const real *gi = (const real *)s->gates + row * 4 * hidden, *gf = gi + hidden, *gg = gf + hidden;
            const real *go = gg + hidden, *cell = (const real *)s->extra + row * hidden;
            const real *cell_before = V(before)(s, s->extra, hidden, s->c0, t, j, running);
            real *dcell = (real *)s->dc + j * hidden;
            for (long u = first; u < last; u += LANES) {
                const long n = last - u;
                const vec i = AT(gi + u), f = AT(gf + u), g = AT(gg + u), o = AT(go + u);
                const vec dh = AT(dy + u) + AT(carried + u), tanh_c = V(vtanh)(AT(cell + u));
                const vec dc = AT(dcell + u) + dh * o * (ONE - tanh_c * tanh_c);
                V(vstore_n)(dz + u, dc * g * (i * (ONE - i)), n);
                V(vstore_n)(dz + hidden + u, dc * AT(cell_before + u) * (f * (ONE - f)), n);
                V(vstore_n)(dz + 2 * hidden + u, dc * i * (ONE - g * g), n);
                V(vstore_n)(dz + 3 * hidden + u, dh * tanh_c * (o * (ONE - o)), n);
                V(vstore_n)(dcell + u, dc * f, n);
            }
        } else if (s->kind == DL_SEQUENCE_GRU) {
            const real *gr = (const real *)s->gates + row * 3 * hidden, *gz = gr + hidden, *gn = gz + hidden;
            const real *inner = (const real *)s->extra + row * hidden;
            const real *h = V(before)(s, s->y, s->ld, s->h0, t, j, running);
            for (long u = first; u < last; u += LANES) {
                const long n = last - u;
                const vec r = AT(gr + u), z = AT(gz + u), new = AT(gn + u), dh = AT(dy + u) + AT(carried + u);
                const vec dn = dh * (ONE - z) * (ONE - new * new);
                V(vstore_n)(dz + u, dn, n);
                V(vstore_n)(dz + hidden + u, dn * AT(inner + u) * (r * (ONE - r)), n);
                V(vstore_n)(dz + 2 * hidden + u, dh * (AT(h + u) - new) * (z * (ONE - z)), n);
                V(vstore_n)(dz + 3 * hidden + u, dn * r, n);
                V(vstore_n)(carried + u, dh * z, n);
            }
        } else
            for (long u = first; u < last; u += LANES) {
                const long n = last - u;
                const vec h = AT(y + u), dh = AT(dy + u) + AT(carried + u);
                const vec zero = V(vsplat)(0), below = V(vsel)(V(vle)(h, zero), zero, dh);
                V(vstore_n)(dz + u, s->kind == DL_SEQUENCE_RNN ? dh * (ONE - h * h) : below, n);
            }
    }
}

/* dx of a row, from the sums of the columns from `column` on of dz (W_hh, W_ih). */
DL_INLINE void V(put_inputs)(const dl_sequence *s, const real *sums, long row, long column) {
    const long begin = dl_max(column, s->start), count = dl_min(column + 2 * LANES, s->start + s->features) - begin;
    real *to = (real *)s->dx + row * s->features + begin - s->start;
    sums += begin - column;
    if (!s->adds) V(copy_row)(to, sums, count);
    else
        for (long u = 0; u < count; u += LANES) {
            const long n = count - u;
            V(vstore_n)(to + u, AT(to + u) + AT(sums + u), n);
        }
}

/* dh of state j, from the same sums. */
DL_INLINE void V(put_state)(const dl_sequence *s, const real *sums, long j, long column) {
    for (long u = column; u < column + 2 * LANES && u < s->hidden; u += LANES) {
        real *to = (real *)s->dh + j * s->hidden + u;
        const long n = s->hidden - u;
        const vec sum = V(vload)(sums + u - column);
        V(vstore_n)(to, s->kind == DL_SEQUENCE_GRU ? sum + AT(to) : sum, n);
    }
}

/* dh of the states begin .. end before step t, and dx of their rows: dz (W_hh, W_ih), for the panels first .. last. */
DL_NOINLINE void V(step_backward)(const dl_sequence *s, long t, long begin, long end, long first, long last) {
    const long depth = dl_sequence_gates(s->kind) * s->hidden, wide = dl_sequence_dz(s->kind) * s->hidden;
    const long stop = dl_min(end, s->count[t]), skip = s->kind == DL_SEQUENCE_GRU ? s->hidden : 0;
    const real *panel = (const real *)s->packed + first * depth * 2 * LANES;
    const dl_part none = {NULL, 0, 0};
    real sums[MOST_SUMS];
    for (long p = first; p < last; p++, panel += depth * 2 * LANES) {
        const long column = p * 2 * LANES, side = column < s->hidden ? skip : 0;
        for (long j = begin, rows; j < stop; j += rows) {
            rows = V(tile_rows_of)(stop - j, 2);
            const dl_part dz = {(const real *)s->dz + V(row_of)(s, t, j) * wide + side, depth, s->stride * wide};
            V(sums_kernels)[0][s->batch == 1 ? 0 : rows](&none, &dz, panel, sums);
            for (long i = 0; i < rows; i++) {
                V(put_state)(s, sums + 2 * i * LANES, j + i, column);
                if (s->within && column + 2 * LANES > s->start)
                    V(put_inputs)(s, sums + 2 * i * LANES, V(row_of)(s, t, j + i), column);
            }
        }
    }
}

/* dx of the rows begin .. end = dz W_ih, for the panels first .. last of W_ih. */
DL_NOINLINE void V(inputs_back)(const dl_sequence *s, long begin, long end, long first, long last) {
    const long depth = dl_sequence_gates(s->kind) * s->hidden, wide = dl_sequence_dz(s->kind) * s->hidden;
    const dl_part none = {NULL, 0, 0};
    real sums[MOST_SUMS];
    for (long p = first; p < last; p++)
        for (long row = begin, rows; row < end; row += rows) {
            const long column = s->start + p * 2 * LANES;
            rows = V(tile_rows_of)(end - row, 2);
            const dl_part dz = {(const real *)s->dz + row * wide, depth, wide};
            V(sums_kernels)[0][rows](&none, &dz, (const real *)s->packed + column * depth, sums);
            for (long i = 0; i < rows; i++)
                V(put_inputs)(s, sums + 2 * i * LANES, row + i, column);
        }
}

/* Job: some sequences of one loop, from the last to the first of the turns that it takes. */
static void V(sequence_backward_job)(void *ctx, long job, long worker) {
    const dl_sequences *all = (const dl_sequences *)ctx;
    const dl_sequence *s = all->loops + job / all->jobs;
    const int64_t *cut = all->cut + job % all->jobs;
    const long panels = dl_sequence_back_panels(s, 2 * LANES);
    for (long turn = s->end - 1; turn >= s->begin; turn--) {
        const long t = dl_sequence_at(s, turn);
        V(sequence_gates_back)(s, t, cut[0], cut[1], 0, s->hidden);
        V(step_backward)(s, t, cut[0], cut[1], 0, panels);
    }
    if (all->stack && s->dx)
        V(inputs_back)(s, V(first_row)(s), V(first_row)(s) + s->end - s->begin, 0, dl_ceil_div(s->features, 2 * LANES));
    (void)worker;
}

/* Job: one step, some units; then their gates in the step before, for which all others' may still be missing. */
static void V(sequence_back_units_job)(void *ctx, long job, long worker) {
    const dl_sequence *s = (const dl_sequence *)ctx;
    const long panels = dl_sequence_back_panels(s, 2 * LANES), first = job * s->width;
    const long last = dl_min(panels * 2 * LANES, first + s->width);
    V(step_backward)(s, dl_sequence_at(s, s->step), 0, s->batch, first / (2 * LANES), last / (2 * LANES));
    if (s->step) V(sequence_gates_back)(s, dl_sequence_at(s, s->step - 1), 0, s->batch, first, dl_min(last, s->hidden));
    (void)worker;
}

#undef V
#undef ONE
#undef AT
#undef MOST_SUMS
