"""The communicator of this process: which one it is, and functions that speak by it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from .. import _check as check
from .. import _devices
from ..kernels.threads import default_num_threads, set_num_threads
from .communicator import Communicator, Single
from .mpi import Mpi, started_ranks
from .nccl import Nccl, launched

BACKENDS = (None, "mpi", "nccl", "single")

_current: Communicator | None = None


def initialize(backend: str | None = None, device: Any = None) -> Communicator:
    """Join the other ranks; the `Communicator`. Where that is done already it is given again.

    backend     "mpi", "nccl" or "single"; None for MPI where a launcher such as mpiexec has started several processes,
                with NCCL for arrays on GPUs where the device is one; else a single rank
    device      "cuda": each rank of a machine takes a GPU of its own, the first one cuda:0, the second cuda:1, ...;
                "cuda" means that one from then on. Where the CPU plays the GPU, it does so for each rank

    Unless DLFAST_NUM_THREADS is set, the ranks of a machine share its processors: each uses as many threads as come to
    it.

    Raises ImportError where what is needed is not installed, RuntimeError where the launcher and the library do not
    belong together, for more ranks than GPUs, and where another backend is in use.
    """
    global _current
    check.choice("initialize", "backend", backend, BACKENDS)
    if _current is None:
        _current = _joined(backend, device or ("cuda" if backend == "nccl" else "cpu"))
        _share_processors(_current)
    elif backend not in (None, type(_current).__name__.lower()):
        raise RuntimeError(f"initialize: {_current!r} is in use already; call finalize() first for {backend!r}")
    elif isinstance(_current, Mpi) and backend is None and _is_gpu(device):
        _current = _on_gpu(_current, device)
    return _current


def _joined(backend: str | None, device: Any) -> Communicator:
    started = started_ranks() > 0 and not (backend == "nccl" and find_spec("mpi4py") is None)
    comm = Mpi() if backend == "mpi" or (started and backend != "single") else None
    if backend == "nccl" or (comm is not None and backend is None and _is_gpu(device)):
        return _on_gpu(comm, device)
    return comm or Single()


def _is_gpu(device: Any) -> bool:
    return device is not None and _devices.device(device).type == "cuda"


def _on_gpu(comm: Mpi | None, device: Any) -> Communicator:
    """NCCL among the GPUs of the ranks, or MPI alone where CPUs play them."""
    from ..cuda import get_device, set_device

    local_rank = launched(os.environ)[2] if comm is None else comm.local_rank
    played = hasattr(get_device(), "view")
    if _devices.device(device).index is None and not played:
        set_device(local_rank)
    return comm if played and comm is not None else Nccl(get_device(None if device == "cuda" else device), comm)


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
