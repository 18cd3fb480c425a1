"""Weights from PyTorch and back: the same outputs, whatever is channels last here."""

import numpy as np
import pytest
from peers import needs_torch, torch

import dlfast as dl
from dlfast import functional as F
from dlfast import io, nn

tnn = torch and torch.nn


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)
    if torch:
        torch.manual_seed(0)


def stirred(theirs):
    """Statistics and scales other than those of the start, which hide a wrong order."""
    with torch.no_grad():
        for name, value in theirs.state_dict().items():
            if value.dtype.is_floating_point and value.ndim == 1:
                value.copy_(torch.rand_like(value) + (0.5 if "var" in name else 0))
    return theirs.eval()


def outputs(ours, theirs, x):
    """Of both; an image x is channels last."""
    first = np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim > 2 and x.dtype.kind == "f" else x
    with torch.no_grad():
        expected = theirs(torch.from_numpy(first)).numpy()
    y = ours.eval()(x).data
    return y, np.moveaxis(expected, 1, -1) if expected.ndim > 2 and x.dtype.kind == "f" else expected


def assert_same_both_ways(ours, theirs, again, x, **options):
    """PyTorch's weights here give its outputs; given back, to a model with other weights, they are the same bits."""
    stirred(theirs)
    io.from_torch(theirs.state_dict(), ours, **options)
    y, expected = outputs(ours, theirs, x)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    again.load_state_dict(io.to_torch(ours, **options))
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value, err_msg=name)


