"""History: what each epoch of a training run measured."""

from __future__ import annotations

import json
from pathlib import Path

from .._files import write_atomically, write_text


class History:
    """One dictionary an epoch in ``epochs``; ``history["val_loss"]`` is one of its columns as a list.

    Columns of `fit`: train_loss, train_<metric>, with validation data val_loss, val_<metric>, then seconds (of the
    training part) and images_per_second. ``stopped`` says why training ended before its last epoch, else it is None.
    """

    def __init__(self, epochs=(), stopped: str | None = None):
        self.epochs: list[dict] = [dict(epoch) for epoch in epochs]
        self.stopped = stopped

    def __len__(self) -> int:
        return len(self.epochs)

    def __getitem__(self, column: str) -> list[float]:
        if self.epochs and column not in self.epochs[0]:
            raise KeyError(f"History has no column {column!r}; known are {', '.join(self.epochs[0])}")
        return [epoch[column] for epoch in self.epochs]

    def to_json(self, path=None) -> str:
        """The history as JSON text, also written to the file ``path`` if one is given."""
        text = json.dumps({"epochs": self.epochs, "stopped": self.stopped}, indent=1)
        if path is not None:
            write_text(path, text)
        return text

    @classmethod
    def from_json(cls, source) -> History:
        """The history of a JSON text (str) or of a file (Path), as `to_json` wrote it; ValueError for another."""
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        try:
            content = json.loads(text)
            return cls(content["epochs"], content["stopped"])
        except (ValueError, KeyError, TypeError) as error:
            where = source if isinstance(source, Path) else "this text"
            raise ValueError(f"History: {where} is not what to_json wrote: {error!r}") from error

    def plot(self, path) -> None:
        """Draw the loss and each metric over the epochs, training and validation, into an image file.

        The suffix of ``path`` says the format. Raises ImportError without matplotlib (the extra ``plots``).
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("History.plot needs matplotlib: install dlfast with its extra `plots`") from error
        measures = [name.removeprefix("train_") for name in (self.epochs or [{}])[0] if name.startswith("train_")]
        figure = Figure(figsize=(5 * max(1, len(measures)), 3.5), layout="constrained")
        for position, measure in enumerate(measures, start=1):
            self._draw(figure.add_subplot(1, len(measures), position), measure)
        write_atomically(path, figure.savefig)

    def _draw(self, axes, measure: str) -> None:
        numbers = range(1, len(self) + 1)
        for part, label in (("train", "training"), ("val", "validation")):
            if f"{part}_{measure}" in self.epochs[0]:
                axes.plot(numbers, self[f"{part}_{measure}"], marker="o", label=label)
        axes.set(xlabel="epoch", ylabel=measure)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.epochs[-1].items()) if self.epochs else "empty"
        return f"History({len(self)} epochs; last: {last})" if self.epochs else "History(empty)"
