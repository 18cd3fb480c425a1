"""Parts of data sets: subsets, splits, folds."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _check as check
from .. import random
from .batches import is_batch
from .datasets import ArrayDataset
from .labels import class_labels, targets_of


class Dataset:
    """A base for data sets of one's own: define ``__len__`` and ``__getitem__(i)``, the row i as a tuple.

    Rows may be asked for one at a time (``i`` an integer); a data set that takes arrays of integers too is faster. The
    loader tries whether it does, on the first batch, where ``takes_arrays`` does not say so.
    """

    takes_arrays = False

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def split(self, count: int | float, *, shuffle: bool = False, stratify: Any = False) -> tuple[Any, Any]:
        """See `data.split`."""
        return split(self, count, shuffle=shuffle, stratify=stratify)


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


class Transformed(Dataset):
    """A data set seen through a transform of its inputs: ``Transformed(folder, Normalize(0.5, 0.25))``.

    ``transform(x)`` gets the first part of each batch, as `transforms` do, or of a row as a batch of one. A random one
    draws anew each time a row is asked for.
    """

    def __init__(self, dataset: Any, transform: Any) -> None:
        if not callable(transform):
            raise TypeError(f"Transformed: transform must be a function of a batch, got {transform!r}")
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> tuple:
        x, *rest = self.dataset[index]
        if isinstance(index, (int, np.integer)):
            return self.transform(np.asarray(x)[None])[0], *rest
        return self.transform(x), *rest

    @property
    def targets(self) -> np.ndarray:
        return targets_of(self.dataset)


def split(
    dataset: Any,
    count: int | float,
    *,
    shuffle: bool = False,
    stratify: Any = False,
    generator: np.random.Generator | None = None,
) -> tuple[Any, Any]:
    """Two parts of a data set: ``count`` rows, or a share of them in (0, 1), and the rest.

    shuffle    draw the rows of the first part, from dlfast's generator or the NumPy generator that is given; else they
               are the first ones
    stratify   each class has the same share of both parts, to rounding. True: the classes are the data set's targets;
               or an array (N,) of labels. Without `shuffle` a part has the first rows of each class
    Both parts keep the order of rows. An `ArrayDataset` gives two: views where the first part is the beginning, else
    copies; another data set gives two `Subset`.
    Raises ValueError where a part would be empty, and where a class has too few rows to be in both.
    """
    rows = len(dataset)
    if isinstance(count, float):
        count = round(check.number("split", "count", count, 0, 1, low_open=True) * rows)
    count = check.integer("split", "count", count, least=1)
    if count >= rows:
        raise ValueError(f"split: count must be between 1 and {rows - 1} for {rows} rows, got {count}")
    order = _order("split", rows, shuffle, generator)
    first, rest = _parts("split", dataset, order, [count, rows - count], stratify)
    if isinstance(dataset, ArrayDataset):
        if not shuffle and first[-1] == count - 1:
            return ArrayDataset(*dataset[:count]), ArrayDataset(*dataset[count:])
        return ArrayDataset(*dataset[np.sort(first)]), ArrayDataset(*dataset[np.sort(rest)])
    return Subset(dataset, np.sort(first)), Subset(dataset, np.sort(rest))


def random_split(
    dataset: Any, lengths: Any, generator: np.random.Generator | None = None, *, stratify: Any = False
) -> list[Subset]:
    """Parts of a data set, drawn without replacement: ``lengths`` counts rows, or are fractions that add up to 1.

    The order is drawn from dlfast's generator (`manual_seed`), or from a NumPy generator that is given. Rows that
    fractions leave over go to the first parts, one each. stratify: each class has its share of every part, see `split`.
    Raises ValueError for lengths that do not add up.
    """
    sizes = _sizes(len(dataset), list(lengths))
    order = _order("random_split", len(dataset), True, generator)
    return [Subset(dataset, part) for part in _parts("random_split", dataset, order, sizes, stratify)]


def k_fold(
    dataset: Any,
    folds: int = 5,
    *,
    shuffle: bool = False,
    stratify: Any = False,
    generator: np.random.Generator | None = None,
) -> Iterator[tuple[Subset, Subset]]:
    """(training, validation) for each of ``folds`` parts of a data set: every row is in the validation once.

    Parts differ by at most one row, with `stratify` in each class too. Options as in `split`. The order is drawn when
    the function is called. Raises ValueError for fewer rows, or rows of a class, than folds.
    """
    folds = check.integer("k_fold", "folds", folds, 2)
    if folds > len(dataset):
        raise ValueError(f"k_fold: folds must be at most the {len(dataset)} rows of the data set, got {folds}")
    order = _order("k_fold", len(dataset), shuffle, generator)
    if isinstance(stratify, bool) and not stratify:
        parts = np.array_split(order, folds)
    else:
        codes = _codes("k_fold", dataset, stratify, folds)
        by_class = order[np.argsort(codes[order], kind="stable")]
        parts = [by_class[i::folds] for i in range(folds)]
    return ((Subset(dataset, np.setdiff1d(order, part)), Subset(dataset, np.sort(part))) for part in parts)


def _order(op: str, count: int, shuffle: bool, generator: Any) -> np.ndarray:
    if generator is not None and not isinstance(generator, np.random.Generator):
        raise TypeError(f"{op}: generator must be a NumPy generator, got {type(generator).__name__}")
    if not shuffle:
        return np.arange(count)
    return random.permutation(count) if generator is None else generator.permutation(count)


def _parts(op: str, dataset: Any, order: np.ndarray, sizes: list[int], stratify: Any) -> list[np.ndarray]:
    """The order cut into parts, by classes where that is asked for."""
    if isinstance(stratify, bool) and not stratify:
        return np.split(order, np.cumsum(sizes)[:-1])
    codes = _codes(op, dataset, stratify, len([size for size in sizes if size]))
    classes = int(codes.max()) + 1
    if small := [size for size in sizes if 0 < size < classes]:
        raise ValueError(f"{op}: a part of {small[0]} rows cannot have rows of all {classes} classes")
    parts = []
    for size in sizes[:-1]:
        taken = _first_of_each(codes[order], size)
        parts.append(order[taken])
        order = order[~taken]
    return [*parts, order]


def _codes(op: str, dataset: Any, stratify: Any, parts: int) -> np.ndarray:
    """The number of each row's class, of classes that have a row for every part."""
    labels = class_labels(op, dataset if stratify is True else stratify)
    if len(labels) != len(dataset):
        raise ValueError(f"{op}: stratify must have a label for each of {len(dataset)} rows, got {len(labels)}")
    names, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if (few := int(counts.argmin())) >= 0 and counts[few] < parts:
        raise ValueError(
            f"{op}: class {names[few]} has {counts[few]} rows, too few for {parts} parts; leave stratify out, or put "
            "the rare classes together"
        )
    return codes


