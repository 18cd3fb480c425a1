"""Max-pooling, forward and backward."""

from arrays import normal
from rows import max_pool2d

WORK = [
    max_pool2d("64 x 28x28x32, 2x2", (64, 28, 28, 32), 2, fill=normal),
    max_pool2d("64 x 14x14x64, 2x2", (64, 14, 14, 64), 2, fill=normal),
    max_pool2d("8 x 112x112x64, 3x3, stride 2", (8, 112, 112, 64), 3, 2, 1, fill=normal),
]


def pytorch(torch, x, kernel_size, stride, padding, dilation, ceil_mode):
    return torch.nn.functional.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode)


def test_max_pool2d(step, benchmark):
    benchmark(step)
