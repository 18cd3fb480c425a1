"""Winograd's minimal filtering F(4x4, 3x3): 36 multiplications for 4 x 4 outputs that need 144 the direct way.

With the interpolation points 0, 1, -1, 2, -2 and infinity a tile of output is

    Y = A^T [ (G g G^T) * (B^T d B) ] A

where d is a 6 x 6 tile of the image (tiles overlap by two), g the 3 x 3 kernel and * the elementwise product. Summed
over channels, each of the 36 elements, here called *points*, is a matrix product of its own:

    M[point] (tiles, K) = V[point] (tiles, C) U[point] (C, K)

- forward: V from x, U from the weights, Y = A^T M A;
- dx: the same with dy for x and the kernels flipped;
- dweight: dU[point] (K, C) = Z[point]^T (K, tiles) V[point] (tiles, C) with Z = A dY A^T, then dg = G^T dU G.

Work goes in bands of tiles whose V and M stay in cache; in a band the transforms are jobs over tiles, the products jobs
over points. Rounding error is about ten times that of the direct method: the transforms add numbers of mixed size.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1 and 4.3.
"""

from __future__ import annotations

import numpy as np

from ..conv_methods import Geometry, output_shape
from .gemm import bias_gradient, multiply_block, padded_bias, panel_depth, panel_width
from .jit import JOB, PRODUCT, SERIAL_WORK, helper, jit, parallel_for, scratch
from .simd import ROWS, VECTORS, address, copy_bytes, lanes, tile_relu, zero_bytes
from .vector import vector_load, vector_store

BAND_BYTES = 2 << 20  # of V and M together
MIN_BAND = 48  # tiles: below this streaming U through the cache would dominate
TILES_PER_JOB = 8
COLUMNS = 256  # of M in a job
DEPTH_PER_JOB = 16  # rows of U transformed by a job


def forward(x, weight, bias, relu, geometry: Geometry) -> np.ndarray:
    """y = act(x * w + b)."""
    y = np.empty(output_shape(x.shape, weight.shape, geometry), x.dtype)
    top, _, left, _ = geometry.padding
    _run(x, weight, False, (-top, -left), padded_bias(bias, weight.shape[0], x), y, relu)
    return y


def input_gradient(dz, weight, shape, geometry: Geometry) -> np.ndarray:
    """dx: dz convolved with the flipped kernels, padded by what the kernel reaches beyond the padding."""
    dx = np.empty(shape, dz.dtype)
    top, _, left, _ = geometry.padding
    _run(dz, weight, True, (top - 2, left - 2), padded_bias(None, 0, dz), dx, False)
    return dx


def weight_gradient(dz, x, shape, geometry: Geometry, with_bias: bool):
    """dweight and, where wanted, dbias."""
    dweight = np.empty(shape, dz.dtype)
    width = panel_width(dz.itemsize)
    taken, given = _rounded(shape[3], width), _rounded(shape[0], width)
    tiles, band = _band(dz.shape, taken + given, dz.itemsize)
    v, z = _planes(band, taken, dz), _planes(band, given, dz)
    du = np.empty((36, given, taken), dz.dtype)
    if tiles == 0:
        du[:] = 0
    top, _, left, _ = geometry.padding
    _correlate(x, dz, (-top, -left), v, z, du, dweight, tiles, band)
    return dweight, bias_gradient(dz, with_bias)


