"""Every layer of dlfast.nn and every function of dlfast.functional on a device: results and gradients are the CPU's."""

import copy
from contextlib import contextmanager
from types import CellType, FunctionType

import numpy as np
import pytest
from layers import LAYERS, LOSSES
from samples import image

import dlfast as dl
from dlfast import functional as F
from dlfast import nn
from dlfast._gradcheck.cases import cases
from dlfast.kernels.devices import DeviceArray

TOLERANCE = 1e-4  # relative to the largest number


def close(found, wanted, name):
    assert found.shape == wanted.shape, name
    assert found.dtype == wanted.dtype, name
    scale = np.abs(wanted).max(initial=0) if wanted.dtype.kind == "f" else 0
    np.testing.assert_allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE * scale, err_msg=name)


def parts(value):
    """The Tensors in what a layer gives."""
    if isinstance(value, (tuple, list)):
        return [part for each in value for part in parts(each)]
    return [] if value is None else [value]


def as_float32(x):
    return x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x


@contextmanager
def reading_nothing(function):
    """Raise where the CPU reads what lies on the device, for which it would have to wait."""
    device, kind = dl.cuda.get_device(), type(dl.cuda.get_device())
    download, strict = kind.download, device.strict

    def refuse(device, array):
        raise AssertionError("an array is read on the way")

    device.strict = False  # which looks at every index
    kind.download = download if getattr(function, "reads", False) else refuse
    try:
        yield
    finally:
        kind.download, device.strict = download, strict


def outcome(function, inputs, place, parameters=()):
    """What a function of float32 Tensors on a device gives, and all gradients, on the CPU."""
    dl.manual_seed(0)
    tensors = [dl.tensor(as_float32(x), device=place) for x in inputs]
    for x in tensors:
        x.requires_grad = x.dtype.kind == "f"
    with reading_nothing(function):
        results = parts(function(*tensors))
    rng, total = np.random.default_rng(1), 0
    for y in results:
        assert y.device == dl.zeros(1, device=place).device
        if y.requires_grad:
            total = total + (y * dl.tensor(rng.normal(size=y.shape).astype(np.float32), device=place)).sum()
    if results and any(y.requires_grad for y in results):
        with reading_nothing(function):
            total.backward()
    learned = [(f"gradient {i}", x.grad) for i, x in enumerate((*tensors, *parameters)) if x.grad is not None]
    for _, gradient in learned:
        assert isinstance(gradient, DeviceArray) == (place != "cpu")
    return {f"result {i}": y.cpu().data for i, y in enumerate(results)} | {
        name: gradient if place == "cpu" else gradient.numpy() for name, gradient in learned
    }


def agree(function, inputs, parameters=None, **places):
    """function on the CPU and on the device give the same; parameters: those of each place."""
    on = {place: outcome(function(place), inputs, place, parameters(place) if parameters else ()) for place in PLACES}
    assert on["cuda"].keys() == on["cpu"].keys()
    for name, wanted in on["cpu"].items():
        close(on["cuda"][name], wanted, name)
    return on["cpu"]


PLACES = ("cpu", "cuda")


# Functions


def moved(value, place):
    """A function whose own arrays, which it has from around it, lie on a device and are float32; lengths stay."""
    if isinstance(value, np.ndarray):
        return dl.tensor(as_float32(value), device=place).data
    if not isinstance(value, FunctionType) or value.__module__ != "dlfast._gradcheck.cases":
        return value
    cells = tuple(
        cell if name == "lengths" else CellType(moved(cell.cell_contents, place))
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or ())
    )
    return FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, cells)


CASES = list(cases())


@pytest.mark.parametrize(("name", "function", "inputs"), CASES, ids=[case[0] for case in CASES])
def test_every_function(name, function, inputs):
    agree(lambda place: moved(function, place), inputs)


def test_the_table_of_functions_is_complete():
    tested = {name.partition(",")[0] for name, _, _ in CASES}
    assert set(F.__all__) - tested == {"one_hot"}


def test_one_hot():
    labels = dl.tensor([2, 0, 1], device="cuda")
    assert F.one_hot(labels, 3).cpu().tolist() == np.eye(3)[[2, 0, 1]].tolist()


# Layers

