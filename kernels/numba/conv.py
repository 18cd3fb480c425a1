"""Convolution: the plan names the algorithm of each pass, the file of that name runs it."""

from __future__ import annotations

from ..conv_methods import Abilities
from . import depthwise, direct, im2col, pointwise, winograd
from .jit import contiguous
from .linear import activate, activation_gradient

# More kinds of Winograd's tiles would take as many times longer to compile. A mean leaves out no writing: the gradient
# of the activation needs the pixels.
ABILITIES = Abilities(only_3x3=True, pooled=("direct",), scatters=True)
_MODULES = {"im2col": im2col, "direct": direct, "winograd": winograd, "pointwise": pointwise, "depthwise": depthwise}


def conv2d_forward(x, weight, bias, *, plan):
    """y = act(x * w + b), with bias and ReLU applied before y is first written."""
    plan = plan.of(ABILITIES)
    forward = _MODULES[plan.forward].forward
    y = forward(contiguous(x), contiguous(weight), bias, plan.activation == "relu", plan.geometry)
    y = activate(y, plan.activation)
    return y, (x, weight, y if plan.activation else None, plan)


def conv2d_backward(dy, saved, needs):
    """dx, dweight and dbias = sum of dz, where dz = dy act'(y)."""
    x, weight, y, plan = saved
    plan = plan.of(ABILITIES)
    dz = contiguous(activation_gradient(dy, y, plan.activation))
    dx = dweight = dbias = None
    if needs[0]:
        dx = _MODULES[plan.dx].input_gradient(dz, contiguous(weight), x.shape, plan.geometry)
    if needs[1] or needs[2]:
        kernel = _MODULES[plan.dweight]
        dweight, dbias = kernel.weight_gradient(dz, contiguous(x), weight.shape, plan.geometry, bool(needs[2]))
    return dx, dweight if needs[1] else None, dbias
