/* Scaled dot-product attention without the matrix of all scores: y = softmax(scale q k^T + mask) v for each head.

   Forward: a job takes DL_ATTENTION_QUERIES queries of a head along its keys, DL_ATTENTION_KEYS at a time, with the
   largest score so far and the sum of exp(score - largest) of each row; what was added up before is scaled when a
   larger one appears (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"; Dao et al. 2022,
   "FlashAttention", algorithm 1).  lse = log sum exp of each row is kept, from which backward makes the probabilities
   again.  Backward: a job takes the keys of a head, a block at a time, along its queries; with few heads the keys are
   cut into chunks, whose dq are added up in order.  The cuts depend on the shapes alone, and so do not the bits on the
   number of threads.  Blocks behind the diagonal are skipped where the future is hidden (causal).

   A row that may attend to nothing (-inf throughout) gives 0 and has gradients of 0.  Dropout keeps the probability of
   query i of head b and key j where hash(seed, ((b, head, i), j)) >= threshold.

   Panels are two registers wide: keys and values along the features (k^T, v^T), of which scores are made, are packed once
   a head.  Rows that are summed (k, v, q, dy) are read where they lie, if their features fill whole panels; else they are
   packed too, padded with zeros. */
#ifndef DLFAST_ATTENTION_H
#define DLFAST_ATTENTION_H
#include "product/gemm_block.h"
#include "simd/hash.h"

#define DL_ATTENTION_QUERIES 48
#define DL_ATTENTION_KEYS DL_DROP
#define DL_ATTENTION_SERIAL 200000.0 /* multiplications below which no other thread is woken */
#define DL_ATTENTION_JOBS 16         /* wanted in backward, as long as each has a few blocks of keys */

/* A (batch, heads, rows, d) array: strides of the first three axes, in elements. */
typedef struct {
    char *data;
    long batch, head, row;
} dl_heads;

/* The right operand of a product: rows `step` apart, panels `apart`. */
typedef struct {
    const void *data;
    long step, apart;
} dl_panels;

typedef struct {
    int dtype, causal;
    long batch, heads, kv_heads, tq, tk, d, dpad, chunks, serial;
    double scale, keep; /* keep: 1 / (1 - p), 0 without dropout */
    uint64_t seed;
    uint32_t threshold;
    dl_heads q, k, v, y, dy, dq, dk, dv, mask; /* mask: added to the scores, keys contiguous; data NULL for none */
    void *lse, *delta;                         /* (batch heads, tq); delta = sum of dy y */
    char *kt, *vt, *kp, *vp, *qp, *dyp;        /* the packed panels */
    char *partial;                             /* (chunks, batch heads, tq, dpad) dq */
} dl_attention;

static long dl_query_blocks(const dl_attention *t) { return dl_ceil_div(t->tq, DL_ATTENTION_QUERIES); }
static long dl_key_blocks(const dl_attention *t) { return dl_ceil_div(t->tk, DL_ATTENTION_KEYS); }
/* Elements of the panels of one head: keys along the features, keys along the rows, queries along the rows. */
static long dl_turned_room(const dl_attention *t) { return dl_key_blocks(t) * DL_ATTENTION_KEYS * t->d; }
static long dl_keys_room(const dl_attention *t) { return dl_key_blocks(t) * DL_ATTENTION_KEYS * t->dpad; }
static long dl_queries_room(const dl_attention *t) { return dl_query_blocks(t) * DL_ATTENTION_QUERIES * t->dpad; }

/* Whether rows can be summed where they lie: whole panels, and not so many bytes apart that they compete for one place
   in the cache. */
static int dl_rows_lie_well(const dl_attention *t, const dl_heads *rows) {
    return t->d == t->dpad && rows->row * dl_item(t->dtype) % 2048 != 0;
}

#define DL_IMPL "product/row_tile.inc.h"
#include "simd/simd.h"
#define DL_IMPL "sequence/attention.inc.h"
#include "simd/simd.h"
static const dl_job dl_attention_pack_jobs[2][DL_ISAS] = DL_TABLE(attention_pack_job);
static const dl_job dl_attention_forward_jobs[2][DL_ISAS] = DL_TABLE(attention_forward_job);
static const dl_job dl_attention_prepare_jobs[2][DL_ISAS] = DL_TABLE(attention_prepare_job);
static const dl_job dl_attention_backward_jobs[2][DL_ISAS] = DL_TABLE(attention_backward_job);
static const dl_job dl_attention_total_jobs[2][DL_ISAS] = DL_TABLE(attention_total_job);

/* Fills in what follows from the sizes. */
static void dl_attention_plan(dl_attention *t) {
    const long heads = t->batch * t->kv_heads, blocks = dl_key_blocks(t);
    t->dpad = dl_round_up(t->d, dl_tile_cols(t->dtype));
    t->chunks = dl_max(1, dl_min(dl_ceil_div(DL_ATTENTION_JOBS, dl_max(heads, 1)), blocks / 4));
    t->serial = (double)t->batch * t->heads * t->tq * t->tk * t->d < DL_ATTENTION_SERIAL;
}

typedef const dl_job dl_attention_jobs[2][DL_ISAS];
DL_CHECKED static int dl_attention_run(dl_attention *t, dl_attention_jobs jobs, long count) {
    return dl_launch(DL_PICK(jobs, t->dtype), t, count, t->serial);
}

/* Both return 0, or -1 when there is no memory. */
DL_CHECKED static int dl_attention_forward(dl_attention *t) {
    const long keys = t->batch * t->kv_heads * dl_key_blocks(t), queries = t->batch * t->heads * dl_query_blocks(t);
    if (dl_attention_run(t, dl_attention_pack_jobs, keys)) return -1;
    return dl_attention_run(t, dl_attention_forward_jobs, queries);
}

DL_CHECKED static int dl_attention_backward(dl_attention *t) {
    const long shared = t->batch * t->kv_heads, queries = t->batch * t->heads * dl_query_blocks(t);
    if (dl_attention_run(t, dl_attention_pack_jobs, shared * dl_key_blocks(t))) return -1;
    if (dl_attention_run(t, dl_attention_prepare_jobs, queries)) return -1;
    if (dl_attention_run(t, dl_attention_backward_jobs, shared * t->chunks)) return -1;
    return dl_attention_run(t, dl_attention_total_jobs, queries);
}
#endif
