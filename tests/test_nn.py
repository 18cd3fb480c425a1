"""Modules: their bookkeeping, constructors that refuse nonsense, PyTorch's names and shapes."""

import copy
from functools import partial

import numpy as np
import pytest
from peers import needs_torch, torch

import dlfast as dl
from dlfast import functional as F
from dlfast import nn
from dlfast.nn.packed import FEW_ROWS
from dlfast.tensor import Tensor


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        self.first = nn.Linear(3, 4)
        self.rest = nn.ModuleList([nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False)])
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x):
        return self.rest[1](self.rest[0](self.first(x))) * self.scale


NAMES = [
    "scale",
    "first.weight",
    "first.bias",
    "rest.0.weight",
    "rest.0.bias",
    "rest.0.running_mean",
    "rest.0.running_var",
    "rest.0.num_batches_tracked",
    "rest.1.weight",
]


def test_names():
    net = Net()
    assert list(net.state_dict()) == NAMES
    assert [name for name, _ in net.named_parameters()] == [n for n in NAMES if "running" not in n and "num_" not in n]
    assert [name for name, _ in net.named_buffers()] == [n for n in NAMES if "running" in n or "num_" in n]
    assert [name for name, _ in net.named_modules()] == ["", "first", "rest", "rest.0", "rest.1"]
    assert [type(m).__name__ for m in net.children()] == ["Linear", "ModuleList"]
    assert len(list(net.modules())) == 5
    assert len(list(net.buffers())) == 3


def test_state_dict_round_trip():
    a, b = Net(), Net()
    a(np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32))
    storage = b.first.weight.data
    assert b.load_state_dict(a.state_dict()) == {"missing": [], "unexpected": []}
    assert b.first.weight.data is storage
    x = np.ones((5, 3), np.float32)
    np.testing.assert_array_equal(a.eval()(x), b.eval()(x))
    state = a.state_dict()
    state["scale"][...] = 7
    assert a.scale.data == 1  # copies


def test_load_state_dict_checks_everything_first():
    net, before = Net(), Net().state_dict()
    net.load_state_dict(before)
    state = {name: array + 1 for name, array in before.items() if name != "scale"}
    state.update({"extra": np.ones(1), "rest.1.weight": np.ones((3, 3)), "first.bias": np.ones(5)})
    with pytest.raises(ValueError, match="missing scale.*unexpected extra") as caught:
        net.load_state_dict(state)
    assert "rest.1.weight must have shape (2, 4), got (3, 3)" in str(caught.value)
    assert "first.bias must have shape (4,), got (5,)" in str(caught.value)
    with pytest.raises(ValueError, match=r"first.bias must have shape"):
        net.load_state_dict(state, strict=False)
    with pytest.raises(TypeError, match="scale must be an array of numbers"):
        net.load_state_dict({**before, "scale": np.array(["a"])})
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_load_state_dict_that_is_not_strict():
    net = Net()
    found = net.load_state_dict({"scale": Tensor(np.full(1, 3.0)), "more": np.ones(2)}, strict=False)
    assert found == {"missing": NAMES[1:], "unexpected": ["more"]}
    assert net.scale.data == 3
    assert net.scale.dtype == np.float32


def test_train_and_eval():
    net = Net()
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert all(module.training for module in net.train().modules())


def test_zero_grad_and_freezing():
    net = Net()
    net.first.requires_grad_(False)
    net(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)).sum().backward()
    assert net.first.weight.grad is None
    assert net.rest[1].weight.grad is not None
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_to_and_apply():
    net = Net().to("float64")
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    assert net.rest[0].running_mean.dtype == np.float64
    assert net.rest[0].num_batches_tracked.dtype == np.int64
    assert net.to("cpu") is net
    with pytest.raises(TypeError, match="dtype must be float32 or float64, or on a device .*, got int32"):
        net.to(np.int32)
    with pytest.raises(TypeError, match="the CPU computes in float32"):
        net.to(np.float16)
    with pytest.raises(ValueError, match="device: must be 'cpu', 'cuda'"):
        net.to("gpu:0")
    seen = []
    assert net.apply(seen.append) is net
    assert seen[-1] is net
    assert len(seen) == 5


