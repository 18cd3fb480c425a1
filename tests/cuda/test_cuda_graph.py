"""A step that `dlfast.cuda.graph` repeats trains as plain steps do, to the last bit.

Without a GPU the host records launches with their arguments and repeats them, as a GPU does: what Python has left in an
argument, a rate or a seed, is what it was at the capture, and shows.
"""

import numpy as np
import pytest

import dlfast as dl
import dlfast.functional as F
from dlfast import nn, optim

STEPS = 6


@pytest.fixture(autouse=True)
def _records(device, monkeypatch):
    if not device.records:
        monkeypatch.setattr(device, "records", True, raising=False)


def tensor(values):
    return dl.tensor(values).to("cuda")


def classify(model, optimizer):
    def step(x, labels):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def trained(make, shape, classes, make_step=classify, wrap=dl.cuda.graph, steps=STEPS, schedule=True):
    """Losses, buffers, parameters, gradients, state; the generator; the last norm; how often the step was called."""
    dl.random.manual_seed(0)
    model, optimizer = make()
    rates = optim.lr_scheduler.StepLR(optimizer, 2, 0.5) if schedule else None
    rng, calls, losses = np.random.default_rng(1), [], []
    plain = make_step(model, optimizer)

    def counted(*arguments):
        calls.append(1)
        return plain(*arguments)

    step = wrap(counted)
    for _ in range(steps):
        values = rng.standard_normal(shape, np.float32) if classes > 0 else rng.integers(0, -classes, shape)
        labels = rng.integers(0, abs(classes), shape[:1] if classes > 0 else shape)
        losses.append(step(tensor(values), tensor(labels)).cpu().numpy().copy())
        if rates is not None:
            rates.step()
    state = {name: np.asarray(value) for name, value in model.state_dict().items()}
    arrays = [np.asarray(losses), *state.values(), *(p.grad.numpy() for p in model.parameters() if p.grad is not None)]
    kept = optimizer.state_dict()["state"]
    arrays += [np.asarray(value) for entry in kept.values() for value in entry.values() if value is not None]
    return arrays, dl.random.get_state(), optimizer.grad_norm, len(calls)


def assert_trains_alike(make, shape, classes, make_step=classify, **options):
    plain, generator, norm, _ = trained(make, shape, classes, make_step, lambda step: step, **options)
    got, generator_too, norm_too, calls = trained(make, shape, classes, make_step, **options)
    assert len(plain) == len(got) > 3
    for one, other in zip(plain, got, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.isfinite(one).all()
    assert generator == generator_too
    assert norm == norm_too
    assert calls == 2  # once plainly, once for the capture
    assert len(set(plain[0].tolist())) == len(plain[0])


def mlp(optimizer, **options):
    def make():
        model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)).to("cuda")
        return model, optimizer(model.parameters(), **options)

    return make


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (optim.SGD, {"lr": 0.1}),
        (optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "maximize": True}),
        (optim.Adam, {"lr": 0.01}),
        (optim.AdamW, {"lr": 0.01, "clip_grad_norm": 0.2}),
        (optim.NAdam, {"lr": 0.01}),
        (optim.RAdam, {"lr": 0.01, "betas": (0.9, 0.9)}),  # rectified from the sixth step on
        (optim.Adagrad, {"lr": 0.1, "lr_decay": 0.1}),
        (optim.RMSprop, {"lr": 0.01, "momentum": 0.5}),
        (optim.Lion, {"lr": 0.01, "weight_decay": 0.1}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_every_optimizer(optimizer, options):
    assert_trains_alike(mlp(optimizer, **options), (8, 6), 3)


def test_convolutions_and_batch_norm():
    def make():
        layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)]
        model = nn.Sequential(*layers).to("cuda")
        return model, optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    assert_trains_alike(make, (4, 8, 8, 2), 3)


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


def test_a_recurrent_net():
    def make():
        model = Reader().to("cuda")
        return model, optim.Adam(model.parameters(), lr=0.01)

    assert_trains_alike(make, (3, 4, 5), 3)


