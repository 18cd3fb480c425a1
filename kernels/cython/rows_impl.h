/* Job: one chunk of rows of rows.h. */
static void DL_FN(rows_job)(void *ctx, long job, long worker) {
    const dl_rows *r = (const dl_rows *)ctx;
    const long cols = r->cols, begin = job * r->chunk, end = dl_min(begin + r->chunk, r->rows);
    real *total = r->partial ? (real *)r->partial + job * 2 * cols : NULL, *block = total + (total ? cols : 0);
    if (total) memset(total, 0, sizeof(real) * 2 * cols);
    for (long i = begin; i < end; i++) {
        const real *dy = (const real *)r->dy + i * cols, *y = r->y ? (const real *)r->y + i * cols : dy;
        real *dz = r->dz ? (real *)r->dz + i * cols : NULL;
        long j = 0;
        for (; j + LANES <= cols; j += LANES) {
            vec z = DL_FN(vload)(dy + j);
            if (dz) {
                z = DL_FN(vactivation_gradient)(z, DL_FN(vload)(y + j), r->activation);
                DL_FN(vstore)(dz + j, z);
            }
            if (total) DL_FN(vstore)(block + j, DL_FN(vload)(block + j) + z);
        }
        for (; j < cols; j++) { /* one by one: cheaper than a register that is put together from parts */
            real z = dy[j];
            if (dz) {
                const vec v = DL_FN(vactivation_gradient)(DL_FN(vsplat)(z), DL_FN(vsplat)(y[j]), r->activation);
                dz[j] = z = DL_FN(vlane)(v, 0);
            }
            if (total) block[j] += z;
        }
        if (total && (i + 1 == end || (i - begin) % DL_ROWS_BLOCK == DL_ROWS_BLOCK - 1))
            for (long j = 0; j < cols; j++) {
                total[j] += block[j];
                block[j] = 0;
            }
    }
    (void)worker;
}

static void DL_FN(rows_total)(const dl_rows *r, long chunks) {
    real *out = (real *)r->dbias;
    memset(out, 0, sizeof(real) * r->cols);
    for (long chunk = 0; chunk < chunks; chunk++)
        for (long j = 0; j < r->cols; j++)
            out[j] += ((const real *)r->partial)[chunk * 2 * r->cols + j];
}
