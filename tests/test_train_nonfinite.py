"""A loss or gradient that is not finite: what is named, what is advised, and that the model is as before the batch."""

import numpy as np
import pytest
from trainings import bits

import dlfast as dl
from dlfast import functional as F
from dlfast import nn, optim, train

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 4)).astype(np.float32), RNG.integers(0, 3, 12)


class Scale(nn.Module):
    def __init__(self, factor):
        self.factor = np.float32(factor)

    def forward(self, x):
        return x * self.factor


class Logarithm(nn.Module):
    def forward(self, x):
        return F.relu(x).log()


class Sometimes(nn.Module):
    """NaN where it draws so."""

    def forward(self, x):
        return x * np.float32(np.nan if dl.random.generator().random() > 0.6 else 1)


def net(*after):
    dl.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), *after, nn.Linear(6, 3))


class Watch(train.Callback):
    """The state after each batch."""

    def __init__(self, model):
        self.model, self.states = model, [bits(model.state_dict())]

    def on_batch_end(self, run):
        self.states.append(bits(self.model.state_dict()))


def failure(model, x=X, y=Y, loss=F.cross_entropy, lr=0.1, batch=None, **options):
    """The error, when weights and buffers are those before the batch."""
    watch = Watch(model)
    optimizer = optim.SGD(model.parameters(), lr=lr)
    options = {"batch_size": 4, "shuffle": False, "progress": False, "callbacks": [watch]} | options
    with pytest.raises(train.NonFiniteLoss, match="the weights are those before") as caught:
        train.fit(model, (x, y), loss=loss, optimizer=optimizer, epochs=20, **options)
    assert bits(model.state_dict()) == watch.states[-1]
    if batch is not None:
        assert len(watch.states) == batch
    assert all(module._hooks is None for module in model.modules())
    assert model.training
    return caught.value


pytestmark = pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")


def test_a_layer_that_overflows():
    error = failure(net(Scale(1e30), nn.Sequential(nn.Tanh(), Scale(1e30), Scale(1e30)), nn.ReLU()))
    assert error.layer == "4.2"
    assert "the loss of batch 1 in epoch 1 is nan: the first layer that gave infinity was 4.2 (Scale)" in str(error)
    assert "smaller learning rate" in str(error)


def test_a_layer_that_takes_the_logarithm_of_0():
    error = failure(net(Logarithm()))
    assert "was 3 (Logarithm), from inputs and weights of up to " in str(error)
    assert "Look there for the logarithm" in str(error)


def test_what_the_model_does_between_layers():
    class Own(nn.Module):
        def __init__(self):
            self.inner = net()

        def forward(self, x):
            return self.inner(x * np.float32(1e38) * np.float32(1e38) * 0)

    error = failure(Own())
    assert error.layer == ""
    assert "was the model itself (Own)" in str(error)


def test_random_numbers_are_drawn_again():
    for seed in range(5):
        model = net(Sometimes())
        dl.manual_seed(seed)
        assert failure(model).layer == "3"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_data(bad):
    x = X.copy()
    x[6, 1] = bad
    error = failure(net(), x, batch=2)
    assert error.layer is None
    assert "the loss of batch 2 in epoch 1 is nan: the data are at fault, row 2 of the batch's inputs holds" in str(
        error
    )
    y = RNG.normal(size=(12, 3)).astype(np.float32)
    y[9, 0] = bad
    error = failure(net(), X, y, loss=F.mse_loss, batch=3)
    assert "row 1 of the batch's targets holds" in str(error)


def test_weights():
    model = net()
    model[3].weight.data[1, 1] = np.nan
    error = failure(model, batch=1)
    assert error.layer == "3.weight"
    assert "the parameter 3.weight held NaN already" in str(error)


def test_the_loss():
    error = failure(net(), loss=lambda outputs, y: (F.relu(outputs) * 0).log().mean())
    assert error.layer is None
    assert "so the loss function made it" in str(error)


def test_a_rate_that_is_too_large():
    dl.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 1))
    error = failure(model, X, X[:, :1], loss=F.mse_loss, lr=1e4)
    assert "smaller learning rate" in str(error)
    assert all(np.isfinite(p.data).all() for p in model.parameters())


def test_a_gradient():
    class Root(nn.Module):
        def forward(self, x):
            return (x * 0) ** 0.5

    error = failure(net(nn.Linear(6, 6), Root()), batch=1)
    assert error.layer in ("3.weight", "3.bias")
    assert "a gradient of batch 1 in epoch 1 is not finite: in the backward pass the gradient of 3." in str(error)


def test_a_gradient_of_several_batches():
    class Root(nn.Module):
        def forward(self, x):
            return (x * 0) ** 0.5

    watched = net(nn.Linear(6, 6), Root())
    before = {name: p.data.tobytes() for name, p in watched.named_parameters()}
    with pytest.raises(train.NonFiniteLoss, match="a gradient of batch 2"):
        train.fit(
            watched, (X, Y), loss=F.cross_entropy, optimizer=optim.SGD(watched.parameters()), batch_size=4,
            accumulate=2, progress=False,
        )  # fmt: skip
    assert {name: p.data.tobytes() for name, p in watched.named_parameters()} == before


def test_a_penalty():
    error = failure(net(), regularizers=lambda parameters: parameters[0].sum() * np.float32(np.inf), batch=1)
    assert "the penalty of the regularizers of batch 1 in epoch 1 is not finite" in str(error)


def test_a_model_that_cannot_run_twice():
    class Once(nn.Module):
        count = 0

        def forward(self, x):
            self.count += 1
            if self.count > 1:
                raise RuntimeError("once")
            return x * np.float32(np.nan)

    assert "could not be run again" in str(failure(net(Once())))


def test_gradients_whose_squares_overflow_are_no_fault():
    model = nn.Linear(2, 1).double()
    optimizer = optim.SGD(model.parameters(), lr=1e-200)
    data = np.full((4, 2), 1e170), np.zeros((4, 1))
    history = train.fit(model, data, loss=lambda o, y: o.mean(), optimizer=optimizer, progress=False)
    assert len(history) == 1
