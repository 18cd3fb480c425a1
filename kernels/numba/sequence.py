"""Recurrent layers over whole sequences, defined in `kernels/reference/sequence.py`; rows, and the way through layers
and directions: `kernels/sequences.py`.

One product makes the input's part of all rows. Then comes the time loop (`time_loop`): forward z = h W_hh^T and the
gates, backward the gates' gradients dz and dh = dz W_hh, with W_hh packed once a call. Products of all rows then give
the gradients of x and of the weights.
"""

from __future__ import annotations

import numpy as np

from ..memory import empty
from ..sequences import back_through_layers, states_before, through_layers
from . import gates as gate
from .gemm import gemm
from .jit import contiguous, helper
from .loops import get, pointer, put
from .recurrent import affine_gradients
from .time_loop import TimeLoop, padded
from .vmath import inlined, real, tanh, where


def _padded(dlast):
    """dh as the loop begins with it: the gradient of the last states."""
    dh = padded(*dlast.shape, dlast.dtype)
    dh[:, : dlast.shape[1]] = dlast
    return dh


def _inputs(rows, weight_ih, bias):
    """W_ih x + bias for each row."""
    return gemm(contiguous(rows), contiguous(weight_ih), trans_b=True, bias=bias)


def _sum(a, b):
    """a + b where either may be None."""
    return b if a is None else a if b is None else a + b


def _gradients(dz_ih, dz_hh, rows, before, parameters, needs):
    """Gradients of the inputs' rows and of the parameters."""
    dx, _, *dparameters = affine_gradients(dz_ih, dz_hh, (rows, before, *parameters[:2]), (needs[0], False, *needs[1:]))
    return dx, *dparameters


@inlined
def _row(array, i):
    return pointer(array, i * array.shape[1])


@helper(noalias=True)
def _rnn_row(z, y, h, units, relu):
    """y, which holds the input's part, becomes the new state."""
    for j in range(units):
        total = get(y, j) + get(z, j)
        value = where(total <= 0, real(total, 0), total) if relu else tanh(total)
        put(y, j, value)
        put(h, j, value)


@inlined
def _rnn_step(row, j, z, arrays):
    h, y, relu = arrays
    _rnn_row(_row(z, j), _row(y, row), _row(h, j), h.shape[1], relu)


_rnn = TimeLoop(_rnn_step)


def rnn_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *further, steps, nonlinearity):
    def loop(rows, states, parameters, steps):
        weight_ih, weight_hh, bias_ih, bias_hh = parameters
        (state,), y = states, _inputs(rows, weight_ih, _sum(bias_ih, bias_hh))
        _rnn(steps, weight_hh, padded(*state.shape, x.dtype), state, y, nonlinearity == "relu")
        return y, states, (None, None)

    results, saved = through_layers(loop, x, (h,), (weight_ih, weight_hh, bias_ih, bias_hh, *further), steps)
    return results, (*saved, nonlinearity)


@helper(noalias=True)
def _rnn_back_row(dh, dy, y, dz, units, relu):
    for j in range(units):
        value, d = get(y, j), get(dh, j) + get(dy, j)
        put(dz, j, where(value <= 0, real(d, 0), d) if relu else d * (real(d, 1) - value * value))


@inlined
def _rnn_back_step(row, j, dh, arrays):
    dz, dy, y, relu = arrays
    _rnn_back_row(_row(dh, j), _row(dy, row), _row(y, row), _row(dz, row), y.shape[1], relu)


_rnn_back = TimeLoop(_rnn_back_step, backward=True)


def rnn_backward(dy, saved, needs):
    *saved, nonlinearity = saved

    def loop(dy, dlast, rows, states, parameters, y, _, steps, needs):
        y, dh, dz = contiguous(y), _padded(dlast[0]), empty(y.shape, y.dtype)
        _rnn_back(steps, parameters[1], dh, dz, contiguous(dy), y, nonlinearity == "relu")
        before = states_before(y, states[0], steps)
        return _gradients(dz, dz, rows, before, parameters, needs), (dh[:, : y.shape[1]],)

    return back_through_layers(loop, dy, saved, needs)


@helper(noalias=True)
def _lstm_row(z, gates, c, h, y, cells, units):
    """gates, which hold the input's part, become i, f, g, o; c and h the new states."""
    for j in range(units):
        values, cell, squashed = gate.lstm(gate.get4(gates, j, units), gate.get4(z, j, units), get(c, j))
        value = values[3] * squashed
        gate.put4(gates, j, units, values)
        put(c, j, cell)
        put(cells, j, cell)
        put(h, j, value)
        put(y, j, value)


@inlined
def _lstm_step(row, j, z, arrays):
    h, c, y, gates, cells = arrays
    _lstm_row(_row(z, j), _row(gates, row), _row(c, j), _row(h, j), _row(y, row), _row(cells, row), h.shape[1])


_lstm = TimeLoop(_lstm_step)


def lstm_forward(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, *further, steps):
    return through_layers(_lstm_loop, x, (h, c), (weight_ih, weight_hh, bias_ih, bias_hh, *further), steps)


