"""Mixed precision on the device: which dtype operations run in, and that models learn as in float32."""

import pickle

import numpy as np
import pytest

import dlfast as dl
import dlfast.functional as F
from dlfast import nn

BF16 = "bfloat16"


@pytest.fixture(autouse=True)
def _has_bfloat16():
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")


def on_device(*shape, seed=0):
    return dl.Tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).to("cuda")


def dtype_of(x):
    return str(x.dtype)


def test_which_dtype():
    x, norm, linear = on_device(4, 6), nn.LayerNorm(6).to("cuda"), nn.Linear(6, 6).to("cuda")
    target = dl.Tensor(np.arange(4)).to("cuda")
    with dl.amp.autocast(BF16):
        y = linear(x)
        assert dtype_of(y) == dtype_of(x @ x.T) == dtype_of(F.gelu(y)) == dtype_of(norm(y)) == BF16
        assert dtype_of(norm(x)) == dtype_of(x + y) == dtype_of(y * x) == dtype_of(F.softmax(y)) == "float32"
        assert dtype_of(y.sum()) == dtype_of(y.mean()) == dtype_of(y.exp()) == dtype_of(y**2) == "float32"
        assert dtype_of(F.cross_entropy(y, target)) == dtype_of(F.mse_loss(y, x)) == "float32"
        assert dtype_of(F.nll_loss(F.log_softmax(y), target)) == "float32"
        with dl.amp.autocast(enabled=False):
            assert dtype_of(linear(x)) == "float32"
        assert dtype_of(linear(x)) == BF16
    assert dtype_of(linear(x)) == "float32"


def test_it_is_a_decorator():
    weight = on_device(5, 6)

    @dl.amp.autocast(BF16)
    def forward(x, again=False):
        return forward(x) if again else F.linear(x, weight)

    assert dtype_of(forward(on_device(4, 6), again=True)) == BF16
    assert dtype_of(F.linear(on_device(4, 6), weight)) == "float32"


def test_gradients_are_those_of_float32_rounded():
    linear, x = nn.Linear(6, 5).to("cuda"), on_device(7, 6)
    gradients = []
    for enabled in (False, True):
        linear.zero_grad()
        leaf = dl.Tensor(x.data, requires_grad=True)
        with dl.amp.autocast(BF16, enabled):
            loss = (linear(leaf) + leaf[:, :5]).tanh().sum()
        loss.backward()
        gradients.append([linear.weight.grad, linear.bias.grad, leaf.grad])
    for plain, mixed in zip(*gradients):
        assert mixed.dtype == np.float32
        a, b = plain.numpy(), mixed.numpy()
        assert 0 < np.abs(a - b).max() <= 4 * 2**-7 * np.abs(a).max()


def test_weights_are_cast_once_and_anew_after_a_change():
    linear, x = nn.Linear(6, 5, bias=False).to("cuda"), on_device(7, 6)
    with dl.amp.autocast(BF16), dl.no_grad():
        first = linear(x)
        casting = dl._autocast.current()
        kept = casting.of_weight(linear.weight.data)
        assert casting.of_weight(linear.weight.data) is kept
        linear.weight *= 2
        second = linear(x)
    assert np.array_equal(second.float().cpu().numpy(), 2 * first.float().cpu().numpy())


def test_arrays_of_the_cpu_are_refused():
    with dl.amp.autocast(BF16), pytest.raises(RuntimeError, match="linear: autocast is for arrays on a GPU"):
        F.linear(np.ones((2, 3), np.float32), np.ones((4, 3), np.float32))


def test_a_model_in_half():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3)).to("cuda")
    x = on_device(5, 6)
    wanted = model(x).cpu().numpy()
    y = model.bfloat16()(x.bfloat16())
    assert dtype_of(y) == dtype_of(y.cpu()) == BF16
    assert np.abs(y.float().cpu().numpy() - wanted).max() <= 6 * 2**-7 * np.abs(wanted).max()
    assert "dtype=bfloat16" in repr(y)
    y.float().sum().backward()
    assert {str(p.grad.dtype) for p in model.parameters()} == {BF16}
    with pytest.raises(TypeError, match="linear: x is float32 and weight bfloat16"):
        model(x)
    with pytest.raises(TypeError, match=r"SGD: params\[0\], of shape \(8, 6\), is bfloat16, in which small updates"):
        dl.optim.SGD(model.parameters(), lr=0.1)


