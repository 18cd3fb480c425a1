"""Metrics: the value of all rows together for any batches, that of scikit-learn, and exact in a resumed epoch."""

import math

import numpy as np
import pytest
from trainings import exact, make, run, small

import dlfast as dl
from dlfast import functional as F
from dlfast import nn, optim, train
from dlfast.train import metrics

RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(size=(60, 6)).astype(np.float32), RNG.integers(0, 5, 60)  # class 5 is never right
LOGITS[np.arange(40), LABELS[:40]] += 2
LOGITS[:, 4] -= 9  # and class 4 is never predicted
VALUES, TARGETS = RNG.normal(size=(60, 3)), 100 + RNG.normal(size=(60, 3)) * [1, 3, 10]
VALUES += TARGETS


class Given(nn.Module):
    """Its input is its output."""

    def forward(self, x):
        return x * 1.0


def evaluate(outputs, targets, measures, size):
    return train.evaluate(Given(), (outputs, targets), metrics=measures, batch_size=size)


BY_CLASS = [
    f"{average}_{kind}" if average else kind for kind in ("precision", "recall", "f1")
    for average in ("", "micro", "weighted")
]  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 60])
def test_any_batches_give_the_value_of_all_rows(size):
    names = ["accuracy", "top5", "top2", "perplexity", *BY_CLASS]
    found = evaluate(LOGITS, LABELS, names, size)
    assert list(found) == names
    for name in names:
        assert found[name] == pytest.approx(metrics.named(name)(LOGITS, LABELS), rel=1e-6)
    numbers = evaluate(VALUES, TARGETS, ["mae", "mse", "r2"], size)
    for name, value in numbers.items():
        assert value == pytest.approx(metrics.named(name)(VALUES, TARGETS), rel=1e-9)


def test_the_mean_over_batches_would_be_another():
    batches = [metrics.f1(LOGITS[i : i + 6], LABELS[i : i + 6]) for i in range(0, 60, 6)]
    assert abs(np.mean(batches) - metrics.f1(LOGITS, LABELS)) > 0.02


def test_by_hand():
    outputs = np.eye(3)[[0, 0, 1, 1, 1]]
    labels = np.array([0, 1, 1, 1, 2])
    np.testing.assert_array_equal(metrics.confusion_matrix(outputs, labels), [[1, 0, 0], [1, 2, 0], [0, 1, 0]])
    assert metrics.precision(outputs, labels) == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert metrics.recall(outputs, labels) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert metrics.f1(outputs, labels) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert metrics.F1("micro")(outputs, labels) == metrics.accuracy(outputs, labels) == pytest.approx(0.6)
    assert metrics.perplexity(np.zeros((4, 7), np.float32), [0, 1, 2, 3]) == pytest.approx(7)
    assert metrics.mae([1.0, 2.0], [2.0, 4.0]) == 1.5
    assert metrics.mse([1.0, 2.0], [2.0, 4.0]) == 2.5
    assert metrics.r2([1.0, 2.0, 3.0], [1.0, 2.0, 6.0]) == pytest.approx(1 - 9 / 14)


