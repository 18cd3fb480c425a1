"""Matrix products: c = act(a b + bias), by cuBLASLt where the device has it (`cublas.py`), else by the tiles here.

Tiles are 64 x 64, by blocks of 256 threads, 4 x 4 values a thread. A slice of 16 of the depth is in shared memory at a
time. Each matrix has a stride from row to row and from column to column, so that transposes cost no copy; the threads
load along whichever is 1, and neighbours read neighbours.
Multiply-adds: m n k; bytes read: 4 (m k n / 64 + k n m / 64).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .cublas_problem import epilogue_of
from .device import Array
from .dialect import cuda, device, i32, kernel, load4, real, real_dtype, store4
from .loops import destination

TILE, DEPTH, THREADS = 64, 16, 256
ROW = TILE + 4  # of a tile in shared memory: padded, so that its columns lie in different banks
BOUNDS = (THREADS, 2)  # two blocks on a multiprocessor, so that one computes while the other fetches
CODES = {None: 0, "relu": 1, "sigmoid": 2, "tanh": 3}


class Matrix(NamedTuple):
    """Matrices in an array: where they start, and the strides from row to row, column to column, matrix to matrix."""

    array: Array
    row: int
    column: int
    step: int = 0

    @property
    def transposed(self) -> Matrix:
        return Matrix(self.array, self.column, self.row, self.step)


def matrix(array: Array) -> Matrix:
    """The last two axes of an array as matrices, one after the other."""
    rows, columns = array.shape[-2:]
    return Matrix(array, columns, 1, rows * columns)


@device
def activate(value, code):
    """None, ReLU, sigmoid or tanh, by CODES."""
    if code == 1:
        return real(0) if value <= 0 else value
    if code == 2:
        e = math.exp(-abs(value))
        return (real(1) if value >= 0 else e) / (real(1) + e)
    if code == 3:
        return math.tanh(value)
    return value


@device
def activation_slope(dy, y, code):
    """dy act'(.) from y = act(.), by CODES."""
    if code == 1:
        return real(0) if y <= 0 else dy
    if code == 2:
        return dy * (y * (real(1) - y))
    return dy * (real(1) - y * y)


@device
def fetch(source, tile, first, line, column, base, lines, depth, depth0, wide, t):
    """64 lines by 16 of the depth, from line `first` and depth `depth0` on, as tile[depth][line]; 0 past the end.

    A thread takes four numbers that lie beside each other, at once where `wide`: all begin at a multiple of 16 bytes.
    """
    if column == 1:
        r = t // 4
        k = t % 4 * 4
        whole = wide and first + r < lines and depth0 + k + 4 <= depth
    else:
        r = t % 16 * 4
        k = t // 16
        whole = wide and first + r + 4 <= lines and depth0 + k < depth
    at = base + (first + r) * line + (depth0 + k) * column
    a, b, c, d = real(0), real(0), real(0), real(0)
    if whole:
        a, b, c, d = load4(source, at)
    elif column == 1 and first + r < lines:
        a = source[at] if depth0 + k < depth else a
        b = source[at + 1] if depth0 + k + 1 < depth else b
        c = source[at + 2] if depth0 + k + 2 < depth else c
        d = source[at + 3] if depth0 + k + 3 < depth else d
    elif column != 1 and depth0 + k < depth:
        a = source[at] if first + r < lines else a
        b = source[at + line] if first + r + 1 < lines else b
        c = source[at + 2 * line] if first + r + 2 < lines else c
        d = source[at + 3 * line] if first + r + 3 < lines else d
    if column == 1:
        tile[k * 68 + r] = a
        tile[(k + 1) * 68 + r] = b
        tile[(k + 2) * 68 + r] = c
        tile[(k + 3) * 68 + r] = d
    else:
        store4(tile, k * 68 + r, a, b, c, d)


@device
def multiply(tile_a, tile_b, sums, ty, tx):
    """Add the product of two tiles, 16 deep, to the 4 x 4 values of a thread."""
    for d in range(16):
        a0, a1, a2, a3 = load4(tile_a, i32(d * 68 + ty * 4))
        b0, b1, b2, b3 = load4(tile_b, i32(d * 68 + tx * 4))
        sums[0] += a0 * b0
        sums[1] += a0 * b1
        sums[2] += a0 * b2
        sums[3] += a0 * b3
        sums[4] += a1 * b0
        sums[5] += a1 * b1
        sums[6] += a1 * b2
        sums[7] += a1 * b3
        sums[8] += a2 * b0
        sums[9] += a2 * b1
        sums[10] += a2 * b2
        sums[11] += a2 * b3
        sums[12] += a3 * b0
        sums[13] += a3 * b1
        sums[14] += a3 * b2
        sums[15] += a3 * b3


