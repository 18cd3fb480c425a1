"""The table behind `dlfast gradcheck`: each operation once, at points away from kinks and ties.

Activations and other functions of one array need no row here: those that have none are added by themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import functional as F

Case = tuple[str, Callable[..., Any], list]


def cases() -> Iterator[Case]:
    """(name, function, inputs) for every operation."""
    named: set[str] = set()
    families = (_arithmetic, _shapes, _matrices, _windows, _elementwise, _losses, _normalisation)
    for family in (*families, _recurrent, _sequences, _attention):
        for case in family(np.random.default_rng(0)):
            named.add(case[0].partition(",")[0])
            yield case
    for name in F.__all__:
        if name not in named and _takes_one_array(getattr(F, name)):
            yield name, getattr(F, name), [2 * smooth(np.random.default_rng(0), 4, 5)]


def _takes_one_array(function: Callable) -> bool:
    """Whether it is called as f(x), as activations are."""
    first, *others = inspect.signature(function).parameters.values()
    return first.name == "x" and all(p.default is not p.empty for p in (*others,)) and first.default is first.empty


def smooth(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Distinct values at least 0.05 from each other and from 0, in random order: no kink or tie within eps."""
    size = int(np.prod(shape))
    values = (np.arange(size) - size // 2 + 0.5) * (0.1 if size > 20 else 0.3)
    return rng.permutation(values).reshape(shape)


def _arithmetic(rng: np.random.Generator) -> Iterator[Case]:
    a, row, positive = smooth(rng, 3, 4), smooth(rng, 4), rng.uniform(0.5, 2, (3, 4))
    yield "add", lambda x, y: x + y, [a, row]
    yield "subtract", lambda x, y: x - y, [a, row]
    yield "multiply", lambda x, y: x * y, [a, row]
    yield "divide", lambda x, y: x / y, [a, rng.uniform(0.5, 2, 4)]
    yield "power", lambda x, y: x**y, [positive, row]
    yield "negative", lambda x: -x, [a]
    yield "exp", lambda x: x.exp(), [a]
    yield "log", lambda x: x.log(), [positive]
    yield "sqrt", lambda x: x.sqrt(), [positive]
    yield "abs", lambda x: x.abs(), [a]
    yield "clip", lambda x: x.clip(-1.0, 1.0), [a]
    yield "sum", lambda x: x.sum(0), [a]
    yield "mean", lambda x: x.mean(1, keepdims=True), [a]
    yield "var", lambda x: x.var(1, ddof=1), [a]
    yield "max", lambda x: x.max(1), [a]
    yield "min", lambda x: x.min(), [a]


def _shapes(rng: np.random.Generator) -> Iterator[Case]:
    a, b = smooth(rng, 2, 3, 4), smooth(rng, 2, 3, 4)
    yield "getitem", lambda x: x[[1, 0, 1], 1:], [a]
    yield "reshape", lambda x: x.reshape(4, -1), [a]
    yield "permute", lambda x: x.permute(2, 0, 1), [a]
    yield "transpose", lambda x: x.transpose(1, 2), [a]
    yield "concatenate", lambda x, y: F.concatenate([x, y], axis=1), [a, b]
    yield "stack", lambda x, y: F.stack([x, y], axis=1), [a, b]
    yield "pad", lambda x: F.pad(x, ((0, 0), (1, 2), (0, 1))), [a]
    for mode in ("reflect", "replicate", "circular"):
        yield f"pad, {mode}", lambda x, mode=mode: F.pad(x, ((0, 1), (1, 2), (3, 0)), mode=mode), [a]
    yield "pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), [smooth(rng, 1, 2, 3, 8)]
    yield "pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 2), [smooth(rng, 1, 2, 4, 2)]


def _matrices(rng: np.random.Generator) -> Iterator[Case]:
    x, w, b = rng.normal(size=(3, 5)), rng.normal(size=(4, 5)), rng.normal(size=4)
    yield "matmul", F.matmul, [rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 2))]
    yield "linear", F.linear, [x, w, b]
    yield "linear + tanh", lambda x, w, b: F.linear(x, w, b, activation="tanh"), [x, w, b]
    indices = np.array([[0, 2], [2, 3]])
    yield "embedding", lambda w: F.embedding(indices, w), [w]


