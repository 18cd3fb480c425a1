"""Convolution and batch normalisation by given statistics as one operation: here it is the two it is made of."""

from ..conv_then_norm import convolved_and_normalised, gradients_of_both
from .batch_norm import batch_norm_backward, batch_norm_forward
from .conv import conv2d_backward, conv2d_forward


def conv2d_batch_norm_forward(x, weight, bias, norm_weight, norm_bias, residual, mean, var, *, plan, eps):
    """y = act(norm(x * w + b) + residual)."""
    saved = (x, weight, bias), (norm_weight, norm_bias, residual, mean, var), plan, eps
    return convolved_and_normalised(conv2d_forward, batch_norm_forward, saved)[0], saved


def conv2d_batch_norm_backward(dy, saved, needs):
    """By way of x * w + b, computed again."""
    forwards, backwards = (conv2d_forward, batch_norm_forward), (conv2d_backward, batch_norm_backward)
    return gradients_of_both(forwards, backwards, dy, saved, needs)
