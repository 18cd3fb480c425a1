"""Convolution and pooling as one operation. N H W C images, P Q output rows and columns, K out channels."""

from . import conv, pool
from .elementwise import activate, activation_gradient, like


def conv2d_max_pool2d_forward(x, weight, bias, *, stride, padding, dilation, groups, activation, method, pool_size):
    """y = act(max over each window of z), z = x * w + b the convolution (N, H', W', K) that is not kept.

    Windows of pool_size = (ph, pw) lie side by side, y (N, H' // ph, W' // pw, K); rows and columns left over count
    nowhere. Saved: the winners' index, as in max_pool2d, and y where there is an activation.
    """
    geometry = (stride, padding, dilation, groups)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "method": method}
    z, _ = conv.conv2d_forward(x, weight, bias, **options, activation=None)
    y, (shape, index, *_) = pool.max_pool2d_forward(
        z, kernel_size=pool_size, stride=pool_size, padding=(0, 0), dilation=(1, 1), ceil_mode=False
    )
    y = like(activate(y, activation), x)
    return y, (x, weight, y if activation else None, shape, index, geometry, activation, method, pool_size)


def conv2d_max_pool2d_backward(dy, saved, needs):
    """dz = dy act'(y) at each window's winner and 0 elsewhere; from there on conv2d's gradients."""
    x, weight, y, shape, index, geometry, activation, method, pool_size = saved
    dy = activation_gradient(dy, y, activation)
    (dz,) = pool.max_pool2d_backward(dy, (shape, index, pool_size, pool_size, (0, 0), (1, 1)), (True,))
    return conv.conv2d_backward(dz, (x, weight, None, *geometry, None, method), needs)


def conv2d_avg_pool2d_forward(x, weight, bias, *, stride, padding, dilation, groups, activation, method, pool_size):
    """y = mean over each window of a, a = act(x * w + b) (N, H', W', K).

    Windows as in conv2d_max_pool2d. Saved: a where there is an activation, in any order of its axes in memory.
    """
    geometry = (stride, padding, dilation, groups)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "method": method}
    a, _ = conv.conv2d_forward(x, weight, bias, **options, activation=activation)
    y, _ = pool.avg_pool2d_forward(
        a, kernel_size=pool_size, stride=pool_size, padding=(0, 0), ceil_mode=False, count_include_pad=True
    )
    return y, (x, weight, a if activation else None, a.shape, geometry, activation, method, pool_size)


def conv2d_avg_pool2d_backward(dy, saved, needs):
    """da = dy / (ph pw) at each pixel of a window and 0 at those left over; from there on conv2d's gradients."""
    x, weight, a, shape, geometry, activation, method, pool_size = saved
    (da,) = pool.avg_pool2d_backward(dy, (shape, pool_size, pool_size, (0, 0), True), (True,))
    return conv.conv2d_backward(da, (x, weight, a, *geometry, activation, method), needs)
