"""Convolution and batch normalisation, one after the other, by a backend's two operations. Shared by all backends."""

from __future__ import annotations


def convolved_and_normalised(conv2d_forward, batch_norm_forward, saved):
    """(y, saved) of the normalisation, and what the convolution saved, from what conv2d_batch_norm saves."""
    images, (norm_weight, norm_bias, residual, mean, var), plan, eps = saved
    z, of_conv = conv2d_forward(*images, plan=plan.alone(None))
    y, of_norm = batch_norm_forward(z, norm_weight, norm_bias, residual, mean, var, eps=eps, activation=plan.activation)
    return y, of_norm, of_conv


def gradients_of_both(forwards, backwards, dy, saved, needs):
    """One gradient for each array; forwards and backwards: those of conv2d and of batch_norm."""
    _, of_norm, of_conv = convolved_and_normalised(*forwards, saved)
    conv2d_backward, batch_norm_backward = backwards
    wanted = any(needs[:3]), *needs[3:6], False, False
    dz, *of_norm = batch_norm_backward(dy, of_norm, wanted)
    of_conv = (None, None, None) if dz is None else conv2d_backward(dz, of_conv, needs[:3])
    return *of_conv, *of_norm
