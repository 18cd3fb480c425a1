"""C = op(A) op(B), the product behind linear layers, convolutions and recurrent cells.

The blocking of Goto and van de Geijn (2008, "Anatomy of High-Performance Matrix Multiplication"):

- B is packed once into panels of `LANES * VECTORS` columns, so that a micro-kernel reads it front to back;
- C is cut into blocks, the jobs of the thread pool; a job walks along K in steps whose panel of B stays in L1;
- the micro-kernel `_multiply_tile` holds a `ROWS` x panel tile of C in registers and adds one rank-1 update per k.

A is read where it lies when its rows are contiguous, else copied into panels. Tiles at the right and
lower edge go through a small buffer. Where C is small and K long, K is cut into a fixed number of chunks whose partial
products are added in order. Cutting depends on the shapes alone, so the bits do not depend on the number of threads.

For up to `FEW` rows (a batch of one, say) see `skinny`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .. import destination
from ..memory import empty, zeros
from .jit import JOB, SERIAL_WORK, TAIL, TILE, contiguous, helper, jit, parallel_for, scratch
from .simd import (
    REGISTER_BYTES,
    ROWS,
    VECTORS,
    address,
    copy_bytes,
    lanes,
    read,
    tile_add,
    tile_add_row,
    tile_outer,
    tile_relu,
    tile_store,
    tile_zero,
    zero_bytes,
)
from .skinny import FEW, combine_rows, dot_rows, outer_rows
from .vector import transpose_block, transpose_part

BLOCK_ROWS = 96  # of C in a job: a multiple of every ROWS
BLOCK_COLUMNS = 256
PANEL_BYTES = 20 * 1024  # of B: with a stripe of A it fits in 32 KiB of L1
CHUNK = 512  # of K, when C alone gives too few jobs
MIN_JOBS = 8
SUMS = 16  # partial sums of a column, at most
SUM_ROWS = 64  # added in one sum: the errors grow with the number of sums


def gemm(a, b, *, trans_a: bool = False, trans_b: bool = False, bias=None, relu: bool = False, into=True):
    """relu(op(A) op(B) + bias) for C-contiguous matrices of one dtype; op transposes where asked.

    `into` is a flag of ``needs``: where it names a place for a gradient, the product is written there.
    """
    m, k = a.shape[::-1] if trans_a else a.shape
    n = b.shape[0] if trans_b else b.shape[1]
    c = destination(into, (m, n), a.dtype)
    if k == 0:  # an empty batch: no transposing of nothing
        a, trans_a = a.reshape(m, 0), False
    path = product_path(m, n, k, trans_a, trans_b)
    if path in ("dots", "combine"):
        bias = _NO_BIAS[a.dtype] if bias is None else contiguous(bias)
        (dot_rows if path == "dots" else combine_rows)(a, b, c, bias, relu)
    elif path == "outer" and bias is None and not relu:
        outer_rows(a, b, c)
    else:
        block, chunk, pieces, width = _plan(m, n, k, a.itemsize)
        packed = empty((-(-n // width), k, width), a.dtype)
        partial = empty((pieces, m, n), a.dtype) if pieces > 1 else c.reshape(1, m, n)
        _gemm(a, b, c, packed, partial, padded_bias(bias, n, a), trans_a, trans_b, relu, block, chunk)
    return c


def product_path(m: int, n: int, k: int, a_transposed: bool = False, b_transposed: bool = False) -> str:
    """How C (m, n) = op(A) op(B) is done: in "blocks", or for few rows by "dots", "combine" or "outer" (`skinny`)."""
    if (m <= FEW or k == 0) and not a_transposed:
        return "dots" if b_transposed else "combine"
    return "outer" if k <= FEW and a_transposed and not b_transposed else "blocks"


@lru_cache(maxsize=4096)
def _plan(m, n, k, itemsize):
    """Rows and columns of a block, length and number of the chunks of K, width of a panel: from the shapes alone."""
    width = panel_width(itemsize)
    rows, columns, chunk = BLOCK_ROWS, BLOCK_COLUMNS, k
    while -(-m // rows) * -(-n // columns) < MIN_JOBS and columns > 2 * width:
        columns //= 2
    while -(-m // rows) * -(-n // columns) < MIN_JOBS and rows > 24:
        rows //= 2
    if -(-m // rows) * -(-n // columns) < MIN_JOBS and k >= 2 * CHUNK:
        chunk = -(-k // -(-k // CHUNK))
    return (rows, columns), chunk, -(-k // chunk), width


def panel_width(itemsize: int) -> int:
    """Columns of a packed panel."""
    return REGISTER_BYTES // itemsize * VECTORS


_NO_BIAS = {np.dtype(kind): empty(0, kind) for kind in (np.float32, np.float64)}


def padded_bias(bias, size, like) -> np.ndarray:
    """A bias that whole panels can be read from, empty for None."""
    if bias is None:
        return _NO_BIAS[like.dtype]
    padded = zeros(size + 2 * REGISTER_BYTES, like.dtype)
    padded[:size] = bias
    return padded


@helper
def even_step(size, most):
    """`size` cut into equal steps of at most `most`: the length of a step."""
    pieces = max(1, -(-size // most))
    return max(1, -(-size // pieces))


@helper
def panel_depth(like, depth):
    """Steps along K for which a panel of B stays in L1."""
    return even_step(depth, PANEL_BYTES // (lanes(like) * VECTORS * like.itemsize))


@helper
def pack_turned(like, place, row, rows, depth, to, width):
    """to[k, j] = the number k of row j at `place`, rows `row` bytes apart, k < depth; zero for rows from `rows` on."""
    step, size = lanes(like), like.itemsize
    for j in range(0, width, step):
        there = min(step, rows - j)
        for k in range(0, depth, step):
            columns, start, target = min(step, depth - k), place + j * row + k * size, to + (k * width + j) * size
            if there == step and columns == step:
                transpose_block(like, start, row, target, width * size)
            else:
                transpose_part(like, start, row, there, columns, target, width * size)


@helper
def pack_panel(panel, worker, b, trans_b, packed):
    """packed[panel, k, j] = op(B)[k, panel * width + j], zero beyond the last column."""
    depth, width, size = packed.shape[1], packed.shape[2], packed.itemsize
    start = panel * width
    count = min(width, (b.shape[0] if trans_b else b.shape[1]) - start)
    target = packed[panel]
    if trans_b:
        pack_turned(packed, address(b, (start, 0)), b.strides[0], count, depth, address(target, (0, 0)), width)
        return
    for k in range(depth):
        copy_bytes(address(target, (k, 0)), address(b, (k, start)), count * size)
        zero_bytes(address(target, (k, count)), (width - count) * size)


@helper
def _pack_rows(a, a_row, a_step, rows, depth, panel):
    """Rows of A as a panel: panel[k * ROWS + i] = A[i, k], zero for rows that are not there."""
    for k in range(depth):
        for i in range(rows):
            panel[k * ROWS + i] = read(panel, a + i * a_row + k * a_step)
        for i in range(rows, ROWS):
            panel[k * ROWS + i] = 0


@helper
def _multiply_tile(tile, a, a_row, a_step, b, b_step, depth, to, to_row, first, bias, relu):
    """A tile at `to` (+)= sum over k of A[:, k] B[k, :], in registers; the bias's address is 0 for none."""
    for k in range(depth):
        tile = tile_outer(tile, a + k * a_step, a_row, b + k * b_step)
    if not first:
        tile = tile_add(tile, to, to_row)
    if bias:
        tile = tile_add_row(tile, bias)
    if relu:
        tile = tile_relu(tile)
    tile_store(tile, to, to_row)


