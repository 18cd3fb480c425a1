"""Training on a device: arenas, updates, clipping, checkpoints, fit, loaders and commands, beside the CPU's."""

from functools import partial

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import nn, optim, train
from dlfast.kernels.cuda.capture import Graph
from dlfast.kernels.devices import DeviceArray
from dlfast.train.nonfinite import Before

OPTIMIZERS = {
    "sgd": lambda p, **k: optim.SGD(p, lr=0.1, weight_decay=0.01, **k),
    "momentum": lambda p, **k: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, **k),
    "rmsprop": lambda p, **k: optim.RMSprop(p, lr=0.01, momentum=0.5, **k),
    "adagrad": lambda p, **k: optim.Adagrad(p, lr=0.1, lr_decay=0.1, initial_accumulator_value=0.2, **k),
    "adam": lambda p, **k: optim.Adam(p, lr=0.01, weight_decay=0.1, **k),
    "adamw": lambda p, **k: optim.AdamW(p, lr=0.01, maximize=True, **k),
    "nadam": lambda p, **k: optim.NAdam(p, lr=0.01, **k),
    "radam": lambda p, **k: optim.RAdam(p, lr=0.01, betas=(0.9, 0.6), **k),
    "lion": lambda p, **k: optim.Lion(p, lr=0.01, weight_decay=0.1, **k),
}
SHAPES = ((3, 5), (7,), (2, 3, 4), ())


def parameters(place="cpu", shapes=SHAPES):
    """Parameters whose numbers follow from their shapes."""
    draw = np.random.default_rng(0)
    return [nn.Parameter(dl.Tensor(draw.standard_normal(shape).astype(np.float32)).to(place)) for shape in shapes]


def give_gradients(params, step, skipped=()):
    draw = np.random.default_rng(step)
    for i, p in enumerate(params):
        gradient = draw.standard_normal(p.shape).astype(np.float32)
        p.grad = None if i in skipped else dl.Tensor(gradient).to(p.device)


def values(params):
    return [p.detach().cpu().numpy() for p in params]


def gradients(params):
    return [dl.Tensor(p.grad).cpu().numpy() for p in params if p.grad is not None]


def assert_close(ours, wanted, rtol=1e-6):
    for mine, theirs in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol * max(1e-3, np.abs(theirs).max(initial=0)))


