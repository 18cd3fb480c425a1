"""Sequential, ModuleList, Residual and Flatten; and that a Sequential fuses its modules without a trace."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from samples import image

import dlfast as dl
from dlfast import functional as F
from dlfast import nn
from dlfast.tensor import Tensor


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


def test_sequential():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(model) == 3
    assert type(model[1]) is nn.ReLU
    assert model[-1] is model[2]
    assert [type(m) for m in model[1:]] == [nn.ReLU, nn.Linear]
    assert type(model[:2]) is nn.Sequential
    model[1] = nn.Tanh()
    assert type(model[1]) is nn.Tanh
    named = nn.Sequential(OrderedDict(first=nn.Linear(2, 3), act=nn.ReLU()))
    assert list(named.state_dict()) == ["first.weight", "first.bias"]
    assert list(named[1:].named_children())[0][0] == "act"
    with pytest.raises(IndexError):
        model[3]
    with pytest.raises(TypeError, match="every part must be a Module"):
        nn.Sequential(nn.Linear(2, 3), F.relu)
    with pytest.raises(ValueError, match="'forward' cannot name a module"):
        nn.Sequential({"forward": nn.ReLU()})


def test_module_list():
    rows = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    rows.append(nn.ReLU())
    assert len(rows) == 4
    assert len(list(rows.parameters())) == 6
    assert type(rows[1:3]) is nn.ModuleList
    assert [type(m) for m in rows][-1] is nn.ReLU
    with pytest.raises(NotImplementedError):
        rows(1)


def test_residual_and_flatten():
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(nn.Residual(nn.ReLU())(x), 2 * x)
    np.testing.assert_array_equal(nn.Residual(nn.ReLU(), activation="relu")(-x), 0 * x)
    with pytest.raises(ValueError, match=r"Residual: x has shape \(2, 3\) and f\(x\) \(2, 1\).*give a shortcut="):
        nn.Residual(nn.Linear(3, 1))(x)
    with pytest.raises(ValueError, match=r"the shortcut gives shape \(2, 4\) and f\(x\) \(2, 3\)"):
        nn.Residual(nn.ReLU(), shortcut=nn.Linear(3, 4))(x)
    assert nn.Flatten()(np.zeros((2, 3, 4, 5), np.float32)).shape == (2, 60)
    assert nn.Flatten(0, 1)(np.zeros((2, 3, 4), np.float32)).shape == (6, 4)
    with pytest.raises(ValueError, match=r"Flatten: x must have axes 1 to -1, got shape \(3,\)"):
        nn.Flatten()(np.zeros(3, np.float32))


def test_the_row_of_a_residual_is_without_its_shortcut():
    first, short = nn.Linear(3, 4), nn.Linear(3, 4, bias=False)
    block = nn.Residual(OrderedDict(a=first, b=nn.ReLU()), shortcut=short, activation="relu")
    assert list(block.state_dict()) == ["a.weight", "a.bias", "shortcut.weight"]
    assert len(block) == 2
    assert list(block)[0] is first
    assert type(block[-1]) is nn.ReLU
    assert type(block[:]) is nn.Sequential
    block[1] = nn.Identity()
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_array_equal(block(x), F.relu(short(x) + first(x)))
    assert repr(block).startswith("Residual(activation='relu'\n  (a): Linear(")


@pytest.mark.parametrize(
    ("parts", "shape"),
    [
        ((nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)), (2, 7, 8, 2)),
        ((nn.Conv2d(1, 9, 3, stride=(1, 2)), nn.MaxPool2d((2, 3)), nn.ReLU()), (2, 7, 18, 1)),
        ((nn.Conv2d(3, 17, (2, 3), activation="relu"), nn.MaxPool2d(2), nn.Flatten()), (2, 7, 8, 3)),
        ((nn.Conv2d(3, 4, 3), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()), (2, 7, 8, 3)),
        ((nn.Conv2d(3, 4, 3, activation="tanh"), nn.MaxPool2d(2)), (2, 7, 8, 3)),
        ((nn.Conv2d(2, 5, 3), nn.ReLU(), nn.MaxPool2d(2, dilation=2)), (2, 7, 8, 2)),
        (
            (nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 9, 3), nn.AvgPool2d(2)),
            (2, 20, 21, 1),
        ),
        ((nn.Conv2d(3, 5, 3, activation="tanh"), nn.AvgPool2d((3, 2)), nn.ReLU()), (2, 9, 8, 3)),
        ((nn.Conv2d(3, 5, 3, activation="tanh"), nn.Sigmoid(), nn.AvgPool2d(2, 1)), (2, 9, 8, 3)),
        ((nn.Conv2d(2, 5, 3), nn.Sigmoid(), nn.MaxPool2d(3, stride=2, padding=1)), (2, 7, 8, 2)),
        ((nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 5, 3), nn.Tanh()), (2, 8, 8, 2)),
        ((nn.Conv1d(2, 5, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(5, 4, 2), nn.Tanh()), (2, 11, 2)),
        ((nn.ConvTranspose2d(3, 4, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 3), nn.Sigmoid()), (2, 3, 4, 3)),
        ((nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.ReLU(), nn.ReLU()), (4, 6)),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "numba", "cython", "reference"])
def test_sequential_fuses_without_a_trace(parts, shape, backend):
    """Values and gradients equal up to rounding, the same keys as the parts one by one."""
    with dl.use_backend(backend):
        _compare_with_one_by_one(parts, shape)


def _compare_with_one_by_one(parts, shape):
    model = nn.Sequential(*parts)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    dy = None
    found = []
    for run in (model, lambda value: _one_by_one(parts, value)):
        inputs = Tensor(x, requires_grad=True)
        y = run(inputs)
        dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32) if dy is None else dy
        model.zero_grad()
        y.backward(dy)
        found.append([y.numpy(), inputs.grad.copy(), *(p.grad.copy() for p in model.parameters())])
    for fused, plain in zip(*found, strict=True):
        np.testing.assert_allclose(fused, plain, rtol=1e-5, atol=1e-6)
    assert list(model.state_dict()) == [f"{i}.{key}" for i, part in enumerate(parts) for key in part.state_dict()]


def _one_by_one(parts, x):
    for part in parts:
        x = part(x)
    return x


def test_sequential_notices_changes_of_its_modules():
    x = image(5, 4).astype(np.float32)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    before = model(x).numpy()
    model[0].activation = "tanh"
    changed = model(x).numpy()
    assert not np.array_equal(before, changed)
    model[0].activation = None
    assert np.array_equal(model(x).numpy(), before)
    model[1] = nn.Tanh()
    with dl.no_grad():
        expected = model[2](np.tanh(model[0](x).numpy()))
    assert np.allclose(model(x).numpy(), expected.numpy(), atol=1e-6)


def test_sequential_calls_modules_that_override_call(monkeypatch):
    class Doubled(nn.Linear):
        def __call__(self, x):
            return 2 * super().__call__(x)

    x = image(5, 4).astype(np.float32)
    layer = Doubled(4, 4)
    model = nn.Sequential(layer)
    assert np.array_equal(model(x).numpy(), 2 * layer.forward(x).numpy())
    plain, called = nn.Module.__call__, []

    def noted(self, *args, **kwargs):
        called.append(type(self))
        return plain(self, *args, **kwargs)

    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model(x)
    monkeypatch.setattr(nn.Module, "__call__", noted)
    model(x)
    assert called == [nn.Sequential, nn.Linear]
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x, activation=None: "patched")
    assert model(x) == "patched"


def test_a_copy_of_a_sequential_runs_its_own_modules():
    x = image(5, 4).astype(np.float32)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    before = model(x).numpy()
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for p in model.parameters():
            p.data = np.zeros(p.shape, np.float32)
        assert np.array_equal(copied(x).numpy(), before)
        model.load_state_dict(copied.state_dict())


class TestErrorsNameTheLayer:
    """An error inside a model begins with the name of the layer, whichever way the layers are run."""

    class Net(nn.Module):
        def __init__(self):
            self.body = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.ReLU(), nn.Linear(6, 2)))
            self.parts = nn.ModuleList([nn.Linear(2, 2), nn.Linear(3, 2)])

        def forward(self, x, deep=False):
            return self.parts[1](x) if deep else self.body(x)

    @pytest.mark.parametrize(
        ("model", "shape", "name"),
        [
            (
                nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(6, 2)),
                (3, 4),
                r"2 \(Linear\): x must have in_features=6 ",
            ),
            (
                nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(9, 2)),
                (2, 8, 8, 1),
                r"0 \(Conv2d\): x must have in_channels=3 ",
            ),
            (
                nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)),
                (2, 8, 8, 1),
                r"0 \(Conv2d\): x must have in_channels=3 ",
            ),
            (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(5)), (2, 8, 8, 3), r"1 \(BatchNorm2d\): "),
            (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval(), (2, 8, 8, 1), r"0 \(Conv2d\): "),
            (nn.Sequential(nn.ReLU(), nn.MaxPool2d(9)), (2, 8, 8, 1), r"1 \(MaxPool2d\): "),
            (nn.Residual(nn.Linear(3, 4), nn.ReLU(), shortcut=nn.Linear(5, 4)), (2, 3), r"shortcut \(Linear\): "),
            (nn.Residual(nn.Linear(3, 3), nn.BatchNorm1d(4)), (2, 3), r"1 \(BatchNorm1d\): "),
            (Net(), (2, 4), r"body\.1\.1 \(Linear\): x must "),
        ],
    )
    def test_wherever_it_lies(self, model, shape, name):
        with pytest.raises(ValueError, match=f"^{name}"):
            model(np.ones(shape, np.float32))

    def test_in_a_list_and_by_keyword(self):
        with pytest.raises(ValueError, match=r"^parts\.1 \(Linear\): "):
            self.Net()(np.ones((2, 2), np.float32), deep=True)

    def test_a_layer_alone_has_no_name(self):
        with pytest.raises(
            ValueError, match=r"^Linear: x must have in_features=3 features in its last axis, got shape \(2, 2\)"
        ):
            nn.Linear(3, 2)(np.ones((2, 2), np.float32))

    def test_other_exceptions_pass_untouched(self):
        class Special(ValueError):
            def __init__(self, code, text="text"):
                super().__init__(text)
                self.code = code

        class Raises(nn.Module):
            def forward(self, x):
                raise x

        for error in (Special(3), KeyError("a", "b"), OSError(2, "none"), KeyboardInterrupt("stop")):
            with pytest.raises(type(error)) as caught:
                nn.Sequential(Raises())(error)
            assert caught.value is error
            assert "0 (Raises)" not in str(error)
