"""The arithmetic of recurrent gates, for cells and for the steps of sequences: a thread makes one unit of one row.

``zx`` (n, G Hd) is W_ih x + b_ih, ``zh`` W_hh h + b_hh. A row of the results lies ``pitch`` numbers behind the one
before. The equations stand in `kernels/reference/recurrent.py`. Bytes moved: each array once.
"""

from __future__ import annotations

import math

from .dialect import cuda, kernel, real
from .elementwise import sigmoid
from .gemm import activate
from .loops import THREADS


def grid(rows: int, hidden: int) -> tuple[int, int, int]:
    return -(-rows * hidden // THREADS), 1, 1


@kernel("uuuiii")
def rnn(zx, zh, h_next, n, hidden, code):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n * hidden:
        h_next[i] = activate(zx[i] + zh[i], code)


@kernel("uuuuii")
def rnn_back(dy, dstate, h_next, dz, n, code):
    """dz = (dy + dstate) act'(h'); dstate may be missing."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        h = h_next[i]
        g = dy[i] + dstate[i]
        dz[i] = (real(0) if h <= 0 else g) if code == 1 else g * (real(1) - h * h)


@kernel("uuuuuuuii")
def lstm(zx, zh, c, gates, c_next, tanh_c, h_next, n, hidden):
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < n * hidden:
        at = k // hidden * 4 * hidden + k % hidden
        i = sigmoid(zx[at] + zh[at])
        f = sigmoid(zx[at + hidden] + zh[at + hidden])
        g = math.tanh(zx[at + 2 * hidden] + zh[at + 2 * hidden])
        o = sigmoid(zx[at + 3 * hidden] + zh[at + 3 * hidden])
        value = f * c[k] + i * g
        root = math.tanh(value)
        gates[at] = i
        gates[at + hidden] = f
        gates[at + 2 * hidden] = g
        gates[at + 3 * hidden] = o
        c_next[k] = value
        tanh_c[k] = root
        h_next[k] = o * root


@kernel("uuuuuuuuii")
def lstm_back(dy, dstate, dc_next, c, gates, tanh_c, dz, dc, n, hidden):
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < n * hidden:
        at = k // hidden * 4 * hidden + k % hidden
        i = gates[at]
        f = gates[at + hidden]
        g = gates[at + 2 * hidden]
        o = gates[at + 3 * hidden]
        root = tanh_c[k]
        one = real(1)
        dh = dy[k] + dstate[k]
        whole = dc_next[k] + dh * o * (one - root * root)
        dz[at] = whole * g * (i * (one - i))
        dz[at + hidden] = whole * c[k] * (f * (one - f))
        dz[at + 2 * hidden] = whole * i * (one - g * g)
        dz[at + 3 * hidden] = dh * root * (o * (one - o))
        dc[k] = whole * f


@kernel("uuuuuuii")
def gru(zx, zh, h, gates, inner, h_next, n, hidden):
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < n * hidden:
        at = k // hidden * 3 * hidden + k % hidden
        r = sigmoid(zx[at] + zh[at])
        z = sigmoid(zx[at + hidden] + zh[at + hidden])
        hn = zh[at + 2 * hidden]
        m = math.tanh(zx[at + 2 * hidden] + r * hn)
        gates[at] = r
        gates[at + hidden] = z
        gates[at + 2 * hidden] = m
        inner[k] = hn
        h_next[k] = (real(1) - z) * m + z * h[k]


@kernel("uuuuuuuuii")
def gru_back(dy, dstate, h, gates, inner, dz_ih, dz_hh, through, n, hidden):
    """dz of both sides, and the part of dh that passes z by."""
    k = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if k < n * hidden:
        at = k // hidden * 3 * hidden + k % hidden
        r = gates[at]
        z = gates[at + hidden]
        m = gates[at + 2 * hidden]
        one = real(1)
        dh = dy[k] + dstate[k]
        dm = dh * (one - z) * (one - m * m)
        dzz = dh * (h[k] - m) * (z * (one - z))
        dzr = dm * inner[k] * (r * (one - r))
        dz_ih[at] = dzr
        dz_ih[at + hidden] = dzz
        dz_ih[at + 2 * hidden] = dm
        dz_hh[at] = dzr
        dz_hh[at + hidden] = dzz
        dz_hh[at + 2 * hidden] = dm * r
        through[k] = dh * z


@kernel("uui", moved=lambda x, y, *sizes: x.nbytes + 2 * y.nbytes)
def add(x, y, n):
    """y += x."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        y[i] += x[i]
