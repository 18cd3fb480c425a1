"""C = op(A) op(B), the product behind linear layers, convolutions and recurrent cells.

The blocking of Goto and van de Geijn (2008, "Anatomy of High-Performance Matrix Multiplication"):

- B is packed once into panels of `LANES * VECTORS` columns, so that a micro-kernel reads it front to back;
- C is cut into blocks, the jobs of the thread pool; a job walks along K in steps whose panel of B stays in L1;
- the micro-kernel `_multiply_tile` holds a `ROWS` x panel tile of C in registers and adds one rank-1 update per k.

A is read where it lies when its rows are contiguous and copied into panels when it is transposed. Tiles at the right and
lower edge go through a small buffer. Where C is small and K long, K is cut into a fixed number of chunks whose partial
products are added in order. Cutting depends on the shapes alone, so the bits do not depend on the number of threads.

For up to `FEW` rows (a batch of one, say) a matrix is better read once, in place: `_dot_rows`, `_combine_rows`, and
`_outer_rows` for the gradient of the weight.
"""

from __future__ import annotations

import numpy as np

from ..cython.threads import get_num_threads
from .jit import helper, jit, parallel_for
from .simd import ROWS, VECTORS, address, lanes, read, tile_add, tile_add_row, tile_outer, tile_relu, tile_store, tile_zero

BLOCK_ROWS = 96  # of C in a job: a multiple of every ROWS
BLOCK_COLUMNS = 256
PANEL_BYTES = 20 * 1024  # of B: with a stripe of A it fits in 32 KiB of L1
SERIAL_WORK = 1 << 16  # multiply-adds below which starting the pool costs more than it brings
CHUNK = 512  # of K, when C alone gives too few jobs
FEW = 4


def gemm(a, b, *, trans_a: bool = False, trans_b: bool = False, bias=None, relu: bool = False) -> np.ndarray:
    """relu(op(A) op(B) + bias) for C-contiguous matrices of one dtype; op transposes where asked."""
    m, k = a.shape[::-1] if trans_a else a.shape
    n = b.shape[0] if trans_b else b.shape[1]
    c = np.empty((m, n), a.dtype)
    bias = np.empty(0, a.dtype) if bias is None else bias
    if k == 0:
        c[:] = 0
        if bias.size:
            c += bias
        return np.where(c <= 0, 0, c).astype(c.dtype, copy=False) if relu else c
    if m <= FEW and not trans_a:
        (_dot_rows if trans_b else _combine_rows)(a, b, c, bias, relu)
    elif k <= FEW and trans_a and not trans_b:
        _outer_rows(a, b, c, bias, relu)
    else:
        _gemm(a, b, c, bias, trans_a, trans_b, relu, get_num_threads())
    return c


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
def pack_panel(panel, worker, b, trans_b, packed):
    """packed[panel, k, j] = op(B)[k, panel * width + j], zero beyond the last column."""
    depth, width = packed.shape[1], packed.shape[2]
    start = panel * width
    count = min(width, (b.shape[0] if trans_b else b.shape[1]) - start)
    zero = packed.dtype.type(0)
    if trans_b:
        for j in range(count):
            for k in range(depth):
                packed[panel, k, j] = b[start + j, k]
    else:
        for k in range(depth):
            for j in range(count):
                packed[panel, k, j] = b[k, start + j]
    if count < width:
        for k in range(depth):
            for j in range(count, width):
                packed[panel, k, j] = zero


@helper
def _pack_rows(a, a_row, a_step, rows, depth, panel):
    """Rows of A as a panel: panel[k * ROWS + i] = A[i, k], zero for rows that are not there."""
    for k in range(depth):
        for i in range(rows):
            panel[k * ROWS + i] = read(panel, a + i * a_row + k * a_step)
        for i in range(rows, ROWS):
            panel[k * ROWS + i] = 0


@helper
def _multiply_tile(a, a_row, a_step, b, b_step, depth, like):
    """sum over k of A[:, k] B[k, :] for a tile, in registers."""
    tile = tile_zero(ROWS, VECTORS, like)
    for k in range(depth):
        tile = tile_outer(tile, a + k * a_step, a_row, b + k * b_step)
    return tile


@helper
def _copy_edge(edge, rows, columns, c, row, column, out):
    """Move the part of an edge tile that lies within C out of the buffer, or into it."""
    for i in range(rows):
        for j in range(columns):
            if out:
                c[row + i, column + j] = edge[i, j]
            else:
                edge[i, j] = c[row + i, column + j]


