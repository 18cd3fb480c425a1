"""DataLoader: batches of a data set, in order, shuffled or as a sampler says, made ahead by threads if asked for."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import _check as check
from .. import random
from .._devices import CPU, find
from ..kernels.memory import pooled
from .ahead import made_ahead
from .batches import collate, without_rows
from .moving import moved, moved_ahead, pinned
from .splitting import gives_rows, is_arrays

_AHEAD = 2  # batches of each thread: PyTorch's prefetch_factor


class DataLoader:
    """Iterates over ``dataset`` in batches: tuples of arrays, each gathered with one fancy index, so they are copies.

    ``dataset`` needs ``len(dataset)`` and ``dataset[array of integers] -> tuple of arrays``, as `ArrayDataset` has; or
    ``dataset[integer] -> row``, as data sets for PyTorch have, whose rows are then stacked, in nested tuples and
    dictionaries too.

    shuffle       each pass draws a new order from the generator that `dlfast.manual_seed` sets, once, when it starts
    sampler       gives the numbers of a pass's rows when iterated, and their count by len(), in place of `shuffle`;
                  `WeightedRandomSampler` is one. It should draw from `dlfast.random.generator()`: a generator of its
                  own is not among what `train.Checkpoint` saves, so that a resumed run gets another order
    drop_last     leave out a last batch that is smaller
    prefetch      how many batches a thread makes ahead while the caller works; True: 2. Worth it for a data set that
                  reads files or computes, not for arrays in memory, of which the gather takes microseconds
    num_workers   how many threads make batches ahead, 2 each unless `prefetch` says how many in all. They help where
                  rows are read or computed by what lets other threads run (files, Pillow, NumPy)
    collate_fn    makes a batch of a list of rows, in place of stacking them
    device        "cuda": batches are Tensors there. They come out of pinned memory, and of arrays, or with `prefetch`,
                  a thread gathers and copies two ahead of the caller; their numbers and order stay the same. `fit`
                  does so by itself for a model that lies there
    pin           batches are arrays in pinned memory, from which ``x.to("cuda", non_blocking=True)`` waits for nothing

    The batches and their order are the same with any number of threads. A data set that draws random numbers gets, when
    threads make its batches, a generator for each batch, which follows from one number that the pass draws when it
    starts. An error of the data set reaches the caller at its batch; a pass that is left early ends its threads.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool | None = False,
        drop_last: bool = False,
        *,
        sampler: Iterable[int] | None = None,
        num_workers: int = 0,
        prefetch: bool | int = False,
        collate_fn: Callable[[list], Any] | None = None,
        pin: bool = False,
        device: Any = None,
    ) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError(f"DataLoader: dataset must have a length and rows, got {type(dataset).__name__}")
        self.dataset = dataset
        self.batch_size = check.integer("DataLoader", "batch_size", batch_size, least=1)
        self.shuffle = bool(shuffle)
        self.drop_last = drop_last
        self.sampler = _checked_sampler(sampler, self.shuffle)
        self.num_workers = check.integer("DataLoader", "num_workers", num_workers, least=0)
        if isinstance(prefetch, bool):
            prefetch = _AHEAD * max(self.num_workers, int(prefetch))
        self.prefetch = check.integer("DataLoader", "prefetch", prefetch, least=0)
        if self.num_workers and not self.prefetch:
            raise ValueError("DataLoader: prefetch must be at least 1 where num_workers is, got 0")
        if collate_fn is not None and not callable(collate_fn):
            raise TypeError(f"DataLoader: collate_fn must be a function of a list of rows, got {collate_fn!r}")
        self.collate_fn = collate_fn
        place = CPU if device is None else find(device)
        self.device = None if place is CPU else place
        self.pin = _pinning() if pin and self.device is None else None
        self._by_rows: bool | None = None if collate_fn is None else True  # None: not known before the first batch
        self._comm: Any = None  # of the ranks that share each batch

    def __len__(self) -> int:
        """The number of batches in a pass."""
        full, rest = divmod(self._count(), self.batch_size)
        return full + bool(rest and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        return self.batches()

    def batches(self, start: int = 0) -> Iterator[Any]:
        """One pass over the data from batch ``start`` on; the ones before, of the same order, are not gathered."""
        batches = self.on_cpu(start)
        return batches if self.device is None else self.moved(batches, self.device)

    def moved(self, batches: Iterator[Any], device: Any) -> Iterator[Any]:
        """Batches of this loader as Tensors on a device, ahead of the caller where a thread may fetch them."""
        if self.prefetch or is_arrays(self.dataset):
            return moved_ahead(batches, device)
        return (moved(pinned(batch, device), device, non_blocking=True) for batch in batches)

    def on_cpu(self, start: int = 0) -> Iterator[Any]:
        """`batches` before they go to a device."""
        order = self._order()
        numbers = range(start, len(self))
        batches = [self._own(order[i * self.batch_size : (i + 1) * self.batch_size]) for i in numbers]
        gather: Callable = self._gather
        jobs: list = batches
        if not is_arrays(self.dataset) and (self.prefetch or self._comm is not None):
            gather, jobs = self._gather_drawing, self._seeded(numbers, batches)
        if not self.prefetch:
            return map(gather, jobs)
        return made_ahead(gather, jobs, max(1, self.num_workers), self.prefetch)

    def shard(self, comm: Any) -> DataLoader:
        """The part of one rank, of a `distributed.Communicator`: batches of comm.size times as many rows, of which each
        rank gets as many neighbours, so batch_size of them; the rows of a smaller last batch are shared out evenly.

        All go by the order that rank 0 draws, so no row is met twice in a pass; where a last batch has fewer rows than
        there are ranks, some get a batch of no rows.
        """
        if self._comm is not None:
            raise ValueError("shard: this loader has the part of one rank already")
        other = copy.copy(self)
        other.batch_size, other._comm = self.batch_size * comm.size, comm
        return other

    def peek(self):
        """The first row as a batch, no row where there is none; no random order is drawn."""
        indices = np.arange(min(1, len(self.dataset)))
        return self._gather(indices) if len(indices) else self.dataset[indices]

    def _count(self) -> int:
        return len(self.dataset if self.sampler is None else self.sampler)

    def _order(self) -> np.ndarray:
        order = self._drawn_order()
        return order if self._comm is None else self._comm.broadcast(order)

    def _own(self, rows: np.ndarray) -> np.ndarray:
        """Which rows of a batch are those of this rank."""
        return rows if self._comm is None else np.array_split(rows, self._comm.size)[self._comm.rank]

    def _drawn_order(self) -> np.ndarray:
        if self.sampler is None:
            count = len(self.dataset)
            return random.permutation(count) if self.shuffle else np.arange(count)
        order = np.asarray(list(self.sampler))
        if len(order) != self._count():
            raise ValueError(f"DataLoader: sampler gave {len(order)} rows, its length is {self._count()}")
        return check.indices("DataLoader", "sampler's rows", order, len(self.dataset)) if len(order) else order

    def _gather(self, indices: np.ndarray) -> Any:
        batch = self._gathered(indices)
        return batch if self.pin is None else pinned(batch, self.pin)

    def _gathered(self, indices: np.ndarray) -> Any:
        with pooled():  # each batch takes the memory of one before
            if self._by_rows is None:
                self._by_rows = gives_rows(self.dataset, indices if len(indices) else np.arange(1))
            if self._by_rows:
                rows = [self.dataset[int(i)] for i in (indices if len(indices) else [0])]
                batch = (self.collate_fn or collate)(rows)
                return batch if len(indices) else without_rows(batch)
            return self.dataset[indices]

    def _seeded(self, numbers: Iterable[int], batches: list) -> list:
        """Each batch with the seeds of its random numbers."""
        seed = random.seed64() if self.prefetch else random.peek64()  # ranks draw what one without them would
        rank = () if self._comm is None else (self._comm.rank,)
        return [(indices, seed, i, *rank) for i, indices in zip(numbers, batches)]

    def _gather_drawing(self, job: tuple) -> Any:
        indices, *seeds = job
        with random.using(np.random.default_rng(seeds)):
            return self._gather(indices)


def _pinning() -> Any:
    """The device whose pinned memory batches are to lie in; None, and a warning, where there is none."""
    try:
        return find("cuda")
    except RuntimeError as error:
        warnings.warn(f"DataLoader: pin=True has no effect: {error}", stacklevel=3)
        return None


def _checked_sampler(sampler: Any, shuffle: bool) -> Any:
    if sampler is None:
        return None
    if shuffle:
        raise ValueError("DataLoader: sampler gives the order of rows; leave shuffle out")
    if not hasattr(sampler, "__iter__") or not hasattr(sampler, "__len__"):
        raise TypeError(f"DataLoader: sampler must give row numbers and have a length, got {type(sampler).__name__}")
    return sampler
