"""What people give to model(x), fit, evaluate and predict: each works, or is told what would."""

import re

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import nn, optim, train
from dlfast.data import ArrayDataset, DataLoader

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 4)).astype(np.float32), RNG.integers(0, 3, 12)


def net():
    dl.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def fit(model=None, *data, loss=F.cross_entropy, **options):
    model = model or net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    options = {"batch_size": 5, "shuffle": False, "progress": False} | options
    return train.fit(model, *data, loss=loss, optimizer=optimizer, **options)


def sources():
    yield "pair", (X, Y)
    yield "list of two", [X, Y]
    yield "lists of numbers", (X.tolist(), Y.tolist())
    yield "list of rows", (list(X), list(Y))
    yield "data set", ArrayDataset(X, Y)
    yield "loader", DataLoader(ArrayDataset(X, Y), 5)
    yield "batches", [(X[:5], Y[:5]), (X[5:10], Y[5:10]), (X[10:], Y[10:])]


def check(source):
    history = fit(None, source, source)
    expected = fit(None, (X, Y), (X, Y))
    for column in ("train_loss", "val_loss", "train_accuracy", "val_accuracy"):
        assert history[column] == pytest.approx(expected[column], rel=1e-6)
    model = net()
    assert train.evaluate(model, source, loss=F.cross_entropy) == pytest.approx(
        train.evaluate(model, (X, Y), loss=F.cross_entropy), rel=1e-6
    )


@pytest.mark.parametrize(("name", "source"), list(sources()))
def test_sources_of_batches(name, source):
    check(source)


@pytest.mark.parametrize("kind", ["data set", "loader", "tensors"])
def test_pytorchs_sources(kind):
    torch = pytest.importorskip("torch")
    tensors = torch.tensor(X), torch.tensor(Y)
    dataset = torch.utils.data.TensorDataset(*tensors)
    source = {"data set": dataset, "tensors": tensors, "loader": torch.utils.data.DataLoader(dataset, 5)}[kind]
    check(source)
    expected = train.predict(net(), X)
    np.testing.assert_allclose(train.predict(net(), tensors[0]), expected, rtol=1e-6)
    if kind != "tensors":
        np.testing.assert_allclose(train.predict(net(), source), expected, rtol=1e-5, atol=1e-6)


def test_predict_takes_what_fit_takes():
    expected = train.predict(net(), X)
    for source in (
        X.tolist(),
        list(X),
        dl.Tensor(X),
        DataLoader(ArrayDataset(X, Y), 5),
        [(X[:7], Y[:7]), (X[7:], Y[7:])],
    ):
        np.testing.assert_allclose(train.predict(net(), source), expected, rtol=1e-5, atol=1e-6)


def test_one_hot_labels():
    vectors = np.eye(3, dtype=int)[Y]
    try:
        fit(None, (X, vectors))
    except ValueError as error:
        assert "of one-hot vectors take target.argmax(-1)" in str(error)  # noqa: PT017
    fit(None, (X, vectors.argmax(-1)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            (X, Y),
            r"train must be a pair \(x, y\).*got one array of shape \(12, 4\); .* write fit\(model, \(x, y\), \.\.\.\)",
        ),
        ((dl.Tensor(X), Y), r"train must be a pair \(x, y\)"),
        ((X.tolist(),), "."),
        ((None,), r"train must be a pair \(x, y\).*got a NoneType"),
        (("data.csv",), r"train must be a pair \(x, y\).*got a str"),
        (({"x": X, "y": Y},), r"train must be a pair \(x, y\).*got a dict"),
        (((batch for batch in ()),), r"train must be a pair \(x, y\).*got a generator"),
        (((X,),), r"train must be a pair \(x, y\).*got a tuple of 1"),
        (((X, None),), r"train must be a pair \(x, y\)"),
    ],
)
def test_what_is_no_data_is_told_what_is(data, words):
    with pytest.raises((TypeError, ValueError), match=words):
        fit(None, *data)


