"""A training that several ranks share: what they tell each other, and who does what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from .. import random
from ..data import DataLoader
from ..distributed import Communicator, DataParallel, Single, initialize
from ..distributed.parallel import same
from ..optim import Optimizer
from .interrupts import Interrupts
from .metrics import Metric
from .nonfinite import NonFiniteLoss
from .sources import Batches, Loader


class Alone:
    """The training of one process, which has nobody to agree with."""

    comm: Communicator = Single()
    sync_batch_norm = False  # the forward pass itself waits for the other ranks, which have to run it too

    def begin(self, run: Any) -> None:
        """Make the ranks alike. Raises ValueError, on all of them, where they have other models, data or options."""

    def end(self) -> None:
        """Leave the model as it was."""

    def share(self, loader: Loader) -> Loader:
        """The batches of this rank."""
        return loader

    def drawing(self, run: Any) -> AbstractContextManager:
        """Where the random numbers of a batch come from."""
        return nullcontext()

    def totals(self, run: Any, numbers: list[float], error: Exception | None, interrupts: Interrupts) -> list[float]:
        """The sums of the numbers over the ranks. An error or Ctrl-C of one rank is raised on all."""
        if error is not None:
            raise error
        return numbers

    def sum_gradients(self, optimizer: Optimizer) -> None:
        """Give every rank the sum of all gradients."""

    def sum_metrics(self, run: Any) -> None:
        """Gather what the metrics of all ranks have seen on rank 0."""

    def join(self, means: Any) -> None:
        """Let the means of every rank be those of all."""

    def before_validation(self) -> None:
        """Make the buffers alike."""

    def of_first(self, value: Any) -> Any:
        """What rank 0 has."""
        return value

    def by_first(self, action: Callable[[], Any]) -> Any:
        """What the action of rank 0 gives, for every rank; or the error that it raises."""
        return action()

    def first_stop(self, stop: str | None) -> str | None:
        """Why to stop, where any rank has a reason."""
        return stop


class Together(Alone):
    """The training of one rank of several."""

    def __init__(self, comm: Communicator, sync_batch_norm: bool = False):
        self.comm, self.sync_batch_norm = comm, sync_batch_norm

    def begin(self, run: Any) -> None:
        self._parallel = DataParallel(run.model, run.optimizer, self.comm, sync_batch_norm=self.sync_batch_norm)
        options = {"epochs": run.epochs, "accumulate": run.update.accumulate, "metrics": list(run.metrics)}
        same(self.comm, "fit", {**run.data, **options})
        check_mergeable(run.metrics.values())
        random.set_state(self.of_first(random.get_state()))

    def end(self) -> None:
        self._parallel.synchronise_batch_norm(False)

    def share(self, loader: Loader) -> Loader:
        return shared(loader, self.comm)

    def drawing(self, run: Any) -> AbstractContextManager:
        # A generator for each batch and rank: ranks draw different numbers, and a checkpoint need not hold them.
        return random.using(np.random.default_rng([run.seed, run.epoch, run.batch, self.comm.rank]))

    def totals(self, run: Any, numbers: list[float], error: Exception | None, interrupts: Interrupts) -> list[float]:
        told = np.array([*numbers, error is not None, interrupts.waiting], np.float64)
        *totals, failed, interrupted = self.comm.all_reduce(told).tolist()
        if failed:
            raise self._told(run, error)
        if interrupted:
            interrupts.waiting = False
            raise KeyboardInterrupt
        return totals

    def _told(self, run: Any, error: Exception | None) -> Exception:
        """This rank's own error, or what the first rank tells that has one."""
        message = None if error is None else str(error) if isinstance(error, NonFiniteLoss) else repr(error)
        told = self.comm.all_gather_object((message, isinstance(error, NonFiniteLoss), getattr(error, "layer", None)))
        if error is not None:
            return error
        rank = next(r for r, (text, _, _) in enumerate(told) if text is not None)
        text, diverged, layer = told[rank]
        if diverged:
            return NonFiniteLoss(f"{text} (on rank {rank})", run.history, layer)
        return RuntimeError(f"fit: rank {rank} has failed, which ends the training of all: {text}")

    def sum_gradients(self, optimizer: Optimizer) -> None:
        self._parallel.sum_gradients()

    def sum_metrics(self, run: Any) -> None:
        run.means.join_metrics(self.comm)

    def join(self, means: Any) -> None:
        check_mergeable(means.metrics())
        means.join(self.comm)

    def before_validation(self) -> None:
        self._parallel.broadcast_buffers()

    def of_first(self, value: Any) -> Any:
        return self.comm.broadcast_object(value)

    def by_first(self, action: Callable[[], Any]) -> Any:
        value = error = None
        if self.comm.rank == 0:
            try:
                value = action()
            except Exception as raised:
                error = raised
        value, error = self.of_first((value, error))
        if error is not None:
            raise error
        return value

    def first_stop(self, stop: str | None) -> str | None:
        return next((each for each in self.comm.all_gather_object(stop) if each is not None), None)


def ranks_of(op: str, distributed: bool | Communicator, device: Any = None, sync_batch_norm: bool = False) -> Alone:
    """What `fit` is asked for: False, True for all ranks that there are, on a device, or a communicator."""
    if not isinstance(distributed, (bool, Communicator)):
        raise TypeError(f"{op}: distributed must be True, False or a Communicator, got {distributed!r}")
    comm = initialize(device=device) if distributed is True else distributed
    return Together(comm, bool(sync_batch_norm)) if comm and comm.size > 1 else Alone()


def check_mergeable(metrics: Iterable[Metric]) -> None:
    """Raise TypeError for a metric that cannot count in what another rank has seen."""
    for metric in metrics:
        if type(metric).merge is Metric.merge:
            raise TypeError(
                f"distributed: {type(metric).__name__} must define merge(other), see `train.metrics.Metric`"
            )


def shared(loader: Loader, comm: Communicator) -> Loader:
    """The part of this rank; what is that already, as batches of others are, as it is.

    Raises ValueError for a loader that iterates by itself, and so cannot be shared out.
    """
    if comm.size == 1 or isinstance(loader, Batches) or loader._comm is not None:
        return loader
    if type(loader).__iter__ is not DataLoader.__iter__:
        raise ValueError(
            f"distributed: the batches of {type(loader).__name__}, which has an __iter__ of its own, cannot be shared "
            "out; give a DataLoader, or a list of the batches of each rank"
        )
    return loader.shard(comm)
