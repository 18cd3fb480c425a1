"""Convolution: `conv_methods.choose` names the algorithm of each pass, the file of that name runs it."""

from __future__ import annotations

from ..conv_methods import METHODS, Geometry, choose
from . import depthwise, direct, im2col, pointwise, winograd
from .jit import contiguous
from .linear import activate, activation_gradient

CONV_METHODS = METHODS
ONLY_3X3 = True  # of Winograd: more kinds of tiles would take as many times longer to compile
_MODULES = {"im2col": im2col, "direct": direct, "winograd": winograd, "pointwise": pointwise, "depthwise": depthwise}


def conv2d_forward(x, weight, bias, *, stride, padding, dilation, groups, activation, method):
    """y = act(x * w + b), with bias and ReLU applied before y is first written."""
    geometry = Geometry(stride, padding, dilation, groups)
    kernel = _MODULES[choose("forward", x.shape, weight.shape, geometry, method, ONLY_3X3).method]
    y = kernel.forward(contiguous(x), contiguous(weight), bias, activation == "relu", geometry)
    y = activate(y, activation)
    return y, (x, weight, y if activation else None, stride, padding, dilation, groups, activation, method)


def conv2d_backward(dy, saved, needs):
    """dx, dweight and dbias = sum of dz, where dz = dy act'(y)."""
    x, weight, y, stride, padding, dilation, groups, activation, method = saved
    geometry = Geometry(stride, padding, dilation, groups)
    dz = contiguous(activation_gradient(dy, y, activation))
    dx = dweight = dbias = None
    if needs[0]:
        kernel = _MODULES[choose("dx", x.shape, weight.shape, geometry, method, ONLY_3X3).method]
        dx = kernel.input_gradient(dz, contiguous(weight), x.shape, geometry)
    if needs[1] or needs[2]:
        kernel = _MODULES[choose("dweight", x.shape, weight.shape, geometry, method, ONLY_3X3).method]
        dweight, dbias = kernel.weight_gradient(dz, contiguous(x), weight.shape, geometry, bool(needs[2]))
    return dx, dweight if needs[1] else None, dbias
