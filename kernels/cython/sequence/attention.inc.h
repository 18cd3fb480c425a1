/* The forward pass of attention.h, and what both passes share. */
#define V(name) DL_FN(name)
#define NR (2 * LANES)
#define QUERIES DL_ATTENTION_QUERIES
#define KEYS DL_ATTENTION_KEYS
#if DL_BYTES == 64
#define TILE 12 /* rows of a tile, of two registers each */
#else
#define TILE 6
#endif

DL_INLINE const real *V(rows_at)(const dl_heads *h, long batch, long head, long row) {
    return (const real *)h->data + batch * h->batch + head * h->head + row * h->row;
}

/* out (rows x cols) = or += A B: A by its strides, B in panels of `depth` rows, each panel `apart` behind the one before;
   cols whole panels. */
DL_INLINE void V(tile_rows_out)(const int rows, long depth, const real *a, long ars, long acs, const real *b, long ldb,
                                real *out, long ldo, int add) {
    vec acc[12][4];
    DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < 2; j++) acc[i][j] = V(vsplat)(0);
    V(row_tile)(rows, 2, depth, a, ars, acs, b, ldb, acc);
    DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < 2; j++) {
        real *to = out + i * ldo + j * LANES;
        V(vstore)(to, add ? acc[i][j] + V(vload)(to) : acc[i][j]);
    }
}
#define DL_ROWS_TILE(rows)                                                                                          \
    DL_NOINLINE void V(attention_tile_##rows)(long depth, const real *a, long ars, long acs, const real *b,         \
                                              long ldb, real *out, long ldo, int add) {                             \
        V(tile_rows_out)(rows, depth, a, ars, acs, b, ldb, out, ldo, add);                                          \
    }
DL_ROWS_TILE(1)
DL_ROWS_TILE(2)
DL_ROWS_TILE(3)
DL_ROWS_TILE(4)
DL_ROWS_TILE(5)
DL_ROWS_TILE(6)
#if DL_BYTES == 64
DL_ROWS_TILE(8)
DL_ROWS_TILE(10)
DL_ROWS_TILE(12)
#endif
#undef DL_ROWS_TILE
typedef void (*V(attention_tile))(long, const real *, long, long, const real *, long, real *, long, int);
static const V(attention_tile) V(attention_tiles)[13] = {
    NULL, V(attention_tile_1), V(attention_tile_2), V(attention_tile_3), V(attention_tile_4), V(attention_tile_5),
    V(attention_tile_6),
#if DL_BYTES == 64
    NULL, V(attention_tile_8), NULL, V(attention_tile_10), NULL, V(attention_tile_12),
#endif
};

/* What of a block the diagonal cuts off, where query i sees the keys up to i + offset: rows of scores above a panel of
   keys; the keys beyond those that a row sees; the queries before those that see a key. */
enum { V(SCORES), V(OVER_KEYS), V(OVER_QUERIES) };

/* out (rows x cols) = or += A B over `depth`: B in panels of NR columns.  Parts that the diagonal makes 0 are left out: of scores they stay undefined. */
DL_NOINLINE void V(attention_product)(const int part, long offset, long rows, long cols, long depth, const real *a,
                                      long ars, long acs, dl_panels panels, real *out, long ldo, int add) {
    const real *b = (const real *)panels.data;
    for (long j = 0; j < cols; j += NR, b += panels.apart)
        for (long i = part == V(SCORES) ? dl_max(0, j - offset) / TILE * TILE : 0, n; i < rows; i += n) {
            n = dl_ceil_div(rows - i, dl_ceil_div(rows - i, TILE));
            while (!V(attention_tiles)[n]) n--;
            const long from = part == V(OVER_QUERIES) ? dl_max(0, i - offset) : 0;
            const long to = part == V(OVER_KEYS) ? dl_min(depth, i + n + offset) : depth;
            if (to > from)
                V(attention_tiles)[n](to - from, a + i * ars + from * acs, ars, acs, b + from * panels.step,
                                      panels.step, out + i * ldo + j, ldo, add);
        }
}

/* Rows of a head along the rows: [panel][row][NR], `block` rows apart, zeros beyond d. */
DL_INLINE void V(pack_along_rows)(const dl_attention *t, const real *from, long ld, long rows, long block, real *to) {
    for (long j = 0; j < t->dpad; j += NR)
        V(pack_panel)(rows, NR, dl_min(NR, t->d - j), from + j, 1, ld, to + j * block);
}

/* The rows of a head from `first` on, in blocks of `block`: where they lie, or packed in `room`. */
DL_INLINE dl_panels V(along_rows)(const dl_attention *t, const dl_heads *rows, const real *room, long batch, long head,
                                  long first, long block) {
    if (dl_rows_lie_well(t, rows)) return (dl_panels){V(rows_at)(rows, batch, head, first), rows->row, NR};
    return (dl_panels){room + first * t->dpad, NR, NR * block};
}
/* A block of keys along the features, from a shared head's room. */
DL_INLINE dl_panels V(along_features)(const dl_attention *t, const void *room, long shared, long first) {
    return (dl_panels){(const real *)room + shared * dl_turned_room(t) + first * t->d, NR, NR * t->d};
}

