"""Schedules against their formulas, against PyTorch where it is installed, and their state and pictures."""

import copy
import json
import math

import numpy as np
import pytest
from peers import needs_torch, torch

from dlfast import optim
from dlfast.nn import Parameter
from dlfast.optim import lr_scheduler
from dlfast.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CosineWithWarmup,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

RATES = (0.5, 0.02)
STEPS = 24


def optimizer(kind=optim.SGD, rates=RATES, **options):
    return kind([{"params": [Parameter(np.zeros(1))], "lr": rate} for rate in rates], lr=1.0, **options)


def walk(scheduler, steps=STEPS):
    rows = [[group["lr"] for group in scheduler.optimizer.param_groups]]
    for _ in range(steps - 1):
        scheduler.step()
        rows.append([group["lr"] for group in scheduler.optimizer.param_groups])
        assert scheduler.get_last_lr() == rows[-1]
    return np.array(rows)


def cosine(done, low=0.0):
    return lambda base: low + (base - low) * (1 + math.cos(math.pi * done)) / 2


def restarted(t):
    for length in (3, 6, 12, 24):
        if t < length:
            return cosine(t / length, 0.01)
        t -= length


def share(value):
    return lambda base: base * value


# What makes the scheduler, in a library's module, and its rate at step t as a function of the base rate.
FORMULAS = {
    "constant": (lambda lib, o: lib.ConstantLR(o, 0.25, 4), lambda t: share(0.25 if t < 4 else 1)),
    "constant-1": (lambda lib, o: lib.ConstantLR(o, 1.0), lambda t: share(1)),
    "step": (lambda lib, o: lib.StepLR(o, 5, 0.3), lambda t: share(0.3 ** (t // 5))),
    "multi-step": (
        lambda lib, o: lib.MultiStepLR(o, [2, 2, 9, 15], 0.4),
        lambda t: share(0.4 ** ((t >= 2) * 2 + (t >= 9) + (t >= 15))),
    ),
    "exponential": (lambda lib, o: lib.ExponentialLR(o, 0.9), lambda t: share(0.9**t)),
    "linear": (lambda lib, o: lib.LinearLR(o, 0.1, 0.8, 7), lambda t: share(0.1 + 0.7 * min(t, 7) / 7)),
    "polynomial": (lambda lib, o: lib.PolynomialLR(o, 9, 2.0), lambda t: share((1 - min(t, 9) / 9) ** 2)),
    "cosine": (lambda lib, o: lib.CosineAnnealingLR(o, 7, 0.01), lambda t: cosine(t / 7, 0.01)),
    "cosine-0": (lambda lib, o: lib.CosineAnnealingLR(o, 5), lambda t: cosine(t / 5)),
    "restarts": (lambda lib, o: lib.CosineAnnealingWarmRestarts(o, 3, 2, 0.01), restarted),
    "restarts-1": (lambda lib, o: lib.CosineAnnealingWarmRestarts(o, 5), lambda t: cosine(t % 5 / 5)),
    "lambda": (lambda lib, o: lib.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: share(1 / (1 + t))),
    "multiplicative": (lambda lib, o: lib.MultiplicativeLR(o, lambda t: 0.95), lambda t: share(0.95**t)),
}
EVERY = pytest.mark.parametrize(("make", "formula"), FORMULAS.values(), ids=FORMULAS)

OTHERS = {
    "lambdas": lambda lib, o: lib.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1 + t]),
    "one-cycle": lambda lib, o: lib.OneCycleLR(o, [0.3, 0.1], total_steps=STEPS),
    "one-cycle-linear": lambda lib, o: lib.OneCycleLR(
        o, 0.3, epochs=6, steps_per_epoch=4, anneal_strategy="linear", pct_start=0.2, div_factor=5.0
    ),
    "one-cycle-three": lambda lib, o: lib.OneCycleLR(o, 0.3, STEPS, three_phase=True, final_div_factor=10.0),
    "one-cycle-no-rise": lambda lib, o: lib.OneCycleLR(o, 0.3, STEPS, pct_start=0.0, cycle_momentum=False),
    "sequential": lambda lib, o: lib.SequentialLR(
        o, [lib.LinearLR(o, 0.1, total_iters=4), lib.StepLR(o, 3, 0.5), lib.CosineAnnealingLR(o, 6)], [4, 12]
    ),
    "sequential-restarts": lambda lib, o: lib.SequentialLR(
        o, [lib.ConstantLR(o, 0.1, 20), lib.CosineAnnealingWarmRestarts(o, 4), lib.ExponentialLR(o, 0.9)], [3, 14]
    ),
    "chained": lambda lib, o: lib.ChainedScheduler(
        [lib.ConstantLR(o, 0.1, 4), lib.ExponentialLR(o, 0.9), lib.CosineAnnealingLR(o, 9)]
    ),
}
ALL = {**{name: make for name, (make, _) in FORMULAS.items()}, **OTHERS}
EACH = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


@EVERY
def test_follows_its_formula(make, formula):
    expected = [[formula(t)(base) for base in RATES] for t in range(STEPS)]
    np.testing.assert_allclose(walk(make(lr_scheduler, optimizer())), expected, rtol=1e-12, atol=1e-16)


def peer(kind="SGD", **options):
    return getattr(torch.optim, kind)(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in RATES], lr=1.0, **options
    )


