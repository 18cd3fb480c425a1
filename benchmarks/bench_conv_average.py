"""Convolution, tanh and average-pooling as one operation, forward and backward: the two of LeNet-5."""

from rows import conv2d_avg_pool2d

WORK = [
    conv2d_avg_pool2d("128 x 28x28x1 to 6, 5x5, 2x2", (128, 28, 28, 1), (6, 5, 5, 1), pad=2, act="tanh"),
    conv2d_avg_pool2d("128 x 14x14x6 to 16, 5x5, 2x2", (128, 14, 14, 6), (16, 5, 5, 6), act="tanh"),
]


def pytorch(torch, x, weight, bias, plan):
    stride, padding, dilation, groups = plan.geometry
    y = torch.nn.functional.conv2d(x, weight, bias, stride, padding[::2], dilation, groups)
    return torch.nn.functional.avg_pool2d(torch.tanh(y), plan.pool)


def test_conv2d_avg_pool2d(step, benchmark):
    benchmark(step)
