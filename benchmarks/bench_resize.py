"""Interpolation and the maxima of bins, forward and backward."""

from arrays import normal
from rows import adaptive_max_pool2d, interpolate

WORK = [
    *(interpolate("8 x 28x28x64, doubled", (8, 28, 28, 64), (56, 56), mode) for mode in ("nearest", "bilinear")),
    interpolate("8 x 64x64x3, doubled", (8, 64, 64, 3), (128, 128), "bilinear"),
    adaptive_max_pool2d("16 x 31x31x64 to 7x7", (16, 31, 31, 64), (7, 7), fill=normal),
]


def pytorch(torch, x, *, size=None, step=None, mode=None, align_corners=None, output_size=None):
    if output_size is not None:
        return torch.nn.functional.adaptive_max_pool2d(x, output_size)
    return torch.nn.functional.interpolate(x, size, mode=mode, align_corners=False if mode == "bilinear" else None)


def test_resize(step, benchmark):
    benchmark(step)