def test_a_parameter_is_not_replaced_by_an_array():
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"Linear.weight is a Parameter.*\.weight\.data = array"):
        layer.weight = np.ones((2, 2), np.float32)
    layer.weight = nn.Parameter(np.ones((2, 2), np.float32))
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_deepcopy_is_independent():
    net = Net()
    other = copy.deepcopy(net)
    other.scale.data[...] = 5
    assert net.scale.data == 1
    assert list(other.state_dict()) == NAMES


def test_forward_must_be_defined():
    class Nothing(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Nothing must define forward"):
        Nothing()(1)


def test_repr_is_pytorchs():
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)))
    assert repr(model).split("\n") == [
        "Sequential(",
        "  (0): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), padding=1, bias=False)",
        "  (1): Sequential(",
        "    (0): ReLU()",
        "    (1): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)",
        "  )",
        ")",
    ]
    assert repr(nn.Conv1d(2, 4, 3, padding="same", method="im2col", bias=False)) == (
        "Conv1d(2, 4, kernel_size=3, stride=1, padding='same', method='im2col', bias=False)"
    )
    assert repr(nn.ConvTranspose2d(2, 4, 3, 2, 1, 1)) == (
        "ConvTranspose2d(2, 4, kernel_size=(3, 3), stride=(2, 2), padding=1, output_padding=(1, 1))"
    )
    assert repr(nn.Linear(2, 3)) == "Linear(in_features=2, out_features=3, bias=True)"


