"""Batches on their way to a device, and what looks at models there: loaders, inspections, estimators, commands."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import dlfast as dl
from dlfast import data, inspect, nn, optim, train
from dlfast import functional as F
from dlfast.cli import main
from dlfast.kernels.cuda.pinned import pinned_owner


class Squares(data.Dataset):
    """Rows by number, one of them broken if asked for; with `noise` they draw random numbers."""

    def __init__(self, broken=None, noise=False):
        self.broken, self.noise = broken, noise

    def __len__(self):
        return 10

    def __getitem__(self, i):
        if i == self.broken:
            raise OSError(f"row {i} is broken")
        noise = dl.random.generator().standard_normal() if self.noise else 0.0
        return {"x": np.full(3, i + noise, np.float32), "name": str(i)}, i * i


def arrays():
    return data.ArrayDataset(np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10))


def numbers(batch):
    """A batch as nested lists."""
    if isinstance(batch, tuple):
        return [numbers(part) for part in batch]
    if isinstance(batch, dict):
        return {key: numbers(part) for key, part in batch.items()}
    return (batch.cpu().numpy() if isinstance(batch, dl.Tensor) else batch).tolist()


class TestLoader:
    @pytest.mark.parametrize("prefetch", [0, 2])
    @pytest.mark.parametrize("dataset", [arrays, Squares, lambda: Squares(noise=True)], ids=["arrays", "rows", "drawn"])
    def test_batches_are_those_without_a_device(self, dataset, prefetch):
        found = []
        for options in ({}, {"device": "cuda"}, {"pin": True}):
            dl.manual_seed(3)
            loader = data.DataLoader(dataset(), 4, shuffle=True, prefetch=prefetch, **options)
            passes = []
            for _ in range(2):
                for batch in loader:
                    passes.append(numbers(batch))
                    dl.random.generator().random()  # as dropout does between batches
            found.append(passes)
        assert found[0] == found[1] == found[2]

    def test_they_lie_on_the_device(self):
        loader = data.DataLoader(arrays(), 4, device="cuda")
        for x, y in loader:
            assert isinstance(x, dl.Tensor)
            assert x.device.type == y.device.type == "cuda"
            assert x.dtype == np.float32
        for x, _ in data.DataLoader(arrays(), 4, device="cpu"):
            assert type(x) is np.ndarray

    def test_pinned_batches_lie_in_pinned_memory(self):
        for x, y in data.DataLoader(arrays(), 4, pin=True):
            assert type(x) is np.ndarray
            if dl.cuda.is_available() and not dl.cuda._playing.playing():
                assert pinned_owner(x) is not None
                assert pinned_owner(y) is not None

    def test_an_error_comes_at_its_batch(self):
        for prefetch in (0, 2):
            batches = iter(data.DataLoader(Squares(broken=5), 2, device="cuda", prefetch=prefetch))
            assert len([next(batches), next(batches)]) == 2
            with pytest.raises(OSError, match="row 5 is broken"):
                next(batches)

    def test_a_pass_that_is_left_early_ends(self):
        loader = data.DataLoader(arrays(), 2, device="cuda")
        for _ in range(3):
            next(iter(loader))
        assert len(list(loader)) == 5

    def test_without_a_gpu(self):
        with dl.cuda.host(False):
            if dl.cuda.is_available():
                pytest.skip("there is a GPU")
            with pytest.warns(UserWarning, match="pin=True has no effect: cuda cannot be used"):
                loader = data.DataLoader(arrays(), 4, pin=True)
            assert len(list(loader)) == 3
            with pytest.raises(RuntimeError, match="cuda cannot be used"):
                data.DataLoader(arrays(), 4, device="cuda")

    def test_fit_takes_batches_of_either_side(self):
        x, y = np.random.default_rng(0).standard_normal((24, 4)).astype(np.float32), np.arange(24) % 3
        found = []
        for make in (
            lambda: (x, y),
            lambda: (dl.Tensor(x).to("cuda"), dl.Tensor(y).to("cuda")),
            lambda: data.DataLoader(data.ArrayDataset(x, y), 8, device="cuda"),
            lambda: [(dl.Tensor(x[i : i + 8]).to("cuda"), dl.Tensor(y[i : i + 8]).to("cuda")) for i in (0, 8, 16)],
        ):
            dl.manual_seed(0)
            model = nn.Linear(4, 3)
            options = {"optimizer": optim.SGD(model.parameters(), lr=0.1), "progress": False, "device": "cuda"}
            history = train.fit(model, make(), batch_size=8, epochs=2, loss=F.cross_entropy, shuffle=False, **options)
            found.append([history["train_loss"], history["train_accuracy"]])
        assert found[0] == found[1] == found[2] == found[3]
        assert np.array_equal(train.predict(model, dl.Tensor(x).to("cuda")), train.predict(model, x))


class TestInspect:
    def test_what_looks_at_a_model_looks_at_one_of_a_device(self, tmp_path):
        draw = np.random.default_rng(0)
        x, y = draw.standard_normal((60, 6, 6, 1)).astype(np.float32), np.arange(60) % 2
        dl.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
        loss, optimizer = nn.CrossEntropyLoss(weight=np.ones(2, np.float32)), optim.SGD(model.parameters(), lr=0.1)

        def looked():
            return [
                str(inspect.summary(model, (1, 6, 6, 1))),
                str(inspect.check_initial_loss(model, (x, y), loss)),
                str(inspect.gradient_flow(model, (x, y), loss, optimizer=optimizer)),
                str(inspect.dead_units(model, (x, y))),
                str(inspect.activations(model, (x, y))),
                str(inspect.weights(model)),
                str(inspect.filters(model)),
                str(inspect.confusion_matrix(model, (x, y))),
                str(inspect.doctor(model, (x, y), loss=loss, optimizer=optimizer)),
            ]

        wanted = looked()
        model.to("cuda")
        loss.to("cuda")
        assert looked() == wanted
        assert model[0].weight.device.type == "cuda"


def test_estimators():
    sklearn = pytest.importorskip("dlfast.sklearn", reason="scikit-learn is not installed")
    draw = np.random.default_rng(0)
    x = draw.standard_normal((60, 3)).astype(np.float32)
    y = (x.sum(axis=1) > 0).astype(int)
    options = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0, "tol": 0.0}
    weight = draw.random(60)
    for kind, targets in ((sklearn.NetClassifier, y), (sklearn.NetRegressor, x[:, 0] * 2)):
        ours, theirs = (kind(**options, device=place) for place in ("cuda", None))
        for each in (ours, theirs):
            with pytest.warns(UserWarning, match="has not converged"):
                each.fit(x, targets, sample_weight=weight)
        assert next(ours.module_.parameters()).device.type == "cuda"
        np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-4)
        np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-3, atol=1e-4)
        again = pickle.loads(pickle.dumps(ours))
        assert next(again.module_.parameters()).device.type == "cpu"
        np.testing.assert_allclose(again.predict(x), ours.predict(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="cuda:5"):
        sklearn.NetClassifier(device="cuda:5").fit(x, y)


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


class TestCommands:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        draw = np.random.default_rng(0)
        y = np.arange(40) % 2
        x = (draw.standard_normal((40, 4, 4, 1)) + y[:, None, None, None]).astype(np.float32)
        np.savez("images.npz", x=x, y=y)
        (tmp_path / "text.txt").write_text("in the beginning was the word and the word was here. " * 30)

    def test_train_evaluate_and_predict(self):
        common = ("train", "mlp", "--data", "images.npz", "--epochs", 2, "--batch-size", 16, "--set", "hidden=8")
        said = call(*common, "--device", "cuda", "--out", "there")
        assert "updates on cuda" in said
        call(*common, "--out", "here")
        last = [Path(name, "history.csv").read_text().splitlines()[-1].split(",")[1:5] for name in ("there", "here")]
        np.testing.assert_allclose(*(np.array(line, float) for line in last), rtol=1e-3)
        assert 'device = "cuda"' in Path("there/config.toml").read_text()
        call("train", "--config", "there/config.toml", "--out", "again")
        lines = [Path(name, "history.csv").read_text().splitlines()[-1].split(",")[:5] for name in ("again", "there")]
        assert lines[0] == lines[1]
        call("train", "mlp", "--out", "there", "--resume", "--epochs", 3, "--device", "cpu")
        found = [json.loads(call("evaluate", "here", "--device", place, "--json", "-")) for place in ("cuda", "cpu")]
        assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-4)
        rows = [json.loads(call("predict", "here", "--device", place, "--json", "-")) for place in ("cuda", "cpu")]
        assert [row["class"] for row in rows[0]] == [row["class"] for row in rows[1]]

    def test_text(self):
        call("train", "char_gru", "--data", "text.txt", "--steps", 2, "--batch-size", 2, "--set", "hidden_size=8",
             "--set", "num_layers=1", "--device", "cuda", "--out", "writer")  # fmt: skip
        written = [call("generate", "writer", "--prompt", "in", "--length", 5, "--seed", 1, "--device", place)
                   for place in ("cuda", "cpu")]  # fmt: skip
        assert written[0] == written[1]

    def test_remember(self):
        said = [call("remember", "--steps", 4, "--updates", 2, "--device", place) for place in ("cuda", "cpu")]
        assert said[0] == said[1]

    def test_forecast(self, monkeypatch):
        from dlfast.commands import forecast

        times, values = np.arange(200.0), np.sin(np.arange(200)).astype(np.float32)
        monkeypatch.setattr(forecast, "series", lambda name: (times, values))
        said = [call("forecast", "--epochs", 1, "--layer", "GRU", "--device", place) for place in ("cuda", "cpu")]
        assert said[0] == said[1]

    def test_demo(self, monkeypatch):
        from dlfast.commands import demo

        monkeypatch.setattr(demo, "_BATCH", 2)
        monkeypatch.setattr(demo, "_PLAYED", (8, 4))
        monkeypatch.setattr(demo, "ROUNDS", 1)
        said = call("demo", "--epochs", 1, "--batch-size", 4, "--device", "cuda", "--json", "out.json")
        assert "on cuda" in said
        assert json.loads(Path("out.json").read_text())["step_ms"]["cuda"] > 0

    def test_what_there_is_not(self):
        with dl.cuda.host(False):
            if dl.cuda.is_available():
                pytest.skip("there is a GPU")
            run = ("train", "mlp", "--data", "images.npz")
            of_runs = ("evaluate", "nowhere"), ("predict", "nowhere"), ("generate", "nowhere", "--prompt", "a")
            for arguments in (("demo",), run, ("remember",), ("forecast",), *of_runs):
                assert "cuda cannot be used: " in call(*arguments, "--device", "cuda", code=1)
        assert "must be 'cpu', 'cuda'" in call("demo", "--device", "gpu", code=1)
