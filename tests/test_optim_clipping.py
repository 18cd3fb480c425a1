"""Clipping by norm in the optimizer's own pass, and the sum of squares behind it."""

import copy
import math

import numpy as np
import pytest
from isas import each_isa
from peers import needs_torch, torch

from dlfast import kernels, nn, optim
from dlfast.kernels.threads import get_num_threads, set_num_threads

SHAPES = [(3, 5), (7,), (), (0, 3), (33,)]
KINDS = [
    (optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    (optim.SGD, {"weight_decay": 0.1}),
    (optim.RMSprop, {"weight_decay": 0.1, "momentum": 0.5}),
    (optim.Adam, {"weight_decay": 0.1}),
    (optim.AdamW, {"weight_decay": 0.1}),
    (optim.Adagrad, {"weight_decay": 0.1}),
    (optim.NAdam, {"weight_decay": 0.1}),
    (optim.RAdam, {"weight_decay": 0.1}),
    (optim.Lion, {"weight_decay": 0.1}),
]
EACH_KIND = pytest.mark.parametrize(("kind", "options"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])
BACKENDS = each_isa(kernels.backends_of("square_sum"))
SUM_ERROR = 6e-7  # of float32 numbers' sum of squares, relative: kernels/cython/rowwise/optim.inc.h


def parameters(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [nn.Parameter(np.asarray(rng.standard_normal(shape), dtype)) for shape in SHAPES]


def gradients(step):
    rng = np.random.default_rng(10 + step)
    return [np.asarray(rng.standard_normal(shape) * 4**step) for shape in SHAPES]


def trained(optimizer, params, before_step=lambda params: None, steps=4):
    """The values of the parameters after some steps."""
    for step in range(steps):
        optimizer.zero_grad()
        for i, (p, g) in enumerate(zip(params, gradients(step), strict=True)):
            if step != 2 or i != 1:
                p.grad = g.astype(p.dtype)
        before_step(params)
        optimizer.step()
    return [p.data.copy() for p in params]


@pytest.mark.parametrize("backend", BACKENDS)
@EACH_KIND
def test_option_equals_clipping_before_the_step(kind, options, backend):
    first, second = parameters(), parameters()
    with kernels.use_backend(backend):
        got = trained(kind(first, lr=0.1, **options, clip_grad_norm=9.0), first)
        by_hand = kind(second, lr=0.1, **options)
        expected = trained(by_hand, second, lambda params: optim.clip_grad_norm_(params, 9.0))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@needs_torch
def test_option_follows_pytorch():
    ours, theirs = parameters(), [torch.nn.Parameter(torch.tensor(p.data)) for p in parameters()]
    got = trained(optim.Adam(ours, lr=0.1, clip_grad_norm=9.0), ours)
    peer = torch.optim.Adam(theirs, lr=0.1)
    for step in range(4):
        for i, (p, g) in enumerate(zip(theirs, gradients(step), strict=True)):
            p.grad = torch.tensor(g) if step != 2 or i != 1 else None
        torch.nn.utils.clip_grad_norm_(theirs, 9.0)
        peer.step()
    for a, b in zip(got, theirs, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-10)


def test_gradients_stay_and_the_norm_can_be_read():
    params = parameters()
    optimizer = optim.SGD(params, lr=1.0, clip_grad_norm=0.5)
    assert optimizer.grad_norm is None
    before = [p.data.copy() for p in params]
    after = trained(optimizer, params, steps=1)
    flat = np.concatenate([g.ravel() for g in gradients(0)])
    assert optimizer.grad_norm == pytest.approx(np.linalg.norm(flat))
    for p, g in zip(params, gradients(0), strict=True):
        np.testing.assert_array_equal(p.grad, g)
    moved = np.concatenate([(a - b).ravel() for a, b in zip(after, before)])
    assert np.linalg.norm(moved) == pytest.approx(0.5, rel=1e-5)


def test_the_norm_is_common_to_groups_and_dtypes():
    wide, narrow = nn.Parameter(np.zeros(4)), nn.Parameter(np.zeros(3, np.float32))
    optimizer = optim.SGD([{"params": [wide]}, {"params": [narrow], "lr": 2.0}], lr=1.0, clip_grad_norm=1.0)
    wide.grad, narrow.grad = np.full(4, 2.0), np.full(3, 4.0, np.float32)
    optimizer.step()
    assert optimizer.grad_norm == pytest.approx(8.0)
    np.testing.assert_allclose(wide.data, -2 / 8, rtol=1e-6)
    np.testing.assert_allclose(narrow.data, -2 * 4 / 8, rtol=1e-6)


@EACH_KIND
def test_a_norm_below_the_bound_changes_no_bit(kind, options):
    first, second = parameters(np.float32), parameters(np.float32)
    got = trained(kind(first, **options, clip_grad_norm=1e6), first)
    expected = trained(kind(second, **options), second)
    assert [a.tobytes() for a in got] == [b.tobytes() for b in expected]


def test_nan_reaches_the_weights():
    p = nn.Parameter(np.ones(3))
    optimizer = optim.Adam([p], clip_grad_norm=1.0)
    p.grad = np.array([0.0, np.nan, 1.0])
    optimizer.step()
    assert np.isnan(p.data).all()
    assert math.isnan(optimizer.grad_norm)


def test_state_keeps_the_bound_and_a_foreign_state_leaves_it():
    state = optim.Adam(parameters(), clip_grad_norm=2.0).state_dict()
    other = optim.Adam(parameters())
    other.load_state_dict(copy.deepcopy(state))
    assert other.clip_grad_norm == 2.0
    del state["clip_grad_norm"]
    third = optim.Adam(parameters(), clip_grad_norm=3.0)
    third.load_state_dict(state)
    assert third.clip_grad_norm == 3.0


def test_names_a_bad_bound():
    with pytest.raises(ValueError, match=r"AdamW: clip_grad_norm must be in \[0, inf\), got -1"):
        optim.AdamW(parameters(), clip_grad_norm=-1)
    with pytest.raises(TypeError, match="SGD: clip_grad_norm must be a number"):
        optim.SGD(parameters(), clip_grad_norm="1")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 33, 5000, 140001])
