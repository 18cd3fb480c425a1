"""Rows of sequences for `sequence.py`: those of a step follow each other, the longest sequence first."""

from __future__ import annotations

import math

import numpy as np

from .dialect import cuda, kernel, real
from .loops import THREADS, like
from .norm import zeros


@kernel("luuii")
def pick(index, x, y, features, n):
    """y[i] = x[index[i]], and 0 where that is negative."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        row = index[i // features]
        y[i] = x[row * features + i % features] if row >= 0 else real(0)


@kernel("luuuii")
def pick_two(index, x, other, y, features, n):
    """y[i] = x[index[i]], and other[-1 - index[i]] where that is negative."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        row = index[i // features]
        at = i % features
        y[i] = x[row * features + at] if row >= 0 else other[(-1 - row) * features + at]


class Rows:
    """Where the rows of sequences lie: `walk` gives (first row, how many) of each step, in the order they are taken."""

    def __init__(self, device, steps, batch: int):
        self.device, self.batch = device, batch
        index = np.arange(steps.rows) if steps.index is None else steps.index
        found = [index[here] for here, _ in steps.walk()]
        self.index = np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)
        ends = np.cumsum([len(each) for each in found])
        self.walk = [(int(end) - len(each), len(each)) for end, each in zip(ends, found)]
        self.order = None if steps.order is None else np.asarray(steps.order, np.int64)

    def _taken(self, x, index, rows: int):
        """Rows of a matrix, those of a negative number being 0."""
        features = x.shape[-1]
        y = self.device.empty((rows, features), x.dtype)
        pick((-(-max(y.size, 1) // THREADS), 1, 1), THREADS, self.device.constant(index), x, y, features, y.size)
        return y

    def gathered(self, x):
        """x (T, B, F), or (B, T, F), as rows."""
        return self._taken(x, self.index, len(self.index))

    def scattered(self, rows, shape):
        """Rows at their places in (T, B, F) or (B, T, F); 0 in between."""
        places = np.full(math.prod(shape), -1, np.int64)
        places[self.index] = np.arange(len(self.index))
        return self._taken(rows, places, len(places)).reshape(*shape, rows.shape[1])

    def state(self, given, hidden: int, dtype):
        """A fresh (B, Hd) in the order of the rows; 0 where none is given."""
        if given is None:
            return zeros(self.device.empty((self.batch, hidden), dtype))
        order = np.arange(self.batch) if self.order is None else self.order
        return self._taken(given, order, self.batch)

    def unsorted(self, state):
        """States back in the order of the batch."""
        if self.order is None:
            return state
        return self._taken(state, np.argsort(self.order).astype(np.int64), self.batch)

    def before(self, rows, initial):
        """For each row the state that its step began with."""
        source, row_of = np.empty(len(self.index), np.int64), -np.arange(1, self.batch + 1)
        for first, count in self.walk:
            source[first : first + count] = row_of[:count]
            row_of[:count] = np.arange(first, first + count)
        y = like(rows)
        n = y.size
        pick_two(
            (-(-max(n, 1) // THREADS), 1, 1), THREADS, self.device.constant(source), rows, initial, y, rows.shape[1], n
        )
        return y
