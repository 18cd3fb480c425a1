"""Recurrent layers and attention of shapes drawn by chance, as the suite `random` draws others.

Recurrent layers: 1 to 500 steps, batches of 1 to 200, 3 to 500 hidden units, half of them with lengths drawn by chance,
some in both directions, some two deep. Attention: heads of 8 to 128 features, up to 1000 queries, each of which sees
all keys, those before it, those that a mask shows, or those that are no padding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..rows import Group, Row
from ..sequences import Layer
from .attention import attention
from .random import Draw, choice, drawn, size
from .recurrent import GATES

PRODUCTS = 1 << 28  # of a forward pass of recurrent layers, at most
STEPS = 500  # through its layers and directions, at most: PyTorch takes some 100 us for each
SCORES = 1 << 26  # products of queries and keys, at most
WISH = 2.0
# A value that rounding puts on the other side of ReLU's kink: in one of a thousand layers, PyTorch differs as much.
KINKS = 0.1


def recurrent(kind: str, draw: Draw) -> Row:
    """A layer of that kind, or two of them."""
    layers, ways = choice(draw, 1, 1, 2), choice(draw, 1, 1, 2)
    while True:
        steps, batch, features, hidden = size(draw, 1, 500), size(draw, 1, 200), size(draw, 1, 500), size(draw, 3, 500)
        inputs = features + (layers - 1) * ways * hidden
        products = steps * batch * GATES[kind] * hidden * ways * (inputs + layers * hidden)
        if products <= PRODUCTS and steps * layers * ways <= STEPS:
            break
    lengths = draw.integers(1, steps + 1, batch) if choice(draw, False, True) else None
    options = {"num_layers": layers, "bidirectional": ways > 1}
    words = ["2 layers"] * (layers > 1) + ["bidirectional"] * (ways > 1)
    if kind == "RNN":
        options["nonlinearity"] = choice(draw, "tanh", "relu")
        words.append(options["nonlinearity"])
    share = 1.0 if lengths is None else lengths.sum() / (steps * batch)
    words += [] if lengths is None else [f"lengths of {share:.0%}"]
    return Row(
        ", ".join([f"{kind} T {steps}, B {batch}, {features} -> {hidden}", *words]),
        partial(Layer, kind, steps, batch, features, hidden, options, lengths),
        flops=6.0 * products * share,
        tolerance=KINKS if options.get("nonlinearity") == "relu" else Row.tolerance,
    )


def attended(draw: Draw) -> Row:
    """Queries that see all keys, those before them, those of a mask, or those that are no padding; two keys at least,
    lest the gradients of queries and keys be all rounding. (PyTorch gives NaN where a query sees none.)
    """
    sight = choice(draw, "all", "causal", "causal", "mask", "padding")
    while True:
        batch, heads, features = size(draw, 1, 32), size(draw, 1, 16), size(draw, 8, 128)
        queries = keys = size(draw, 2, 1000)
        if sight in ("all", "padding") and choice(draw, False, True):
            queries = size(draw, 1, 1000)
        if batch * heads * queries * keys * features <= SCORES:
            break
    mask = None
    if sight == "mask":
        mask = draw.random((queries, keys)) < 0.7
        mask[:, :2] = True
    if sight == "padding":
        mask = np.arange(keys) < draw.integers(2, keys + 1, (batch, 1, 1))
    words = f"{sight}, " if sight in ("mask", "padding") else ""
    return attention(batch, heads, queries, features, keys=keys, causal=sight == "causal", mask=mask, words=words)


KINDS: dict[str, Callable[[Draw], Row]] = {kind: partial(recurrent, kind) for kind in GATES} | {"attention": attended}


def groups(seed: int, count: int) -> list[Group]:
    """A group for each kind, of `count` rows with different names."""
    return [
        Group(f"random {kind}", drawn(function, np.random.default_rng([seed, i]), count), WISH, drawn=True)
        for i, (kind, function) in enumerate(KINDS.items())
    ]
