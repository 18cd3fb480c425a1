/* The jobs of elementwise_rows.h. */
#define V(name) DL_FN(name)
#define C(x) V(vsplat)((real)(x))
#define SEL V(vsel)
#define EACH_LINE for (long line = job * p->chunk, at; line < (job + 1) * p->chunk && (at = line * p->line) < p->n; line++)

static void V(prelu_repeat)(const dl_prelu *p) {
    for (long i = 0; i < p->line; i += p->cols)
        memcpy((real *)p->slopes + i, p->weight, sizeof(real) * p->cols);
}

/* Job: y = x where x > 0, else slope x. */
static void V(prelu_forward_job)(void *ctx, long job, long worker) {
    const dl_prelu *p = (const dl_prelu *)ctx;
    const real *slopes = (const real *)p->slopes;
    EACH_LINE {
        const real *x = (const real *)p->x + at;
        real *y = (real *)p->out + at;
        const long n = dl_min(p->line, p->n - at);
        for (long i = 0; i < n; i += LANES) {
            const vec v = V(vload_n)(x + i, n - i);
            V(vstore_n)(y + i, SEL(V(vlt)(C(0), v), v, V(vload_n)(slopes + i, n - i) * v), n - i);
        }
    }
    (void)worker;
}

/* dx = dy where x > 0, else slope dy, where wanted; and sums += dy x over x <= 0, where wanted. */
DL_INLINE void V(prelu_back_line)(const real *x, const real *dy, const real *slopes, real *dx, real *sums, long n) {
    for (long i = 0; i < n; i += LANES) {
        const vec v = V(vload_n)(x + i, n - i), d = V(vload_n)(dy + i, n - i);
        const vmask positive = V(vlt)(C(0), v);
        if (dx) V(vstore_n)(dx + i, SEL(positive, d, V(vload_n)(slopes + i, n - i) * d), n - i);
        if (sums) V(vstore_n)(sums + i, V(vload_n)(sums + i, n - i) + SEL(positive, C(0), d * v), n - i);
    }
}

static void V(prelu_flush)(double *DL_R total, real *DL_R sums, long n) {
    for (long i = 0; i < n; i++)
        total[i] += (double)sums[i];
    memset(sums, 0, sizeof(real) * n);
}

/* Job: dx of some lines, and their share of dweight. */
static void V(prelu_backward_job)(void *ctx, long job, long worker) {
    const dl_prelu *p = (const dl_prelu *)ctx;
    double *total = p->partial ? p->partial + job * 2 * p->line : NULL;
    real *sums = total ? (real *)(total + p->line) : NULL;
    if (total) memset(total, 0, sizeof(double) * 2 * p->line);
    EACH_LINE {
        V(prelu_back_line)((const real *)p->x + at, (const real *)p->dy + at, (const real *)p->slopes,
                           p->out ? (real *)p->out + at : NULL, sums, dl_min(p->line, p->n - at));
        if (sums && line % DL_PRELU_DEPTH == DL_PRELU_DEPTH - 1) V(prelu_flush)(total, sums, p->line);
    }
    if (sums) V(prelu_flush)(total, sums, p->line);
    (void)worker;
}

/* y = a sigmoid(b) of n numbers, or where dy is given da = dy gate and db = dy a gate (1 - gate). */
DL_INLINE void V(glu_line)(const real *a, const real *b, const real *dy, real *out, real *db, long n) {
    for (long i = 0; i < n; i += LANES) {
        const vec v = V(vload_n)(a + i, n - i), gate = V(vsigmoid)(V(vload_n)(b + i, n - i));
        if (!dy) {
            V(vstore_n)(out + i, v * gate, n - i);
            continue;
        }
        const vec d = V(vload_n)(dy + i, n - i);
        V(vstore_n)(out + i, d * gate, n - i);
        V(vstore_n)(db + i, d * (v * (gate * (C(1) - gate))), n - i);
    }
}

/* Jobs: some rows, or a part of one. */
static void V(glu_forward_job)(void *ctx, long job, long worker) {
    const dl_glu *g = (const dl_glu *)ctx;
    const long row = job / g->parts * g->group, end = dl_min(row + g->group, g->rows);
    const long at = job % g->parts * DL_MAP_JOB, n = dl_min(g->half - at, DL_MAP_JOB);
    for (long i = row; i < end; i++) {
        const real *a = (const real *)g->x + 2 * i * g->half + at;
        V(glu_line)(a, a + g->half, NULL, (real *)g->out + i * g->half + at, NULL, n);
    }
    (void)worker;
}
static void V(glu_backward_job)(void *ctx, long job, long worker) {
    const dl_glu *g = (const dl_glu *)ctx;
    const long row = job / g->parts * g->group, end = dl_min(row + g->group, g->rows);
    const long at = job % g->parts * DL_MAP_JOB, n = dl_min(g->half - at, DL_MAP_JOB);
    for (long i = row; i < end; i++) {
        const real *a = (const real *)g->x + 2 * i * g->half + at;
        real *da = (real *)g->out + 2 * i * g->half + at;
        V(glu_line)(a, a + g->half, (const real *)g->dy + i * g->half + at, da, da + g->half, n);
    }
    (void)worker;
}
#undef V
#undef C
#undef SEL
#undef EACH_LINE