@helper
def multiply_block(a, a_row, a_step, a_panel, rows, b, b_step, b_panel, depth, c, row, column, columns, first, last, bias,
                   relu, panel, edge):  # fmt: skip
    """c[row : row + rows, column : column + columns] (+)= A B, within cache.

    `a` is the address of A[0, 0], its rows `a_row` and its columns `a_step` bytes apart; the next ROWS rows lie
    `a_panel` further. `b` is the address of a panel of B, whose rows are `b_step` bytes apart; the next panel lies
    `b_panel` further. `first` overwrites C, else the product is added; `last` adds the bias (padded to whole panels,
    or empty) and applies ReLU. `panel` (depth * ROWS) and `edge` (ROWS, width) are scratch.
    """
    width = lanes(c) * VECTORS
    whole = rows // ROWS * ROWS
    in_place = a_panel == ROWS * a_row
    if whole < rows and in_place:
        _pack_rows(a + whole * a_row, a_row, a_step, rows - whole, depth, panel)
    for j in range(0, columns, width):
        from_b = b + (j // width) * b_panel
        for i in range(0, rows, ROWS):
            from_a, row_stride, step = a + (i // ROWS) * a_panel, a_row, a_step
            if i >= whole and in_place:
                from_a, row_stride, step = address(panel, (0,)), c.itemsize, ROWS * c.itemsize
            inside = i < whole and j + width <= columns
            to, to_row = address(c, (row + i, column + j)), c.strides[0]
            if not inside:
                to, to_row = address(edge, (0, 0)), width * c.itemsize
                if not first:
                    _copy_edge(edge, min(ROWS, rows - i), min(width, columns - j), c, row + i, column + j, False)
            tile = _multiply_tile(from_a, row_stride, step, from_b, b_step, depth, c)
            if not first:
                tile = tile_add(tile, to, to_row)
            if last and bias.size:
                tile = tile_add_row(tile, address(bias, (column + j,)))
            if last and relu:
                tile = tile_relu(tile)
            tile_store(tile, to, to_row)
            if not inside:
                _copy_edge(edge, min(ROWS, rows - i), min(width, columns - j), c, row + i, column + j, True)


@helper
def _pack_stripe(a, a_row, a_step, rows, depth, stripe):
    """A block of A as panels of ROWS rows, one behind the other."""
    for i in range(0, rows, ROWS):
        _pack_rows(a + i * a_row, a_row, a_step, min(ROWS, rows - i), depth, stripe[i * depth :])


@helper
def _block_job(job, worker, a, packed, partial, bias, trans_a, relu, block, chunk, stripes, panels, edges):
    """One block of C over one chunk of K."""
    m, n, k = partial.shape[1], partial.shape[2], packed.shape[1]
    size, width = packed.itemsize, packed.shape[2]
    across = -(-n // block[1])
    piece, place = divmod(job, -(-m // block[0]) * across)
    row, column = place // across * block[0], place % across * block[1]
    rows, columns = min(block[0], m - row), min(block[1], n - column)
    start, stop = piece * chunk, min(k, (piece + 1) * chunk)
    step = panel_depth(packed, stop - start)
    c, stripe, panel, edge = partial[piece], stripes[worker], panels[worker], edges[worker]
    for k0 in range(start, stop, step):
        depth = min(step, stop - k0)
        if trans_a:
            _pack_stripe(address(a, (k0, row)), size, a.strides[0], rows, depth, stripe)
            from_a, a_row, a_step, a_panel = address(stripe, (0,)), size, ROWS * size, depth * ROWS * size
        else:
            from_a, a_row, a_step, a_panel = address(a, (row, k0)), a.strides[0], size, a.strides[0] * ROWS
        multiply_block(from_a, a_row, a_step, a_panel, rows, address(packed, (column // width, k0, 0)), width * size,
                       packed.strides[0], depth, c, row, column, columns, k0 == start,
                       k0 + depth == stop and partial.shape[0] == 1, bias, relu, panel, edge)  # fmt: skip


@helper
def add_partials(row, worker, partial, c, bias, relu):
    """c[row] = the partial products added in order, then bias and ReLU."""
    zero = c.dtype.type(0)
    for j in range(c.shape[1]):
        value = partial[0, row, j]
        for piece in range(1, partial.shape[0]):
            value += partial[piece, row, j]
        if bias.size:
            value += bias[j]
        if relu and value <= zero:
            value = zero
        c[row, j] = value


@helper
def _plan(m, n, k, width):
    """(rows, columns) of a block and length of a chunk of K: about a dozen jobs, from the shapes alone."""
    rows, columns, chunk = BLOCK_ROWS, BLOCK_COLUMNS, k
    while -(-m // rows) * -(-n // columns) < 8 and columns > 2 * width:
        columns //= 2
    while -(-m // rows) * -(-n // columns) < 8 and rows > 24:
        rows //= 2
    if -(-m // rows) * -(-n // columns) < 8 and k >= 2 * CHUNK:
        chunk = even_step(k, CHUNK)
    return (rows, columns), chunk


@jit
def _gemm(a, b, c, bias, trans_a, trans_b, relu, workers):
    m, n = c.shape
    k = a.shape[0] if trans_a else a.shape[1]
    width = lanes(c) * VECTORS
    block, chunk = _plan(m, n, k, width)
    pieces = -(-k // chunk)
    depth = panel_depth(c, chunk)
    packed = np.empty((-(-n // width), k, width), c.dtype)
    partial = np.empty((pieces, m, n), c.dtype) if pieces > 1 else c.reshape(1, m, n)
    stripes = np.empty((workers, (BLOCK_ROWS + ROWS) * depth if trans_a else 0), c.dtype)
    panels = np.empty((workers, ROWS * depth), c.dtype)
    edges = np.empty((workers, ROWS, width), c.dtype)
    arguments = (a, packed, partial, bias, trans_a, relu, block, chunk, stripes, panels, edges)
    jobs = pieces * -(-m // block[0]) * -(-n // block[1])
    serial = m * n * k < SERIAL_WORK
    parallel_for(pack_panel, packed.shape[0], (b, trans_b, packed), serial)
    parallel_for(_block_job, jobs, arguments, serial)
    if pieces > 1:
        parallel_for(add_partials, m, (partial, c, bias, relu), False)


@jit(fastmath={"reassoc", "contract"})
def _dot_rows(a, b, c, bias, relu):
    """c[m, n] = relu(a[m] . b[n] + bias[n]): each row of B is read once."""
    per_job = max(1, SERIAL_WORK // max(1, a.shape[0] * a.shape[1]))
    parallel_for(_dot_job, -(-b.shape[0] // per_job), (a, b, c, bias, relu, per_job), False)


@helper(fastmath={"reassoc", "contract"})
def _dot_job(job, worker, a, b, c, bias, relu, per_job):
    zero = c.dtype.type(0)
    for n in range(job * per_job, min(b.shape[0], (job + 1) * per_job)):
        for m in range(a.shape[0]):
            value = zero
            for k in range(a.shape[1]):
                value += a[m, k] * b[n, k]
            if bias.size:
                value += bias[n]
            if relu and value <= zero:
                value = zero
            c[m, n] = value


@jit
def _combine_rows(a, b, c, bias, relu):
    """c[m] = relu(sum over k of a[m, k] b[k] + bias): columns of B are the jobs."""
    per_job = max(64, SERIAL_WORK // max(1, b.shape[0] * a.shape[0]))
    parallel_for(_combine_job, -(-b.shape[1] // per_job), (a, b, c, bias, relu, per_job), False)


@helper
def _combine_job(job, worker, a, b, c, bias, relu, per_job):
    zero = c.dtype.type(0)
    start, stop = job * per_job, min(b.shape[1], (job + 1) * per_job)
    for m in range(a.shape[0]):
        for n in range(start, stop):
            c[m, n] = bias[n] if bias.size else zero
        for k in range(b.shape[0]):
            factor = a[m, k]
            for n in range(start, stop):
                c[m, n] += factor * b[k, n]
        if relu:
            for n in range(start, stop):
                if c[m, n] <= zero:
                    c[m, n] = zero


@jit
def _outer_rows(a, b, c, bias, relu):
    """c = relu(A^T B + bias) for few rows in A and B: C is written once, row by row."""
    per_job = max(1, SERIAL_WORK // max(1, b.shape[0] * b.shape[1]))
    parallel_for(_outer_job, -(-a.shape[1] // per_job), (a, b, c, bias, relu, per_job), False)


@helper
def _outer_job(job, worker, a, b, c, bias, relu, per_job):
    zero = c.dtype.type(0)
    for m in range(job * per_job, min(a.shape[1], (job + 1) * per_job)):
        for n in range(c.shape[1]):
            value = bias[n] if bias.size else zero
            for k in range(a.shape[0]):
                value += a[k, m] * b[k, n]
            c[m, n] = zero if relu and value <= zero else value
