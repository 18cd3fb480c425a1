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
from .gemm import gemm
from .jit import contiguous, helper
from .loops import get, pointer, put
from .recurrent import affine_gradients
from .time_loop import TimeLoop, padded
from .vmath import inlined, real, sigmoid, tanh, where


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
    units = h.shape[1]
    _rnn_row(pointer(z, j * z.shape[1]), pointer(y, row * units), pointer(h, j * units), units, relu)


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
    units = y.shape[1]
    at = row * units
    _rnn_back_row(pointer(dh, j * dh.shape[1]), pointer(dy, at), pointer(y, at), pointer(dz, at), units, relu)


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
        i = sigmoid(get(gates, j) + get(z, j))
        f = sigmoid(get(gates, j + units) + get(z, j + units))
        g = tanh(get(gates, j + 2 * units) + get(z, j + 2 * units))
        o = sigmoid(get(gates, j + 3 * units) + get(z, j + 3 * units))
        cell = f * get(c, j) + i * g
        value = o * tanh(cell)
        put(gates, j, i)
        put(gates, j + units, f)
        put(gates, j + 2 * units, g)
        put(gates, j + 3 * units, o)
        put(c, j, cell)
        put(cells, j, cell)
        put(h, j, value)
        put(y, j, value)


@inlined
def _lstm_step(row, j, z, arrays):
    h, c, y, gates, cells = arrays
    units = h.shape[1]
    at, state = row * units, j * units
    _lstm_row(pointer(z, j * z.shape[1]), pointer(gates, 4 * at), pointer(c, state), pointer(h, state),
              pointer(y, at), pointer(cells, at), units)  # fmt: skip


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
    one = real(get(dh, 0), 1)
    for j in range(units):
        i, f, g, o = get(gates, j), get(gates, j + units), get(gates, j + 2 * units), get(gates, j + 3 * units)
        squashed, d = tanh(get(cells, j)), get(dh, j) + get(dy, j)
        total = get(dc, j) + d * o * (one - squashed * squashed)
        put(dz, j, total * g * (i * (one - i)))
        put(dz, j + units, total * get(before, j) * (f * (one - f)))
        put(dz, j + 2 * units, total * i * (one - g * g))
        put(dz, j + 3 * units, d * squashed * (o * (one - o)))
        put(dc, j, total * f)


@inlined
def _lstm_back_step(row, j, dh, arrays):
    dz, dy, dc, gates, cells, before = arrays
    units = cells.shape[1]
    at = row * units
    _lstm_back_row(pointer(dh, j * dh.shape[1]), pointer(dy, at), pointer(dc, j * units), pointer(gates, 4 * at),
                   pointer(cells, at), pointer(before, at), pointer(dz, 4 * at), units)  # fmt: skip


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
    one = real(get(h, 0), 1)
    for j in range(units):
        r = sigmoid(get(gates, j) + get(z, j))
        u = sigmoid(get(gates, j + units) + get(z, j + units))
        hidden = get(z, j + 2 * units) + get(bias, j)
        n = tanh(get(gates, j + 2 * units) + r * hidden)
        value = (one - u) * n + u * get(h, j)
        put(gates, j, r)
        put(gates, j + units, u)
        put(gates, j + 2 * units, n)
        put(inner, j, hidden)
        put(h, j, value)
        put(y, j, value)


@inlined
def _gru_step(row, j, z, arrays):
    h, bias, y, gates, inner = arrays
    units = h.shape[1]
    at = row * units
    _gru_row(pointer(z, j * z.shape[1]), pointer(bias, 0), pointer(gates, 3 * at), pointer(h, j * units),
             pointer(y, at), pointer(inner, at), units)  # fmt: skip


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
    """The hidden side sees r dzn where the input side sees dzn; dh keeps what passes through z h."""
    one = real(get(dh, 0), 1)
    for j in range(units):
        r, u, n = get(gates, j), get(gates, j + units), get(gates, j + 2 * units)
        d = get(dh, j) + get(dy, j)
        dn = d * (one - u) * (one - n * n)
        dr, du = dn * get(inner, j) * (r * (one - r)), d * (get(before, j) - n) * (u * (one - u))
        put(dz_ih, j, dr)
        put(dz_hh, j, dr)
        put(dz_ih, j + units, du)
        put(dz_hh, j + units, du)
        put(dz_ih, j + 2 * units, dn)
        put(dz_hh, j + 2 * units, dn * r)
        put(dh, j, d * u)


@inlined
def _gru_back_step(row, j, dh, arrays):
    dz_hh, dz_ih, dy, before, gates, inner = arrays
    units = inner.shape[1]
    at = row * units
    _gru_back_row(pointer(dh, j * dh.shape[1]), pointer(dy, at), pointer(before, at), pointer(gates, 3 * at),
                  pointer(inner, at), pointer(dz_ih, 3 * at), pointer(dz_hh, 3 * at), units)  # fmt: skip


_gru_back = TimeLoop(_gru_back_step, backward=True, adds=True)


def gru_backward(dy, saved, needs):
    return back_through_layers(_gru_loop_back, dy, saved, needs)


def _gru_loop_back(dy, dlast, rows, states, parameters, y, kept, steps, needs):
    (gates, inner), dh, y = map(contiguous, kept), _padded(dlast[0]), contiguous(y)
    before, (dz_ih, dz_hh) = states_before(y, states[0], steps), (empty(gates.shape, gates.dtype) for _ in range(2))
    _gru_back(steps, parameters[1], dh, dz_hh, dz_ih, contiguous(dy), before, gates, inner)
    return _gradients(dz_ih, dz_hh, rows, before, parameters, needs), (dh[:, : y.shape[1]],)
