"""Winograd's minimal filtering F(4x4, 3x3): 36 multiplications for 4 x 4 outputs that need 144 the direct way.

With the interpolation points 0, 1, -1, 2, -2 and infinity a tile of output is

    Y = A^T [ (G g G^T) * (B^T d B) ] A

where d is a 6 x 6 tile of the image (tiles overlap by two), g the 3 x 3 kernel and * the elementwise product. Summed
over channels, each of the 36 elements, here called *points*, is a matrix product of its own:

    M[point] (tiles, K) = V[point] (tiles, C) U[point] (C, K)

- forward: V from x, U from the weights, Y = A^T M A;
- dx: the same with dy for x and the kernels flipped;
- dweight: dU[point] (K, C) = Z[point]^T (K, tiles) V[point] (tiles, C) with Z = A dY A^T, then dg = G^T dU G.

A job makes some tiles of some channels of Y: all 36 points, so that M never leaves its cache. Where a job makes all
channels of its tiles, V is transformed in the job; where it meets all tiles, U is; else jobs share what was transformed
before. Rounding error is about ten times that of the direct method: the transforms add numbers of mixed size.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1 and 4.3.
"""

from __future__ import annotations

import numpy as np

from ..conv_methods import Geometry, output_shape
from ..memory import empty, zeros
from .gemm import bias_gradient, panel_width
from .jit import JOB, PRODUCT, SERIAL_WORK, TAIL, TILE, helper, jit, parallel_for, scratch
from .simd import REGISTER_BYTES, ROWS, VECTORS, address, lanes, tile_add, tile_outer, tile_store, tile_zero, zero_bytes
from .vector import transpose_block
from .winograd_points import POINTS, STEP, data_points, filter_points, gradient_points, kernel_taps, output_pixels

LOCAL_BYTES = 320 << 10  # of V and M that a job may hold, less than the L2 cache of a core
FEW_TILES = 60  # up to this a job takes all, and transforms the weights of its channels
MIN_TILES = 12  # of a job that makes all channels: fewer would not pay for streaming U
SHARED_TILES = 36  # of the other jobs
DEPTH = 64  # of U that a job transforms at a time
GRADIENT_ROWS = 48  # of dU in a job that finishes them, a multiple of every ROWS
BAND_BYTES = 3 << 20  # of V and Z together, where dU is summed over bands
MIN_BAND = 48  # tiles
PAD = 128  # bytes after each point: spreads the points over the sets of the caches


def forward(x, weight, bias, relu, geometry: Geometry) -> np.ndarray:
    """y = act(x * w + b)."""
    shape = output_shape(x.shape, weight.shape, geometry)
    top, _, left, _ = geometry.padding
    return _run(x, weight, False, (-top, -left), bias, shape, relu)


def input_gradient(dz, weight, shape, geometry: Geometry) -> np.ndarray:
    """dx: dz convolved with the flipped kernels, padded by what the kernel reaches beyond the padding."""
    top, _, left, _ = geometry.padding
    return _run(dz, weight, True, (top - 2, left - 2), None, shape, False)


