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
from .dialect import cuda, device, i64, kernel, load4, real, real_dtype, store4
from .hashing import keys, row_keys, seed_arguments, seed_of, seed_words, threshold, word
from .rows import larger, warp_max, warp_sum

INFINITY = math.inf
WARPS, LANES, WIDTH = 8, 32, 128
PER_LANE = WIDTH // LANES  # 4, beside each other
PITCH = WIDTH + 4  # of a row of a tile: padded, so that the same four features of eight rows lie in different banks
THREADS = WARPS * LANES
BOUNDS = (THREADS, 2)  # see `gemm`
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
def fill(source, tile, base, step, first, rows, d0, features, lines, wide, t):
    """Rows first.. and features d0.. of a head into a tile, `lines` of them; 0 beyond the end.

    A thread takes four features, at once where `wide`: all rows begin at multiples of 16 bytes and end at one.
    """
    for at in range(t * 4, lines * WIDTH, THREADS * 4):
        row = first + at // WIDTH
        d = d0 + at % WIDTH
        place = base + row * step + d
        a0, a1, a2, a3 = real(0), real(0), real(0), real(0)
        if row < rows:
            if wide and d < features:
                a0, a1, a2, a3 = load4(source, place)
            else:
                a0 = source[place] if d < features else a0
                a1 = source[place + 1] if d + 1 < features else a1
                a2 = source[place + 2] if d + 2 < features else a2
                a3 = source[place + 3] if d + 3 < features else a3
        store4(tile, at // WIDTH * PITCH + at % WIDTH, a0, a1, a2, a3)


@device
def dot(tile, mine, lane, own, features):
    """Row `lane` of a tile times row `own` of another, over no more than WIDTH features."""
    total = real(0)
    for d in range(0, min(features, WIDTH), 4):
        a0, a1, a2, a3 = load4(tile, lane * PITCH + d)
        b0, b1, b2, b3 = load4(mine, own * PITCH + d)
        total += (a0 * b0 + a1 * b1) + (a2 * b2 + a3 * b3)
    return total


@device
def add_row(sums, factor, tile, line, lane):
    """Add the four features of a lane in a line of a tile, times a factor, to four sums."""
    a0, a1, a2, a3 = load4(tile, line * PITCH + lane * 4)
    sums[0] += factor * a0
    sums[1] += factor * a1
    sums[2] += factor * a2
    sums[3] += factor * a3


@device
def put(sums, scale, out, at, d, features, wide):
    """The four sums of a lane, times a number, to out[at ..], where features d .. lie."""
    if wide and d < features:
        store4(out, at, sums[0] * scale, sums[1] * scale, sums[2] * scale, sums[3] * scale)
    else:
        for i in range(4):  # so that sums, whose indices are known, are registers
            if d + i < features:
                out[at + i] = sums[i] * scale


@device
def score(value, scale, mask, has_mask, mask_at, query, key, queries, keys_, causal):
    """scale value + mask, -inf where the query does not see the key."""
    if query >= queries or key >= keys_ or (causal and key > query):
        return real(-INFINITY)
    return value * scale + mask[mask_at] if has_mask else value * scale


SHAPE = 4 * "i" + 9 * "i" + 6 * "i"  # see `_sizes`


@kernel("uuupus" + SHAPE + "fliwwf", bounds=BOUNDS)
def forward(q, k, v, mask, y, lse, heads, queries, keys_, features, q_b, q_h, q_t, k_b, k_h, k_t, m_b, m_h, m_t, group,
            has_mask, causal, y_h, y_t, wide, scale, seeds, has_seeds, seed, limit, kept):  # fmt: skip
    tile = cuda.shared.array(TILE, real, alignment=16)
    mine = cuda.shared.array(MINE, real, alignment=16)
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
    key_a, key_b = keys(seed_of(seeds, has_seeds, seed), i64(head) * i64(queries) + i64(query))
    best, total = real(-INFINITY), real(0)
    for i in range(PER_LANE):
        sums[i] = real(0)
    end = min(keys_, query0 + WARPS) if causal else keys_
    for first in range(0, end, LANES):
        value = real(0)
        for d0 in range(0, features, WIDTH):
            cuda.syncthreads()
            fill(k, tile, base, k_t, first, keys_, d0, features, LANES, wide, t)
            fill(q, mine, mine_base, q_t, query0, queries, d0, features, WARPS, wide, t)
            cuda.syncthreads()
            value += dot(tile, mine, lane, warp, features - d0)
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
        fill(v, tile, base, k_t, first, keys_, chunk, features, LANES, wide, t)
        cuda.syncthreads()
        for i in range(PER_LANE):
            sums[i] *= kept_share
        for j in range(min(LANES, end - first)):
            add_row(sums, p[warp * 32 + j], tile, j, lane)
    if query < queries:
        d = chunk + lane * 4
        at = image * heads * queries * features + head % heads * y_h + query * y_t + d
        put(sums, real(0) if total == 0 else real(1) / total, y, at, d, features, wide)
        if lane == 0 and cuda.blockIdx.z == 0:
            lse[head * queries + query] = real(INFINITY) if total == 0 else best + math.log(total)


@kernel("uuupsuus" + SHAPE + "fliwwf", bounds=BOUNDS)
def dq(dy, k, v, mask, delta, q, out, lse, heads, queries, keys_, features, q_b, q_h, q_t, k_b, k_h, k_t, m_b, m_h, m_t,
       group, has_mask, causal, y_h, y_t, wide, scale, seeds, has_seeds, seed, limit, kept):  # fmt: skip
    """dq = ds k; a warp a query."""
    tile = cuda.shared.array(TILE, real, alignment=16)
    mine = cuda.shared.array(MINE, real, alignment=16)
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
    key_a, key_b = keys(seed_of(seeds, has_seeds, seed), i64(head) * i64(queries) + i64(query))
    for i in range(PER_LANE):
        sums[i] = real(0)
    end = min(keys_, query0 + WARPS) if causal else keys_
    for first in range(0, end, LANES):
        value, dp = real(0), real(0)
        for d0 in range(0, features, WIDTH):
            cuda.syncthreads()
            fill(k, tile, base, k_t, first, keys_, d0, features, LANES, wide, t)
            fill(q, mine, mine_base, q_t, query0, queries, d0, features, WARPS, wide, t)
            cuda.syncthreads()
            value += dot(tile, mine, lane, warp, features - d0)
            cuda.syncthreads()
            fill(v, tile, base, k_t, first, keys_, d0, features, LANES, wide, t)
            fill(dy, mine, y_base, y_t, query0, queries, d0, features, WARPS, wide, t)
            cuda.syncthreads()
            dp += dot(tile, mine, lane, warp, features - d0)
        key = first + lane
        value = score(value, scale, mask, has_mask, mask_base + key, query, key, queries, keys_, causal)
        shown = math.exp(value - lse[row])
        dp = dp * kept if limit == 0 or word(key_a, key_b, i64(key)) >= limit else real(0)
        ds[t] = real(0) if shown == 0 else shown * (dp - delta[row]) * scale
        cuda.syncthreads()
        fill(k, tile, base, k_t, first, keys_, chunk, features, LANES, wide, t)
        cuda.syncthreads()
        for j in range(min(LANES, end - first)):
            add_row(sums, ds[warp * 32 + j], tile, j, lane)
    if query < queries:
        d = chunk + lane * 4
        put(sums, real(1), out, mine_base + query * q_t + d, d, features, wide)


@device
def nothing(words, seed, t):
    """Before `keeps_by_seed`."""


@device
def keeps_by_seed(words, seed, row, key, limit):
    """Whether dropout leaves a score."""
    if limit == 0:
        return True
    key_a, key_b = keys(seed, row)
    return word(key_a, key_b, i64(key)) >= limit


@device
def first_words(words, seeds, t):
    """Before `keeps_by_words`: what a seed in memory gives to the keys, for registers are short."""
    if t == 0:
        words[0], words[1] = seed_words(seeds[0])


@device
def keeps_by_words(words, seeds, row, key, limit):
    """The same, where there is dropout."""
    key_a, key_b = row_keys(words[0], words[1], row)
    return word(key_a, key_b, i64(key)) >= limit


def by_key(name, kind, prepare, keeps):
    """The kernel of dk and dv. kind: that of its seed, which `prepare` and `keeps` read."""

    @kernel("uuupsuuus" + SHAPE + f"f{kind}wf", name, bounds=BOUNDS)
    def dkv(dy, k, v, mask, delta, q, dk, dv, lse, heads, queries, keys_, features, q_b, q_h, q_t, k_b, k_h, k_t, m_b,
            m_h, m_t, group, has_mask, causal, y_h, y_t, wide, scale, seed, limit, kept):  # fmt: skip
        """dk = ds^T q and dv = drop(P)^T dy, over all heads that share the keys; a warp a key, a lane a query."""
        tile = cuda.shared.array(TILE, real, alignment=16)
        mine = cuda.shared.array(MINE, real, alignment=16)
        ds = cuda.shared.array(THREADS, real)
        p = cuda.shared.array(THREADS, real)
        words = cuda.shared.array(2, i64)
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
        prepare(words, seed, t)
        begin = key0 // LANES * LANES if causal else 0
        for member in range(group):
            head = cuda.blockIdx.y % shared_heads * group + member
            q_base = image * q_b + head * q_h
            y_base = image * heads * queries * features + head * y_h
            for first in range(begin, queries, LANES):
                value, dp = real(0), real(0)
                for d0 in range(0, features, WIDTH):
                    cuda.syncthreads()
                    fill(q, tile, q_base, q_t, first, queries, d0, features, LANES, wide, t)
                    fill(k, mine, base, k_t, key0, keys_, d0, features, WARPS, wide, t)
                    cuda.syncthreads()
                    value += dot(tile, mine, lane, warp, features - d0)
                    cuda.syncthreads()
                    fill(dy, tile, y_base, y_t, first, queries, d0, features, LANES, wide, t)
                    fill(v, mine, base, k_t, key0, keys_, d0, features, WARPS, wide, t)
                    cuda.syncthreads()
                    dp += dot(tile, mine, lane, warp, features - d0)
                query = first + lane
                row = (image * heads + head) * queries + min(query, queries - 1)
                at = image * m_b + head * m_h + query * m_t + key
                value = score(value, scale, mask, has_mask, at, query, key, queries, keys_, causal)
                shown = math.exp(value - lse[row])
                keep = keeps(words, seed, i64(row), key, limit)
                dp = dp * kept if keep else real(0)
                ds[t] = real(0) if shown == 0 else shown * (dp - delta[row]) * scale
                p[t] = shown * kept if keep else real(0)
                cuda.syncthreads()
                if features > WIDTH:  # else the tile still holds dy
                    fill(dy, tile, y_base, y_t, first, queries, chunk, features, LANES, wide, t)
                    cuda.syncthreads()
                for j in range(min(LANES, queries - first)):
                    add_row(sum_v, p[warp * 32 + j], tile, j, lane)
                cuda.syncthreads()
                fill(q, tile, q_base, q_t, first, queries, chunk, features, LANES, wide, t)
                cuda.syncthreads()
                for j in range(min(LANES, queries - first)):
                    add_row(sum_k, ds[warp * 32 + j], tile, j, lane)
        if key < keys_:
            d = chunk + lane * 4
            put(sum_k, real(1), dk, base + key * k_t + d, d, features, wide)
            put(sum_v, real(1), dv, base + key * k_t + d, d, features, wide)

    return dkv


dkv = by_key("attention_dkv", "w", nothing, keeps_by_seed)
dkv_drawn = by_key("attention_dkv_drawn", "l", first_words, keeps_by_words)  # in a captured graph


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


def _sizes(q, k, y, mask, causal, arrays):
    """Heads, queries, keys, features; strides of q, of k and v, of the mask; the rest: what the kernels take.

    `arrays` are all that rows are read from and written to.
    """
    steps = (q.features, *q.steps, *k.steps, *y.steps)
    size = 4 * y.array.dtype.itemsize
    wide = all(each % 4 == 0 for each in steps) and all(each.pointer % size == 0 for each in arrays if each is not None)
    strides = (0, 0, 0)
    if mask is not None:
        b, h, t, s = mask.shape
        strides = (h * t * s if b > 1 else 0, t * s if h > 1 else 0, s if t > 1 else 0)
    return (q.heads, q.rows, k.rows, q.features, *q.steps, *k.steps, *strides, q.heads // k.heads, mask is not None,
            causal, *y.steps[1:], wide)  # fmt: skip


def _chunks(features):
    return -(-features // WIDTH)


def _forward(q, k, v, mask, y, causal, scale, dropout, seed):
    """lse, with y written: by cuDNN where the device has it and it does the same, else by our kernel."""
    if (lse := attention_cudnn.forward(q, k, v, mask, y, causal, scale, dropout)) is not None:
        return lse
    lse = y.array.device.empty((q.batch, q.heads, q.rows), real_dtype(y.array.dtype))
    grid = -(-q.rows // WARPS), q.batch * q.heads, max(_chunks(q.features), 1)
    kept = 1 / (1 - dropout) if dropout < 1 else 0.0
    sizes = _sizes(q, k, y, mask, causal, [each.array for each in (q, k, v, y)])
    forward(grid, THREADS, q.array, k.array, v.array, mask, y.array, lse, *sizes, scale, *seed_arguments(seed),
            threshold(dropout), kept)  # fmt: skip
    return lse


def _backward(dy, q, k, v, mask, y, lse, out, causal, scale, dropout, seed):
    """The gradients into `out`, heads like q, k and v; the first, or the other two, may be None."""
    if attention_cudnn.backward(dy, q, k, v, mask, y, lse, out, causal, scale, dropout):
        return
    delta = dy.array.device.empty((q.batch, q.heads, q.rows), real_dtype(dy.array.dtype))
    grid = -(-q.heads * q.rows // WARPS), q.batch, 1
    deltas(grid, THREADS, dy.array, y.array, delta, q.heads, q.rows, q.features, *y.steps[1:])
    kept = 1 / (1 - dropout) if dropout < 1 else 0.0
    arrays = [each.array for each in (dy, q, k, v, *out) if each is not None]
    shape, seeds = (*_sizes(q, k, y, mask, causal, arrays), scale), seed_arguments(seed)
    rest = threshold(dropout), kept
    if out[0] is not None:
        grid = -(-q.rows // WARPS), q.batch * q.heads, _chunks(q.features)
        dq(grid, THREADS, dy.array, k.array, v.array, mask, delta, q.array, out[0].array, lse, *shape, *seeds, *rest)
    if out[1] is not None:
        grid = -(-k.rows // WARPS), k.batch * k.heads, _chunks(k.features)
        drawn, is_drawn, number = seeds
        (dkv_drawn if is_drawn else dkv)(grid, THREADS, dy.array, k.array, v.array, mask, delta, q.array, out[1].array,
                                         out[2].array, lse, *shape, drawn if is_drawn else number, *rest)  # fmt: skip


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
