"""The communicator of this process: which one it is, and functions that speak by it."""

from __future__ import annotations

import os
from typing import Any

from .. import _check as check
from ..kernels.threads import default_num_threads, set_num_threads
from .communicator import Communicator, Single
from .mpi import Mpi, started_ranks

BACKENDS = (None, "mpi", "single")

_current: Communicator | None = None


def initialize(backend: str | None = None) -> Communicator:
    """Join the other ranks; the `Communicator`. Where that is done already it is given again.

    backend: "mpi", "single"; None for MPI where a launcher such as mpiexec has started several processes, else a single
    rank. Unless DLFAST_NUM_THREADS is set, the ranks of a machine share its processors: each uses as many threads as
    come to it.

    Raises ImportError where what is needed is not installed, RuntimeError where the launcher and the library do not
    belong together or another backend is in use.
    """
    global _current
    check.choice("initialize", "backend", backend, BACKENDS)
    if _current is None:
        backend = backend or ("mpi" if started_ranks() else "single")
        _current = Mpi() if backend == "mpi" else Single()
        _share_processors(_current)
    elif backend not in (None, type(_current).__name__.lower()):
        raise RuntimeError(f"initialize: {_current!r} is in use already; call finalize() first for {backend!r}")
    return _current


def communicator() -> Communicator:
    """The communicator of this process; that of a single rank before `initialize`."""
    return _current or Single()


def finalize() -> None:
    """Leave the other ranks, when all have done their part."""
    global _current
    if _current is not None:
        _current.close()
        _current = None


def rank() -> int:
    """The number of this process among all, from 0."""
    return communicator().rank


def size() -> int:
    """How many ranks there are."""
    return communicator().size


def all_reduce(array: Any, op: str = "sum", async_op: bool = False) -> Any:
    """`Communicator.all_reduce` of this process."""
    return communicator().all_reduce(array, op, async_op)


def broadcast(array: Any, root: int = 0) -> Any:
    """`Communicator.broadcast` of this process."""
    return communicator().broadcast(array, root)


def barrier() -> None:
    """Wait until every rank is here."""
    communicator().barrier()


def _share_processors(comm: Communicator) -> None:
    """As many threads for each rank of a machine as there are processors for it.

    A launcher that binds each rank to processors of its own has shared them out already.
    """
    if comm.local_size == 1 or os.environ.get("DLFAST_NUM_THREADS", "").strip():
        return
    own = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()
    bound = comm.all_gather_object((os.uname().nodename if hasattr(os, "uname") else "", own))
    sharing = sum(each == bound[comm.rank] for each in bound)
    set_num_threads(max(1, default_num_threads() // sharing))
