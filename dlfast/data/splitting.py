"""Parts of data sets, and batches out of rows."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .. import random
from ..tensor import unwrap
from .datasets import ArrayDataset


class Dataset:
    """A base for data sets of one's own: define ``__len__`` and ``__getitem__(i)``, the row i as a tuple.

    Rows may be asked for one at a time (``i`` an integer); a data set that takes arrays of integers too is faster.
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")


class Subset(Dataset):
    """The rows of a data set that ``indices`` names, in that order, without a copy."""

    def __init__(self, dataset: Any, indices: Any) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64).reshape(-1)
        outside = (self.indices < -len(dataset)) | (self.indices >= len(dataset))
        if outside.any():
            raise ValueError(f"Subset: indices must be below {len(dataset)}, got {self.indices[outside][0]}")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        chosen = self.indices[index]
        return self.dataset[chosen if chosen.ndim else int(chosen)]


def random_split(dataset: Any, lengths: Any, generator: np.random.Generator | None = None) -> list[Subset]:
    """Parts of a data set, drawn without replacement: ``lengths`` counts rows, or are fractions that add up to 1.

    The order is drawn from dlfast's generator (`manual_seed`), or from a NumPy generator that is given. Rows that
    fractions leave over go to the first parts, one each. Raises ValueError for lengths that do not add up.
    """
    count = len(dataset)
    sizes = _sizes(count, list(lengths))
    if generator is not None and not isinstance(generator, np.random.Generator):
        raise TypeError(f"random_split: generator must be a NumPy generator, got {type(generator).__name__}")
    order = random.permutation(count) if generator is None else generator.permutation(count)
    ends = np.cumsum(sizes)
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends.tolist())]


def _sizes(count: int, lengths: list) -> list[int]:
    if lengths and all(isinstance(n, float) for n in lengths) and abs(sum(lengths) - 1) < 1e-6:
        sizes = [int(count * share) for share in lengths]
        for i in range(count - sum(sizes)):
            sizes[i % len(sizes)] += 1
        return sizes
    try:
        sizes = [operator.index(n) for n in lengths]
    except TypeError:
        raise ValueError(
            f"random_split: lengths must be integers, or fractions that add up to 1, got {lengths}"
        ) from None
    if sum(sizes) != count or min(sizes, default=0) < 0:
        raise ValueError(f"random_split: lengths must add up to the {count} rows of the data set, got {lengths}")
    return sizes


def collate(rows: list) -> Any:
    """A batch out of rows: numbers and arrays are stacked, inside tuples and dictionaries too."""
    first = rows[0]
    if isinstance(first, (tuple, list)):
        return tuple(collate(list(column)) for column in zip(*rows, strict=True))
    if isinstance(first, dict):
        return {key: collate([row[key] for row in rows]) for key in first}
    if isinstance(first, str):
        return np.array(rows)
    arrays = [unwrap(row) for row in rows]
    if len({array.shape for array in arrays}) > 1:
        shapes = ", ".join(map(str, sorted({array.shape for array in arrays})))
        raise ValueError(f"DataLoader: the rows of a batch must have one shape, got {shapes}")
    return np.stack(arrays)


def gives_rows(dataset: Any, indices: np.ndarray) -> bool:
    """Whether a data set takes one integer at a time: arrays of them raise, or do not give what their rows are.

    Random numbers that it draws to show this are given back.
    """
    if isinstance(dataset, (ArrayDataset, np.ndarray)):
        return False
    if isinstance(dataset, Subset):
        return gives_rows(dataset.dataset, dataset.indices[indices])
    state = random.get_state()
    try:
        batch = dataset[indices]
        return not _is_batch(batch, dataset[int(indices[0])], len(indices))
    except Exception:  # whatever a data set for single rows does with an array; its own rows show what is wrong
        return True
    finally:
        random.set_state(state)


def _is_batch(batch: Any, row: Any, count: int) -> bool:
    """Whether a batch has `count` rows laid out like this one."""
    if isinstance(row, (tuple, list)):
        return (
            isinstance(batch, (tuple, list))
            and len(batch) == len(row)
            and all(_is_batch(part, of, count) for part, of in zip(batch, row))
        )
    if isinstance(row, dict):
        return isinstance(batch, dict) and all(key in batch and _is_batch(batch[key], row[key], count) for key in row)
    return np.shape(batch) == (count, *np.shape(row))
