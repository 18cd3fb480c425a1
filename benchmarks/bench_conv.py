"""Convolution, forward and backward."""

from rows import conv2d

WORK = [
    conv2d("64 x 28x28x1 to 32, 3x3", (64, 28, 28, 1), (32, 3, 3, 1), pad=1, act="relu"),
    conv2d("64 x 14x14x32 to 64, 3x3", (64, 14, 14, 32), (64, 3, 3, 32), pad=1, act="relu"),
    conv2d("16 x 28x28x64 to 64, 3x3", (16, 28, 28, 64), (64, 3, 3, 64), pad=1),
    conv2d("4 x 112x112x3 to 32, 7x7, stride 2", (4, 112, 112, 3), (32, 7, 7, 3), stride=2, pad=3),
    conv2d("16 x 28x28x128 to 64, 1x1", (16, 28, 28, 128), (64, 1, 1, 128)),
    conv2d("16 x 28x28x64, depthwise 3x3", (16, 28, 28, 64), (64, 3, 3, 1), pad=1, groups=64),
]


def pytorch(torch, x, weight, bias, plan):
    stride, padding, dilation, groups = plan.geometry
    y = torch.nn.functional.conv2d(x, weight, bias, stride, padding[::2], dilation, groups)
    return torch.relu(y) if plan.activation else y


def test_conv2d(step, benchmark):
    benchmark(step)
