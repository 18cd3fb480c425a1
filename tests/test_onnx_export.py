"""Models written as ONNX files give what they give here, whoever runs the file."""

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx.reference import ReferenceEvaluator

import dlfast as dl
from dlfast import functional as F
from dlfast import models, nn
from dlfast.cli import main
from dlfast.commands.run import load_model
from dlfast.onnx import export

DRAW = np.random.default_rng(5)


def runner(path, example):
    """What runs a file: ONNX Runtime where it is installed, else the evaluator that comes with ONNX, in float64 too."""
    try:
        if example.dtype == np.float64:
            raise ImportError
        import onnxruntime
    except ImportError:
        return ReferenceEvaluator(str(path)).run
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run


def leaves(y):
    return [leaf for part in y for leaf in leaves(part)] if isinstance(y, (tuple, list)) else [y.numpy()]


def settle(model):
    """Statistics and weights that are not those of the start, where a scale of 1 or a shift of 0 would hide faults."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is not None:
            module.running_mean[:] = DRAW.uniform(-0.5, 0.5, module.running_mean.shape)
            module.running_var[:] = DRAW.uniform(0.5, 2, module.running_var.shape)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data[:] = DRAW.uniform(0.5, 1, parameter.shape)
    return model.eval()


def agrees(tmp_path, model, shape, *examples, tolerance=1e-5):
    """Exports, runs the examples, and gives the file's nodes."""
    path = export(settle(model), tmp_path / "model.onnx", shape)
    run = runner(path, examples[0])
    for x in examples:
        with dl.no_grad():
            wanted = leaves(model(x))
        found = run(None, {"input": x})
        assert len(found) == len(wanted)
        for y, z in zip(wanted, found, strict=True):
            assert y.shape == z.shape
            assert y.dtype == z.dtype
            np.testing.assert_allclose(z, y, rtol=0, atol=tolerance * max(1, np.abs(y).max()))
    return onnx.load(path).graph.node


def floats(*shape):
    return DRAW.standard_normal(shape, np.float32)


def codes(most, *shape):
    return DRAW.integers(0, most, shape)


CNNS = [
    ("lenet5", {}, (28, 28, 1)),
    ("demo_cnn", {}, (28, 28, 1)),
    ("notes_cnn", {}, (227, 227, 3)),
    ("small_vgg", {}, (28, 28, 1)),
    ("resnet20", {}, (32, 32, 3)),
    ("resnet20", {"shortcut": "B"}, (32, 32, 3)),
    ("resnet18", {}, (64, 64, 3)),
    ("vgg11", {"image_size": 32, "batch_norm": True}, (32, 32, 3)),
    ("alexnet", {}, (224, 224, 3)),
]


@pytest.mark.parametrize(("name", "options", "shape"), CNNS, ids=[f"{n}{o.get('shortcut', '')}" for n, o, _ in CNNS])
def test_convolutional_networks_with_a_transpose_at_each_end(tmp_path, name, options, shape):
    model = getattr(models, name)(**options)
    nodes = agrees(tmp_path, model, shape, floats(1, *shape), floats(2, *shape))
    turns = [node.op_type for node in nodes].count("Transpose")
    assert turns <= 2


@pytest.mark.parametrize("name", ["char_lstm", "char_gru", "gpt"])
def test_language_models_with_texts_of_any_length(tmp_path, name):
    sizes = {"context": 32, "d_model": 16, "num_layers": 2, "nhead": 2} if name == "gpt" else {"hidden_size": 16}
    agrees(tmp_path, getattr(models, name)(30, **sizes), (None,), codes(30, 1, 4), codes(30, 3, 11))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_sequence_models_with_any_number_of_steps(tmp_path, kind):
    net = models.sequence_net(3, 5, kind=kind, hidden_size=8, num_layers=2, bidirectional=kind != "RNN")
    agrees(tmp_path, net, ("time", 3), floats(1, 1, 3), floats(3, 9, 3))
    agrees(tmp_path, models.forecaster(2, kind=kind), ("time", 2), floats(1, 1, 2), floats(3, 9, 2))


