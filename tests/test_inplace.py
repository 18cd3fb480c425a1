"""Changes in place: they act, or raise; and what they change is never silently used by a backward that came before."""

import copy
import gc

import numpy as np
import pytest
from peers import needs_torch, torch

import dlfast as dl
from dlfast import _changes, nn, optim
from dlfast import functional as F
from dlfast.nn import Parameter
from dlfast.tensor import Tensor, no_grad

OPERATORS = ["__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__"]


def parameter(dtype=np.float32):
    return Parameter(np.array([[1.0, 2.0], [3.0, 4.0]], dtype))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    "other", [2, 2.5, np.float64(2), [2.0, 3.0], np.full(2, 2, np.float32), Tensor([[2.0], [3.0]])]
)
@pytest.mark.parametrize("kind", [Parameter, Tensor])
def test_operators_act_in_place_where_nothing_is_recorded(operator, other, kind):
    p = kind(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), True)
    storage, expected = p.data, p.data.copy()
    expected = getattr(expected, operator)(np.asarray(other, np.float32))
    with no_grad():
        q = p
        q = getattr(q, operator)(other)
    assert q is p
    assert p.data is storage
    assert p.requires_grad
    np.testing.assert_allclose(storage, expected, rtol=1e-6)


@pytest.mark.parametrize("bound", [False, True])
def test_a_step_by_hand(bound):
    p = parameter()
    if bound:
        optim.SGD([p])
    (p * p).sum().backward()
    with no_grad():
        p -= 0.25 * p.grad
    np.testing.assert_array_equal(p.data, [[0.5, 1], [1.5, 2]])


@pytest.mark.parametrize(
    "change",
    [
        *[lambda x, name=name: getattr(x, name)(2.0) for name in OPERATORS],
        lambda x: x.__setitem__(0, 5.0),
        lambda x: x.__setitem__((slice(None), 1), [1.0, 2.0]),
        lambda x: x.add_(1.0),
        lambda x: x.mul_(2),
        lambda x: x.zero_(),
        lambda x: x.fill_(3),
        lambda x: x.copy_([[1.0, 2.0], [3.0, 4.0]]),
        lambda x: x.clamp_(2, 3),
        lambda x: x.normal_(),
        lambda x: x.uniform_(),
    ],
)
def test_a_leaf_is_not_changed_while_it_is_recorded(change):
    for x in (parameter(), Tensor(parameter().data.copy(), requires_grad=True)):
        with pytest.raises(RuntimeError, match=r"leaf .* of shape \(2, 2\) that requires a gradient cannot be changed"):
            change(x)
        np.testing.assert_array_equal(x.data, [[1, 2], [3, 4]])
        with no_grad():
            change(x)
        change(x.detach())


def test_the_message_has_the_parameters_name():
    with pytest.raises(RuntimeError, match="Linear.weight, a leaf Parameter"):
        nn.Linear(2, 2).weight += 1


@pytest.mark.parametrize(
    "change",
    [
        lambda x, w: x.__iadd__(w),
        lambda x, w: x.__imul__(w),
        lambda x, w: x.__isub__(2 * w).__itruediv__(w),
        lambda x, w: x.__ipow__(w),
        lambda x, w: x.__setitem__((slice(None), 0), w),
        lambda x, w: x.__setitem__(x.data > 0, 0.0),
        lambda x, w: x.__setitem__(([0, 1], [1, 0]), w[:, None][:, 0]),
        lambda x, w: x.__setitem__(0, w[None]),
        lambda x, w: x.__setitem__(0, x[0].__iadd__(w)),  # x[0] += w
        lambda x, w: x.clamp_(0.2, 0.9).fill_(2).copy_(w),
    ],
)
@pytest.mark.parametrize("through", [lambda x: x.exp(), lambda x: x * 2, lambda x: x.clone()])
def test_gradients_of_what_is_recorded_in_place(change, through):
    def fn(x, w):
        y = through(x)
        before = y * 1
        change(y, w)
        return y * 3 + before

    rng = np.random.default_rng(0)
    dl.gradcheck(fn, [rng.uniform(0.5, 1.5, (2, 2)), rng.uniform(0.5, 1.5, 2)])