I3 = np.array([2, 0, 3])
T234, T433 = (2, 3, 4), (4, 3, 3)
OTHERS = [
    (nn.Embedding(5, 3, padding_idx=1), [np.array([[0, 3], [1, 4]])]),
    *((kind(3, 4), [(4, 2, 3)]) for kind in (nn.RNN, nn.LSTM, nn.GRU)),
    (nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True), [(2, 4, 3)]),
    (nn.GRU(3, 4, 2, dropout=0.4), [(4, 2, 3), (2, 2, 4)]),
    (nn.MultiheadAttention(4, 2), [T433[:2] + (4,)]),
    (nn.MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True), [T234, (2, 5, 3), (2, 5, 5)]),
    (nn.PositionalEncoding(4, 0.3), [T234]),
    (nn.LearnedPositions(4, 0.0, 6, batch_first=True), [T234]),
    (nn.TransformerEncoderLayer(4, 2, 8, activation="gelu", norm_first=True), [T234]),
    (nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, 0.0), 2, nn.LayerNorm(4)), [T234]),
    (nn.TransformerDecoderLayer(4, 2, 8), [T234, (5, 3, 4)]),
    (nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, 8, 0.0), 1), [T234, (5, 3, 4)]),
    *((kind(1), [(2, 3, 3)]) for kind in (nn.ZeroPad1d, nn.ReflectionPad1d, nn.ReplicationPad1d, nn.CircularPad1d)),
    *((kind((1, 0, 2, 1)), [(1, 4, 3, 2)]) for kind in (nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d)),
    (nn.CircularPad2d(1), [(1, 4, 3, 2)]),
    (nn.ConstantPad1d(2, 0.5), [(2, 3, 3)]),
    (nn.ConstantPad2d(1, -0.5), [(1, 2, 3, 2)]),
    (nn.PixelShuffle(2), [(1, 2, 3, 4)]),
    (nn.PixelUnshuffle(2), [(1, 2, 4, 3)]),
    (nn.CosineSimilarity(), [(3, 4), (3, 4)]),
    (nn.CosineEmbeddingLoss(0.1), [(3, 4), (3, 4), np.array([1, -1, 1])]),
    (nn.MarginRankingLoss(0.2), [(3,), (3,), np.array([1, -1, 1])]),
    (nn.HingeEmbeddingLoss(), [(3,), np.array([1, -1, 1])]),
    (nn.SoftMarginLoss(), [(3,), np.array([1, -1, 1])]),
    (nn.MultiMarginLoss(), [(3, 4), I3]),
    (nn.TripletMarginLoss(swap=True), [(3, 4), (3, 4), (3, 4)]),
    (nn.PoissonNLLLoss(full=True), [(3, 4), np.arange(12).reshape(3, 4) / 2.0]),
    (nn.GaussianNLLLoss(), [(3, 4), (3, 4), np.arange(1, 13).reshape(3, 4) / 5.0]),
]
EXAMPLES = [*LAYERS, *OTHERS, *((loss, [x, target]) for loss, target, x in LOSSES)]


def name_of(value):
    return repr(value).split("\n")[0] if isinstance(value, nn.Module) else ""


@pytest.mark.parametrize(("layer", "inputs"), EXAMPLES, ids=name_of)
def test_every_layer(layer, inputs):
    given = [image(*x) / (i + 1) if isinstance(x, tuple) else x for i, x in enumerate(inputs)]
    on = {place: copy.deepcopy(layer).to(place, np.float32) for place in PLACES}
    agree(on.get, given, lambda place: tuple(on[place].parameters()))
    state = on["cuda"].state_dict()
    for name, wanted in on["cpu"].state_dict().items():
        close(state[name], wanted, name)
    assert all(p.is_cuda for p in on["cuda"].parameters())


def test_the_table_of_layers_is_complete():
    tested = {type(layer) for layer, _ in EXAMPLES}
    no_layers = {nn.Module, nn.Parameter, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict}
    no_layers |= {nn.causal_mask, nn.KeyValueCache}
    assert {getattr(nn, name) for name in nn.__all__} == tested | no_layers


def test_masks_and_lengths():
    attention, masks = nn.MultiheadAttention(4, 2, batch_first=True), [np.array([[False, True, False], [False] * 3])]
    masks += [np.triu(np.ones((3, 3), bool), 1), nn.causal_mask(3)]
    on = {place: copy.deepcopy(attention).to(place) for place in PLACES}

    def call(place):
        padding, hidden, added = (dl.tensor(mask, device=place) for mask in masks)

        def run(x):
            y, weights = on[place](x, key_padding_mask=padding, attn_mask=hidden, need_weights=True)
            return [y, weights, on[place](x, attn_mask=added)[0], on[place](x, is_causal=True)[0]]

        return run

    agree(call, [image(2, 3, 4)], lambda place: tuple(on[place].parameters()))
    rnn = {place: copy.deepcopy(RECURRENT).to(place) for place in PLACES}
    lengths = np.array([2, 4, 3])
    for where in (lambda place: lengths, lambda place: dl.tensor(lengths, device=place)):

        def call(place, where=where):
            def run(x):
                return rnn[place](x, lengths=where(place))

            run.reads = where("cuda") is not lengths
            return run

        agree(call, [image(4, 3, 3)], lambda place: tuple(rnn[place].parameters()))


