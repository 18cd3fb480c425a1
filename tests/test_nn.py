"""Layers: each by gradcheck, Module's bookkeeping, constructors that refuse nonsense, PyTorch's keys and defaults."""

import copy
import math
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from peers import needs_torch, torch

import dlfast as dl
from dlfast import functional as F
from dlfast import nn
from dlfast.tensor import Tensor


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


def image(*shape):
    """Values in random order, no two closer than 0.05 and none near 0: no kink or tie within a finite difference."""
    size = math.prod(shape)
    return np.random.default_rng(0).permutation((np.arange(size) - size // 2 + 0.5) * 0.1).reshape(shape)


P = np.random.default_rng(1).uniform(0.1, 0.9, (3, 4))
LABELS = np.array([2, 0, 3])

LAYERS = [
    (nn.Linear(4, 3), [(2, 5, 4)]),
    (nn.Linear(4, 3, bias=False, activation="tanh"), [(2, 4)]),
    (nn.Conv2d(2, 4, 3, padding=1), [(2, 4, 5, 2)]),
    (nn.Conv2d(2, 4, (3, 2), stride=(2, 1), dilation=(1, 2), groups=2, bias=False), [(1, 5, 6, 2)]),
    (nn.Conv2d(2, 3, 3, padding="same", activation="sigmoid"), [(1, 3, 3, 2)]),
    (nn.Conv2d(2, 3, 3, stride=2, method="im2col"), [(1, 5, 5, 2)]),
    (nn.Conv1d(2, 4, 3, stride=2, padding=(2, 0), groups=2), [(2, 7, 2)]),
    (nn.Conv1d(2, 3, 2, padding="same", dilation=2, bias=False, activation="tanh"), [(1, 5, 2)]),
    (nn.ConvTranspose2d(2, 3, 3, 2, 1, 1, activation="sigmoid"), [(1, 3, 2, 2)]),
    (nn.ConvTranspose2d(2, 4, (2, 3), (1, 2), ((1, 0), (0, 1)), groups=2, bias=False, dilation=2), [(1, 4, 3, 2)]),
    (nn.MaxPool1d(2), [(2, 6, 3)]),
    (nn.MaxPool2d(3, 2, 1), [(1, 5, 6, 2)]),
    (nn.AvgPool2d(2, padding=1, count_include_pad=False), [(1, 5, 6, 2)]),
    (nn.AdaptiveAvgPool2d((2, 3)), [(1, 5, 6, 2)]),
    (nn.ReLU(), [(3, 4)]),
    (nn.LeakyReLU(0.2), [(3, 4)]),
    (nn.ELU(0.7), [(3, 4)]),
    (nn.GELU(), [(3, 4)]),
    (nn.GELU("tanh"), [(3, 4)]),
    (nn.SiLU(), [(3, 4)]),
    (nn.Swish(), [(3, 4)]),
    (nn.Sigmoid(), [(3, 4)]),
    (nn.Tanh(), [(3, 4)]),
    (nn.Softplus(2.0), [(3, 4)]),
    (nn.Hardswish(), [(3, 4)]),
    (nn.Softmax(0), [(3, 4)]),
    (nn.LogSoftmax(), [(3, 4)]),
    (nn.Dropout(0.4), [(3, 4)]),
    (nn.Dropout(0.4, mode="notes").eval(), [(3, 4)]),
    (nn.BatchNorm1d(3), [(4, 3)]),
    (nn.BatchNorm1d(3, affine=False), [(2, 4, 3)]),
    (nn.BatchNorm2d(3), [(2, 2, 3, 3)]),
    (nn.BatchNorm2d(3).eval(), [(2, 2, 3, 3)]),
    (nn.LayerNorm(4), [(2, 3, 4)]),
    (nn.LayerNorm((3, 4), bias=False), [(2, 3, 4)]),
    (nn.RNNCell(3, 4), [(2, 3), (2, 4)]),
    (nn.RNNCell(3, 4, nonlinearity="relu"), [(2, 3)]),
    (nn.GRUCell(3, 4, bias=False), [(2, 3), (2, 4)]),
    (nn.LSTMCell(3, 4), [(2, 3)]),
    (nn.Flatten(), [(2, 3, 4)]),
    (nn.Identity(), [(2, 3)]),
    (nn.Residual(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4)), [(2, 4)]),
    (nn.Residual(nn.Linear(4, 3), shortcut=nn.Linear(4, 3, bias=False), activation="tanh"), [(2, 4)]),
    (nn.Sequential(nn.Linear(4, 3), nn.Softplus()), [(2, 4)]),
    (nn.MSELoss(), [(3, 4), (3, 4)]),
]
LOSSES = [
    (nn.CrossEntropyLoss(np.arange(1.0, 5), label_smoothing=0.1), LABELS, image(3, 4)),
    (nn.NLLLoss(reduction="sum"), LABELS, image(3, 4)),
    (nn.L1Loss(), image(3, 4) + 0.5, image(3, 4)),
    (nn.HuberLoss(delta=0.3), image(3, 4) + 0.5, image(3, 4)),
    (nn.BCELoss(), P[::-1].copy(), P),
    (nn.BCEWithLogitsLoss(reduction="none"), P, image(3, 4)),
]


def name_of(value):
    return repr(value).split("\n")[0] if isinstance(value, nn.Module) else ""


@pytest.mark.parametrize(("layer", "shapes"), LAYERS, ids=name_of)
def test_every_layer_by_gradcheck(layer, shapes):
    layer = copy.deepcopy(layer).to(np.float64)
    inputs = [image(*shape) for shape in shapes]
    dl.gradcheck(lambda *a: layer(*a[: len(inputs)]), [*inputs, *layer.parameters()])


@pytest.mark.parametrize(("layer", "target", "x"), LOSSES, ids=name_of)
def test_every_loss_by_gradcheck(layer, target, x):
    dl.gradcheck(lambda x: layer(x, target), x)


def test_embedding_by_gradcheck():
    layer = nn.Embedding(5, 3, padding_idx=-1).to(np.float64)
    assert layer.padding_idx == 4
    np.testing.assert_array_equal(layer.weight.data[4], 0)
    indices = np.array([[0, 3], [3, 1]])
    dl.gradcheck(lambda w: layer(indices), list(layer.parameters()))
    layer(np.array([4, 1])).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.sum(1), [0, 3, 0, 0, 0])


