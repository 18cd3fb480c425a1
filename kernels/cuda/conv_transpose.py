"""Transposed convolution: conv2d's gradient of its image. Defined in `kernels/reference/conv_transpose.py`."""

from __future__ import annotations

from ..conv_methods import PLAIN
from .conv import channel_sums, conv2d_forward, image_gradient, weight_gradient
from .dialect import cuda, kernel
from .gemm import CODES, activate
from .linear import activation_gradient
from .loops import THREADS

ABILITIES = PLAIN


@kernel("ppiiii")
def finish(y, bias, n, channels, has_bias, code):
    """y = act(y + bias), in place."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        value = y[i] + bias[i % channels] if has_bias else y[i]
        y[i] = activate(value, code)


def conv_transpose2d_forward(x, weight, bias, *, plan):
    y = image_gradient(x, weight, plan)
    if bias is not None or plan.activation:
        grid = (-(-y.size // THREADS), 1, 1)
        finish(grid, THREADS, y, bias, y.size, y.shape[-1], bias is not None, CODES[plan.activation])
    return y, (x, weight, y if plan.activation else None, plan)


def conv_transpose2d_backward(dy, saved, needs):
    x, weight, y, plan = saved
    dz = activation_gradient(dy, y, plan.activation)
    dx = conv2d_forward(dz, weight, None, plan=plan.alone(None))[0] if needs[0] else None
    return dx, weight_gradient(dz, x, plan) if needs[1] else None, channel_sums(dz) if needs[2] else None
