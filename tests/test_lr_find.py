"""The learning-rate range test: its suggestion trains, its picture is drawn, and nothing is changed by it."""

import math

import numpy as np
import pytest
from trainings import bits, make, run, small

import dlfast as dl
from dlfast import functional as F
from dlfast import nn, optim, train
from dlfast.data import DataLoader
from dlfast.serialize import pack


def everything(model, optimizer):
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    state = [model.state_dict(), optimizer.state_dict(), dl.random.get_state(), gradients]
    return bits(pack(state)), [module.training for module in model.modules()]


def find(model, optimizer, data=None, **options):
    return train.lr_find(model, data or small(), optimizer=optimizer, **{"loss": F.cross_entropy, **options})


@pytest.mark.parametrize("rule", [optim.SGD, optim.Adam])
def test_the_suggestion_trains(rule):
    dl.manual_seed(0)
    model, _ = make()
    optimizer = rule(model.parameters(), lr=1.0)
    found = find(model, optimizer, end=100.0)
    assert found.diverged
    assert 1e-4 < found.suggestion < 10
    assert found.rates[0] == 1e-6
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 100
    assert f"falls fastest at {found.suggestion:.2g}" in str(found)
    optimizer.param_groups[0]["lr"] = found.suggestion
    _, history = run(6, model, optimizer)
    assert history["train_loss"][-1] < 0.6 * history["train_loss"][0]


class TestNothingIsChanged:
    def trained(self):
        dl.manual_seed(0)
        model, _ = make()
        groups = [{"params": model[0].parameters()}, {"params": model[4].parameters(), "lr": 0.1}]
        optimizer = optim.Adam(groups, lr=0.01, clip_grad_norm=1.0)
        return model, optimizer

    @pytest.mark.parametrize("steps", [0, 2])
    def test_at_all(self, steps):
        model, optimizer = self.trained()
        if steps:
            run(steps, model, optimizer, batch_size=100)
            F.cross_entropy(model(small().arrays[0][:5]), small().arrays[1][:5]).backward()
        model.eval()
        model[0].train()
        before, norm = everything(model, optimizer), optimizer.grad_norm
        find(model, optimizer, end=100.0)
        assert everything(model, optimizer) == before
        assert optimizer.grad_norm == norm

    def test_a_training_afterwards_has_the_same_bits(self):
        states = []
        for tried in (False, True):
            model, optimizer = self.trained()
            if tried:
                find(model, optimizer, end=100.0)
            run(2, model, optimizer)
            states.append(everything(model, optimizer))
        assert states[0] == states[1]

    def test_after_an_error_or_an_interrupt(self):
        for error in (RuntimeError, KeyboardInterrupt):
            model, optimizer = self.trained()
            before, calls = everything(model, optimizer), []

            def loss(outputs, targets):
                calls.append(1)  # noqa: B023
                if len(calls) > 5:  # noqa: B023
                    raise error  # noqa: B023
                return F.cross_entropy(outputs, targets)

            with pytest.raises(error):
                find(model, optimizer, loss=loss)
            assert everything(model, optimizer) == before

    def test_rates_keep_their_ratio(self):
        model, optimizer = self.trained()
        rates = []

        class Look(nn.Module):
            def forward(self, outputs, targets):
                rates.append([group["lr"] for group in optimizer.param_groups])
                return F.cross_entropy(outputs, targets)

        found = find(model, optimizer, loss=Look(), start=1e-4, end=1e-2, steps=21)
        np.testing.assert_allclose(rates, np.stack([found.rates, found.rates * 10], 1))
        np.testing.assert_allclose(found.rates[::10], [1e-4, 1e-3, 1e-2])


def test_rates_at_which_nothing_is_learned():
    model, optimizer = make(dropout=0.0)
    found = find(model, optimizer, DataLoader(small(), 200), start=1e-30, end=1e-20, steps=20)
    assert (found.suggestion, found.diverged) == (None, False)
    assert "the loss falls at none of them" in str(found)


def test_augmented_batches_and_ignored_targets():
    x, y = small().arrays
    y = y.copy()
    y[:64] = -100
    seen = []

    def augment(batch):
        seen.append(len(batch))
        return batch

    found = find(*make(), data=(x, y), augment=augment, shuffle=False, steps=10, end=1e-3)
    assert len(found.losses) == 10
    assert all(map(math.isfinite, found.losses))
    assert len(seen) == 10 + 2 * 2  # the first two batches of each of the two passes count nothing
    with pytest.raises(ValueError, match="no target of train counts"):
        find(*make(), data=(x, np.full(200, -100)))


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    for name, end in (("curve.png", 100.0), ("flat.svg", 1e-5)):
        find(*make(), end=end).plot(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 3000


def test_bad_input():
    model, optimizer = make()
    for options, error, words in (
        ({"loss": None}, TypeError, "lr_find: loss is missing"),
        ({"optimizer": None}, TypeError, "lr_find: optimizer is missing"),
        ({"start": 0.0}, ValueError, "lr_find: start must be"),
        ({"start": 1.0, "end": 0.1}, ValueError, "lr_find: end must be"),
        ({"steps": 3}, ValueError, "lr_find: steps must be at least 10"),
        ({"stop": 1.0}, ValueError, "lr_find: stop must be"),
        ({"augment": 3}, TypeError, "lr_find: augment must be"),
        ({"loss": lambda o, t: F.cross_entropy(o, t) * float("nan")}, ValueError, "first batch is NaN or infinite"),
    ):
        before = everything(model, optimizer)
        with pytest.raises(error, match=words):
            train.lr_find(model, small(), **{"loss": F.cross_entropy, "optimizer": optimizer, **options})
        assert everything(model, optimizer) == before
