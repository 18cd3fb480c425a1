"""The types of kernels' arguments, as Numba names them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import types

from ..halves import HALVES
from .dialect import real_dtype
from .half import HalfPointer


@cache
def kind_types(dtype: np.dtype) -> dict:
    """The type of each kind of argument (see `dialect`) of a kernel for arrays of a dtype."""
    real = getattr(types, str(real_dtype(dtype)))
    pointer = types.CPointer
    stored = HalfPointer(str(dtype)) if str(dtype) in HALVES else pointer(real)
    numbers = {"p": stored, "u": stored, "s": pointer(real), "f": real}
    others = {
        "r": pointer(types.float32),
        "d": pointer(types.float64),
        "l": pointer(types.int64),
        "j": pointer(types.int32),
        "b": pointer(types.uint8),
    }
    return {**numbers, **others, "i": types.int32, "w": types.int64}