def test_means_of_many_numbers_in_half():
    x = dl.Tensor(np.ones(100_000, np.float32)).to("cuda").half()
    assert x.mean().item() == 1
    assert x.mean().dtype == np.float16


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
    )


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def gpt():
    return dl.models.gpt(20, context=16, d_model=32, nhead=2, num_layers=2)


def losses_of(make, x, y, dtype, steps):
    dl.manual_seed(0)
    model = make().to("cuda")
    optimizer, scaler = dl.optim.AdamW(model.parameters(), lr=1e-2), dl.amp.GradScaler(enabled=dtype == "float16")
    x, y, losses = dl.Tensor(x).to("cuda"), dl.Tensor(y).to("cuda"), []
    for _ in range(steps):
        optimizer.zero_grad()
        with dl.amp.autocast(dtype or BF16, enabled=dtype is not None):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert all(p.data.dtype == p.grad.dtype == np.float32 for p in model.parameters())
    return np.array(losses)


@pytest.mark.parametrize("name", ["cnn", "gpt"])
def test_learns_as_in_float32(name):
    rng = np.random.default_rng(0)
    if name == "cnn":
        make, x, y = cnn, rng.standard_normal((16, 8, 8, 1)).astype(np.float32), rng.integers(0, 10, 16)
    else:
        make, x = gpt, rng.integers(0, 20, (4, 16))
        y = np.roll(x, -1, axis=1)
    wanted, got = (losses_of(make, x, y, dtype, 5) for dtype in (None, BF16))
    assert wanted[-1] < 0.9 * wanted[0]
    assert np.abs(got - wanted).max() < 0.02
    assert (got != wanted).any()


def test_an_overflow_in_float16():
    """A scale beyond float16's numbers: steps are left out until it fits, and then it grows again."""
    linear, x = nn.Linear(6, 5).to("cuda"), on_device(7, 6)
    optimizer = dl.optim.SGD(linear.parameters(), lr=1e-3)
    scaler, scales, moved = dl.amp.GradScaler(2.0**18, growth_interval=2), [], []
    for _ in range(8):
        before = linear.weight.data.numpy()
        optimizer.zero_grad()
        with dl.amp.autocast("float16"):
            loss = linear(x).sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
        moved.append(not np.array_equal(before, linear.weight.data.numpy()))
    first = moved.index(True)
    assert 2 <= first <= 5
    assert scales[:first] == [2.0 ** (17 - i) for i in range(first)]
    assert moved[first + 1]
    assert scales[first : first + 2] == [scales[first - 1], 2 * scales[first - 1]]
    if not moved[first + 2]:
        assert scales[first + 2] == scales[first]


def fitted(amp, folder=None, stop_after=None, epochs=2, make=cnn, **options):
    """A model fitted on few images, its history and the scaler's last state."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((24, 8, 8, 1)).astype(np.float32), rng.integers(0, 10, 24)
    dl.manual_seed(0)
    model = make()
    watching = Watching(stop_after)
    callbacks = [watching] if folder is None else [dl.train.Checkpoint(folder, every_steps=1), watching]
    options = {"optimizer": dl.optim.Adam(model.parameters(), lr=1e-2), **options}
    history = dl.train.fit(
        model, (x, y), (x, y), loss=F.cross_entropy, epochs=epochs, batch_size=8, device="cuda", amp=amp,
        callbacks=callbacks, progress=False, **options,
    )  # fmt: skip
    return model, history, watching.states


class Watching(dl.train.Callback):
    """Keeps the scaler's states; interrupts after so many updates."""

    def __init__(self, stop_after):
        self.stop_after, self.states = stop_after, []

    def after_update(self, run):
        self.states.append(run.mixed.scaler.state_dict())
        if run.steps == self.stop_after:
            raise KeyboardInterrupt


def weights(model):
    return b"".join(p.data.numpy().tobytes() for p in model.parameters())


def test_fit_in_bfloat16():
    _, plain, _ = fitted(None)
    model, history, states = fitted(BF16, clip_grad_norm=1.0)
    assert abs(history["train_loss"][0] - plain["train_loss"][0]) < 0.2
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert states == [{}] * 6
    assert {p.data.dtype for p in model.parameters()} == {np.dtype(np.float32)}


