"""L1, L2 and both: the formulas of the notes, their gradients, which parameters count, the kernels of their sums."""

import numpy as np
import pytest
from isas import each_isa

from dlfast import Tensor, kernels, nn, no_grad, optim
from dlfast import functional as F
from dlfast.kernels.threads import get_num_threads, set_num_threads
from dlfast.optim.regularizers import L1, L1L2, L2

BACKENDS = each_isa(kernels.backends_of("abs_sum"))


def model(dtype=np.float64):
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5)).to(dtype)
    for p in net.parameters():
        p.data[...] = rng.normal(size=p.shape)
    return net


def formula(arrays, l1, l2):
    return sum(l1 * np.abs(w).sum() + l2 * (w**2).sum() for w in arrays)


KINDS = [(L1(0.3), 0.3, 0), (L2(0.2), 0, 0.2), (L1L2(0.3, 0.2), 0.3, 0.2), (L2(0), 0, 0)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("penalty", "l1", "l2"), KINDS, ids=map(repr, (kind[0] for kind in KINDS)))
def test_value_and_gradient(penalty, l1, l2, backend):
    net = model()
    weights, others = [net[0].weight, net[3].weight], [net[0].bias, net[1].weight, net[1].bias, net[3].bias]
    weights[0].data[0, 0, 0, 0] = 0.0
    with kernels.use_backend(backend, "reference"):
        y = penalty(net.parameters())
        (3.0 * y).backward()
        assert penalty(net).item() == penalty(net.named_parameters()).item() == y.item()
    assert y.shape == ()
    assert y.item() == pytest.approx(formula([w.data for w in weights], l1, l2), rel=1e-12)
    for w in weights:
        np.testing.assert_allclose(w.grad, 3.0 * (l1 * np.sign(w.data) + 2 * l2 * w.data), rtol=1e-12)
    assert all(p.grad is None for p in others)


def test_all_parameters_count_if_wanted():
    net = model()
    arrays = [p.data for p in net.parameters()]
    assert L2(0.1, weights_only=False)(net).item() == pytest.approx(formula(arrays, 0, 0.1))
    assert repr(L2(0.1, weights_only=False)) == "L2(0.1, weights_only=False)"
    assert repr(L1L2(0.1, 0.2)) == "L1L2(l1=0.1, l2=0.2)"


def test_adds_to_the_gradient_of_the_loss_in_float32():
    net, alone = model(np.float32), model(np.float32)
    optimizer = optim.SGD(net.parameters(), lr=0.1)  # whose arena the gradients go to
    x = np.random.default_rng(1).normal(size=(4, 4, 4, 2)).astype(np.float32)
    labels = np.array([0, 4, 2, 1])
    penalty = L2(0.05)(net.parameters())
    assert penalty.dtype == np.float32
    (F.cross_entropy(net(x), labels) + penalty).backward()
    F.cross_entropy(alone(x), labels).backward()
    for p, q in zip(net.parameters(), alone.parameters(), strict=True):
        extra = 2 * 0.05 * p.data if p.ndim >= 2 else 0
        np.testing.assert_allclose(p.grad, q.grad + extra, rtol=1e-5, atol=1e-6)
    optimizer.step()


def test_l2_is_twice_the_weight_decay():
    first, second = model(), model()
    by_penalty = optim.SGD(first.parameters(), lr=0.1, momentum=0.9)
    by_decay = optim.SGD(second.parameters(), lr=0.1, momentum=0.9, weight_decay=2 * 0.05)
    for _ in range(3):
        by_penalty.zero_grad()
        L2(0.05, weights_only=False)(first).backward()
        by_penalty.step()
        for p in second.parameters():
            p.grad = np.zeros(p.shape)
        by_decay.step()
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-12)


def test_frozen_weights_count_and_get_no_gradient():
    net = model()
    net[0].weight.requires_grad = False
    y = L1(0.3)(net)
    y.backward()
    assert y.item() == pytest.approx(formula([net[0].weight.data, net[3].weight.data], 0.3, 0))
    assert net[0].weight.grad is None
    assert net[3].weight.grad is not None
    with no_grad():
        assert not L1(0.3)(net).requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 33, 16384, 50001])
def test_sum_of_absolute_values(size, dtype, backend):
    x = (np.random.default_rng(size).normal(size=size) * 10.0 ** np.arange(size).clip(0, 30)).astype(dtype)
    add = kernels.pair("abs_sum", backend)
    wanted = float(np.abs(x.astype(np.longdouble)).sum())
    before, got = get_num_threads(), []
    try:
        for threads in (1, 2):
            set_num_threads(threads)
            got.append(add(x))
    finally:
        set_num_threads(before)
    assert isinstance(got[0], float)
    assert got[0] == got[1] == pytest.approx(wanted, rel=1e-6 if dtype == np.float32 else 1e-12)
    if size:
        x[size // 2] = np.nan
        assert np.isnan(add(x))


BAD = [
    (lambda: L2(-1), ValueError, "L2: strength must be"),
    (lambda: L1("0.1"), TypeError, "L1: strength must be a number"),
    (lambda: L1L2(0.1, np.inf), ValueError, "L1L2: l2 must be"),
    (lambda: L2(0.1)([]), ValueError, "L2: none of the 0 parameters has two axes or more"),
    (lambda: L2(0.1)([nn.Parameter(np.ones(3))]), ValueError, "weights_only=False takes all"),
    (lambda: L2(0.1)([np.ones((2, 2))]), TypeError, r"parameters\[0\] must be a Parameter, got ndarray"),
    (lambda: L2(0.1)([Tensor(np.ones((2, 2))), Tensor(np.ones((2, 2), np.float32))]), TypeError, "dtype"),
    (lambda: L2(0.1)(iter(())), ValueError, "an iterator that has nothing left"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_names_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