/* A register of rows, `valid` of them, along the features: to[feature][row], NR apart; 0 for the rows that there are not. */
DL_INLINE void V(turn_rows)(const real *from, long ld, long valid, long features, real *to) {
#if DL_VECTORS
    for (long k = 0; k < features; k += LANES) {
        const long n = dl_min(LANES, features - k);
        vec row[LANES];
        DL_UNROLL for (int i = 0; i < LANES; i++) row[i] = i < valid ? V(vload_n)(from + i * ld + k, n) : V(vsplat)(0);
        V(transpose)(row);
        DL_UNROLL for (int i = 0; i < LANES; i++) if (i < n) V(vstore)(to + (k + i) * NR, row[i]);
    }
#else
    for (long k = 0; k < features; k++)
        to[k * NR] = valid > 0 ? from[k] : 0;
#endif
}

/* The rows of one block of keys along the features: [panel of NR keys][feature][NR], zeros beyond the last key. */
DL_INLINE void V(pack_along_features)(const dl_attention *t, const real *from, long ld, long rows, real *to) {
    for (long j = 0; j < rows; j += NR, to += NR * t->d)
        for (long u = 0; u < NR; u += LANES)
            V(turn_rows)(from + (j + u) * ld, ld, rows - j - u, t->d, to + u);
}

/* Job: the panels of one block of keys that the pass needs. */
static void V(attention_pack_job)(void *ctx, long job, long worker) {
    const dl_attention *t = (const dl_attention *)ctx;
    const long head = job / dl_key_blocks(t), first = job % dl_key_blocks(t) * KEYS, rows = dl_min(KEYS, t->tk - first);
    const real *k = V(rows_at)(&t->k, head / t->kv_heads, head % t->kv_heads, first);
    const real *v = V(rows_at)(&t->v, head / t->kv_heads, head % t->kv_heads, first);
    const long turned = head * dl_turned_room(t) + first * t->d, along = head * dl_keys_room(t) + first * t->dpad;
    V(pack_along_features)(t, k, t->k.row, rows, (real *)t->kt + turned);
    if (t->vp && !dl_rows_lie_well(t, &t->v)) V(pack_along_rows)(t, v, t->v.row, rows, KEYS, (real *)t->vp + along);
    if (t->vt) V(pack_along_features)(t, v, t->v.row, rows, (real *)t->vt + turned);
    if (t->kp && !dl_rows_lie_well(t, &t->k)) V(pack_along_rows)(t, k, t->k.row, rows, KEYS, (real *)t->kp + along);
    (void)worker;
}

/* Keys of the block from `first` on that there are, in whole panels: the columns of scores and probabilities. */
DL_INLINE long V(width_of)(const dl_attention *t, long first) { return dl_round_up(dl_min(KEYS, t->tk - first), NR); }

/* Scores of a row, masked; -inf where the row may not look.  Returns how many there are, in whole registers: those behind
   them stay undefined.  `scale` is still to come, but where there is a mask. */
DL_INLINE long V(mask_row)(const dl_attention *t, real *score, const real *mask, long query, long first) {
    long seen = dl_min(KEYS, t->tk - first); /* keys of the block that there are */
    if (t->causal) seen = dl_max(0, dl_min(seen, query - first + 1));
    if (mask)
        for (long j = 0; j < seen; j++)
            score[j] = score[j] * (real)t->scale + mask[first + j];
    const long live = dl_round_up(seen, LANES);
    for (long j = seen; j < live; j++)
        score[j] = -(real)INFINITY;
    return live;
}

/* 0 for what is not live. */
DL_INLINE void V(clear_row)(real *row, long live, long width) {
    for (long j = live; j < width; j += LANES)
        V(vstore)(row + j, V(vsplat)(0));
}

/* The mask's row for a query, or NULL. */
DL_INLINE const real *V(mask_of)(const dl_attention *t, long batch, long head, long query) {
    return t->mask.data ? V(rows_at)(&t->mask, batch, head, query) : NULL;
}

/* p *= keep / (1 - p) for the `live` probabilities of row (head, query) from key `first` on. */
DL_INLINE void V(drop_row)(const dl_attention *t, real *p, long live, long head, long query, long first) {
    uint32_t word[DL_DROP];
    const real keep = (real)t->keep;
    V(hash_words)(dl_hash_keys(t->seed, (uint32_t)(head * t->tq + query)), (uint32_t)first, word);
#if DL_VECTORS && !DL_DOUBLE
    const ivec top = V(isplat)(INT32_MIN), least = V(isplat)((int32_t)t->threshold) ^ top; /* compared without sign */
    for (long j = 0; j < live; j += LANES) {
        ivec words;
        memcpy(&words, word + j, sizeof words);
        V(vstore)(p + j, V(vsel)(V(ilt)(words ^ top, least), V(vsplat)(0), V(vload)(p + j) * V(vsplat)(keep)));
    }
#else
    for (long j = 0; j < live; j++)
        p[j] = word[j] >= t->threshold ? p[j] * keep : 0;
#endif
}

