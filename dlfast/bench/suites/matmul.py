"""Matrix products: square ones, and fully connected layers with bias and ReLU, forward and backward."""

from __future__ import annotations

from functools import partial

from ... import functional as F
from ..rows import BEST, Group, Operation, Row, quarters, traffic


def square(size: int, peak_share: float | None = None) -> Row:
    """A row: the product of two matrices size x size, forward alone."""
    shapes = [(size, size)] * 2
    return Row(
        f"{size} x {size} x {size}",
        partial(Operation, shapes, (False, False), shapes[0], F.matmul, _matmul, numpy=lambda a, b: a @ b),
        flops=2.0 * size**3,
        bytes=traffic(shapes, (False, False), shapes[0]),
        targets={BEST: 0.95},
        peak_share=peak_share,
    )


def linear_relu(batch: int, features: int) -> Row:
    """A row: y = relu(x W^T + b), forward and backward with every gradient, as many outputs as inputs."""
    shapes, needs, output = [(batch, features), (features, features), (features,)], (True,) * 3, (batch, features)
    ours = partial(F.linear, activation="relu")
    return Row(
        f"batch {batch}, {features} to {features}",
        partial(Operation, shapes, needs, output, ours, _linear_relu, draw=quarters),
        flops=3 * 2.0 * batch * features**2,
        bytes=traffic(shapes, needs, output),
    )


def _matmul(torch, a, b):
    return a @ b


def _linear_relu(torch, x, weight, bias):
    return torch.nn.functional.linear(x, weight, bias).relu_()


GROUPS = [
    Group(
        "matrix product, forward",
        [square(size, 0.85 if size == 1024 else None) for size in (512, 768, 1024, 1536, 2048)],
    ),
    Group(
        "linear + ReLU", [linear_relu(n, features) for n in (1, 8, 32, 64) for features in (128, 256, 512, 1024)], 2.0
    ),
]
