"""What the history of a training says is wrong, with a trial of its learning rate where there is an optimizer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._confusion import named_classes
from ._evidence import Evidence
from ._findings import Finding, in_words
from ._signal import describe, labels_of
from ._trial import Trial

_DIVERGED = 2.0  # times what a network costs that has learned nothing
_LEARNS = 0.1  # the share of the loss that steps of a trial take away
# The loss moves as far as the steps are large where these are far too small: a hundred times, and visibly.
_FASTER, _MOVES = 20.0, 0.001
_JUMP = 1.1  # from one epoch to the next
# Too low: the loss has lost less than a quarter in all, and still falls at no less than half of its usual pace, so that
# larger steps would have gone the same way.
_FALL, _PACE = 0.25, 0.5
_HARDLY_LEARNED = 0.7  # of what a network costs that has learned nothing
_RISE, _WORTH = 1.25, 0.05  # of the validation loss above its least; and of the ignorant loss, to count at all
_GAP = 0.35  # between training and validation, of the ignorant loss
_KNOWN_BY_HEART = 0.15  # of the rows: right in training, and as many fewer in validation
_BEATEN = 0.1  # by which a simple rule is better, in accuracy or share of the variance


def learning_rate_too_high(found: Evidence) -> Iterator[Finding]:
    """The loss rises in training, or in a trial from where the model stands, and does not with smaller steps."""
    code = "learning_rate_too_high"
    train, reference = found.train, found.reference
    if not np.isfinite(train).all():
        yield Finding(code, "error", "The training loss became NaN or infinite.", {"train_loss": train})
    elif train and reference is not None and max(train) > _DIVERGED * reference:
        words = (
            f"The training loss went up to {max(train):.3g}, where a network that has learned nothing costs "
            f"{reference:.3g}: steps overshoot."
        )
        yield Finding(code, "error", words, {"train_loss": max(train), "nothing_learned": reference})
    elif rises := _restless(found):
        words = f"The training loss rose by more than a tenth in {rises} of {len(train) - 1} epochs: steps overshoot."
        yield Finding(code, "warning", words, {"rises": rises})
    elif (
        (trial := found.trial) is not None
        and 0.1 in trial.after
        and _overshoots(trial)
        or (trial := found.fresh_trial) is not None
        and _overshoots(trial)
    ):
        yield Finding(code, "error", trial.in_words(0.1, 0.01), {"before": trial.before, "after": trial.after})


def _overshoots(trial: Trial) -> bool:
    """Whether the loss hardly falls with the rate that is set, and clearly with smaller steps."""
    smaller = max(trial.fall(0.1), trial.fall(0.01))
    return not trial.fall(1.0) > _LEARNS and smaller > max(trial.fall(1.0), 0.0) + _LEARNS


def _restless(found: Evidence) -> int:
    """How many epochs were clearly worse than the one before, if that is often and the loss is still far from 0."""
    train, reference = found.train, found.reference
    rises = sum(after > _JUMP * before for before, after in zip(train, train[1:]))
    often = rises >= max(2, (len(train) - 1) / 4)
    return rises if often and reference is not None and train[-1] > 0.2 * reference else 0


def learning_rate_too_low(found: Evidence) -> Iterator[Finding]:
    """Hardly anything has been learned, evenly; or in a trial only much larger steps bring the loss down."""
    trial, train, reference = found.trial, found.train, found.reference
    if trial is not None and 10.0 in trial.after:
        scale = max((10.0, 100.0), key=trial.fall)
        if trial.fall(scale) > min(_LEARNS, max(_FASTER * trial.fall(1.0), _MOVES)):
            words = trial.in_words(scale)
            yield Finding("learning_rate_too_low", "warning", words, {"before": trial.before, "after": trial.after})
            return
    if len(train) < 3 or reference is None or not np.isfinite(train).all():
        return
    falls = -np.diff(train)
    slow = train[-1] > _HARDLY_LEARNED * reference and 0 < train[0] - train[-1] < _FALL * train[0]
    if slow and (falls > 0).all() and falls[-1] > _PACE * falls.mean():
        words = (
            f"In {len(train)} epochs the training loss fell evenly, but only from {train[0]:.4g} to {train[-1]:.4g}: "
            "larger steps would have gone the same way."
        )
        yield Finding("learning_rate_too_low", "warning", words, {"first": train[0], "last": train[-1]})


def overfitting(found: Evidence) -> Iterator[Finding]:
    """The validation loss rises while the training loss falls, or stays far above it."""
    train, val, scale = found.train, found.val, found.ignorant
    if not train or len(val) != len(train) or scale is None or not np.isfinite([*train, *val]).all():
        return
    few = min(5, max(2, len(val) // 4))  # one epoch may be worse by chance
    best, last, learned = int(np.argmin(val)), float(np.mean(val[-few:])), float(np.mean(train[-few:]))
    figures = {"train_loss": learned, "val_loss": last, "least_val_loss": val[best], "epoch": best + 1}
    if last > _RISE * val[best] and last - val[best] > _WORTH * scale and learned < train[best]:
        words = (
            f"The validation loss was least after epoch {best + 1}, {val[best]:.3g}, and has risen to {last:.3g} while "
            f"the training loss fell to {learned:.3g}."
        )
        yield Finding("overfitting", "warning", words, figures)
    elif last - learned > _GAP * scale and learned < 0.75 * last:
        words = f"The validation loss, {last:.3g}, stays far above the training loss, {learned:.3g}."
        yield Finding("overfitting", "warning", words, figures)
    elif (right := _accuracies(found, few)) is not None and right[0] - right[1] > _KNOWN_BY_HEART:
        words = f"The model is right on {right[0]:.0%} of the rows it learns from, on {right[1]:.0%} of others."
        yield Finding("overfitting", "warning", words, figures | {"train_accuracy": right[0], "val_accuracy": right[1]})


def _accuracies(found: Evidence, few: int) -> tuple[float, float] | None:
    """Those of training and validation over the last few epochs, where the history has them."""
    both = [found.columns.get(f"{part}_accuracy", []) for part in ("train", "val")]
    if not all(len(each) == len(found.train) for each in both):
        return None
    return float(np.mean(both[0][-few:])), float(np.mean(both[1][-few:]))


def underfitting(found: Evidence) -> Iterator[Finding]:
    """On the rows that it was trained on, the model does worse than a simple rule does on rows it has not seen."""
    if not found.trained or found.outputs is None:
        return
    last, signal = found.train[-1], found.signal
    if signal is None or not signal.found:
        if found.ignorant is not None and last > 0.8 * found.ignorant:
            words = (
                f"The training loss, {last:.3g}, is near that of the same answer for every row, {found.ignorant:.3g}."
            )
            yield Finding("underfitting", "warning", words, {"train_loss": last})
        return
    reached = _reached(found)
    behind = last - signal.score if signal.kind == "text" else signal.score - _BEATEN - (reached or 0.0)
    if behind > 0 and (reached is not None or signal.kind == "text"):
        own = {
            "classes": f"the model {reached or 0:.0%} of the rows that it was trained on",
            "numbers": f"the model {reached or 0:.0%} on the rows that it was trained on",
            "text": f"the model ends at {last:.3g}",
        }[signal.kind]
        falling = len(found.train) > 1 and found.train[-1] < 0.97 * found.train[-2]
        end = "was still falling" if falling else "no longer fell"
        words = f"{in_words(signal).capitalize()}, {own}. The training loss {end}."
        yield Finding("underfitting", "warning", words, {**describe(signal), "model": reached, "train_loss": last})


def _reached(found: Evidence) -> float | None:
    """Accuracy on the rows, or the share of the variance that the outputs explain."""
    outputs, targets = found.outputs, found.sample.targets
    assert outputs is not None
    true = labels_of(outputs, targets)
    if true is not None:
        taken = named_classes(outputs)[0].reshape(-1)
        return float((taken == true.reshape(-1)).mean()) if taken.size == true.size else None
    if outputs.shape != targets.shape:
        return None
    rest = np.square(outputs - targets, dtype=np.float64).sum()
    return 1 - float(rest / max(np.square(targets - targets.mean(axis=0), dtype=np.float64).sum(), 1e-30))


OF_HISTORY = (learning_rate_too_high, learning_rate_too_low, overfitting, underfitting)
