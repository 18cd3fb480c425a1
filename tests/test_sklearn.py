"""dlfast.sklearn: scikit-learn's own checks, and what its users do with an estimator."""

import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import dlfast as dl
from dlfast import nn, random
from dlfast.sklearn import NetClassifier, NetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ESTIMATORS = [NetClassifier, NetRegressor]


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_check_estimator(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(kind(max_iter=100), on_skip=None)
    assert sum(result["status"] == "passed" for result in results) > 50


def blobs(classes=3, rows=150):
    x, y = make_blobs(rows, 4, centers=classes, random_state=0, cluster_std=2)
    return x, np.array(["one", "two", "three"])[y]


def problem(kind):
    return blobs() if kind is NetClassifier else make_regression(150, 4, noise=0.1, random_state=0)


def weights(net):
    return np.concatenate([p.data.ravel() for p in net.module_.parameters()])


def test_digits_as_well_as_scikit_learns():
    x, y = load_digits(return_X_y=True)
    half = len(x) // 2
    ours, theirs = (
        kind(max_iter=20, random_state=0).fit(x[:half], y[:half]).score(x[half:], y[half:])
        for kind in (NetClassifier, MLPClassifier)
    )
    assert ours > 0.85
    assert ours > theirs - 0.02


def test_one_full_batch_step_is_that_of_scikit_learn():
    """The same weights at the start: loss, alpha, Adam and the mean over the batch agree to rounding."""
    x, y = blobs(2)
    theirs = MLPClassifier((5,), max_iter=1, random_state=0, alpha=3.0, solver="sgd", batch_size=150, momentum=0.0)
    labels = np.eye(3)[np.arange(150) % 3]  # of which each has an output of its own in both
    start = clone(theirs).set_params(learning_rate_init=1e-30).fit(x, labels)
    layers = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    for i, coefs in enumerate(start.coefs_):
        layers[2 * i].weight.data, layers[2 * i].bias.data = coefs.T, start.intercepts_[i]
    options = {"solver": "sgd", "alpha": 3.0, "batch_size": 150, "momentum": 0.0, "max_iter": 1, "random_state": 0}
    ours = NetClassifier(module=layers, learning_rate_init=0.1, **options).fit(x, labels)
    theirs.set_params(learning_rate_init=0.1).fit(x, labels)
    for i in range(2):
        np.testing.assert_allclose(ours.module_[2 * i].weight.data.T, theirs.coefs_[i], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(ours.module_[2 * i].bias.data, theirs.intercepts_[i], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-9)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_same_seed_gives_the_same_bits_and_leaves_the_generator(kind):
    x, y = problem(kind)
    before = random.get_state()
    a, b = (kind(max_iter=5, random_state=3, early_stopping=early).fit(x, y) for early in (True, True))
    c = kind(max_iter=5, random_state=4).fit(x, y)
    assert random.get_state() == before
    np.testing.assert_array_equal(weights(a), weights(b))
    assert (weights(a) != weights(c)).any()


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_clone_pickle_and_going_on_after_it(kind):
    x, y = problem(kind)
    net = kind((7,), "tanh", random_state=0, solver="sgd", learning_rate_init=0.01)
    net.partial_fit(x, y).partial_fit(x, y)
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict(x), net.predict(x))
    for each in (net, again):
        each.partial_fit(x, y)
    np.testing.assert_array_equal(weights(again), weights(net))
    assert again.n_iter_ == 3
    assert again.t_ == 450
    assert clone(net).get_params() == net.get_params()
    assert not hasattr(clone(net), "module_")


def test_partial_fit_is_fit_in_passes():
    x, y = blobs()
    options = {"random_state": 0, "tol": 0.0, "n_iter_no_change": 100}
    whole = NetClassifier(max_iter=4, **options).fit(x, y)
    parts = NetClassifier(**options)
    for _ in range(4):
        parts.partial_fit(x, y, classes=["one", "three", "two"])
    np.testing.assert_array_equal(weights(whole), weights(parts))
    np.testing.assert_allclose(whole.loss_curve_, parts.loss_curve_)
    with pytest.raises(ValueError, match="not among `self.classes_`"):
        parts.partial_fit(x, np.where(y == "one", "four", y))
    with pytest.raises(ValueError, match="not the same as on last call"):
        parts.partial_fit(x, y, classes=["one"])
    with pytest.raises(ValueError, match="does not support early_stopping"):
        NetClassifier(early_stopping=True).partial_fit(x, y)
    with pytest.raises(ValueError, match="class_weight as a dictionary"):
        NetClassifier(class_weight="balanced").partial_fit(x, y)


def test_warm_start_goes_on():
    x, y = blobs()
    net = NetClassifier(max_iter=3, warm_start=True, random_state=0).fit(x, y)
    first = net.module_
    net.fit(x.astype(np.float32), y)
    assert net.module_ is first
    assert len(net.loss_curve_) == 6
    assert net.loss_curve_[3] < net.loss_curve_[2]
    with pytest.raises(ValueError, match="same classes as in the previous call"):
        net.fit(x[y != "one"], y[y != "one"])
    assert NetClassifier(max_iter=3, random_state=0).fit(x, y).fit(x, y).module_ is not first


def test_it_stops_when_nothing_improves():
    x, y = blobs(2)
    net = NetClassifier(tol=10.0, n_iter_no_change=3, max_iter=50).fit(x, y)
    assert net.n_iter_ == 5  # the first pass improves on infinity, four more do not
    assert net.best_loss_ == min(net.loss_curve_)
    with pytest.warns(ConvergenceWarning, match="max_iter=2 passes"):
        NetClassifier(max_iter=2).fit(x, y)


def test_early_stopping_keeps_the_best_weights(capsys):
    x, y = blobs()
    net = NetClassifier(early_stopping=True, n_iter_no_change=5, max_iter=300, random_state=1, verbose=True).fit(x, y)
    assert net.n_iter_ < 300
    assert len(net.validation_scores_) == net.n_iter_
    assert net.best_validation_score_ == max(net.validation_scores_)
    assert net.best_loss_ is None
    lines = capsys.readouterr().out
    assert "Iteration 1, loss = " in lines
    assert "Validation score: " in lines
    assert "Stopped after" in lines
    with pytest.raises(ValueError, match="validation set is too small"):
        NetRegressor(early_stopping=True).fit(np.ones((4, 1)), np.ones(4))


def test_weights_are_repetitions():
    x, y = blobs(rows=60)
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, 60)
    options = {"max_iter": 20, "random_state": 0, "alpha": 0.1}
    weighted = NetClassifier(**options).fit(x, y, sample_weight=counts)
    repeated = NetClassifier(**options).fit(np.repeat(x, counts, 0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.predict_proba(x), repeated.predict_proba(x), rtol=1e-6)
    by_class = NetClassifier(class_weight={"one": 2.0, "two": 1.0, "three": 0.5}, **options).fit(x, y)
    given = np.array([{"one": 2.0, "two": 1.0, "three": 0.5}[label] for label in y])
    same = NetClassifier(**options).fit(x, y, given)
    np.testing.assert_allclose(by_class.predict_proba(x), same.predict_proba(x), rtol=1e-9)
    NetClassifier(class_weight="balanced", **options).fit(x, y)
    with pytest.raises(ValueError, match="sample_weight must not be negative"):
        NetClassifier().fit(x, y, -given)


def test_pipeline_and_grid_search():
    x, y = blobs()
    pipeline = make_pipeline(StandardScaler(), NetClassifier(max_iter=60, learning_rate_init=0.01, random_state=0))
    grid = {"netclassifier__hidden_layer_sizes": [(4,), (8, 8)], "netclassifier__activation": ["relu", "gelu"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(x, y)
    assert search.score(x, y) > 0.8
    probabilities = search.predict_proba(x)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(search.classes_[probabilities.argmax(1)], search.predict(x))
    np.testing.assert_allclose(np.exp(search.predict_log_proba(x)), probabilities)


def test_labels_that_go_together():
    x, y = make_multilabel_classification(200, 10, n_classes=4, random_state=0)
    net = NetClassifier(max_iter=200, learning_rate_init=0.01, random_state=0).fit(x, y)
    assert net.predict(x).shape == y.shape
    assert net.score(x, y) > 0.85
    np.testing.assert_array_equal(net.predict_proba(x) > 0.5, net.predict(x))
    np.testing.assert_allclose(np.exp(net.predict_log_proba(x)), net.predict_proba(x))


def test_numbers():
    x, y = make_regression(200, 5, n_targets=2, noise=1, random_state=0)
    y /= y.std()
    net = NetRegressor((50,), max_iter=300, learning_rate_init=0.01, random_state=0, early_stopping=True)
    assert net.fit(x, y).score(x, y) > 0.95
    assert net.predict(x).shape == (200, 2)
    assert NetRegressor(max_iter=1).fit(x, y[:, 0]).predict(x).shape == (200,)
    with pytest.raises(ValueError, match="must have 2 outputs as before, got 1"):
        NetRegressor(max_iter=1).partial_fit(x, y).partial_fit(x, y[:, 0])


class Images(nn.Module):
    def __init__(self, shape, classes):
        self.conv, self.head = nn.Conv2d(shape[-1], 4, 3), nn.Linear(4 * 6 * 6, classes)

    def forward(self, x):
        return self.head(dl.functional.relu(self.conv(x)).reshape(len(x), -1))


def test_a_network_of_ones_own():
    x, y = load_digits(return_X_y=True)
    images = (x[:400] / 16).reshape(-1, 8, 8, 1).astype(np.float32)
    net = NetClassifier(module=Images, max_iter=30, learning_rate_init=0.01, random_state=0).fit(images, y[:400])
    assert net.score(images, y[:400]) > 0.9
    assert net.predict_proba(images[:3]).dtype == np.float32
    own = nn.Sequential(nn.Linear(64, 20), nn.Dropout(0.2), nn.ReLU(), nn.Linear(20, 10))
    before = own.state_dict()
    a, b = (clone(NetClassifier(module=own, max_iter=2, random_state=0)).fit(x, y) for _ in range(2))
    np.testing.assert_array_equal(weights(a), weights(b))
    assert a.module_ is not own
    for key, value in own.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    with pytest.raises(TypeError, match="module must be a Module or a function.*got int"):
        NetClassifier(module=lambda features, outputs: 3).fit(x, y)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_iter": 0}, ValueError, "NetClassifier: max_iter must be"),
        ({"hidden_layer_sizes": (5, 0)}, ValueError, "hidden_layer_sizes must be"),
        ({"activation": "mist"}, ValueError, "activation must be one of"),
        ({"solver": "lbfgs"}, ValueError, "solver must be one of"),
        ({"alpha": -1}, ValueError, "alpha must be"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction must be"),
    ],
)
def test_bad_arguments(options, error, words):
    with pytest.raises(error, match=words):
        NetClassifier(**options).fit(*blobs())


@pytest.mark.parametrize(
    ("x", "dtype", "computed"),
    [
        (np.float64, "auto", np.float64),
        (np.float32, "auto", np.float32),
        (np.float64, "float32", np.float32),
        (np.float32, "float64", np.float64),
        (np.int64, "auto", np.float64),
    ],
)
def test_dtypes(x, dtype, computed):
    data, y = blobs()
    data = data.astype(x)
    net = NetClassifier(max_iter=2, dtype=dtype, early_stopping=True).fit(data, y, np.ones(150))
    assert weights(net).dtype == computed
    assert net.predict_proba(data).dtype == (np.float32 if x == np.float32 else np.float64)
    np.testing.assert_allclose(net.predict_proba(data).sum(1), 1, rtol=1e-6)
    regressor = NetRegressor(max_iter=2, dtype=dtype).fit(data, data[:, 0], np.ones(150))
    assert weights(regressor).dtype == computed
    assert regressor.predict(data).dtype == net.predict_proba(data).dtype


def test_large_data_are_computed_in_float32():
    x = np.random.default_rng(0).normal(size=(3000, 3))
    assert weights(NetRegressor(max_iter=1).fit(x, x[:, 0])).dtype == np.float32


def test_before_the_fit():
    with pytest.raises(NotFittedError):
        NetRegressor().predict(np.ones((2, 3)))
