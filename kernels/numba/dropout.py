"""Dropout: the hash of the reference for each element, in 32 bits; defined in `kernels/reference/elementwise.py`."""

from __future__ import annotations

import numpy as np

from ..memory import empty
from .jit import contiguous, helper, jit, parallel_for
from .loops import BLOCK, SERIAL, get, put

WORD = 0xFFFFFFFF


@helper
def _mixed(x, shift, factor):
    """A step of the hash, on 32 bits."""
    return np.uint32((x ^ (x >> shift)) * factor)


@helper
def _triple32(x, key):
    """The hash `_triple32` of the reference, with a key that goes in after the first step."""
    x = _mixed(_mixed(_mixed(x, 17, 0xED5AD4BB) ^ key, 11, 0xAC4C1B51), 15, 0x31848BAB)
    return x ^ (x >> 14)


@helper
def hash_keys(seed_low, seed_high, high):
    """The two keys of the reference's `_hash`, for all words whose index has this high half."""
    none = np.uint32(0)
    a = _triple32(np.uint32(seed_low), none)
    key = _triple32(np.uint32(high + _triple32(np.uint32(seed_high + a), none)), none)
    return key, _triple32(np.uint32(key + a), none)


@helper
def hash_word(keys, low):
    """The word of the index with this low half."""
    return _triple32(np.uint32(low + keys[0]), keys[1])


@helper(noalias=True)
def _dropout_job(index, worker, x, y, seed_low, seed_high, threshold, scale):
    start = index * BLOCK
    keys = hash_keys(seed_low, seed_high, start >> 32)
    zero, factor, least = x.dtype.type(0), x.dtype.type(scale), np.uint32(threshold)
    for i in range(start, min(start + BLOCK, x.size)):
        value = get(x, i) * factor
        put(y, i, value if hash_word(keys, i) >= least else zero)


@jit
def _dropout(x, y, seed_low, seed_high, threshold, scale):
    arguments = (x, y, seed_low, seed_high, threshold, scale)
    parallel_for(_dropout_job, -(-x.size // BLOCK), arguments, x.size < SERIAL)


def _dropped(x, p, seed, scale):
    """x * scale where hash(seed, i) >= p 2^32, else 0; a probability of 1 (nothing is kept) has no such threshold."""
    y = empty(x.shape, x.dtype)
    threshold = round(p * 2**32)
    if threshold > WORD:
        y[...] = 0
    else:
        _dropout(contiguous(x).ravel(), y.ravel(), seed & WORD, seed >> 32 & WORD, threshold, float(scale))
    return y


def dropout_forward(x, *, p, seed, scale):
    return _dropped(x, p, seed, scale), (p, seed, scale)


def dropout_backward(dy, saved, needs):
    return (_dropped(dy, *saved) if needs[0] else None,)