def test_a_row_is_updated_through_its_index():
    x, w = Tensor(np.zeros((2, 2))), Tensor(np.ones(2), requires_grad=True)
    x[1] += w
    np.testing.assert_array_equal(x, [[0, 0], [1, 1]])
    x.sum().backward()
    np.testing.assert_array_equal(w.grad, 1)


def test_what_does_not_fit_changes_nothing():
    x = Tensor(np.array([1, 2]))
    with pytest.raises(TypeError, match="integers cannot hold the quotient"):
        x /= 2
    with pytest.raises(TypeError, match="float64 values do not fit into a Tensor of int64"):
        x[0] = np.array(0.5)
    p = parameter()
    with no_grad(), pytest.raises(ValueError, match="broadcast"):
        p += np.ones((3, 2, 2), np.float32)
    y = p * 1
    with pytest.raises(ValueError, match=r"in place the result must be as x, float32 of shape \(2, 2\)"):
        y += np.ones((3, 2, 2), np.float32)
    frozen = Parameter(np.ones(2, np.float32), requires_grad=False)
    with pytest.raises(RuntimeError, match="a Parameter keeps its own values"):
        frozen += p[0]
    np.testing.assert_array_equal(x, [1, 2])


CHANGES = {
    "step": lambda p: optimizer_of(p).step(),
    "+=": lambda p: p.__iadd__(1),
    "item": lambda p: p.__setitem__((0, 0), 7),
    "data": lambda p: setattr(p, "data", p.data + 1),
    "data in place": lambda p: setattr(p, "data", p.data.__iadd__(1)),
    "zero_": lambda p: p.zero_(),
    "view": lambda p: p.reshape(-1).__iadd__(1),
    "init": lambda p: dl.init.ones_(p),
    "load_state_dict": lambda p: holder(p).load_state_dict({"weight": np.ones(p.shape)}),
}


def optimizer_of(p):
    p.grad = np.ones(p.shape)
    return optim.SGD([p], lr=0.5)


def holder(p):
    module = nn.Module()
    module.weight = p
    return module


@no_grad()
def change(how, p):
    CHANGES[how](p)


@pytest.mark.parametrize("how", CHANGES)
def test_backward_notices_that_a_weight_was_changed(how):
    p = parameter(np.float64)
    optim.SGD([p])  # into an arena, else the step would move it away from the array that was saved
    x = Tensor(np.ones((2, 2)), requires_grad=True)
    loss = (x * p * p).sum()
    change(how, p)
    with pytest.raises(RuntimeError, match=r"Parameter of shape \(2, 2\) was changed in place after the forward pass"):
        loss.backward()
    assert x.grad is None
    (x * p * p).sum().backward()
    np.testing.assert_allclose(x.grad, p.data**2)


MODELS = {
    "linear": lambda: (nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (5, 3)),
    "conv": lambda: (nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 2)), (2, 8, 8, 2)),
    "conv1d": lambda: (nn.Sequential(nn.Conv1d(2, 3, 3), nn.Conv1d(3, 2, 2)), (2, 8, 2)),
    "transposed": lambda: (nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.ConvTranspose2d(3, 2, 2)), (2, 4, 4, 2)),
    "norm": lambda: (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LayerNorm(4)), (5, 3)),
    "cell": lambda: (Twice(nn.GRUCell(3, 3)), (5, 3)),
}


