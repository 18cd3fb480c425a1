"""Best: which epoch was the best one, by one column of the history."""

from __future__ import annotations

import math
import re

from .. import _check as check

# Columns, or their last words, whose better direction is common knowledge.
_LARGER = {
    "accuracy", "acc", "auc", "auroc", "ap", "map", "precision", "recall", "sensitivity", "specificity", "f1",
    "f1_score", "r2", "r2_score", "iou", "dice", "bleu", "images_per_second",
}  # fmt: skip
_SMALLER = {
    "loss", "error", "error_rate", "err", "mse", "rmse", "mae", "mape", "nll", "bce", "cross_entropy", "perplexity",
    "brier_score", "wer", "cer", "seconds",
}  # fmt: skip


class Best:
    """The best value so far of one column: NaN is worse than every number.

    monitor: the column, None for val_loss, or train_loss where nothing is validated. mode: "max" where larger is
    better, "min" where smaller is; None for columns of which that is known (losses, errors, accuracy, auc, f1, ...).
    Raises ValueError for another mode, and for None with a column of which it is not known.
    """

    def __init__(self, owner: str, monitor: str | None, mode: str | None = None, min_delta: float = 0.0):
        self.owner, self.monitor = owner, monitor
        self.mode = check.choice(owner, "mode", mode, ("min", "max", None)) or _known_mode(owner, monitor)
        self.min_delta = check.number(owner, "min_delta", min_delta, 0, math.inf)
        self.value: float | None = None

    def improved(self, record: dict) -> bool:
        """Take the record's value if it is better by more than min_delta."""
        monitor = self.monitor or ("val_loss" if "val_loss" in record else "train_loss")
        if monitor not in record:
            raise ValueError(f"{self.owner}: monitor {monitor!r} is not recorded; recorded are {', '.join(record)}")
        value = float(record[monitor])
        if self.value is not None and not self._better(value, self.value):
            return False
        self.value = value
        return True

    def _better(self, value: float, best: float) -> bool:
        if math.isnan(best):
            return not math.isnan(value)
        return (value - best if self.mode == "max" else best - value) > self.min_delta

    def forget(self) -> None:
        """Begin anew."""
        self.value = None

    def state_dict(self) -> dict:
        return {"best": self.value, "monitor": self.monitor, "mode": self.mode}

    def load_state_dict(self, state: dict) -> bool:
        """Take over the best value, and say whether it was one: not of another column or direction."""
        same = (state.get("monitor", self.monitor), state.get("mode", self.mode)) == (self.monitor, self.mode)
        self.value = state["best"] if same else None
        return same


def _known_mode(owner: str, monitor: str | None) -> str:
    if monitor is None:
        return "min"
    name = monitor.lower().removeprefix("train_").removeprefix("val_")
    if re.fullmatch(r"top\d+", name):
        return "max"
    for word in (name, name.rpartition("_")[2]):
        if word in _LARGER:
            return "max"
        if word in _SMALLER:
            return "min"
    raise ValueError(
        f"{owner}: whether a larger {monitor!r} is better is not known here; say mode='max' (it is) or mode='min'"
    )
