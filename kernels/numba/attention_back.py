"""The backward pass of attention. With P the probabilities, dropped where dropout did, and delta = sum of dy y:

    dv = P^T dy      ds = P (drop(dy v^T) - delta) scale      dq = ds k      dk = ds^T q

P is made again from lse. A job takes the keys of a head, a block at a time, along the queries of all heads that share
it; with few heads the keys are cut into chunks, whose dq are added in order. The cuts depend on the shapes alone.
"""

from __future__ import annotations

import numpy as np

from .attention_forward import KEYS, QUERIES, drop_row, mask_row, multiply_along, multiply_turned, row_of
from .dropout import hash_keys
from .jit import JOB, PRODUCT, TILE, helper, jit, parallel_for, scratch
from .loops import get, pointer, pointer_at, put
from .simd import address, copy_bytes, zero_bytes
from .vmath import exp_negative, real, where


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _dot(a, b, size):
    total = real(get(a, 0), 0)
    for j in range(size):
        total += get(a, j) * get(b, j)
    return total


@helper
def _delta_job(job, worker, call, y, dy, delta):
    """delta = the sum of dy y, for some queries of a head."""
    heads, _, tq, _, d = call[0]
    blocks = -(-tq // QUERIES)
    batch, head, first = job // blocks // heads, job // blocks % heads, job % blocks * QUERIES
    for query in range(first, min(first + QUERIES, tq)):
        own, grown = row_of(y, batch, head, query), row_of(dy, batch, head, query)
        delta[(batch * heads + head) * tq + query] = _dot(pointer_at(delta, own), pointer_at(delta, grown), d)


@helper(noalias=True)
def _gradient_row(p, ds, factors, lse, delta, scale):
    """A row of scores becomes P, dropped, and dy v^T becomes ds; factors: what dropout multiplied by.

    0 where the probability is 0: the difference may be infinite there.
    """
    zero = real(lse, 0)
    for j in range(KEYS):
        whole, factor = exp_negative(get(p, j) - lse), get(factors, j)
        grown = where(factor == 0, zero, get(ds, j) * factor)
        put(p, j, where(factor == 0, zero, whole * factor))
        put(ds, j, where(whole == 0, zero, whole * (grown - delta) * scale))


@helper
def _gradient_block(call, batch, head, query, rows, key, keys, p, ds, factors, lse, delta):
    (heads, _, tq, _, _), (causal, scale, dropout, low, high, threshold, keep), mask = call
    masked, factor, size, kept = mask[0] != 0, real(p[0, 0], scale), p.itemsize, pointer(factors, 0)
    for i in range(rows):
        at, row = (batch * heads + head) * tq + query + i, pointer_at(p, address(p, (i, 0)))
        seen = min(keys, query + i - key + 1) if causal else keys
        adds = pointer_at(p, row_of(mask, batch, head, query + i) + key * size)
        mask_row(row, adds, masked, factor, seen)
        if dropout or i == 0:
            for j in range(KEYS):
                factors[j] = 1
        if dropout:
            drop_row(kept, hash_keys(low, high, at), key, np.uint32(threshold), real(factor, keep))
        _gradient_row(row, pointer_at(p, address(ds, (i, 0))), kept, lse[at], delta[at], factor)


@helper
def _back_block(call, arrays, batch, own, kv, key, keys, rooms, sums, dq, lse, delta):
    """Some keys along all queries of one head: adds to dk and dv (sums) and to dq."""
    (_, shared_heads, tq, _, d), rule, _ = call
    q, k, dy, turned_k, turned_v = arrays
    p, ds, factors = rooms
    size, width, apart = lse.itemsize, sums.shape[2] * lse.itemsize, KEYS * lse.itemsize
    for start in range(key // QUERIES * QUERIES if rule[0] else 0, tq, QUERIES):
        query = max(start, key) if rule[0] else start  # those before see none of these keys
        rows = min(start + QUERIES, tq) - query
        if rows <= 0:
            continue
        seen = min(keys, query + rows - key) if rule[0] else keys
        own_q, own_dy = row_of(q, batch, own, query), row_of(dy, batch, own, query)
        shared = batch * shared_heads + kv
        multiply_turned(lse, own_q, q[3], rows, turned_k, shared, key, seen, p)
        multiply_turned(lse, own_dy, dy[3], rows, turned_v, shared, key, seen, ds)
        _gradient_block(call, batch, own, query, rows, key, seen, p, ds, factors, lse, delta)
        of_p, of_ds = address(p, (0, 0)), address(ds, (0, 0))
        multiply_along(lse, of_ds, size, apart, seen, own_q, q[3], rows, d, address(sums, (0, 0, 0)), width)
        multiply_along(lse, of_p, size, apart, seen, own_dy, dy[3], rows, d, address(sums, (1, 0, 0)), width)
        multiply_along(lse, of_ds, apart, size, rows, row_of(k, batch, kv, key), k[3], seen, d,
                       address(dq, (query, 0)), width)  # fmt: skip


@helper
def _back_job(job, worker, call, arrays, dk, dv, partial, lse, delta):
    """A chunk of the keys of a head that heads of queries share."""
    heads, shared_heads, tq, tk, d = call[0]
    chunks, wide, size = partial.shape[0], partial.shape[3], lse.itemsize
    shared, chunk, group = job // chunks, job % chunks, heads // shared_heads
    batch, kv, blocks = shared // shared_heads, shared % shared_heads, -(-tk // KEYS)
    rooms, sums = scratch(lse, JOB, (2, QUERIES, KEYS)), scratch(lse, PRODUCT, (2, KEYS, wide))
    factors = scratch(lse, TILE, (KEYS,))
    first = batch * heads + kv * group
    zero_bytes(address(partial, (chunk, first, 0, 0)), group * tq * wide * size)
    for key in range(blocks * chunk // chunks * KEYS, min(tk, blocks * (chunk + 1) // chunks * KEYS), KEYS):
        keys = min(KEYS, tk - key)
        zero_bytes(address(sums, (0, 0, 0)), 2 * KEYS * wide * size)
        for own in range(group):
            _back_block(call, arrays, batch, kv * group + own, kv, key, keys, (rooms[0], rooms[1], factors), sums,
                        partial[chunk, first + own], lse, delta)  # fmt: skip
        for i in range(keys):
            if dk[0]:
                copy_bytes(row_of(dk, batch, kv, key + i), address(sums, (0, i, 0)), d * size)
            if dv[0]:
                copy_bytes(row_of(dv, batch, kv, key + i), address(sums, (1, i, 0)), d * size)


@helper(noalias=True)
def _add_row(total, part, size):
    for j in range(size):
        put(total, j, get(total, j) + get(part, j))


@helper
def _total_job(job, worker, call, partial, dq):
    """dq of some queries of a head: the chunks added in order."""
    heads, _, tq, _, d = call[0]
    blocks = -(-tq // QUERIES)
    head, first = job // blocks, job % blocks * QUERIES
    for query in range(first, min(first + QUERIES, tq)):
        total = address(partial, (0, head, query, 0))
        for chunk in range(1, partial.shape[0]):
            part = pointer_at(partial, address(partial, (chunk, head, query, 0)))
            _add_row(pointer_at(partial, total), part, d)
        copy_bytes(row_of(dq, head // heads, head % heads, query), total, d * partial.itemsize)


@jit
def backward(call, y, arrays, dq, dk, dv, partial, lse, delta, serial):
    heads, shared_heads, tq = call[0][:3]
    chunks, rows = partial.shape[0], partial.shape[1]
    queries = rows * -(-tq // QUERIES)
    parallel_for(_delta_job, queries, (call, y, arrays[2], delta), serial)
    keys = rows // heads * shared_heads * chunks
    parallel_for(_back_job, keys, (call, arrays, dk, dv, partial, lse, delta), serial)
    if dq[0]:
        parallel_for(_total_job, queries, (call, partial, dq), serial)
