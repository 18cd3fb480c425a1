"""Attention by blocks, without the matrix of all scores: the forward pass, and what both passes share.

A job takes `QUERIES` queries of a head along its keys, `KEYS` at a time, with the largest score so far and the sum of
exp(score - largest) of each row; what was added up before is scaled when a larger one appears (Milakov and Gimelshein
2018, "Online normalizer calculation for softmax"; Dao et al. 2022, "FlashAttention", algorithm 1).

Arrays of heads (B, H, T, D) are four numbers: an address, and the strides of batch, head and row in bytes; the numbers
of a row lie together. What is only read can be read in whole halves of a panel (`row_tile`). The keys, and in backward
the values, of which scores are made, are packed along the features once a head: turned[head, panel, feature, key].
"""

from __future__ import annotations

import math

import numpy as np

from .dropout import hash_keys, hash_word
from .gemm import pack_turned
from .jit import JOB, PRODUCT, SERIAL_WORK, TILE, helper, jit, parallel_for, scratch
from .loops import get, pointer_at, put
from .row_tile import PANEL, multiply_rows
from .simd import address, copy_bytes, lanes, zero_bytes
from .vector import vector_largest, vector_load, vector_where_larger
from .vmath import exp_negative, real, where

QUERIES, KEYS = 48, 64
MINUS_INF = -math.inf


@helper
def row_of(heads, batch, head, row):
    """Address of a row."""
    return heads[0] + batch * heads[1] + head * heads[2] + row * heads[3]


