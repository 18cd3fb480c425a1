"""From rows as they were read to arrays that a model takes, and back: by the facts that the config of a run keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from .config import Facts
from .options import Options
from .sources import Rows, Source, is_classes


def facts_of(source: Source, shape: tuple[int, ...], options: Options) -> Facts:
    """What the training rows tell; `shape` is that of an input as the model reads it."""
    x, y = source.training.x, source.training.y
    assert y is not None
    kind = "series" if source.series else {1: "table", 2: "sequences", 3: "images"}[len(shape)]
    standard = options.normalize == "standard" or source.series
    mean, std = _moments(scaled(x).reshape(-1, shape[-1])) if standard else ([], [])
    classes, target_mean, target_std = [], [], []
    if is_classes(y):
        found = np.unique(y).tolist()
        numbered = source.classes and found == list(range(len(source.classes)))
        classes = source.classes if numbered else [str(name) for name in found]
    elif source.series:
        target_mean, target_std = mean, std  # a forecast is added to the last input
    else:
        target_mean, target_std = _moments(y.reshape(len(y), -1))
    return Facts(
        kind=kind,
        shape=list(shape),
        outputs=len(classes) or len(target_mean),
        classes=classes,
        mean=mean,
        std=std,
        target_mean=target_mean,
        target_std=target_std,
        columns=source.columns,
        target=source.target,
        rows=len(source.training),
        val_rows=len(source.validation),
    )


def _moments(columns: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and deviation of each column, 1 where it is constant."""
    mean, std = columns.mean(axis=0, dtype=np.float64), columns.std(axis=0, dtype=np.float64)
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def scaled(x: np.ndarray) -> np.ndarray:
    """Bytes as float32 in 0..1, all else as float32."""
    return x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x.astype(np.float32, copy=False)


def inputs(facts: Facts, x: np.ndarray) -> np.ndarray:
    """What the model takes, float32 (N, ...). Raises ValueError for rows of another shape than it was trained on."""
    if int(np.prod(x.shape[1:])) != int(np.prod(facts.shape)):
        raise ValueError(f"rows must have shape {tuple(facts.shape)}, as those of the training, got {x.shape[1:]}")
    y = scaled(x).reshape(len(x), *facts.shape)
    if facts.mean:
        y = (y - np.array(facts.mean, np.float32)) / np.array(facts.std, np.float32)
    return y


def targets(facts: Facts, y: np.ndarray) -> np.ndarray:
    """Numbers of classes, int64 (N,), or what the model tells, float32 (N, K), with mean 0 and deviation 1.

    Raises ValueError for classes that the training has not.
    """
    if not facts.classes:
        columns = y.reshape(len(y), -1).astype(np.float64)
        if columns.shape[1] != facts.outputs:
            raise ValueError(f"targets must be {facts.outputs} numbers a row, as those of the training, got {y.shape}")
        return ((columns - facts.target_mean) / facts.target_std).astype(np.float32)
    if is_classes(y):
        names = [str(name) for name in y.tolist()]
        codes = {name: code for code, name in enumerate(facts.classes)}
        if y.dtype.kind in "iu" and not set(names) <= set(codes):  # numbers of named classes
            codes |= {str(code): code for code in range(len(facts.classes))}
        if not (unknown := sorted(set(names) - set(codes))):
            return np.array([codes[name] for name in names], np.int64)
        raise ValueError(f"the training has no classes {', '.join(unknown[:5])}, only {', '.join(facts.classes)}")
    raise ValueError(f"targets must be classes, {', '.join(facts.classes)}, got {y.dtype} {y.shape}")


def in_units(facts: Facts, outputs: np.ndarray) -> np.ndarray:
    """Numbers that the model tells, in the units of the data, float64 (N, K)."""
    return outputs.astype(np.float64).reshape(len(outputs), -1) * facts.target_std + facts.target_mean


def pair(facts: Facts, rows: Rows) -> tuple[np.ndarray, Any]:
    """Inputs and targets of rows."""
    return inputs(facts, rows.x), None if rows.y is None else targets(facts, rows.y)
