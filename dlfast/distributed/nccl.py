"""Ranks that NVIDIA's NCCL connects, one process for each GPU."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._devices import assign, on_device
from .._files import write_atomically
from .communicator import Communicator, Work

FILE = "DLFAST_NCCL_FILE"  # names a file that all ranks see, by which they find each other without MPI
PATIENCE = 300.0  # seconds that a rank waits for the file

_TYPES = {
    "int8": "Int8", "uint8": "Uint8", "bool": "Uint8", "int32": "Int32", "uint32": "Uint32", "int64": "Int64",
    "uint64": "Uint64", "float16": "Float16", "bfloat16": "Bfloat16", "float32": "Float32", "float64": "Float64",
}  # fmt: skip
_OPS = {"sum": "Sum", "mean": "Avg", "product": "Prod", "min": "Min", "max": "Max"}
_RANKS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))


class Nccl(Communicator):
    """Ranks of NCCL, by nccl4py: arrays on ``device`` are handed over by their address, and the work is given to the
    device's current stream, in order with kernels, so nobody waits for it. Arrays on the CPU go by ``control``, a
    communicator of the same ranks (MPI), or without one through the GPU.

    The ranks find each other through ``control``. Without it RANK and WORLD_SIZE, as torchrun sets them, or those of
    Slurm's srun say which this is, and NCCL_COMM_ID=HOST:PORT, an address of rank 0's machine, or DLFAST_NCCL_FILE, a
    file that all see and that is not there yet, where they meet.

    Raises ImportError without nccl4py, RuntimeError where the ranks cannot find each other.
    """

    def __init__(self, device: Any, control: Communicator | None = None):
        self._nccl, self.device, self._control = _nccl4py(), device, control
        if control is None:
            self.rank, self.size, self.local_rank = launched(os.environ)
        else:
            self.rank, self.size, self.local_rank = control.rank, control.size, control.local_rank
            self.local_size = control.local_size
        self._enter()
        place = bytearray(self._meeting_place())  # it is taken as a buffer that could be written
        self._comm = self._nccl.comm_init_rank_scalable(self.size, self.rank, 1, place, 0)
        self._side: Any = None  # the stream of reductions that are not waited for

    def _meeting_place(self) -> bytes:
        """What NCCL calls a unique id, the same on all ranks."""
        if self._control is not None:
            return self._control.broadcast_object(bytes(self._nccl.get_unique_id()) if self.rank == 0 else None)
        if os.environ.get("NCCL_COMM_ID"):
            return bytes(self._nccl.get_unique_id())  # it follows from the address
        if not (name := os.environ.get(FILE)):
            raise RuntimeError(
                "the ranks of NCCL cannot find each other: start them by mpiexec with mpi4py installed, or set "
                f"NCCL_COMM_ID=HOST:PORT, an address of rank 0, or {FILE}, a file that all ranks see"
            )
        path = Path(name)
        if self.rank == 0:
            write_atomically(path, lambda temporary: Path(temporary).write_bytes(bytes(self._nccl.get_unique_id())))
        return _content(path)

    def _reduce(self, array: Any, op: str) -> None:
        if not on_device(array):
            self._by_cpu(array, op)
            return
        flat = self._flat(array)
        self._enter()
        self._nccl.all_reduce(
            flat.pointer, flat.pointer, flat.size, self._type(flat), self._op(op), self._comm, self._stream()
        )
        if flat is not array:
            array[...] = flat

    def _by_cpu(self, array: np.ndarray, op: str) -> None:
        if self._control is not None:
            self._control.all_reduce(array, op)
            return
        there = self.device.upload(np.ascontiguousarray(array))
        self._reduce(there, op)
        array[...] = there.numpy().reshape(array.shape)

    def _start(self, array: Any, op: str) -> Work:
        if not on_device(array) or not array.is_contiguous:
            self._reduce(array, op)
            return Work(array)
        device = self.device
        self._side = self._side or device.new_stream()
        self._side.wait(device.current_stream)
        before = device.set_stream(self._side)
        try:
            self._reduce(array, op)
            done = self._side.record()
        finally:
            device.set_stream(before)
        return Work(array, lambda: device.current_stream.wait(done))

    def _broadcast(self, array: Any, root: int) -> None:
        if not on_device(array) and self._control is not None:
            self._control.broadcast(array, root)
            return
        flat = self._flat(array) if on_device(array) else self.device.upload(np.ascontiguousarray(array))
        self._enter()
        self._nccl.broadcast(flat.pointer, flat.pointer, flat.size, self._type(flat), root, self._comm, self._stream())
        if flat is not array:
            assign(array, flat.reshape(array.shape))

    def _all_gather(self, array: Any) -> Any:
        if not on_device(array):
            if self._control is not None:
                return self._control.all_gather(array)
            return self._all_gather(self.device.upload(np.ascontiguousarray(array))).numpy()
        flat = self._flat(array)
        stacked = self.device.empty((self.size, *array.shape), array.dtype)
        self._enter()
        self._nccl.all_gather(flat.pointer, stacked.pointer, flat.size, self._type(flat), self._comm, self._stream())
        return stacked

    def _all_gather_object(self, value: Any) -> list:
        if self._control is not None:
            return self._control.all_gather_object(value)
        data = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = self._all_gather(np.array([data.size]))[:, 0]
        padded = np.zeros(int(sizes.max()), np.uint8)
        padded[: data.size] = data
        return [pickle.loads(row[:size].tobytes()) for row, size in zip(self._all_gather(padded), sizes, strict=True)]

    def barrier(self) -> None:
        if self._control is not None:
            self._control.barrier()
        else:
            self._by_cpu(np.zeros(1, np.int32), "sum")

    def close(self) -> None:
        if self._comm is not None:
            self.device.synchronize()
            self._nccl.comm_destroy(self._comm)
            self._comm = None
            if self._control is not None:
                self._control.close()

    def abort(self, code: int = 1) -> None:
        if self._control is not None:
            self._control.abort(code)
        self._nccl.comm_abort(self._comm)
        os._exit(code)  # the launcher ends the others

    def _flat(self, array: Any) -> Any:
        if array.device is not self.device:
            raise ValueError(f"this rank's arrays lie on {self.device}, got one on {array.device}")
        return array if array.is_contiguous else array.copy()

    def _enter(self) -> None:
        if hasattr(self.device, "enter"):
            self.device.enter()

    def _stream(self) -> int:
        return int(getattr(self.device.current_stream, "handle", 0))  # of the host: none

    def _type(self, array: Any) -> int:
        if array.dtype.name not in _TYPES:
            raise TypeError(f"NCCL knows no {array.dtype}; it knows {', '.join(_TYPES)}")
        return int(self._nccl.DataType[_TYPES[array.dtype.name]])

    def _op(self, op: str) -> int:
        return int(self._nccl.RedOp[_OPS[op]])


def launched(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """Rank, number of ranks and rank on this machine, as a launcher other than mpiexec tells them."""
    for names in _RANKS:
        if all(environment.get(name, "").isdecimal() for name in names):
            rank, size, local = (int(environment[name]) for name in names)
            return rank, size, local
    raise RuntimeError(
        "no launcher says which rank of NCCL this is: start the ranks by mpiexec with mpi4py installed (the extra "
        f"`mpi`), or by what sets {' and '.join(_RANKS[0])}"
    )


def _content(path: Path) -> bytes:
    """What rank 0 has written."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise RuntimeError(f"rank 0 has not written {path} within {PATIENCE:.0f} s; do all ranks see that folder?")
        time.sleep(0.05)
    return path.read_bytes()


def _nccl4py() -> Any:
    try:
        from nccl.bindings import nccl
    except ImportError as error:
        raise ImportError(
            f"several GPUs need nccl4py and NCCL: install dlfast with its extra `nccl` ({error})"
        ) from error
    return nccl