def _windows(rng: np.random.Generator) -> Iterator[Case]:
    x, w, b = rng.normal(size=(2, 5, 6, 4)), rng.normal(size=(4, 3, 2, 4)), rng.normal(size=4)
    yield "conv2d", lambda x, w, b: F.conv2d(x, w, b, padding=((1, 0), (0, 2))), [x, w, b]
    yield "conv2d, strided, dilated", lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), dilation=2, padding=2), [x, w, b]
    yield "conv2d, grouped", lambda x, w, b: F.conv2d(x, w, b, groups=2), [x, w[..., :2].copy(), b]
    yield "conv1d", lambda x, w, b: F.conv1d(x, w, b, 2, (2, 1)), [x[0], w[:, 0].copy(), b]
    small = rng.normal(size=(2, 3, 4, 4))
    yield "conv_transpose2d", lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1), [small, w, b]
    yield (
        "conv_transpose2d, dilated, grouped",
        lambda x, w, b: F.conv_transpose2d(x, w, b, (1, 2), ((0, 1), (1, 0)), (2, 1), groups=2, dilation=3),
        [small, w[..., :2].copy(), b],
    )
    sequence = rng.normal(size=(2, 4, 4))
    yield "conv_transpose1d", lambda x, w, b: F.conv_transpose1d(x, w, b, 2, 1, 1), [sequence, w[:, 0].copy(), b]
    yield "conv2d_max_pool2d", lambda x, w, b: F.conv2d_max_pool2d(x, w, b, activation="tanh"), [x, w, b]
    yield "conv2d_avg_pool2d", lambda x, w, b: F.conv2d_avg_pool2d(x, w, b, activation="tanh"), [x, w, b]
    image = smooth(rng, 1, 5, 6, 2)
    yield "max_pool2d", lambda x: F.max_pool2d(x, 3, 2, 1), [image]
    yield "max_pool1d", lambda x: F.max_pool1d(x, 2), [smooth(rng, 2, 6, 3)]
    yield "avg_pool2d", lambda x: F.avg_pool2d(x, (3, 2), 2, 1), [image]
    yield "avg_pool1d", lambda x: F.avg_pool1d(x, 3, 2, 1), [smooth(rng, 2, 6, 3)]
    yield "adaptive_avg_pool1d", lambda x: F.adaptive_avg_pool1d(x, 4), [smooth(rng, 2, 6, 3)]
    yield "adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, (2, 4)), [image]
    yield "adaptive_max_pool1d", lambda x: F.adaptive_max_pool1d(x, 4), [smooth(rng, 2, 6, 3)]
    yield "adaptive_max_pool2d", lambda x: F.adaptive_max_pool2d(x, (2, 4)), [image]
    yield "interpolate", lambda x: F.interpolate(x, (7, 4)), [image]
    yield "interpolate, bilinear", lambda x: F.interpolate(x, scale_factor=(1.5, 0.7), mode="bilinear"), [image]
    yield "interpolate, corners aligned", lambda x: F.interpolate(x, 8, None, "bilinear", True), [image]


def _elementwise(rng: np.random.Generator) -> Iterator[Case]:
    x = smooth(rng, 4, 5)
    yield "gelu, tanh", lambda x: F.gelu(x, approximate="tanh"), [x]
    yield "threshold", lambda x: F.threshold(x, 0.5, -1.0), [x]
    yield "prelu", F.prelu, [x, rng.uniform(0.1, 0.5, 5)]
    yield "glu", lambda x: F.glu(x, 0), [x]
    yield "dropout", lambda x: F.dropout(x, 0.4), [x]
    yield "dropout1d", lambda x: F.dropout1d(x, 0.4), [smooth(rng, 3, 2, 4)]
    yield "dropout2d", lambda x: F.dropout2d(x, 0.4), [smooth(rng, 3, 2, 2, 4)]