def test_square_sum(size, dtype, backend):
    x = np.random.default_rng(size).standard_normal(size).astype(dtype)
    x.flags.writeable = False
    square_sum = kernels.pair("square_sum", backend)
    assert square_sum(x) == pytest.approx(squares(x), rel=SUM_ERROR if dtype == np.float32 else 1e-13)
    assert type(square_sum(x)) is float


def squares(x):
    return math.fsum(float(v) ** 2 for v in x)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [1e-45, 1e-30, 1e-22, 1e-19, 1e-13, 1e-3, 1e17, 1e18, 1.8e19, 1e20, 1e37])
def test_square_sum_where_float32_squares_end(scale, backend):
    """Squares of float32 numbers that are no float32 numbers, alone and beside others that are."""
    rng = np.random.default_rng(0)
    square_sum = kernels.pair("square_sum", backend)
    x = (rng.uniform(-1, 1, 20_000) * scale).astype(np.float32)
    assert square_sum(x) == pytest.approx(squares(x), rel=SUM_ERROR)
    x[: x.size // 2] = rng.standard_normal(x.size // 2)
    assert square_sum(x) == pytest.approx(squares(x), rel=SUM_ERROR)
    x[rng.integers(x.size)] = np.nan
    assert math.isnan(square_sum(x))


@pytest.mark.parametrize("backend", BACKENDS)
def test_square_sum_of_extremes(backend):
    square_sum = kernels.pair("square_sum", backend)
    large = np.full(3000, 1e30, np.float32)
    assert square_sum(large) == pytest.approx(3000 * float(large[0]) ** 2)
    assert math.isnan(square_sum(np.append(large, np.float32(np.nan))))
    assert square_sum(np.append(large, np.float32(-np.inf))) == math.inf
    assert square_sum(np.full(20, 1e-40, np.float32)) == pytest.approx(20e-80, rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_square_sum_has_the_same_bits_on_any_number_of_threads(backend):
    x, before, sums = np.random.default_rng(0).standard_normal(300_001).astype(np.float32), get_num_threads(), set()
    try:
        for count in (1, 2, 4):
            set_num_threads(count)
            sums.add(kernels.pair("square_sum", backend)(x).hex())
    finally:
        set_num_threads(before)
    assert len(sums) == 1
