"""What fit does between the losses and the optimizer: schedules, accumulation, clipping, penalties, weights of classes,
augmentation; and that all of it is checked before anything changes."""

import functools
import math

import numpy as np
import pytest
from trainings import bits, exact, make, run, small

import dlfast as dl
from dlfast import functional as F
from dlfast import nn, optim, train
from dlfast.data import ArrayDataset, DataLoader, Subset

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(22, 4)).astype(np.float32), RNG.integers(0, 3, 22)


def net(seed=0):
    dl.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def fit(data=(X, Y), rule=optim.SGD, lr=0.5, **options):
    """The model trained for 2 epochs, and its history."""
    model = net()
    optimizer = rule(model.parameters(), lr=lr)
    if callable(options.get("scheduler")):
        options["scheduler"] = options["scheduler"](optimizer)
    options = {"epochs": 2, "batch_size": 4, "loss": F.cross_entropy, "shuffle": False, "progress": False} | options
    return model, train.fit(model, data, optimizer=optimizer, **options)


def weights(*arguments, **options):
    return np.concatenate([p.data.ravel() for p in fit(*arguments, **options)[0].parameters()])


class Script:
    """A scheduler that notes when it steps, and halves the rate."""

    def __init__(self, optimizer):
        self.optimizer, self.calls = optimizer, 0

    def step(self):
        self.calls += 1
        for group in self.optimizer.param_groups:
            group["lr"] /= 2

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


class Plateau(optim.lr_scheduler.ReduceLROnPlateau):
    def step(self, metrics):
        self.optimizer.seen.append(metrics)
        super().step(metrics)


class TestScheduler:
    @pytest.mark.parametrize(("every", "accumulate", "calls"), [("epoch", 1, 2), ("batch", 1, 12), ("batch", 4, 4)])
    def test_steps(self, every, accumulate, calls):
        made = []
        fit(scheduler=lambda o: made.append(Script(o)) or made[0], scheduler_step=every, accumulate=accumulate)
        assert made[0].calls == calls

    def test_the_rates_of_updates(self):
        rates = []

        class Look(train.Callback):
            def on_batch_end(self, run):
                rates.append(run.optimizer.param_groups[0]["lr"])

        fit(scheduler=Script, lr=8.0, callbacks=[Look()])
        assert rates == [8.0] * 6 + [4.0] * 6
        rates.clear()
        fit(scheduler=Script, scheduler_step="batch", lr=8.0, callbacks=[Look()], epochs=1)
        assert rates == [8.0, 4.0, 2.0, 1.0, 0.5, 0.25]

    def test_a_plateau_gets_the_loss_that_is_watched(self):
        for val, column in ((None, "train_loss"), ((X, Y), "val_loss")):
            model = net()
            optimizer = optim.SGD(model.parameters(), lr=0.5)
            optimizer.seen = []
            history = train.fit(
                model, (X, Y), val, epochs=3, loss=F.cross_entropy, optimizer=optimizer, progress=False,
                scheduler=Plateau(optimizer, patience=0, threshold=10.0),
            )  # fmt: skip
            assert optimizer.seen == history[column]
            assert optimizer.param_groups[0]["lr"] < 0.1

    def test_of_the_library(self):
        """One cycle over the updates of the run, as by hand."""
        made = []
        fit(
            scheduler=lambda o: made.append(optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=12)) or made[0],
            scheduler_step="batch",
        )
        assert made[0].last_epoch == 12

    def test_bad_input(self):
        model, other = net(), net()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        foreign = Script(optim.SGD(other.parameters(), lr=0.1))
        for scheduler, every, error, words in (
            (Script, "epoch", TypeError, "scheduler must be made of the optimizer"),
            (lambda epoch: 0.1, "epoch", TypeError, "scheduler must be made of the optimizer"),
            (foreign, "epoch", ValueError, "made of another optimizer"),
            (Script(optimizer), "step", ValueError, "scheduler_step must be one of 'epoch', 'batch'"),
            (optim.lr_scheduler.ReduceLROnPlateau(optimizer), "batch", ValueError, "goes by the loss of an epoch"),
        ):
            before = bits(model.state_dict())
            with pytest.raises(error, match=words):
                train.fit(
                    model, (X, Y), loss=F.cross_entropy, optimizer=optimizer, scheduler=scheduler,
                    scheduler_step=every, progress=False,
                )  # fmt: skip
            assert bits(model.state_dict()) == before