def weight_gradient(dz, x, shape, geometry: Geometry, with_bias: bool):
    """dweight and, where wanted, dbias."""
    dbias = bias_gradient(dz, with_bias)
    width, pad = panel_width(dz.itemsize), PAD // dz.itemsize
    given, taken = (_rounded(count, width // VECTORS) for count in (dz.shape[3], x.shape[3]))
    tiles = _tiles(dz.shape)
    if tiles == 0:
        return zeros(shape, dz.dtype), dbias
    dweight = empty(shape, dz.dtype)
    band, rows, panels, points = _gradient_plan(tiles, given, taken, width, dz.itemsize)
    v, z = (empty((POINTS, band + 1, channels + pad), dz.dtype) for channels in (taken, given))
    blocks = 0 if points == POINTS else -(-given // ROWS)
    du = empty((blocks, -(-taken // width), POINTS, ROWS * width + pad), dz.dtype)
    top, _, left, _ = geometry.padding
    _correlate(x, dz, (-top, -left), v, z, du, dweight, tiles, band, rows, panels, points)
    return dweight, dbias


def _gradient_plan(tiles, given, taken, width, itemsize):
    """Tiles of a band; what a job makes of dU: blocks of rows, panels, points."""
    if given * taken >= tiles * (given + taken):
        return _rounded(tiles, ROWS), GRADIENT_ROWS // ROWS, 2, POINTS
    most = max(MIN_BAND, BAND_BYTES // (POINTS * itemsize * (given + taken)))
    bands = -(-tiles // most)
    return _rounded(-(-tiles // bands), ROWS), 2 * GRADIENT_ROWS // ROWS, -(-taken // width), 1


def _tiles(image):
    return image[0] * -(-image[1] // 4) * -(-image[2] // 4)


def _run(source, weight, flip, origin, bias, shape, relu):
    """y = act(source * weight + bias); `origin` is the place of the first tile of the source."""
    weight, width, y = _in_registers(weight), panel_width(source.itemsize), empty(shape, source.dtype)
    padded = zeros(_rounded(shape[3], width), y.dtype)
    if bias is not None:
        padded[: bias.size] = bias
    depth, panels = _rounded(source.shape[3], width // VECTORS), -(-shape[3] // width)
    tiles, pad = _tiles(shape), PAD // y.itemsize
    (group, share, wide), own_v, own_u = _plan(tiles, depth, panels, width * y.itemsize, y.itemsize)
    v = empty((0 if own_v else -(-tiles // ROWS), POINTS, ROWS * depth + pad), y.dtype)
    u = empty((0 if own_u else panels, POINTS, depth * width + pad), y.dtype)
    _convolve(source, weight, flip, origin, padded, relu, y, v, u, tiles, depth, group, share, wide)
    return y


def _plan(tiles, depth, panels, m_row, itemsize):
    """(tiles and panels of a job, panels at a time), and whether a job transforms V and U itself."""
    if tiles <= FEW_TILES:
        return (max(ROWS, _rounded(tiles, ROWS)), 1, 1), False, True
    fit = LOCAL_BYTES // (POINTS * (m_row + depth * itemsize)) // ROWS * ROWS
    if fit >= MIN_TILES:
        return (_rounded(-(-tiles // max(2, -(-tiles // fit))), ROWS), panels, 1), True, False
    return (SHARED_TILES, 2, 2), False, False


def _in_registers(weight):
    """The weights, or a copy with zeros behind both kinds of channels, so that each fills whole registers."""
    step, (k, r, s, c) = REGISTER_BYTES // weight.itemsize, weight.shape
    if k % step == 0 == c % step:
        return weight
    whole = zeros((_rounded(k, step), r, s, _rounded(c, step)), weight.dtype)
    whole[:k, ..., :c] = weight
    return whole


def _rounded(size, step):
    return -(-size // step) * step


@helper
def _filter_panel(weight, flip, panel, first, count, to, plane):
    """U = G g G^T for one panel of output channels and `count` input channels from `first` on."""
    size, step, width = weight.itemsize, lanes(weight), lanes(weight) * VECTORS
    buffer = address(scratch(weight, TAIL, (18 + 9 * step, step)), (0, 0))
    square, row, column = buffer + 18 * STEP, -weight.strides[1], -weight.strides[2]
    outputs = weight.shape[3] if flip else weight.shape[0]
    if not flip:
        row, column = 3 * step * STEP, step * STEP
    for block in range(first, first + count, step):
        for j in range(panel * width, min(outputs, (panel + 1) * width), step):
            if not flip:
                for tap in range(9):
                    start = address(weight, (j, tap // 3, tap % 3, block))
                    transpose_block(weight, start, weight.strides[0], square + tap * column, STEP)
            for i in range(step):
                start = address(weight, (block + i, 2, 2, j)) if flip else square + i * STEP
                at = to + ((block + i - first) * width + j - panel * width) * size
                filter_points(weight, start, row, column, at, plane, buffer)


@helper
def _filter_job(job, worker, weight, flip, u, depth):
    chunks = -(-depth // DEPTH)
    panel, chunk = divmod(job, chunks)
    first = chunk * DEPTH
    to = address(u, (panel, 0, first * lanes(u) * VECTORS))
    _filter_panel(weight, flip, panel, first, min(DEPTH, depth - first), to, u.strides[1])


@helper
def _transform_tiles(source, origin, grid, tiles, first, gradient, to, plane, row):
    """V, or Z for `gradient`, of ROWS tiles, `row` bytes apart; the last tile stands in for those beyond it."""
    depth = source.shape[3] + lanes(source)
    buffer = scratch(source, TAIL, (36 * lanes(source) + 6 * depth,))
    middle, zeros = address(buffer, (0,)), address(buffer, (36 * lanes(source),))
    zero_bytes(zeros, 6 * depth * source.itemsize)
    for i in range(ROWS):
        n, place = divmod(min(first + i, tiles - 1), grid[0] * grid[1])
        h, w = place // grid[1] * 4 + origin[0], place % grid[1] * 4 + origin[1]
        if gradient:
            gradient_points(source, n, h, w, to + i * row, plane, middle, zeros)
        else:
            data_points(source, n, h, w, to + i * row, plane, middle, zeros)


@helper
def _data_job(job, worker, source, origin, grid, tiles, depth, v):
    row = depth * source.itemsize
    _transform_tiles(source, origin, grid, tiles, job * ROWS, False, address(v, (job, 0, 0)), v.strides[1], row)


@helper
def _products(v, v_plane, v_block, a_row, u, u_plane, u_panel, m, depth, first):
    """M[panel, block, point] (+)= V[block, point] U[panel, point] for the tiles and panels of a job."""
    size, b_step = m.itemsize, lanes(m) * VECTORS * m.itemsize
    for point in range(POINTS):
        for panel in range(m.shape[0]):
            for block in range(m.shape[1]):
                a, b = v + block * v_block + point * v_plane, u + panel * u_panel + point * u_plane
                tile = tile_zero(ROWS, VECTORS, m)
                for k in range(depth):
                    tile = tile_outer(tile, a + k * size, a_row, b + k * b_step)
                to = address(m, (panel, block, point, 0))
                if not first:
                    tile = tile_add(tile, to, b_step)
                tile_store(tile, to, b_step)


@helper
def _output_tiles(m, index, panel, bias, relu, y, grid, tiles, first):
    """Y = act(A^T M A + bias) for the tiles of a job and one panel."""
    width = lanes(m) * VECTORS
    buffer = address(scratch(m, TAIL, (25 * lanes(m),)), (0,))
    for t in range(first, min(tiles, first + m.shape[1] * ROWS)):
        n, place = divmod(t, grid[0] * grid[1])
        h, w = place // grid[1] * 4, place % grid[1] * 4
        block, i = divmod(t - first, ROWS)
        for k in range(panel * width, min(y.shape[3], (panel + 1) * width), lanes(m)):
            start = address(m, (index, block, 0, i * width + k - panel * width))
            output_pixels(m, start, m.strides[2], address(bias, (k,)), relu, address(y, (n, h, w, k)), y.strides[1],
                          y.strides[2], min(4, y.shape[1] - h), min(4, y.shape[2] - w), buffer,
                          y.shape[3] - k)  # fmt: skip


@helper
def _tiles_job(job, worker, source, weight, flip, origin, grid, bias, relu, y, v, u, tiles, depth, group, share, wide):
    """`group` tiles of `share` panels of Y, `wide` of them at a time."""
    size, width = y.itemsize, lanes(y) * VECTORS
    panels = -(-y.shape[3] // width)
    place, first_panel = divmod(job, -(-panels // share))
    first, first_panel = place * group, first_panel * share
    blocks = -(-min(group, tiles - first) // ROWS)
    plane = ROWS * depth * size + PAD
    from_v = address(v, (first // ROWS, 0, 0))
    if v.shape[0] == 0:
        from_v = address(scratch(y, JOB, (blocks * POINTS * plane // size,)), (0,))
        for block in range(blocks):
            start = from_v + block * POINTS * plane
            _transform_tiles(source, origin, grid, tiles, first + block * ROWS, False, start, plane, depth * size)
    step = depth if u.shape[0] else DEPTH
    own = scratch(y, TILE, (1, POINTS, DEPTH * width + PAD // size))
    stop = min(panels, first_panel + share)
    for panel in range(first_panel, stop, wide):
        m = scratch(y, PRODUCT, (min(wide, stop - panel), blocks, POINTS, ROWS * width + PAD // size))
        for k in range(0, depth, step):
            count = min(step, depth - k)
            from_u, strides = address(u, (panel, 0, 0)), u.strides
            if u.shape[0] == 0:
                from_u, strides = address(own, (0, 0, 0)), own.strides
                _filter_panel(weight, flip, panel, k, count, from_u, strides[1])
            _products(from_v + k * size, plane, POINTS * plane, depth * size, from_u, strides[1], strides[0], m, count,
                      k == 0)  # fmt: skip
        for i in range(m.shape[0]):
            _output_tiles(m, i, panel + i, bias, relu, y, grid, tiles, first)


@jit
def _convolve(source, weight, flip, origin, bias, relu, y, v, u, tiles, depth, group, share, wide):
    grid = -(-y.shape[1] // 4), -(-y.shape[2] // 4)
    panels = -(-y.shape[3] // (lanes(y) * VECTORS))
    serial = 36 * tiles * depth * y.shape[3] < SERIAL_WORK
    parallel_for(_filter_job, u.shape[0] * -(-depth // DEPTH), (weight, flip, u, depth), serial)
    parallel_for(_data_job, v.shape[0], (source, origin, grid, tiles, depth, v), serial)
    arguments = (source, weight, flip, origin, grid, bias, relu, y, v, u, tiles, depth, group, share, wide)
    parallel_for(_tiles_job, -(-tiles // group) * -(-panels // share), arguments, serial)


@helper
def _both_job(job, worker, x, dy, origin, grid, tiles, first, v, z):
    """V and Z of ROWS tiles of a band."""
    t = job * ROWS
    _transform_tiles(x, origin, grid, tiles, first + t, False, address(v, (0, t, 0)), v.strides[0], v.strides[1])
    _transform_tiles(dy, (0, 0), grid, tiles, first + t, True, address(z, (0, t, 0)), z.strides[0], z.strides[1])


@helper
def _gradient_tile(z, v, du, point, row, panel, to, count, first):
    """dU[point] (+)= Z[point]^T V[point] for ROWS rows of a panel, summed over `count` tiles."""
    width = lanes(v) * VECTORS
    a, b = address(z, (point, 0, row * ROWS)), address(v, (point, 0, panel * width))
    tile = tile_zero(ROWS, VECTORS, v)
    for t in range(count):
        tile = tile_outer(tile, a + t * z.strides[1], v.itemsize, b + t * v.strides[1])
    if not first:
        tile = tile_add(tile, to, width * v.itemsize)
    tile_store(tile, to, width * v.itemsize)


@helper
def _gradient_job(job, worker, z, v, du, dweight, count, first, rows, panels, points):
    """Some rows, panels and points of dU. A job that has all points goes on to dg = G^T dU G."""
    width = lanes(v) * VECTORS
    all_rows, all_panels = -(-dweight.shape[0] // ROWS), -(-dweight.shape[3] // width)
    place, piece = divmod(job, POINTS // points)
    row, panel = divmod(place, -(-all_panels // panels))
    row, panel = row * rows, panel * panels
    rows, panels = min(rows, all_rows - row), min(panels, all_panels - panel)
    whole = points == POINTS
    c = scratch(v, JOB, (rows, panels, POINTS, ROWS * width + PAD // v.itemsize)) if whole else du
    for point in range(piece * points, (piece + 1) * points):
        for j in range(panels):
            for i in range(rows):
                to = address(c, (i, j, point, 0) if whole else (row + i, panel + j, point, 0))
                _gradient_tile(z, v, c, point, row + i, panel + j, to, count, first)
    if whole:
        for i in range(rows):
            _kernel_rows(c, i, row + i, panel, dweight)


@helper
def _kernel_rows(du, block, row, panel, dweight):
    """dg = G^T dU G for ROWS output channels."""
    width = lanes(du) * VECTORS
    buffer = address(scratch(du, TAIL, (18 * lanes(du),)), (0,))
    for k in range(row * ROWS, min(dweight.shape[0], (row + 1) * ROWS)):
        for j in range(0, min(du.shape[1] * width, dweight.shape[3] - panel * width), lanes(du)):
            start = address(du, (block, j // width, 0, (k - row * ROWS) * width + j % width))
            to = address(dweight, (k, 0, 0, panel * width + j))
            kernel_taps(du, start, du.strides[2], to, dweight.strides[1], dweight.strides[2], buffer,
                        dweight.shape[3] - panel * width - j)  # fmt: skip


@helper
def _kernel_job(job, worker, du, dweight):
    _kernel_rows(du, job, job, 0, dweight)


@jit
def _correlate(x, dy, origin, v, z, du, dweight, tiles, band, rows, panels, points):
    grid, width = (-(-dy.shape[1] // 4), -(-dy.shape[2] // 4)), lanes(v) * VECTORS
    all_rows, all_panels = -(-dweight.shape[0] // ROWS), -(-dweight.shape[3] // width)
    jobs = -(-all_rows // rows) * -(-all_panels // panels) * (POINTS // points)
    serial = dweight.size * 4 * min(tiles, band) < SERIAL_WORK
    for first in range(0, tiles, band):
        count = min(band, tiles - first)
        parallel_for(_both_job, -(-count // ROWS), (x, dy, origin, grid, tiles, first, v, z), serial)
        arguments = (z, v, du, dweight, count, first == 0, rows, panels, points)
        parallel_for(_gradient_job, jobs, arguments, serial)
    parallel_for(_kernel_job, du.shape[0], (du, dweight), serial)
