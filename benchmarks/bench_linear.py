"""Linear layers and matrix products, forward and backward."""

from rows import linear, matmul

WORK = [
    linear("batch 1, 784 to 128", (1,), 784, 128, act="relu"),
    linear("batch 64, 784 to 128", (64,), 784, 128, act="relu"),
    linear("batch 64, 3136 to 128", (64,), 3136, 128, act="relu"),
    linear("batch 512, 1024 to 1024", (512,), 1024, 1024),
    matmul("512 x 512 x 512", (512, 512), (512, 512)),
    matmul("32 of 128 x 64 x 128", (32, 128, 64), (32, 64, 128)),
]


def pytorch(torch, a, b, bias=None, activation=None):
    y = torch.matmul(a, b) if bias is None else torch.nn.functional.linear(a, b, bias)
    return torch.relu(y) if activation else y


def test_linear(step, benchmark):
    benchmark(step)
