"""The curves of a training, for a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._figures import COLOURS, FAINT, Pictured, bare, figure


@dataclass(frozen=True)
class Curves(Pictured):
    """Loss and metrics by epoch, training and validation, from the columns of a `History`."""

    columns: dict[str, list[float]]

    def figure(self) -> Any:
        measures = [name.removeprefix("train_") for name in self.columns if name.startswith("train_")] or ["loss"]
        picture = figure(4.4 * max(2, len(measures)), 3.2)
        for i, measure in enumerate(measures):
            axes = bare(picture.add_subplot(1, max(2, len(measures)), i + 1))
            for part, words, colour in (("train", "training", COLOURS[0]), ("val", "validation", COLOURS[1])):
                if values := self.columns.get(f"{part}_{measure}"):
                    few = "o-" if len(values) < 30 else "-"
                    axes.plot(range(1, len(values) + 1), values, few, color=colour, markersize=3.5, label=words)
            losses = self.columns.get("val_loss", [])
            if len(losses) > 1 and np.isfinite(losses).any():
                axes.axvline(1 + int(np.nanargmin(losses)), color=FAINT, linestyle="--", linewidth=1)
            axes.set(xlabel="epoch", ylabel=measure.replace("_", " ").replace("$", r"\$"))
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(frameon=False, fontsize=8)
        return picture
