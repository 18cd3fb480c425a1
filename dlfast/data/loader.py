"""DataLoader: batches of a data set, in order or shuffled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from .. import _check as check
from .. import random
from ..kernels.memory import pooled
from .splitting import collate, gives_rows


class DataLoader:
    """Iterates over ``dataset`` in batches: tuples of arrays, each gathered with one fancy index, so they are copies.

    ``dataset`` needs ``len(dataset)`` and ``dataset[array of integers] -> tuple of arrays``, as `ArrayDataset` has; or
    ``dataset[integer] -> row``, as data sets for PyTorch have, whose rows are then stacked, in nested tuples and
    dictionaries too.
    With ``shuffle`` each pass draws a new order from the generator that `dlfast.manual_seed` sets, once, when the pass
    starts. ``drop_last`` leaves out a last batch that is smaller. ``prefetch`` gathers the next batch in a thread while
    the caller works on this one: worth it for a data set that reads files or computes, not for arrays in memory, where
    the gather of a batch takes microseconds.
    """

    def __init__(self, dataset, batch_size: int = 1, shuffle=False, drop_last=False, *, prefetch=False):
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError(f"DataLoader: dataset must have a length and rows, got {type(dataset).__name__}")
        self.dataset = dataset
        self.batch_size = check.integer("DataLoader", "batch_size", batch_size, least=1)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.prefetch = prefetch
        self._by_rows: bool | None = None  # not known before the first batch

    def __len__(self) -> int:
        """The number of batches in a pass."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + bool(rest and not self.drop_last)

    def __iter__(self) -> Iterator[tuple]:
        count = len(self.dataset)
        order = random.permutation(count) if self.shuffle else np.arange(count)
        batches = [order[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(self))]
        if self.prefetch:
            return _prefetched(self._gather, batches)
        return map(self._gather, batches)

    def peek(self):
        """The first row as a batch, no row where there is none; no random order is drawn."""
        indices = np.arange(min(1, len(self.dataset)))
        return self._gather(indices) if len(indices) else self.dataset[indices]

    def _gather(self, indices: np.ndarray) -> tuple:
        with pooled():  # each batch takes the memory of one before
            if self._by_rows is None:
                self._by_rows = gives_rows(self.dataset, indices)
            if self._by_rows:
                return collate([self.dataset[int(i)] for i in indices])
            return self.dataset[indices]


def _prefetched(gather: Callable, batches: list[np.ndarray]) -> Iterator[tuple]:
    with ThreadPoolExecutor(1, thread_name_prefix="dlfast-loader") as pool:
        following: Future[tuple] | None = None
        for indices in batches:
            current, following = following, pool.submit(gather, indices)
            if current is not None:
                yield current.result()
        if following is not None:
            yield following.result()
