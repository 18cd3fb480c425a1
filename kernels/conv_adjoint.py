"""Transposed convolution by a backend's conv2d, whose image and gradient change places. Shared by the fast backends.

The forward of conv_transpose2d is conv2d's gradient of the image, its gradient of x is conv2d's forward, and its
gradient of the weight is conv2d's, all with the same weight array and so by the same plan
(`conv_plan.plan_of_transposed`).
"""

from __future__ import annotations

import numpy as np


def spread(conv2d_backward, x, weight, plan):
    """y (N, P, Q, O) without bias: the gradient of an image, where conv2d's output has the gradient x."""
    # Of the image that conv2d read its gradient needs no more than the shape: one zero, repeated without memory.
    image = np.broadcast_to(np.zeros((), x.dtype), plan.image)
    return conv2d_backward(x, (image, weight, None, plan.alone(None)), (True, False, False))[0]


def collect(conv2d_forward, conv2d_backward, dz, saved, needs):
    """(dx, dweight) for the gradient dz (N, P, Q, O) of y before its activation."""
    x, weight, _, plan = saved
    alone, dx, dweight = plan.alone(None), None, None
    if needs[0]:
        dx, _ = conv2d_forward(dz, weight, None, plan=alone)
    if needs[1]:
        dweight = conv2d_backward(x, (dz, weight, None, alone), (False, needs[1], False))[1]
    return dx, dweight
