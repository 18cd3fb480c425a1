"""What evidence of the data and of the model says is wrong: a function for each kind of fault."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .. import nn
from .._devices import values_of
from ._checks import are_probabilities
from ._evidence import Evidence, ignorant_loss, is_cross_entropy
from ._findings import Finding, in_words
from ._setting import is_classes
from ._signal import beats_chance, describe, labels_of

# Inputs of mean 0 and variance 1 have a root mean square of 1, pictures in 0..1 one of about 0.5, bytes 100: ten times
# too large or a hundred times too small is no accident. LeCun et al. 1998, "Efficient BackProp", section 4.3.
_LARGE, _SMALL = 10.0, 0.01
_IMBALANCE = 10.0  # the most frequent class over the rarest; He and Garcia 2009 call 100 : 1 severe
_FEW_LABELS = 100
# Gradients have norms of about 1 with usual initial values, and are clipped at 1 to 10 (Pascanu et al. 2013, section
# 3.2); a thousand is not reached without growth from layer to layer or from step to step.
_EXPLODING = 1e3
# An early layer whose gradient over weight is this much smaller than that of the late ones stands still while they
# learn. Twenty sigmoids, each of slope 1/4 at most, bring 1e-12; five, which can be trained, 1e-3.
_VANISHING = 1e-5
# "As much as 40% of your network can be dead" where the learning rate is too high, say the notes of CS231n ("Neural
# networks 1"); yet in the wide layer of a CNN half of the units die in a good training; three quarters do not.
_DEAD, _ALL_DEAD, _FEW_UNITS = 0.75, 0.9, 8
_HALF = 0.5
_GAIN = 10.0  # of weights: rms times sqrt(fan_in), 0.6 to 1.5 at first; Glorot and Bengio 2010


def nan_in_data(found: Evidence) -> Iterator[Finding]:
    rows = found.rows
    bad = np.zeros(len(rows), bool)
    for array in (*rows.inputs, rows.targets):
        if array.dtype.kind == "f":
            bad |= ~np.isfinite(array.reshape(len(rows), -1)).all(axis=1)
    if bad.any():
        words = f"{bad.sum()} of {len(rows)} rows hold NaN or infinity."
        yield Finding("nan_in_data", "error", words, {"rows": int(bad.sum()), "of": len(rows)})


def nan_in_weights(found: Evidence) -> Iterator[Finding]:
    names = [name for name, p in found.model.named_parameters() if not np.isfinite(values_of(p.data)).all()]
    if names:
        words = f"{len(names)} parameters hold NaN or infinity, {names[0]} the first of them: the training diverged."
        yield Finding("nan_in_weights", "error", words, {"parameters": names})


def not_normalised(found: Evidence) -> Iterator[Finding]:
    for i, x in enumerate(found.rows.inputs):
        if is_classes(x) or x.ndim < 2 or _begins_with_norm(found.model):
            continue
        size = np.sqrt(np.square(x, dtype=np.float64).mean(axis=tuple(range(x.ndim - 1))))
        worst, whole = float(size.max()), float(np.sqrt(np.square(size).mean()))
        if worst > _LARGE or 0 < whole < _SMALL:
            value = worst if worst > _LARGE else whole
            which = f"input {i + 1}" if len(found.rows.inputs) > 1 else "the inputs"
            words = (
                f"The root mean square of {which} is {value:.3g} (values from {x.min():.3g} to {x.max():.3g}), where "
                "about 1 is usual: first layers saturate or blow up, and no learning rate fits all weights."
            )
            yield Finding("not_normalised", "warning", words, {"rms": value})
    y = found.rows.targets
    if found.outputs is not None and y.dtype.kind == "f" and labels_of(found.outputs, found.sample.targets) is None:
        size_of_targets = float(np.sqrt(np.square(y, dtype=np.float64).mean()))
        if size_of_targets > _LARGE:
            words = (
                f"The root mean square of the targets is {size_of_targets:.3g}, far from what a network gives at first."
            )
            yield Finding("targets_not_normalised", "warning", words, {"rms": size_of_targets})


def _begins_with_norm(model: nn.Module) -> bool:
    first = next((m for m in model.modules() if any(isinstance(v, nn.Parameter) for v in vars(m).values())), None)
    return isinstance(first, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm))


def labels(found: Evidence) -> Iterator[Finding]:
    """No simple rule finds the targets, and the model does not either on rows that it has not learned from."""
    signal = found.signal
    if signal is None or signal.found:
        return
    knows = None if found.val_outputs is None else beats_chance(*found.val_outputs)
    if knows is None:
        knows = _history_beats_chance(found)
    if knows:
        return
    words = f"Targets do not follow from inputs: {in_words(signal)}"
    words += "." if knows is None else ", and on validation data the model does no better than chance."
    yield Finding("labels", "warning" if knows is None else "error", words, describe(signal))


def _history_beats_chance(found: Evidence) -> bool | None:
    accuracy, signal = found.columns.get("val_accuracy"), found.signal
    if accuracy and signal is not None and signal.kind == "classes":
        return max(accuracy) > signal.chance + 0.05
    if found.val and found.reference is not None:
        return min(found.val) < 0.95 * found.reference
    return None


def class_imbalance(found: Evidence) -> Iterator[Finding]:
    assert found.outputs is not None
    true = labels_of(found.outputs[:1], found.rows.targets[:1])
    if true is None or found.rows.targets.size != len(found.rows):
        return
    _, counts = np.unique(found.rows.targets, return_counts=True)
    ratio = counts.max() / counts.min()
    if len(counts) > 1 and counts.sum() >= _FEW_LABELS and ratio >= _IMBALANCE:
        words = (
            f"The most frequent class has {counts.max()} of {counts.sum()} rows, {ratio:.0f} times as many as the "
            f"rarest: always naming it is right in {counts.max() / counts.sum():.0%}."
        )
        yield Finding("class_imbalance", "warning", words, {"ratio": float(ratio)})


def softmax_twice(found: Evidence) -> Iterator[Finding]:
    assert found.outputs is not None
    if is_cross_entropy(found.loss) and are_probabilities(found.outputs):
        count = found.outputs.shape[-1]
        least = math.log(1 + (count - 1) / math.e)
        words = f"The outputs are probabilities, and cross_entropy takes logits: no loss can be below {least:.2f}."
        yield Finding("softmax_twice", "warning", words, {"least_loss": least})


def exploding_gradients(found: Evidence) -> Iterator[Finding]:
    assert found.gradients is not None
    norms = [row.gradient for row in found.gradients]
    total = math.sqrt(sum(norm * norm for norm in norms))
    if found.gradients.finite and not total > _EXPLODING:
        return
    if found.trained and weight_gain(found.model) > _GAIN:
        return  # steps that were too large have made the weights so: the learning rate is judged by the history
    name = found.gradients.rows[int(np.argmax(np.nan_to_num(norms, nan=np.inf)))].name if norms else ""
    size = f"{total:.3g}" if found.gradients.finite else "not finite"
    words = f"The norm of all gradients is {size}; it is largest in layer {name!r}. Steps by them destroy the weights."
    yield Finding("exploding_gradients", "error", words, {"norm": total, "layer": name})


def weight_gain(model: nn.Module) -> float:
    """The largest rms sqrt(fan_in) of a matrix: how much a layer enlarges what passes through it, roughly."""
    gains = [0.0]
    for module in model.modules():
        if isinstance(module, (nn.Embedding, nn.LearnedPositions)):
            continue
        for p in vars(module).values():
            if isinstance(p, nn.Parameter) and p.ndim > 1 and p.size:
                square = np.square(values_of(p.data), dtype=np.float64).mean()
                gains.append(float(np.sqrt(square * math.prod(p.shape[1:]))))
    return max(gains)


def vanishing_gradients(found: Evidence) -> Iterator[Finding]:
    """Early layers against late ones, by gradient over weight: no learning rate serves both."""
    assert found.gradients is not None
    matrices = {name.rpartition(".")[0] for name, p in found.model.named_parameters() if p.ndim > 1}
    rows = [row for row in found.gradients if row.name in matrices]
    if len(rows) < 3 or not found.gradients.finite:
        return
    half = len(rows) // 2
    early = min(rows[:half], key=lambda row: row.relative)
    late = [row.relative for row in rows[half:] if row.relative > 0]
    if not late:
        return
    usual = math.exp(sum(map(math.log, late)) / len(late))
    if early.relative < _VANISHING * usual:
        words = (
            f"In layer {early.name!r} the gradient is {early.relative:.1e} of the weights, in later layers "
            f"{usual:.1e}: early layers stand still while the late ones learn."
        )
        yield Finding(
            "vanishing_gradients", "error", words, {"early": early.relative, "late": usual, "layer": early.name}
        )


def dead_relu(found: Evidence) -> Iterator[Finding]:
    assert found.units is not None
    rows = [row for row in found.units if not row.output]
    worst = max(rows, key=lambda row: row.dead / row.units, default=None)
    if worst is not None and worst.dead >= (_DEAD if worst.units >= _FEW_UNITS else _ALL_DEAD) * worst.units:
        words = (
            f"In layer {worst.name!r} {worst.dead} of {worst.units} ReLU units are 0 for every row: they cannot learn."
        )
        severity = "error" if worst.dead >= _ALL_DEAD * worst.units else "warning"
        yield Finding("dead_relu", severity, words, {"dead": found.units.dead, "share": worst.dead / worst.units})


def saturated_units(found: Evidence) -> Iterator[Finding]:
    assert found.units is not None
    rows = [row for row in found.units if not row.output]
    worst = max(rows, key=lambda row: row.saturated / row.units, default=None)
    if worst is not None and worst.saturated >= _DEAD * worst.units:
        words = (
            f"In layer {worst.name!r} {worst.saturated} of {worst.units} units of {worst.activation} are at the ends "
            "of their range for nearly every row: hardly a gradient passes."
        )
        yield Finding("saturated_units", "warning", words, {"share": worst.saturated / worst.units})


def wrong_initial_loss(found: Evidence) -> Iterator[Finding]:
    if found.initial is not None and not found.trained and not found.initial.ok:
        words = f"Before training: {found.initial}."
        yield Finding(
            "wrong_initial_loss", "warning", words, {"loss": found.initial.loss, "expected": found.initial.expected}
        )


def cannot_learn_tiny_batch(found: Evidence) -> Iterator[Finding]:
    """Nothing is learned by heart. A network that learns the half of it is small, which is no fault of its own."""
    if found.tiny is None or found.tiny.learned or found.outputs is None:
        return
    few = slice(found.tiny.rows)
    ignorant = ignorant_loss(found.outputs[few], found.sample.targets[few], found.loss)
    if not found.tiny.losses[-1] < _HALF * min(found.tiny.losses[0], ignorant or np.inf):
        words = f"A copy {found.tiny}, which a network that works does."
        yield Finding("cannot_learn_tiny_batch", "error", words, {"loss": found.tiny.losses[-1]})


OF_DATA = (not_normalised, labels, class_imbalance)
OF_MODEL = (
    softmax_twice,
    exploding_gradients,
    vanishing_gradients,
    dead_relu,
    saturated_units,
    wrong_initial_loss,
    cannot_learn_tiny_batch,
)