class Twice(nn.Module):
    def __init__(self, cell):
        self.cell = cell

    def forward(self, x):
        return self.cell(self.cell(x), self.cell(x))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_between_forward_and_backward_of_a_model(name, backend):
    model, shape = MODELS[name]()
    optimizer = optim.Adam(model.parameters())
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with dl.use_backend(backend):
        first, second = (model(x) ** 2).sum(), (model(x) ** 2).sum()
        first.backward()
        optimizer.step()
        with pytest.raises(RuntimeError, match=r"\.weight.*, a Parameter of shape .* was changed in place"):
            second.backward()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(3, 4), (5, 3)),
        (nn.Linear(3, 4, activation="tanh"), (5, 3)),
        (nn.Conv2d(2, 3, 3, activation="relu"), (2, 5, 5, 2)),
        (nn.Conv1d(2, 3, 3), (2, 5, 2)),
        (nn.ConvTranspose2d(2, 3, 3), (2, 5, 5, 2)),
        (nn.Embedding(9, 4), None),
        (nn.BatchNorm1d(3), (5, 3)),
        (nn.BatchNorm2d(3), (5, 2, 2, 3)),
        (nn.LayerNorm(3), (5, 3)),
        (nn.GroupNorm(1, 3), (2, 4, 4, 3)),
        (nn.RMSNorm(3), (5, 3)),
        (nn.ConvTranspose1d(2, 3, 3), (2, 5, 2)),
        (nn.RNNCell(3, 4), (5, 3)),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_weight_that_no_gradient_needs_may_change(layer, shape, backend):
    """Of the first layer only the input is needed, as in PyTorch."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, 6) if shape is None else rng.standard_normal(shape).astype(np.float32)
    layer.zero_grad()
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    with dl.use_backend(backend):
        first, second = layer(x).sum(), layer(x).sum()
        first.backward()
        expected = [p.grad.copy() for p in layer.parameters()]
        optimizer.step()
        layer.zero_grad()
        second.backward()
    for p, g in zip(layer.parameters(), expected, strict=True):
        np.testing.assert_array_equal(p.grad, g)


@pytest.mark.parametrize(
    "product",
    [
        lambda x, w: x @ w,
        lambda x, w: x @ w.T,
        lambda x, w: w @ x,
        lambda x, w: x * w,
        lambda x, w: w * x,
        lambda x, w: w / x,
        lambda x, w: w + x,
        lambda x, w: w.sum() + x,
        lambda x, w: w.exp(),
    ],
)
def test_formulas_that_do_not_need_the_weight(product):
    w = parameter()
    x = Tensor(np.ones((2, 2), np.float32))
    first = product(x, w).sum()
    with no_grad():
        w += 1
    first.backward()
    assert w.grad is not None


@needs_torch
@pytest.mark.parametrize(
    "formula",
    [
        lambda x, w: x * w,
        lambda x, w: w * w,
        lambda x, w: w / x,
        lambda x, w: x / w,
        lambda x, w: w**2,
        lambda x, w: w.exp(),
        lambda x, w: w.log(),
        lambda x, w: w.sqrt(),
        lambda x, w: w.tanh(),
        lambda x, w: w @ x,
        lambda x, w: w @ w,
        lambda x, w: w.abs(),
        lambda x, w: w + x,
        lambda x, w: w.T.reshape(-1),
        lambda x, w: w.mean(),
    ],
)
def test_pytorch_raises_where_this_does(formula):
    found = []
    for library in (dl, torch):
        w = library.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        y = formula(library.ones(2, 2), w).sum()
        with library.no_grad():
            w += 1
        try:
            y.backward()
            found.append(None)
        except RuntimeError as error:
            found.append(type(error))
    assert found[0] is found[1]


def test_an_output_that_was_saved_and_changed():
    x = Tensor(np.ones(3), requires_grad=True)
    for through in (lambda v: v.exp(), F.relu, lambda v: v.sqrt()):
        y = through(x)
        with no_grad():
            y *= 2
        with pytest.raises(RuntimeError, match=r"a Tensor of shape \(3,\) was changed in place"):
            y.sum().backward()


def test_an_input_without_gradient_that_was_changed():
    x, w = Tensor(np.ones(3)), Tensor(np.ones(3), requires_grad=True)
    loss = (x * w).sum()
    x += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_a_step_before_the_forward_pass_and_steps_of_others_are_no_matter():
    ours, others = nn.Linear(3, 3), nn.Linear(3, 3)
    steps = [optim.Adam(model.parameters()) for model in (ours, others)]
    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    others(x).sum().backward()
    steps[1].step()
    loss = ours(others(x)).sum()
    optim.Adam(copy.deepcopy(ours).parameters()).step()
    loss.backward()
    loss = ours(x).sum()
    others(x).sum().backward()
    steps[1].step()
    loss.backward()
    steps[0].step()


def test_changes_are_forgotten_with_their_memory():
    gc.collect()
    before = len(_changes.changes_since(0))
    for _ in range(1000):
        x = Tensor(np.ones(3))
        x += 1
    del x
    gc.collect()
    assert len(_changes.changes_since(0)) == before


def test_copies_keep_the_name():
    layer = copy.deepcopy(nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="Linear.bias"):
        layer.bias += 1


def test_several_backwards_through_one_graph():
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    h, c = F.lstm_cell(x.reshape(1, 2), (np.zeros((1, 1)), np.zeros((1, 1))), np.ones((4, 2)), np.ones((4, 1)))
    loss = (h * c * x.exp()).sum()
    loss.backward(retain_graph=True)
    once = x.grad.copy()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_allclose(x.grad, 3 * once)
    with pytest.raises(RuntimeError, match="already freed"):
        loss.backward()
    with pytest.raises(NotImplementedError, match="create_graph"):
        (x * x).sum().backward(create_graph=True)


MASKED = np.ma.masked_less(np.arange(3.0), 1)
REFUSED = [
    (lambda: Tensor(MASKED), "must not be masked, got an array with 1 of 3"),
    (lambda: Parameter(MASKED), "must not be masked"),
    (lambda: Tensor(np.ones(3)) + MASKED, "must not be masked"),
    (lambda: MASKED * Tensor(np.ones(3)), "must not be masked"),
    (lambda: F.relu(MASKED), "must not be masked"),
    (lambda: nn.Linear(3, 2)(MASKED), "must not be masked"),
    (lambda: setattr(Tensor(np.ones(3)), "data", MASKED), "must not be masked"),
    (lambda: setattr(Parameter(np.ones(3)), "data", MASKED), "must not be masked"),
    (lambda: setattr(Tensor(np.ones(3), True), "grad", MASKED), "must not be masked"),
    (lambda: Tensor(np.ones(3)).__setitem__(slice(None), MASKED), "must not be masked"),
    (lambda: dl.data.ArrayDataset(MASKED), "must not be masked"),
    (lambda: holder(Parameter(np.ones(3))).load_state_dict({"weight": MASKED}), "must not be masked"),
    (lambda: setattr(Tensor([1, 2]), "requires_grad", True), "requires_grad needs float32 or float64 data, got int64"),
    (lambda: setattr(Tensor([True]), "requires_grad", True), "requires_grad needs float32 or float64 data, got bool"),
    (lambda: Tensor([1]).requires_grad_(), "requires_grad needs float32 or float64"),
    (lambda: Parameter(np.ones(2, np.float16)), "requires_grad needs float32 or float64"),
    (lambda: setattr(Tensor([1.0], True), "data", np.array([1])), "must be float32 or float64, got int64"),
    (lambda: setattr(Tensor([1.0]), "data", [1, 2]), "must be float32 or float64, got int64"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_what_cannot_be_right_is_refused(call, words):
    with pytest.raises(TypeError, match=words):
        call()


def test_data_and_requires_grad_by_assignment():
    x = Tensor(np.ones(3))
    x.data = np.zeros(4)
    assert x.shape == (4,)
    x.requires_grad = True
    y = x * 2
    with pytest.raises(RuntimeError, match=r"use x.detach\(\)"):
        y.requires_grad = False
    with pytest.raises(ValueError, match=r"Tensor: data must have shape \(4,\)"):
        y.data = np.ones(3)
    with pytest.raises(ValueError, match=r"Tensor: grad must have shape \(4,\), got \(3,\)"):
        x.grad = np.ones(3)
    x.grad = np.ones(4)
    held = x.grad
    x.grad += 1
    assert x.grad is held
    assert Tensor(np.ma.array([1.0, 2.0])).shape == (2,)
