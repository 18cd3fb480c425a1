"""Recurrent layers over whole sequences. Defined in `kernels/reference/sequence.py`.

Inside, the rows of a step follow each other, the longest sequence first: `_Rows` moves them there and back. All inputs
are multiplied at once; a step is then one product and one kernel of gates on the rows of the sequences that still run.
Saved, as rows in this order: the results and what the gates left; they serve this backend alone.
"""

from __future__ import annotations

import math

import numpy as np

from . import gates
from .columns import column_sums
from .dialect import cuda, kernel, real
from .gemm import CODES, gemm, matrix
from .loops import THREADS, like
from .norm import zeros
from .recurrent import affine, times, times_transposed


class _Rows:
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
        pick((-(-max(y.size, 1) // THREADS), 1, 1), THREADS, self.device.upload(index), x, y, features, y.size)
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
            (-(-max(n, 1) // THREADS), 1, 1), THREADS, self.device.upload(source), rows, initial, y, rows.shape[1], n
        )
        return y


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


def _hidden_part(state, count, weight, bias, out):
    """W_hh h + b_hh of the first `count` states, into the first rows of `out`."""
    gates_, hidden = weight.shape
    target = out.rows(0, count)
    gemm(matrix(state), matrix(weight).transposed, target, count, gates_, hidden, bias=bias)
    return target


def _back_through(dz, weight, dstate, count):
    """dstate = dz W_hh, for the first `count` states."""
    gemm(matrix(dz), matrix(weight), dstate.rows(0, count), count, weight.shape[1], weight.shape[0])


def _copied(source, target):
    source.device.copy(source, target)


def rnn_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, steps, nonlinearity):
    where, hidden = _Rows(x.device, steps, len(steps.lengths)), weight_hh.shape[1]
    inputs = where.gathered(x)
    zx, initial = affine(inputs, weight_ih, bias_ih), where.state(h, hidden, x.dtype)
    state, zh, rows = where.state(h, hidden, x.dtype), like(initial), like(zx)
    for first, count in where.walk:
        here, now = rows.rows(first, first + count), _hidden_part(state, count, weight_hh, bias_hh, zh)
        gates.rnn(gates.grid(count, hidden), THREADS, zx.rows(first, first + count), now, here, count, hidden,
                  CODES[nonlinearity])  # fmt: skip
        _copied(here, state.rows(0, count))
    y = where.scattered(rows, x.shape[:2])
    saved = inputs, initial, weight_ih, weight_hh, rows, where, CODES[nonlinearity], x.shape[:2]
    return (y, where.unsorted(state)), saved


def rnn_backward(dy, saved, needs):
    inputs, initial, weight_ih, weight_hh, rows, where, code, shape = saved
    hidden = rows.shape[1]
    dy_rows, dz = where.gathered(dy[0]), like(rows)
    dstate = where.state(dy[1], hidden, rows.dtype)
    for first, count in reversed(where.walk):
        here = dz.rows(first, first + count)
        gates.rnn_back(gates.grid(count, hidden), THREADS, dy_rows.rows(first, first + count), dstate,
                       rows.rows(first, first + count), here, count * hidden, code)  # fmt: skip
        _back_through(here, weight_hh, dstate, count)
    return _gradients(dz, dz, (dstate,), inputs, where.before(rows, initial), weight_ih, where, shape, needs)


def lstm_forward(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, *, steps):
    where, hidden = _Rows(x.device, steps, len(steps.lengths)), weight_hh.shape[1]
    inputs, empty = where.gathered(x), x.device.empty
    zx = affine(inputs, weight_ih, bias_ih)
    initial, first_cell = where.state(h, hidden, x.dtype), where.state(c, hidden, x.dtype)
    state, cell = where.state(h, hidden, x.dtype), where.state(c, hidden, x.dtype)
    zh, activated = empty((where.batch, 4 * hidden), x.dtype), like(zx)
    rows, memory, roots = (empty((len(where.index), hidden), x.dtype) for _ in range(3))
    for first, count in where.walk:
        part = slice(first, first + count)
        here, kept, root = (each.rows(part.start, part.stop) for each in (rows, memory, roots))
        now = _hidden_part(state, count, weight_hh, bias_hh, zh)
        gates.lstm(gates.grid(count, hidden), THREADS, zx.rows(part.start, part.stop), now, cell,
                   activated.rows(part.start, part.stop), kept, root, here, count, hidden)  # fmt: skip
        _copied(here, state.rows(0, count))
        _copied(kept, cell.rows(0, count))
    y = where.scattered(rows, x.shape[:2])
    saved = inputs, initial, first_cell, weight_ih, weight_hh, rows, activated, memory, roots, where, x.shape[:2]
    return (y, where.unsorted(state), where.unsorted(cell)), saved


def lstm_backward(dy, saved, needs):
    inputs, initial, first_cell, weight_ih, weight_hh, rows, activated, memory, roots, where, shape = saved
    hidden, dtype = rows.shape[1], rows.dtype
    memory_before = where.before(memory, first_cell)
    dstate, dcell = (where.state(each, hidden, dtype) for each in dy[1:])
    dy_rows, dz = where.gathered(dy[0]), like(activated)
    for first, count in reversed(where.walk):
        end = first + count
        here = dz.rows(first, end)
        gates.lstm_back(gates.grid(count, hidden), THREADS, dy_rows.rows(first, end), dstate, dcell,
                        memory_before.rows(first, end), activated.rows(first, end), roots.rows(first, end), here, dcell,
                        count, hidden)  # fmt: skip
        _back_through(here, weight_hh, dstate, count)
    return _gradients(dz, dz, (dstate, dcell), inputs, where.before(rows, initial), weight_ih, where, shape, needs)


def gru_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, steps):
    where, hidden = _Rows(x.device, steps, len(steps.lengths)), weight_hh.shape[1]
    inputs, empty = where.gathered(x), x.device.empty
    zx, initial = affine(inputs, weight_ih, bias_ih), where.state(h, hidden, x.dtype)
    state, zh, activated = where.state(h, hidden, x.dtype), empty((where.batch, 3 * hidden), x.dtype), like(zx)
    rows, inner = (empty((len(where.index), hidden), x.dtype) for _ in range(2))
    for first, count in where.walk:
        end = first + count
        here, now = rows.rows(first, end), _hidden_part(state, count, weight_hh, bias_hh, zh)
        gates.gru(gates.grid(count, hidden), THREADS, zx.rows(first, end), now, state, activated.rows(first, end),
                  inner.rows(first, end), here, count, hidden)  # fmt: skip
        _copied(here, state.rows(0, count))
    y = where.scattered(rows, x.shape[:2])
    saved = inputs, initial, weight_ih, weight_hh, rows, activated, inner, where, x.shape[:2]
    return (y, where.unsorted(state)), saved


def gru_backward(dy, saved, needs):
    inputs, initial, weight_ih, weight_hh, rows, activated, inner, where, shape = saved
    hidden, dtype = rows.shape[1], rows.dtype
    before, dy_rows = where.before(rows, initial), where.gathered(dy[0])
    dstate = where.state(dy[1], hidden, dtype)
    dz_ih, dz_hh, through = like(activated), like(activated), like(dstate)
    for first, count in reversed(where.walk):
        end = first + count
        here = dz_hh.rows(first, end)
        gates.gru_back(gates.grid(count, hidden), THREADS, dy_rows.rows(first, end), dstate, before.rows(first, end),
                       activated.rows(first, end), inner.rows(first, end), dz_ih.rows(first, end), here, through, count,
                       hidden)  # fmt: skip
        _back_through(here, weight_hh, dstate, count)
        gates.add(gates.grid(count, hidden), THREADS, through, dstate, count * hidden)
    return _gradients(dz_ih, dz_hh, (dstate,), inputs, before, weight_ih, where, shape, needs)


def _gradients(dz_ih, dz_hh, dstates, inputs, before, weight_ih, where, shape, needs):
    """Gradients in the order of the arguments: of x, of the states given, of the weights and the biases."""
    states = len(dstates)
    weights = needs[1 + states :]
    dx = where.scattered(times(dz_ih, weight_ih), shape) if needs[0] else None
    dinitial = (where.unsorted(d) if needed else None for d, needed in zip(dstates, needs[1:]))
    return (
        dx,
        *dinitial,
        times_transposed(dz_ih, inputs) if weights[0] else None,
        times_transposed(dz_hh, before) if weights[1] else None,
        column_sums(dz_ih) if weights[2] else None,
        column_sums(dz_hh) if weights[3] else None,
    )