def _first_of_each(codes: np.ndarray, size: int) -> np.ndarray:
    """Whether a row is among the first of its class, of which each gives its share of `size`, rounded.

    Shares are rounded down, and the rows that lack go to the classes with the largest remainders.
    """
    counts = np.bincount(codes)
    shares = counts * size
    quotas, remainders = np.divmod(shares, len(codes))
    quotas[np.argsort(-remainders, kind="stable")[: size - quotas.sum()]] += 1
    by_class = np.argsort(codes, kind="stable")
    rank = np.empty(len(codes), np.int64)
    rank[by_class] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank < quotas[codes]


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


def is_arrays(dataset: Any) -> bool:
    """Whether its rows lie in arrays: they are there at once, and nothing is drawn."""
    if isinstance(dataset, Subset):
        return is_arrays(dataset.dataset)
    return isinstance(dataset, (ArrayDataset, np.ndarray))


def gives_rows(dataset: Any, indices: np.ndarray) -> bool:
    """Whether a data set takes one integer at a time: arrays of them raise, or do not give what their rows are.

    Random numbers that it draws to show this are given back.
    """
    if is_arrays(dataset) or getattr(dataset, "takes_arrays", False):
        return False
    if isinstance(dataset, Subset):
        return gives_rows(dataset.dataset, dataset.indices[indices])
    if isinstance(dataset, Transformed):
        return gives_rows(dataset.dataset, indices)
    state = random.get_state()
    try:
        batch = dataset[indices]
        return not is_batch(batch, dataset[int(indices[0])], len(indices))
    except Exception:  # whatever a data set for single rows does with an array; its own rows show what is wrong
        return True
    finally:
        random.set_state(state)
