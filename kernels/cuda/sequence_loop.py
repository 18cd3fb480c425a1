"""All steps of a recurrent layer in one launch, forward and back. Part of `sequence.py`, which calls it.

A block takes ROWS sequences and all their units through all steps, so that blocks need not wait for each other. The
states, or back the dz, lie in shared memory as [number][sequence]. A step multiplies them with W_hh: a thread makes
four columns for ROWS sequences over a share of the depth, reading four weights at a time beside its neighbours'. Then
each unit of each sequence adds up the shares, in their order, and does its gates. W_hh itself stays in global memory:
L1, which is the same memory as shared memory, holds of it what there is room for, and the rest comes from L2. State and
cell are of the dtype that kernels compute in from the first step to the last.
Bytes moved: each array once, states read and written.
"""

from __future__ import annotations

import numpy as np

from .array_views import ALIGNMENT
from .dialect import cuda, device, kernel, load4, real, store4
from .gates import gru_slopes, gru_unit, lstm_slopes, lstm_unit, rnn_slope
from .gemm import activate
from .loops import THREADS

ROWS = 4  # sequences of a block: one access of 16 bytes gives a number of each
BOUNDS = (THREADS, 2)
MOST_WEIGHTS = 1 << 16  # of W_hh: 128 units of an LSTM, 147 of a GRU, 256 of an RNN
MOST_READ = 10 << 20  # weights that all blocks together read in a step
MOST_PARTS = 8  # shares of the depth
UNITS = ROWS * 256  # numbers of states, and below of dz, shares, and of what is kept beside the states
SLOPES, SHARES, CELLS = ROWS * 512, ROWS * 4 * THREADS, ROWS * 152


