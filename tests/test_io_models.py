"""Whole models from PyTorch's files, without PyTorch: outputs in NumPy, channels first; torchvision's names."""

import numpy as np
import numpy_layers as N
import pytest
from peers import needs_torch, torch
from safetensors.numpy import load_file, save_file

import dlfast as dl
from dlfast import init, io, models, nn


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


def state_of(model, **options):
    """Weights and statistics such as PyTorch would give for this model, drawn anew: shapes and names are its own."""
    rng = np.random.default_rng(0)
    state = {key: np.asarray(value) for key, value in io.to_torch(model, **options).items()}
    for key, value in state.items():
        if value.dtype.kind == "f":
            size = value[0].size if value.ndim > 1 else 1
            drawn = rng.uniform(0.5, 1.5, value.shape) if value.ndim == 1 else rng.normal(0, size**-0.5, value.shape)
            state[key] = drawn.astype(np.float32)
    return state


def assert_agree(model, state, x, wanted, tmp_path, **options):
    """Written to a file and read, the weights give `wanted` for x (channels last); the way back has the same bits."""
    save_file(state, tmp_path / "theirs.safetensors")
    io.from_torch(tmp_path / "theirs.safetensors", model, **options)
    y = model.eval()(x).data
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    io.to_torch(model, tmp_path / "ours.safetensors", **options)
    back = load_file(tmp_path / "ours.safetensors")
    assert back.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)


def cnn(m):
    """Convolutions of every kind, batch normalisation, pooling, an image as a row: of dlfast.nn or torch.nn."""
    return m.Sequential(
        *(m.Conv2d(3, 8, 3, padding=1), m.BatchNorm2d(8), m.ReLU(), m.MaxPool2d(2)),
        *(m.Conv2d(8, 8, 3, padding=1, groups=8), m.Conv2d(8, 12, 1), m.ReLU(), m.ConvTranspose2d(12, 6, 2, 2)),
        *(m.MaxPool2d(2), m.Flatten(), m.Linear(6 * 4 * 4, 10), m.BatchNorm1d(10), m.ReLU(), m.Linear(10, 4)),
    )


def cnn_in_numpy(x, state):
    def parameters(name):
        return state[f"{name}.weight"], state[f"{name}.bias"]

    x = N.max_pool2d(N.relu(N.batch_norm(N.conv2d(x, *parameters(0), padding=1), state, 1)), 2)
    x = N.relu(N.conv2d(N.conv2d(x, *parameters(4), padding=1, groups=8), *parameters(5)))
    x = N.max_pool2d(N.conv_transpose2d(x, *parameters(7), stride=2), 2).reshape(len(x), -1)
    return N.linear(N.relu(N.batch_norm(N.linear(x, state, 10), state, 11)), state, 13)


def images(*shape):
    return np.random.default_rng(1).standard_normal(shape, np.float32)


@pytest.mark.parametrize("options", [{}, {"input_shape": (8, 8, 3)}])
def test_a_convolutional_network(tmp_path, options):
    model, x = cnn(nn), images(3, 8, 8, 3)
    state = state_of(model, **options)
    assert state["0.weight"].shape == (8, 3, 3, 3)
    assert state["4.weight"].shape == (8, 1, 3, 3)
    assert state["7.weight"].shape == (12, 6, 2, 2)
    assert_agree(model, state, x, cnn_in_numpy(x.transpose(0, 3, 1, 2), state), tmp_path, **options)


def test_a_network_of_sequences(tmp_path):
    model = nn.Sequential(nn.Conv1d(2, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 7, 4))
    state, x = state_of(model), images(3, 9, 2)
    h = N.conv1d(x.transpose(0, 2, 1), state["0.weight"], state["0.bias"])
    h = N.relu(N.batch_norm(h, state, 1)).reshape(3, -1)
    assert_agree(model, state, x, N.linear(h, state, 4), tmp_path)


def encoder(m):
    layer = m.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return m.TransformerEncoder(layer, 2, m.LayerNorm(8))


def test_a_transformer_encoder(tmp_path):
    model, x = encoder(nn), images(3, 5, 8)
    state, y = state_of(model), x
    assert "layers.1.self_attn.in_proj_weight" in state
    for i in range(2):
        y = N.encoder_layer(y, state, f"layers.{i}", 2)
    assert_agree(model, state, x, N.layer_norm(y, state, "norm"), tmp_path)


