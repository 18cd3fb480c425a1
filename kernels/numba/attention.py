"""Attention by blocks, without the matrix of all scores; defined in `kernels/reference/attention.py`.

The loops stand in `attention_forward` and `attention_back`.
"""

from __future__ import annotations

import numpy as np

from ..memory import empty, zeros
from .attention_back import backward
from .attention_forward import KEYS, forward, pack
from .dropout import WORD
from .jit import SERIAL_WORK, contiguous
from .row_tile import panel_columns

JOBS = 16  # wanted in backward, as long as each has a few blocks of keys
NONE = 0, 0, 0, 0
CACHE_WAY = 2048  # rows so many bytes apart compete for one place in the cache


def _place(x, heads_last: bool):
    """x (B, H, T, D), or (B, T, H, D), as an array of heads: address and strides."""
    batch, *middle, _ = x.strides
    return x.__array_interface__["data"][0], batch, *(middle[::-1] if heads_last else middle)


def _readable(x, heads_last: bool):
    """x (B, H, T, D) itself, or a copy that can be read in whole halves of a panel; always with the heads first."""
    x = x.swapaxes(1, 2) if heads_last else x
    d, half = x.shape[3], panel_columns(x.itemsize) // 2
    together = x.strides[3] == x.itemsize and x.flags.aligned and all(s % x.itemsize == 0 for s in x.strides)
    if together and d % half == 0 and x.strides[2] % CACHE_WAY:
        return x
    copy = (empty if d % half == 0 else zeros)((*x.shape[:3], -(-d // half) * half), x.dtype)
    copy[..., :d] = x
    return copy


class _Call:
    """What both passes need of one call; `q`, `k` and `v` are readable, with the heads first."""

    def __init__(self, q, k, v, mask, heads_last, causal, scale, dropout, seed):
        self.dtype, self.d, self.heads_last = q.dtype, q.shape[3], heads_last
        self.q, self.k, self.v = (_readable(x, heads_last) for x in (q, k, v))
        self.batch, self.heads, self.tq, self.wide = self.q.shape
        self.kv_heads, self.tk = self.k.shape[1:3]
        sizes = self.heads, self.kv_heads, self.tq, self.tk, self.d
        threshold, keep = min(round(dropout * 2**32), WORD), 1 / (1 - dropout)
        rule = bool(causal), float(scale), dropout > 0, seed & WORD, seed >> 32 & WORD, threshold, keep
        self.mask, place = mask, NONE
        if mask is not None:
            self.mask = contiguous(mask)
            place = _place(np.broadcast_to(self.mask, (self.batch, self.heads, self.tq, self.tk)), False)
        self.given = sizes, rule, place
        self.serial = self.batch * self.heads * self.tq * self.tk * self.d < SERIAL_WORK

    def turned(self, x):
        """x (B, Hk, S, D) along the features."""
        width = panel_columns(x.itemsize)
        packed = empty((self.batch * self.kv_heads, -(-self.tk // KEYS) * KEYS // width, self.d, width), self.dtype)
        if packed.size:
            pack(_place(x, False), packed, self.kv_heads, self.tk)
        return packed

    def forward(self, y):
        """lse; y is filled."""
        lse = empty((self.batch, self.heads, self.tq), self.dtype)
        if lse.size:
            places = _place(self.q, False), _place(self.v, False), _place(y, self.heads_last)
            forward(self.given, *places, self.turned(self.k), lse.ravel(), self.wide, self.serial)
        return lse

    def backward(self, dy, y, lse, outputs):
        """outputs, of dq, dk and dv, are filled, but those that are None."""
        shared, blocks = max(1, self.batch * self.kv_heads), -(-self.tk // KEYS)
        chunks = max(1, min(-(-JOBS // shared), blocks // 4))
        partial = empty((chunks, self.batch * self.heads, self.tq, self.wide), self.dtype)
        y, dy = _readable(y, self.heads_last), _readable(dy, self.heads_last)
        arrays = *(_place(x, False) for x in (self.q, self.k, dy)), self.turned(self.k), self.turned(self.v)
        places = (NONE if x is None else _place(x, self.heads_last) for x in outputs)
        lse, delta = contiguous(lse).ravel(), empty(lse.size, self.dtype)
        if self.batch and self.heads:
            backward(self.given, _place(y, False), arrays, *places, partial, lse, delta, self.serial)


def attention_forward(q, k, v, mask, *, heads_last, causal, scale, dropout, seed):
    y = empty(q.shape, q.dtype)
    lse = _Call(q, k, v, mask, heads_last, causal, scale, dropout, seed).forward(y)
    return y, (q, k, v, mask, y, lse, heads_last, causal, scale, dropout, seed)


def attention_backward(dy, saved, needs):
    q, k, v, mask, y, lse, *options = saved
    outputs = [empty(x.shape, x.dtype) if need else None for x, need in zip((q, k, v), needs, strict=False)]
    if any(needs[:3]):
        _Call(q, k, v, mask, *options).backward(dy, y, lse, outputs)
    return *outputs, None


def _parts(qkv):
    """Queries, keys and values of qkv (B, T, 3, H, D)."""
    return [qkv[:, :, i] for i in range(3)]


def self_attention_forward(qkv, mask, *, causal, scale, dropout, seed):
    q, k, v = _parts(qkv)
    y = empty(q.shape, q.dtype)
    lse = _Call(q, k, v, mask, True, causal, scale, dropout, seed).forward(y)
    return y, (qkv, mask, y, lse, causal, scale, dropout, seed)


def self_attention_backward(dy, saved, needs):
    qkv, mask, y, lse, *options = saved
    if not needs[0]:
        return None, None
    dqkv = empty(qkv.shape, qkv.dtype)
    _Call(*_parts(qkv), mask, True, *options).backward(dy, y, lse, _parts(dqkv))
    return dqkv, None
