"""Ranks that MPI starts and connects: ``mpiexec -n 4 python train.py``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .communicator import Communicator, Work

# How mpiexec of MPICH and Intel, of Open MPI, and Slurm's srun tell a process how many they have started.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


def started_ranks() -> int:
    """How many processes the launcher has started with this one, 0 without a launcher."""
    return max((int(os.environ[name]) for name in _SIZES if os.environ.get(name, "").isdecimal()), default=0)


class Mpi(Communicator):
    """Ranks of MPI, by mpi4py. Arrays of the CPU are handed over in place, others go through the CPU's memory.

    An exception that nobody catches ends the processes of all ranks, after its traceback: the others would wait for
    this one for ever. Raises ImportError without mpi4py and its MPI, RuntimeError where mpiexec belongs to another MPI.
    """

    def __init__(self, comm: Any = None):
        self._mpi = mpi = _mpi4py()
        self._comm = mpi.COMM_WORLD.Dup() if comm is None else comm
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        if comm is None and started_ranks() > 1 and self.size == 1:
            raise RuntimeError(
                f"the launcher has started {started_ranks()} processes, but mpi4py's MPI knows of one only "
                f"({mpi.Get_library_version().splitlines()[0]}): mpiexec belongs to another MPI; take the one that was "
                "installed with mpi4py, or build mpi4py for this one"
            )
        local = self._comm.Split_type(mpi.COMM_TYPE_SHARED, self.rank)
        self.local_rank, self.local_size = local.Get_rank(), local.Get_size()
        local.Free()
        self._ops = {"sum": mpi.SUM, "mean": mpi.SUM, "product": mpi.PROD, "min": mpi.MIN, "max": mpi.MAX}
        if self.size > 1:
            sys.excepthook = partial(_end_all, self, sys.excepthook)

    def _reduce(self, array: Any, op: str) -> None:
        x = _on_cpu(array)
        buffer = _summable(x)
        self._comm.Allreduce(self._mpi.IN_PLACE, buffer, self._ops[op])
        self._end(array, x, buffer, op)

    def _start(self, array: Any, op: str) -> Work:
        x = _on_cpu(array)
        buffer = _summable(x)
        request = self._comm.Iallreduce(self._mpi.IN_PLACE, buffer, self._ops[op])

        def finish() -> None:
            request.Wait()
            self._end(array, x, buffer, op)

        return Work(array, finish)

    def _end(self, array: Any, x: np.ndarray, buffer: np.ndarray, op: str) -> None:
        if op == "mean":
            np.divide(buffer, self.size, out=buffer)
        _put(array, x, buffer)

    def _broadcast(self, array: Any, root: int) -> None:
        x = _on_cpu(array)
        buffer = _bytes(x)
        self._comm.Bcast(buffer, root)
        _put(array, x, buffer.view(x.dtype))

    def _all_gather(self, array: Any) -> Any:
        x = _on_cpu(array)
        stacked = np.empty((self.size, *x.shape), x.dtype)
        self._comm.Allgather(_bytes(x), _bytes(stacked))
        return stacked if isinstance(array, np.ndarray) else array.device.upload(stacked)

    def _all_gather_object(self, value: Any) -> list:
        return self._comm.allgather(value)

    def _broadcast_object(self, value: Any, root: int) -> Any:
        return self._comm.bcast(value, root)

    def barrier(self) -> None:
        self._comm.Barrier()

    def close(self) -> None:
        if self._comm is not None:
            self._comm.Barrier()
            self._comm.Free()
            self._comm = None

    def abort(self, code: int = 1) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._mpi.COMM_WORLD.Abort(code)


def _mpi4py() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: its MPI library is not found
        raise ImportError(
            f"several ranks need mpi4py and an MPI: install dlfast with its extra `mpi`, or mpi4py for the MPI of this "
            f"machine ({error})"
        ) from error
    return MPI


def _end_all(comm: Mpi, before: Callable, kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """The excepthook of a rank."""
    if comm.rank:  # where all raise the same, let rank 0 speak
        time.sleep(0.5)
    before(kind, error, trace)
    print(f"rank {comm.rank} of {comm.size} has failed ({kind.__name__}), which ends all of them", file=sys.stderr)
    comm.abort(1)


def _on_cpu(array: Any) -> np.ndarray:
    """The array, or a view of it where its device is the host, or a copy."""
    if isinstance(array, np.ndarray):
        return array
    view = getattr(array.device, "view", None)
    return array.numpy() if view is None else view(array)


def _summable(x: np.ndarray) -> np.ndarray:
    """The array where MPI can add it up as it is, else a copy that it can."""
    if x.dtype.kind == "b":
        return np.ascontiguousarray(x).view(np.uint8)
    if x.dtype.itemsize == 2 and x.dtype.kind not in "iu":
        return x.astype(np.float32, order="C")
    return np.ascontiguousarray(x)


def _bytes(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(-1).view(np.uint8)


def _put(array: Any, x: np.ndarray, buffer: np.ndarray) -> None:
    """The values of the buffer into x, and those of x into the array on a device that it was copied from."""
    if not np.may_share_memory(x, buffer):
        x[...] = buffer.reshape(x.shape)
    if not isinstance(array, np.ndarray) and not hasattr(array.device, "view"):
        array[...] = array.device.upload(x)
