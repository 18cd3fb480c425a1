"""Losses of similarity, margins and likelihoods: PyTorch's values and gradients, by hand, stability, errors."""

import math

import numpy as np
import pytest
from peers import needs_torch, torch

from dlfast import Tensor, nn
from dlfast import functional as F

RNG = np.random.default_rng(0)
A, B, C = (RNG.normal(size=(6, 4)) for _ in range(3))
SIGNS, ROWS = np.sign(RNG.normal(size=(6, 4))), np.sign(RNG.normal(size=6))
COUNTS, VARIANCE = RNG.integers(0, 5, (6, 4)).astype(float), RNG.uniform(0.1, 2, (6, 4))
LABELS, WEIGHT = np.array([0, 3, 2, 1, 0, 2]), RNG.uniform(0.5, 2, 4)

# The name in both libraries, what gradients go to, further arguments, options
CASES = [
    ("cosine_embedding_loss", (A, B), (ROWS,), {"margin": -0.3}),
    ("margin_ranking_loss", (A, B), (SIGNS,), {"margin": 0.4}),
    ("hinge_embedding_loss", (np.abs(A),), (SIGNS,), {"margin": 0.7}),
    ("soft_margin_loss", (A,), (SIGNS,), {}),
    ("multi_margin_loss", (A,), (LABELS,), {}),
    ("multi_margin_loss", (A,), (LABELS,), {"p": 2, "margin": 0.6, "weight": WEIGHT}),
    ("triplet_margin_loss", (A, B, C), (), {"margin": 0.8}),
    ("triplet_margin_loss", (A, B, C), (), {"p": 3, "swap": True}),
    ("poisson_nll_loss", (A,), (COUNTS,), {}),
    ("poisson_nll_loss", (np.abs(A) + 0.1,), (COUNTS,), {"log_input": False, "full": True}),
    ("gaussian_nll_loss", (A, B, VARIANCE), (), {}),
    ("gaussian_nll_loss", (A, B, VARIANCE), (), {"full": True}),
]


@needs_torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "inputs", "others", "options"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_follows_pytorch(name, inputs, others, options, reduction):
    ours = [Tensor(x, requires_grad=True) for x in inputs]
    theirs = [torch.tensor(x, requires_grad=True) for x in inputs]
    peer = {key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}
    y = getattr(F, name)(*ours, *others, **options, reduction=reduction)
    function = getattr(torch.nn.functional, name)
    z = function(*theirs, *(torch.from_numpy(np.asarray(other)) for other in others), **peer, reduction=reduction)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-10, atol=1e-12)
    gradient = np.random.default_rng(1).normal(size=y.shape)
    y.backward(gradient)
    z.backward(torch.tensor(gradient))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-9, atol=1e-12)


@needs_torch
def test_similarity_follows_pytorch():
    x, z = RNG.normal(size=(3, 4, 5)), np.zeros((3, 4, 5))
    for dim in (0, 1, 2):
        wanted = torch.cosine_similarity(torch.from_numpy(x), torch.from_numpy(x[::-1].copy()), dim)
        np.testing.assert_allclose(F.cosine_similarity(x, x[::-1].copy(), dim=dim).data, wanted.numpy(), rtol=1e-12)
        for p in (1.0, 2.0, 3.0):
            wanted = torch.nn.functional.normalize(torch.from_numpy(x), p, dim)
            np.testing.assert_allclose(F.normalize(x, p, dim=dim).data, wanted.numpy(), rtol=1e-12)
    t = Tensor(z, requires_grad=True)
    F.cosine_similarity(t, x).sum().backward()
    assert np.isfinite(t.grad).all()


LAYERS = [
    (nn.CosineSimilarity(), (A, B), F.cosine_similarity(A, B)),
    (nn.CosineEmbeddingLoss(0.1, "sum"), (A, B, ROWS), F.cosine_embedding_loss(A, B, ROWS, 0.1, "sum")),
    (nn.MarginRankingLoss(0.1), (A, B, SIGNS), F.margin_ranking_loss(A, B, SIGNS, 0.1)),
    (nn.HingeEmbeddingLoss(0.3), (A, SIGNS), F.hinge_embedding_loss(A, SIGNS, 0.3)),
    (nn.SoftMarginLoss(), (A, SIGNS), F.soft_margin_loss(A, SIGNS)),
    (nn.MultiMarginLoss(2, 0.3, WEIGHT), (A, LABELS), F.multi_margin_loss(A, LABELS, 2, 0.3, WEIGHT)),
    (nn.TripletMarginLoss(0.3, swap=True), (A, B, C), F.triplet_margin_loss(A, B, C, 0.3, swap=True)),
    (nn.PoissonNLLLoss(full=True), (A, COUNTS), F.poisson_nll_loss(A, COUNTS, full=True)),
    (
        nn.GaussianNLLLoss(True, reduction="none"),
        (A, B, VARIANCE),
        F.gaussian_nll_loss(A, B, VARIANCE, True, 1e-6, "none"),
    ),
]


@pytest.mark.parametrize(("layer", "arrays", "wanted"), LAYERS, ids=[type(case[0]).__name__ for case in LAYERS])
def test_layers(layer, arrays, wanted):
    np.testing.assert_array_equal(layer(*arrays).data, wanted.data)


def test_by_hand():
    x = np.array([[1.0, 0.5, -1.0]])
    assert F.multi_margin_loss(x, [0]).item() == pytest.approx(0.5 / 3)  # 1 - 1 + 0.5 and 1 - 1 - 1
    assert F.margin_ranking_loss(np.array([1.0, 2.0]), np.array([3.0, 0.0]), [1, 1], 0.5).item() == 1.25
    assert F.cosine_similarity(np.array([3.0, 4.0]), np.array([4.0, 3.0])).item() == pytest.approx(0.96)
    assert F.gaussian_nll_loss(np.ones(1), np.zeros(1), np.ones(1), full=True).item() == pytest.approx(
        0.5 + math.log(2 * math.pi) / 2
    )


def test_soft_margin_of_far_values_is_finite():
    x = Tensor(np.array([-1e4, 1e4]), requires_grad=True)
    y = F.soft_margin_loss(x, np.array([1, 1]), "sum")
    y.backward()
    assert y.item() == 1e4
    np.testing.assert_array_equal(x.grad, [-1, 0])


BAD = [
    (lambda: F.soft_margin_loss(A, SIGNS * 2), ValueError, "soft_margin_loss: target must be 1 or -1, got"),
    (lambda: F.soft_margin_loss(A, ROWS), ValueError, r"target must have shape \(6, 4\), got \(6,\)"),
    (lambda: F.hinge_embedding_loss(A.astype(int), SIGNS), TypeError, "hinge_embedding_loss: x must be"),
    (lambda: F.multi_margin_loss(A, LABELS + 2), ValueError, "multi_margin_loss"),
    (lambda: F.multi_margin_loss(A, LABELS, 3), ValueError, "p must be"),
    (lambda: F.margin_ranking_loss(A, B[:3], SIGNS), ValueError, "margin_ranking_loss"),
    (lambda: F.gaussian_nll_loss(A, B, -VARIANCE), ValueError, "var must be at least 0"),
    (lambda: F.triplet_margin_loss(A, B, C, reduction="all"), ValueError, "reduction must be"),
    (lambda: nn.SoftMarginLoss("all"), ValueError, "SoftMarginLoss: reduction must be"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_names_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