@helper
def _pack_job(job, worker, rows, turned, heads, count):
    """A block of keys of a head."""
    blocks, width = -(-count // KEYS), turned.shape[3]
    head, first = job // blocks, job % blocks * KEYS
    for key in range(first, first + KEYS, width):
        start, to = row_of(rows, head // heads, head % heads, key), address(turned, (head, key // width, 0, 0))
        pack_turned(turned, start, rows[3], count - key, turned.shape[2], to, width)


@jit
def pack(rows, turned, heads, count):
    jobs = turned.shape[0] * -(-count // KEYS)
    parallel_for(_pack_job, jobs, (rows, turned, heads, count), turned.size < SERIAL_WORK)


@helper
def multiply_turned(like, a, a_row, rows, turned, shared, key, keys, to):
    """Rows of scores, `KEYS` apart: the rows at `a` times packed rows, from `key` on."""
    width, size = turned.shape[3], like.itemsize
    b = address(turned, (shared, key // width, 0, 0))
    multiply_rows(like, a, a_row, size, rows, b, turned.strides[2], turned.strides[1], turned.shape[2], keys,
                  address(to, (0, 0)), KEYS * size, False)  # fmt: skip


@helper
def multiply_along(like, a, a_row, a_step, rows, b, b_row, depth, columns, to, to_row):
    """Rows at `to` += A times rows where they lie."""
    multiply_rows(like, a, a_row, a_step, rows, b, b_row, PANEL * lanes(like) * like.itemsize, depth, columns, to,
                  to_row, True)  # fmt: skip


@helper(noalias=True)
def mask_row(row, mask, masked, scale, seen):
    """A row of `KEYS` scores, scaled and masked: -inf where it may not look, from key `seen` on."""
    for j in range(KEYS):
        put(row, j, get(row, j) * scale)
    if masked:
        for j in range(seen):
            put(row, j, get(row, j) + get(mask, j))
    for j in range(seen, KEYS):
        put(row, j, MINUS_INF)


@helper(noalias=True, fastmath={"reassoc", "contract"})
def _exponentials(row, level):
    """The scores become exp(score - level); their sum."""
    total = real(level, 0)
    for j in range(KEYS):
        e = exp_negative(get(row, j) - level)
        put(row, j, e)
        total += e
    return total


@helper(noalias=True)
def drop_row(row, keys, first, threshold, keep):
    """p keep for the probabilities that dropout keeps, 0 for the others."""
    for j in range(KEYS):
        kept = get(row, j) * keep
        put(row, j, where(hash_word(keys, first + j) >= threshold, kept, real(keep, 0)))


@helper(noalias=True)
def scale_row(row, factor, count):
    for j in range(count):
        put(row, j, get(row, j) * factor)


@helper
def _largest(like, place):
    """The largest of a row of scores. (A short loop over numbers is unrolled before it could become vectors.)"""
    step = lanes(like) * like.itemsize
    most = vector_load(like, place)
    for to in range(place + step, place + KEYS * like.itemsize, step):
        each = vector_load(like, to)
        most = vector_where_larger(each, most, each, most)
    return vector_largest(most)


@helper
def _soften_row(scores, state, i, at):
    """Row `at` of the scores becomes exp(score - largest), state[:, i] moves on; what was added up is worth this."""
    place = address(scores, (at, 0))
    row, found, before = pointer_at(scores, place), _largest(scores, place), state[0, i]
    peak = found if found > before else before
    level = real(peak, 0) if peak == MINUS_INF else peak
    total = _exponentials(row, level)
    worth = real(peak, 1) if peak == before else exp_negative(before - level)
    state[0, i], state[1, i] = peak, state[1, i] * worth + total
    return worth


@helper
def _soften_block(call, batch, head, query, skip, rows, key, keys, scores, sums, state):
    """The scores of a block become what the values are weighted with."""
    (heads, _, tq, _, _), (causal, scale, dropout, low, high, threshold, keep), mask = call
    masked, size = mask[0] != 0, scores.itemsize
    for i in range(skip, rows):
        row = pointer_at(scores, address(scores, (i - skip, 0)))
        seen = min(keys, query + i - key + 1) if causal else keys
        adds = pointer_at(scores, row_of(mask, batch, head, query + i) + key * size)
        mask_row(row, adds, masked, real(scores[0, 0], scale), seen)
        worth = _soften_row(scores, state, i, i - skip)
        if worth != 1:
            scale_row(pointer_at(sums, address(sums, (i, 0))), worth, sums.shape[1])
        if dropout:
            words = hash_keys(low, high, (batch * heads + head) * tq + query + i)
            drop_row(row, words, key, np.uint32(threshold), real(worth, keep))


@helper
def _finish_row(sums, state, i, y, lse, at, d):
    """y = the sums / the sum of exponentials, 0 for a row that sees nothing; lse, its logarithm."""
    most, total = state[0, i], state[1, i]
    lse[at] = math.inf if total == 0 else most + math.log(total)
    share = real(total, 0 if total == 0 else 1 / total)
    scale_row(pointer_at(sums, address(sums, (i, 0))), share, d)
    copy_bytes(y, address(sums, (i, 0)), d * sums.itemsize)


@helper
def _forward_job(job, worker, call, q, v, y, turned, lse, wide):
    (heads, shared_heads, tq, tk, d), rule, mask = call
    blocks, causal, size = -(-tq // QUERIES), rule[0], lse.itemsize
    head, query = job // blocks, job % blocks * QUERIES
    batch, own, kv = head // heads, head % heads, head % heads // (heads // shared_heads)
    rows = min(QUERIES, tq - query)
    scores, sums = scratch(lse, JOB, (QUERIES, KEYS)), scratch(lse, PRODUCT, (QUERIES, wide))
    state = scratch(lse, TILE, (2, QUERIES))
    for i in range(rows):
        state[0, i], state[1, i] = MINUS_INF, 0
    zero_bytes(address(sums, (0, 0)), rows * wide * size)
    end = min(tk, query + rows) if causal else tk
    for key in range(0, end, KEYS):
        keys, skip = min(KEYS, end - key), max(0, key - query) if causal else 0
        multiply_turned(lse, row_of(q, batch, own, query + skip), q[3], rows - skip, turned,
                        batch * shared_heads + kv, key, keys, scores)  # fmt: skip
        _soften_block(call, batch, own, query, skip, rows, key, keys, scores, sums, state)
        multiply_along(lse, address(scores, (0, 0)), KEYS * size, size, rows - skip, row_of(v, batch, kv, key), v[3],
                       keys, d, address(sums, (skip, 0)), wide * size)  # fmt: skip
    for i in range(rows):
        _finish_row(sums, state, i, row_of(y, batch, own, query + i), lse, head * tq + query + i, d)


@jit
def forward(call, q, v, y, turned, lse, wide, serial):
    jobs = lse.size // max(1, call[0][2]) * -(-call[0][2] // QUERIES)
    parallel_for(_forward_job, jobs, (call, q, v, y, turned, lse, wide), serial)