def test_perceptrons(tmp_path):
    agrees(tmp_path, models.perceptron(4), (4,), floats(3, 4))
    agrees(tmp_path, models.mlp(6, 5, 3), (6,), floats(3, 6))


class Branches(nn.Module):
    """What custom modules do: arithmetic, parts, sums, joins."""

    def __init__(self):
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = dl.as_tensor(x)
        h = dl.tanh(self.first(x))
        a, b = h[:, :4], h[:, 4:]
        z = dl.cat([a * 2 - b, dl.maximum(a, b), (a / (abs(b) + 1)).sum(-1, keepdims=True)], -1)
        gate = dl.where(z > 0, z, z.exp() - 1)[:, 1:9]
        return (
            self.second(gate),
            F.pad(z.mean(-1, keepdims=True), [(0, 0), (1, 2)], 3.0),
            z.reshape(-1, 3, 3)[:, 1].argmax(-1),
        )


IMAGE, ROWS, STEPS = (9, 8, 6), (6,), (7, 6)
LAYERS = [
    (nn.Conv2d(6, 5, 3, padding=1, activation="relu"), IMAGE),
    (nn.Conv2d(6, 9, (3, 2), stride=(2, 1), padding=((0, 1), (2, 0)), groups=3, bias=False), IMAGE),
    (nn.Conv2d(6, 4, 3, dilation=2), IMAGE),
    (nn.Conv1d(6, 4, 3, padding="causal"), STEPS),
    (nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1), IMAGE),
    (nn.ConvTranspose2d(6, 4, (3, 2), stride=(2, 1), dilation=2), IMAGE),
    (nn.ConvTranspose1d(6, 4, 3, stride=2), STEPS),
    (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), IMAGE),
    (nn.MaxPool1d(2), STEPS),
    (nn.AvgPool2d(3, stride=2, padding=1), IMAGE),
    (nn.AvgPool2d(2, stride=2, padding=1, count_include_pad=False), IMAGE),
    (nn.AvgPool1d(2), STEPS),
    (nn.AdaptiveAvgPool2d(1), IMAGE),
    (nn.AdaptiveAvgPool2d((3, 4)), IMAGE),
    (nn.AdaptiveAvgPool2d((4, 5)), IMAGE),
    (nn.AdaptiveMaxPool2d((3, 4)), IMAGE),
    (nn.AdaptiveMaxPool2d((4, 5)), IMAGE),
    (nn.BatchNorm2d(6), IMAGE),
    (nn.BatchNorm1d(6), ROWS),
    (nn.BatchNorm1d(6), STEPS),
    (nn.LayerNorm(6), STEPS),
    (nn.LayerNorm((8, 6)), IMAGE),
    (nn.RMSNorm(6), STEPS),
    (nn.GroupNorm(3, 6), IMAGE),
    (nn.Upsample(scale_factor=2), IMAGE),
    (nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    (nn.Upsample(size=(13, 5), mode="bilinear", align_corners=True), IMAGE),
    (nn.PixelShuffle(2), (4, 5, 8)),
    (nn.PixelUnshuffle(2), (4, 6, 3)),
    (nn.ZeroPad2d((1, 2, 0, 3)), IMAGE),
    (nn.Sequential(nn.Flatten(), nn.Linear(432, 3)), IMAGE),
    (nn.Sequential(nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 2), nn.Softmax(-1)), STEPS),
    (nn.LogSoftmax(-1), ROWS),
    (nn.GLU(), ROWS),
    (nn.PReLU(6), ROWS),
    (nn.MultiheadAttention(6, 2, batch_first=True), None),
    (nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, norm_first=True), STEPS),
    (nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, activation="gelu"), 2), STEPS),
    (nn.PositionalEncoding(6, batch_first=True), STEPS),
    (Branches(), ROWS),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=[f"{type(m).__name__}-{i}" for i, (m, _) in enumerate(LAYERS)])
def test_layers(tmp_path, layer, shape):
    if isinstance(layer, nn.MultiheadAttention):
        layer, shape = Attending(layer), STEPS
    agrees(tmp_path, layer, shape, floats(1, *shape), floats(4, *shape))