def test_fit_in_float16_scales_and_is_resumed_with_the_same_bits(tmp_path, monkeypatch):
    scaler = dl.amp.GradScaler
    monkeypatch.setattr(
        "dlfast.train.mixed.GradScaler", lambda enabled: scaler(2.0**19, growth_interval=2, enabled=enabled)
    )
    whole, history, states = fitted("float16", epochs=3, make=mlp)
    assert 4 <= len(states) < 9  # the first updates overflow and are left out
    assert len({state["scale"] for state in states}) > 1
    fitted("float16", tmp_path, stop_after=len(states) - 2, epochs=3, make=mlp)
    again, rest, later = fitted("float16", tmp_path, resume=tmp_path, epochs=3, make=mlp)
    assert later == states[-2:]
    assert rest["train_loss"] == history["train_loss"]
    assert weights(again) == weights(whole)


def test_fit_refuses_the_cpu():
    x, y, model = np.zeros((4, 8, 8, 1), np.float32), np.zeros(4, np.int64), cnn()
    options = {"loss": F.cross_entropy, "optimizer": dl.optim.SGD(model.parameters(), lr=0.1), "progress": False}
    with pytest.raises(ValueError, match="amp='float16' is for GPUs, and the model lies on the CPU"):
        dl.train.fit(model, (x, y), amp="float16", **options)
    with pytest.raises(ValueError, match="amp must be one of 'bfloat16', 'float16', got 'half'"):
        dl.train.fit(model, (x, y), amp="half", **options)


def test_half_is_kept_in_files_and_pickles(tmp_path):
    model = nn.Linear(3, 2).to("cuda").bfloat16()
    dl.save(tmp_path / "half.safetensors", model.state_dict())
    state, again = dl.load(tmp_path / "half.safetensors"), pickle.loads(pickle.dumps(model.weight.cpu()))
    wanted = model.weight.cpu().numpy()
    for array in (state["weight"], again.numpy()):
        assert str(array.dtype) == BF16
        assert array.tobytes() == wanted.tobytes()
    fresh = nn.Linear(3, 2).to("cuda").bfloat16()
    fresh.load_state_dict(state)
    assert fresh.weight.cpu().numpy().tobytes() == wanted.tobytes()


def test_half_beside_float32_in_a_list():
    linear, x = nn.Linear(6, 6).to("cuda"), on_device(4, 6)
    with dl.amp.autocast(BF16):
        y = linear(x)
        z = dl.cat([y, x], axis=1)
    z.sum().backward()
    assert dtype_of(z) == dtype_of(dl.stack([y, x])) == dtype_of(dl.maximum(y, x)) == "float32"
    assert np.array_equal(linear.bias.grad.numpy(), np.full(6, 4))


class TwoAlike:
    """A communicator of two ranks that have the same rows."""

    size = 2

    def all_gather(self, x):
        return np.stack([x, x])

    def all_reduce(self, x):
        return x + x


def test_batch_norm_of_several_ranks():
    norm, x = nn.BatchNorm2d(4).to("cuda"), on_device(2, 3, 3, 4)
    found = []
    for half in (False, True):
        norm.zero_grad()
        leaf = dl.Tensor((x.bfloat16() if half else x).data, requires_grad=True)
        y = F.batch_norm(leaf, None, None, norm.weight, norm.bias, training=True, comm=TwoAlike())
        (y * y * x).sum().backward()
        found.append([dl.Tensor(a).float().cpu().numpy() for a in (y.data, leaf.grad, norm.weight.grad)])
        assert dtype_of(y) == dtype_of(leaf.grad) == (BF16 if half else "float32")
    for wanted, got in zip(*found):
        assert np.abs(got - wanted).max() <= 0.05 * np.abs(wanted).max()


def test_a_gpt_in_half_goes_on_step_by_step():
    model, codes = gpt().to("cuda").bfloat16().eval(), dl.Tensor(np.arange(6)).to("cuda")
    whole = model(codes)
    first, state = model.advance(codes[:4], None)
    rest, _ = model.advance(codes[4:], state)
    stepwise = dl.cat([first, rest]).float().cpu().numpy()
    assert dtype_of(first) == BF16
    assert np.abs(stepwise - whole.float().cpu().numpy()).max() <= 0.02