class TestBesideScikitLearn:
    @pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
    @pytest.mark.parametrize("name", ["precision", "recall", "f1"])
    def test_by_class(self, name, average):
        theirs = getattr(pytest.importorskip("sklearn.metrics"), f"{name}_score")
        ours = {"precision": metrics.Precision, "recall": metrics.Recall, "f1": metrics.F1}[name](average)
        for rows in (slice(0, 60), slice(0, 4), slice(50, 60)):
            predicted = LOGITS[rows].argmax(1)
            expected = theirs(LABELS[rows], predicted, average=average, zero_division=0)
            assert ours(LOGITS[rows], LABELS[rows]) == pytest.approx(expected)

    @pytest.mark.parametrize("name", ["precision", "recall", "f1"])
    def test_binary(self, name):
        theirs = getattr(pytest.importorskip("sklearn.metrics"), f"{name}_score")
        logit, labels = LOGITS[:, 0], (LABELS < 2).astype(int)
        expected = theirs(labels, logit > 0)
        for outputs, targets in (
            (logit, labels),
            (logit[:, None], labels[:, None]),
            (np.stack([-logit, logit], 1), labels),
            (logit[:, None], labels[:, None].astype(np.float32)),
        ):
            assert metrics.named(f"binary_{name}")(outputs, targets) == pytest.approx(expected)

    def test_others(self):
        theirs = pytest.importorskip("sklearn.metrics")
        expected = theirs.confusion_matrix(LABELS, LOGITS.argmax(1), labels=np.arange(6))
        np.testing.assert_array_equal(metrics.confusion_matrix(LOGITS, LABELS), expected)
        for k in (1, 2, 4):
            expected = theirs.top_k_accuracy_score(LABELS, LOGITS, k=k, labels=np.arange(6))
            assert metrics.TopK(k)(LOGITS, LABELS) == pytest.approx(expected)
        assert metrics.r2(VALUES, TARGETS) == pytest.approx(theirs.r2_score(TARGETS, VALUES))
        assert metrics.r2(VALUES[:, 0], TARGETS[:, 0]) == pytest.approx(theirs.r2_score(TARGETS[:, 0], VALUES[:, 0]))
        assert metrics.mae(VALUES, TARGETS) == pytest.approx(theirs.mean_absolute_error(TARGETS, VALUES))
        assert metrics.mse(VALUES, TARGETS) == pytest.approx(theirs.mean_squared_error(TARGETS, VALUES))
        flat = np.ones(5)
        for guess in (flat, flat * 2):
            assert metrics.r2(guess, flat) == theirs.r2_score(flat, guess)
        log = -np.log(np.exp(LOGITS)[np.arange(60), LABELS] / np.exp(LOGITS).sum(1)).mean()
        assert metrics.perplexity(LOGITS, LABELS) == pytest.approx(np.exp(log), rel=1e-5)


def test_labels_that_do_not_count():
    labels = LABELS.copy()
    labels[::3] = -100
    counted = labels >= 0
    for name in ("accuracy", "top2", "perplexity", *BY_CLASS):
        expected = metrics.named(name)(LOGITS[counted], LABELS[counted])
        assert metrics.named(name)(LOGITS, labels) == pytest.approx(expected, rel=1e-6)
        assert math.isnan(metrics.named(name)(LOGITS, np.full(60, -1)))
    four = LABELS != 4
    found = train.evaluate(
        Given(), (LOGITS, LABELS), loss=nn.CrossEntropyLoss(ignore_index=4), metrics=["f1", "perplexity"], batch_size=9
    )
    assert found["f1"] == pytest.approx(metrics.f1(LOGITS[four], LABELS[four]))
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]), rel=1e-5)


def test_sequences_and_one_hot_vectors():
    outputs, labels = LOGITS.reshape(12, 5, 6), LABELS.reshape(12, 5)
    for name in ("accuracy", "top2", "perplexity", "f1"):
        expected = metrics.named(name)(LOGITS, LABELS)
        for targets in (labels, labels[..., None], np.eye(6, dtype=int)[labels]):
            assert metrics.named(name)(outputs, targets) == pytest.approx(expected, rel=1e-6)


def test_ties_and_nan():
    assert metrics.TopK(1)(np.zeros((3, 4)), [0, 1, 3]) == metrics.accuracy(np.zeros((3, 4)), [0, 1, 3]) == 1 / 3
    assert metrics.TopK(2)(np.zeros((3, 4)), [0, 1, 3]) == 2 / 3
    assert metrics.TopK(3)(np.full((3, 4), np.nan), [0, 1, 3]) == 0


def test_r2_is_exact_far_from_zero():
    targets = 1e8 + RNG.normal(size=1000)
    outputs = targets + 0.1 * RNG.normal(size=1000)
    expected = 1 - ((outputs - targets) ** 2).sum() / ((targets - targets.mean()) ** 2).sum()
    assert evaluate(outputs[:, None], targets[:, None], "r2", 10)["r2"] == pytest.approx(expected, abs=1e-6)