@device
def put(bias, c, parts, at, column, n, inside, has_bias, code, splits, whole, v0, v1, v2, v3):
    """Four numbers of a row, finished, into c, or with splits into parts; registers must be named one by one."""
    if inside:
        if has_bias:
            v0 += bias[column] if column < n else real(0)
            v1 += bias[column + 1] if column + 1 < n else real(0)
            v2 += bias[column + 2] if column + 2 < n else real(0)
            v3 += bias[column + 3] if column + 3 < n else real(0)
        v0 = activate(v0, code)
        v1 = activate(v1, code)
        v2 = activate(v2, code)
        v3 = activate(v3, code)
        if splits > 1:
            four(parts, at, n - column, whole, v0, v1, v2, v3)
        else:
            four(c, at, n - column, whole, v0, v1, v2, v3)


@device
def four(target, at, left, whole, v0, v1, v2, v3):
    """Four numbers from `at` on, at once where that may be, else as many as are `left` of the row."""
    if whole:
        store4(target, at, v0, v1, v2, v3)
    else:
        if left > 0:
            target[at] = v0
        if left > 1:
            target[at + 1] = v1
        if left > 2:
            target[at + 2] = v2
        if left > 3:
            target[at + 3] = v3


@kernel("uupus" + 14 * "i", bounds=BOUNDS)
def product(
    a, b, bias, c, parts, m, n, k, a_row, a_column, a_step, b_row, b_column, b_step, c_step, has_bias, code, splits,
    wide,
):  # fmt: skip
    """One tile of c; with splits > 1 block z makes its share of the depth in parts, which `reduce` adds up.

    wide: the sum of 1 for a, 2 for b and 4 for c and parts whose numbers can be taken four at a time.
    """
    tile_a = cuda.shared.array(16 * 68, real, alignment=16)
    tile_b = cuda.shared.array(16 * 68, real, alignment=16)
    sums = cuda.local.array(16, real)
    t = cuda.threadIdx.x
    tx = t % 16
    ty = t // 16
    row0 = cuda.blockIdx.y * 64
    column0 = cuda.blockIdx.x * 64
    z = cuda.blockIdx.z // splits
    share = (k + splits * 16 - 1) // (splits * 16) * 16
    begin = cuda.blockIdx.z % splits * share
    end = min(begin + share, k)
    for i in range(16):
        sums[i] = real(0)
    for depth0 in range(begin, end, 16):
        fetch(a, tile_a, row0, a_row, a_column, z * a_step, m, end, depth0, wide & 1, t)
        fetch(b, tile_b, column0, b_column, b_row, z * b_step, n, end, depth0, wide & 2, t)
        cuda.syncthreads()
        multiply(tile_a, tile_b, sums, ty, tx)
        cuda.syncthreads()
    column = column0 + tx * 4
    row = row0 + ty * 4
    at = cuda.blockIdx.z * c_step + row * n + column
    whole = wide & 4 and column + 4 <= n
    put(bias, c, parts, at, column, n, row < m, has_bias, code, splits, whole, sums[0], sums[1], sums[2], sums[3])
    put(bias, c, parts, at + n, column, n, row + 1 < m, has_bias, code, splits, whole, sums[4], sums[5], sums[6],
        sums[7])  # fmt: skip
    put(bias, c, parts, at + 2 * n, column, n, row + 2 < m, has_bias, code, splits, whole, sums[8], sums[9], sums[10],
        sums[11])  # fmt: skip
    put(bias, c, parts, at + 3 * n, column, n, row + 3 < m, has_bias, code, splits, whole, sums[12], sums[13], sums[14],
        sums[15])  # fmt: skip


