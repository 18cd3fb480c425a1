"""One step of a recurrent cell: two products, then all the arithmetic of the gates in one pass; backward likewise.

B batch, I in features, Hd hidden size. The operations are defined in `kernels/reference/recurrent.py`.
"""

from __future__ import annotations

from ..memory import empty
from . import elementwise
from . import gates as gate
from .gemm import gemm, sum_rows
from .jit import contiguous, helper, jit, parallel_for
from .loops import BLOCK, SERIAL, get, mapped, put
from .vmath import real, tanh, where

WORK = 8  # steps that a unit of a cell costs, compared with an element of an array that is copied


def _affine(x, weight, bias):
    """x W^T + b."""
    return gemm(contiguous(x), contiguous(weight), trans_b=True, bias=bias)


def affine_gradients(dz_ih, dz_hh, saved, needs):
    """Gradients through z_ih = W_ih x + b_ih and z_hh = W_hh h + b_hh, in the order of `needs`:
    dx, dh (the part through W_hh), dweight_ih, dweight_hh, dbias_ih, dbias_hh."""
    x, h, weight_ih, weight_hh = map(contiguous, saved)
    return (
        gemm(dz_ih, weight_ih) if needs[0] else None,
        gemm(dz_hh, weight_hh) if needs[1] else None,
        gemm(dz_ih, x, trans_a=True, into=needs[2]) if needs[2] else None,
        gemm(dz_hh, h, trans_a=True, into=needs[3]) if needs[3] else None,
        sum_rows(dz_ih) if needs[4] else None,
        sum_rows(dz_hh) if needs[5] else None,
    )


def _rows_per_job(units) -> int:
    return max(1, BLOCK // (WORK * max(units, 1)))


@mapped
def _tanh_sum(a, b):
    return tanh(a + b)


@mapped
def _relu_sum(a, b):
    z = a + b
    return where(z <= 0, real(z, 0), z)


def rnn_cell_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, nonlinearity):
    act = _relu_sum if nonlinearity == "relu" else _tanh_sum
    h_next = act(_affine(x, weight_ih, bias_ih), _affine(h, weight_hh, bias_hh))
    return h_next, (x, h, weight_ih, weight_hh, h_next, nonlinearity)


def rnn_cell_backward(dy, saved, needs):
    *inputs, h_next, nonlinearity = saved
    backward = elementwise.relu_backward if nonlinearity == "relu" else elementwise.tanh_backward
    (dz,) = backward(dy, (h_next,), (True,))
    return affine_gradients(dz, dz, inputs, needs)


