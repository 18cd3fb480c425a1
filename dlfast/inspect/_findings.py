"""What `doctor` can find: codes, what the notes advise, and which finding another one follows from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ._checks import InitialLoss, TinyBatch
from ._gradients import GradientFlow
from ._signal import Signal
from ._units import DeadUnits

# In the order of causes: what stands further up can bring about what stands below it, never the other way round. The
# advice is that of the notes' tables of common issues, activations and initialisation, and of their list for debugging.
ADVICE = {
    "nan_in_data": "Remove these rows or fill the gaps before training: one NaN makes every weight NaN.",
    "not_normalised": "Bring every input to mean 0 and variance 1, with the statistics of the training data "
    "(data.transforms.Normalize), or put batch normalisation in front.",
    "targets_not_normalised": "Subtract the mean of the targets and divide by their standard deviation; undo it in "
    "what the model predicts.",
    "labels": "Look at examples with their labels: were inputs and labels shuffled apart, sorted differently or joined "
    "wrongly?",
    "softmax_twice": "Remove the last Softmax: cross_entropy takes logits and applies it itself.",
    "exploding_gradients": "Clip the gradients (fit(clip_grad_norm=1.0)), lower the learning rate, start with smaller "
    "weights; LSTM in place of a plain RNN.",
    "learning_rate_too_high": "Lower the learning rate, by 10 at first; clip the gradients, or warm up.",
    "nan_in_weights": "Start again from fresh weights with a lower learning rate and clipped gradients.",
    "vanishing_gradients": "ReLU in place of sigmoid and tanh, residual connections, batch normalisation, He or Xavier "
    "initial weights; LSTM in place of a plain RNN.",
    "dead_relu": "Leaky ReLU or ELU; a lower learning rate; He initial weights with biases at 0.",
    "saturated_units": "ReLU in place of sigmoid and tanh; Xavier initial weights; normalised inputs.",
    "wrong_initial_loss": "Check that outputs and loss fit; start the last layer with smaller weights.",
    "learning_rate_too_low": "Raise the learning rate, by 10 at first.",
    "cannot_learn_tiny_batch": "Look for a fault before training for long: the loss, the targets, a layer that passes "
    "no gradient, frozen parameters.",
    "overfitting": "Dropout, L2 or L1 regularization (weight_decay), more data or augmentation, early stopping.",
    "underfitting": "A larger model, or longer training; less regularization.",
    "class_imbalance": "Weigh the classes (fit(class_weight=...)) or draw them equally often; judge by recall and the "
    "confusion matrix, not by accuracy.",
}

# What explains what: a finding on the right is told as a consequence where one on the left has been found too.
_TROUBLE = ("wrong_initial_loss", "cannot_learn_tiny_batch", "underfitting", "learning_rate_too_low")
_BLOWN_UP = ("nan_in_weights", "dead_relu", "saturated_units", "vanishing_gradients", "overfitting", *_TROUBLE)
CONSEQUENCES: dict[str, tuple[str, ...]] = {
    "not_normalised": ("exploding_gradients", "learning_rate_too_high", *_BLOWN_UP),
    "targets_not_normalised": ("exploding_gradients", "learning_rate_too_high", *_BLOWN_UP),
    "labels": ("overfitting", "underfitting", "learning_rate_too_low"),
    "softmax_twice": _TROUBLE,
    "exploding_gradients": ("learning_rate_too_high", *_BLOWN_UP),
    "learning_rate_too_high": _BLOWN_UP,
    "nan_in_weights": _TROUBLE,
    "vanishing_gradients": ("saturated_units", *_TROUBLE),
    "dead_relu": ("vanishing_gradients", *_TROUBLE),
    "saturated_units": _TROUBLE,
    "learning_rate_too_low": ("underfitting",),
    "cannot_learn_tiny_batch": ("underfitting", "learning_rate_too_low"),
}


class Finding(NamedTuple):
    """severity: "error" (training cannot work) or "warning" (it suffers). because: the code that this follows from."""

    code: str
    severity: str
    words: str
    figures: dict[str, Any]
    because: str | None = None

    @property
    def advice(self) -> str:
        """What the notes advise."""
        return ADVICE[self.code]


def ordered(findings: list[Finding]) -> list[Finding]:
    """Causes before consequences, each with the first cause that explains it; else in the order of the table."""
    rank = list(ADVICE)
    found = sorted(findings, key=lambda finding: rank.index(finding.code))
    codes = [finding.code for finding in found]
    explained = []
    for finding in found:
        causes = [code for code in codes if finding.code in CONSEQUENCES.get(code, ())]
        explained.append(finding._replace(because=causes[0]) if causes else finding)
    return sorted(explained, key=lambda finding: finding.because is not None)


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """`findings`, the leading one first, and what they were made from: None for what was not measured.

    gradients, units, initial, tiny: the results of `gradient_flow`, `dead_units`, `check_initial_loss` and
    `overfit_tiny_batch`. signal: what simple rules make of the data. rows: how many rows were looked at.
    """

    findings: list[Finding]
    rows: int
    gradients: GradientFlow | None = None
    units: DeadUnits | None = None
    initial: InitialLoss | None = None
    tiny: TinyBatch | None = None
    signal: Signal | None = None

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def codes(self) -> list[str]:
        """The codes of the findings, the leading one first."""
        return [finding.code for finding in self.findings]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __str__(self) -> str:
        if self.healthy:
            return "\n".join(["Healthy: nothing wrong was found.", *self.checked()])
        lines = []
        for number, finding in enumerate(self.findings, start=1):
            follows = f" (follows from {finding.because})" if finding.because else ""
            lines.append(f"{number}. {finding.severity}: {finding.code}{follows}")
            lines += textwrap.wrap(finding.words, 116, initial_indent="   ", subsequent_indent="   ")
            if not finding.because:
                lines += textwrap.wrap(f"Advice: {finding.advice}", 116, initial_indent="   ", subsequent_indent="   ")
        return "\n".join(lines)

    __repr__ = __str__

    def checked(self) -> list[str]:
        """What was looked at, a line each."""
        lines = [f"Data: {self.rows} rows looked at."]
        if self.signal is not None:
            lines.append(f"Inputs and targets: {in_words(self.signal)}.")
        if self.initial is not None:
            lines.append(f"Loss {str(self.initial).removeprefix('loss ')}.")
        if self.gradients is not None and len(self.gradients):
            ratios = [row.relative for row in self.gradients]
            lines.append(f"Gradients over weights, by layer: {min(ratios):.2g} to {max(ratios):.2g}.")
        if self.units is not None and len(self.units):
            total = sum(row.units for row in self.units)
            lines.append(f"Units: {self.units.dead} of {total} dead, {self.units.saturated} saturated.")
        if self.tiny is not None:
            lines.append(f"Tiny batch: {self.tiny}.")
        return lines


def in_words(signal: Signal) -> str:
    """What the simple rules reach."""
    if signal.kind == "classes":
        return f"a simple rule names {signal.score:.0%} of the classes right, always the same class {signal.chance:.0%}"
    if signal.kind == "numbers":
        return f"a simple rule explains {max(0.0, signal.score):.0%} of the variance of the targets"
    scores = f"{signal.score:.3g} nats, one of single codes at {signal.chance:.3g}"
    return f"a table of pairs predicts the next code at {scores}"