class TestAccumulate:
    @pytest.mark.parametrize(("size", "count"), [(4, 3), (4, 2), (3, 4), (5, 2), (4, 99), (22, 2)])
    def test_equals_larger_batches(self, size, count):
        """The last batches are smaller, or the last group is, or both."""
        expected = weights(batch_size=size * count)
        np.testing.assert_allclose(weights(batch_size=size, accumulate=count), expected, rtol=2e-4, atol=1e-6)
        assert not np.allclose(expected, weights(batch_size=size), rtol=2e-4) or size == 22

    @pytest.mark.parametrize("kind", ["ignored", "weights"])
    def test_batches_count_by_what_their_targets_weigh(self, kind):
        y = Y.copy()
        loss = F.cross_entropy
        if kind == "ignored":
            y[3:10] = -100  # the second batch whole
        else:
            loss = nn.CrossEntropyLoss(weight=np.array([0.1, 1, 7], np.float32))
        expected = weights((X, y), batch_size=12, loss=loss)
        np.testing.assert_allclose(weights((X, y), accumulate=3, loss=loss), expected, rtol=2e-4, atol=1e-6)

    def test_a_group_of_ignored_targets_updates_nothing(self):
        steps, y = [], Y.copy()
        y[:8] = -100

        class Look(train.Callback):
            def on_batch_end(self, run):
                steps.append(run.steps)

        fit((X, y), accumulate=2, callbacks=[Look()], epochs=1)
        assert steps == [0, 0, 0, 1, 1, 2]

    def test_an_interrupted_group_is_dropped(self):
        class Press(train.Callback):
            def on_batch_end(self, run):
                if run.batch == 1:
                    raise KeyboardInterrupt

        model, history = fit(accumulate=3, callbacks=[Press()])
        assert history.stopped == "interrupted"
        assert bits(model.state_dict()) == bits(net().state_dict())

    def test_bad_input(self):
        for value in (0, -1, 1.5, None):
            with pytest.raises((ValueError, TypeError), match="accumulate"):
                fit(accumulate=value)


