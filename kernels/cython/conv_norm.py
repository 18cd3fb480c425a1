"""Convolution and batch normalisation by given statistics: the convolution's output is finished while it is in cache.

See conv_finish.h; the forward stands in conv.pyx, beside the methods that it is made of.
"""

from ..conv_then_norm import gradients_of_both
from .conv import conv2d_backward, conv2d_batch_norm_forward, conv2d_forward
from .norm import batch_norm_backward, batch_norm_forward

__all__ = ["conv2d_batch_norm_backward", "conv2d_batch_norm_forward"]


def conv2d_batch_norm_backward(dy, saved, needs):
    """By way of x * w + b, computed again."""
    forwards, backwards = (conv2d_forward, batch_norm_forward), (conv2d_backward, batch_norm_backward)
    return gradients_of_both(forwards, backwards, dy, saved, needs)