def _lstm_loop(rows, states, parameters, steps):
    weight_ih, weight_hh, bias_ih, bias_hh = parameters
    (state, cell), gates = states, _inputs(rows, weight_ih, _sum(bias_ih, bias_hh))
    y, cells = (empty((len(rows), state.shape[1]), rows.dtype) for _ in range(2))
    _lstm(steps, weight_hh, padded(len(state), gates.shape[1], rows.dtype), state, cell, y, gates, cells)
    return y, states, (gates, cells)


@helper(noalias=True)
def _lstm_back_row(dh, dy, dc, gates, cells, before, dz, units):
    for j in range(units):
        d, squashed = get(dh, j) + get(dy, j), tanh(get(cells, j))
        dgates, cell = gate.lstm_back(d, get(dc, j), get(before, j), gate.get4(gates, j, units), squashed)
        gate.put4(dz, j, units, dgates)
        put(dc, j, cell)


@inlined
def _lstm_back_step(row, j, dh, arrays):
    dz, dy, dc, gates, cells, before = arrays
    _lstm_back_row(_row(dh, j), _row(dy, row), _row(dc, j), _row(gates, row), _row(cells, row), _row(before, row),
                   _row(dz, row), cells.shape[1])  # fmt: skip


_lstm_back = TimeLoop(_lstm_back_step, backward=True)


def lstm_backward(dy, saved, needs):
    return back_through_layers(_lstm_loop_back, dy, saved, needs)


def _lstm_loop_back(dy, dlast, rows, states, parameters, y, kept, steps, needs):
    (gates, cells), dh, dc = map(contiguous, kept), _padded(dlast[0]), dlast[1]
    y, dz = contiguous(y), empty(gates.shape, gates.dtype)
    _lstm_back(steps, parameters[1], dh, dz, contiguous(dy), dc, gates, cells, states_before(cells, states[1], steps))
    before = states_before(y, states[0], steps)
    return _gradients(dz, dz, rows, before, parameters, needs), (dh[:, : y.shape[1]], dc)


@helper(noalias=True)
def _gru_row(z, bias, gates, h, y, inner, units):
    """gates, which hold the input's part, become r, z, n; bias is that of W_hn h."""
    for j in range(units):
        reset, update, new = gate.get3(z, j, units)
        hidden = new + get(bias, j)
        values, value = gate.gru(gate.get3(gates, j, units), (reset, update, hidden), get(h, j))
        gate.put3(gates, j, units, values)
        put(inner, j, hidden)
        put(h, j, value)
        put(y, j, value)


@inlined
def _gru_step(row, j, z, arrays):
    h, bias, y, gates, inner = arrays
    _gru_row(_row(z, j), pointer(bias, 0), _row(gates, row), _row(h, j), _row(y, row), _row(inner, row), h.shape[1])


_gru = TimeLoop(_gru_step)


def gru_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *further, steps):
    return through_layers(_gru_loop, x, (h,), (weight_ih, weight_hh, bias_ih, bias_hh, *further), steps)


def _gru_loop(rows, states, parameters, steps):
    weight_ih, weight_hh, bias_ih, bias_hh = parameters
    hidden, dtype = weight_hh.shape[1], rows.dtype
    inner_bias = np.zeros(hidden, dtype) if bias_hh is None else contiguous(bias_hh[2 * hidden :])
    outer_bias = bias_hh if bias_hh is None else np.append(bias_hh[: 2 * hidden], np.zeros(hidden, dtype))
    (state,), gates = states, _inputs(rows, weight_ih, _sum(bias_ih, outer_bias))
    y, inner = (empty((len(rows), hidden), dtype) for _ in range(2))
    _gru(steps, weight_hh, padded(len(state), 3 * hidden, dtype), state, inner_bias, y, gates, inner)
    return y, states, (gates, inner)


@helper(noalias=True)
def _gru_back_row(dh, dy, before, gates, inner, dz_ih, dz_hh, units):
    """dh keeps what passes through z h."""
    for j in range(units):
        d = get(dh, j) + get(dy, j)
        d_ih, d_hh, passed = gate.gru_back(d, get(before, j), gate.get3(gates, j, units), get(inner, j))
        gate.put3(dz_ih, j, units, d_ih)
        gate.put3(dz_hh, j, units, d_hh)
        put(dh, j, passed)


@inlined
def _gru_back_step(row, j, dh, arrays):
    dz_hh, dz_ih, dy, before, gates, inner = arrays
    _gru_back_row(_row(dh, j), _row(dy, row), _row(before, row), _row(gates, row), _row(inner, row),
                  _row(dz_ih, row), _row(dz_hh, row), inner.shape[1])  # fmt: skip


_gru_back = TimeLoop(_gru_back_step, backward=True, adds=True)


def gru_backward(dy, saved, needs):
    return back_through_layers(_gru_loop_back, dy, saved, needs)


def _gru_loop_back(dy, dlast, rows, states, parameters, y, kept, steps, needs):
    (gates, inner), dh, y = map(contiguous, kept), _padded(dlast[0]), contiguous(y)
    before, (dz_ih, dz_hh) = states_before(y, states[0], steps), (empty(gates.shape, gates.dtype) for _ in range(2))
    _gru_back(steps, parameters[1], dh, dz_hh, dz_ih, contiguous(dy), before, gates, inner)
    return _gradients(dz_ih, dz_hh, rows, before, parameters, needs), (dh[:, : y.shape[1]],)