@needs_torch
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize(("build", "x"), [(cnn, (3, 8, 8, 3)), (encoder, (3, 5, 8))])
def test_as_pytorch_itself_and_its_own_files(build, x, tmp_path):
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    torch.manual_seed(0)
    theirs, ours, x = build(torch.nn).train(), build(nn), images(*x)
    first = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim == 4 else x)
    with torch.no_grad():
        theirs(first)  # running statistics
        wanted = theirs.eval()(first).numpy()
    save_torch(theirs.state_dict(), tmp_path / "theirs.safetensors")
    io.from_torch(tmp_path / "theirs.safetensors", ours)
    np.testing.assert_allclose(ours.eval()(x).data, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    again = build(torch.nn).eval()
    io.to_torch(ours, tmp_path / "ours.safetensors")
    again.load_state_dict(load_torch(tmp_path / "ours.safetensors"))
    with torch.no_grad():
        np.testing.assert_array_equal(again(first).numpy(), wanted)


def test_names_of_wrappers():
    model = nn.Sequential(nn.Linear(3, 2))
    state = state_of(model)
    for prefix in ("module.", "_orig_mod.", "module._orig_mod."):
        model[0].weight.data = np.zeros((2, 3), np.float32)
        io.from_torch({prefix + key: value for key, value in state.items()}, model)
        np.testing.assert_array_equal(model[0].weight.data, state["0.weight"])
    with pytest.raises(ValueError, match=r"missing 0.weight.*unexpected other\.0\.weight"):
        io.from_torch({f"other.{key}": value for key, value in state.items()}, model)


# torchvision's models: their names and shapes, written down from its sources


def conv(name, out, inputs, size, bias=False):
    return {f"{name}.weight": (out, inputs, size, size), **({f"{name}.bias": (out,)} if bias else {})}


def norm(name, features):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{part}": (features,) for part in parts}, f"{name}.num_batches_tracked": ()}


def dense(name, out, inputs):
    return {f"{name}.weight": (out, inputs), f"{name}.bias": (out,)}


def resnet18():
    found, inputs = {**conv("conv1", 64, 3, 7), **norm("bn1", 64)}, 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            found |= {**conv(f"{name}.conv1", width, inputs, 3), **norm(f"{name}.bn1", width)}
            found |= {**conv(f"{name}.conv2", width, width, 3), **norm(f"{name}.bn2", width)}
            if inputs != width:
                found |= {**conv(f"{name}.downsample.0", width, inputs, 1), **norm(f"{name}.downsample.1", width)}
            inputs = width
    return found | dense("fc", 1000, 512)


def vgg11(batch_norm):
    found, place, inputs = {}, 0, 3
    for width in (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"):
        if width == "pool":
            place += 1
            continue
        found |= conv(f"features.{place}", width, inputs, 3, bias=True)
        found |= norm(f"features.{place + 1}", width) if batch_norm else {}
        place, inputs = place + 2 + batch_norm, width
    for place, (out, features) in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        found |= dense(f"classifier.{place}", out, features)
    return found


def alexnet():
    found, inputs = {}, 3
    for place, out, size in ((0, 64, 11), (3, 192, 5), (6, 384, 3), (8, 256, 3), (10, 256, 3)):
        found |= conv(f"features.{place}", out, inputs, size, bias=True)
        inputs = out
    for place, (out, features) in {1: (4096, 9216), 4: (4096, 4096), 6: (1000, 4096)}.items():
        found |= dense(f"classifier.{place}", out, features)
    return found


def test_resnet18_by_torchvisions_names():
    model, shapes = models.resnet18(), resnet18()
    rng = np.random.default_rng(0)
    state = {key: np.asarray(rng.random(shape), np.float32) for key, shape in shapes.items()}
    io.from_torch(state, model)
    np.testing.assert_array_equal(
        model.layer2[0].shortcut[0].weight.data[:, 0, 0], state["layer2.0.downsample.0.weight"][:, :, 0, 0]
    )
    np.testing.assert_array_equal(model.conv1.weight.data, state["conv1.weight"].transpose(0, 2, 3, 1))
    back = io.to_torch(model)
    assert back.keys() == shapes.keys()
    for key in ("conv1.weight", "layer4.0.downsample.1.running_var", "fc.weight"):
        np.testing.assert_array_equal(back[key], state[key])


@pytest.mark.parametrize(
    ("build", "shapes"),
    [
        (models.alexnet, alexnet()),
        (models.vgg11, vgg11(False)),
        (lambda: models.vgg11(batch_norm=True), vgg11(True)),
    ],
)
def test_torchvisions_names_and_shapes(build, shapes, monkeypatch):
    """Of models too large to load here: their layouts are asked for, and nothing is copied."""
    monkeypatch.setattr(init, "_fill", lambda op, tensor, values: tensor)
    monkeypatch.setattr(init, "generator", _NoNumbers)
    model = build()
    monkeypatch.setattr(type(model), "state_dict", lambda self: dict(self._state()))
    layouts, own = io.pytorch._layouts("from_torch", model, None)
    found = {}
    for key, value in own.items():
        value = np.asarray(value)
        axes = layouts[key].axes
        found[key] = value.shape if axes is None else value.transpose(np.argsort(axes)).shape
    assert found == shapes
    assert layouts[next(key for key in shapes if key.startswith("classifier"))].columns in (256, 512)


class _NoNumbers:
    """A generator that draws nothing."""

    def uniform(self, *args):
        return None

    normal = uniform