BAD = [
    (lambda: nn.Linear(0, 3), ValueError, "Linear: in_features must be at least 1, got 0"),
    (lambda: nn.Linear(3, 2.0), TypeError, "Linear: out_features must be an integer, got 2.0"),
    (lambda: nn.Linear(3, 2, activation="gelu"), ValueError, "Linear: activation must be one of"),
    (lambda: nn.Conv2d(3, 4, 0), ValueError, "Conv2d: kernel_size must be at least 1"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "groups=2 must divide in_channels=3 and out_channels=4"),
    (lambda: nn.Conv2d(3, 4, 3, stride=2, padding="same"), ValueError, "padding='same' needs stride 1"),
    (lambda: nn.Conv2d(3, 4, 3, padding=1.5), TypeError, "Conv2d: padding must be an integer"),
    (lambda: nn.Conv2d(3, 4, 3, 2, method="winograd"), ValueError,
     "Conv2d: method 'winograd' needs a kernel of 3, 4 or 5 strides a side"),
    (lambda: nn.Conv2d(3, 4, 3, method="fft"), ValueError, "Conv2d: method must be one of 'auto', 'im2col'"),
    (lambda: nn.Conv1d(3, 4, (3,)), TypeError, "Conv1d: kernel_size must be an integer"),
    (lambda: nn.Conv1d(3, 4, 3, 2, "same"), ValueError, "Conv1d: padding='same' needs stride 1"),
    (lambda: nn.Conv1d(3, 4, 3, method="pointwise"), ValueError, "Conv1d: method 'pointwise' needs a 1 x 1 kernel"),
    (lambda: nn.ConvTranspose2d(3, 4, 3, groups=2), ValueError, "ConvTranspose2d: groups=2 must divide in_channels=3"),
    (lambda: nn.ConvTranspose2d(3, 4, 3, output_padding=1), ValueError, "output_padding must be smaller than stride"),
    (lambda: nn.ConvTranspose2d(3, 4, 3, padding="same"), TypeError, "ConvTranspose2d: padding must be an integer"),
    (lambda: nn.MaxPool2d(2, stride=0), ValueError, "MaxPool2d: stride must be at least 1"),
    (lambda: nn.MaxPool1d((2, 2)), TypeError, "MaxPool1d: kernel_size must be an integer"),
    (lambda: nn.AdaptiveAvgPool2d(-1), ValueError, "AdaptiveAvgPool2d: output_size must be at least 1"),
    (lambda: nn.Dropout(1.5), ValueError, r"Dropout: p must be in \[0, 1\], got 1.5"),
    (lambda: nn.Dropout(mode="other"), ValueError, "Dropout: mode must be one of"),
    (lambda: nn.GELU("erf"), ValueError, "GELU: approximate must be one of"),
    (lambda: nn.BatchNorm2d(0), ValueError, "BatchNorm2d: num_features must be at least 1"),
    (lambda: nn.BatchNorm1d(3, momentum=2), ValueError, r"BatchNorm1d: momentum must be in \[0, 1\]"),
    (lambda: nn.Linear(3, 2).load_state_dict(None), TypeError, "load_state_dict: expected a dictionary.*got NoneType"),
    (lambda: nn.LayerNorm((3, 0)), ValueError, "LayerNorm: normalized_shape must be at least 1"),
    (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "Embedding: padding_idx must be below 3"),
    (lambda: nn.LSTMCell(3, 0), ValueError, "LSTMCell: hidden_size must be at least 1"),
    (lambda: nn.RNNCell(3, 2, nonlinearity="elu"), ValueError, "RNNCell: nonlinearity must be one of"),
    (lambda: nn.LSTMCell(3, 2)(np.zeros(3, np.float32)), ValueError, r"LSTMCell: x must have 2 axes \(B, I\)"),
    (lambda: nn.Residual(nn.ReLU(), shortcut=F.relu), TypeError, "Residual: every part must be a Module"),
    (lambda: nn.Residual(nn.ReLU(), activation="elu"), ValueError, "Residual: activation must be one of"),
    (lambda: nn.Residual({"shortcut": nn.ReLU()}), ValueError, "'shortcut' cannot name a module"),
    (lambda: nn.Residual({"activation": nn.ReLU()}), ValueError, "'activation' cannot name a module"),
    (lambda: nn.CrossEntropyLoss(reduction="avg"), ValueError, "CrossEntropyLoss: reduction must be one of"),
    (lambda: nn.HuberLoss(delta=-1), ValueError, "HuberLoss: delta must be in"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()


PAIRS = [
    ("Linear", (7, 5), {}),
    ("Conv2d", (4, 6, (3, 2)), {"groups": 2}),
    ("Conv1d", (4, 6, 3), {"groups": 2}),
    ("ConvTranspose2d", (4, 6, (3, 2)), {"groups": 2}),
    ("BatchNorm1d", (5,), {}),
    ("BatchNorm2d", (5,), {}),
    ("LayerNorm", ((5, 2),), {}),
    ("Embedding", (6, 3), {"padding_idx": 1}),
    ("RNNCell", (3, 4), {}),
    ("LSTMCell", (3, 4), {}),
    ("GRUCell", (3, 4), {}),
]


@needs_torch
@pytest.mark.parametrize(("name", "args", "options"), PAIRS)
def test_keys_and_shapes_are_pytorchs(name, args, options):
    ours, theirs = (getattr(module, name)(*args, **options).state_dict() for module in (nn, torch.nn))
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        shape = tuple(value.shape)
        assert ours[key].shape == ((shape[0], *shape[2:], shape[1]) if len(shape) > 2 else shape)


@pytest.mark.parametrize("gate", [None, nn.ReLU, nn.Tanh, nn.GELU, partial(nn.GELU, "tanh"), nn.SiLU])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 29, 5), (4, 5, 3), (7, 37, 29), (65, 430, 33)])
def test_packed_weights_are_those_of_the_layer(gate, rows, inputs, outputs):
    """In evaluation a layer multiplies with panels of its weight, never with those of an earlier one."""
    layer = nn.Linear(inputs, outputs)
    model = nn.Sequential(layer, *([gate()] if gate else []))
    x = np.random.default_rng(0).standard_normal((rows, inputs), np.float32)

    def agrees():
        with dl.enable_grad():  # nothing is packed where it may need a gradient
            expected = model(x).data
        for _ in range(3):
            np.testing.assert_allclose(model(x).data, expected, rtol=1e-5, atol=1e-5)

    model.eval()
    with dl.no_grad():
        agrees()
        for change in (
            lambda: dl.init.normal_(layer.weight),
            lambda: layer.weight.__setitem__((0, 0), 3.0),
            lambda: np.multiply(layer.weight.data, 0.5, out=layer.weight.data),
            lambda: setattr(layer.weight, "data", layer.weight.data + 1),
            lambda: setattr(layer, "weight", nn.Parameter(np.ones_like(layer.weight.data))),
            lambda: model.load_state_dict({key: value * 0.25 for key, value in model.state_dict().items()}),
        ):
            change()
            agrees()
        held = layer.weight.data
        for _ in range(3):  # one number at a time, of an array that is held: no trace, but the results tell
            held[1, 0] += 1
            agrees()
        del held
        agrees()
        assert rows < FEW_ROWS or layer.__dict__["_packed"].weight.weight is layer.weight.data
        assert copy.deepcopy(layer).__dict__.get("_packed") is None
        assert "_packed" not in model.train()[0].__dict__
