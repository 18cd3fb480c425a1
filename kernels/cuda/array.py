"""The array on a device: an address, a shape and strides, with the methods of NumPy's arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..devices import DeviceArray
from . import array_exchange as exchange
from . import array_moving as moving
from .array_methods import Methods
from .array_views import ALIGNMENT, regrouped, viewed


class Array(Methods, DeviceArray):
    """An array on a device: an address, a shape, a dtype, strides in bytes and the owner of the memory.

    strides: None where the elements lie in C order without gaps, which is what kernels take (`contiguous`). Views
    share memory and owner; the owner lives as long as the memory, and may be weakly referenced.
    """

    __slots__ = ("__weakref__", "_strides", "device", "dtype", "owner", "pointer", "shape")

    def __init__(self, device: Any, shape: tuple[int, ...], dtype: Any, owner: Any, pointer: int, strides: Any = None):
        self.device, self.shape, self.dtype = device, tuple(shape), np.dtype(dtype)
        self.owner, self.pointer = owner, pointer
        self._strides = None if strides is None or self._are_dense(strides) else tuple(strides)

    def _are_dense(self, strides: tuple[int, ...]) -> bool:
        """Whether these are the strides of C order; those along an axis of length 1 do not matter."""
        step, dense = self.dtype.itemsize, True
        for length, stride in zip(self.shape[::-1], strides[::-1], strict=True):
            if length == 0:
                return True
            dense = dense and (length == 1 or stride == step)
            step *= length
        return dense

    # What it is

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        if self._strides is not None:
            return self._strides
        steps, step = [], self.dtype.itemsize
        for length in self.shape[::-1]:
            steps.append(step)
            step *= max(length, 1)
        return tuple(steps[::-1])

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie in C order without gaps."""
        return self._strides is None

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    # Views

    def part(self, offset: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """A contiguous array in the same memory, `offset` bytes from its start. Raises ValueError beyond its end."""
        part = Array(self.device, shape, dtype, self.owner, self.pointer + offset)
        if offset < 0 or offset + part.nbytes > self.nbytes or not self.is_contiguous:
            raise ValueError(
                f"part: {part.nbytes} bytes from {offset} on are not in a contiguous array of {self.nbytes}"
            )
        return part

    def rows(self, first: int, end: int) -> Array:
        """Rows first to end - 1 of the first axis of a contiguous array, in the same memory."""
        step = self.nbytes // len(self) if len(self) else 0
        return Array(self.device, (end - first, *self.shape[1:]), self.dtype, self.owner, self.pointer + first * step)

    def reshape(self, *shape) -> Array:
        """The same elements in another shape, in the same memory where that can be; one length may be -1.

        Raises ValueError where the sizes differ.
        """
        wanted = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape)
        if -1 in wanted:
            rest = -math.prod(wanted)
            wanted[wanted.index(-1)] = self.size // rest if rest > 0 else 0
        if math.prod(wanted) != self.size or min(wanted, default=0) < 0:
            raise ValueError(f"cannot reshape an array of shape {self.shape} to {tuple(shape)}")
        if self._strides is None:
            return Array(self.device, tuple(wanted), self.dtype, self.owner, self.pointer)
        strides = regrouped(self.shape, self._strides, wanted)
        if strides is None:
            return self.contiguous().reshape(wanted)
        return Array(self.device, tuple(wanted), self.dtype, self.owner, self.pointer, strides)

    def transpose(self, *axes) -> Array:
        """The axes in another order, by default the reverse one, in the same memory."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], (int, np.integer)) else axes
        return viewed(self, lambda x: x.transpose(order or None))

    def swapaxes(self, axis0: int, axis1: int) -> Array:
        """Two axes exchanged, in the same memory."""
        return viewed(self, lambda x: x.swapaxes(axis0, axis1))

    @property
    def T(self) -> Array:
        return self.transpose()

    def view(self, dtype: Any) -> Array:
        """The same bits as another dtype of the same size. Raises ValueError for one of another."""
        dtype = np.dtype(dtype)
        if dtype.itemsize != self.dtype.itemsize:
            raise ValueError(f"view: {dtype} is of another size than {self.dtype}")
        return Array(self.device, self.shape, dtype, self.owner, self.pointer, self._strides)

    def ravel(self) -> Array:
        """All elements along one axis, in the same memory where that can be."""
        return self.reshape(-1)

    def squeeze(self, axis: Any = None) -> Array:
        """Without axes of length 1, in the same memory."""
        return viewed(self, lambda x: x.squeeze(axis))

    # Copies

    def contiguous(self) -> Array:
        """The array as kernels take it, in C order and from a multiple of 16 bytes on: itself, or a copy."""
        return self if self._strides is None and self.pointer % ALIGNMENT == 0 else moving.copied(self)

    def copy(self, order: str = "C") -> Array:
        """A contiguous copy."""
        return moving.copied(self)

    def flatten(self) -> Array:
        """A copy along one axis."""
        return self.copy().reshape(-1)

    def astype(self, dtype: Any, copy: bool = True) -> Array:
        """A copy of another dtype; the array itself where it has that dtype already and copy=False."""
        return self if not copy and self.dtype == np.dtype(dtype) else moving.converted(self, dtype)

    def fill(self, value: Any) -> None:
        """Write a number into all elements."""
        self[...] = value

    # To the CPU

    def numpy(self) -> np.ndarray:
        """A copy on the CPU."""
        return self.device.download(self if self.is_contiguous else self.copy())

    # To other libraries

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """The array for torch.from_dlpack, cupy.from_dlpack and the like, in the same memory; with `copy` in its own.

        The receiver's stream waits for the work that was given here before. On the host that plays a GPU it is an array
        of the CPU. Raises BufferError for another device than that where it lies and the CPU.
        """
        return exchange.exported(self, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return exchange.place_of(self.device)

    @classmethod
    def from_dlpack(cls, x: Any, device: Any, copy: bool | None = None) -> Array:
        """The array of another library that lies on this device, in its memory; copy as for `dlfast.from_dlpack`.

        Raises BufferError for what is read-only and for dtypes that arrays here cannot have.
        """
        return exchange.imported(x, device, cls, copy)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return exchange.interface(self)

    def __reduce__(self) -> tuple:
        return _uploaded, (str(self.device), self.numpy())

    def __deepcopy__(self, memo: Any) -> Array:
        return self.copy()

    __copy__ = copy

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError(
            f"an Array on {self.device} does not become one of NumPy unasked, for that copies it to the CPU; "
            "write x.numpy()"
        )

    def __repr__(self) -> str:
        values = self.numpy()
        text = np.array2string(values, separator=", ", prefix="Array(", threshold=1000)
        return f"Array({text}, dtype={self.dtype}, device={str(self.device)!r})"


def _uploaded(device: str, values: np.ndarray) -> Array:
    """The array that pickle has kept, on the device that it lay on."""
    from ...cuda import get_device

    return get_device(device).upload(values)