def test_the_table_of_layers_is_complete():
    tested = {type(layer) for layer, *_ in [*LAYERS, *LOSSES]} | {nn.Embedding, nn.ModuleList, nn.Module, nn.Parameter}
    assert {getattr(nn, name) for name in nn.__all__} == tested


# Whole nets by gradcheck


class Block(nn.Module):
    """A Transformer block: attention of several heads and a feed-forward net, both residual."""

    def __init__(self, width, heads):
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def attention(self, x):
        b, t, c = x.shape
        split = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = split[0], split[1], split[2]
        scores = F.softmax(q @ k.transpose(-2, -1) / math.sqrt(c // self.heads))
        return self.out((scores @ v).transpose(1, 2).reshape(b, t, c))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.feed(self.norm2(x))


def test_a_transformer_block_by_gradcheck():
    block = Block(6, 2).to(np.float64)
    x = np.random.default_rng(0).normal(size=(2, 3, 6))
    dl.gradcheck(lambda x, *_: block(x), [x, *block.parameters()])


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_an_unrolled_recurrent_net_by_gradcheck(kind):
    cell, head = kind(2, 3).to(np.float64), nn.Linear(3, 2).to(np.float64)

    def net(x, *_):
        state, outputs = None, []
        for t in range(6):
            state = cell(x[:, t], state)
            outputs.append(head(state[0] if kind is nn.LSTMCell else state))
        return F.stack(outputs, axis=1)

    x = np.random.default_rng(0).normal(size=(2, 6, 2))
    dl.gradcheck(net, [x, *cell.parameters(), *head.parameters()])


def test_a_layer_used_twice_by_gradcheck():
    layer = nn.Linear(3, 3, activation="tanh").to(np.float64)
    model = nn.Sequential(layer, nn.Sigmoid(), layer)
    assert len(list(model.parameters())) == 2
    assert sorted(model.state_dict()) == ["0.bias", "0.weight", "2.bias", "2.weight"] or len(model.state_dict()) == 2
    dl.gradcheck(lambda x, *_: model(x), [np.random.default_rng(0).normal(size=(2, 3)), *model.parameters()])


def test_a_convolutional_net_by_gradcheck():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)
    ).to(np.float64)
    x = image(2, 4, 4, 1)
    dl.gradcheck(lambda x, *_: F.cross_entropy(model(x), [0, 2]), [x, *model.parameters()])


# Module


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
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got float16"):
        net.to(np.float16)
    with pytest.raises(ValueError, match="device must be 'cpu'"):
        net.to("cuda:0")
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


# Containers


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


# Layers


def test_batch_norm_statistics():
    layer = nn.BatchNorm1d(2, momentum=None)
    batches = np.random.default_rng(0).normal(3, 2, (4, 50, 2)).astype(np.float32)
    for batch in batches:
        layer(batch)
    assert layer.num_batches_tracked == 4
    np.testing.assert_allclose(layer.running_mean, batches.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var, batches.var(1, ddof=1).mean(0), rtol=1e-5)
    layer.eval()(batches[0])
    assert layer.num_batches_tracked == 4
    plain = nn.BatchNorm1d(2, track_running_stats=False)
    assert list(plain.state_dict()) == ["weight", "bias"]
    np.testing.assert_allclose(plain.eval()(batches[0]).data.mean(0), 0, atol=1e-6)
    with pytest.raises(ValueError, match=r"BatchNorm2d: x must have shape \(N, H, W, C\), got \(2, 3\)"):
        nn.BatchNorm2d(3)(np.zeros((2, 3), np.float32))
    layer.train()
    with pytest.raises(ValueError, match="running_mean must have shape"):
        layer(np.zeros((4, 3), np.float32))
    assert layer.num_batches_tracked == 4