class TestClipping:
    def by_hand(self, clip):
        model = net()
        optimizer = optim.SGD(model.parameters(), lr=0.5)
        for start in (0, 4, 8, 12, 16, 20) * 2:
            optimizer.zero_grad()
            F.cross_entropy(model(X[start : start + 4]), Y[start : start + 4]).backward()
            clip(list(model.parameters()))
            optimizer.step()
        return np.concatenate([p.data.ravel() for p in model.parameters()])

    def test_norm(self):
        expected = self.by_hand(lambda p: optim.clip_grad_norm_(p, 0.1))
        np.testing.assert_allclose(weights(clip_grad_norm=0.1), expected, rtol=1e-5, atol=1e-7)
        assert not np.allclose(weights(), expected)

    def test_value(self):
        expected = self.by_hand(lambda p: optim.clip_grad_value_(p, 0.01))
        np.testing.assert_array_equal(weights(clip_grad_value=0.01), expected)

    def test_both(self):
        def clip(p):
            optim.clip_grad_value_(p, 0.05)
            optim.clip_grad_norm_(p, 0.1)

        found = weights(clip_grad_value=0.05, clip_grad_norm=0.1)
        np.testing.assert_allclose(found, self.by_hand(clip), rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize("options", [{}, {"clip_grad_norm": 0.1}])
    def test_one_pass_finds_what_is_not_finite_and_the_norm(self, monkeypatch, options):
        norms, pass_over = [], optim.Optimizer.gradient_norm

        def noting(optimizer):
            norms.append(pass_over(optimizer))
            return norms[-1]

        monkeypatch.setattr(optim.Optimizer, "gradient_norm", noting)
        seen = train.LambdaCallback(on_batch_end=lambda run: told.append(run.optimizer.grad_norm))
        told = []
        fit(callbacks=[seen], **options)
        assert len(norms) == 12
        assert told == (norms if options else [None] * 12)

    def test_a_step_of_the_users_own(self):
        """What it does to the gradients counts in their norm."""

        class Doubled(optim.SGD):
            def step(self, closure=None):
                for p in self.param_groups[0]["params"]:
                    p.grad *= 2
                return super().step(closure)

        def clip(p):
            for each in p:
                each.grad *= 2
            optim.clip_grad_norm_(p, 0.1)

        found = weights(rule=Doubled, clip_grad_norm=0.1)
        np.testing.assert_allclose(found, self.by_hand(clip), rtol=1e-5, atol=1e-7)

    def test_the_optimizer_is_as_before(self):
        model = net()
        optimizer = optim.SGD(model.parameters(), lr=0.5, clip_grad_norm=3.0)
        train.fit(model, (X, Y), loss=F.cross_entropy, optimizer=optimizer, clip_grad_norm=0.1, progress=False)
        assert optimizer.clip_grad_norm == 3.0
        assert optimizer.grad_norm is not None

    def test_bad_input(self):
        for name in ("clip_grad_norm", "clip_grad_value"):
            for value in (0, -1.0, math.nan, "1"):
                with pytest.raises((ValueError, TypeError), match=name):
                    fit(**{name: value})


class TestRegularizers:
    def penalty(self, parameters):
        return sum((p * p).sum() for p in parameters) * 0.01

    def test_equals_a_penalty_in_the_loss(self):
        by_hand = net()
        optimizer = optim.SGD(by_hand.parameters(), lr=0.5)
        data_losses, penalties = [], []
        for start in (0, 4, 8, 12, 16, 20):
            optimizer.zero_grad()
            loss, penalty = (
                F.cross_entropy(by_hand(X[start : start + 4]), Y[start : start + 4]),
                self.penalty(list(by_hand.parameters())),
            )
            (loss + penalty).backward()
            optimizer.step()
            data_losses.append((loss.item(), len(X[start : start + 4])))
            penalties.append(penalty.item())
        found, history = fit(regularizers=[self.penalty], epochs=1)
        for a, b in zip(found.parameters(), by_hand.parameters(), strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-4, atol=1e-6)
        assert history["train_loss"][0] == pytest.approx(sum(v * n for v, n in data_losses) / 22, rel=1e-5)
        assert history["train_penalty"][0] == pytest.approx(np.mean(penalties), rel=1e-5)
        assert list(history.epochs[0])[:3] == ["train_loss", "train_accuracy", "train_penalty"]

    @pytest.mark.parametrize("accumulate", [1, 3])
    def test_of_the_library(self, accumulate):
        """L2 is the penalty that is written by hand, and both are added where there are two."""
        l2, l1 = optim.regularizers.L2(0.01, weights_only=False), optim.regularizers.L1(0.02, weights_only=False)
        np.testing.assert_allclose(
            weights(regularizers=l2, accumulate=accumulate),
            weights(regularizers=self.penalty, accumulate=accumulate), rtol=1e-4, atol=1e-6,
        )  # fmt: skip

        def both(parameters):
            return self.penalty(parameters) + sum(p.abs().sum() for p in parameters) * 0.02

        np.testing.assert_allclose(
            weights(regularizers=[l2, l1], accumulate=accumulate),
            weights(regularizers=both, accumulate=accumulate), rtol=1e-4, atol=1e-6,
        )  # fmt: skip

    def test_counts_once_an_update(self):
        expected = weights(batch_size=12, regularizers=self.penalty)
        found = weights(accumulate=3, regularizers=[self.penalty])
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)
        assert not np.allclose(found, weights(accumulate=3), rtol=2e-4)

    def test_bad_input(self):
        class L2:
            def __call__(self, parameters):
                return None

        for value in ([L2], [0.1], L2):
            with pytest.raises(TypeError, match="regularizers must be made"):
                fit(regularizers=value)
        with pytest.raises(TypeError, match="a regularizer must give a Tensor of one number"):
            fit(regularizers=L2())