RECURRENT = nn.LSTM(3, 4, bidirectional=True)


# Views, and nothing at all


def labels_like(x):
    return (x.detach()[:, 0] > 0).to(np.int64)


VIEWED = {
    "linear": (lambda x: F.linear(x, x[:2], x[0, :2]), (3, 5)),
    "conv2d": (lambda x: F.conv2d(x, x[:2, :, :2]), (5, 2, 4, 3)),
    "conv1d": (lambda x: F.conv1d(x, x[:1, :2]), (4, 3, 2)),
    "layer_norm": (lambda x: F.layer_norm(x, 5), (3, 5)),
    "softmax": (lambda x: F.softmax(x, 0), (3, 5)),
    "cross_entropy": (lambda x: F.cross_entropy(x, labels_like(x)), (4, 3)),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), (2, 4, 5, 3)),
    "attention": (lambda x: F.scaled_dot_product_attention(x, x, x), (2, 3, 4, 2)),
    "lstm_cell": (lambda x: F.lstm_cell(x, (x, x), F.stack([x] * 4).reshape(12, 3), F.concatenate([x] * 4)), (3, 3)),
    "batch_norm": (lambda x: F.batch_norm(x, training=True, activation="relu"), (5, 3)),
    "mse_loss": (lambda x: F.mse_loss(x, x.detach() * 2), (5, 3)),
    "arithmetic": (lambda x: (x / 3 + x * x - x[:1]).exp().sqrt() * x.abs().max(0) + x.std() + x.norm(), (5, 3)),
    "pieces": (lambda x: F.stack([*x.split(1)]).squeeze(1).cumsum(0).clip(-1, 1) - x.chunk(2)[1].sum(), (5, 3)),
}
LAYOUTS = {  # an array, and the view of it that is x: from the last axis to the first, off by one element, with gaps
    "turned": (lambda x: x.T.copy(), lambda base, shape: base.permute(*range(base.ndim)[::-1])),
    "shifted": (lambda x: np.append(x[:1].reshape(-1)[:1], x), lambda base, shape: base[1:].reshape(shape)),
    "gaps": (lambda x: np.repeat(x[..., None], 2, axis=-1), lambda base, shape: base[..., 1]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", VIEWED)
def test_views(name, layout):
    (function, shape), (base_of, view_of) = VIEWED[name], LAYOUTS[layout]
    agree(lambda place: lambda base: function(view_of(base, shape)), [base_of(image(*shape))])


EMPTY = [
    (nn.Linear(3, 2), [np.zeros((0, 3))]),
    (nn.Conv2d(2, 3, 2), [np.zeros((0, 4, 4, 2))]),
    (nn.MaxPool2d(2), [np.zeros((0, 4, 4, 2))]),
    (nn.BatchNorm1d(3), [np.zeros((0, 3))]),
    (nn.LayerNorm(3), [np.zeros((0, 3))]),
    (nn.ReLU(), [np.zeros((0, 3))]),
    (nn.Dropout(), [np.zeros((0, 3))]),
    (nn.Softmax(), [np.zeros((0, 3))]),
    (nn.Embedding(3, 2), [np.zeros((0, 2), np.int64)]),
    (nn.LSTM(3, 2), [np.zeros((4, 0, 3))]),
    (nn.MultiheadAttention(4, 2), [np.zeros((3, 0, 4))]),
    (nn.MSELoss(), [np.zeros((0, 3)), np.zeros((0, 3))]),
    (nn.CrossEntropyLoss(), [np.zeros((0, 3)), np.zeros(0, np.int64)]),
    (nn.BCELoss(), [np.zeros((0, 3)), np.zeros((0, 3))]),
]


@pytest.mark.parametrize(("layer", "inputs"), EMPTY, ids=name_of)
def test_empty_batches(layer, inputs):
    on = {place: copy.deepcopy(layer).to(place) for place in PLACES}
    agree(on.get, inputs, lambda place: tuple(on[place].parameters()))