def test_dropout_only_in_training():
    x = np.ones((50, 50), np.float32)
    layer = nn.Dropout(0.5)
    assert (layer(x).data == 0).any()
    np.testing.assert_array_equal(layer.eval()(x), x)


def test_cells_start_at_zero():
    x, zeros = np.ones((2, 3), np.float32), np.zeros((2, 4), np.float32)
    for cell, state in ((nn.RNNCell(3, 4), zeros), (nn.GRUCell(3, 4), zeros)):
        np.testing.assert_array_equal(cell(x), cell(x, state))
    cell = nn.LSTMCell(3, 4)
    for found, expected in zip(cell(x), cell(x, (zeros, zeros))):
        np.testing.assert_array_equal(found, expected)


BAD = [
    (lambda: nn.Linear(0, 3), ValueError, "Linear: in_features must be at least 1, got 0"),
    (lambda: nn.Linear(3, 2.0), TypeError, "Linear: out_features must be an integer, got 2.0"),
    (lambda: nn.Linear(3, 2, activation="gelu"), ValueError, "Linear: activation must be one of"),
    (lambda: nn.Conv2d(3, 4, 0), ValueError, "Conv2d: kernel_size must be at least 1"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "groups=2 must divide in_channels=3 and out_channels=4"),
    (lambda: nn.Conv2d(3, 4, 3, stride=2, padding="same"), ValueError, "padding='same' needs stride 1"),
    (lambda: nn.Conv2d(3, 4, 3, padding=1.5), TypeError, "Conv2d: padding must be an integer"),
    (lambda: nn.Conv2d(3, 4, 3, 2, method="winograd"), ValueError,
     "Conv2d: method 'winograd' needs a 3 x 3 kernel with stride 1"),
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
    (lambda: nn.Dropout(1), ValueError, r"Dropout: p must be in \[0, 1\)"),
    (lambda: nn.Dropout(mode="other"), ValueError, "Dropout: mode must be one of"),
    (lambda: nn.GELU("erf"), ValueError, "GELU: approximate must be one of"),
    (lambda: nn.BatchNorm2d(0), ValueError, "BatchNorm2d: num_features must be at least 1"),
    (lambda: nn.BatchNorm1d(3, momentum=2), ValueError, "BatchNorm1d: momentum must be in"),
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


# PyTorch's keys and initial values

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


@pytest.mark.parametrize(
    ("layer", "limit"),
    [
        (nn.Linear(100, 200), 0.1),
        (nn.Conv2d(32, 64, 5, groups=2), 1 / math.sqrt(16 * 25)),
        (nn.Conv1d(32, 64, 9, groups=2), 1 / 12),
        (nn.ConvTranspose2d(32, 64, 5, groups=2), 1 / math.sqrt(32 * 25)),
        (nn.LSTMCell(50, 64), 1 / 8),
        (nn.GRUCell(50, 64), 1 / 8),
        (nn.RNNCell(50, 64), 1 / 8),
    ],
)
def test_initial_values_are_uniform_within_pytorchs_limits(layer, limit):
    for parameter in layer.parameters():
        assert np.abs(parameter.data).max() <= limit * (1 + 1e-6)
        assert np.abs(parameter.data).max() > 0.9 * limit
        if parameter.size > 4000:
            assert parameter.data.var() == pytest.approx(limit**2 / 3, rel=0.05)


def test_seeds_make_layers_equal():
    dl.manual_seed(5)
    first = nn.Linear(3, 4).weight.data
    dl.manual_seed(5)
    np.testing.assert_array_equal(nn.Linear(3, 4).weight.data, first)


@pytest.mark.parametrize(
    ("parts", "shape"),
    [
        ((nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)), (2, 7, 8, 2)),
        ((nn.Conv2d(1, 9, 3, stride=(1, 2)), nn.MaxPool2d((2, 3)), nn.ReLU()), (2, 7, 18, 1)),
        ((nn.Conv2d(3, 17, (2, 3), activation="relu"), nn.MaxPool2d(2), nn.Flatten()), (2, 7, 8, 3)),
        ((nn.Conv2d(3, 4, 3), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()), (2, 7, 8, 3)),
        ((nn.Conv2d(3, 4, 3, activation="tanh"), nn.MaxPool2d(2)), (2, 7, 8, 3)),
        ((nn.Conv2d(2, 5, 3), nn.ReLU(), nn.MaxPool2d(2, dilation=2)), (2, 7, 8, 2)),
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


def test_a_copy_of_a_sequential_runs_its_own_modules():
    x = image(5, 4).astype(np.float32)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    before = model(x).numpy()
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for p in model.parameters():
            p.data = np.zeros(p.shape, np.float32)
        assert np.array_equal(copied(x).numpy(), before)
        model.load_state_dict(copied.state_dict())