@helper(noalias=True)
def _lstm_job(job, worker, z_ih, z_hh, c, gates, h_next, c_next, tanh_c, units, per_job):
    for row in range(job * per_job, min((job + 1) * per_job, c.size // units)):
        at, to = row * 4 * units, row * units
        for j in range(units):
            b = to + j
            values, cell, squashed = gate.lstm(
                gate.get4(z_ih, at + j, units), gate.get4(z_hh, at + j, units), get(c, b)
            )
            gate.put4(gates, at + j, units, values)
            put(c_next, b, cell)
            put(tanh_c, b, squashed)
            put(h_next, b, values[3] * squashed)


@jit
def _lstm(z_ih, z_hh, c, gates, h_next, c_next, tanh_c, units, per_job):
    arguments = (z_ih, z_hh, c, gates, h_next, c_next, tanh_c, units, per_job)
    parallel_for(_lstm_job, -(-(c.size // units) // per_job), arguments, c.size * WORK < SERIAL)


def lstm_cell_forward(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh):
    batch, units = c.shape
    z_ih, z_hh = _affine(x, weight_ih, bias_ih), _affine(h, weight_hh, bias_hh)
    gates = empty((batch, 4 * units), x.dtype)
    h_next, c_next, tanh_c = (empty((batch, units), x.dtype) for _ in range(3))
    if c.size:
        arrays = [array.ravel() for array in (z_ih, z_hh, contiguous(c), gates, h_next, c_next, tanh_c)]
        _lstm(*arrays, units, _rows_per_job(units))
    return (h_next, c_next), (x, h, c, weight_ih, weight_hh, gates, tanh_c)


@helper(noalias=True)
def _lstm_back_job(job, worker, dh_next, dc_next, c, gates, tanh_c, dz, dc, units, per_job):
    for row in range(job * per_job, min((job + 1) * per_job, c.size // units)):
        at, to = row * 4 * units, row * units
        for j in range(units):
            b = to + j
            dgates, before = gate.lstm_back(
                get(dh_next, b), get(dc_next, b), get(c, b), gate.get4(gates, at + j, units), get(tanh_c, b)
            )
            gate.put4(dz, at + j, units, dgates)
            put(dc, b, before)


@jit
def _lstm_back(dh_next, dc_next, c, gates, tanh_c, dz, dc, units, per_job):
    arguments = (dh_next, dc_next, c, gates, tanh_c, dz, dc, units, per_job)
    parallel_for(_lstm_back_job, -(-(c.size // units) // per_job), arguments, c.size * WORK < SERIAL)


def lstm_cell_backward(dy, saved, needs):
    x, h, c, weight_ih, weight_hh, gates, tanh_c = saved
    units = c.shape[1]
    dz, dc = empty(gates.shape, gates.dtype), empty(c.shape, gates.dtype)
    if dc.size:
        arrays = [contiguous(array).ravel() for array in (*dy, c, gates, tanh_c, dz, dc)]
        _lstm_back(*arrays, units, _rows_per_job(units))
    dx, dh, *dparameters = affine_gradients(dz, dz, (x, h, weight_ih, weight_hh), needs[:2] + needs[3:])
    return dx, dh, dc if needs[2] else None, *dparameters


@helper(noalias=True)
def _gru_job(job, worker, z_ih, z_hh, h, gates, hn, h_next, units, per_job):
    for row in range(job * per_job, min((job + 1) * per_job, h.size // units)):
        at, to = row * 3 * units, row * units
        for j in range(units):
            b, hidden = to + j, gate.get3(z_hh, at + j, units)
            values, value = gate.gru(gate.get3(z_ih, at + j, units), hidden, get(h, b))
            gate.put3(gates, at + j, units, values)
            put(hn, b, hidden[2])
            put(h_next, b, value)


@jit
def _gru(z_ih, z_hh, h, gates, hn, h_next, units, per_job):
    arguments = (z_ih, z_hh, h, gates, hn, h_next, units, per_job)
    parallel_for(_gru_job, -(-(h.size // units) // per_job), arguments, h.size * WORK < SERIAL)


def gru_cell_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    batch, units = h.shape
    z_ih, z_hh = _affine(x, weight_ih, bias_ih), _affine(h, weight_hh, bias_hh)
    gates = empty((batch, 3 * units), x.dtype)
    hn, h_next = empty((batch, units), x.dtype), empty((batch, units), x.dtype)
    if h.size:
        arrays = [array.ravel() for array in (z_ih, z_hh, contiguous(h), gates, hn, h_next)]
        _gru(*arrays, units, _rows_per_job(units))
    return h_next, (x, h, weight_ih, weight_hh, gates, hn)


@helper(noalias=True)
def _gru_back_job(job, worker, dy, h, gates, hn, dz_ih, dz_hh, dh, units, per_job):
    """dh is the part of the gradient through z h."""
    for row in range(job * per_job, min((job + 1) * per_job, h.size // units)):
        at, to = row * 3 * units, row * units
        for j in range(units):
            b = to + j
            d_ih, d_hh, passed = gate.gru_back(get(dy, b), get(h, b), gate.get3(gates, at + j, units), get(hn, b))
            gate.put3(dz_ih, at + j, units, d_ih)
            gate.put3(dz_hh, at + j, units, d_hh)
            put(dh, b, passed)


@jit
def _gru_back(dy, h, gates, hn, dz_ih, dz_hh, dh, units, per_job):
    arguments = (dy, h, gates, hn, dz_ih, dz_hh, dh, units, per_job)
    parallel_for(_gru_back_job, -(-(h.size // units) // per_job), arguments, h.size * WORK < SERIAL)


def gru_cell_backward(dy, saved, needs):
    x, h, weight_ih, weight_hh, gates, hn = saved
    units = h.shape[1]
    dz_ih, dz_hh = empty(gates.shape, gates.dtype), empty(gates.shape, gates.dtype)
    passed = empty(h.shape, gates.dtype)
    if h.size:
        arrays = [contiguous(array).ravel() for array in (dy, h, gates, hn, dz_ih, dz_hh, passed)]
        _gru_back(*arrays, units, _rows_per_job(units))
    dx, dh, *dparameters = affine_gradients(dz_ih, dz_hh, (x, h, weight_ih, weight_hh), needs)
    if needs[1]:
        dh += passed
    return dx, dh, *dparameters
