"""What optimizers and clipping are given: groups changed by hand, iterators with nothing left, states of others."""

import copy

import numpy as np
import pytest
from peers import needs_torch, torch

from dlfast import nn, optim
from dlfast.nn import Parameter

KINDS = {
    "SGD": lambda params: optim.SGD(params, lr=0.1),
    "momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9),
    "RMSprop": lambda params: optim.RMSprop(params, lr=0.1, momentum=0.5),
    "Adam": lambda params: optim.Adam(params, lr=0.1),
    "AdamW": lambda params: optim.AdamW(params, lr=0.1),
    "Adagrad": lambda params: optim.Adagrad(params, lr=0.1),
    "NAdam": lambda params: optim.NAdam(params, lr=0.1),
    "RAdam": lambda params: optim.RAdam(params, lr=0.1),
    "Lion": lambda params: optim.Lion(params, lr=0.1),
}


def parameters(count=2):
    return [Parameter(np.full(3, 1.0 + i)) for i in range(count)]


def step(optimizer, params):
    for p in params:
        p.grad = p.data * 1
    optimizer.step()


@pytest.mark.parametrize("change", ["append", "assign", "add_param_group", "group", "dtype", "tuple"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_parameter_that_joins_later_moves(kind, change):
    first, late = parameters()
    if change == "dtype":
        late = Parameter(late.data.astype(np.float32))
    alone, late_alone = copy.deepcopy([first, late])
    optimizer, expected, own = KINDS[kind]([first]), KINDS[kind]([alone]), KINDS[kind]([late_alone])
    for running, p in ((optimizer, first), (expected, alone)):
        step(running, [p])
    if change == "append" or change == "dtype":
        optimizer.param_groups[0]["params"].append(late)
    elif change == "assign":
        optimizer.param_groups[0]["params"] = [first, late]
    elif change == "tuple":
        optimizer.param_groups[0]["params"] = (first, late)
    elif change == "group":
        optimizer.param_groups.append({"params": [late]})
    else:
        optimizer.add_param_group({"params": late})
    for _ in range(2):
        step(optimizer, [first, late])
        step(expected, [alone])
        step(own, [late_alone])
    np.testing.assert_array_equal(first.data, alone.data)
    np.testing.assert_array_equal(late.data, late_alone.data)
    assert len([n for group in optimizer.state_dict()["param_groups"] for n in group["params"]]) == 2


def test_a_parameter_that_leaves_stays():
    first, second = parameters()
    optimizer = optim.Adam([first, second])
    step(optimizer, [first, second])
    del optimizer.param_groups[0]["params"][0]
    before = first.data.copy()
    step(optimizer, [first, second])
    np.testing.assert_array_equal(first.data, before)
    assert list(optimizer.state_dict()["state"]) == [0]


def test_what_may_not_join():
    first, second = parameters()
    optimizer = optim.Adam([first])
    for wrong, words in ((first, "appears more than once"), (np.ones(3), "must be a Parameter, got ndarray")):
        optimizer.param_groups[0]["params"].append(wrong)
        with pytest.raises((TypeError, ValueError), match=words):
            step(optimizer, [first])
        optimizer.param_groups[0]["params"].pop()
    step(optimizer, [first])


def exhausted(model):
    iterator = model.parameters()
    list(iterator)
    return iterator


TAKERS = {
    "clip_grad_norm_": lambda given: optim.clip_grad_norm_(given, 1.0),
    "clip_grad_value_": lambda given: optim.clip_grad_value_(given, 1.0),
    "utils": lambda given: nn.utils.clip_grad_norm_(given, 1.0),
    **KINDS,
    "group": lambda given: optim.Adam([{"params": given}]),
    "add_param_group": lambda given: optim.Adam(parameters()).add_param_group({"params": given}),
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_what_takes_parameters_says_what_is_wrong_with_them(take):
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="is an iterator that has nothing left; pass model.parameters.. afresh"):
        take(exhausted(model))
    with pytest.raises(ValueError, match="nothing left"):
        take(iter([]))
    for wrong in (model, model.parameters):
        with pytest.raises(TypeError, match=r"must be a list of Parameters, got .*; pass model.parameters\(\)"):
            take(wrong)
    take(model.parameters())


def test_clipping_twice_through_one_generator():
    model = nn.Linear(2, 2)
    for p in model.parameters():
        p.grad = np.ones(p.shape)
    once = model.parameters()
    assert optim.clip_grad_norm_(once, 1.0) == pytest.approx(6**0.5)
    with pytest.raises(ValueError, match="nothing left"):
        optim.clip_grad_norm_(once, 1.0)


def test_named_parameters_and_plain_tensors():
    model = nn.Linear(2, 2)
    assert len(optim.Adam(model.named_parameters()).param_groups[0]["params"]) == 2
    with pytest.raises(TypeError, match=r"must be a Parameter, got Tensor; make it one with nn.Parameter"):
        optim.Adam([model.weight * 1])


@pytest.mark.parametrize("ours", KINDS)
@pytest.mark.parametrize("theirs", KINDS)
@pytest.mark.parametrize("named", [True, False])
def test_the_state_of_another_optimizer(ours, theirs, named):
    params = parameters()
    foreign = KINDS[theirs](parameters())
    step(foreign, foreign.param_groups[0]["params"])
    state = foreign.state_dict()
    if not named:
        del state["optimizer"]
    optimizer = KINDS[ours](params)
    step(optimizer, params)
    before = optimizer.state_dict()
    same = type(optimizer) is type(foreign)
    alike = {ours, theirs} == {"Adam", "AdamW"} and not named  # only the name tells
    if same or alike:
        optimizer.load_state_dict(state)
        return
    with pytest.raises(ValueError, match="of another optimizer"):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"].keys() == before["state"].keys()


def test_options_out_of_range_in_a_state_change_nothing():
    optimizer = optim.Adam(parameters())
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = -1.0
    with pytest.raises(ValueError, match="lr must be in"):
        optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 1e-3


@needs_torch
@pytest.mark.parametrize("theirs", ["SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "NAdam", "RAdam"])
@pytest.mark.parametrize("ours", ["SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "NAdam", "RAdam"])
def test_states_of_pytorch(ours, theirs):
    peer = getattr(torch.optim, theirs)([torch.nn.Parameter(torch.ones(3, dtype=torch.float64))], lr=0.1)
    peer.param_groups[0]["params"][0].grad = torch.ones(3, dtype=torch.float64)
    peer.step()
    optimizer = getattr(optim, ours)(parameters(1))
    if ours != theirs:
        with pytest.raises(ValueError, match="of another optimizer"):
            optimizer.load_state_dict(peer.state_dict())
        return
    optimizer.load_state_dict(peer.state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_zero_grad_may_keep_the_arrays():
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters())
    for forget in (model.zero_grad, optimizer.zero_grad):
        for p in model.parameters():
            p.grad = np.ones(p.shape)
        forget(set_to_none=False)
        assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
        forget(set_to_none=True)
        assert all(p.grad is None for p in model.parameters())


def test_a_closure_computes_the_loss():
    (p,) = parameters(1)
    optimizer = optim.SGD([p], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3
    np.testing.assert_array_equal(p.data, 0)