class TestClassWeight:
    counts = np.bincount(Y, minlength=3)
    balanced = (len(Y) / (3 * counts)).astype(np.float32)

    @pytest.mark.parametrize(
        ("loss", "data"),
        [
            (F.cross_entropy, (X, Y)),
            (nn.CrossEntropyLoss(), ArrayDataset(X, Y)),
            (functools.partial(F.cross_entropy, label_smoothing=0.0), Subset(ArrayDataset(X, Y), np.arange(22))),
            (F.cross_entropy, DataLoader(ArrayDataset(X, Y), 4)),
            (F.cross_entropy, [(X[i : i + 4], Y[i : i + 4]) for i in range(0, 22, 4)]),
        ],
    )
    def test_balanced(self, loss, data):
        model, history = fit(data, loss=loss, class_weight="balanced")
        expected, wanted = fit(loss=nn.CrossEntropyLoss(self.balanced))
        assert bits(model.state_dict()) == bits(expected.state_dict())
        assert exact(history) == exact(wanted)
        given, _ = fit(data, loss=loss, class_weight=self.balanced)
        assert bits(given.state_dict()) == bits(expected.state_dict())
        if isinstance(loss, nn.Module):
            assert loss.weight is None

    def test_it_is_scikit_learns(self):
        utils = pytest.importorskip("sklearn.utils.class_weight")
        expected = utils.compute_class_weight("balanced", classes=np.arange(3), y=Y)
        np.testing.assert_allclose(self.balanced, expected, rtol=1e-6)

    def test_rows_that_are_read_one_by_one(self):
        class Rows:
            def __len__(self):
                return 22

            def __getitem__(self, i):
                return X[i] * dl.random.generator().choice([1.0, 1.0]).astype(np.float32), Y[int(i)]

        model, _ = fit(Rows(), class_weight="balanced")
        expected, _ = fit(loss=nn.CrossEntropyLoss(self.balanced))
        np.testing.assert_allclose(model[0].weight.data, expected[0].weight.data, rtol=1e-5)

    def test_classes_that_do_not_occur_and_labels_that_do_not_count(self):
        y = np.where(Y == 2, 1, Y)
        y[:4] = -100
        two = (18 / (2 * np.bincount(y[4:]))).astype(np.float32)
        expected = weights((X, y), loss=nn.CrossEntropyLoss(np.append(two, np.float32(1))))
        np.testing.assert_array_equal(weights((X, y), class_weight="balanced"), expected)

    def test_validation_is_weighted_alike(self):
        model, history = fit(val=(X, Y), class_weight=self.balanced)
        expected = train.evaluate(model, (X, Y), loss=nn.CrossEntropyLoss(self.balanced))["loss"]
        assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize(
        ("loss", "given", "error", "words"),
        [
            (F.mse_loss, "balanced", TypeError, "class_weight goes with the losses .* got mse_loss"),
            (lambda o, y: F.cross_entropy(o, y), "balanced", TypeError, "weigh the classes in the loss itself"),
            (nn.CrossEntropyLoss(np.ones(3, np.float32)), "balanced", ValueError, "weight of its own"),
            (F.cross_entropy, "even", ValueError, '"balanced" or an array'),
            (F.cross_entropy, [1.0, -1.0, 1.0], ValueError, "at least 0 for each class"),
            (F.cross_entropy, [[1.0, 1.0, 1.0]], ValueError, "at least 0 for each class"),
            (F.cross_entropy, ["a"], TypeError, "must hold numbers"),
            (F.cross_entropy, [1.0, 1.0], ValueError, "class_weight has 2 weights"),
        ],
    )
    def test_bad_input(self, loss, given, error, words):
        with pytest.raises(error, match=words):
            fit(loss=loss, class_weight=given)

    def test_targets_that_are_no_classes(self):
        with pytest.raises(ValueError, match="counts integer targets, got targets of dtype float32"):
            fit((X, np.eye(3, dtype=np.float32)[Y]), class_weight="balanced")


class TestAugment:
    def test_training_batches_alone(self):
        seen = []

        def noise(x):
            seen.append(len(x))
            return x + dl.random.generator().normal(size=x.shape).astype(np.float32)

        model, history = fit(val=(X, Y), augment=noise)
        assert seen == [4, 4, 4, 4, 4, 2] * 2
        assert train.evaluate(model, (X, Y), loss=F.cross_entropy)["loss"] == history["val_loss"][-1]
        again, _ = fit(val=(X, Y), augment=noise)
        assert bits(again.state_dict()) == bits(model.state_dict()) != bits(fit()[0].state_dict())

    def test_prefetching_changes_no_bit(self):
        def noise(x):
            return x + dl.random.generator().normal(size=x.shape).astype(np.float32)

        loaders = [DataLoader(ArrayDataset(X, Y), 4, shuffle=True, prefetch=prefetch) for prefetch in (False, True)]
        one, two = (bits(fit(loader, augment=noise)[0].state_dict()) for loader in loaders)
        assert one == two

    def test_bad_input(self):
        with pytest.raises(TypeError, match="augment must be made"):
            fit(augment=dict)
        with pytest.raises(TypeError, match="augment must be a function"):
            fit(augment=3)
        with pytest.raises(ValueError, match=r"as many rows as it gets, got \(2, 4\) for \(4, 4\)"):
            fit(augment=lambda x: x[:2])


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_gradient_that_is_not_finite_stops_before_the_update():
    model, optimizer = make()
    before = bits(model.state_dict())

    def loss(outputs, targets):  # sqrt(0) is 0, its slope is infinite
        return F.cross_entropy(outputs, targets) + ((outputs - outputs).sum() ** 0.5)

    with pytest.raises(train.NonFiniteLoss, match="batch 1 in epoch 1"):
        run(1, model, optimizer, small(), loss=loss)
    after = bits(model.state_dict())
    assert {name: after[name] for name, _ in model.named_parameters()} == {
        name: before[name] for name, _ in model.named_parameters()
    }
