"""Normalisation of rows and of groups of channels, forward and backward."""

from rows import group_norm, layer_norm, rms_norm

WORK = [
    layer_norm("2048 x 768", 2048, 768),
    rms_norm("2048 x 768", 2048, 768),
    group_norm("8 x 56x56x64, 32 groups", (8, 56, 56, 64), 32),
    group_norm("32 x 28x28x32, 8 groups", (32, 28, 28, 32), 8),
]


def pytorch(torch, x, weight, bias=None, *, eps, groups=None):
    if groups is not None:
        return torch.nn.functional.group_norm(x, groups, weight, bias, eps)
    if bias is None:
        return torch.nn.functional.rms_norm(x, weight.shape, weight, eps)
    return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, eps)


def test_norm(step, benchmark):
    benchmark(step)
