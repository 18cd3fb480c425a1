"""Convolution and pooling as one operation. N H W C images, P Q output rows and columns, K out channels."""

from . import conv, pool
from .elementwise import activate, activation_gradient, like


def conv2d_max_pool2d_forward(x, weight, bias, *, plan):
    """y = act(max over each window of z), z = x * w + b the convolution (N, H', W', K) that is not kept.

    Windows of plan.pool = (ph, pw) lie side by side, y (N, H' // ph, W' // pw, K); rows and columns left over count
    nowhere. Saved: the winners' index, as in max_pool2d, and y where there is an activation.
    """
    z, _ = conv.conv2d_forward(x, weight, bias, plan=plan.alone(None))
    y, (_, index, *_) = pool.max_pool2d_forward(
        z, kernel_size=plan.pool, stride=plan.pool, padding=(0, 0), dilation=(1, 1), ceil_mode=False
    )
    y = like(activate(y, plan.activation), x)
    return y, (x, weight, y if plan.activation else None, index, plan)


def conv2d_max_pool2d_backward(dy, saved, needs):
    """dz = dy act'(y) at each window's winner and 0 elsewhere; from there on conv2d's gradients."""
    x, weight, y, index, plan = saved
    dy = activation_gradient(dy, y, plan.activation)
    (dz,) = pool.max_pool2d_backward(dy, (plan.output, index, plan.pool, plan.pool, (0, 0), (1, 1)), (True,))
    return conv.conv2d_backward(dz, (x, weight, None, plan.alone(None)), needs)


def conv2d_avg_pool2d_forward(x, weight, bias, *, plan):
    """y = mean over each window of a, a = act(x * w + b) (N, H', W', K).

    Windows as in conv2d_max_pool2d. Saved: a where there is an activation, in any order of its axes in memory.
    """
    a, _ = conv.conv2d_forward(x, weight, bias, plan=plan.alone(plan.activation))
    y, _ = pool.avg_pool2d_forward(
        a, kernel_size=plan.pool, stride=plan.pool, padding=(0, 0), ceil_mode=False, count_include_pad=True
    )
    return y, (x, weight, a if plan.activation else None, plan)


def conv2d_avg_pool2d_backward(dy, saved, needs):
    """da = dy / (ph pw) at each pixel of a window and 0 at those left over; from there on conv2d's gradients."""
    x, weight, a, plan = saved
    (da,) = pool.avg_pool2d_backward(dy, (plan.output, plan.pool, plan.pool, (0, 0), True), (True,))
    return conv.conv2d_backward(da, (x, weight, a, plan.alone(plan.activation)), needs)