@needs_torch
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@EACH
def test_follows_pytorch(make, kind):
    options = {"momentum": 0.9} if kind == "SGD" else {}
    theirs, ours = peer(kind, **options), optimizer(getattr(optim, kind), **options)
    other, scheduler = make(torch.optim.lr_scheduler, theirs), make(lr_scheduler, ours)
    changing = "momentum" if kind == "SGD" else "betas"
    for _ in range(STEPS):
        for a, b in zip(ours.param_groups, theirs.param_groups, strict=True):
            np.testing.assert_allclose(a["lr"], float(b["lr"]), rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(a[changing], b[changing], rtol=1e-12)
        np.testing.assert_allclose(scheduler.get_last_lr(), other.get_last_lr(), rtol=1e-12, atol=1e-15)
        scheduler.step()
        theirs.step()
        other.step()


@needs_torch
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
@EACH
def test_takes_over_a_state_of_pytorch(make):
    theirs, ours = peer(momentum=0.9), optimizer(momentum=0.9)
    other, scheduler = make(torch.optim.lr_scheduler, theirs), make(lr_scheduler, ours)
    if isinstance(scheduler, OneCycleLR):
        with pytest.raises(ValueError, match="OneCycleLR: this is the state of another scheduler"):
            scheduler.load_state_dict(other.state_dict())
        return
    for _ in range(7):
        theirs.step()
        other.step()
    scheduler.load_state_dict(other.state_dict())
    for a, b in zip(ours.param_groups, theirs.param_groups, strict=True):
        a["lr"] = b["lr"]
    for _ in range(7):
        theirs.step()
        other.step()
        scheduler.step()
        np.testing.assert_allclose(scheduler.get_last_lr(), other.get_last_lr(), rtol=1e-12, atol=1e-15)


@needs_torch
def test_fractions_of_an_epoch_follow_pytorch():
    ours, theirs = optimizer(), peer()
    scheduler = CosineAnnealingWarmRestarts(ours, 2, 2, 0.01)
    other = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(theirs, 2, 2, 0.01)
    theirs.step()
    for epoch in (0, 0.25, 1.75, 2, 2.5, 5.9, 6, 13.9, 14.1, None, None, 3.0, None):
        scheduler.step(epoch)
        other.step(epoch)
        np.testing.assert_allclose(scheduler.get_last_lr(), other.get_last_lr(), rtol=1e-12)
        assert scheduler.last_epoch == other.last_epoch


PLATEAUS = {
    "default": {"patience": 2},
    "absolute": {"patience": 1, "threshold_mode": "abs", "threshold": 0.05, "factor": 0.5},
    "largest": {"mode": "max", "patience": 1, "cooldown": 2, "factor": 0.3},
    "largest-absolute": {"mode": "max", "patience": 0, "threshold": 0.1, "threshold_mode": "abs", "eps": 1e-3},
    "limits": {"patience": 0, "min_lr": [0.1, 0.001]},
}
METRICS = [1.0, 0.9, 0.9, 0.89999, 0.88, 0.9, math.nan, 0.87, 0.87, 0.87, 0.5, 0.6, 0.6, 0.6, 0.49, 0.6, 0.7, 0.8, 0.9]


@needs_torch
@pytest.mark.parametrize("options", PLATEAUS.values(), ids=PLATEAUS)
def test_plateau_follows_pytorch(options):
    ours, theirs = optimizer(), peer()
    scheduler = ReduceLROnPlateau(ours, **options)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    rows = [scheduler.get_last_lr()]
    for metric in METRICS:
        scheduler.step(metric)
        other.step(metric)
        rows.append(scheduler.get_last_lr())
        assert rows[-1] == other.get_last_lr()
        assert (scheduler.best, scheduler.num_bad_epochs) == (other.best, other.num_bad_epochs)
    np.testing.assert_array_equal(ReduceLROnPlateau(optimizer(), **options).rates(METRICS), rows)
    fresh = ReduceLROnPlateau(optimizer(), **options)
    fresh.load_state_dict(other.state_dict())
    assert fresh.best == other.best
    assert len({tuple(row) for row in rows}) > 1


def test_plateau_waits_reduces_and_rests():
    scheduler = ReduceLROnPlateau(optimizer(rates=(1.0,)), factor=0.5, patience=1, cooldown=1, min_lr=0.2)
    rates = [scheduler.step(metric) or scheduler.get_last_lr()[0] for metric in [3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]]
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]
    for _ in range(9):
        scheduler.step(np.float32(math.nan))
    assert scheduler.get_last_lr() == [0.2]