def test_fit_records_them():
    names = ["accuracy", "f1", metrics.TopK(3), "perplexity"]
    model, history = run(2, val=small(), metrics=names)
    assert list(history.epochs[0])[:10] == [
        f"{part}_{name}" for part in ("train", "val") for name in ("loss", "accuracy", "f1", "top3", "perplexity")
    ]
    outputs, labels = train.predict(model, small()), small().arrays[1]
    assert history["val_f1"][-1] == pytest.approx(metrics.f1(outputs, labels))
    assert history["val_perplexity"][-1] == pytest.approx(math.exp(history["val_loss"][-1]), rel=1e-4)
    run(2, val=small(), metrics=names, callbacks=[train.EarlyStopping(1, "val_top3")])


def test_a_resumed_epoch_measures_all_of_it(tmp_path):
    class Killed(BaseException):
        pass

    class Stop(train.Callback):
        def on_batch_end(self, run):
            if run.steps == 10:
                raise Killed

    def largest(outputs, targets):
        return outputs.max()

    def go(folder, *callbacks, measures=("f1", "top3", "perplexity", largest), **options):
        dl.manual_seed(3)
        model, optimizer = make()
        callbacks = [*callbacks, train.Checkpoint(folder, every_steps=4)]
        return run(2, model, optimizer, metrics=list(measures), callbacks=callbacks, **options)[1]

    expected = go(tmp_path / "whole")
    with pytest.raises(Killed):
        go(tmp_path / "parts", Stop())
    with pytest.raises(ValueError, match="has the metrics f1, top3, perplexity, largest; give metrics= as before"):
        go(tmp_path / "parts", measures=["f1"], resume=tmp_path / "parts")
    assert exact(go(tmp_path / "parts", resume=tmp_path / "parts")) == exact(expected)


def test_a_metric_of_ones_own():
    class Largest(metrics.Metric):
        name = "largest"

        def reset(self):
            self.seen = -math.inf

        def update(self, outputs, targets, ignored=None):
            self.seen = max(self.seen, float(outputs.max()))

        def value(self):
            return self.seen

    assert evaluate(LOGITS, LABELS, Largest(), 7) == {"largest": float(LOGITS.max())}


@pytest.mark.parametrize(
    ("measures", "error", "words"),
    [
        ("f3", ValueError, "unknown metric 'f3'; known are accuracy, top5, precision"),
        ("top0", ValueError, "unknown metric"),
        (["f1", "f1"], ValueError, "'f1' is there twice"),
        ([metrics.F1], TypeError, r"F1 must be made: F1\(\)"),
        ([3], TypeError, "expected names, Metric objects or functions, got 3"),
    ],
)
def test_names(measures, error, words):
    with pytest.raises(error, match=words):
        evaluate(LOGITS, LABELS, measures, 7)
    model = nn.Linear(6, 6)
    with pytest.raises(error, match=words):
        train.fit(
            model, (LOGITS, LABELS), loss=F.cross_entropy, optimizer=optim.SGD(model.parameters()), metrics=measures
        )  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "outputs", "targets", "words"),
    [
        (metrics.F1("binary"), np.zeros((4, 3)), np.zeros(4, int), "binary_f1: outputs must tell two classes apart"),
        (metrics.f1, np.zeros((4, 3)), np.zeros((4, 2), int), r"f1: outputs must have shape \(\.\.\., C\)"),
        (metrics.TopK(4), np.zeros((4, 3)), np.zeros(4, int), "top4: outputs must have at least 4 classes"),
        (metrics.top5, np.zeros((4, 6)), np.full(4, 6), "top5: targets must be"),
        (metrics.perplexity, np.zeros((4, 1)), np.zeros(4, int), "perplexity: outputs must have shape"),
        (metrics.mse, np.zeros((4, 3)), np.zeros((4, 2)), "mse: outputs and targets must have one shape"),
        (metrics.r2, np.zeros(4), np.zeros(5), "r2: outputs and targets must have one shape"),
        (metrics.confusion_matrix, np.zeros((4, 3)), np.full(4, 3), "confusion_matrix: targets must be"),
    ],
)
def test_shapes_that_do_not_fit(metric, outputs, targets, words):
    with pytest.raises(ValueError, match=words):
        metric(outputs, targets)
    with pytest.raises(ValueError, match="k must be at least 1"):
        metrics.TopK(0)
    with pytest.raises(ValueError, match="average must be one of 'macro', 'weighted', 'micro', 'binary'"):
        metrics.F1("mean")