def _losses(rng: np.random.Generator) -> Iterator[Case]:
    x, t = smooth(rng, 4, 5), rng.normal(size=(4, 5))
    labels, weight, p = np.array([0, 4, -100, 2]), rng.uniform(0.5, 2, 5), rng.uniform(0.1, 0.9, (4, 5))
    yield "cross_entropy", lambda x: F.cross_entropy(x, labels), [x]
    yield "cross_entropy, smoothed", lambda x: F.cross_entropy(x, labels, weight, label_smoothing=0.2), [x]
    yield "nll_loss", lambda x: F.nll_loss(x, labels, weight), [x]
    yield "mse_loss", F.mse_loss, [x, t]
    yield "l1_loss", F.l1_loss, [x, x + rng.choice([-0.5, 0.5], x.shape)]
    yield "huber_loss", F.huber_loss, [x, x + rng.choice([-2, -0.5, 0.5, 2], x.shape)]
    yield (
        "smooth_l1_loss",
        lambda x, t: F.smooth_l1_loss(x, t, beta=0.7),
        [x, x + rng.choice([-2, -0.5, 0.5, 2], x.shape)],
    )
    yield "kl_div", lambda x, p: F.kl_div(x, p, "batchmean"), [x, p]
    yield "kl_div, logarithms", lambda x, t: F.kl_div(x, t, log_target=True), [x, t]
    yield "binary_cross_entropy", F.binary_cross_entropy, [p, p[::-1].copy()]
    signs, other = rng.choice([-1, 1], 4), rng.normal(size=(4, 5))
    yield "cosine_similarity", F.cosine_similarity, [x, t]
    yield "normalize", F.normalize, [x]
    yield "cosine_embedding_loss", lambda x, t: F.cosine_embedding_loss(x, t, signs, -0.5), [x, t]
    yield "margin_ranking_loss", lambda x, t: F.margin_ranking_loss(x, t, np.sign(other), 0.3), [x, t]
    yield "hinge_embedding_loss", lambda x: F.hinge_embedding_loss(x, np.sign(other), 0.6), [x]
    yield "soft_margin_loss", lambda x: F.soft_margin_loss(x, np.sign(other)), [x]
    yield "multi_margin_loss", lambda x: F.multi_margin_loss(x, labels.clip(0), 2, 0.7, weight), [x]
    yield "triplet_margin_loss", lambda a, b, c: F.triplet_margin_loss(a, b, c, swap=True), [x, t, other]
    yield "poisson_nll_loss", lambda x, p: F.poisson_nll_loss(x, p), [x, p]
    yield "gaussian_nll_loss", F.gaussian_nll_loss, [x, t, p]
    yield "binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, [x, p]


def _normalisation(rng: np.random.Generator) -> Iterator[Case]:
    x, w, b = rng.normal(size=(2, 3, 4)), rng.uniform(0.5, 2, 4), rng.normal(size=4)
    mean, var = rng.normal(size=4), rng.uniform(0.5, 2, 4)
    yield "batch_norm", lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [x, w, b]
    yield "batch_norm, evaluation", lambda x, w, b: F.batch_norm(x, mean, var, w, b), [x, w, b]
    image, kernel, added = rng.normal(size=(2, 4, 5, 3)), rng.normal(size=(4, 3, 2, 3)), rng.normal(size=(2, 2, 4, 4))
    yield (
        "conv2d_batch_norm",
        lambda x, k, b, w, s, r: F.conv2d_batch_norm(x, k, b, mean, var, w, s, residual=r, activation="tanh"),
        [image, kernel, b, w, b, added],
    )
    yield "layer_norm", lambda x, w, b: F.layer_norm(x, 4, w, b), [x, w, b]
    yield "rms_norm", lambda x, w: F.rms_norm(x, 4, w), [x, w]
    yield "group_norm", lambda x, w, b: F.group_norm(x, 2, w, b), [x, w, b]


def _recurrent(rng: np.random.Generator) -> Iterator[Case]:
    x, h, c = rng.normal(size=(2, 3)), rng.normal(size=(2, 4)), rng.normal(size=(2, 4))

    def parameters(gates: int) -> list[np.ndarray]:
        rows = gates * 4
        return [rng.normal(size=shape) for shape in ((rows, 3), (rows, 4), (rows,), (rows,))]

    yield "rnn_cell", F.rnn_cell, [x, h, *parameters(1)]
    yield "lstm_cell", lambda x, h, c, *p: F.lstm_cell(x, (h, c), *p), [x, h, c, *parameters(4)]
    yield "gru_cell", F.gru_cell, [x, h, *parameters(3)]


def _sequences(rng: np.random.Generator) -> Iterator[Case]:
    x, h, c = rng.normal(size=(3, 2, 3)), rng.normal(size=(2, 4)), rng.normal(size=(2, 4))
    lengths = np.array([2, 3])

    def parameters(gates: int) -> list[np.ndarray]:
        rows = gates * 4
        return [rng.normal(size=shape) for shape in ((rows, 3), (rows, 4), (rows,), (rows,))]

    def lstm(x, h, c, *p):
        return F.lstm(x, (h, c), *p, lengths=lengths, reverse=True)[0]

    yield "rnn", lambda x, h, *p: F.rnn(x, h, *p)[0], [x, h, *parameters(1)]
    yield "lstm", lstm, [x, h, c, *parameters(4)]
    yield "gru", lambda x, h, *p: F.gru(x, h, *p, lengths=lengths)[1], [x, h, *parameters(3)]


def _attention(rng: np.random.Generator) -> Iterator[Case]:
    heads, qkv = [rng.normal(size=(1, 2, 4, 6)) for _ in range(3)], rng.normal(size=(2, 4, 3, 2, 3))
    yield "scaled_dot_product_attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), heads
    yield "self_attention", F.self_attention, [qkv]
    yield "rotary_embedding", F.rotary_embedding, [heads[0]]