@helper
def _copy_edge(edge, rows, columns, c, row, column, out):
    """Move the part of an edge tile that lies within C out of the buffer, or into it."""
    for i in range(rows):
        inside, outside = address(edge, (i, 0)), address(c, (row + i, column))
        to, start = (outside, inside) if out else (inside, outside)
        copy_bytes(to, start, columns * c.itemsize)


@helper
def multiply_block(a, a_row, a_step, a_panel, rows, b, b_step, b_panel, depth, c, row, column, columns, first, last,
                   bias, relu):  # fmt: skip
    """c[row : row + rows, column : column + columns] (+)= A B, within cache.

    `a` is the address of A[0, 0], its rows `a_row` and its columns `a_step` bytes apart; the next ROWS rows lie
    `a_panel` further. `b` is the address of a panel of B, whose rows are `b_step` bytes apart; the next panel lies
    `b_panel` further. `first` overwrites C, else the product is added; `last` adds the bias (padded to whole panels,
    or empty) and applies ReLU. Where one register holds the columns that are left, the tile is as narrow.
    """
    width = lanes(c) * VECTORS
    whole = rows // ROWS * ROWS
    in_place = a_panel == ROWS * a_row
    edge, panel = scratch(c, TILE, (ROWS, width)), scratch(c, TAIL, (depth * ROWS,))
    if whole < rows and in_place:
        _pack_rows(a + whole * a_row, a_row, a_step, rows - whole, depth, panel)
    for j in range(0, columns, width):
        from_b, narrow = b + (j // width) * b_panel, columns - j <= lanes(c)
        from_bias = address(bias, (column + j,)) if last and bias.size else 0
        for i in range(0, rows, ROWS):
            from_a, row_stride, step = a + (i // ROWS) * a_panel, a_row, a_step
            if i >= whole and in_place:
                from_a, row_stride, step = address(panel, (0,)), c.itemsize, ROWS * c.itemsize
            inside = i < whole and j + (lanes(c) if narrow else width) <= columns
            to, to_row = address(c, (row + i, column + j)), c.strides[0]
            if not inside:
                to, to_row = address(edge, (0, 0)), width * c.itemsize
                if not first:
                    _copy_edge(edge, min(ROWS, rows - i), min(width, columns - j), c, row + i, column + j, False)
            if narrow:
                _multiply_tile(tile_zero(ROWS, 1, c), from_a, row_stride, step, from_b, b_step, depth, to, to_row,
                               first, from_bias, last and relu)  # fmt: skip
            else:
                _multiply_tile(tile_zero(ROWS, VECTORS, c), from_a, row_stride, step, from_b, b_step, depth, to, to_row,
                               first, from_bias, last and relu)  # fmt: skip
            if not inside:
                _copy_edge(edge, min(ROWS, rows - i), min(width, columns - j), c, row + i, column + j, True)


@helper
def _pack_stripe(a, a_row, a_step, rows, depth, stripe):
    """A block of A as panels of ROWS rows, one behind the other."""
    for i in range(0, rows, ROWS):
        _pack_rows(a + i * a_row, a_row, a_step, min(ROWS, rows - i), depth, stripe[i * depth :])


@helper
def block_job(job, worker, a, packed, partial, bias, trans_a, relu, block, chunk):
    """One block of C over one chunk of K."""
    m, n, k = partial.shape[1], partial.shape[2], packed.shape[1]
    size, width = packed.itemsize, packed.shape[2]
    across = -(-n // block[1])
    piece, place = divmod(job, -(-m // block[0]) * across)
    row, column = place // across * block[0], place % across * block[1]
    rows, columns = min(block[0], m - row), min(block[1], n - column)
    start, stop = piece * chunk, min(k, (piece + 1) * chunk)
    step = panel_depth(packed, stop - start)
    c, stripe = partial[piece], scratch(packed, JOB, ((BLOCK_ROWS + ROWS) * step,))
    for k0 in range(start, stop, step):
        depth = min(step, stop - k0)
        from_a, a_row, a_step, a_panel = address(a, (row, k0)), a.strides[0], size, a.strides[0] * ROWS
        if trans_a:
            _pack_stripe(address(a, (k0, row)), size, a.strides[0], rows, depth, stripe)
            from_a, a_row, a_step, a_panel = address(stripe, (0,)), size, ROWS * size, depth * ROWS * size
        multiply_block(from_a, a_row, a_step, a_panel, rows, address(packed, (column // width, k0, 0)), width * size,
                       packed.strides[0], depth, c, row, column, columns, k0 == start,
                       k0 + depth == stop and partial.shape[0] == 1, bias, relu)  # fmt: skip


@helper
def add_partials(row, worker, partial, c, bias, relu):
    """c[row] = the partial products added in order, then bias and ReLU."""
    zero = c.dtype.type(0)
    for j in range(c.shape[1]):
        value = np.float64(partial[0, row, j])
        for piece in range(1, partial.shape[0]):
            value += partial[piece, row, j]
        if bias.size:
            value += bias[j]
        if relu and value <= zero:
            value = zero
        c[row, j] = value


@jit
def _gemm(a, b, c, packed, partial, bias, trans_a, trans_b, relu, block, chunk):
    m, n = c.shape
    serial = m * n * packed.shape[1] < SERIAL_WORK
    jobs = partial.shape[0] * -(-m // block[0]) * -(-n // block[1])
    parallel_for(pack_panel, packed.shape[0], (b, trans_b, packed), serial)
    parallel_for(block_job, jobs, (a, packed, partial, bias, trans_a, relu, block, chunk), serial)
    if partial.shape[0] > 1:
        parallel_for(add_partials, m, (partial, c, bias, relu), serial)


def sum_rows(rows) -> np.ndarray:
    """The sum of the rows of a contiguous matrix: fixed blocks of rows, added in order, by jobs that are added then."""
    if rows.shape[0] == 1:
        return rows[0].copy()
    total = empty((1, rows.shape[1]), rows.dtype)
    per_job = max(64, -(-rows.shape[0] // SUMS))
    partial = empty((max(1, -(-rows.shape[0] // per_job)), 2, rows.shape[1]), rows.dtype)
    _sum_rows(rows, per_job, partial, total)
    return total[0]


def bias_gradient(dz, wanted: bool) -> np.ndarray | None:
    """dbias = the sum of dz (N, P, Q, K) over all pixels, None where it is not wanted."""
    return sum_rows(dz.reshape(-1, dz.shape[3])) if wanted else None


@helper
def _sum_job(job, worker, rows, per_job, partial):
    """partial[job, 0] = the sum of some rows; partial[job, 1] is room for that of a block."""
    stop = min(rows.shape[0], (job + 1) * per_job)
    for j in range(rows.shape[1]):
        partial[job, 0, j] = 0
    for start in range(job * per_job, stop, SUM_ROWS):
        for j in range(rows.shape[1]):
            partial[job, 1, j] = 0
        for i in range(start, min(stop, start + SUM_ROWS)):
            for j in range(rows.shape[1]):
                partial[job, 1, j] += rows[i, j]
        for j in range(rows.shape[1]):
            partial[job, 0, j] += partial[job, 1, j]


@jit
def _sum_rows(rows, per_job, partial, total):
    parallel_for(_sum_job, partial.shape[0], (rows, per_job, partial), rows.size < SERIAL_WORK)
    add_partials(0, 0, partial, total, total[0, :0], False)