def image(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def cnn(m, flatten=True):
    """The same layers of dlfast.nn and torch.nn."""
    return m.Sequential(
        *(m.Conv2d(3, 8, 3, padding=1), m.BatchNorm2d(8), m.ReLU(), m.MaxPool2d(2)),
        *(m.Conv2d(8, 12, (3, 1), groups=4), m.GroupNorm(3, 12), m.Tanh(), m.ConvTranspose2d(12, 6, 2, 2, groups=2)),
        *(m.AvgPool2d(2), m.Flatten(), m.BatchNorm1d(6 * 2 * 4), m.Dropout(0.5), m.Linear(6 * 2 * 4, 10)),
        *(m.ReLU(), m.Linear(10, 4)),
    )


@needs_torch
def test_a_convolutional_network():
    assert_same_both_ways(cnn(nn), cnn(tnn), cnn(tnn), image(2, 8, 8, 3))
    assert_same_both_ways(cnn(nn), cnn(tnn), cnn(tnn), image(2, 8, 8, 3), input_shape=(8, 8, 3))


def sequence(m):
    return m.Sequential(
        *(
            m.Conv1d(2, 6, 3, groups=2),
            m.BatchNorm1d(6),
            m.ReLU(),
            m.AvgPool1d(2),
            m.ConvTranspose1d(6, 5, 3, stride=2),
        ),
        *(m.AdaptiveAvgPool1d(7), m.Flatten(), m.Linear(5 * 7, 4)),
    )


@needs_torch
@pytest.mark.parametrize("options", [{}, {"input_shape": (12, 2)}])
def test_sequences(options):
    assert_same_both_ways(sequence(nn), sequence(tnn), sequence(tnn), image(3, 12, 2), **options)


def perceptron(m, norm):
    return m.Sequential(m.Linear(5, 8), norm(m), m.GELU(), m.Sequential(m.Linear(8, 6), m.Tanh()), m.Linear(6, 2))


@needs_torch
@pytest.mark.parametrize(
    "norm", [lambda m: m.LayerNorm(8), lambda m: m.RMSNorm(8), lambda m: m.BatchNorm1d(8), lambda m: m.GroupNorm(2, 8)]
)
def test_perceptrons_and_norms(norm):
    models = [perceptron(m, norm) for m in (nn, tnn, tnn)]
    assert_same_both_ways(*models, image(4, 5))


@needs_torch
@pytest.mark.parametrize("options", [{}, {"input_shape": (7,)}])
def test_embeddings_flattened_stay_in_order(options):
    models = [m.Sequential(m.Embedding(9, 4), m.LayerNorm(4), m.Flatten(), m.Linear(28, 3)) for m in (nn, tnn, tnn)]
    assert_same_both_ways(*models, np.random.default_rng(0).integers(0, 9, (5, 7)), **options)


@needs_torch
@pytest.mark.parametrize("channels", [1, 3])
def test_a_perceptron_of_images_needs_their_shape(channels):
    models = [m.Sequential(m.Flatten(), m.Linear(20 * channels, 3)) for m in (nn, tnn, tnn)]
    with pytest.raises(ValueError, match=r"1 \(Linear\) reads an image as a row.*input_shape"):
        io.from_torch(models[1].state_dict(), models[0])
    assert_same_both_ways(*models, image(2, 4, 5, channels), input_shape=(4, 5, channels))


class Ours(nn.Module):
    """An autoencoder whose forward changes shapes itself: an image as a row, and a row as an image."""

    def __init__(self):
        self.down, self.norm = nn.Conv2d(2, 6, 3, stride=2), nn.LayerNorm((3, 4, 6))
        self.narrow, self.wide, self.scale = nn.Linear(72, 5), nn.Linear(5, 72), nn.BatchNorm1d(72)
        self.up = nn.ConvTranspose2d(6, 2, 3, stride=2)

    def forward(self, x):
        x = F.relu(self.norm(self.down(x)))
        x = self.narrow(x.reshape(len(x.data), 72))
        x = F.relu(self.scale(self.wide(x)))
        return self.up(x.reshape(-1, 3, 4, 6))


if torch:

    class Theirs(tnn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.norm = tnn.Conv2d(2, 6, 3, stride=2), tnn.LayerNorm((6, 3, 4))
            self.narrow, self.wide, self.scale = tnn.Linear(72, 5), tnn.Linear(5, 72), tnn.BatchNorm1d(72)
            self.up = tnn.ConvTranspose2d(6, 2, 3, stride=2)

        def forward(self, x):
            x = self.norm(self.down(x)).relu()
            x = self.narrow(x.flatten(1))
            x = self.scale(self.wide(x)).relu()
            return self.up(x.view(-1, 6, 3, 4))


@needs_torch
def test_a_forward_of_its_own_needs_the_shape_of_the_input():
    ours, theirs = Ours(), Theirs()
    before = ours.state_dict()
    with pytest.raises(ValueError, match=r"has a forward of its own; give input_shape="):
        io.from_torch(theirs, ours)
    ours.down.requires_grad_(False)
    with dl.no_grad():
        assert_same_both_ways(ours, theirs, Theirs(), image(2, 7, 9, 2), input_shape=(7, 9, 2))
    assert not ours.down.weight.requires_grad
    assert ours.up.weight.requires_grad
    assert "forward" not in vars(ours.down)
    assert before.keys() == ours.state_dict().keys()


@needs_torch
def test_models_of_the_package():
    """Structures told without an input_shape."""
    for model in (dl.models.lenet5(), dl.models.resnet20(), dl.models.vgg11(10, image_size=32)):
        shapes = {key: value.shape for key, value in io.to_torch(model).items()}
        own = model.state_dict()
        assert shapes.keys() == own.keys()
        assert any(tuple(shapes[key]) != own[key].shape for key in own)


@needs_torch
def test_a_kernel_that_fits_both_layouts():
    """(8, 3, 3, 3): loaded as it is, it fits and is wrong, so that is warned of."""
    ours, theirs, x = nn.Conv2d(3, 8, 3), tnn.Conv2d(3, 8, 3), image(1, 5, 5, 3)
    with pytest.warns(UserWarning, match=r"weight.*channels first.*dlfast\.io\.from_torch"):
        ours.load_state_dict(theirs.state_dict())
    y, expected = outputs(ours, theirs, x)
    assert np.abs(y - expected).max() > 1e-2
    io.from_torch(theirs.state_dict(), ours)
    y, expected = outputs(ours, theirs, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@needs_torch
def test_tensors_of_linear_layers_load_without_a_warning():
    theirs = tnn.Linear(3, 4)
    ours = nn.Linear(3, 4)
    ours.load_state_dict(theirs.state_dict())
    np.testing.assert_array_equal(ours.weight.data, theirs.weight.detach())


@needs_torch
def test_half_precision_is_widened():
    theirs, ours = tnn.Linear(3, 4).bfloat16(), nn.Linear(3, 4)
    io.from_torch(theirs.state_dict(), ours)
    np.testing.assert_array_equal(ours.weight.data, theirs.weight.detach().float())


def numbered(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def small():
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(12, 2, bias=False))


def state():
    return {"0.weight": numbered(3, 2, 2, 2), "0.bias": numbered(3), "2.weight": numbered(2, 12)}


def test_layouts_by_hand():
    """Without PyTorch: O I H W becomes O H W I, and columns (C, H W) become (H W, C)."""
    model = small()
    assert io.from_torch(state(), model) == {"missing": [], "unexpected": []}
    np.testing.assert_array_equal(model[0].weight.data, state()["0.weight"].transpose(0, 2, 3, 1))
    wanted = state()["2.weight"].reshape(2, 3, 4).swapaxes(1, 2).reshape(2, 12)
    np.testing.assert_array_equal(model[2].weight.data, wanted)
    for key, value in io.to_torch(model).items():
        np.testing.assert_array_equal(value, state()[key])


def test_from_a_file_and_to_a_file(tmp_path):
    model, other = small(), small()
    io.to_torch(model, tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(
        dl.load(tmp_path / "weights.safetensors")["0.weight"], model[0].weight.data.transpose(0, 3, 1, 2)
    )
    io.from_torch(tmp_path / "weights.safetensors", other)
    for key, value in other.state_dict().items():
        np.testing.assert_array_equal(value, model.state_dict()[key])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("0.bias"), "missing 0.bias"),
        (lambda s: s.update(extra=numbered(1)), "unexpected extra"),
        (lambda s: s.update({"0.weight": numbered(3, 2, 2, 3)}),
         r"0.weight must have shape \(3, 2, 2, 2\) in PyTorch, got \(3, 2, 2, 3\)"),
        (lambda s: s.update({"2.weight": numbered(12, 2)}), r"2.weight must have shape \(2, 12\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_changes_nothing(change, words):
    model, given = small(), state()
    before = model.state_dict()
    change(given)
    with pytest.raises(ValueError, match=words):
        io.from_torch(given, model)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_without_strict_what_is_there_is_loaded():
    model, given = small(), state()
    del given["0.bias"]
    given["extra"] = numbered(1)
    assert io.from_torch(given, model, strict=False) == {"missing": ["0.bias"], "unexpected": ["extra"]}
    np.testing.assert_array_equal(model[0].weight.data, given["0.weight"].transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: io.from_torch("model.pth", small()), ValueError, r"a PyTorch file; give torch.load"),
        (lambda: io.from_torch([1], small()), TypeError, "state must be a state_dict or a .safetensors file, got list"),
        (lambda: io.from_torch({"0.weight": "x"}, small()), TypeError, "'0.weight' must be an array of numbers"),
        (lambda: io.from_torch({}, {}), TypeError, "model must be a dlfast Module, got dict"),
        (lambda: io.from_torch(state(), small(), (9, 9, 1)), ValueError, "does not run on an input of shape"),
        (lambda: io.to_torch(Ours()), ValueError, "to_torch: cannot tell in which order.*give input_shape="),
    ],
)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_run_that_fails_leaves_the_model_as_it_was():
    model = small()
    with pytest.raises(ValueError):
        io.from_torch(state(), model, (9, 9, 1))
    assert model.training
    assert all(module.training and "forward" not in vars(module) for module in model.modules())
