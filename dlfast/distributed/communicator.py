"""Communicators: what ranks, processes that train one model together, say to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _check as check
from ..tensor import unwrap

OPS = ("sum", "mean", "product", "min", "max")


class Work:
    """A reduction under way: the array must be left alone until `wait`, which gives it."""

    def __init__(self, array: Any, finish: Callable[[], None] | None = None):
        self._array, self._finish = array, finish

    def wait(self) -> Any:
        """End the reduction; the array. A second call gives it again."""
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()
        return self._array


class Communicator:
    """One of ``size`` ranks, 0 to size - 1; ``local_rank`` and ``local_size`` count those on the same machine.

    Every rank must make the same calls in the same order with arrays of the same shape and dtype: each waits for the
    others. This class is that of a single rank, which has nobody to wait for; the others are `Mpi` and `Nccl`.
    """

    rank, size, local_rank, local_size = 0, 1, 0, 1

    def all_reduce(self, array: Any, op: str = "sum", async_op: bool = False) -> Any:
        """Put the sum over the ranks (or mean, product, min, max) in the place of the array's values, on every rank.

        array: a NumPy array, a Tensor or an array on a device; any strides. Of booleans min says whether all hold, max
        whether any does. float16 and bfloat16 are summed in float32 and rounded once.
        Gives the array; with async_op the `Work`, whose ``wait()`` does. All ranks get the same bits.
        Raises ValueError for another op and for a read-only array, TypeError for what cannot be added up.
        """
        array = self._writable("all_reduce", array)
        check.choice("all_reduce", "op", op, OPS)
        if array.dtype.kind == "b" and op not in ("min", "max"):
            raise TypeError(f"all_reduce: booleans have no {op}; 'min' says whether all hold, 'max' whether any does")
        if op == "mean" and array.dtype.kind in "iu":
            raise TypeError(f"all_reduce: the mean of {array.dtype} is no {array.dtype}; take the sum")
        if not array.size or self.size == 1:
            return Work(array) if async_op else array
        if async_op:
            return self._start(array, op)
        self._reduce(array, op)
        return array

    def broadcast(self, array: Any, root: int = 0) -> Any:
        """Put the values of rank ``root`` in the place of the array's, on every rank; gives the array.

        Raises ValueError for no such rank and for a read-only array.
        """
        array = self._writable("broadcast", array)
        self._check_root("broadcast", root)
        if array.size and self.size > 1:
            self._broadcast(array, root)
        return array

    def all_gather(self, array: Any) -> Any:
        """The arrays of all ranks, of one shape and dtype, stacked by rank: (size, ...)."""
        array = unwrap(array)
        return np.stack([array]) if self.size == 1 else self._all_gather(array)

    def all_gather_object(self, value: Any) -> list:
        """The values of all ranks by rank; they are pickled."""
        return [value] if self.size == 1 else self._all_gather_object(value)

    def broadcast_object(self, value: Any, root: int = 0) -> Any:
        """What rank ``root`` gave, on every rank; it is pickled."""
        self._check_root("broadcast_object", root)
        return value if self.size == 1 else self._broadcast_object(value, root)

    def barrier(self) -> None:
        """Wait until every rank is here."""

    def close(self) -> None:
        """End the communication, when every rank has done its part; nothing may be said afterwards."""

    def abort(self, code: int = 1) -> None:
        """End the processes of all ranks at once, since this one cannot go on."""
        raise SystemExit(code)

    def _writable(self, op: str, array: Any) -> Any:
        array = unwrap(array)
        if isinstance(array, np.ndarray) and not array.flags.writeable:
            raise ValueError(f"{op}: the array is read-only, and its values are to be replaced; pass a copy")
        if array.dtype.kind in "OSUMm":
            raise TypeError(f"{op}: expected an array of numbers, got {array.dtype}")
        return array

    def _check_root(self, op: str, root: int) -> None:
        if not 0 <= root < self.size:
            raise ValueError(f"{op}: root must be a rank, 0 to {self.size - 1}, got {root}")

    def _reduce(self, array: Any, op: str) -> None:
        raise NotImplementedError

    def _start(self, array: Any, op: str) -> Work:
        raise NotImplementedError

    def _broadcast(self, array: Any, root: int) -> None:
        raise NotImplementedError

    def _all_gather(self, array: Any) -> Any:
        raise NotImplementedError

    def _all_gather_object(self, value: Any) -> list:
        raise NotImplementedError

    def _broadcast_object(self, value: Any, root: int) -> Any:
        return self._all_gather_object(value if self.rank == root else None)[root]

    def __deepcopy__(self, memo: dict) -> Communicator:
        return self  # a copy of a model speaks to the same ranks

    def __enter__(self) -> Communicator:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rank={self.rank}, size={self.size})"


class Single(Communicator):
    """The one rank of a process on its own."""
