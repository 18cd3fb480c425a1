/* The backward pass of attention.h, included by attention.inc.h.  With P the probabilities, dropped where dropout did, and delta = sum of dy y:

       dv = P^T dy      ds = P (dy v^T - delta) scale      dq = ds k      dk = ds^T q  */

/* Job: some queries of a head: delta, and their panels along the rows. */
static void V(attention_prepare_job)(void *ctx, long job, long worker) {
    const dl_attention *t = (const dl_attention *)ctx;
    const long blocks = dl_query_blocks(t), head = job / blocks, first = job % blocks * QUERIES;
    const long batch = head / t->heads, own = head % t->heads, rows = dl_min(QUERIES, t->tq - first);
    const long room = head * dl_queries_room(t) + first * t->dpad;
    if (!dl_rows_lie_well(t, &t->q))
        V(pack_along_rows)(t, V(rows_at)(&t->q, batch, own, first), t->q.row, rows, QUERIES, (real *)t->qp + room);
    if (!dl_rows_lie_well(t, &t->dy))
        V(pack_along_rows)(t, V(rows_at)(&t->dy, batch, own, first), t->dy.row, rows, QUERIES, (real *)t->dyp + room);
    for (long i = 0; i < rows; i++) {
        const real *y = V(rows_at)(&t->y, batch, own, first + i), *dy = V(rows_at)(&t->dy, batch, own, first + i);
        vec sum = V(vsplat)(0);
        for (long j = 0; j < t->d; j += LANES)
            sum += V(vload_n)(y + j, t->d - j) * V(vload_n)(dy + j, t->d - j);
        ((real *)t->delta)[head * t->tq + first + i] = V(vsum)(sum);
    }
    (void)worker;
}

/* The `live` scores of a row become its probabilities P (as y was made of them), and dp = dy v^T becomes ds. */
DL_INLINE void V(score_gradient)(const dl_attention *t, real *p, real *dp, long live, long head, long query,
                                 long first) {
    const vec lse = V(vsplat)(((const real *)t->lse)[head * t->tq + query]);
    const vec delta = V(vsplat)(((const real *)t->delta)[head * t->tq + query]), scale = V(vsplat)((real)t->scale);
    const vec keep = V(vsplat)((real)t->keep), none = V(vsplat)(0), least = V(vsplat)(-(real)INFINITY);
    const vec scores = t->mask.data ? V(vsplat)(1) : scale; /* see mask_row */
    real kept[KEYS]; /* what dropout multiplied by */
    if (t->keep != 0) {
        for (long j = 0; j < live; j += LANES)
            V(vstore)(kept + j, V(vsplat)(1));
        V(drop_row)(t, kept, live, head, query, first);
    }
    for (long j = 0; j < live; j += LANES) {
        const vec s = V(vload)(p + j), whole = V(vexp_normal)(V(vsel)(V(veq)(s, least), s, scores * s) - lse);
        vec grown = V(vload)(dp + j), dropped = whole;
        if (t->keep != 0) {
            const vec factor = V(vload)(kept + j);
            grown = V(vsel)(V(veq)(factor, none), none, grown * keep);
            dropped = whole * factor;
        }
        V(vstore)(p + j, dropped);
        /* 0 where the probability is: the difference may be infinite there */
        V(vstore)(dp + j, V(vsel)(V(veq)(whole, none), none, whole * (grown - delta) * scale));
    }
}

/* Rows of a padded buffer, to rows of an array. */
DL_INLINE void V(write_rows)(const dl_attention *t, const real *from, real *to, long ld, long rows) {
    for (long i = 0; i < rows; i++)
        memcpy(to + i * ld, from + i * t->dpad, sizeof(real) * t->d);
}

/* Keys first .. first + KEYS of a shared head, along the queries of one of the heads that share it: adds to dk and dv
   (KEYS x dpad) and to that head's dq. */
