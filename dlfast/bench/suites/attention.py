"""Scaled dot-product attention, forward and backward, beside PyTorch's own function; and what stands around it."""

from __future__ import annotations

from functools import partial

import numpy as np

from ... import functional as F
from ..rows import BEST, Group, Operation, Row, Step, traffic
from . import layers


def attention(
    batch: int,
    heads: int,
    queries: int,
    size: int,
    target: float | None = None,
    *,
    keys: int | None = None,
    causal: bool = False,
    mask: np.ndarray | None = None,
    dropout: float = 0.0,
    words: str = "",
) -> Row:
    """A row: all gradients of queries and keys (as many where None), the words before its sizes.

    mask: (T, S) or (B, 1, S), True where a query may look. Batch and heads are one axis, lest the frame see images.
    """
    keys = queries if keys is None else keys
    shape, other = (batch * heads, queries, size), (batch * heads, keys, size)
    own = mask if mask is None or mask.ndim == 2 else np.repeat(mask, heads, axis=0)
    peers = mask if mask is None or mask.ndim == 2 else mask[:, None]
    work = partial(_work, batch, heads, (shape, other, other), causal, own, peers, dropout)
    sizes = f"{queries} x {size}" if keys == queries else f"{queries} ({keys} keys) x {size}"
    return Row(
        f"{words}{'causal ' * causal}{batch} x {heads} x {sizes}{f', dropout {dropout:g}' if dropout else ''}",
        work,
        flops=14.0 * batch * heads * queries * keys * size / (2 if causal else 1),
        targets=None if target is None else {BEST: target},
    )


def _work(batch, heads, shapes, causal, own, peers, dropout):
    def operation(dropout):
        ours = partial(_ours, own, causal, dropout)
        pytorch = partial(_pytorch, batch, heads, peers, causal, dropout)
        return Operation(shapes, (True,) * 3, shapes[0], ours, pytorch)

    return WithoutDropout(operation(dropout), operation(0.0)) if dropout else operation(0.0)


def _ours(mask, causal, dropout, q, k, v):
    return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)


def _pytorch(batch, heads, mask, causal, dropout, torch, *tensors):
    q, k, v = (x.view(batch, heads, *x.shape[1:]) for x in tensors)
    mask = None if mask is None else torch.from_numpy(mask)
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal)
    return y.reshape(tensors[0].shape)


class WithoutDropout:
    """An operation with dropout, whose masks are each library's own: what is compared is the same without it."""

    def __init__(self, timed: Operation, compared: Operation):
        self.timed, self.compared = timed, compared

    def ours(self) -> Step:
        return _TwoSteps(self.timed.ours(), self.compared.ours())

    def peers(self, pytorch: bool) -> dict[str, Step]:
        compared = self.compared.peers(pytorch)
        return {name: _TwoSteps(step, compared[name]) for name, step in self.timed.peers(pytorch).items()}


class _TwoSteps:
    def __init__(self, timed: Step, compared: Step):
        self.timed, self.results = timed, compared.results

    def __call__(self) -> object:
        return self.timed()


def gelu(rows: int, features: int, target: float) -> Row:
    """A row: GELU, exact."""
    shape = (rows, features)
    work = partial(Operation, [shape], (True,), shape, F.gelu, partial(layers._activation, "gelu"))
    return Row(f"GELU, {rows} x {features}", work, bytes=traffic([shape], (True,), shape), targets={BEST: target})


def embedding(rows: int, features: int, tokens: int, target: float) -> Row:
    """A row: so many rows of a table, and the gradient of all of it."""
    places = np.random.default_rng(0).integers(0, rows, tokens)
    ours, pytorch = partial(F.embedding, places), partial(_embedding, places)
    return Row(
        f"embedding, {rows} x {features}, {tokens} tokens",
        partial(Operation, [(rows, features)], (True,), (tokens, features), ours, pytorch),
        bytes=4.0 * features * (rows + 4 * tokens),
        targets={BEST: target},
    )


def _embedding(places, torch, weight):
    return torch.nn.functional.embedding(torch.from_numpy(places), weight)


GROUPS = [
    Group(
        "attention",
        [
            attention(4, 8, 256, 64, 2.0, causal=True),
            attention(4, 8, 256, 64, 1.5),
            attention(1, 8, 2048, 64, 2.0, causal=True),
            attention(8, 4, 128, 32, 3.0, dropout=0.1),
        ],
    ),
    Group(
        "around attention",
        [
            layers.layer_norm(2048, 768, 1.5),
            layers.rms_norm(2048, 768, 1.5),
            gelu(2048, 768, 1.5),
            layers.softmax("softmax", 2048, 768, 1.5),
            layers.cross_entropy(2048, 8192, 1.5),
            embedding(32768, 256, 4096, 2.0),
        ],
    ),
]
