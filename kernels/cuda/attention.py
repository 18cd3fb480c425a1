"""Attention block by block with online softmax: no matrix of scores. Defined in `kernels/reference/attention.py`.

A block of 8 warps makes 8 queries (forward, dq) or 8 keys (dk, dv), a warp one; a lane makes the score of one key of a
tile of 32, then the lanes share the features of a head, WIDTH of them in a block; wider heads take several blocks.
The tile lies in shared memory. Keys behind a causal mask are left out by the tile.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from . import attention_cudnn
from .device import Array
from .dialect import cuda, device, i64, kernel, real, real_dtype
from .hashing import keys, signed, threshold, word
from .rows import larger, warp_max, warp_sum

INFINITY = math.inf
WARPS, LANES, WIDTH = 8, 32, 128
PER_LANE = WIDTH // LANES
PITCH = WIDTH + 1  # of a row of a tile: padded, so that the same feature of all rows lies in different banks
THREADS = WARPS * LANES
TILE, MINE = LANES * PITCH, WARPS * PITCH  # numbers of a tile, and of the queries or keys that a block makes


class Heads(NamedTuple):
    """(B, H, T, D) in an array: where it starts, and the strides of images, heads and rows."""

    array: Array
    batch: int
    heads: int
    rows: int
    features: int
    steps: tuple[int, int, int]


def heads_of(x, heads_last):
    """The heads of (B, H, T, D), or with heads_last (B, T, H, D)."""
    if heads_last:
        b, t, h, d = x.shape
        return Heads(x, b, h, t, d, (t * h * d, d, h * d))
    b, h, t, d = x.shape
    return Heads(x, b, h, t, d, (h * t * d, t * d, d))


def third(qkv, i):
    """Queries, keys or values of (B, T, 3, H, D)."""
    b, t, _, h, d = qkv.shape
    part = Array(qkv.device, qkv.shape, qkv.dtype, qkv.owner, qkv.pointer + i * h * d * qkv.dtype.itemsize)
    return Heads(part, b, h, t, d, (t * 3 * h * d, d, 3 * h * d))


@device
def fill(source, tile, base, step, first, rows, d0, features, lines, t):
    """Rows first.. and features d0.. of a head into a tile, `lines` of them; 0 beyond the end."""
    for at in range(t, lines * WIDTH, THREADS):
        row = first + at // WIDTH
        d = d0 + at % WIDTH
        inside = row < rows and d < features
        tile[at // WIDTH * PITCH + at % WIDTH] = source[base + row * step + d] if inside else real(0)


@device
def dot(tile, mine, lane, own):
    """Row `lane` of a tile times row `own` of another, over WIDTH features."""
    total = real(0)
    for d in range(WIDTH):
        total += tile[lane * PITCH + d] * mine[own * PITCH + d]
    return total


@device
def score(value, scale, mask, has_mask, mask_at, query, key, queries, keys_, causal):
    """scale value + mask, -inf where the query does not see the key."""
    if query >= queries or key >= keys_ or (causal and key > query):
        return real(-INFINITY)
    return value * scale + mask[mask_at] if has_mask else value * scale


SHAPE = 4 * "i" + 9 * "i" + 5 * "i"  # see `_sizes`


@kernel("uuupus" + SHAPE + "fwwf")
def forward(q, k, v, mask, y, lse, heads, queries, keys_, features, q_b, q_h, q_t, k_b, k_h, k_t, m_b, m_h, m_t, group,
            has_mask, causal, y_h, y_t, scale, seed, limit, kept):  # fmt: skip
    tile = cuda.shared.array(TILE, real)
    mine = cuda.shared.array(MINE, real)
    p = cuda.shared.array(THREADS, real)
    sums = cuda.local.array(PER_LANE, real)
    t = cuda.threadIdx.x
    warp = t // 32
    lane = t % 32
    head = cuda.blockIdx.y
    image = head // heads
    query0 = cuda.blockIdx.x * WARPS
    query = query0 + warp
    mine_base = image * q_b + head % heads * q_h
    base = image * k_b + head % heads // group * k_h
    mask_base = image * m_b + head % heads * m_h + query * m_t
    chunk = cuda.blockIdx.z * WIDTH
    key_a, key_b = keys(seed, i64(head) * i64(queries) + i64(query))
    best, total = real(-INFINITY), real(0)
    for i in range(PER_LANE):
        sums[i] = real(0)
    end = min(keys_, query0 + WARPS) if causal else keys_
    for first in range(0, end, LANES):
        value = real(0)
        for d0 in range(0, features, WIDTH):
            cuda.syncthreads()
            fill(k, tile, base, k_t, first, keys_, d0, features, LANES, t)
            fill(q, mine, mine_base, q_t, query0, queries, d0, features, WARPS, t)
            cuda.syncthreads()
            value += dot(tile, mine, lane, warp)
        key = first + lane
        value = score(value, scale, mask, has_mask, mask_base + key, query, key, queries, keys_, causal)
        peak = larger(best, warp_max(value))
        shown, kept_share = real(0), real(1)
        if peak != real(-INFINITY):
            shown = math.exp(value - peak)
            kept_share = math.exp(best - peak)
        best = peak
        total = total * kept_share + warp_sum(shown)
        p[t] = shown * kept if limit == 0 or word(key_a, key_b, i64(key)) >= limit else real(0)
        cuda.syncthreads()
        fill(v, tile, base, k_t, first, keys_, chunk, features, LANES, t)
        cuda.syncthreads()
        for i in range(PER_LANE):
            sums[i] *= kept_share
        for j in range(min(LANES, end - first)):
            for i in range(PER_LANE):
                sums[i] += p[warp * 32 + j] * tile[j * PITCH + i * 32 + lane]
    if query < queries:
        for i in range(PER_LANE):
            d = chunk + i * 32 + lane
            if d < features:
                y[image * heads * queries * features + head % heads * y_h + query * y_t + d] = (
                    real(0) if total == 0 else sums[i] / total
                )
        if lane == 0 and cuda.blockIdx.z == 0:
            lse[head * queries + query] = real(INFINITY) if total == 0 else best + math.log(total)


@kernel("uuupsuus" + SHAPE + "fwwf")
def dq(dy, k, v, mask, delta, q, out, lse, heads, queries, keys_, features, q_b, q_h, q_t, k_b, k_h, k_t, m_b, m_h, m_t,
       group, has_mask, causal, y_h, y_t, scale, seed, limit, kept):  # fmt: skip
    """dq = ds k; a warp a query."""
    tile = cuda.shared.array(TILE, real)
    mine = cuda.shared.array(MINE, real)
    ds = cuda.shared.array(THREADS, real)
    sums = cuda.local.array(PER_LANE, real)
    t = cuda.threadIdx.x
    warp = t // 32
    lane = t % 32
    head = cuda.blockIdx.y
    image = head // heads
    query0 = cuda.blockIdx.x * WARPS
    query = query0 + warp
    row = head * queries + min(query, queries - 1)
    mine_base = image * q_b + head % heads * q_h
    y_base = image * heads * queries * features + head % heads * y_h
    base = image * k_b + head % heads // group * k_h
    mask_base = image * m_b + head % heads * m_h + query * m_t
    chunk = cuda.blockIdx.z * WIDTH
    key_a, key_b = keys(seed, i64(head) * i64(queries) + i64(query))
    for i in range(PER_LANE):
        sums[i] = real(0)
    end = min(keys_, query0 + WARPS) if causal else keys_
    for first in range(0, end, LANES):
        value, dp = real(0), real(0)
        for d0 in range(0, features, WIDTH):
            cuda.syncthreads()
            fill(k, tile, base, k_t, first, keys_, d0, features, LANES, t)
            fill(q, mine, mine_base, q_t, query0, queries, d0, features, WARPS, t)
            cuda.syncthreads()
            value += dot(tile, mine, lane, warp)
            cuda.syncthreads()
            fill(v, tile, base, k_t, first, keys_, d0, features, LANES, t)
            fill(dy, mine, y_base, y_t, query0, queries, d0, features, WARPS, t)
            cuda.syncthreads()
            dp += dot(tile, mine, lane, warp)
        key = first + lane
        value = score(value, scale, mask, has_mask, mask_base + key, query, key, queries, keys_, causal)
        shown = math.exp(value - lse[row])
        dp = dp * kept if limit == 0 or word(key_a, key_b, i64(key)) >= limit else real(0)
        ds[t] = real(0) if shown == 0 else shown * (dp - delta[row]) * scale
        cuda.syncthreads()
        fill(k, tile, base, k_t, first, keys_, chunk, features, LANES, t)
        cuda.syncthreads()
        for j in range(min(LANES, end - first)):
            for i in range(PER_LANE):
                sums[i] += ds[warp * 32 + j] * tile[j * PITCH + i * 32 + lane]
    for i in range(PER_LANE):
        d = chunk + i * 32 + lane
        if query < queries and d < features:
            out[mine_base + query * q_t + d] = sums[i]


@kernel("uuupsuuus" + SHAPE + "fwwf")
def dkv(dy, k, v, mask, delta, q, dk, dv, lse, heads, queries, keys_, features, q_b, q_h, q_t, k_b, k_h, k_t, m_b, m_h,
        m_t, group, has_mask, causal, y_h, y_t, scale, seed, limit, kept):  # fmt: skip
    """dk = ds^T q and dv = drop(P)^T dy, over all queries' heads that share the keys; a warp a key, a lane a query."""
    tile = cuda.shared.array(TILE, real)
    mine = cuda.shared.array(MINE, real)
    ds = cuda.shared.array(THREADS, real)
    p = cuda.shared.array(THREADS, real)
    sum_k = cuda.local.array(PER_LANE, real)
    sum_v = cuda.local.array(PER_LANE, real)
    t = cuda.threadIdx.x
    warp = t // 32
    lane = t % 32
    shared_heads = heads // group
    image = cuda.blockIdx.y // shared_heads
    key0 = cuda.blockIdx.x * WARPS
    key = key0 + warp
    base = image * k_b + cuda.blockIdx.y % shared_heads * k_h
    chunk = cuda.blockIdx.z * WIDTH
    for i in range(PER_LANE):
        sum_k[i] = real(0)
        sum_v[i] = real(0)
    begin = key0 // LANES * LANES if causal else 0
    for member in range(group):
        head = cuda.blockIdx.y % shared_heads * group + member
        q_base = image * q_b + head * q_h
        y_base = image * heads * queries * features + head * y_h
        for first in range(begin, queries, LANES):
            value, dp = real(0), real(0)
            for d0 in range(0, features, WIDTH):
                cuda.syncthreads()
                fill(q, tile, q_base, q_t, first, queries, d0, features, LANES, t)
                fill(k, mine, base, k_t, key0, keys_, d0, features, WARPS, t)
                cuda.syncthreads()
                value += dot(tile, mine, lane, warp)
                cuda.syncthreads()
                fill(dy, tile, y_base, y_t, first, queries, d0, features, LANES, t)
                fill(v, mine, base, k_t, key0, keys_, d0, features, WARPS, t)
                cuda.syncthreads()
                dp += dot(tile, mine, lane, warp)
            query = first + lane
            row = (image * heads + head) * queries + min(query, queries - 1)
            at = image * m_b + head * m_h + query * m_t + key
            value = score(value, scale, mask, has_mask, at, query, key, queries, keys_, causal)
            shown = math.exp(value - lse[row])
            key_a, key_b = keys(seed, i64(row))
            keep = limit == 0 or word(key_a, key_b, i64(key)) >= limit
            dp = dp * kept if keep else real(0)
            ds[t] = real(0) if shown == 0 else shown * (dp - delta[row]) * scale
            p[t] = shown * kept if keep else real(0)
            cuda.syncthreads()  # the tile still holds dy where a head is one chunk; else it is fetched again
            fill(dy, tile, y_base, y_t, first, queries, chunk, features, LANES, t)
            cuda.syncthreads()
            for j in range(min(LANES, queries - first)):
                for i in range(PER_LANE):
                    sum_v[i] += p[warp * 32 + j] * tile[j * PITCH + i * 32 + lane]
            cuda.syncthreads()
            fill(q, tile, q_base, q_t, first, queries, chunk, features, LANES, t)
            cuda.syncthreads()
            for j in range(min(LANES, queries - first)):
                for i in range(PER_LANE):
                    sum_k[i] += ds[warp * 32 + j] * tile[j * PITCH + i * 32 + lane]
    for i in range(PER_LANE):
        d = chunk + i * 32 + lane
        if key < keys_ and d < features:
            dk[base + key * k_t + d] = sum_k[i]
            dv[base + key * k_t + d] = sum_v[i]


