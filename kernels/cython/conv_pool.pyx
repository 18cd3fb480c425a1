# cython: language_level=3, binding=False
"""Convolution, activation and pooling as one operation.

Max-pooling: by Winograd with 2 x 2 windows (winograd.h) or the direct method with any (direct.h), which write no output
of the convolution. Average-pooling: by the direct method, which pools rows while they are in cache; to few channels by
lines.h. Elsewhere the operation is the two it is made of.
"""
include "common.pxi"
include "products.pxi"

from .. import destination as _destination
from ..conv_methods import Geometry as _Geometry
from ..conv_methods import at_once as _at_once
from ..conv_methods import choose as _choose
from ..conv_methods import output_shape as _output_shape
from .conv import conv2d_backward as _conv2d_backward
from .conv import conv2d_forward as _conv2d_forward
from .conv import direct_means as _direct_means
from .conv import direct_windows as _direct_windows
from .conv import direct_windows_gradient as _direct_windows_gradient
from .conv import winograd_windows as _windows
from .conv import winograd_windows_gradients as _windows_gradients
from .elementwise import sigmoid_forward as _sigmoid
from .elementwise import tanh_forward as _tanh
from .lines import line_means as _line_means
from .lines import line_means_gradient as _line_means_gradient
from .pool import avg_pool2d_backward as _avg_pool2d_backward
from .pool import avg_pool2d_forward as _avg_pool2d_forward
from .pool import max_pool2d_backward as _max_pool2d_backward
from .pool import max_pool2d_forward as _max_pool2d_forward

POOLED_METHODS = ("direct", "winograd")  # where max-pooling writes no output of the convolution
AVERAGED_METHODS = ("direct",)  # where average-pooling reads it from cache


def conv2d_max_pool2d_forward(x, weight, bias, *, stride, padding, dilation, groups, activation, method, pool_size):
    """y = act(max over each window of x * w + b)."""
    geometry = _Geometry(stride, padding, dilation, groups)
    shape = _output_shape(x.shape, weight.shape, geometry)
    windows = _at_once("forward", x.shape, weight.shape, geometry, method, pool_size)
    if windows == "winograd":
        y, index = _windows(x, weight, bias, padding, activation)
    elif windows == "direct":
        y, index = _direct_windows(x, weight, bias, geometry, activation, pool_size)
    else:  # ReLU first: where it gives 0 there is no gradient, whoever wins the window
        relu = "relu" if activation == "relu" else None
        z, _ = _conv2d_forward(x, weight, bias, **geometry._asdict(), activation=relu, method=method)
        y, (_, index, *_) = _max_pool2d_forward(
            z, kernel_size=pool_size, stride=pool_size, padding=(0, 0), dilation=(1, 1), ceil_mode=False
        )
        if activation in ("sigmoid", "tanh"):
            y, _ = (_sigmoid if activation == "sigmoid" else _tanh)(y)
    return y, (x, weight, y if activation else None, shape, index, geometry, activation, method, pool_size)


def conv2d_max_pool2d_backward(dy, saved, needs):
    """Gradients from the windows where the method can, else from dz, the gradient of x * w + b."""
    x, weight, y, shape, index, geometry, activation, method, pool_size = saved
    geometry = _Geometry(*geometry)
    windows = _at_once("dweight", x.shape, weight.shape, geometry, method, pool_size)
    if windows == "winograd":
        found = _windows_gradients(dy, y, index, x, weight, geometry.padding, activation, method, needs)
        return of_pixels(dy, saved, needs) if found is None else found
    if windows != "direct":
        return of_pixels(dy, saved, needs)
    dx = of_pixels(dy, saved, (True, False, False))[0] if needs[0] else None
    if not (needs[1] or needs[2]):
        return dx, None, None
    return dx, *_direct_windows_gradient(dy, y, index, x, weight, geometry, activation, pool_size, needs)


cdef tuple of_pixels(dy, saved, needs):
    """The gradients by way of dz (N, P, Q, K), which is 0 where no window has its largest."""
    x, weight, y, shape, index, geometry, activation, method, pool_size = saved
    rows = dy.shape[0] * dy.shape[1] * dy.shape[2]
    dy, dbias = gradient_rows(dy, y, _ACTIVATIONS[activation], rows, dy.shape[3], needs[2])
    if not (needs[0] or needs[1]):
        return None, None, dbias
    (dz,) = _max_pool2d_backward(dy, (shape, index, pool_size, pool_size, (0, 0), (1, 1)), (True,))
    dx, dweight, _ = _conv2d_backward(dz, (x, weight, None, *geometry, None, method), (*needs[:2], False))
    return dx, dweight, dbias


def conv2d_avg_pool2d_forward(x, weight, bias, *, stride, padding, dilation, groups, activation, method, pool_size):
    """y = the mean of each window of a = act(x * w + b)."""
    geometry = _Geometry(stride, padding, dilation, groups)
    shape = _output_shape(x.shape, weight.shape, geometry)
    if _choose("forward", x.shape, weight.shape, geometry, method).method == "direct":
        found = _line_means(x, weight, bias, geometry, activation) if pool_size == (2, 2) else None
        y, a = found or _direct_means(x, weight, bias, geometry, activation, pool_size)
    else:
        a, _ = _conv2d_forward(x, weight, bias, **geometry._asdict(), activation=activation, method=method)
        y, _ = _avg_pool2d_forward(a, **_windows_of(pool_size))
    return y, (x, weight, a if activation else None, shape, geometry, activation, method, pool_size)


def conv2d_avg_pool2d_backward(dy, saved, needs):
    """dweight and dbias from the windows where lines.h can, else all from the gradient of a."""
    x, weight, a, shape, geometry, activation, method, pool_size = saved
    geometry, found = _Geometry(*geometry), None
    direct = _choose("dweight", x.shape, weight.shape, geometry, method).method == "direct"
    if direct and pool_size == (2, 2) and (needs[1] or needs[2]):
        found = _line_means_gradient(dy, a, x, weight, geometry, activation, needs)
    rest = (needs[0], False, False) if found else needs
    if not any(rest):
        return None, *(found or (None, None))
    (da,) = _avg_pool2d_backward(dy, (shape, pool_size, pool_size, (0, 0), True), (True,))
    dx, *others = _conv2d_backward(da, (x, weight, a, *geometry, activation, method), rest)
    return dx, *(found or others)


cdef dict _windows_of(pool_size):
    """The options of avg_pool2d for windows side by side."""
    return {"kernel_size": pool_size, "stride": pool_size, "padding": (0, 0), "ceil_mode": False,
            "count_include_pad": True}
