"""Convolution and pooling, one after the other. The operations are defined in `kernels/reference/conv_pool.py`."""

from __future__ import annotations

from . import conv, pool
from .gemm import CODES, activate
from .linear import activation_gradient
from .loops import mapped


@mapped
def activated(x, code, b):
    return activate(x, code)


def conv2d_max_pool2d_forward(x, weight, bias, *, plan):
    z, _ = conv.conv2d_forward(x, weight, bias, plan=plan.alone(None))
    y, (_, index, *_) = pool.max_pool2d_forward(
        z, kernel_size=plan.pool, stride=plan.pool, padding=(0, 0), dilation=(1, 1), ceil_mode=False
    )
    y = activated(y, CODES[plan.activation]) if plan.activation else y
    return y, (x, weight, y if plan.activation else None, index, plan)


def conv2d_max_pool2d_backward(dy, saved, needs):
    x, weight, y, index, plan = saved
    dy = activation_gradient(dy, y, plan.activation)
    (dz,) = pool.max_pool2d_backward(dy, (plan.output, index, plan.pool, plan.pool, (0, 0), (1, 1)), (True,))
    return conv.conv2d_backward(dz, (x, weight, None, plan.alone(None)), needs)


def conv2d_avg_pool2d_forward(x, weight, bias, *, plan):
    a, _ = conv.conv2d_forward(x, weight, bias, plan=plan.alone(plan.activation))
    y, _ = pool.avg_pool2d_forward(
        a, kernel_size=plan.pool, stride=plan.pool, padding=(0, 0), ceil_mode=False, count_include_pad=True
    )
    return y, (x, weight, a if plan.activation else None, plan)


def conv2d_avg_pool2d_backward(dy, saved, needs):
    x, weight, a, plan = saved
    (da,) = pool.avg_pool2d_backward(dy, (plan.output, plan.pool, plan.pool, (0, 0), True), (True,))
    return conv.conv2d_backward(da, (x, weight, a, plan.alone(plan.activation)), needs)
