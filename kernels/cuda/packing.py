"""The arguments of a kernel as the driver and the fibers take them: each in a cell of 64 bits."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from .array_views import ALIGNMENT, described
from .dialect import Kernel, real_dtype

POINTERS = {kind: np.dtype(name) for kind, name in zip("rdljb", ("float32", "float64", "int64", "int32", "uint8"))}
_NUMBERS = {"i": "i4x", "w": "q"}
_REALS = {"float32": "f4x", "float64": "d", "int64": "q", "int32": "i4x", "int16": "h6x", "uint8": "B7x"}


class Packing:
    """Packs the arguments of a kernel for arrays of one dtype."""

    def __init__(self, kernel: Kernel, dtype: np.dtype):
        self._kernel, self._real = kernel, real_dtype(dtype)
        formats = {**_NUMBERS, "f": _REALS[str(self._real)]}
        pointers = {**POINTERS, "s": self._real}
        self._struct = struct.Struct("=" + "".join(formats.get(kind, "Q") for kind in kernel.kinds))
        self._pointers = [
            (j, pointers.get(kind, dtype), ALIGNMENT - 1 if kind != "u" else 0)
            for j, kind in enumerate(kernel.kinds)
            if kind not in formats
        ]
        self.count = len(kernel.kinds)

    def into(self, cells: Any, arguments: tuple) -> None:
        """Write the arguments into cells, a buffer of `count` int64.

        Raises TypeError for an array of another dtype or alignment than the kernel's, OverflowError for a size that an
        int32 does not hold.
        """
        values = list(arguments)
        if len(values) != self.count:
            raise TypeError(f"kernel {self._kernel.name}: expected {self.count} arguments, got {len(values)}")
        for j, dtype, low_bits in self._pointers:
            array = values[j]
            if array is None:
                values[j] = 0
                continue
            pointer = values[j] = array.pointer
            if (array.dtype is not dtype and array.dtype != dtype) or pointer & low_bits:
                raise TypeError(
                    f"kernel {self._kernel.name}: expected an aligned array of {dtype}, got {described(array)}"
                )
        try:
            self._struct.pack_into(cells, 0, *values)
        except OverflowError:  # a number beyond float32 is infinite there, as NumPy has it
            with np.errstate(over="ignore"):
                values = [
                    float(self._real.type(value)) if kind == "f" else value
                    for value, kind in zip(values, self._kernel.kinds)
                ]
            self._struct.pack_into(cells, 0, *values)
        except struct.error as error:
            raise OverflowError(
                f"kernel {self._kernel.name}: a number is beyond its kind ({self._kernel.kinds}): {error}; arrays have "
                "fewer than 2^31 elements"
            ) from error
