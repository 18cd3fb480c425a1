"""Convolution and batch normalisation by given statistics. Defined in `kernels/reference/conv_norm.py`."""

from __future__ import annotations

from ..conv_then_norm import convolved_and_normalised, gradients_of_both
from . import conv, norm


def conv2d_batch_norm_forward(x, weight, bias, norm_weight, norm_bias, residual, mean, var, *, plan, eps):
    saved = (x, weight, bias), (norm_weight, norm_bias, residual, mean, var), plan, eps
    return convolved_and_normalised(conv.conv2d_forward, norm.batch_norm_forward, saved)[0], saved


def conv2d_batch_norm_backward(dy, saved, needs):
    forwards = conv.conv2d_forward, norm.batch_norm_forward
    backwards = conv.conv2d_backward, norm.batch_norm_backward
    return gradients_of_both(forwards, backwards, dy, saved, needs)
