"""Convolution and, as in evaluation, batch normalisation by given statistics. N H W C images, K out channels."""

from ..conv_then_norm import convolved_and_normalised, gradients_of_both
from . import conv, norm


def conv2d_batch_norm_forward(x, weight, bias, norm_weight, norm_bias, residual, mean, var, *, plan, eps):
    """y = act((z - mean) / sqrt(var + eps) norm_weight + norm_bias + residual), z = x * w + b the convolution.

    mean, var, norm_weight and norm_bias (K,), the last two or None; residual like y, or None. Everything else as
    conv2d. z is not kept: backward computes it again.
    """
    saved = (x, weight, bias), (norm_weight, norm_bias, residual, mean, var), plan, eps
    return convolved_and_normalised(conv.conv2d_forward, norm.batch_norm_forward, saved)[0], saved


def conv2d_batch_norm_backward(dy, saved, needs):
    """The gradients of batch_norm, mean and var being constants, and with that of z those of conv2d."""
    forwards = conv.conv2d_forward, norm.batch_norm_forward
    backwards = conv.conv2d_backward, norm.batch_norm_backward
    return gradients_of_both(forwards, backwards, dy, saved, needs)