DL_NOINLINE void V(back_block)(const dl_attention *t, long batch, long own, long shared, long first, real *room, real *dk,
                               real *dv, real *dq) {
    const long head = batch * t->heads + own, dpad = t->dpad, keys = dl_min(KEYS, t->tk - first);
    const long begin = t->causal ? first / QUERIES * QUERIES : 0;
    const real *own_q = (const real *)t->qp + head * dl_queries_room(t), *own_dy = (const real *)t->dyp + head * dl_queries_room(t);
    const dl_panels kt = V(along_features)(t, t->kt, shared, first), vt = V(along_features)(t, t->vt, shared, first);
    const dl_panels k = V(along_rows)(t, &t->k, (const real *)t->kp + shared * dl_keys_room(t), batch,
                                      shared % t->kv_heads, first, KEYS);
    real *p = room, *ds = room + QUERIES * KEYS;
    for (long query = begin; query < t->tq; query += QUERIES) {
        const long rows = dl_min(QUERIES, t->tq - query);
        const long offset = t->causal ? query - first : KEYS, width = V(width_of)(t, first);
        V(attention_product)(V(SCORES), offset, rows, width, t->d, V(rows_at)(&t->q, batch, own, query), t->q.row, 1, kt, p, KEYS, 0);
        V(attention_product)(V(SCORES), offset, rows, width, t->d, V(rows_at)(&t->dy, batch, own, query), t->dy.row, 1, vt, ds, KEYS, 0);
        for (long i = 0; i < rows; i++) {
            const long live = V(mask_row)(t, p + i * KEYS, V(mask_of)(t, batch, own, query + i), query + i, first);
            V(score_gradient)(t, p + i * KEYS, ds + i * KEYS, live, head, query + i, first);
            V(clear_row)(p + i * KEYS, live, width);
            V(clear_row)(ds + i * KEYS, live, width);
        }
        V(attention_product)(V(OVER_QUERIES), offset, keys, dpad, rows, p, 1, KEYS, V(along_rows)(t, &t->dy, own_dy, batch, own, query, QUERIES), dv, dpad, 1);
        V(attention_product)(V(OVER_QUERIES), offset, keys, dpad, rows, ds, 1, KEYS, V(along_rows)(t, &t->q, own_q, batch, own, query, QUERIES), dk, dpad, 1);
        V(attention_product)(V(OVER_KEYS), offset, rows, dpad, keys, ds, KEYS, 1, k, dq + query * dpad, dpad, 1);
    }
}

/* Job: a chunk of the keys of a shared head. */
static void V(attention_backward_job)(void *ctx, long job, long worker) {
    const dl_attention *t = (const dl_attention *)ctx;
    const long shared = job / t->chunks, chunk = job % t->chunks, group = t->heads / t->kv_heads, dpad = t->dpad;
    const long batch = shared / t->kv_heads, kv = shared % t->kv_heads, blocks = dl_key_blocks(t);
    const long begin = blocks * chunk / t->chunks * KEYS, end = dl_min(t->tk, blocks * (chunk + 1) / t->chunks * KEYS);
    real *room = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (2 * QUERIES * KEYS + 2 * KEYS * dpad));
    if (!room) return;
    real *dk = room + 2 * QUERIES * KEYS, *dv = dk + KEYS * dpad;
    real *dq = (real *)t->partial + ((chunk * t->batch + batch) * t->heads + kv * group) * t->tq * dpad;
    memset(dq, 0, sizeof(real) * group * t->tq * dpad);
    for (long first = begin; first < end; first += KEYS) {
        const long keys = dl_min(KEYS, t->tk - first);
        memset(dk, 0, sizeof(real) * keys * dpad);
        memset(dv, 0, sizeof(real) * keys * dpad);
        for (long g = 0; g < group; g++)
            V(back_block)(t, batch, kv * group + g, shared, first, room, dk, dv, dq + g * t->tq * dpad);
        if (t->dk.data) V(write_rows)(t, dk, (real *)V(rows_at)(&t->dk, batch, kv, first), t->dk.row, keys);
        if (t->dv.data) V(write_rows)(t, dv, (real *)V(rows_at)(&t->dv, batch, kv, first), t->dv.row, keys);
    }
    (void)worker;
}

/* Job: dq of some queries of a head, the chunks added in order. */
static void V(attention_total_job)(void *ctx, long job, long worker) {
    const dl_attention *t = (const dl_attention *)ctx;
    const long blocks = dl_query_blocks(t), head = job / blocks, first = job % blocks * QUERIES, dpad = t->dpad;
    const long rows = dl_min(QUERIES, t->tq - first), each = t->batch * t->heads * t->tq * dpad;
    real *sum = (real *)t->partial + (head * t->tq + first) * dpad;
    if (!t->dq.data) return;
    for (long chunk = 1; chunk < t->chunks; chunk++)
        for (long j = 0; j < rows * dpad; j += LANES)
            V(vstore)(sum + j, V(vload)(sum + j) + V(vload)(sum + chunk * each + j));
    V(write_rows)(t, sum, (real *)V(rows_at)(&t->dq, head / t->heads, head % t->heads, first), t->dq.row, rows);
    (void)worker;
}
