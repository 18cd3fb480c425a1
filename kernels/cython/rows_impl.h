#define GROUP(cols) ((cols) < LANES ? LANES : 1) /* rows that are taken as one, so that they fill registers */

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
        for (long j = 0; j < width; j += LANES) {
            const long n = width - j;
            const int whole = n >= LANES;
            vec z = whole ? DL_FN(vload)(dy + j) : DL_FN(vload_n)(dy + j, n);
            if (dz) {
                z = DL_FN(vactivation_gradient)(z, whole ? DL_FN(vload)(y + j) : DL_FN(vload_n)(y + j, n),
                                                r->activation);
                if (whole)
                    DL_FN(vstore)(dz + j, z);
                else
                    DL_FN(vstore_n)(dz + j, z, n);
            }
            if (!total) continue;
            if (whole)
                DL_FN(vstore)(block + j, DL_FN(vload)(block + j) + z);
            else
                DL_FN(vstore_n)(block + j, DL_FN(vload_n)(block + j, n) + z, n);
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