def test_classes_in_place_of_objects():
    with pytest.raises(TypeError, match=r"fit: loss is missing: loss=F\.cross_entropy for classes"):
        train.fit(nn.Linear(2, 2), (X, Y))
    with pytest.raises(TypeError, match=r"fit: optimizer is missing: optimizer=optim\.Adam"):
        train.fit(nn.Linear(2, 2), (X, Y), loss=F.cross_entropy)
    with pytest.raises(TypeError, match=r"fit: loss must be made: loss=CrossEntropyLoss\(\), got the class"):
        fit(None, (X, Y), loss=nn.CrossEntropyLoss)
    with pytest.raises(TypeError, match=r"evaluate: loss must be made: loss=CrossEntropyLoss\(\)"):
        train.evaluate(net(), (X, Y), loss=nn.CrossEntropyLoss)
    for call in (lambda: train.evaluate(nn.Linear, (X, Y)), lambda: train.predict(nn.Linear, X)):
        with pytest.raises(TypeError, match=r"model must be a Module, got .*; make one: Linear\(\.\.\.\)"):
            call()


def test_a_loss_that_is_no_number():
    for loss, got in (
        (lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"), r"a Tensor of shape \(5,\)"),
        (lambda outputs, targets: 1.0, "a float"),
    ):
        with pytest.raises(
            TypeError, match=rf"fit: loss must give a Tensor of one number \(reduction='mean'\), got {got}"
        ):
            fit(None, (X, Y), loss=loss)


class TestShapes:
    """The message says what of x is wrong in the words of the layer, and gives the code that mends it."""

    @pytest.mark.parametrize("after", [(), (nn.ReLU(), nn.MaxPool2d(2)), (nn.BatchNorm2d(4),)])
    def test_images_with_channels_first(self, after):
        model, x = nn.Sequential(nn.Conv2d(3, 4, 3), *after), np.zeros((2, 3, 8, 9), np.float32)
        words = r"0 \(Conv2d\): x must have in_channels=3 channels in its last axis, got shape \(2, 3, 8, 9\); "
        words += r"images are \(N, H, W, C\) here, channels last: x\.{}\(0, 2, 3, 1\)"
        with pytest.raises(ValueError, match=words.format("transpose")):
            model(x)
        with pytest.raises(ValueError, match=words.format("permute")):
            model(dl.Tensor(x))
        model(x.transpose(0, 2, 3, 1))
        model(dl.Tensor(x).permute(0, 2, 3, 1))

    def test_other_layers_and_the_function(self):
        for layer, shape, order in (
            (nn.Conv1d(3, 4, 3), (2, 3, 9), (0, 2, 1)),
            (nn.ConvTranspose2d(3, 4, 3), (2, 3, 8, 9), (0, 2, 3, 1)),
            (nn.BatchNorm2d(3), (2, 3, 8, 9), (0, 2, 3, 1)),
            (nn.BatchNorm1d(3), (2, 3, 9), (0, 2, 1)),
        ):
            x = np.zeros(shape, np.float32)
            with pytest.raises(ValueError, match=re.escape(f"channels last: x.transpose{order}")):
                layer(x)
            layer(x.transpose(order))
        with pytest.raises(
            ValueError, match=r"images are \(N, H, W, C\) here, channels last: x\.transpose\(0, 2, 3, 1\)"
        ):
            F.conv2d(np.zeros((2, 3, 8, 9), np.float32), np.zeros((4, 3, 3, 3), np.float32))

    @pytest.mark.parametrize(
        ("layer", "shape", "words"),
        [
            (
                nn.Conv2d(3, 4, 3),
                (8, 9, 3),
                r"must have 4 axes \(N, H, W, C\).*a batch of one needs its axis: x\[None\]",
            ),
            (nn.Conv2d(1, 4, 3), (2, 8, 9), r"must have 4 axes.*a single channel needs its axis: x\[\.\.\., None\]"),
            (nn.Linear(72, 4), (2, 8, 9), r"in_features=72 .*put nn\.Flatten\(\) before it"),
            (
                nn.Linear(5, 4),
                (2, 8),
                r"Linear: x must have in_features=5 features in its last axis, got shape \(2, 8\)",
            ),
            (nn.GRUCell(5, 4), (2, 8), r"GRUCell: x must have input_size=5 features"),
        ],
    )
    def test_axes(self, layer, shape, words):
        with pytest.raises(ValueError, match=words):
            layer(np.zeros(shape, np.float32))


class TestNone:
    layers = (
        nn.Linear(4, 3), nn.Conv1d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1), nn.MaxPool1d(2),
        nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.ReLU(), nn.GELU(), nn.Softmax(-1), nn.Dropout(),
        nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.LayerNorm(2), nn.Embedding(2, 2), nn.RNNCell(2, 2), nn.LSTMCell(2, 2),
        nn.GRUCell(2, 2), nn.Flatten(), nn.Identity(),
    )  # fmt: skip

    @pytest.mark.parametrize("layer", layers, ids=lambda layer: type(layer).__name__)
    def test_in_place_of_an_input(self, layer):
        with pytest.raises(TypeError, match="(x|indices) is None"):
            layer(None)
        with pytest.raises(TypeError, match=rf"0 \({type(layer).__name__}\): .*(x|indices) is None"):
            nn.Sequential(layer)(None)

    @pytest.mark.parametrize(
        ("call", "name"),
        [
            (lambda a: F.linear(a, None), "weight"),
            (lambda a: F.linear(None, a), "x"),
            (lambda a: F.matmul(a, None), "b"),
            (lambda a: F.matmul(None, a), "a"),
            (lambda a: F.conv2d(a, None), "weight"),
            (lambda a: F.conv1d(None, a), "x"),
            (lambda a: F.conv_transpose2d(a, None), "weight"),
            (lambda a: F.relu(None), "x"),
            (lambda a: F.softmax(None), "x"),
            (lambda a: F.max_pool2d(None, 2), "x"),
            (lambda a: F.embedding(None, a), "indices"),
            (lambda a: F.embedding(np.array([0]), None), "weight"),
            (lambda a: F.one_hot(None, 3), "labels"),
            (lambda a: F.mse_loss(a, None), "target"),
            (lambda a: F.mse_loss(None, a), "x"),
            (lambda a: F.cross_entropy(None, Y), "logits"),
            (lambda a: F.cross_entropy(a, None), "target"),
            (lambda a: F.nll_loss(a, None), "target"),
            (lambda a: F.binary_cross_entropy(a, None), "target"),
            (lambda a: F.binary_cross_entropy_with_logits(None, a), "x"),
            (lambda a: F.batch_norm(None), "x"),
            (lambda a: F.layer_norm(None, 3), "x"),
            (lambda a: F.gru_cell(a, None, a, a), "h"),
            (lambda a: F.lstm_cell(a, (a, None), np.ones((12, 3), np.float32), np.ones((12, 3), np.float32)), "c"),
            (lambda a: F.rnn_cell(a, a, a, None), "weight_hh"),
            (lambda a: F.pad(None, [(0, 0)]), "x"),
            (lambda a: F.avg_pool1d(None, 2), "x"),
            (lambda a: F.adaptive_avg_pool1d(None, 2), "x"),
            (lambda a: F.adaptive_max_pool1d(None, 2), "x"),
            (lambda a: F.adaptive_max_pool2d(None, 2), "x"),
            (lambda a: F.interpolate(None, 2), "x"),
            (lambda a: F.conv_transpose1d(None, a), "x"),
            (lambda a: F.dropout2d(None), "x"),
            (lambda a: F.group_norm(None, 1), "x"),
            (lambda a: F.rms_norm(None, 3), "x"),
            (lambda a: F.kl_div(a, None), "target"),
            (lambda a: F.smooth_l1_loss(None, a), "x"),
            (lambda a: F.concatenate([a, None]), r"tensors\[1\]"),
            (lambda a: F.stack([None, a]), r"tensors\[0\]"),
        ],
    )
    def test_in_place_of_a_required_array(self, call, name):
        with pytest.raises(TypeError, match=f"{name} is None; an array of numbers is needed"):
            call(np.ones((3, 3), np.float32))
