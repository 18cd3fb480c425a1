"""Dropout's random words, the same as on the CPU for the same seed; see `kernels/reference/elementwise.py`.

32-bit words in int64 numbers: Numba's products of int32 are int64 on every target, so nothing wraps unless masked.
"""

from __future__ import annotations

from .dialect import device, i64

WORD = 0xFFFFFFFF
FIRST, SECOND, THIRD = 0xED5AD4BB, 0xAC4C1B51, 0x31848BAB


@device
def mixed(x, key):
    """triple32 of x, with a key that goes in after the first product."""
    x = ((x ^ (x >> 17)) * i64(FIRST)) & i64(WORD)
    x = x ^ key
    x = ((x ^ (x >> 11)) * i64(SECOND)) & i64(WORD)
    x = ((x ^ (x >> 15)) * i64(THIRD)) & i64(WORD)
    return x ^ (x >> 14)


@device
def seed_words(seed):
    """The two words that a seed gives to `row_keys`."""
    a = mixed(seed & i64(WORD), i64(0))
    return a, mixed(((seed >> 32) + a) & i64(WORD), i64(0))


@device
def row_keys(a, b, high):
    """The two keys of the words whose index has this high half."""
    key_a = mixed((high + b) & i64(WORD), i64(0))
    return key_a, mixed((key_a + a) & i64(WORD), i64(0))


@device
def keys(seed, high):
    """The two keys of a seed's words whose index has this high half."""
    a, b = seed_words(seed)
    return row_keys(a, b, high)


@device
def word(key_a, key_b, low):
    """The random word of an index by its low half and the keys of its high half."""
    return mixed((low + key_a) & i64(WORD), key_b)


def signed(seed: int) -> int:
    """A seed below 2^64 as the int64 of the same bits."""
    return seed - (1 << 64) if seed >= 1 << 63 else seed


def seed_arguments(seed: int) -> tuple:
    """A kernel's arguments for a seed: an array that holds it or None, whether there is one, and the seed itself.

    While a graph is captured the seed of each replay lies in an array (`capture.Seed`).
    """
    array = getattr(seed, "array", None)
    return array, array is not None, signed(seed)


@device
def seed_of(seeds, has_seeds, seed):
    """The seed of `seed_arguments`."""
    return seeds[0] if has_seeds else seed


def threshold(p: float) -> int:
    """Words below it are dropped; 2^32, one more than any word, drops all."""
    return round(p * 2**32)
