"""One step of a recurrent cell: two products and a kernel of gates. Defined in `kernels/reference/recurrent.py`."""

from __future__ import annotations

from . import gates
from .columns import column_sums
from .gemm import CODES, gemm, matrix
from .linear import weight_gradient
from .loops import THREADS, like
from .norm import zeros


def affine(x, weight, bias):
    """x W^T + b."""
    rows, inputs = x.shape
    y = x.device.empty((rows, weight.shape[0]), x.dtype)
    return gemm(matrix(x), matrix(weight).transposed, y, rows, weight.shape[0], inputs, bias=bias)


def times(dz, weight):
    """dz W."""
    y = dz.device.empty((dz.shape[0], weight.shape[1]), dz.dtype)
    return gemm(matrix(dz), matrix(weight), y, *y.shape, weight.shape[0])


def of_weight(dz, x, needs):
    """dweight = dz^T x, and dbias, dz's sums; None for what is not needed."""
    dweight, dbias = weight_gradient(dz, x, needs[1], None, needs[0]) if needs[0] else (None, None)
    return dweight, column_sums(dz) if needs[1] and dbias is None else dbias


def affine_gradients(dz_ih, dz_hh, x, h, weight_ih, weight_hh, needs):
    """dx, dh (the part through W_hh), dweight_ih, dweight_hh, dbias_ih, dbias_hh."""
    dweight_ih, dbias_ih = of_weight(dz_ih, x, (needs[2], needs[4]))
    dweight_hh, dbias_hh = of_weight(dz_hh, h, (needs[3], needs[5]))
    return (
        times(dz_ih, weight_ih) if needs[0] else None,
        times(dz_hh, weight_hh) if needs[1] else None,
        dweight_ih,
        dweight_hh,
        dbias_ih,
        dbias_hh,
    )


def rnn_cell_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, nonlinearity):
    zx, zh = affine(x, weight_ih, bias_ih), affine(h, weight_hh, bias_hh)
    h_next = like(h)
    gates.rnn(gates.grid(*h.shape), THREADS, zx, zh, h_next, *h.shape, CODES[nonlinearity])
    return h_next, (x, h, weight_ih, weight_hh, h_next, nonlinearity)


def rnn_cell_backward(dy, saved, needs):
    x, h, weight_ih, weight_hh, h_next, nonlinearity = saved
    dz = like(h)
    gates.rnn_back(gates.grid(*h.shape), THREADS, dy, zeros(h), h_next, dz, h.size, CODES[nonlinearity])
    return affine_gradients(dz, dz, x, h, weight_ih, weight_hh, needs)


def lstm_cell_forward(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh):
    zx, zh = affine(x, weight_ih, bias_ih), affine(h, weight_hh, bias_hh)
    activated, c_next, tanh_c, h_next = like(zx), like(h), like(h), like(h)
    gates.lstm(gates.grid(*h.shape), THREADS, zx, zh, c, activated, c_next, tanh_c, h_next, *h.shape)
    return (h_next, c_next), (x, h, c, weight_ih, weight_hh, activated, tanh_c)


def lstm_cell_backward(dy, saved, needs):
    x, h, c, weight_ih, weight_hh, activated, tanh_c = saved
    dz, dc = like(activated), like(h)
    gates.lstm_back(gates.grid(*h.shape), THREADS, dy[0], zeros(h), dy[1], c, activated, tanh_c, dz, dc, *h.shape)
    dx, dh, *dparameters = affine_gradients(dz, dz, x, h, weight_ih, weight_hh, needs[:2] + needs[3:])
    return dx, dh, dc if needs[2] else None, *dparameters


def gru_cell_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    zx, zh = affine(x, weight_ih, bias_ih), affine(h, weight_hh, bias_hh)
    activated, inner, h_next = like(zx), like(h), like(h)
    gates.gru(gates.grid(*h.shape), THREADS, zx, zh, h, activated, inner, h_next, *h.shape)
    return h_next, (x, h, weight_ih, weight_hh, activated, inner)


def gru_cell_backward(dy, saved, needs):
    x, h, weight_ih, weight_hh, activated, inner = saved
    dz_ih, dz_hh, through = like(activated), like(activated), like(h)
    gates.gru_back(gates.grid(*h.shape), THREADS, dy, zeros(h), h, activated, inner, dz_ih, dz_hh, through, *h.shape)
    dx, dh, *dparameters = affine_gradients(dz_ih, dz_hh, x, h, weight_ih, weight_hh, needs)
    if dh is not None:
        gates.add(gates.grid(*h.shape), THREADS, through, dh, h.size)
    return dx, dh, *dparameters
