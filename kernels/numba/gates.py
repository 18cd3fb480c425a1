"""The gates of LSTM and GRU, one unit: for cells (`recurrent`) and for whole sequences (`sequence`).

Numbers in, numbers out; the formulas stand in `kernels/reference/recurrent.py`. A row of gates holds those of all units
one gate after the other, as the rows of z = W x + b do.
"""

from __future__ import annotations

from .loops import get, put
from .vmath import inlined, real, sigmoid, tanh


@inlined
def get3(row, j, units):
    """Unit j of each of three gates."""
    return get(row, j), get(row, j + units), get(row, j + 2 * units)


@inlined
def put3(row, j, units, values):
    first, second, third = values
    put(row, j, first)
    put(row, j + units, second)
    put(row, j + 2 * units, third)


@inlined
def get4(row, j, units):
    """Unit j of each of four gates."""
    return get(row, j), get(row, j + units), get(row, j + 2 * units), get(row, j + 3 * units)


@inlined
def put4(row, j, units, values):
    first, second, third, fourth = values
    put(row, j, first)
    put(row, j + units, second)
    put(row, j + 2 * units, third)
    put(row, j + 3 * units, fourth)


@inlined
def lstm(z_ih, z_hh, c):
    """((i, f, g, o), c', tanh(c')) from the two sides of the four gates."""
    i, f = sigmoid(z_ih[0] + z_hh[0]), sigmoid(z_ih[1] + z_hh[1])
    g, o = tanh(z_ih[2] + z_hh[2]), sigmoid(z_ih[3] + z_hh[3])
    cell = f * c + i * g
    return (i, f, g, o), cell, tanh(cell)


@inlined
def lstm_back(dh, dc, c, gates, tanh_c):
    """(dz of the four gates, dc) from the gradients of h' and c'."""
    (i, f, g, o), one = gates, real(dh, 1)
    total = dc + dh * o * (one - tanh_c * tanh_c)
    dzi, dzf = total * g * (i * (one - i)), total * c * (f * (one - f))
    return (dzi, dzf, total * i * (one - g * g), dh * tanh_c * (o * (one - o))), total * f


@inlined
def gru(z_ih, z_hh, h):
    """((r, z, n), h') from the two sides of the three gates, biases included."""
    r, z, one = sigmoid(z_ih[0] + z_hh[0]), sigmoid(z_ih[1] + z_hh[1]), real(h, 1)
    n = tanh(z_ih[2] + r * z_hh[2])
    return (r, z, n), (one - z) * n + z * h


@inlined
def gru_back(dh, h, gates, hn):
    """(dz of the input's side, dz of the hidden side, which sees r dzn for dzn, the part of dh through z h)."""
    (r, z, n), one = gates, real(dh, 1)
    dzn = dh * (one - z) * (one - n * n)
    dzz = dh * (h - n) * (z * (one - z))
    dzr = dzn * hn * (r * (one - r))
    return (dzr, dzz, dzn), (dzr, dzz, dzn * r), dh * z
