"""The arithmetic of recurrent gates, for cells and for the steps of sequences: a thread makes one unit of one row.

What a unit computes are functions of their own (`lstm_unit` ...), which `sequence_loop` calls too.

``zx`` (n, G Hd) is W_ih x + b_ih, ``zh`` W_hh h + b_hh. A row of the results lies ``pitch`` numbers behind the one
before. The equations stand in `kernels/reference/recurrent.py`. Bytes moved: each array once.
"""

from __future__ import annotations

import math

from .dialect import cuda, device, kernel, real
from .elementwise import sigmoid
from .gemm import activate
from .loops import THREADS


def grid(rows: int, hidden: int) -> tuple[int, int, int]:
    return -(-rows * hidden // THREADS), 1, 1


@device
def rnn_slope(g, h_next, code):
    """dz = g act'(h'), by CODES."""
    return (real(0) if h_next <= 0 else g) if code == 1 else g * (real(1) - h_next * h_next)


@device
def lstm_unit(zi, zf, zg, zo, c):
    """i, f, g, o, c', tanh c', h'."""
    i = sigmoid(zi)
    f = sigmoid(zf)
    g = math.tanh(zg)
    o = sigmoid(zo)
    value = f * c + i * g
    root = math.tanh(value)
    return i, f, g, o, value, root, o * root


@device
def lstm_slopes(dh, dc_next, c, i, f, g, o, root):
    """dz of i, f, g, o, and dc."""
    one = real(1)
    whole = dc_next + dh * o * (one - root * root)
    return (whole * g * (i * (one - i)), whole * c * (f * (one - f)), whole * i * (one - g * g),
            dh * root * (o * (one - o)), whole * f)  # fmt: skip


@device
def gru_unit(zr, zz, zn, hn, h):
    """r, z, n, h'; zr and zz are sums of both sides, zn and hn those of x and of h."""
    r = sigmoid(zr)
    z = sigmoid(zz)
    m = math.tanh(zn + r * hn)
    return r, z, m, (real(1) - z) * m + z * h


@device
def gru_slopes(dh, h, r, z, m, inner):
    """dz of r, z, n on the side of x, of n on that of h, and the part of dh that passes z by."""
    one = real(1)
    dm = dh * (one - z) * (one - m * m)
    return dm * inner * (r * (one - r)), dh * (h - m) * (z * (one - z)), dm, dm * r, dh * z


@kernel("uuuiii")
def rnn(zx, zh, h_next, n, hidden, code):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n * hidden:
        h_next[i] = activate(zx[i] + zh[i], code)


@kernel("uuuuii")
def rnn_back(dy, dstate, h_next, dz, n, code):
    """dz = (dy + dstate) act'(h')."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        dz[i] = rnn_slope(dy[i] + dstate[i], h_next[i], code)


@kernel("uuuuuuuii")
def lstm(zx, zh, c, gates, c_next, tanh_c, h_next, n, hidden):
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < n * hidden:
        at = k // hidden * 4 * hidden + k % hidden
        zi = zx[at] + zh[at]
        zf = zx[at + hidden] + zh[at + hidden]
        zg = zx[at + 2 * hidden] + zh[at + 2 * hidden]
        zo = zx[at + 3 * hidden] + zh[at + 3 * hidden]
        i, f, g, o, value, root, h = lstm_unit(zi, zf, zg, zo, c[k])
        gates[at] = i
        gates[at + hidden] = f
        gates[at + 2 * hidden] = g
        gates[at + 3 * hidden] = o
        c_next[k] = value
        tanh_c[k] = root
        h_next[k] = h


@kernel("uuuuuuuuii")
def lstm_back(dy, dstate, dc_next, c, gates, tanh_c, dz, dc, n, hidden):
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < n * hidden:
        at = k // hidden * 4 * hidden + k % hidden
        i = gates[at]
        f = gates[at + hidden]
        g = gates[at + 2 * hidden]
        o = gates[at + 3 * hidden]
        di, df, dg, do, passed = lstm_slopes(dy[k] + dstate[k], dc_next[k], c[k], i, f, g, o, tanh_c[k])
        dz[at] = di
        dz[at + hidden] = df
        dz[at + 2 * hidden] = dg
        dz[at + 3 * hidden] = do
        dc[k] = passed


@kernel("uuuuuuii")
def gru(zx, zh, h, gates, inner, h_next, n, hidden):
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < n * hidden:
        at = k // hidden * 3 * hidden + k % hidden
        hn = zh[at + 2 * hidden]
        inner[k] = hn
        zr = zx[at] + zh[at]
        zz = zx[at + hidden] + zh[at + hidden]
        r, z, m, h_next[k] = gru_unit(zr, zz, zx[at + 2 * hidden], hn, h[k])
        gates[at] = r
        gates[at + hidden] = z
        gates[at + 2 * hidden] = m


@kernel("uuuuuuuuii")
def gru_back(dy, dstate, h, gates, inner, dz_ih, dz_hh, through, n, hidden):
    """dz of both sides, and the part of dh that passes z by."""
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < n * hidden:
        at = k // hidden * 3 * hidden + k % hidden
        dr, dz, dm, dn, passed = gru_slopes(
            dy[k] + dstate[k], h[k], gates[at], gates[at + hidden], gates[at + 2 * hidden], inner[k]
        )
        dz_ih[at] = dr
        dz_ih[at + hidden] = dz
        dz_ih[at + 2 * hidden] = dm
        dz_hh[at] = dr
        dz_hh[at + hidden] = dz
        dz_hh[at + 2 * hidden] = dn
        through[k] = passed


@kernel("uui", moved=lambda x, y, *sizes: x.nbytes + 2 * y.nbytes)
def add(x, y, n):
    """y += x."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        y[i] += x[i]
