"""The models: parameter counts, shapes, initial values, a step of training; a residual block beside PyTorch's."""

import inspect
from functools import partial

import numpy as np
import pytest
from peers import needs_torch, torch

import dlfast as dl
from dlfast import functional as F
from dlfast import init, models, nn, optim
from dlfast.models.resnet import PadShortcut, basic_block, projection


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


def images(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


# Parameters

COUNTS = [
    (models.demo_cnn, 421_642),
    (models.lenet5, 61_706),
    (partial(models.lenet5, image_size=32, modern=True), 61_706),
    (models.notes_cnn, 4_116_392),
    (models.alexnet, 61_100_840),
    (models.vgg11, 132_863_336),
    (partial(models.vgg11, 10, image_size=32), 9_225_610),
    (partial(models.vgg11, 10, image_size=32, batch_norm=True), 9_231_114),
    (models.small_vgg, 140_458),
    (models.resnet20, 269_722),
    (partial(models.resnet20, shortcut="B"), 272_474),
    (models.resnet18, 11_689_512),
    (
        partial(models.gpt, 50257, context=1024, d_model=768, num_layers=12, nhead=12, tie_weights=True),
        124_439_808,
    ),
]


@pytest.mark.parametrize(("build", "count"), COUNTS)
def test_parameter_counts(build, count, monkeypatch):
    monkeypatch.setattr(init, "_fill", lambda op, tensor, values: tensor)
    monkeypatch.setattr(init, "generator", _NoNumbers)
    model = build()
    assert sum(p.size for p in model.parameters()) == count
    documented = inspect.getdoc(getattr(build, "func", build))
    assert f"{count:,}" in documented or f"{count - 5504:,}" in documented


class _NoNumbers:
    """A generator that draws nothing: a hundred million numbers take seconds."""

    def uniform(self, *args):
        return None

    normal = uniform


def test_parameter_counts_of_small_language_models():
    """Of 61 characters: embedding, four gates with two biases each, head."""
    gates = 4 * (256 * (64 + 256) + 2 * 256)
    assert sum(p.size for p in models.char_lstm(61).parameters()) == 61 * 64 + gates + 61 * 257 == 349_309
    assert sum(p.size for p in models.gpt(61).parameters()) == 825_344


def test_mlp():
    assert [p.shape for p in models.mlp(784, 128, 64, 10).parameters()][::2] == [(128, 784), (64, 128), (10, 64)]
    with pytest.raises(ValueError, match="expected the sizes"):
        models.mlp(3)


def test_names_are_torchvisions():
    names = [name for name, _ in models.resnet18(4).named_parameters()]
    assert names[:4] == ["conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv1.weight"]
    assert names[-2:] == ["fc.weight", "fc.bias"]
    assert "layer2.0.shortcut.0.weight" in names
    names = [name for name, _ in models.vgg11(4, image_size=32).named_parameters()]
    assert names[:3] == ["features.0.weight", "features.0.bias", "features.3.weight"]


def of_kind(model, kind):
    return [module for module in model.modules() if type(module) is kind]


def test_initial_values():
    weight = models.lenet5()[9].weight.data
    assert 0.9 < np.abs(weight).max() / np.sqrt(6 / (120 + 84)) <= 1
    for model in (models.lenet5(modern=True), models.resnet20(), models.notes_cnn(7), models.small_vgg()):
        for conv in of_kind(model, nn.Conv2d):
            fan_in = np.prod(conv.weight.shape[1:])
            assert conv.weight.data.var() == pytest.approx(2 / fan_in, rel=0.3)
            assert conv.bias is None or not conv.bias.data.any()
    assert models.notes_cnn(7)[7].weight.data.std() == pytest.approx(1e-3, rel=0.1)
    for layer in of_kind(models.vgg11(10, image_size=32), nn.Conv2d)[-2:]:
        assert layer.weight.data.var() == pytest.approx(2 / (9 * 1024), rel=0.02)


def test_alexnet_starts_some_biases_at_1(monkeypatch):
    biases = []
    monkeypatch.setattr(init, "_fill", lambda op, tensor, value: op == "constant_" and biases.append((tensor, value)))
    monkeypatch.setattr(init, "generator", _NoNumbers)
    model = models.alexnet(3)
    value_of = {id(bias): value for bias, value in biases}
    found = [value_of[id(p)] for name, p in model.named_parameters() if name.endswith("bias")]
    assert found == [0, 1, 0, 1, 1, 1, 1, 0]


# Shapes, gradients, learning

SMALL = [
    (models.lenet5, (6, 28, 28, 1), 10),
    (partial(models.lenet5, 7, 3, image_size=32, modern=True), (6, 32, 32, 3), 7),
    (models.notes_cnn, (2, 224, 224, 3), 1000),
    (partial(models.vgg11, 10, image_size=32), (4, 32, 32, 3), 10),
    (partial(models.vgg11, 5, 1, image_size=32, batch_norm=True), (4, 32, 32, 1), 5),
    (models.small_vgg, (6, 28, 28, 1), 10),
    (partial(models.small_vgg, 3, 2, width=5), (4, 5, 9, 2), 3),
    (models.resnet20, (6, 16, 16, 3), 10),
    (partial(models.resnet20, 4, 2, shortcut="B"), (5, 9, 11, 2), 4),
    (partial(models.resnet18, 6), (4, 40, 33, 3), 6),
    (partial(models.alexnet, 3, dropout=0.0), (2, 63, 70, 3), 3),
]


@pytest.mark.parametrize(("build", "shape", "classes"), SMALL)
def test_a_step_of_training(build, shape, classes):
    """Shapes, finite gradients for every parameter, and a step along them that lowers the loss."""
    model, x, labels = build(), images(*shape), np.arange(shape[0]) % classes
    optimizer = optim.SGD(model.parameters(), lr=1e-4)
    loss = F.cross_entropy(model(x), labels)
    loss.backward()
    norm = 0.0
    for parameter in model.parameters():
        assert np.isfinite(parameter.grad).all()
        norm += float(np.vdot(parameter.grad, parameter.grad))
    assert norm > 0
    optimizer.step()
    y = model(x)
    assert y.shape == (shape[0], classes)
    assert F.cross_entropy(y, labels).item() < loss.item()


@pytest.mark.parametrize("build", [models.resnet20, partial(models.resnet20, shortcut="B"), models.lenet5])
def test_state_and_evaluation(build):
    """A model with the state of another computes the same; evaluation treats each image for itself."""
    shape = (3, 28, 28, 1) if build is models.lenet5 else (3, 16, 16, 3)
    x, model, other = images(*shape), build(), build()
    model(x)
    other.load_state_dict(model.state_dict())
    y = model.eval()(x)
    np.testing.assert_array_equal(other.eval()(x), y)
    np.testing.assert_allclose(model(x[1:2]), y.data[1:2], rtol=1e-4, atol=1e-5)


def test_the_shortcut_without_parameters():
    short = PadShortcut(2, 5, 2)
    x = images(2, 5, 4, 2)
    y = short(x).data
    np.testing.assert_array_equal(y[..., :2], x[:, ::2, ::2])
    assert y.shape == (2, 3, 2, 5)
    assert not y[..., 2:].any()
    dl.gradcheck(short, [x.astype(np.float64)])


BAD = [
    (lambda: models.resnet18(0), ValueError, "resnet18: num_classes must be at least 1, got 0"),
    (lambda: models.resnet20(10.0), TypeError, "resnet20: num_classes must be an integer, got 10.0"),
    (lambda: models.resnet20(shortcut="C"), ValueError, "resnet20: shortcut must be one of 'A', 'B', got 'C'"),
    (lambda: models.lenet5(10, 0), ValueError, "lenet5: in_channels must be at least 1"),
    (lambda: models.lenet5(image_size=30), ValueError, "lenet5: image_size must be one of 28, 32, got 30"),
    (lambda: models.vgg11(image_size=64), ValueError, "vgg11: image_size must be one of 32, 224, got 64"),
    (lambda: models.vgg11(True), TypeError, "vgg11: num_classes must be an integer"),
    (lambda: models.small_vgg(width=0), ValueError, "small_vgg: width must be at least 1"),
    (lambda: models.alexnet("10"), TypeError, "alexnet: num_classes must be an integer"),
    (lambda: models.notes_cnn(-1), ValueError, "notes_cnn: num_classes must be at least 1"),
    (lambda: models.resnet20()(images(2, 8, 8, 1)), ValueError, r"conv1 \(Conv2d\): x must have in_channels=3"),
    (lambda: models.lenet5()(images(2, 32, 32, 1)), ValueError, r"7 \(Linear\): x must have in_features=400"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()


# The same block in PyTorch


@needs_torch
@pytest.mark.parametrize(
    ("channels", "stride", "shortcut"),
    [((16, 16), 1, projection), ((16, 32), 2, projection), ((16, 32), 2, PadShortcut)],
)
def test_a_block_beside_pytorchs(channels, stride, shortcut):
    block = basic_block(*channels, stride, shortcut)
    twin = _torch_block(*channels, stride, shortcut is projection)
    state = {name: torch.from_numpy(_channels_first(value)) for name, value in block.state_dict().items()}
    twin.load_state_dict(state)
    x, dy = images(3, 8, 8, channels[0]) - 0.5, images(3, 8 // stride, 8 // stride, channels[1])
    ours, theirs = dl.Tensor(x, requires_grad=True), torch.from_numpy(_channels_first(x)).requires_grad_()
    y, wanted = block(ours), twin(theirs)
    y.backward(dy)
    wanted.backward(torch.from_numpy(_channels_first(dy)))
    _agree(y.data, wanted)
    _agree(ours.grad, theirs.grad)
    for (name, parameter), (other, expected) in zip(block.named_parameters(), twin.named_parameters(), strict=True):
        assert name == other
        _agree(parameter.grad, expected.grad)
    for name, buffer in block.named_buffers():
        _agree(buffer, dict(twin.named_buffers())[name])


def _torch_block(in_channels, out_channels, stride, project):
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
            self.bn1 = torch.nn.BatchNorm2d(out_channels)
            self.conv2 = torch.nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
            self.bn2 = torch.nn.BatchNorm2d(out_channels)
            if project and (stride, in_channels) != (1, out_channels):
                self.shortcut = torch.nn.Sequential(
                    torch.nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                    torch.nn.BatchNorm2d(out_channels),
                )

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            if hasattr(self, "shortcut"):
                return torch.relu(self.shortcut(x) + y)
            more = out_channels - in_channels
            return torch.relu(torch.nn.functional.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, more)) + y)

    return Block()


def _channels_first(value):
    return value.transpose(0, 3, 1, 2).copy() if value.ndim == 4 else value.copy()


def _agree(found, expected):
    expected = expected.detach().numpy()
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * max(1, np.abs(expected).max()))