class Attending(nn.Module):
    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return self.layer(x, x, x, need_weights=False)[0]


ACTIVATIONS = [
    *("ReLU", "ReLU6", "Sigmoid", "Tanh", "LeakyReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Softplus", "Mish"),
    *("Hardswish", "Hardtanh", "Hardsigmoid", "Softsign", "LogSigmoid", "Hardshrink", "Softshrink", "Tanhshrink"),
]


def test_activations(tmp_path):
    layers = [getattr(nn, name)() for name in ACTIVATIONS]
    layers += [nn.GELU("tanh"), nn.Softplus(beta=2), nn.Threshold(0.1, -3)]

    class All(nn.Module):
        def forward(self, x):
            return [layer(x) for layer in layers]

    agrees(tmp_path, All(), (50,), 3 * floats(2, 50))


def test_groups_of_a_transposed_convolution(tmp_path):
    """ONNX's own evaluator knows no groups there."""
    pytest.importorskip("onnxruntime")
    agrees(tmp_path, nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2), IMAGE, floats(2, *IMAGE))


def test_float64(tmp_path):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()).to(np.float64)
    agrees(tmp_path, model, (6, 5, 2), floats(2, 6, 5, 2).astype(np.float64), tolerance=1e-12)


def test_the_file_says_what_it_is(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2))
    path = export(
        model, tmp_path / "m.onnx", (3,), class_names=["cat", "dog"], metadata={"author": "me"}, input_name="x"
    )
    proto = onnx.load(path)
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    assert entries == {"dlfast": dl.__version__, "class_names": "cat\ndog", "author": "me"}
    assert [axis.dim_param or axis.dim_value for axis in proto.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        3,
    ]
    assert {each.name for each in proto.graph.initializer} == set(model.state_dict())


def test_exporting_leaves_the_model_as_it_was(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    before = model.state_dict()
    export(model, tmp_path / "m.onnx", (3,))
    assert model.training
    assert all(isinstance(parameter.data, np.ndarray) for parameter in model.parameters())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


class Looks(nn.Module):
    def forward(self, x):
        return x if float(dl.as_tensor(x).sum().data) > 0 else -x


class Leaves(nn.Module):
    def forward(self, x):
        return dl.tensor(np.asarray(dl.as_tensor(x).data))


class Constant(nn.Module):
    def forward(self, x):
        return dl.ones((2,))


@pytest.mark.parametrize(
    ("model", "shape", "error", "words"),
    [
        (Looks(), (3,), ValueError, "looks at numbers"),
        (Leaves(), (3,), TypeError, "leaves dlfast's functions"),
        (Constant(), (3,), ValueError, "does not depend on its input"),
        (nn.Linear(3, 2), (4,), ValueError, "in_features=3"),
        (nn.Linear(3, 2), 3, ValueError, "input_shape must hold"),
        (nn.Linear(3, 2), (0,), ValueError, "input_shape must hold"),
        ("model", (3,), TypeError, "must be a dlfast.nn.Module"),
        (nn.Sequential(nn.Flatten(), nn.Linear(15, 2)), (None, 3), ValueError, "in_features=15"),
    ],
)
def test_what_cannot_be_exported_leaves_no_file(tmp_path, model, shape, error, words):
    with pytest.raises(error, match=words):
        export(model, tmp_path / "m.onnx", shape)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "data", "classes"), [("mlp", "digits", True), ("forecaster", "series", False)])
def test_command(tmp_path, monkeypatch, name, data, classes):
    monkeypatch.chdir(tmp_path)
    for arguments in (["train", name, "--data", data, "--epochs", "1", "--out", "run"], ["export", "run"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    proto = onnx.load("run/model.onnx")
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    assert entries["model"] == name
    assert ("class_names" in entries) == classes
    found, model = load_model(tmp_path / "run")
    x = floats(3, *found.facts.shape)
    with dl.no_grad():
        np.testing.assert_allclose(runner("run/model.onnx", x)(None, {"input": x})[0], model(x).numpy(), atol=1e-5)
