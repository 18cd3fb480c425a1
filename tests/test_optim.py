"""Optimizers against their formulas in NumPy, against PyTorch where it is installed, and their bookkeeping."""

import copy
import math

import numpy as np
import pytest
from optimizing import (
    SKIPS,
    STEPS,
    adagrad,
    adam,
    adamw,
    arrays,
    lion,
    nadam,
    parameters,
    radam,
    rmsprop,
    same_bits,
    sgd,
    take_steps,
    values,
)
from peers import needs_torch, torch

from dlfast import kernels, optim
from dlfast.nn import Parameter

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
    (optim.Adagrad, adagrad, {"lr": 0.1}),
    (optim.Adagrad, adagrad, {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    (optim.NAdam, nadam, {"lr": 0.01}),
    (optim.NAdam, nadam, {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1, "momentum_decay": 0.1}),
    (optim.NAdam, nadam, {"lr": 0.01, "weight_decay": 0.3, "decoupled_weight_decay": True}),
    (optim.RAdam, radam, {"lr": 0.01, "weight_decay": 0.1}),
    (optim.RAdam, radam, {"lr": 0.01, "betas": (0.8, 0.6), "weight_decay": 0.1}),
    (optim.RAdam, radam, {"lr": 0.01, "betas": (0.8, 0.6), "weight_decay": 0.3, "decoupled_weight_decay": True}),
    (optim.Lion, lion, {"lr": 0.01}),
    (optim.Lion, lion, {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.3}),
]


IDS = [f"{case[0].__name__}-{'-'.join(case[2])}" for case in CASES]


ALL = pytest.mark.parametrize(("kind", "formula", "options"), CASES, ids=IDS)


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
    limit = 2e-5 if dtype == np.float32 else 1e-11
    for p, expected in zip(params, by_formula(formula, options, SKIPS["none"]), strict=True):
        assert p.dtype == dtype
        np.testing.assert_allclose(p.data, expected, rtol=limit, atol=limit)


IN_PYTORCH = pytest.mark.parametrize(
    ("kind", "formula", "options"), [case for case in CASES if case[0] is not optim.Lion], ids=IDS[:-2]
)


def tolerance(kind):
    """PyTorch's NAdam keeps the product of its momenta in float32."""
    return {"rtol": 1e-7, "atol": 1e-8} if kind is optim.NAdam else {"rtol": 1e-10, "atol": 1e-12}


@needs_torch
@pytest.mark.parametrize("skip", SKIPS.values(), ids=SKIPS)
@IN_PYTORCH
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
        np.testing.assert_allclose(p.data, q.detach().numpy(), **tolerance(kind))


@needs_torch
@IN_PYTORCH
def test_follows_pytorch_through_changing_rates_and_groups(kind, formula, options):
    """Two groups of their own rates and decays, a schedule, and up the gradient instead of down in the second."""
    if kind is optim.RMSprop:
        options = {**options, "eps_inside_sqrt": False}
    params = parameters()
    theirs = [torch.nn.Parameter(torch.from_numpy(np.array(a))) for a in arrays()]

    def made(library, params):
        own = {name: value for name, value in options.items() if library is optim or name != "eps_inside_sqrt"}
        groups = [{"params": params[:2], "lr": 0.02}, {"params": params[2:], "weight_decay": 0.05, "maximize": True}]
        optimizer = getattr(library, kind.__name__)(groups, **own)
        return optimizer, library.lr_scheduler.CosineAnnealingLR(optimizer, 4)

    (ours, schedule), (peer, other) = made(optim, params), made(torch.optim, theirs)
    for step in range(STEPS):
        for p, q, g in zip(params, theirs, arrays(seed=100 + step), strict=True):
            p.grad, q.grad = g, torch.from_numpy(np.array(g))
        ours.step()
        peer.step()
        schedule.step()
        other.step()
        for p, q in zip(params, theirs, strict=True):
            np.testing.assert_allclose(p.data, q.detach().numpy(), **tolerance(kind))


@pytest.mark.parametrize("kind", [optim.SGD, optim.Lion])
def test_maximize_goes_up_the_gradient(kind):
    up, down = parameters(), parameters()
    take_steps(kind(up, lr=0.1, maximize=True), up)
    optimizer = kind(down, lr=0.1)
    for step in range(STEPS):
        for p, g in zip(down, arrays(seed=100 + step), strict=True):
            p.grad = -g
        optimizer.step()
    assert same_bits(values(up), values(down))


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