def test_cosine_with_warmup_rises_and_falls():
    rates = walk(CosineWithWarmup(optimizer(), total_steps=20, warmup_steps=4, eta_min=0.001), 22)
    np.testing.assert_allclose(rates[:4], np.outer(np.arange(1, 5) / 5, RATES))
    np.testing.assert_allclose(rates[4], RATES)
    np.testing.assert_allclose(rates[12], (np.array(RATES) + 0.001) / 2)
    assert (np.diff(rates[4:21], axis=0) < 0).all()
    np.testing.assert_allclose(rates[20:], 0.001)
    assert (walk(CosineWithWarmup(optimizer(), 5), 5) > 0).all()


def test_one_cycle_turns_the_momentum_the_other_way():
    given = optimizer(optim.Adam)
    scheduler = OneCycleLR(given, 0.3, total_steps=10, pct_start=0.3)
    rows = [(0.3 / 25, 0.95)]
    for _ in range(9):
        scheduler.step()
        rows.append((given.param_groups[0]["lr"], given.param_groups[0]["betas"][0]))
    np.testing.assert_allclose(rows[2], (0.3, 0.85))
    np.testing.assert_allclose(rows[9], (0.3 / 25 / 1e4, 0.95))
    assert given.param_groups[0]["betas"][1] == 0.999
    scheduler.step()
    with pytest.raises(ValueError, match="made for total_steps=10; it cannot go beyond"):
        scheduler.step()


@EACH
def test_resumes_with_the_same_bits(make):
    whole = walk(make(lr_scheduler, optimizer(momentum=0.9)))
    first = make(lr_scheduler, optimizer(momentum=0.9))
    walk(first, 9)
    state = json.loads(json.dumps({"scheduler": first.state_dict(), "optimizer": first.optimizer.state_dict()}))
    second = make(lr_scheduler, optimizer(rates=(9.0, 9.0), momentum=0.9))
    second.load_state_dict(state["scheduler"])
    second.optimizer.load_state_dict(state["optimizer"])
    np.testing.assert_array_equal(walk(second, STEPS - 8), whole[8:])
    assert second.optimizer.param_groups[0]["momentum"] == second.optimizer.param_groups[1]["momentum"]


