"""Transposed convolution: conv2d's gradient of its image. Defined in `kernels/reference/conv_transpose.py`."""

from __future__ import annotations

import math

from .conv import channel_sums, conv2d_forward, image_gradient, on_device, weight_gradient
from .gemm import finished
from .linear import activated


def conv_transpose2d_forward(x, weight, bias, *, plan):
    y = finished(image_gradient(x, weight, plan), bias, plan.activation)
    return y, (x, weight, y if plan.activation else None, plan)


def conv_transpose2d_backward(dy, saved, needs):
    x, weight, y, plan = saved
    plan = on_device(plan, x)
    dz, dbias = activated(dy, y, plan.activation, math.prod(dy.shape[:-1]), needs[2])
    dz = dz.reshape(plan.image)
    dx = conv2d_forward(dz, weight, None, plan=plan.alone(None))[0] if needs[0] else None
    dweight, _ = weight_gradient(dz, x, plan) if needs[1] else (None, None)
    return dx, dweight, channel_sums(dz) if needs[2] and dbias is None else dbias
