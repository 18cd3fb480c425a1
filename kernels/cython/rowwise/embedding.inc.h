/* The jobs of embedding.h. */

/* Job: DL_EMBED_ROWS rows of y. */
static void DL_FN(embedding_job)(void *ctx, long job, long worker) {
    const dl_embedding *m = (const dl_embedding *)ctx;
    for (long i = job * DL_EMBED_ROWS; i < dl_min((job + 1) * DL_EMBED_ROWS, m->count); i++)
        memcpy((real *)m->out + i * m->width, (const real *)m->in + m->indices[i] * m->width, sizeof(real) * m->width);
    (void)worker;
}

/* Job: one range of the table's rows; the rows of dy that belong to it are added in their order. */
static void DL_FN(embedding_back_job)(void *ctx, long job, long worker) {
    const dl_embedding *m = (const dl_embedding *)ctx;
    const long begin = job * m->range, end = dl_min(begin + m->range, m->table);
    memset((real *)m->out + begin * m->width, 0, sizeof(real) * (end - begin) * m->width);
    for (long i = 0; i < m->count; i++) {
        const long index = m->indices[i];
        if (index < begin || index >= end || index == m->padding) continue;
        const real *DL_R dy = (const real *)m->in + i * m->width;
        real *DL_R to = (real *)m->out + index * m->width;
        for (long k = 0; k < m->width; k++)
            to[k] += dy[k];
    }
    (void)worker;
}
