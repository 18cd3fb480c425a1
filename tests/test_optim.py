"""Optimizers against their formulas in NumPy, against PyTorch where it is installed, and their bookkeeping."""

import copy
import math

import numpy as np
import pytest
from peers import needs_torch, torch

from dlfast import kernels, nn, optim
from dlfast.nn import Linear, Parameter

SHAPES = [(3, 5), (7,), (), (2, 1, 4), (0, 3), (33,)]
STEPS = 6


def sgd(w, g, s, t, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    g = g + weight_decay * w
    if momentum:
        s["v"] = g if t == 1 else momentum * s["v"] + (1 - dampening) * g
        g = g + momentum * s["v"] if nesterov else s["v"]
    return w - lr * g


def rmsprop(w, g, s, t, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, eps_inside_sqrt=True):
    g = g + weight_decay * w
    s["s"] = alpha * s.get("s", 0) + (1 - alpha) * g**2
    g = g / (np.sqrt(s["s"] + eps) if eps_inside_sqrt else np.sqrt(s["s"]) + eps)
    s["v"] = momentum * s.get("v", 0) + g
    return w - lr * s["v"]


def adam(w, g, s, t, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    w, g = (w * (1 - lr * weight_decay), g) if decoupled else (w, g + weight_decay * w)
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g**2
    return w - lr * (s["m"] / (1 - betas[0] ** t)) / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps)


def adamw(w, g, s, t, lr, weight_decay=1e-2, **options):
    return adam(w, g, s, t, lr, weight_decay=weight_decay, decoupled=True, **options)


CASES = [
    (optim.SGD, sgd, {"lr": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "weight_decay": 0.2}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (optim.SGD, sgd, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    (optim.RMSprop, rmsprop, {"lr": 0.01}),
    (optim.RMSprop, rmsprop, {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "momentum": 0.5, "weight_decay": 0.1}),
    (optim.RMSprop, rmsprop, {"lr": 0.01, "eps": 1e-3, "eps_inside_sqrt": False}),
    (optim.RMSprop, rmsprop, {"lr": 0.01, "momentum": 0.9, "eps_inside_sqrt": False, "weight_decay": 0.1}),
    (optim.Adam, adam, {"lr": 0.01}),
    (optim.Adam, adam, {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    (optim.AdamW, adamw, {"lr": 0.01}),
    (optim.AdamW, adamw, {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.3}),
]
IDS = [f"{case[0].__name__}-{'-'.join(case[2])}" for case in CASES]
ALL = pytest.mark.parametrize(("kind", "formula", "options"), CASES, ids=IDS)


def arrays(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]


def parameters(dtype=np.float64):
    return [Parameter(value) for value in arrays(dtype)]


def take_steps(optimizer, params, steps=STEPS, first=0, skip=lambda step, i: False):
    for step in range(first, first + steps):
        optimizer.zero_grad()
        for i, g in enumerate(arrays(params[0].dtype, 100 + step)):
            if not skip(step, i):
                params[i].grad = g
        optimizer.step()


def same_bits(first, second):
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(first, second, strict=True))


def values(params):
    return [p.data.copy() for p in params]


def by_formula(formula, options, skip, steps=STEPS):
    expected = []
    for i, w in enumerate(arrays()):
        state, t = {}, 0
        for step in range(steps):
            if not skip(step, i):
                t += 1
                w = formula(w, arrays(seed=100 + step)[i], state, t, **options)
        expected.append(w)
    return expected


SKIPS = {"none": lambda step, i: False, "some": lambda step, i: (step + i) % 3 == 0, "one": lambda step, i: i == 1}


@pytest.mark.parametrize("skip", SKIPS.values(), ids=SKIPS)
@ALL
def test_follows_its_formula(kind, formula, options, skip):
    params = parameters()
    take_steps(kind(params, **options), params, skip=skip)
    for p, expected in zip(params, by_formula(formula, options, skip), strict=True):
        np.testing.assert_allclose(p.data, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "numba", "cython", "auto"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@ALL
def test_every_backend_agrees_with_the_formula(kind, formula, options, dtype, backend):
    params = parameters(dtype)
    with kernels.use_backend(backend, "reference"):
        take_steps(kind(params, **options), params)
    tolerance = 2e-5 if dtype == np.float32 else 1e-11
    for p, expected in zip(params, by_formula(formula, options, SKIPS["none"]), strict=True):
        assert p.dtype == dtype
        np.testing.assert_allclose(p.data, expected, rtol=tolerance, atol=tolerance)


@needs_torch
@pytest.mark.parametrize("skip", SKIPS.values(), ids=SKIPS)
@ALL
def test_follows_pytorch(kind, formula, options, skip):
    theirs = [torch.nn.Parameter(torch.from_numpy(np.array(a))) for a in arrays()]
    options = {**options, "eps_inside_sqrt": False} if kind is optim.RMSprop else options
    peer = {name: value for name, value in options.items() if name != "eps_inside_sqrt"}
    other = getattr(torch.optim, kind.__name__)(theirs, **peer)
    params = parameters()
    take_steps(kind(params, **options), params, skip=skip)
    for step in range(STEPS):
        for i, (p, g) in enumerate(zip(theirs, arrays(seed=100 + step), strict=True)):
            p.grad = None if skip(step, i) else torch.from_numpy(np.array(g))
        other.step()
    for p, q in zip(params, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_momentum_of_the_notes_is_the_same_path_while_lr_is_constant():
    """v = gamma v + alpha g, w = w - v: the learning rate inside the velocity."""
    params = parameters()
    take_steps(optim.SGD(params, lr=0.1, momentum=0.9), params)
    for i, w in enumerate(arrays()):
        v = np.zeros_like(w)
        for step in range(STEPS):
            v = 0.9 * v + 0.1 * arrays(seed=100 + step)[i]
            w = w - v
        np.testing.assert_allclose(params[i].data, w, rtol=1e-12)


def test_momentum_of_the_notes_parts_when_lr_changes():
    p = Parameter(np.zeros(1))
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    p.grad = np.ones(1)
    optimizer.step()  # w = -1 in both forms, v = 1
    optimizer.param_groups[0]["lr"] = 0.1
    p.grad = np.zeros(1)
    optimizer.step()
    assert p.data[0] == pytest.approx(-1 - 0.1 * 0.5)  # the notes: -1 - 0.5


def test_where_rmsprop_has_its_epsilon():
    """A tiny gradient: sqrt(s + eps) is about sqrt(eps), sqrt(s) + eps is about sqrt(s)."""
    moved = {}
    for inside in (True, False):
        p = Parameter(np.zeros(1))
        p.grad = np.full(1, 1e-6)
        optim.RMSprop([p], lr=1.0, alpha=0.75, eps=1e-8, eps_inside_sqrt=inside).step()
        moved[inside] = -p.data[0]
    assert moved[True] == pytest.approx(1e-6 / math.sqrt(0.25e-12 + 1e-8))
    assert moved[False] == pytest.approx(1e-6 / (0.5e-6 + 1e-8))


def test_weight_decay_is_half_the_penalty_of_the_notes():
    """The gradient of lambda * sum w^2 is 2 lambda w."""
    w = arrays()[0]
    p = Parameter(w)
    optimizer = optim.SGD([p], lr=0.1, weight_decay=2 * 0.3)
    p.grad = np.zeros_like(w)
    optimizer.step()
    np.testing.assert_allclose(p.data, w - 0.1 * 2 * 0.3 * w)


class TestArena:
    def test_parameters_lie_side_by_side_and_aligned(self):
        params = parameters(np.float32)
        optimizer = optim.Adam(params)
        addresses = [p.data.__array_interface__["data"][0] for p in params if p.size]
        assert all(address % 64 == 0 for address in addresses)
        assert addresses == sorted(addresses)
        assert addresses[-1] - addresses[0] < 64 * len(params) + 4 * sum(p.size for p in params)
        assert same_bits(values(params), arrays(np.float32))
        assert optimizer.param_groups[0]["params"][0] is params[0]

    def test_one_kernel_call_for_a_whole_step(self, monkeypatch):
        calls, active_step = [], kernels.active_step
        monkeypatch.setattr(kernels, "active_step", lambda name: calls.append(name) or active_step(name))
        params = parameters()
        take_steps(optim.Adam(params), params, steps=3)
        assert calls == ["adam"] * 3
        take_steps(optim.SGD(params), params, steps=1)  # a second optimizer uses the same arena
        assert calls == ["adam"] * 3 + ["sgd"]
        calls.clear()
        take_steps(optim.Adam(params), params, steps=1, skip=lambda step, i: i == 2)
        assert calls == ["adam"] * 2  # the stretches before and after the parameter without gradient

    @pytest.mark.parametrize("order", ["whole first", "part first"])
    def test_optimizers_share_parameters(self, order):
        params, alone = parameters(), parameters()
        whole = optim.Adam(params, lr=0.01) if order == "whole first" else None
        part = optim.SGD(params[::2], lr=0.1, momentum=0.9)
        whole = whole or optim.Adam(params, lr=0.01)
        expected = []
        for i, w in enumerate(values(alone)):
            a, s = {}, {}
            for step in range(3):
                g = arrays(seed=100 + step)[i]
                w = adam(w, g, a, step + 1, 0.01)
                w = sgd(w, g, s, step + 1, 0.1, 0.9) if i % 2 == 0 else w
            expected.append(w)
        for step in range(3):
            for p, g in zip(params, arrays(seed=100 + step), strict=True):
                p.grad = g
            whole.step()
            part.step()
        for p, w in zip(params, expected, strict=True):
            np.testing.assert_allclose(p.data, w, rtol=1e-11, atol=1e-12)

    def test_mixed_dtypes(self):
        params = [Parameter(a.astype(dtype)) for a in arrays() for dtype in (np.float32, np.float64)]
        optimizer = optim.Adam(params, lr=0.01)
        for p in params:
            p.grad = np.ones(p.shape, p.dtype)
        optimizer.step()
        for p, before in zip(params, [a for a in arrays() for _ in range(2)], strict=True):
            np.testing.assert_allclose(p.data, before - 0.01, rtol=1e-5, atol=1e-6)

    def test_a_copied_model_trains_apart_from_the_first(self):
        params = parameters()
        optim.SGD(params, lr=1.0)
        twins = copy.deepcopy(params)
        take_steps(optim.SGD(twins, lr=0.1), twins, steps=1)
        assert same_bits(values(params), arrays())
        assert not same_bits(values(twins), arrays())

    def test_new_weights_go_into_the_arena(self):
        params = parameters()
        optimizer = optim.SGD(params, lr=1.0)
        params[0].data = np.full((3, 5), 2.0)
        for p in params:
            p.grad = np.ones(p.shape)
        optimizer.step()
        np.testing.assert_array_equal(params[0].data, 1.0)


@ALL
def test_resumes_with_the_same_bits(kind, formula, options):
    skip = SKIPS["some"]
    whole = parameters(np.float32)
    take_steps(kind(whole, **options), whole, 8, skip=skip)
    first = parameters(np.float32)
    optimizer = kind(first, **options)
    take_steps(optimizer, first, 4, skip=skip)
    second = [Parameter(value) for value in values(first)]
    resumed = kind(second, lr=77.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    take_steps(resumed, second, 4, first=4, skip=skip)
    assert same_bits(values(whole), values(second))


def test_state_dict_is_a_copy_in_pytorchs_layout():
    params = parameters()
    optimizer = optim.Adam([{"params": params[:2]}, {"params": params[2:], "lr": 0.5}])
    take_steps(optimizer, params, 2, skip=SKIPS["one"])
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0, 1], [2, 3, 4, 5]]
    assert [group["lr"] for group in state["param_groups"]] == [1e-3, 0.5]
    assert sorted(state["state"]) == [0, 2, 3, 4, 5]
    assert state["state"][0].keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert state["state"][0]["exp_avg"].shape == (3, 5)
    before = state["state"][0]["exp_avg"].copy()
    take_steps(optimizer, params, 1)
    np.testing.assert_array_equal(state["state"][0]["exp_avg"], before)


def test_a_state_that_does_not_fit_changes_nothing():
    params = parameters()
    optimizer = optim.Adam(params)
    take_steps(optimizer, params, 2)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="the state has groups of"):
        optimizer.load_state_dict(optim.Adam(parameters()[:2]).state_dict())
    wrong = copy.deepcopy(before)
    wrong["param_groups"][0]["lr"] = 3.0
    wrong["state"][5]["exp_avg"] = np.zeros(5)
    with pytest.raises(ValueError, match=r"exp_avg of parameter 5 must have shape \(33,\), got \(5,\)"):
        optimizer.load_state_dict(wrong)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert same_bits([s["exp_avg"] for s in after["state"].values()], [s["exp_avg"] for s in before["state"].values()])


def test_groups_have_options_of_their_own():
    params = parameters()
    optimizer = optim.SGD([{"params": params[:1], "lr": 1.0}, {"params": params[1:2]}], lr=0.1)
    optimizer.add_param_group({"params": params[2], "weight_decay": 0.5})
    for p in params:
        p.grad = np.ones(p.shape)
    optimizer.step()
    start = arrays()
    np.testing.assert_allclose(params[0].data, start[0] - 1)
    np.testing.assert_allclose(params[1].data, start[1] - 0.1)
    np.testing.assert_allclose(params[2].data, start[2] - 0.1 * (1 + 0.5 * start[2]))
    np.testing.assert_array_equal(params[3].data, start[3])
    assert repr(optimizer).splitlines()[:3] == ["SGD (", "Parameter Group 0", "    lr: 1.0"]
    optimizer.zero_grad()
    assert params[0].grad is None


def test_zero_grad_then_step_changes_nothing():
    params = parameters()
    optimizer = optim.Adam(params)
    take_steps(optimizer, params, 1)
    before = values(params)
    optimizer.zero_grad()
    optimizer.step()
    assert same_bits(before, values(params))
    assert optimizer.state_dict()["state"][0]["step"] == 1


BAD = [
    (optim.SGD, {"lr": -1}, r"SGD: lr must be in \[0, inf\), got -1"),
    (optim.SGD, {"lr": float("nan")}, "lr must be in"),
    (optim.SGD, {"momentum": -0.1}, "momentum must be"),
    (optim.SGD, {"weight_decay": -0.1}, "weight_decay must be"),
    (optim.SGD, {"nesterov": True}, "nesterov needs a momentum"),
    (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov needs"),
    (optim.RMSprop, {"alpha": 1.0}, r"RMSprop: alpha must be in \[0, 1\), got 1.0"),
    (optim.RMSprop, {"eps": 0}, r"eps must be in \(0, inf\), got 0"),
    (optim.Adam, {"betas": (0.9, 1.0)}, r"Adam: betas\[1\] must be in \[0, 1\), got 1.0"),
    (optim.Adam, {"betas": (-0.1, 0.9)}, r"betas\[0\]"),
    (optim.Adam, {"betas": 0.9}, "betas must be a pair"),
    (optim.Adam, {"eps": -1e-8}, "eps must be"),
    (optim.AdamW, {"weight_decay": -1}, "AdamW: weight_decay must be"),
]


@pytest.mark.parametrize(("kind", "options", "message"), BAD)
def test_names_a_bad_option(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(parameters(), **options)


def test_names_an_option_that_is_no_number():
    for kind, options in ((optim.SGD, {"lr": "0.1"}), (optim.Adam, {"eps": None}), (optim.RMSprop, {"alpha": True})):
        with pytest.raises(TypeError, match=f"{kind.__name__}: {next(iter(options))} must be a number"):
            kind(parameters(), **options)


def test_a_cast_model_needs_a_new_optimizer():
    model = Linear(2, 3)
    optimizer = optim.SGD(model.parameters())
    model.to(np.float64)
    model.weight.grad = np.ones((3, 2))
    with pytest.raises(RuntimeError, match="another dtype than when the optimizer was made"):
        optimizer.step()
    optim.SGD(model.parameters()).step()


def test_names_bad_parameters():
    params = parameters()
    with pytest.raises(ValueError, match="Adam: params is empty"):
        optim.Adam([])
    with pytest.raises(ValueError, match="a parameter group is empty"):
        optim.Adam([{"params": []}])
    with pytest.raises(TypeError, match=r"params\[1\] must be a Parameter, got ndarray"):
        optim.Adam([params[0], np.zeros(3)])
    with pytest.raises(TypeError, match="must be a list of Parameters or of groups, got one Parameter"):
        optim.Adam(params[0])
    with pytest.raises(ValueError, match=r"params\[2\], of shape \(3, 5\), appears more than once"):
        optim.Adam([params[0], params[1], params[0]])
    with pytest.raises(ValueError, match="unknown option lrr"):
        optim.Adam([{"params": params, "lrr": 1.0}])
    optimizer = optim.Adam(params[:2])
    with pytest.raises(ValueError, match="more than once"):
        optimizer.add_param_group({"params": [params[1]]})
    assert len(optimizer.param_groups) == 1


class TestClipping:
    @pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
    def test_norm(self, norm_type):
        params = parameters()
        gradients = arrays(seed=5)
        for p, g in zip(params, gradients, strict=True):
            p.grad = g
        params[3].grad = None
        flat = np.concatenate([g.ravel() for i, g in enumerate(gradients) if i != 3])
        expected = np.linalg.norm(flat, norm_type)
        norm = optim.clip_grad_norm_(params, 0.5, norm_type)
        assert norm == pytest.approx(expected)
        for i, (p, g) in enumerate(zip(params, gradients, strict=True)):
            if i != 3:
                np.testing.assert_allclose(p.grad, g * (0.5 / (expected + 1e-6)))

    def test_a_small_norm_is_left_alone(self):
        params = parameters()
        for p, g in zip(params, arrays(seed=5), strict=True):
            p.grad = g
        optim.clip_grad_norm_(params, 1e3)
        assert same_bits([p.grad for p in params], arrays(seed=5))

    def test_clipping_reaches_the_arena(self):
        params = parameters()
        optimizer = optim.SGD(params, lr=1.0)
        for p in params:
            p.grad = np.full(p.shape, -9.0)
        optim.clip_grad_value_(params, 0.25)
        optimizer.step()
        for p, w in zip(params, arrays(), strict=True):
            np.testing.assert_allclose(p.data, w + 0.25)

    def test_bad_input(self):
        p = Parameter(np.zeros(2))
        p.grad = np.array([np.nan, 1.0])
        with pytest.raises(ValueError, match="max_norm must be at least 0, got -1"):
            optim.clip_grad_norm_([p], -1)
        with pytest.raises(ValueError, match="norm_type must be above 0"):
            optim.clip_grad_norm_([p], 1, 0)
        with pytest.raises(ValueError, match="clip_value must be at least 0"):
            optim.clip_grad_value_([p], -1)
        with pytest.raises(ValueError, match="the norm of the gradients is nan; nothing was clipped"):
            optim.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
        assert p.grad[1] == 1.0
        assert math.isnan(optim.clip_grad_norm_(p, 1.0))
        assert optim.clip_grad_norm_([], 1.0) == 0


@pytest.mark.parametrize("backend", ["reference", "numba", "cython", "auto"])
def test_gradients_in_the_arena_equal_those_without_optimizer(backend):
    """Kernels may write a first gradient straight into the arena; what is used in several places adds up."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 6, 5, 2)).astype(np.float32)
    square = nn.Parameter(rng.standard_normal((4, 4)).astype(np.float32))
    conv, twice, last = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, 4), nn.Linear(4, 2)
    parameters = [square, *conv.parameters(), *twice.parameters(), *last.parameters()]

    def gradients():
        for p in parameters:
            p.grad = None
        hidden = twice(twice(conv(x))) @ (square @ square)
        (last(hidden).sum() + twice.weight.sum()).backward()
        return [p.grad.copy() for p in parameters]

    with kernels.use_backend(backend, "reference"):
        without = gradients()
        optim.Adam(parameters)
        views = [p._place.array for p in parameters]
        within = gradients()
    for p, view, a, b in zip(parameters, views, without, within, strict=True):
        assert p.grad is view
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