def in_one_launch(weight_hh, batch: int) -> bool:
    """Whether a layer takes all its steps in one launch, rather than a product and a kernel of gates for each.

    A step by launches takes about 10 us however small it is. Here a block reads all of W_hh in a step, from L2 by some
    64 bytes a cycle: 256 KiB in about 3 us. All blocks together share what L2 gives, about 4 TB/s, or 40 MiB in 10 us.
    Beyond either the product, which reads W_hh once for many sequences, is better. Shared memory is too small for
    float64.
    """
    blocks = -(-batch // ROWS)
    small = 0 < weight_hh.size <= MOST_WEIGHTS and blocks * weight_hh.size <= MOST_READ
    return small and weight_hh.dtype.itemsize <= 4


@device
def multiply(state, weight, shares, quads, pitch, parts, t):
    """shares[part][sequence][column] = the sums over the quads part, part + parts, ... of the depth."""
    groups = pitch // 4
    part = t // groups
    if part < parts:
        sums = cuda.local.array(16, real)
        for i in range(16):
            sums[i] = real(0)
        column = t % groups * 4
        for quad in range(part, quads, parts):
            at = quad * 4 * pitch + column
            a0, a1, a2, a3 = load4(weight, at)
            b0, b1, b2, b3 = load4(weight, at + pitch)
            c0, c1, c2, c3 = load4(weight, at + 2 * pitch)
            d0, d1, d2, d3 = load4(weight, at + 3 * pitch)
            add_products(sums, state, quad * 16, a0, a1, a2, a3)
            add_products(sums, state, quad * 16 + 4, b0, b1, b2, b3)
            add_products(sums, state, quad * 16 + 8, c0, c1, c2, c3)
            add_products(sums, state, quad * 16 + 12, d0, d1, d2, d3)
        at = part * 4 * pitch + column
        store4(shares, at, sums[0], sums[1], sums[2], sums[3])
        store4(shares, at + pitch, sums[4], sums[5], sums[6], sums[7])
        store4(shares, at + 2 * pitch, sums[8], sums[9], sums[10], sums[11])
        store4(shares, at + 3 * pitch, sums[12], sums[13], sums[14], sums[15])


@device
def add_products(sums, state, at, w0, w1, w2, w3):
    """Add one number of each sequence times four weights."""
    h0, h1, h2, h3 = load4(state, at)
    sums[0] += h0 * w0
    sums[1] += h0 * w1
    sums[2] += h0 * w2
    sums[3] += h0 * w3
    sums[4] += h1 * w0
    sums[5] += h1 * w1
    sums[6] += h1 * w2
    sums[7] += h1 * w3
    sums[8] += h2 * w0
    sums[9] += h2 * w1
    sums[10] += h2 * w2
    sums[11] += h2 * w3
    sums[12] += h3 * w0
    sums[13] += h3 * w1
    sums[14] += h3 * w2
    sums[15] += h3 * w3


@device
def added(shares, row, column, pitch, parts):
    """The sum of the shares of a column of a sequence."""
    total = real(0)
    for part in range(parts):
        total += shares[(part * 4 + row) * pitch + column]
    return total


def _states_twice(*arguments) -> int:
    """Each array once, and once more the states, which are read and written."""
    return sum(getattr(each, "nbytes", 0) for each in (*arguments, *arguments[:2]))


@kernel("uuuulpuuuuiiiiiiiii", bounds=BOUNDS, moved=_states_twice)
def forward(h, c, zx, bias, walk, weight, rows, gates, kept, roots, steps, batch, hidden, quads, pitch, parts, has_bias,
            count, code):  # fmt: skip
    """count: how many gates there are, 4 LSTM, 3 GRU, 1 RNN. kept: c_t of an LSTM, W_hn h + b_hn of a GRU."""
    state = cuda.shared.array(UNITS, real, alignment=16)
    shares = cuda.shared.array(SHARES, real, alignment=16)
    cell = cuda.shared.array(CELLS, real)
    first = cuda.blockIdx.x * 4
    t = cuda.threadIdx.x
    for i in range(t, quads * 16, cuda.blockDim.x):
        inside = i // 4 < hidden and first + i % 4 < batch
        state[i] = h[(first + i % 4) * hidden + i // 4] if inside else real(0)
    if count == 4:
        for i in range(t, 4 * hidden, cuda.blockDim.x):
            cell[i] = c[first * hidden + i] if first + i // hidden < batch else real(0)
    cuda.syncthreads()
    for step in range(steps):
        running = walk[2 * step + 1] - first
        if running > 0:
            multiply(state, weight, shares, quads, pitch, parts, t)
            cuda.syncthreads()
            for i in range(t, min(running, 4) * hidden, cuda.blockDim.x):
                row = i // hidden
                unit = i % hidden
                line = walk[2 * step] + first + row
                at = line * count * hidden + unit
                k = line * hidden + unit
                z0 = added(shares, row, unit, pitch, parts) + (bias[unit] if has_bias else real(0))
                if count == 1:
                    value = activate(zx[at] + z0, code)
                else:
                    z1 = added(shares, row, unit + hidden, pitch, parts)
                    z2 = added(shares, row, unit + 2 * hidden, pitch, parts)
                    z1 += bias[unit + hidden] if has_bias else real(0)
                    z2 += bias[unit + 2 * hidden] if has_bias else real(0)
                    z0 += zx[at]
                    z1 += zx[at + hidden]
                    x2 = zx[at + 2 * hidden]
                    if count == 3:
                        kept[k] = z2
                        g0, g1, g2, value = gru_unit(z0, z1, x2, z2, state[unit * 4 + row])
                    else:
                        z3 = added(shares, row, unit + 3 * hidden, pitch, parts)
                        z3 += bias[unit + 3 * hidden] if has_bias else real(0)
                        g0, g1, g2, g3, new, root, value = lstm_unit(z0, z1, x2 + z2, zx[at + 3 * hidden] + z3, cell[i])
                        gates[at + 3 * hidden] = g3
                        cell[i] = new
                        kept[k] = new
                        roots[k] = root
                    gates[at] = g0
                    gates[at + hidden] = g1
                    gates[at + 2 * hidden] = g2
                state[unit * 4 + row] = value
                rows[k] = value
            cuda.syncthreads()
    for i in range(t, min(batch - first, 4) * hidden, cuda.blockDim.x):
        h[first * hidden + i] = state[i % hidden * 4 + i // hidden]
        if count == 4:
            c[first * hidden + i] = cell[i]


@kernel("uuulpuuuuuiiiiiiii", bounds=BOUNDS, moved=_states_twice)
def backward(dh, dc, dy, walk, weight, gates, before, kept, dz_ih, dz_hh, steps, batch, hidden, quads, pitch, parts,
             count, code):  # fmt: skip
    """before: c_(t-1) of an LSTM, h_(t-1) of a GRU. kept: tanh c_t, W_hn h + b_hn, h_t of an RNN. dz_ih: of a GRU."""
    slopes = cuda.shared.array(SLOPES, real, alignment=16)
    shares = cuda.shared.array(SHARES, real, alignment=16)
    state = cuda.shared.array(UNITS, real)  # dh, and below dc of an LSTM or what passes z of a GRU: each thread's own
    passed = cuda.shared.array(CELLS, real)
    first = cuda.blockIdx.x * 4
    t = cuda.threadIdx.x
    mine = min(batch - first, 4) * hidden
    for i in range(t, quads * 16, cuda.blockDim.x):
        slopes[i] = real(0)
    for i in range(t, mine, cuda.blockDim.x):
        state[i] = dh[first * hidden + i]
        if count == 4:
            passed[i] = dc[first * hidden + i]
    cuda.syncthreads()
    for step in range(steps - 1, -1, -1):
        running = min(walk[2 * step + 1] - first, 4)
        if running > 0:
            for i in range(t, running * hidden, cuda.blockDim.x):
                row = i // hidden
                unit = i % hidden
                line = walk[2 * step] + first + row
                at = line * count * hidden + unit
                k = line * hidden + unit
                place = unit * 4 + row
                g = dy[k] + state[i]
                if count == 1:
                    d0 = rnn_slope(g, kept[k], code)
                else:
                    g0 = gates[at]
                    g1 = gates[at + hidden]
                    g2 = gates[at + 2 * hidden]
                    if count == 3:
                        d0, d1, dn, d2, passed[i] = gru_slopes(g, before[k], g0, g1, g2, kept[k])
                        dz_ih[at] = d0
                        dz_ih[at + hidden] = d1
                        dz_ih[at + 2 * hidden] = dn
                    else:
                        d0, d1, d2, d3, passed[i] = lstm_slopes(g, passed[i], before[k], g0, g1, g2,
                                                                gates[at + 3 * hidden], kept[k])  # fmt: skip
                        dz_hh[at + 3 * hidden] = d3
                        slopes[place + 12 * hidden] = d3
                    dz_hh[at + hidden] = d1
                    dz_hh[at + 2 * hidden] = d2
                    slopes[place + 4 * hidden] = d1
                    slopes[place + 8 * hidden] = d2
                dz_hh[at] = d0
                slopes[place] = d0
            cuda.syncthreads()
            multiply(slopes, weight, shares, quads, pitch, parts, t)
            cuda.syncthreads()
            for i in range(t, running * hidden, cuda.blockDim.x):
                through = added(shares, i // hidden, i % hidden, pitch, parts)
                state[i] = through + passed[i] if count == 3 else through
    for i in range(t, mine, cuda.blockDim.x):
        dh[first * hidden + i] = state[i]
        if count == 4:
            dc[first * hidden + i] = passed[i]


@kernel("upiiiiii", moved=lambda x, y, *sizes: x.nbytes + y.nbytes)
def pack(x, y, rows, columns, row, column, pitch, n):
    """A matrix with these strides as rows of `pitch` numbers from multiples of 16 bytes on; 0 past its ends."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        r = i // pitch
        k = i % pitch
        y[i] = x[r * row + k * column] if r < rows and k < columns else real(0)


def _packed(weight, transposed: bool):
    """W_hh, or its transpose, whose sizes are multiples of 4."""
    rows, columns = weight.shape[::-1] if transposed else weight.shape
    row, column = (1, rows) if transposed else (columns, 1)
    if not transposed and rows % 4 == columns % 4 == weight.pointer % ALIGNMENT == 0:
        return weight
    packed = weight.device.empty((-(-rows // 4) * 4, -(-columns // 4) * 4), weight.dtype)
    grid = (-(-packed.size // THREADS), 1, 1)
    pack(grid, THREADS, weight, packed, rows, columns, row, column, packed.shape[1], packed.size)
    return packed


def _launch(weight, batch: int, hidden: int):
    """Grid, threads, and the sizes quads, pitch and parts of `multiply`."""
    quads, pitch = weight.shape[0] // 4, weight.shape[1]
    groups = pitch // 4
    parts = min(MOST_PARTS, quads, THREADS // groups)
    threads = min(THREADS, -(-max(parts * groups, ROWS * hidden) // 32) * 32)
    return (-(-batch // ROWS), 1, 1), threads, (quads, pitch, parts)


def _table(where):
    return where.device.constant(np.array(where.walk, np.int64))


def through_time(where, h, c, zx, weight_hh, bias, rows, gates=None, kept=None, roots=None, code=0):
    """All steps: fills rows, gates, kept and roots; h and c (None but for an LSTM) become those after the last step."""
    hidden = weight_hh.shape[1]
    weight = _packed(weight_hh, transposed=True)
    grid, threads, sizes = _launch(weight, where.batch, hidden)
    forward(grid, threads, h, c, zx, bias, _table(where), weight, rows, gates, kept, roots, len(where.walk),
            where.batch, hidden, *sizes, bias is not None, weight_hh.shape[0] // hidden, code)  # fmt: skip


def back_through_time(where, dh, dc, dy, weight_hh, gates, before, kept, dz_ih, dz_hh, code=0):
    """All steps from the last to the first: fills dz_ih and dz_hh; dh and dc become those before the first step."""
    hidden = weight_hh.shape[1]
    weight = _packed(weight_hh, transposed=False)
    grid, threads, sizes = _launch(weight, where.batch, hidden)
    backward(grid, threads, dh, dc, dy, _table(where), weight, gates, before, kept, dz_ih, dz_hh, len(where.walk),
             where.batch, hidden, *sizes, weight_hh.shape[0] // hidden, code)  # fmt: skip
