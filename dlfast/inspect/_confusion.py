"""confusion_matrix: which classes a model takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import random
from .._printing import plain_text
from ..nn.module import Module
from ..train.evaluation import check_model, evaluating
from ..train.placing import Place, as_array
from ..train.sources import as_loader
from ._figures import Pictured, figure, short

_WRITTEN = 25  # classes, of which the numbers are written into the picture


@dataclass(frozen=True, repr=False)
class ConfusionMatrix(Pictured):
    """counts (C, C): row i, column j counts what is of class i and was taken for class j."""

    counts: np.ndarray
    classes: list[str]

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.counts) / max(1, self.counts.sum()))

    @property
    def recall(self) -> np.ndarray:
        """Of each class, the share that was found; NaN where there is none of it."""
        with np.errstate(invalid="ignore"):
            return np.diag(self.counts) / self.counts.sum(axis=1)

    @property
    def precision(self) -> np.ndarray:
        """Of what was taken for each class, the share that is of it; NaN where nothing was."""
        with np.errstate(invalid="ignore"):
            return np.diag(self.counts) / self.counts.sum(axis=0)

    def __str__(self) -> str:
        return plain_text(self, width=max(120, 8 * len(self.classes)))

    __repr__ = __str__

    def __rich__(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
        table.add_column("is \\ taken for")
        for name in (*self.classes, "recall"):
            table.add_column(name, justify="right", no_wrap=True)
        for name, counts, recall in zip(self.classes, self.counts, self.recall, strict=True):
            table.add_row(name, *(str(count) if count else "." for count in counts), f"{recall:.1%}")
        return table

    def figure(self) -> Any:
        """Each row as shares of its class."""
        count = len(self.classes)
        picture = figure(*(2 * (max(3.5, min(12.0, 0.42 * count + 1.5)),)))
        axes = picture.add_subplot()
        shares = self.counts / np.maximum(1, self.counts.sum(axis=1, keepdims=True))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if count <= _WRITTEN:
            names = [short(name) for name in self.classes]
            axes.set_xticks(range(count), names, rotation=45 if _long(self.classes) else 0, fontsize=8)
            axes.set_yticks(range(count), names, fontsize=8)
            for i, j in zip(*np.nonzero(self.counts)):
                colour = "white" if shares[i, j] > 0.5 else "#1b2a41"
                axes.text(j, i, str(self.counts[i, j]), ha="center", va="center", fontsize=7, color=colour)
        axes.set(xlabel="taken for", ylabel="is")
        return picture


def _long(names: Sequence[str]) -> bool:
    return max(map(len, names), default=0) > 2


def confusion_matrix(
    model: Module, data: Any, classes: Sequence[str] | None = None, *, batch_size: int = 256
) -> ConfusionMatrix:
    """Count, over all of `data` (as in `fit`), which class is taken for which. Print it, or `.plot(path)`.

    classes: their names, else numbers. Targets are labels, or vectors of probabilities; those below 0 do not count. One
    output tells two classes apart, as in `accuracy`. The model runs in evaluation mode and stays as it is.
    Raises ValueError where targets are no classes of the outputs, or where names are too few.
    """
    check_model("confusion_matrix", model)
    state = random.get_state()
    try:
        place = Place(model)
        with evaluating(model):
            pairs = [
                _labels(as_array(model(*place.put(tuple(inputs)))), targets)
                for *inputs, targets in as_loader("data", data, batch_size)
            ]
    finally:
        random.set_state(state)
    count = max(pair[2] for pair in pairs)
    if classes is not None and len(classes) != count:
        raise ValueError(f"confusion_matrix: the model tells {count} classes apart, got {len(classes)} names")
    matrix = np.zeros((count, count), np.int64)
    for true, taken, _ in pairs:
        np.add.at(matrix, (true, taken), 1)
    return ConfusionMatrix(matrix, [str(name) for name in (range(count) if classes is None else classes)])


def _labels(outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Labels that are, labels that the outputs name, and how many classes there are."""
    taken, count = named_classes(outputs)
    if targets.shape == outputs.shape and count == outputs.shape[-1]:
        targets = targets.argmax(axis=-1)
    if targets.size != taken.size:
        raise ValueError(
            f"confusion_matrix: outputs must have shape (..., C) and targets (...), got {outputs.shape} and "
            f"{targets.shape}"
        )
    true, taken = targets.reshape(-1), taken.reshape(-1)
    counted = true >= 0
    true, taken = true[counted].astype(np.int64), taken[counted]
    if true.size and true.max() >= count:
        raise ValueError(f"confusion_matrix: labels must be below {count}, the number of classes, got {true.max()}")
    return true, taken, count


def named_classes(outputs: np.ndarray) -> tuple[np.ndarray, int]:
    """The labels that outputs (..., C) name, and how many there are: one output, a logit, tells two apart."""
    if outputs.ndim < 2 or outputs.shape[-1] == 1:
        logits = outputs.reshape(-1) if outputs.ndim < 2 else outputs[..., 0]
        return (logits > 0).astype(np.int64), 2
    return outputs.argmax(axis=-1), outputs.shape[-1]