class Writer(nn.Module):
    """A small GPT, with dropout in attention and behind it."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.2)
        self.out = nn.Linear(16, 11)

    def forward(self, tokens):
        return self.out(self.layer(self.embedding(tokens), is_causal=True))


def test_attention_with_dropout():
    def make():
        model = Writer().to("cuda")
        return model, optim.AdamW(model.parameters(), lr=0.01, clip_grad_norm=1.0)

    def step_of(model, optimizer):
        def step(tokens, labels):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(tokens).reshape(-1, 11), labels.reshape(-1))
            loss.backward()
            optimizer.step()
            return loss

        return step

    assert_trains_alike(make, (2, 6), -11, step_of)


def test_gradients_forgotten_behind_the_step_or_never():
    def behind(model, optimizer):
        def step(x, labels):
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        return step

    def never(model, optimizer):
        def step(x, labels):
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        return step

    assert_trains_alike(mlp(optim.Adam, lr=0.01), (8, 6), 3, behind)
    assert_trains_alike(mlp(optim.Adam, lr=0.01), (8, 6), 3, never)


def test_options_changed_by_hand():
    """Weight decay and the bound of clipping are read anew for each replay, as learning rates are."""

    def results(wrap):
        dl.random.manual_seed(0)
        model, optimizer = mlp(optim.AdamW, lr=0.01, clip_grad_norm=0.5)()
        step, x = wrap(classify(model, optimizer)), tensor(np.ones((8, 6), np.float32))
        for k in range(5):
            optimizer.param_groups[0]["weight_decay"] = 0.1 * k
            optimizer.clip_grad_norm = 0.5 / (1 + k)
            step(x, tensor(np.arange(8) % 3))
        return [p.data.numpy() for p in model.parameters()]

    for one, other in zip(results(lambda step: step), results(dl.cuda.graph), strict=True):
        np.testing.assert_array_equal(one, other)


def test_results_are_the_same_tensors_and_arguments_stay_the_callers():
    weight = tensor(np.arange(3, dtype=np.float32))
    twice = dl.cuda.graph(lambda x, more: {"y": x * weight, "sum": (x + more["z"],)}, warmup=2)
    results = []
    for k in range(5):
        x, z = (tensor(np.full(3, value, np.float32)) for value in (k, 10 * k))
        results.append(twice(x, {"z": z}))
        assert results[-1]["y"].cpu().tolist() == [0, k, 2 * k]
        assert results[-1]["sum"][0].cpu().tolist() == [11 * k] * 3
        assert x.cpu().tolist() == [k] * 3
    assert len({id(result["y"]) for result in results}) == 3
    assert results[2]["y"] is results[4]["y"]


def test_dropout_alone_draws_anew_each_time():
    x = tensor(np.ones(200, np.float32))

    def masks(wrap):
        dl.random.manual_seed(3)
        step = wrap(lambda x: (F.dropout(x, 0.5), F.dropout(x, 0.5)))
        return [tuple(y.cpu().numpy().tobytes() for y in step(x)) for _ in range(4)]

    plain = masks(lambda step: step)
    assert masks(dl.cuda.graph) == plain
    assert len({mask for pair in plain for mask in pair}) == 8


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda x: x.sum().item(), "cannot read an array while a graph is captured on cuda:0"),
        (lambda x: x.cpu(), "cannot read an array while a graph is captured on cuda:0"),
        (
            lambda x: dl.randn(3).to("cuda"),
            "a graph is being captured, which would repeat random numbers that are drawn on the CPU",
        ),
        (lambda x: dl.tensor([1.0]).to("cuda"), "which would repeat these values on cuda:0; give them to the function"),
        (lambda x: dl.cuda.synchronize(), "cannot wait for the device while a graph is captured on cuda:0"),
        (lambda x: dl.cuda.graph(lambda y: y, warmup=1), None),
    ],
)
def test_what_a_captured_function_cannot_do(what, message):
    x = tensor(np.ones(4, np.float32))

    def function(x):
        what(x)
        return x + x

    step = dl.cuda.graph(function)
    step(x)
    for _ in range(2):
        if message is None:
            assert step(x).cpu().tolist() == [2] * 4
            continue
        with pytest.raises(RuntimeError, match=message):
            step(x)
    assert (x + x).cpu().tolist() == [2] * 4  # nothing of the capture is left


def test_a_batch_norm_that_counts_its_batches_is_refused():
    model = nn.BatchNorm1d(3, momentum=None).to("cuda")
    step = dl.cuda.graph(model)
    x = tensor(np.random.default_rng(0).standard_normal((8, 3), np.float32))
    step(x)
    with pytest.raises(RuntimeError, match="which would repeat the share of this batch in running statistics"):
        step(x)
    model.eval()
    assert step(x).cpu().numpy() == pytest.approx(model(x).cpu().numpy())


def test_half_precision():
    """Weights are cast anew in each replay, though autocast around all calls would keep a cast."""
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")

    def results(wrap):
        dl.random.manual_seed(0)
        model, optimizer = mlp(optim.SGD, lr=0.5)()
        x, labels = tensor(np.ones((8, 6), np.float32)), tensor(np.arange(8) % 3)
        losses = wrap(lambda x: F.cross_entropy(model(x), labels).float())
        model.eval()
        with dl.amp.autocast("bfloat16"):
            found = []
            for k in range(5):
                found.append(losses(x).item())
                if k > 0:  # the casts of the call before the capture are still good in it
                    with dl.no_grad():
                        model[3].bias += 0.1 * k * tensor(np.arange(3, dtype=np.float32))
                        model[0].weight *= 1.5
        return found

    plain = results(lambda step: step)
    assert results(dl.cuda.graph) == plain
    assert len(set(plain)) == 4
    scaler = dl.amp.GradScaler()
    step = dl.cuda.graph(lambda x: scaler.scale(x.sum()))
    x = tensor(np.ones(3, np.float32))
    step(x)
    with pytest.raises(RuntimeError, match="would repeat the scale of losses, which follows overflows; bfloat16 needs"):
        step(x)
