/* Job: one chunk of rows of rows.h. */
static void DL_FN(rows_job)(void *ctx, long job, long worker) {
    const dl_rows *r = (const dl_rows *)ctx;
    const long cols = r->cols, begin = job * r->chunk, end = dl_min(begin + r->chunk, r->rows);
    real *total = r->partial ? (real *)r->partial + job * 2 * cols : NULL, *block = total + (total ? cols : 0);
    if (total) memset(total, 0, sizeof(real) * 2 * cols);
    for (long i = begin; i < end; i++) {
        const real *dy = (const real *)r->dy + i * cols, *y = r->y ? (const real *)r->y + i * cols : dy;
        real *dz = r->dz ? (real *)r->dz + i * cols : NULL;
        for (long j = 0; j < cols; j += LANES) {
            const long n = cols - j;
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
