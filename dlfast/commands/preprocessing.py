"""From data sets as they were read to what a model takes, and back: by the facts that the config of a run keeps."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..data import ArrayDataset, Dataset
from ..data.labels import targets_of
from ..data.transforms import Normalize
from .config import Facts
from .options import Options
from .sources import Source, is_classes


def facts_of(source: Source, shape: tuple[int, ...], options: Options) -> Facts:
    """What the training rows tell; `shape` is that of an input as the model reads it."""
    y = targets_of(source.training)
    classes = [str(name) for name in source.classes]
    target_mean: list[float] = []
    target_std: list[float] = []
    mean, std = _moments(source.training, shape) if options.normalize == "standard" or source.series else ([], [])
    if source.series:
        target_mean, target_std = mean, std  # a forecast is added to the last input
    elif not is_classes(y):
        target_mean, target_std = _moments(ArrayDataset(_columns(y)), (y.size // len(y),))
    elif not classes:
        classes = [str(label) for label in np.unique(y).tolist()]
    return Facts(
        kind="series" if source.series else {1: "table", 2: "sequences", 3: "images"}[len(shape)],
        shape=list(shape),
        outputs=len(classes) or len(target_mean),
        classes=classes,
        coded=bool(source.classes),
        mean=mean,
        std=std,
        target_mean=target_mean,
        target_std=target_std,
        table={} if source.table is None else _without_none(source.table.as_dict()),
        series=source.series,
        rows=len(source.training),
        val_rows=len(source.validation),
    )


def _moments(part: Any, shape: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel or column."""
    found = Normalize.of(_Shaped(part, shape))
    return found.mean.tolist(), found.std.tolist()


def _without_none(value: Any) -> Any:
    """Nested lists and dictionaries without what is None, for which TOML has no word."""
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, (list, tuple)) else value


def _columns(y: np.ndarray) -> np.ndarray:
    return y.reshape(len(y), -1).astype(np.float64)


class _Shaped(Dataset):
    """The inputs of a data set in another shape, in batches."""

    takes_arrays = True

    def __init__(self, part: Any, shape: tuple[int, ...]) -> None:
        self.part, self.shape = part, shape

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: Any) -> tuple[np.ndarray]:
        x = self.part[index][0]
        return (x.reshape(len(x), *self.shape),)


class Prepared(Dataset):
    """A data set as the model takes it, prepared when it is asked for: pictures in files."""

    takes_arrays = True

    def __init__(self, part: Any, facts: Facts) -> None:
        self.part, self.facts = part, facts

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: Any) -> tuple[np.ndarray, np.ndarray]:
        x, y = self.part[np.atleast_1d(np.arange(len(self))[index])]
        return inputs(self.facts, x), targets(self.facts, y)

    @property
    def targets(self) -> np.ndarray:
        return targets(self.facts, targets_of(self.part))


def prepared(facts: Facts, part: Any) -> Any:
    """A part with inputs and targets as the model takes them."""
    if not isinstance(part, ArrayDataset):
        return Prepared(part, facts)
    return ArrayDataset(inputs(facts, part.arrays[0]), targets(facts, part.arrays[-1]))


def inputs(facts: Facts, x: np.ndarray) -> np.ndarray:
    """What the model takes, float32 (N, ...). Raises ValueError for rows of another shape than it was trained on."""
    if prod(x.shape[1:]) != prod(facts.shape):
        raise ValueError(f"rows must have shape {tuple(facts.shape)}, as those of the training, got {x.shape[1:]}")
    y = x.reshape(len(x), *facts.shape).astype(np.float32, copy=False)
    return Normalize(facts.mean, facts.std)(y) if facts.mean else y


def targets(facts: Facts, y: np.ndarray) -> np.ndarray:
    """Numbers of classes, int64 (N,), or what the model tells, float32 (N, K), with mean 0 and deviation 1.

    Raises ValueError for classes that the training has not, and for numbers that are not as many.
    """
    if not facts.classes:
        columns = _columns(y)
        if columns.shape[1] != facts.outputs:
            raise ValueError(f"targets must be {facts.outputs} numbers a row, as in the training, got shape {y.shape}")
        return ((columns - facts.target_mean) / facts.target_std).astype(np.float32)
    if not is_classes(y):
        raise ValueError(f"targets must be classes, {', '.join(facts.classes)}, got {y.dtype} {y.shape}")
    labels = np.arange(facts.outputs) if facts.coded else np.array(facts.classes, np.int64)
    y = y.reshape(-1).astype(np.int64, copy=False)
    if unknown := sorted(set(y.tolist()) - set(labels.tolist())):
        raise ValueError(f"the training has no class {unknown[0]}: it has {', '.join(map(str, labels))}")
    return np.searchsorted(labels, y)


def in_units(facts: Facts, outputs: np.ndarray) -> np.ndarray:
    """Numbers that the model tells, in the units of the data, float64 (N, K)."""
    return _columns(outputs) * facts.target_std + facts.target_mean
