"""The transforms of Winograd's F(4x4, 3x3), on registers whose lanes are channels.

Each two-dimensional transform ``T d T^T`` is the one-dimensional one down the columns, kept in a small buffer, and then
along the rows. They read numbers `row` and `column` bytes apart and write the points `plane` bytes apart.

Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.1 and 4.3; points 0, 1, -1, 2, -2
and infinity.
"""

from __future__ import annotations

from .jit import helper
from .simd import REGISTER_BYTES, address, tile_relu, zero_bytes
from .vector import vector_load, vector_load_part, vector_store, vector_store_part

POINTS = 36
STEP = REGISTER_BYTES  # from number to number in the small buffers


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
def filter_points(like, start, row, column, to, plane, buffer):
    """U = G g G^T for one register of kernels g."""
    for s in range(3):
        at = start + s * column
        points = _filter(vector_load(like, at), vector_load(like, at + row), vector_load(like, at + 2 * row))
        _store(points, buffer + s * STEP, 3 * STEP)
    for i in range(6):
        at = buffer + i * 3 * STEP
        points = _filter(vector_load(like, at), vector_load(like, at + STEP), vector_load(like, at + 2 * STEP))
        _store(points, to + i * 6 * plane, plane)


@helper
def _row(source, n, h, w, zeros):
    """Address of a row of an image from pixel w on, or of zeros above and below the image."""
    return address(source, (n, h, w, 0)) if 0 <= h < source.shape[1] else zeros


@helper
def data_points(source, n, h, w, to, plane, buffer, zeros):
    """V = B^T d B for all channels of the 6 x 6 tile at pixel (h, w), zero outside the image.

    `zeros` has room for six pixels. The columns outside stay zero in the buffer, and so do channels beyond the last up
    to a whole register.
    """
    a, b, c = _row(source, n, h, w, zeros), _row(source, n, h + 1, w, zeros), _row(source, n, h + 2, w, zeros)
    d, e, f = _row(source, n, h + 3, w, zeros), _row(source, n, h + 4, w, zeros), _row(source, n, h + 5, w, zeros)
    low, high = max(0, -w), min(6, source.shape[2] - w)
    if low > 0 or high < 6:
        zero_bytes(buffer, 36 * STEP)
    for channel in range(0, source.shape[3] * source.itemsize, STEP):
        count = source.shape[3] - channel // source.itemsize
        for j in range(low, high):
            at = channel + j * source.strides[2]
            points = _data(
                vector_load_part(source, a + at, count),
                vector_load_part(source, b + at, count),
                vector_load_part(source, c + at, count),
                vector_load_part(source, d + at, count),
                vector_load_part(source, e + at, count),
                vector_load_part(source, f + at, count),
            )
            _store(points, buffer + j * STEP, 6 * STEP)
        for i in range(6):
            _store(_data(*_load(source, buffer + i * 6 * STEP, STEP)), to + channel + i * 6 * plane, plane)


@helper
def gradient_points(source, n, h, w, to, plane, buffer, zeros):
    """Z = A dY A^T for all channels of the 4 x 4 tile at pixel (h, w), zero outside the image; `zeros` as above."""
    a, b = _row(source, n, h, w, zeros), _row(source, n, h + 1, w, zeros)
    c, d = _row(source, n, h + 2, w, zeros), _row(source, n, h + 3, w, zeros)
    columns = min(4, source.shape[2] - w)
    if columns < 4:
        zero_bytes(buffer, 24 * STEP)
    for channel in range(0, source.shape[3] * source.itemsize, STEP):
        count = source.shape[3] - channel // source.itemsize
        for j in range(columns):
            at = channel + j * source.strides[2]
            points = _output_transposed(
                vector_load_part(source, a + at, count),
                vector_load_part(source, b + at, count),
                vector_load_part(source, c + at, count),
                vector_load_part(source, d + at, count),
            )
            _store(points, buffer + j * STEP, 4 * STEP)
        for i in range(6):
            at = buffer + i * 4 * STEP
            points = _output_transposed(
                vector_load(source, at),
                vector_load(source, at + STEP),
                vector_load(source, at + 2 * STEP),
                vector_load(source, at + 3 * STEP),
            )
            _store(points, to + channel + i * 6 * plane, plane)


@helper
def kernel_taps(like, start, plane, to, row, column, buffer, count):
    """dg = G^T dU G for one register of channels, of which `count` exist."""
    for j in range(6):
        values = _filter_transposed(*_load(like, start + j * plane, 6 * plane))
        vector_store(values[0], buffer + j * STEP)
        vector_store(values[1], buffer + (6 + j) * STEP)
        vector_store(values[2], buffer + (12 + j) * STEP)
    for r in range(3):
        values = _filter_transposed(*_load(like, buffer + r * 6 * STEP, STEP))
        at = to + r * row
        vector_store_part(values[0], at, count)
        vector_store_part(values[1], at + column, count)
        vector_store_part(values[2], at + 2 * column, count)


@helper
def _finish(value, bias, relu, to, count):
    value = value + bias
    if relu:
        value = tile_relu(value)
    vector_store_part(value, to, count)


@helper
def output_pixels(like, start, plane, bias, relu, to, row, column, rows, columns, buffer, count):
    """Y = act(A^T M A + bias) for one register of channels; the first `rows` x `columns` of the 4 x 4 pixels exist, and
    the first `count` channels."""
    shift = vector_load(like, bias)
    for j in range(6):
        values = _output(*_load(like, start + j * plane, 6 * plane))
        vector_store(values[0], buffer + j * STEP)
        vector_store(values[1], buffer + (6 + j) * STEP)
        vector_store(values[2], buffer + (12 + j) * STEP)
        vector_store(values[3], buffer + (18 + j) * STEP)
    for i in range(rows):
        values = _output(*_load(like, buffer + i * 6 * STEP, STEP))
        at = to + i * row
        _finish(values[0], shift, relu, at, count)
        _finish(values[1], shift, relu, at + column, count if columns > 1 else 0)
        _finish(values[2], shift, relu, at + 2 * column, count if columns > 2 else 0)
        _finish(values[3], shift, relu, at + 3 * column, count if columns > 3 else 0)
