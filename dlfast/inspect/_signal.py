"""Whether the targets follow from the inputs at all, asked of rules that need no training.

A network that learns nothing may be at fault, or there may be nothing to learn. Nearest neighbours and linear rules,
judged on rows that they have not seen, tell the two apart; they are also the least that a trained network should do.
N rows, F features, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._checks import is_text
from ._confusion import named_classes
from ._setting import Sample, is_classes

SIGMAS = 4.0  # by chance one data set in 30,000 is that far from independence
_FEWEST, _MOST_FEATURES = 40, 1024


@dataclass(frozen=True)
class Signal:
    """kind "classes": score and chance are accuracies; "numbers": shares of the variance explained; "text": nats.

    score is what the better rule reaches, chance what one reaches that ignores the inputs; found says whether the
    difference is more than chance.
    """

    kind: str
    score: float
    chance: float
    found: bool


def signal_of(sample: Sample, outputs: np.ndarray) -> Signal | None:
    """What simple rules make of the rows; None for too few of them. outputs: the model's, to tell what targets are."""
    if is_text(sample):
        return _of_text(sample)
    if len(sample) < _FEWEST or sample.inputs[0].ndim < 2:
        return None
    labels = labels_of(outputs, sample.targets)
    if labels is not None:
        return _of_classes(_features(sample), labels) if labels.shape == (len(sample),) else None
    return _of_numbers(_features(sample), sample.targets.reshape(len(sample), -1).astype(np.float64))


def labels_of(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """Targets as labels: integers as they are, floats 0 and 1, one-hot vectors and probabilities by their largest."""
    if is_classes(targets):
        return targets[..., 0] if targets.ndim == outputs.ndim and targets.shape[-1] == 1 else targets
    if targets.shape != outputs.shape or not bool(((targets >= 0) & (targets <= 1)).all()):
        return None
    if targets.ndim > 1 and targets.shape[-1] > 1:
        return targets.argmax(axis=-1) if np.allclose(targets.sum(axis=-1), 1, atol=1e-3) else None
    return targets.reshape(-1).astype(np.int64) if bool(np.isin(targets, (0, 1)).all()) else None


def sigmas(taken: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """How many standard deviations the hits are above those of independent labels, and the share of hits expected then.

    If they are independent, a share e = sum_c P(taken = c) P(true = c) agrees, with variance e (1 - e) / N: a test that
    unequal classes do not mislead.
    """
    count = 1 + int(max(taken.max(), true.max()))
    shares = [np.bincount(labels, minlength=count) / labels.size for labels in (taken, true)]
    expected = float(shares[0] @ shares[1])
    spread = math.sqrt(max(expected * (1 - expected), 1e-12) / true.size)
    return float((taken == true).mean() - expected) / spread, expected


def beats_chance(outputs: np.ndarray, targets: np.ndarray) -> bool | None:
    """Whether the outputs of a model know something of the targets; None where these are no classes."""
    labels = labels_of(outputs, targets)
    if labels is None or not np.isfinite(outputs).all():
        return None
    taken, _ = named_classes(outputs)
    true = labels.reshape(-1)
    counted = true >= 0
    return sigmas(taken.reshape(-1)[counted], true[counted])[0] > SIGMAS


def _features(sample: Sample) -> np.ndarray:
    """The first inputs as a matrix (N, F): columns of a table each to variance 1, codes counted, images as they are."""
    x = sample.inputs[0]
    if is_classes(x):
        codes = x.reshape(len(x), -1).astype(np.int64)
        count = min(int(codes.max()) + 1, _MOST_FEATURES)
        x = np.stack([np.bincount(np.minimum(row, count - 1), minlength=count) for row in codes])
    flat = x.reshape(len(x), -1)
    if flat.shape[1] > _MOST_FEATURES:
        flat = flat[:, np.sort(np.random.default_rng(0).permutation(flat.shape[1])[:_MOST_FEATURES])]
    flat = flat.astype(np.float64)
    flat -= flat.mean(axis=0)
    spread = flat.std(axis=0) if x.ndim == 2 else np.full(flat.shape[1], flat.std())
    return flat / np.where(spread > 0, spread, 1)


def _of_classes(x: np.ndarray, labels: np.ndarray) -> Signal | None:
    counted = labels >= 0
    x, labels = x[counted], labels[counted].astype(np.int64)
    if len(labels) < _FEWEST or labels.min() == labels.max():
        return None
    nearest = labels[_neighbours(x)]
    linear = _ridge(x, np.eye(labels.max() + 1)[labels]).argmax(axis=1)
    scores = [float((taken == labels).mean()) for taken in (nearest, linear)]
    found = any(sigmas(taken, labels)[0] > SIGMAS for taken in (nearest, linear))
    return Signal("classes", max(scores), float(np.bincount(labels).max() / len(labels)), found)


def _of_numbers(x: np.ndarray, y: np.ndarray) -> Signal | None:
    y = y - y.mean(axis=0)
    if not y.any():
        return None
    predictions = _ridge(x, y), y[_neighbours(x)]
    shares = [1 - float(np.square(y - guess).sum() / np.square(y).sum()) for guess in predictions]
    correlations = [_correlation(guess, y) for guess in predictions]
    found = any(math.atanh(min(r, 0.999999)) * math.sqrt(len(y) - 3) > SIGMAS for r in correlations)  # Fisher's z
    return Signal("numbers", max(shares), 0.0, found)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    scale = math.sqrt(float(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / scale if scale else 0.0


def _neighbours(x: np.ndarray) -> np.ndarray:
    """Of each row the nearest other one."""
    squares = np.square(x).sum(axis=1)
    distances = squares[:, None] + squares - 2 * (x @ x.T)
    np.fill_diagonal(distances, np.inf)
    return distances.argmin(axis=1)


def _ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Linear predictions of y by ridge regression, for each half of the rows from the other half."""
    order = np.random.default_rng(0).permutation(len(x))
    predicted = np.empty_like(y)
    for half in (0, 1):
        learn, judge = order[half::2], order[1 - half :: 2]
        mean = y[learn].mean(axis=0)
        gram = x[learn].T @ x[learn]
        gram[np.diag_indices_from(gram)] += 0.1 * np.trace(gram) / len(gram) + 1e-9
        predicted[judge] = x[judge] @ np.linalg.solve(gram, x[learn].T @ (y[learn] - mean)) + mean
    return predicted


def _of_text(sample: Sample) -> Signal | None:
    """Nats a code, of tables from one half of the rows on the other: of pairs (code, next code), of single codes."""
    x, y = (np.asarray(codes, np.int64) for codes in (sample.inputs[0], sample.targets))
    if x.size < 20 * _FEWEST or len(x) < 2 or min(x.min(), y.min()) < 0:
        return None
    count = 1 + int(max(x.max(), y.max()))
    learn, judge = slice(0, None, 2), slice(1, None, 2)
    single = np.bincount(y[learn].reshape(-1), minlength=count) + 0.5
    single = single / single.sum()
    pairs = np.zeros((count, count))
    np.add.at(pairs, (x[learn].reshape(-1), y[learn].reshape(-1)), 1)
    pairs = (pairs + 2 * single) / (pairs.sum(axis=1, keepdims=True) + 2)
    chance = -float(np.log(single[y[judge]]).mean())
    score = -float(np.log(pairs[x[judge], y[judge]]).mean())
    return Signal("text", score, chance, score < 0.95 * chance)


def describe(signal: Signal) -> dict[str, Any]:
    """The figures, for a finding."""
    return {f"simple_rule_{signal.kind}": signal.score, "chance": signal.chance}