def bits(state):
    """A nested state as bytes."""
    if isinstance(state, dict):
        return {name: bits(value) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [bits(value) for value in state]
    return (state.dtype, state.shape, state.tobytes()) if isinstance(state, np.ndarray) else state


class TestOptimizers:
    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_three_steps_are_those_of_the_cpu(self, name):
        there, here = parameters("cuda"), parameters()
        ours, theirs = (OPTIMIZERS[name](params, clip_grad_norm=2.0) for params in (there, here))
        for step in range(3):
            skipped = (1,) if step == 1 else ()  # the arena falls into two stretches then
            give_gradients(there, step, skipped)
            give_gradients(here, step, skipped)
            ours.step()
            theirs.step()
            assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-6)
        assert_close(values(there), values(here))
        state, wanted = ours.state_dict(), theirs.state_dict()
        for number, entry in wanted["state"].items():
            for key, value in entry.items():
                assert_close([np.asarray(state["state"][number][key])], [np.asarray(value)])

    def test_parameters_lie_side_by_side_and_their_gradients_too(self):
        params = parameters("cuda")
        optimizer = optim.SGD(params, lr=0.1)
        first, second = (p.data for p in params[:2])
        assert second.owner is first.owner
        assert second.pointer - first.pointer == 64
        give_gradients(params, 0)
        assert len(optimizer._stretches()) == 1
        assert params[0].grad.owner is params[1].grad.owner

    def test_a_step_of_one_stretch_is_one_kernel(self, monkeypatch, device):
        params = parameters("cuda")
        optimizer = optim.Adam(params)
        give_gradients(params, 0)
        launched = []
        launch = type(device).launch
        monkeypatch.setattr(
            type(device), "launch", lambda self, kernel, *a: launched.append(kernel.name) or launch(self, kernel, *a)
        )
        optimizer.step()
        assert launched == ["optim_adam"]

    def test_large_gradients_are_written_into_the_arena(self, monkeypatch, device):
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(16, 3))
        model.to("cuda")
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        places = [layer.weight._place.array for layer in (model[0], model[1], model[3])]
        written = []
        monkeypatch.setattr(type(places[0]), "__setitem__", lambda self, index, value: written.append(self.shape))
        model(dl.randn(2, 6, 6, 2, device="cuda")).sum().backward()
        monkeypatch.undo()
        assert not {place.shape for place in places} & set(written)  # as it would be by a copy
        assert all(place.numpy().any() for place in places)
        optimizer.step()

    def test_clipping_waits_for_nothing(self, monkeypatch, device):
        params = parameters("cuda")
        optimizer = optim.Adam(params, clip_grad_norm=0.1)
        give_gradients(params, 0)
        monkeypatch.setattr(type(device), "download", None)
        optimizer.step()
        monkeypatch.undo()
        assert optimizer.grad_norm > 1
        assert optimizer.grad_norm == pytest.approx(optimizer.gradient_norm())

    def test_a_nan_reaches_the_weights(self):
        params = parameters("cuda")
        optimizer = optim.SGD(params, lr=0.1, clip_grad_norm=1.0)
        give_gradients(params, 0)
        params[0].grad[0, 0] = np.nan
        optimizer.step()
        assert np.isnan(optimizer.grad_norm)
        assert np.isnan(values(params)[1]).all()

    def test_zero_grad_keeps_the_arrays(self):
        params = parameters("cuda")
        optimizer = optim.SGD(params, lr=0.1)
        give_gradients(params, 0)
        before = [p.grad for p in params]
        optimizer.zero_grad(set_to_none=False)
        assert all(p.grad is g and not g.numpy().any() for p, g in zip(params, before))
        optimizer.zero_grad()
        assert all(p.grad is None for p in params)

    def test_parameters_of_both_devices(self):
        mixed, here = parameters("cuda", SHAPES[:2]) + parameters("cpu", SHAPES[2:]), parameters()
        here = parameters("cpu", SHAPES[:2]) + parameters("cpu", SHAPES[2:])
        ours, theirs = (optim.Adam(params, clip_grad_norm=1.0) for params in (mixed, here))
        for step in range(2):
            for params, optimizer in ((mixed, ours), (here, theirs)):
                give_gradients(params, step)
                optimizer.step()
        assert ours.grad_norm == pytest.approx(theirs.grad_norm)
        assert_close(values(mixed), values(here))
        assert ours.state_dict()["state"].keys() == theirs.state_dict()["state"].keys()

    @pytest.mark.parametrize("by", ["parameters", "optimizer"])
    def test_state_follows_parameters_that_are_moved(self, by):
        moved, still = parameters(), parameters()
        ours, theirs = optim.Adam(moved), optim.Adam(still)
        for step, place in enumerate(["cpu", "cuda", "cuda", "cpu"]):
            if by == "optimizer":
                assert ours.to(place) is ours
            else:
                for p in moved:
                    p._rebind(p.to(place).data)
            for params, optimizer in ((moved, ours), (still, theirs)):
                give_gradients(params, step)
                optimizer.step()
            assert all(p.device.type == place for p in moved)
            assert isinstance(next(ours._blocks[0][0].states_of(0).values().__iter__()), DeviceArray) is (
                place != "cpu"
            )
        assert_close(values(moved), values(still))

    def test_states_go_both_ways_with_the_same_bits(self):
        there, here = parameters("cuda"), parameters()
        ours, theirs = optim.Adam(there), optim.Adam(here)
        give_gradients(there, 0)
        ours.step()
        state = ours.state_dict()
        assert all(type(array) is np.ndarray for array in (state["state"][0]["exp_avg"], state["state"][1]["exp_avg"]))
        theirs.load_state_dict(state)
        assert bits(theirs.state_dict()) == bits(state)
        again = optim.Adam(parameters("cuda"))
        again.load_state_dict(theirs.state_dict())
        assert bits(again.state_dict()) == bits(state)


class TestGraphs:
    """A captured step, whose rates, counts and factors are those of each replay."""

    def step(self, params, optimizer, gradients):
        for p, gradient in zip(params, gradients):
            p.grad = gradient
        optimizer.step()

    @pytest.mark.parametrize("name", ["momentum", "adam", "adamw", "nadam", "radam"])
    def test_replays_are_steps(self, name, device):
        draw, found = np.random.default_rng(0), []
        given = [draw.standard_normal(shape).astype(np.float32) for shape in SHAPES]
        for place in ("cuda", "cpu"):
            params = parameters(place)
            optimizer = OPTIMIZERS[name](params, clip_grad_norm=1.0)
            schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
            gradients = [dl.Tensor(array).to(place) for array in given]
            self.step(params, optimizer, gradients)
            graph = None
            for step in range(3):
                schedule.step()
                optimizer.clip_grad_norm = 2.0 - step / 2
                if place == "cpu":
                    self.step(params, optimizer, gradients)
                else:
                    graph = graph or Graph(device, partial(self.step, params, optimizer, gradients))
                    graph.replay()
            found.append((values(params), optimizer.state_dict()["state"][0]["step"], optimizer.grad_norm))
        assert_close(found[0][0], found[1][0])
        assert found[0][1] == found[1][1] == 4
        assert found[0][2] == pytest.approx(found[1][2], rel=1e-6)

    def test_state_is_not_made_in_a_graph(self, device):
        params = parameters("cuda")
        optimizer = optim.Adam(params)
        give_gradients(params, 0)
        with pytest.raises(RuntimeError, match="take a step before"):
            Graph(device, optimizer.step)
        optimizer.step()