@EACH
def test_rates_are_the_whole_curve_and_change_nothing(make):
    scheduler = make(lr_scheduler, optimizer(momentum=0.9))
    expected = walk(make(lr_scheduler, optimizer(momentum=0.9)))
    walk(scheduler, 6)
    state, groups = copy.deepcopy(scheduler.state_dict()), repr(scheduler.optimizer)
    np.testing.assert_array_equal(scheduler.rates(STEPS), expected)
    assert len(scheduler.rates()) > 1
    assert (scheduler.state_dict(), repr(scheduler.optimizer)) == (state, groups)


@pytest.mark.parametrize("name", ["step", "lambdas"])
def test_plot_draws_the_rates(name, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `plots`")
    scheduler = ALL[name](lr_scheduler, optimizer())
    figure = scheduler.plot(tmp_path / "rates.png", steps=STEPS)
    assert (tmp_path / "rates.png").read_bytes()[:4] == b"\x89PNG"
    np.testing.assert_array_equal([line.get_ydata() for line in figure.axes[0].lines], scheduler.rates(STEPS).T)
    assert scheduler.plot().axes[0].get_title() == type(scheduler).__name__


def test_the_picture_of_the_notes(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `plots`")
    figure = lr_scheduler.plot_schedules(tmp_path / "schedules.svg", steps=40, lr=0.2)
    assert [axes.get_title() for axes in figure.axes] == ["Constant", "Step decay", "Exponential", "Cosine annealing"]
    constant, step, exponential, annealed = (axes.lines[0].get_ydata() for axes in figure.axes)
    np.testing.assert_array_equal(constant, np.full(40, 0.2))
    np.testing.assert_allclose(np.unique(step), [0.05, 0.1, 0.2])
    np.testing.assert_allclose(exponential[1:] / exponential[:-1], 0.02 ** (1 / 40))
    assert (annealed.argmax(), annealed.max()) == (10, 0.2)
    assert annealed[0] < annealed[9]
    assert annealed[-1] < annealed[0]
    assert (tmp_path / "schedules.svg").stat().st_size > 1000


def test_schedules_compose_and_keep_a_rate_set_by_hand():
    given = optimizer()
    scheduler = StepLR(given, 2, 0.5)
    given.param_groups[0]["lr"] = 8.0
    np.testing.assert_array_equal(walk(scheduler, 5)[:, 0], [8, 8, 4, 4, 2])
    assert scheduler.base_lrs == list(RATES)


def test_a_group_that_comes_later_takes_part():
    given = optimizer()
    scheduler, by_function = LinearLR(given, 0.5, total_iters=2), LambdaLR(given, lambda t: 0.5)
    scheduler.step()
    given.add_param_group({"params": [Parameter(np.ones(2))], "lr": 4.0})
    scheduler.step()
    assert given.param_groups[2]["lr"] == pytest.approx(4.0 / 0.75)
    by_function.step()
    assert given.param_groups[2]["lr"] == 2.0
    plateau = ReduceLROnPlateau(optimizer(), patience=0)
    plateau.optimizer.add_param_group({"params": [Parameter(np.ones(2))], "lr": 4.0})
    plateau.step(1.0)
    plateau.step(1.0)
    assert plateau.get_last_lr()[2] == 0.4


def test_goes_on_after_a_step():
    given = optimizer()
    with pytest.raises(ValueError, match=r'param_groups\[0\] must have its base rate as "initial_lr"'):
        CosineAnnealingLR(given, 10, last_epoch=3)
    ExponentialLR(given, 0.5)
    for make in (
        lambda: CosineAnnealingLR(given, 10, last_epoch=3),
        lambda: MultiplicativeLR(given, abs, last_epoch=3),
    ):
        scheduler = make()
        assert scheduler.last_epoch == 4
    np.testing.assert_allclose(scheduler.get_last_lr(), np.array(RATES) * 1 * 2 * 3 * 4)


BAD = [
    (lambda o: StepLR(o, 0), ValueError, "StepLR: step_size must be"),
    (lambda o: StepLR(o, 2.5), TypeError, "step_size"),
    (lambda o: StepLR(None, 2), TypeError, "optimizer must be made by dlfast.optim, got NoneType"),
    (lambda o: ConstantLR(o, 1.5), ValueError, "factor must be in"),
    (lambda o: LinearLR(o, 0.0), ValueError, "start_factor must be in"),
    (lambda o: MultiStepLR(o, [5, 3]), ValueError, "milestones must increase"),
    (lambda o: MultiStepLR(o, 5), TypeError, "milestones must be a list"),
    (lambda o: CosineAnnealingLR(o, 0), ValueError, "T_max must be"),
    (lambda o: CosineWithWarmup(o, 10, 10), ValueError, "warmup_steps must be"),
    (lambda o: CosineAnnealingWarmRestarts(o, 3, 0), ValueError, "T_mult must be"),
    (lambda o: PolynomialLR(o, 5, "2"), TypeError, "power must be a number"),
    (lambda o: LambdaLR(o, 0.5), TypeError, "lr_lambda must be a function"),
    (lambda o: LambdaLR(o, [abs]), ValueError, "one value for each of the 2 groups, got 1"),
    (lambda o: OneCycleLR(o, 0.1), ValueError, "give total_steps, or both epochs and steps_per_epoch"),
    (lambda o: OneCycleLR(o, 0.1, 5, anneal_strategy="log"), ValueError, "anneal_strategy must be"),
    (lambda o: OneCycleLR(o, [0.1], 5), ValueError, "max_lr must have one value for each"),
    (lambda o: ReduceLROnPlateau(o, factor=1.0), ValueError, "factor must be in"),
    (lambda o: ReduceLROnPlateau(o, "least"), ValueError, "mode must be"),
    (lambda o: ReduceLROnPlateau(o).plot(), ValueError, "pass metrics="),
    (lambda o: SequentialLR(o, [StepLR(o, 2)], [3]), ValueError, "milestones must be 0 numbers"),
    (lambda o: SequentialLR(o, [], []), ValueError, "schedulers is empty"),
    (lambda o: SequentialLR(o, [StepLR(optimizer(), 2)], []), ValueError, "was made for another optimizer"),
    (lambda o: ChainedScheduler([ReduceLROnPlateau(o)]), TypeError, "a scheduler that needs no metric"),
    (lambda o: StepLR(o, 2).plot(steps=0), ValueError, "steps must be"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_names_what_is_wrong_and_changes_nothing(call, error, message):
    given = optimizer()
    with pytest.raises(error, match=message):
        call(given)
    assert [group["lr"] for group in given.param_groups] == list(RATES)


def test_a_state_that_does_not_fit_changes_nothing():
    scheduler = OTHERS["sequential"](lr_scheduler, optimizer())
    walk(scheduler, 9)
    before = copy.deepcopy(scheduler.state_dict())
    wrong = copy.deepcopy(before)
    wrong["_schedulers"][0]["last_epoch"] = 77
    wrong["_schedulers"][2] = StepLR(optimizer(), 3).state_dict()
    with pytest.raises(ValueError, match="CosineAnnealingLR: this is the state of another scheduler.*T_max"):
        scheduler.load_state_dict(wrong)
    assert scheduler.state_dict() == before
    with pytest.raises(ValueError, match="the state has 0 schedulers, this has 3"):
        scheduler.load_state_dict(StepLR(optimizer(), 3).state_dict())
    with pytest.raises(ValueError, match="StepLR: the state has 1 groups, the optimizer has 2"):
        StepLR(optimizer(), 3).load_state_dict(StepLR(optimizer(rates=(1.0,)), 3).state_dict())
