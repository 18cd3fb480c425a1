# cython: language_level=3, binding=False
"""Convolution, activation and pooling as one operation.

Max-pooling: by Winograd with 2 x 2 windows (winograd.h) or the direct method with any (direct.h), which write no output
of the convolution. Average-pooling: by the direct method, which pools rows while they are in cache; to few channels by
lines.h. Elsewhere the operation is the two it is made of.
"""
include "common.pxi"
include "products.pxi"
include "conv.pxi"

from .conv import conv2d_backward as _conv2d_backward
from .conv import conv2d_forward as _conv2d_forward
from .conv import direct_means as _direct_means
from .conv import direct_means_gradient as _direct_means_gradient
from .conv import direct_windows as _direct_windows
from .conv import direct_windows_gradient as _direct_windows_gradient
from .conv import gradients_at_once as _gradients_at_once
from .conv import sparse_windows as _sparse_windows
from .conv import winograd_windows as _windows
from .conv import winograd_windows_gradients as _windows_gradients
from .elementwise import sigmoid_forward as _sigmoid
from .elementwise import tanh_forward as _tanh
from .lines import line_means as _line_means
from .lines import line_means_gradient as _line_means_gradient
from .lines import takes_lines as _takes_lines
from .pool import avg_pool2d_backward as _avg_pool2d_backward
from .pool import avg_pool2d_forward as _avg_pool2d_forward
from .pool import max_pool2d_backward as _max_pool2d_backward
from .pool import max_pool2d_forward as _max_pool2d_forward


def inner_paths(op, x, plan):
    """What runs within the planned methods, in words by pass, for arrays of the dtype of x: asked of the conditions
    that the passes themselves ask."""
    if op == "conv2d_avg_pool2d" and _takes_lines(x, plan):
        return dict.fromkeys(("forward", "dweight"), "pixels of a row in the lanes")
    if op == "conv2d_max_pool2d" and _sparse_windows(x, plan):
        return {"dweight": "winners give straight to the weights"}
    if op in ("conv2d", "conv2d_max_pool2d") and _gradients_at_once(x, plan):
        return dict.fromkeys(("dx", "dweight"), "dz is transformed once for both gradients")
    return {}


def conv2d_max_pool2d_forward(x, weight, bias, *, plan):
    """y = act(max over each window of x * w + b)."""
    cdef dl_planned p
    read_plan(plan, x, &p)
    if p.windows == WINOGRAD:
        y, index = _windows(x, weight, bias, plan)
    elif p.windows == DIRECT:
        y, index = _direct_windows(x, weight, bias, plan)
    else:  # ReLU first: where it gives 0 there is no gradient, whoever wins the window
        activation = plan.activation
        z, _ = _conv2d_forward(x, weight, bias, plan=plan.alone("relu" if activation == "relu" else None))
        y, (_, index, *_) = _max_pool2d_forward(
            z, kernel_size=plan.pool, stride=plan.pool, padding=(0, 0), dilation=(1, 1), ceil_mode=False
        )
        if activation in ("sigmoid", "tanh"):
            y, _ = (_sigmoid if activation == "sigmoid" else _tanh)(y)
    return y, (x, weight, y if p.v.activation else None, index, plan)


def conv2d_max_pool2d_backward(dy, saved, needs):
    """Gradients from the windows where the method can, else from dz, the gradient of x * w + b."""
    cdef dl_planned p
    x, weight, y, index, plan = saved
    read_plan(plan, x, &p)
    if p.windows_back == WINOGRAD:
        found = _windows_gradients(dy, y, index, x, weight, plan, needs)
        return of_pixels(dy, saved, needs, p.v.activation) if found is None else found
    if p.windows_back != DIRECT:
        return of_pixels(dy, saved, needs, p.v.activation)
    dx = of_pixels(dy, saved, (True, False, False), p.v.activation)[0] if needs[0] else None
    if not (needs[1] or needs[2]):
        return dx, None, None
    return dx, *_direct_windows_gradient(dy, y, index, x, weight, plan, needs)


cdef tuple of_pixels(dy, saved, needs, int activation):
    """The gradients by way of dz (N, P, Q, K), which is 0 where no window has its largest."""
    x, weight, y, index, plan = saved
    rows = dy.shape[0] * dy.shape[1] * dy.shape[2]
    dy, dbias = gradient_rows(dy, y, activation, rows, dy.shape[3], needs[2])
    if not (needs[0] or needs[1]):
        return None, None, dbias
    (dz,) = _max_pool2d_backward(dy, (plan.output, index, plan.pool, plan.pool, (0, 0), (1, 1)), (True,))
    dx, dweight, _ = _conv2d_backward(dz, (x, weight, None, plan.alone(None)), (*needs[:2], False))
    return dx, dweight, dbias


def conv2d_avg_pool2d_forward(x, weight, bias, *, plan):
    """y = the mean of each window of a = act(x * w + b)."""
    cdef dl_planned p
    read_plan(plan, x, &p)
    if p.windows == DIRECT:
        found = _line_means(x, weight, bias, plan) if p.pool_h == p.pool_w == 2 else None
        y, a = found or _direct_means(x, weight, bias, plan)
    else:
        a, _ = _conv2d_forward(x, weight, bias, plan=plan.alone(plan.activation))
        y, _ = _avg_pool2d_forward(a, **_windows_of(plan.pool))
    return y, (x, weight, a if p.v.activation else None, plan)


def conv2d_avg_pool2d_backward(dy, saved, needs):
    """dweight and dbias from the windows where lines.h can, all gradients where direct.h can, else from that of a."""
    cdef dl_planned p
    x, weight, a, plan = saved
    read_plan(plan, x, &p)
    found = None
    if p.windows_back == DIRECT and p.pool_h == p.pool_w == 2 and (needs[1] or needs[2]):
        found = _line_means_gradient(dy, a, x, weight, plan, needs)
    rest = (needs[0], False, False) if found else needs
    if not any(rest):
        return None, *(found or (None, None))
    if not found and p.windows_back == DIRECT and p.dx == DIRECT:
        found = _direct_means_gradient(dy, a, x, weight, plan, needs)
        if found:
            return found
    (da,) = _avg_pool2d_backward(dy, (plan.output, plan.pool, plan.pool, (0, 0), True), (True,))
    dx, *others = _conv2d_backward(da, (x, weight, a, plan.alone(plan.activation)), rest)
    return dx, *(found or others)


cdef dict _windows_of(pool_size):
    """The options of avg_pool2d for windows side by side."""
    return {"kernel_size": pool_size, "stride": pool_size, "padding": (0, 0), "ceil_mode": False,
            "count_include_pad": True}