@kernel("ppsiiiii")
def deltas(dy, y, out, heads, queries, features, y_h, y_t):
    """The sum of dy y over the features, of each row; a warp a row."""
    row = cuda.blockIdx.x * WARPS + cuda.threadIdx.x // 32
    lane = cuda.threadIdx.x % 32
    inside = row < heads * queries
    at = cuda.blockIdx.y * heads * queries * features
    total = real(0)
    if inside:
        at += row // queries * y_h + row % queries * y_t
        for d in range(lane, features, 32):
            total += dy[at + d] * y[at + d]
    total = warp_sum(total)
    if inside and lane == 0:
        out[cuda.blockIdx.y * heads * queries + row] = total


def _sizes(q, k, y, mask, causal):
    """Heads, queries, keys, features; strides of q, of k and v, of the mask; the rest: what the kernels take."""
    strides = (0, 0, 0)
    if mask is not None:
        b, h, t, s = mask.shape
        strides = (h * t * s if b > 1 else 0, t * s if h > 1 else 0, s if t > 1 else 0)
    return (q.heads, q.rows, k.rows, q.features, *q.steps, *k.steps, *strides, q.heads // k.heads, mask is not None,
            causal, *y.steps[1:])  # fmt: skip


def _chunks(features):
    return -(-features // WIDTH)


def _forward(q, k, v, mask, y, causal, scale, dropout, seed):
    """lse, with y written: by cuDNN where the device has it and it does the same, else by our kernel."""
    if (lse := attention_cudnn.forward(q, k, v, mask, y, causal, scale, dropout)) is not None:
        return lse
    lse = y.array.device.empty((q.batch, q.heads, q.rows), real_dtype(y.array.dtype))
    grid = -(-q.rows // WARPS), q.batch * q.heads, max(_chunks(q.features), 1)
    kept = 1 / (1 - dropout) if dropout < 1 else 0.0
    forward(grid, THREADS, q.array, k.array, v.array, mask, y.array, lse, *_sizes(q, k, y, mask, causal), scale,
            signed(seed), threshold(dropout), kept)  # fmt: skip
    return lse


def _backward(dy, q, k, v, mask, y, lse, out, causal, scale, dropout, seed):
    """The gradients into `out`, heads like q, k and v; the first, or the other two, may be None."""
    if attention_cudnn.backward(dy, q, k, v, mask, y, lse, out, causal, scale, dropout):
        return
    delta = dy.array.device.empty((q.batch, q.heads, q.rows), real_dtype(dy.array.dtype))
    grid = -(-q.heads * q.rows // WARPS), q.batch, 1
    deltas(grid, THREADS, dy.array, y.array, delta, q.heads, q.rows, q.features, *y.steps[1:])
    kept = 1 / (1 - dropout) if dropout < 1 else 0.0
    shape = *_sizes(q, k, y, mask, causal), scale, signed(seed), threshold(dropout), kept
    if out[0] is not None:
        grid = -(-q.rows // WARPS), q.batch * q.heads, _chunks(q.features)
        dq(grid, THREADS, dy.array, k.array, v.array, mask, delta, q.array, out[0].array, lse, *shape)
    if out[1] is not None:
        grid = -(-k.rows // WARPS), k.batch * k.heads, _chunks(k.features)
        dkv(grid, THREADS, dy.array, k.array, v.array, mask, delta, q.array, out[1].array, out[2].array, lse, *shape)


def attention_forward(q, k, v, mask, *, heads_last, causal, scale, dropout, seed):
    y = q.device.empty(q.shape, q.dtype)
    parts = (heads_of(each, heads_last) for each in (q, k, v))
    lse = _forward(*parts, mask, heads_of(y, heads_last), causal, scale, dropout, seed)
    return y, (q, k, v, mask, y, lse, heads_last, causal, scale, dropout, seed)


def attention_backward(dy, saved, needs):
    q, k, v, mask, y, lse, heads_last, causal, scale, dropout, seed = saved
    wanted = needs[0], needs[1] or needs[2], needs[1] or needs[2]
    out = [x.device.empty(x.shape, x.dtype) if want else None for x, want in zip((q, k, v), wanted)]
    heads = [heads_of(each, heads_last) for each in (dy, q, k, v)]
    gradients = [None if each is None else heads_of(each, heads_last) for each in out]
    _backward(*heads, mask, heads_of(y, heads_last), lse, gradients, causal, scale, dropout, seed)
    return *(x if need else None for x, need in zip(out, needs)), None


def self_attention_forward(qkv, mask, *, causal, scale, dropout, seed):
    b, t, _, h, d = qkv.shape
    y = qkv.device.empty((b, t, h, d), qkv.dtype)
    parts = (third(qkv, i) for i in range(3))
    lse = _forward(*parts, mask, heads_of(y, True), causal, scale, dropout, seed)
    return y, (qkv, mask, y, lse, causal, scale, dropout, seed)


def self_attention_backward(dy, saved, needs):
    qkv, mask, y, lse, causal, scale, dropout, seed = saved
    if not needs[0]:
        return None, None
    dqkv = qkv.device.empty(qkv.shape, np.dtype(qkv.dtype))
    parts, gradients = [third(qkv, i) for i in range(3)], [third(dqkv, i) for i in range(3)]
    _backward(heads_of(dy, True), *parts, mask, heads_of(y, True), lse, gradients, causal, scale, dropout, seed)
    return dqkv, None
