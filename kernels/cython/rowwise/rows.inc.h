/* The jobs of rows.h; GROUP is the number of rows that are taken as one, so that they fill registers. */
#define GROUP(cols) ((cols) < LANES ? LANES : 1)
/* Job: one chunk of rows of rows.h. */
static void DL_FN(rows_job)(void *ctx, long job, long worker) {
    const dl_rows *r = (const dl_rows *)ctx;
    const long cols = r->cols, begin = job * r->chunk, end = dl_min(begin + r->chunk, r->rows);
    const long group = GROUP(cols), wide = cols * group;
    real *total = r->partial ? (real *)r->partial + job * 2 * wide : NULL, *block = total + (total ? wide : 0);
    if (total) memset(total, 0, sizeof(real) * 2 * wide);
    for (long i = begin, blocked = 0; i < end; i += group) {
        const long width = dl_min(group, end - i) * cols;
        const real *dy = (const real *)r->dy + i * cols, *y = r->y ? (const real *)r->y + i * cols : dy;
        real *dz = r->dz ? (real *)r->dz + i * cols : NULL;
        long j = 0;
        for (; j + LANES <= width; j += LANES) {
            vec z = DL_FN(vload)(dy + j);
            if (dz) {
                z = DL_FN(vactivation_gradient)(z, DL_FN(vload)(y + j), r->activation);
                DL_FN(vstore)(dz + j, z);
            }
            if (total) DL_FN(vstore)(block + j, DL_FN(vload)(block + j) + z);
        }
        for (; j < width; j++) { /* one by one: cheaper than a register that is put together from parts */
            real z = dy[j];
            if (dz) {
                const vec v = DL_FN(vactivation_gradient)(DL_FN(vsplat)(z), DL_FN(vsplat)(y[j]), r->activation);
                dz[j] = z = DL_FN(vlane)(v, 0);
            }
            if (total) block[j] += z;
        }
        if (!total || (++blocked < DL_ROWS_BLOCK && i + group < end)) continue;
        blocked = 0;
        for (long j = 0; j < wide; j++) {
            total[j] += block[j];
            block[j] = 0;
        }
    }
    (void)worker;
}

static void DL_FN(rows_total)(const dl_rows *r, long chunks) {
    const long cols = r->cols, wide = cols * GROUP(cols);
    real *out = (real *)r->dbias;
    memset(out, 0, sizeof(real) * cols);
    for (long chunk = 0; chunk < chunks; chunk++)
        for (long i = 0; i < wide; i += cols)
            for (long j = 0; j < cols; j++)
                out[j] += ((const real *)r->partial)[chunk * 2 * wide + i + j];
}
#undef GROUP