def _run(source, weight, flip, origin, bias, y, relu):
    """y = act(source * weight + bias); `origin` is the place of the first tile of the source."""
    width = panel_width(y.itemsize)
    depth, given = source.shape[3], _rounded(y.shape[3], width)
    taken = _rounded(depth, width)
    tiles, band = _band(y.shape, taken + given, y.itemsize)
    u = np.empty((36, given // width, depth, width), y.dtype)
    v, m = _planes(band, taken, y), _planes(band, given, y)
    _convolve(source, weight, flip, origin, bias, y, relu, u, v, m, tiles, band)


def _rounded(size, step):
    return -(-size // step) * step


def _band(image, channels, itemsize):
    """Number of tiles in all and in a band: V and M within cache, whole register tiles, bands of even length."""
    tiles = image[0] * -(-image[1] // 4) * -(-image[2] // 4)
    most = max(MIN_BAND, BAND_BYTES // (36 * channels * itemsize))
    bands = max(1, -(-tiles // most))
    return tiles, _rounded(max(1, -(-tiles // bands)), 12)


def _planes(band, channels, like):
    """36 matrices of `band` rows; one row more, an odd number, spreads them over the sets of the cache."""
    return np.empty((36, band + 1, channels), like.dtype)


@helper
def _filter(a, b, c):
    """G (a, b, c): a column of the kernel to its six points."""
    even, odd = (a + c) * (-1 / 6), b * (1 / 6)
    far, odd_far = a * (1 / 24) + c * (1 / 6), b * (1 / 12)
    return a * 0.25, even - odd, even + odd, far + odd_far, far - odd_far, c


@helper
def _filter_transposed(a, b, c, d, e, f):
    """G^T (a ... f)."""
    near, far = (b + c) * (1 / 6), d + e
    return a * 0.25 - near + far * (1 / 24), (c - b) * (1 / 6) + (d - e) * (1 / 12), far * (1 / 6) - near + f


@helper
def _data(a, b, c, d, e, f):
    """B^T (a ... f): a column of the image tile to its six points."""
    even, odd = e - 4 * c, d - 4 * b
    far, odd_far = e - c, 2 * (d - b)
    return 4 * a - 5 * c + e, even + odd, even - odd, far + odd_far, far - odd_far, 4 * b - 5 * d + f


@helper
def _output(a, b, c, d, e, f):
    """A^T (a ... f): six points to four outputs."""
    even, odd, far, odd_far = b + c, b - c, d + e, d - e
    return a + even + far, odd + 2 * odd_far, even + 4 * far, odd + 8 * odd_far + f


@helper
def _output_transposed(a, b, c, d):
    """A (a ... d): four output gradients to six points."""
    even, odd, far, odd_far = a + c, b + d, a + 4 * c, 2 * b + 8 * d
    return a, even + odd, even - odd, far + odd_far, far - odd_far, d


@helper
def _weight_job(job, worker, weight, flip, u):
    """U = G g G^T for some rows of one panel; flipped kernels swap the channels and turn by 180 degrees."""
    chunks = -(-u.shape[2] // DEPTH_PER_JOB)
    panel, chunk = divmod(job, chunks)
    size, width, step = u.itemsize, u.shape[3], lanes(u)
    start, outputs = panel * width, weight.shape[3] if flip else weight.shape[0]
    count = min(width, outputs - start)
    kernel = scratch(u, JOB, (27, width))  # (3, 3, width), then (6, 3, width)
    for depth in range(chunk * DEPTH_PER_JOB, min(u.shape[2], (chunk + 1) * DEPTH_PER_JOB)):
        for r in range(3):
            for s in range(3):
                for j in range(count):
                    if flip:
                        kernel[r * 3 + s, j] = weight[depth, 2 - r, 2 - s, start + j]
                    else:
                        kernel[r * 3 + s, j] = weight[start + j, r, s, depth]
                zero_bytes(address(kernel, (r * 3 + s, count)), (width - count) * size)
        for lane in range(0, width, step):
            for s in range(3):
                points = _filter(
                    vector_load(u, address(kernel, (s, lane))),
                    vector_load(u, address(kernel, (3 + s, lane))),
                    vector_load(u, address(kernel, (6 + s, lane))),
                )
                for i in range(6):
                    vector_store(points[i], address(kernel, (9 + i * 3 + s, lane)))
            for i in range(6):
                row = 9 + i * 3
                points = _filter(
                    vector_load(u, address(kernel, (row, lane))),
                    vector_load(u, address(kernel, (row + 1, lane))),
                    vector_load(u, address(kernel, (row + 2, lane))),
                )
                for j in range(6):
                    vector_store(points[j], address(u, (i * 6 + j, panel, depth, lane)))


@helper
def _fetch(source, n, h, w, rows, columns, patch):
    """Address and strides of a tile of the image: in place, or a zero-padded copy where it hangs over the edge."""
    height, width, channels, size = source.shape[1], source.shape[2], source.shape[3], source.itemsize
    padded = patch.shape[1]
    if 0 <= h <= height - rows and 0 <= w <= width - columns and channels == padded:
        return address(source, (n, h, w, 0)), width * channels * size, channels * size
    left, right = min(columns, max(0, -w)), max(0, min(columns, width - w))
    row = address(patch, (0, 0))
    for i in range(rows):
        if not 0 <= h + i < height or left >= right:
            zero_bytes(row, columns * padded * size)
        elif channels == padded:  # the pixels of a row lie side by side in both
            zero_bytes(row, left * padded * size)
            start = address(source, (n, h + i, w + left, 0))
            copy_bytes(row + left * padded * size, start, (right - left) * padded * size)
            zero_bytes(row + right * padded * size, (columns - right) * padded * size)
        else:
            zero_bytes(row, columns * padded * size)
            for j in range(left, right):
                start = address(source, (n, h + i, w + j, 0))
                copy_bytes(row + j * padded * size, start, channels * size)
        row += columns * padded * size
    return address(patch, (0, 0)), columns * padded * size, padded * size


@helper
def _load(like, place, step):
    """Six registers, `step` bytes apart."""
    return (
        vector_load(like, place),
        vector_load(like, place + step),
        vector_load(like, place + 2 * step),
        vector_load(like, place + 3 * step),
        vector_load(like, place + 4 * step),
        vector_load(like, place + 5 * step),
    )


@helper
def _store(points, place, step):
    """Six registers, `step` bytes apart."""
    vector_store(points[0], place)
    vector_store(points[1], place + step)
    vector_store(points[2], place + 2 * step)
    vector_store(points[3], place + 3 * step)
    vector_store(points[4], place + 4 * step)
    vector_store(points[5], place + 5 * step)


@helper
def _data_job(job, worker, source, origin, grid, first, count, v):
    """V = B^T d B for some tiles of the band."""
    size, step, plane = v.itemsize, lanes(v), v.strides[0]
    patch, lane_bytes = scratch(v, JOB, (36, v.shape[2])), step * size
    middle = address(scratch(v, PRODUCT, (36, step)), (0, 0))
    for t in range(job * TILES_PER_JOB, min(count, (job + 1) * TILES_PER_JOB)):
        n, place = divmod(first + t, grid[0] * grid[1])
        h, w = place // grid[1] * 4 + origin[0], place % grid[1] * 4 + origin[1]
        start, row, column = _fetch(source, n, h, w, 6, 6, patch)
        for c in range(0, v.shape[2], step):
            for j in range(6):
                values = _load(v, start + j * column + c * size, row)
                _store(_data(*values), middle + j * lane_bytes, 6 * lane_bytes)
            for i in range(6):
                values = _load(v, middle + i * 6 * lane_bytes, lane_bytes)
                _store(_data(*values), address(v, (6 * i, t, c)), plane)


@helper
def _gradient_job(job, worker, dy, grid, first, count, z):
    """Z = A dY A^T for some tiles of the band."""
    size, step, plane = z.itemsize, lanes(z), z.strides[0]
    patch, lane_bytes = scratch(z, JOB, (16, z.shape[2])), step * size
    middle = address(scratch(z, PRODUCT, (24, step)), (0, 0))
    for t in range(job * TILES_PER_JOB, min(count, (job + 1) * TILES_PER_JOB)):
        n, place = divmod(first + t, grid[0] * grid[1])
        start, row, column = _fetch(dy, n, place // grid[1] * 4, place % grid[1] * 4, 4, 4, patch)
        for k in range(0, z.shape[2], step):
            for j in range(4):
                at = start + j * column + k * size
                points = _output_transposed(
                    vector_load(z, at),
                    vector_load(z, at + row),
                    vector_load(z, at + 2 * row),
                    vector_load(z, at + 3 * row),
                )
                _store(points, middle + j * lane_bytes, 4 * lane_bytes)
            for i in range(6):
                at = middle + i * 4 * lane_bytes
                points = _output_transposed(
                    vector_load(z, at),
                    vector_load(z, at + lane_bytes),
                    vector_load(z, at + 2 * lane_bytes),
                    vector_load(z, at + 3 * lane_bytes),
                )
                _store(points, address(z, (6 * i, t, k)), plane)


@helper
def _product_job(job, worker, v, u, m, count):
    """M[point] = V[point] U[point] for a block of columns."""
    size, width, depth = v.itemsize, u.shape[3], u.shape[2]
    across = -(-m.shape[2] // COLUMNS)
    point, place = divmod(job, across)
    column = place * COLUMNS
    columns, step, c = min(COLUMNS, m.shape[2] - column), panel_depth(v, depth), m[point]
    for k0 in range(0, depth, step):
        here = min(step, depth - k0)
        multiply_block(address(v, (point, 0, k0)), v.strides[1], size, ROWS * v.strides[1], count,
                       address(u, (point, column // width, k0, 0)), width * size, u.strides[1], here, c, 0, column,
                       columns, k0 == 0, False, c[0, :0], False)  # fmt: skip


@helper
def _output_job(job, worker, m, y, bias, relu, grid, first, count):
    """Y = act(A^T M A + bias) for some tiles of the band, cut at the edges of the image."""
    size, step, plane = m.itemsize, lanes(m), m.strides[0]
    lane_bytes = step * size
    middle = address(scratch(m, PRODUCT, (25, step)), (0, 0))
    spare = middle + 24 * lane_bytes
    for t in range(job * TILES_PER_JOB, min(count, (job + 1) * TILES_PER_JOB)):
        n, place = divmod(first + t, grid[0] * grid[1])
        h, w = place // grid[1] * 4, place % grid[1] * 4
        rows, columns = min(4, y.shape[1] - h), min(4, y.shape[2] - w)
        for k in range(0, y.shape[3], step):
            for j in range(6):
                values = _output(*_load(m, address(m, (j, t, k)), 6 * plane))
                vector_store(values[0], middle + j * lane_bytes)
                vector_store(values[1], middle + (6 + j) * lane_bytes)
                vector_store(values[2], middle + (12 + j) * lane_bytes)
                vector_store(values[3], middle + (18 + j) * lane_bytes)
            whole = k + step <= y.shape[3]
            for i in range(rows):
                values = _output(*_load(m, middle + i * 6 * lane_bytes, lane_bytes))
                for j in range(columns):
                    value = values[j]
                    if bias.size:
                        value = value + vector_load(m, address(bias, (k,)))
                    if relu:
                        value = tile_relu(value)
                    to = address(y, (n, h + i, w + j, k))
                    vector_store(value, to if whole else spare)
                    if not whole:
                        copy_bytes(to, spare, (y.shape[3] - k) * size)


@jit
def _convolve(source, weight, flip, origin, bias, y, relu, u, v, m, tiles, band):
    grid = (-(-y.shape[1] // 4), -(-y.shape[2] // 4))
    parallel_for(_weight_job, u.shape[1] * -(-u.shape[2] // DEPTH_PER_JOB), (weight, flip, u), u.size < SERIAL_WORK)
    serial = u.size * min(tiles, band) < SERIAL_WORK
    for first in range(0, tiles, band):
        count = min(band, tiles - first)
        jobs = -(-count // TILES_PER_JOB)
        parallel_for(_data_job, jobs, (source, origin, grid, first, count, v), serial)
        parallel_for(_product_job, 36 * -(-m.shape[2] // COLUMNS), (v, u, m, count), serial)
        parallel_for(_output_job, jobs, (m, y, bias, relu, grid, first, count), serial)


@helper
def _correlate_job(job, worker, z, v, du, first, count, blocks):
    """dU[point] += Z[point]^T V[point] for a block of output channels."""
    point, block = divmod(job, blocks)
    size, width, step = v.itemsize, lanes(v) * VECTORS, panel_depth(v, count)
    start = block * COLUMNS
    rows = min(COLUMNS, du.shape[1] - start)
    for t in range(0, count, step):
        multiply_block(address(z, (point, t, start)), size, z.strides[1], ROWS * size, rows,
                       address(v, (point, t, 0)), v.strides[1], width * size, min(step, count - t), du[point], start, 0,
                       du.shape[2], first and t == 0, False, du[0, 0, :0], False)  # fmt: skip


@helper
def _kernel_job(job, worker, du, dweight):
    """dg = G^T dU G for one output channel."""
    lane_bytes, plane = lanes(du) * du.itemsize, du.strides[0]
    middle = address(scratch(du, PRODUCT, (19, lanes(du))), (0, 0))
    spare, channels = middle + 18 * lane_bytes, dweight.shape[3]
    for c in range(0, channels, lanes(du)):
        for j in range(6):
            values = _filter_transposed(*_load(du, address(du, (j, job, c)), 6 * plane))
            vector_store(values[0], middle + j * lane_bytes)
            vector_store(values[1], middle + (6 + j) * lane_bytes)
            vector_store(values[2], middle + (12 + j) * lane_bytes)
        for r in range(3):
            values = _filter_transposed(*_load(du, middle + r * 6 * lane_bytes, lane_bytes))
            for s in range(3):
                vector_store(values[s], spare)
                to = address(dweight, (job, r, s, c))
                copy_bytes(to, spare, min(lanes(du), channels - c) * du.itemsize)


@jit
def _correlate(x, dy, origin, v, z, du, dweight, tiles, band):
    grid = (-(-dy.shape[1] // 4), -(-dy.shape[2] // 4))
    blocks = -(-du.shape[1] // COLUMNS)
    serial = du.size * min(tiles, band) < SERIAL_WORK
    for first in range(0, tiles, band):
        count = min(band, tiles - first)
        jobs = -(-count // TILES_PER_JOB)
        parallel_for(_data_job, jobs, (x, origin, grid, first, count, v), serial)
        parallel_for(_gradient_job, jobs, (dy, grid, first, count, z), serial)
        parallel_for(_correlate_job, 36 * blocks, (z, v, du, first == 0, count, blocks), serial)
    parallel_for(_kernel_job, dweight.shape[0], (du, dweight), serial)
