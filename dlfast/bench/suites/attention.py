"""Scaled dot-product attention, forward and backward, beside PyTorch's own function."""

from __future__ import annotations

from functools import partial

from ... import functional as F
from ..rows import BEST, Group, Operation, Row


def attention(batch: int, heads: int, steps: int, size: int, target: float, *, causal: bool = False) -> Row:
    """A row: queries, keys and values of one shape; batch and heads are one axis, lest the frame see images."""
    shape = (batch * heads, steps, size)
    ours = partial(F.scaled_dot_product_attention, is_causal=causal)
    pytorch = partial(_pytorch, batch, heads, causal)
    products = 14.0 * batch * heads * steps * steps * size / (2 if causal else 1)
    return Row(
        f"{'causal ' * causal}{batch} x {heads} x {steps} x {size}",
        partial(Operation, [shape] * 3, (True,) * 3, shape, ours, pytorch),
        flops=products,
        targets={BEST: target},
    )


def _pytorch(batch, heads, causal, torch, *tensors):
    q, k, v = (x.view(batch, heads, *x.shape[1:]) for x in tensors)
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return y.reshape(tensors[0].shape)


GROUPS = [
    Group(
        "attention",
        [
            attention(4, 8, 256, 64, 2.0, causal=True),
            attention(4, 8, 256, 64, 1.5),
            attention(1, 8, 2048, 64, 2.0, causal=True),
            attention(8, 4, 128, 32, 1.5),
        ],
    )
]