@kernel("spii")
def reduce(parts, c, size, count):
    """c = the sum of `count` arrays of `size` numbers, in their order."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < size:
        total = real(0)
        for j in range(count):
            total += parts[j * size + i]
        c[i] = total


@kernel("uuiiii", moved=lambda bias, c, *sizes: 2 * c.nbytes)
def finish(bias, c, n, size, has_bias, code):
    """c = act(c + bias) in place, four numbers a thread."""
    first = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * 4
    for i in range(first, min(first + 4, size)):
        value = c[i] + bias[i % n] if has_bias else c[i]
        c[i] = activate(value, code)


def gemm(a: Matrix, b: Matrix, c: Array, m: int, n: int, k: int, *, batch=1, bias=None, activation=None) -> Array:
    """c (batch, m, n) = act(a (batch, m, k) b (batch, k, n) + bias (n,)); c is written and returned."""
    if c.device.cublas is not None and _by_cublas(a, b, c, m, n, k, batch, bias, activation):
        return c
    return tiled(a, b, c, m, n, k, batch=batch, bias=bias, activation=activation)


def _by_cublas(a, b, c, m, n, k, batch, bias, activation) -> bool:
    """Whether cuBLASLt did it: at once, or the product alone and bias and activation in a pass of our own."""
    ask, epilogue = c.device.cublas.product, epilogue_of(bias is not None, activation)
    if epilogue is not None and ask(a, b, c, m, n, k, batch=batch, epilogue=epilogue, vector=bias):
        return True
    if epilogue == "DEFAULT" or not ask(a, b, c, m, n, k, batch=batch):
        return False
    finished(c, bias, activation)
    return True


def finished(c: Array, bias: Array | None, activation: str | None) -> Array:
    """c = act(c + bias) in place, with a bias for each of the last axis."""
    if bias is not None or activation is not None:
        grid = (-(-c.size // (4 * THREADS)), 1, 1)
        finish(grid, THREADS, bias, c, c.shape[-1], c.size, bias is not None, CODES[activation])
    return c


def tiled(a: Matrix, b: Matrix, c: Array, m: int, n: int, k: int, *, batch=1, bias=None, activation=None) -> Array:
    """`gemm` by our own tiles.

    A deep product of few tiles is cut along its depth, so that all of the GPU works; the parts are added in order.
    """
    tiles_x, tiles_y = -(-n // TILE), -(-m // TILE)
    splits = splits_of(tiles_x * tiles_y * batch, k) if bias is None and activation is None else 1
    parts = c.device.empty((splits, *c.shape), real_dtype(c.dtype)) if splits > 1 else None
    strides = (a.row, a.column, a.step, b.row, b.column, b.step)
    grid = (tiles_x, tiles_y, batch * splits)
    wide = _is_wide(a) + 2 * _is_wide(b) + 4 * _is_wide(Matrix(c if parts is None else parts, n, 1, m * n))
    product(grid, THREADS, a.array, b.array, bias, c, parts, m, n, k, *strides, m * n, bias is not None,
            CODES[activation], splits, wide)  # fmt: skip
    return reduced_parts(parts, out=c) if splits > 1 else c


def _is_wide(a: Matrix) -> bool:
    """Whether four numbers beside each other begin at multiples of their size in all of its rows, or columns."""
    between = a.row if a.column == 1 else a.column
    return 1 in (a.row, a.column) and between % 4 == a.step % 4 == a.array.pointer % (4 * a.array.dtype.itemsize) == 0


def room_for_parts(need, count: int, shape: tuple[int, ...], device_, dtype) -> tuple[Array, Array]:
    """(parts, out): room for the shares of a gradient, and its place (`destination`); for one share it is the same."""
    out = destination(need, shape, device_, dtype)
    if count == 1 and real_dtype(dtype) == dtype:
        return out.reshape((1, *shape)), out
    return device_.empty((count, *shape), real_dtype(dtype)), out


def reduced_parts(parts: Array, dtype: np.dtype | None = None, out: Array | None = None) -> Array:
    """The sum over the first axis, in its order, as a dtype (None: the parts'); into `out`, where it is given."""
    count, *shape = parts.shape
    dtype = parts.dtype if dtype is None else dtype
    if out is not None and out.pointer == parts.pointer:  # see `room_for_parts`
        return out
    if count == 1 and out is None and parts.dtype == dtype:
        return parts.reshape(tuple(shape))
    out = parts.device.empty(tuple(shape), dtype) if out is None else out
    reduce((-(-out.size // THREADS), 1, 1), THREADS, parts, out, out.size, count)
    return out


def splits_of(tiles: int, depth: int) -> int:
    """Into how many parts a depth is cut: for 128 blocks, of 256 of the depth at least."""
    return 1 if tiles >= 64 else max(1, min(128 // max(tiles, 1), depth // 256))
