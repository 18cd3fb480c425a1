"""The steps of a batch of sequences, shared by every backend and by `functional`: which rows there are, in what order.

A recurrent kernel works on rows, one for each step of each sequence that exists: x is turned into a matrix (R, I), its
states are (R, Hd), and padding never enters. Without lengths these are the rows of x as they lie, R = T B. With lengths
the rows of a step follow each other, the longest sequence first, so that the sequences that still run are always the
first ones.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .memory import empty, zeros


class Steps(NamedTuple):
    """State j of step t, j < counts[t], is row offsets[t] + j stride; state j is that of sequence order[j].

    lengths: how many steps each state has. index: row -> row of x as a matrix (T B, I). order and index are None where
    they would change nothing. reverse: the steps are taken from the last to the first, each sequence beginning at its
    own end.
    """

    offsets: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray
    stride: int
    order: np.ndarray | None
    index: np.ndarray | None
    reverse: bool

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.offsets) * len(self.lengths) if self.index is None else len(self.index)

    def walk(self) -> list[tuple[slice, int]]:
        """(rows of a step, how many they are), in the order in which the steps are taken."""
        found = []
        for offset, count in zip(self.offsets.tolist(), self.counts.tolist(), strict=True):
            found.append((slice(offset, offset + count * self.stride, self.stride), count))
        return found[::-1] if self.reverse else found


def steps_of(length: int, batch: int, lengths: np.ndarray | None, batch_first: bool, reverse: bool) -> Steps:
    """The steps of sequences (length, batch, I), or (batch, length, I) with batch_first.

    length >= 1; lengths (batch,) in 1..length, or None where all are as long as x.
    """
    if lengths is None or not batch:
        return _full(length, batch, batch_first, reverse)
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order].astype(np.int64)
    counts = (ordered[None, :] > np.arange(ordered[0])[:, None]).sum(axis=1)
    offsets = np.cumsum(counts) - counts
    state = np.arange(int(counts.sum())) - np.repeat(offsets, counts)
    step = np.repeat(np.arange(len(counts)), counts)
    index = order[state] * length + step if batch_first else step * batch + order[state]
    return Steps(offsets, counts, ordered, 1, order, index, reverse)


@lru_cache(maxsize=256)
def _full(length: int, batch: int, batch_first: bool, reverse: bool) -> Steps:
    between, within = (1, length) if batch_first else (batch, 1)
    arrays = np.arange(length) * between, np.full(length, batch), np.full(batch, length)
    for array in arrays:
        array.flags.writeable = False  # they are shared by all calls of this shape
    return Steps(*arrays, within, None, None, reverse)


def shares(steps: Steps, jobs: int) -> np.ndarray:
    """Cuts 0 .. B of the states into so many parts (fewer for a small batch) with about as many rows each."""
    batch = len(steps.lengths)
    jobs = max(1, min(jobs, batch))
    if steps.order is None:
        return np.arange(jobs + 1) * batch // jobs
    ends = np.cumsum(steps.lengths)
    return np.append(np.searchsorted(ends, ends[-1] * np.arange(jobs) / jobs), batch)


def gathered(x: np.ndarray, steps: Steps) -> np.ndarray:
    """x (T, B, F) as the matrix (R, F) of its rows."""
    matrix = x.reshape(x.shape[0] * x.shape[1], x.shape[2])
    if steps.index is None:
        return matrix
    return np.take(matrix, steps.index, axis=0, out=empty((len(steps.index), x.shape[-1]), x.dtype), mode="clip")


def scattered(matrix: np.ndarray, shape: tuple[int, ...], steps: Steps) -> np.ndarray:
    """The rows (R, F) at their places in (T, B, F), whose `shape` is given without F; 0 in between."""
    shape = (*shape, matrix.shape[-1])
    if steps.index is None:
        return matrix.reshape(shape)
    padded = zeros(shape, matrix.dtype)
    padded.reshape(shape[0] * shape[1], shape[2])[steps.index] = matrix
    return padded


def sorted_states(state: np.ndarray | None, hidden: int, dtype, steps: Steps) -> np.ndarray:
    """A fresh (B, Hd) with the states in the order of the steps, 0 where none is given."""
    shape = len(steps.lengths), hidden
    if state is None:
        return zeros(shape, dtype)
    fresh = empty(shape, dtype)
    fresh[...] = state if steps.order is None else state[steps.order]
    return fresh


def unsorted_states(state: np.ndarray, steps: Steps) -> np.ndarray:
    """States (B, Hd) back in the order of the batch."""
    if steps.order is None:
        return state
    fresh = empty(state.shape, state.dtype)
    fresh[steps.order] = state
    return fresh


def last_states(rows: np.ndarray, steps: Steps) -> np.ndarray:
    """A fresh (B, Hd) with the row (R, Hd) of each sequence's last step, in the order of the batch."""
    batch = len(steps.lengths)
    if steps.order is None:
        found = _by_step(rows, steps)[0 if steps.reverse else -1]
        fresh = empty(found.shape, rows.dtype)
        fresh[...] = found
        return fresh
    last = np.zeros(batch, np.int64) if steps.reverse else steps.lengths - 1
    found = rows[steps.offsets[last] + steps.stride * np.arange(batch)]
    fresh = empty(found.shape, rows.dtype)
    fresh[steps.order] = found
    return fresh


def states_before(rows: np.ndarray, initial: np.ndarray, steps: Steps) -> np.ndarray:
    """For each row (R, Hd) the state that its step began with; `initial` (B, Hd) are the first ones, sorted."""
    before = empty(rows.shape, rows.dtype)
    if steps.order is None:
        to, states = _by_step(before, steps), _by_step(rows, steps)
        if steps.reverse:
            to[:-1], to[-1] = states[1:], initial
        else:
            to[1:], to[0] = states[:-1], initial
        return before
    counts, row = steps.counts, np.arange(len(rows))
    state = row - np.repeat(steps.offsets, counts)
    if steps.reverse:
        source, begins = row + np.repeat(counts, counts), state >= np.repeat(np.append(counts[1:], 0), counts)
    else:
        source, begins = row - np.repeat(np.append(0, counts[:-1]), counts), row < counts[0]
    np.take(rows, source, axis=0, out=before, mode="clip")
    before[begins] = initial[state[begins]]
    return before


def _by_step(rows: np.ndarray, steps: Steps) -> np.ndarray:
    """Rows (R, Hd) of sequences that are all whole as (T, B, Hd), where they lie."""
    length, batch = len(steps.offsets), len(steps.lengths)
    if length > 1 and steps.offsets[1] == 1 and steps.stride == length:  # with batch_first
        return rows.reshape(batch, length, rows.shape[1]).swapaxes(0, 1)
    return rows.reshape(length, batch, rows.shape[1])