/* The `live` scores of a row become exp(score - largest); largest and total move on; returns what came before is worth. */
DL_INLINE real V(soften_row)(real *score, long live, vec scale, real *largest, real *total) {
    const vec least = V(vsplat)(-(real)INFINITY);
    vec most = least;
    for (long j = 0; j < live; j += LANES) {
        const vec s = V(vload)(score + j);
        /* 0 * inf must not be made of what may not be seen */
        const vec scaled = V(vsel)(V(veq)(s, least), s, scale * s);
        V(vstore)(score + j, scaled);
        most = V(vmax)(scaled, most);
    }
    const real found = V(vlargest)(most), before = *largest, peak = found > before ? found : before;
    const vec level = V(vsplat)(peak == -(real)INFINITY ? 0 : peak);
    vec sum = V(vsplat)(0);
    for (long j = 0; j < live; j += LANES) {
        const vec p = V(vexp_normal)(V(vload)(score + j) - level);
        V(vstore)(score + j, p);
        sum += p;
    }
    const real worth = peak == before ? 1 : V(vlane)(V(vexp_normal)(V(vsplat)(before) - level), 0);
    *largest = peak;
    *total = *total * worth + V(vsum)(sum);
    return worth;
}

/* Job: some queries of a head. */
static void V(attention_forward_job)(void *ctx, long job, long worker) {
    const dl_attention *t = (const dl_attention *)ctx;
    const long blocks = dl_query_blocks(t), head = job / blocks, first = job % blocks * QUERIES;
    const long batch = head / t->heads, own = head % t->heads, rows = dl_min(QUERIES, t->tq - first), dpad = t->dpad;
    const long shared = batch * t->kv_heads + own / (t->heads / t->kv_heads);
    const long end = t->causal ? dl_min(t->tk, first + rows) : t->tk;
    real *score = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * QUERIES * (KEYS + dpad));
    if (!score) return;
    real *sum = score + QUERIES * KEYS;
    const vec scale = V(vsplat)(t->mask.data ? 1 : (real)t->scale); /* see mask_row */
    real largest[QUERIES], total[QUERIES];
    for (long i = 0; i < rows; i++)
        largest[i] = -(real)INFINITY, total[i] = 0;
    memset(sum, 0, sizeof(real) * rows * dpad);
    for (long key = 0; key < end; key += KEYS) {
        const long depth = dl_min(KEYS, t->tk - key), offset = t->causal ? first - key : KEYS, width = V(width_of)(t, key);
        V(attention_product)(V(SCORES), offset, rows, width, t->d, V(rows_at)(&t->q, batch, own, first), t->q.row, 1,
                             V(along_features)(t, t->kt, shared, key), score, KEYS, 0);
        for (long i = 0; i < rows; i++) {
            const long live = V(mask_row)(t, score + i * KEYS, V(mask_of)(t, batch, own, first + i), first + i, key);
            const real worth = V(soften_row)(score + i * KEYS, live, scale, largest + i, total + i);
            V(clear_row)(score + i * KEYS, live, width);
            if (worth != 1)
                for (long j = 0; j < dpad; j += LANES)
                    V(vstore)(sum + i * dpad + j, V(vsplat)(worth) * V(vload)(sum + i * dpad + j));
            if (t->keep != 0) V(drop_row)(t, score + i * KEYS, live, head, first + i, key);
        }
        V(attention_product)(V(OVER_KEYS), offset, rows, dpad, depth, score, KEYS, 1,
                             V(along_rows)(t, &t->v, (const real *)t->vp + shared * dl_keys_room(t), batch,
                                           shared % t->kv_heads, key, KEYS),
                             sum, dpad, 1);
    }
    for (long i = 0; i < rows; i++) {
        real *y = (real *)V(rows_at)(&t->y, batch, own, first + i);
        const vec share = V(vsplat)(total[i] == 0 ? 0 : 1 / total[i]);
        for (long j = 0; j < dpad; j += LANES)
            V(vstore)(sum + i * dpad + j, share * V(vload)(sum + i * dpad + j));
        memcpy(y, sum + i * dpad, sizeof(real) * t->d);
        ((real *)t->lse)[head * t->tq + first + i] = total[i] == 0 ? (real)INFINITY : largest[i] + (real)log((double)total[i]);
    }
    (void)worker;
}
#include "sequence/attention_back.inc.h"
#undef V
#undef NR
#undef QUERIES
#undef KEYS
#undef TILE
