"""Convolution, ReLU and max-pooling as one operation, forward and backward."""

from rows import conv2d_max_pool2d

WORK = [
    conv2d_max_pool2d("64 x 28x28x1 to 32, 3x3, 2x2", (64, 28, 28, 1), (32, 3, 3, 1), pad=1, act="relu"),
    conv2d_max_pool2d("16 x 64x64x3 to 32, 3x3, 2x2", (16, 64, 64, 3), (32, 3, 3, 3), pad=1, act="relu"),
]


def pytorch(torch, x, weight, bias, plan):
    stride, padding, dilation, groups = plan.geometry
    y = torch.nn.functional.conv2d(x, weight, bias, stride, padding[::2], dilation, groups)
    y = torch.nn.functional.max_pool2d(y, plan.pool)
    return torch.relu(y) if plan.activation else y


def test_conv2d_max_pool2d(step, benchmark):
    benchmark(step)