class TestClipping:
    @pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
    def test_norm(self, norm_type):
        there, here = parameters("cuda"), parameters()
        give_gradients(there, 0, skipped=(1,))
        give_gradients(here, 0, skipped=(1,))
        ours, theirs = (optim.clip_grad_norm_(params, 0.5, norm_type) for params in (there, here))
        assert ours == pytest.approx(theirs, rel=1e-6)
        assert_close(gradients(there), gradients(here))

    def test_value(self):
        there, here = parameters("cuda"), parameters()
        for params in (there, here):
            give_gradients(params, 0)
            optim.clip_grad_value_(params, 0.3)
        assert_close(gradients(there), gradients(here))


def rows(count=40, seed=0):
    """Rows of eight numbers in three classes."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 3, count)
    return (draw.standard_normal((count, 8)) + y[:, None]).astype(np.float32), y


def net(seed=0):
    dl.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def fitted(place=None, model=None, data=None, epochs=2, make=optim.Adam, **options):
    """A model and the history of its training."""
    model = net() if model is None else model
    optimizer = make(model.parameters(), lr=0.01)
    options = {"loss": F.cross_entropy, "batch_size": 16, "progress": False, **options}
    history = train.fit(model, rows() if data is None else data, rows(24, 1), epochs=epochs, optimizer=optimizer,
                        device=place, **options)  # fmt: skip
    return model, history


def assert_same_course(ours, theirs, rtol=1e-4):
    for record, wanted in zip(ours.epochs, theirs.epochs, strict=True):
        for name in wanted.keys() - {"seconds", "images_per_second"}:
            assert record[name] == pytest.approx(wanted[name], rel=rtol), name


class TestFit:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"metrics": ["accuracy", "top2", "f1", "perplexity", lambda y, t: np.abs(y).mean()]},
            {"accumulate": 2, "clip_grad_norm": 0.1, "class_weight": "balanced"},
            {"clip_grad_value": 0.01, "regularizers": [optim.regularizers.L2(1e-3), optim.regularizers.L1(1e-4)]},
            {"augment": lambda x: x + dl.random.generator().standard_normal(x.shape, np.float32)},
            {"loss": nn.CrossEntropyLoss(weight=np.array([1, 2, 3], np.float32), label_smoothing=0.1)},
        ],
        ids=["plain", "metrics", "accumulated", "penalties", "augmented", "weighted"],
    )
    def test_the_course_of_the_cpu(self, options):
        model, ours = fitted("cuda", **options)
        assert model[0].weight.device.type == "cuda"
        assert_same_course(ours, fitted(**options)[1])

    def test_a_model_that_lies_there_is_trained_there(self):
        model, ours = fitted(model=net().to("cuda"))
        assert model[0].weight.device.type == "cuda"
        assert_same_course(ours, fitted()[1])
        assert fitted("cpu", model)[0][0].weight.device.type == "cpu"

    def test_numbers_and_other_losses(self):
        x, y = rows()
        data = x, x[:, :1] * 2 + 1
        found = []
        for place in ("cuda", "cpu"):
            model = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1))
            for i, p in enumerate(model.parameters()):
                p.data = np.random.default_rng(i).standard_normal(p.shape).astype(np.float32)
            optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
            schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
            dl.manual_seed(0)
            options = {"scheduler": schedule, "metrics": ["mae", "mse", "r2"], "progress": False, "device": place}
            found.append(train.fit(model, data, epochs=2, loss=F.mse_loss, optimizer=optimizer, **options))
        assert_same_course(*found)

    def test_the_batches_wait_for_no_copy_of_the_targets(self, monkeypatch, device):
        sizes = []
        download = type(device).download
        monkeypatch.setattr(type(device), "download", lambda self, x: sizes.append(x.size) or download(self, x))
        fitted("cuda", epochs=1)
        assert sizes.count(1) >= 6  # of each batch the loss and the norm
        assert 16 * 3 not in sizes  # outputs stay there

    def test_a_loss_that_is_not_finite_is_explained(self):
        x, y = rows()
        x[20, 3] = np.inf
        model = net()
        before = model.state_dict()
        with pytest.raises(train.NonFiniteLoss, match="row 20 of the batch's inputs holds infinity"):
            fitted("cuda", model, (x, y), shuffle=False, epochs=1, batch_size=40)
        assert bits(model.state_dict()) == bits(before)

    def test_a_gradient_that_is_not_finite_is_explained(self):
        class Root(nn.Module):
            def forward(self, x):
                return (x * 0).sqrt() + x

        model = nn.Sequential(nn.Linear(8, 3), Root())
        with pytest.raises(train.NonFiniteLoss, match="the gradient of 0.weight"):
            fitted("cuda", model)

    def test_buffers_are_put_back(self):
        model = nn.Sequential(*(nn.BatchNorm1d(3) for _ in range(3))).to("cuda")
        before, state = Before(model), model.state_dict()
        for _ in range(2):
            before.take()
            for _, buffer in model.named_buffers():
                buffer[...] = 5
            model[0].running_mean = model[0].running_mean * 2
            before.restore()
            assert bits(model.state_dict()) == bits(state)

    def test_early_stopping_gives_the_best_weights_back(self):
        model, history = fitted("cuda", epochs=3, callbacks=[train.EarlyStopping(1, "train_loss", min_delta=9.0)])
        assert len(history) == 2
        assert model[0].weight.device.type == "cuda"

    def test_lr_find_leaves_everything_as_it_was(self):
        found, model = [], net()
        for place in ("cuda", "cpu"):
            model.to(place)
            before = model.state_dict()
            dl.manual_seed(1)
            found.append(train.lr_find(model, rows(), loss=F.cross_entropy, optimizer=optim.SGD(model.parameters()),
                                       steps=12, batch_size=16))  # fmt: skip
            assert bits(model.state_dict()) == bits(before)
        np.testing.assert_allclose(found[0].losses, found[1].losses, rtol=1e-4)

    def test_evaluate_and_predict(self):
        model = net().eval()
        wanted = train.evaluate(model, rows(), loss=F.cross_entropy), train.predict(model, rows()[0])
        model.to("cuda")
        ours = train.evaluate(model, rows(), loss=F.cross_entropy, batch_size=16)
        assert ours == pytest.approx(wanted[0], rel=1e-5)
        outputs = train.predict(model, rows()[0], batch_size=16)
        assert type(outputs) is np.ndarray
        assert_close([outputs], [wanted[1]], 1e-5)

    def test_unknown_devices_change_nothing(self):
        model = net()
        with pytest.raises(RuntimeError, match="cuda:7"):
            fitted("cuda:7", model)
        assert model[0].weight.device.type == "cpu"


class TestCheckpoints:
    def run(self, place, epochs, folder, **options):
        return fitted(place, epochs=epochs, callbacks=[train.Checkpoint(folder, every_steps=2)], **options)

    def test_a_resumed_run_has_the_same_bits(self, tmp_path):
        whole, history = self.run("cuda", 3, tmp_path / "whole")
        self.run("cuda", 1, tmp_path / "cut")
        again, resumed = self.run("cuda", 3, tmp_path / "cut", resume=tmp_path / "cut")
        assert bits(again.state_dict()) == bits(whole.state_dict())
        assert resumed["train_loss"] == history["train_loss"]
        ours, wanted = (dl.load(tmp_path / name / "last.safetensors") for name in ("cut", "whole"))
        assert bits(ours["optimizer"]) == bits(wanted["optimizer"])

    def test_a_run_cut_within_an_epoch_goes_on_with_the_same_bits(self, tmp_path):
        def cut(run):
            if run.steps == 4:
                raise RuntimeError("cut")

        whole, history = self.run("cuda", 2, tmp_path / "whole")
        keep = train.Checkpoint(tmp_path / "cut", every_steps=2)
        with pytest.raises(RuntimeError, match="cut"):
            fitted("cuda", epochs=2, callbacks=[keep, train.LambdaCallback(after_update=cut)])
        again, resumed = self.run("cuda", 2, tmp_path / "cut", resume=tmp_path / "cut")
        assert bits(again.state_dict()) == bits(whole.state_dict())
        assert resumed["val_loss"] == history["val_loss"]

    @pytest.mark.parametrize("places", [("cuda", "cpu"), ("cpu", "cuda")], ids="-".join)
    def test_from_one_device_to_the_other(self, tmp_path, places):
        first, second = places
        model, _ = self.run(first, 1, tmp_path)
        saved = dl.load(tmp_path / "last.safetensors")
        assert bits(saved["model"]) == bits(model.state_dict())
        other = net(1).to(second)
        other.load_state_dict(saved["model"])
        assert bits(other.state_dict()) == bits(model.state_dict())
        _, ours = self.run(second, 2, tmp_path, resume=tmp_path)
        assert_same_course(ours, fitted(first, epochs=2)[1])
