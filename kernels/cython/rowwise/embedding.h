/* Embedding: rows of a table, and the sum of dy over the uses of each row.  Backward jobs own ranges of the table, so
   no two write the same row, and each row is summed in the order of the indices. */
#ifndef DLFAST_EMBEDDING_H
#define DLFAST_EMBEDDING_H
#include "runtime/threads.h"
#include "simd/simd.h"

#define DL_EMBED_ROWS 256
#define DL_EMBED_RANGES 16

typedef struct {
    long count, table, width, padding, range; /* padding: the row without gradient, or -1 */
    const int64_t *indices;
    const void *in; /* the table, or dy */
    void *out;
} dl_embedding;

#define DL_IMPL "rowwise/embedding.inc.h"
#include "simd/simd.h"
static const dl_job dl_embedding_jobs[2][DL_ISAS] = DL_TABLE(embedding_job);
static const dl_job dl_embedding_back_jobs[2][DL_ISAS] = DL_TABLE(embedding_back_job);

static void dl_embedding_run(dl_embedding *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_embedding_jobs, dtype), m, dl_ceil_div(m->count, DL_EMBED_ROWS));
}
static void dl_embedding_back(dl_embedding *m, int dtype) {
    m->range = dl_max(64, dl_ceil_div(m->table, DL_EMBED_RANGES));
    dl_parallel_for(DL_PICK(dl_embedding_back_jobs, dtype), m, dl_ceil_div(m->table, m->range));
}
#endif
