"""Weights of Linear layers in evaluation, packed once for the products with them.

A product of more than a few rows goes through the weight in panels, which it would make anew in each call. In
evaluation, where nothing needs a gradient, a layer keeps them for as long as nobody can have written into the weight:
the library counts its own changes in place (`_changes`), and an array that somebody else holds, or that was handed out
as ``weight.data`` since, may have been written to without a trace, and is read where it lies. `train()` drops the
panels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _check as check
from .. import kernels
from .._autocast import threads as casting
from .._changes import change_count, changes_since, first_stale
from ..tensor import Tensor, wants_gradient, wrap

FEW_ROWS = 4  # fewer read a weight but once, where it lies


class Packed:
    """The panels of one layer's weight, and what is known of the weight from when they were made."""

    __slots__ = ("changes", "handed", "weight")

    def __init__(self, make: Any, array: np.ndarray, handed: int):
        self.weight, self.handed, self.changes = make(array), handed, change_count()

    def __reduce__(self) -> tuple:  # a copy of the layer has another weight
        return type(None), ()

    def is_of(self, array: np.ndarray, handed: int) -> bool:
        """Whether they are this array's, as it is now."""
        if handed != self.handed or not self.weight.is_of(array):
            return False
        now = change_count()
        if now != self.changes:
            if first_stale(None, (array,), (), self.changes, changes_since(self.changes)) is not None:
                return False
            self.changes = now
        return True


def _is_private(weight: Any, packed: Packed | None) -> bool:
    """Whether nobody but the Parameter, and the panels, holds its array, or memory that it is a part of."""
    own = 1 if packed is None or packed.weight.weight is not weight._data else 2
    return weight._holders == own and (weight._data.base is None or weight._place is not None)


def linear(layer: Any, x: Any, activation: str | None) -> Tensor | None:
    """act(x W^T + b) of a Linear from its packed weight; None where F.linear has to do it.

    activation: those of F.linear, "gelu", "gelu_tanh" and "silu".
    """
    a = x.data if isinstance(x, Tensor) else x
    if type(a) is not np.ndarray or a.size < FEW_ROWS * max(1, layer.in_features):
        return None
    weight, bias = layer.weight, layer.bias
    packed = layer.__dict__.get("_packed")
    if not _is_private(weight, packed):
        return None
    w, b = weight._data, None if bias is None else bias._data
    if casting or not check.fits_linear(a, w, b) or wants_gradient((x, weight, bias)):
        return None
    module = _packing(a)
    if module is None:
        return None
    if packed is None or not packed.is_of(w, weight._handed):
        if not w.flags.c_contiguous or not w.flags.aligned:
            return None
        layer.__dict__["_packed"] = packed = Packed(module.PackedWeight, w, weight._handed)
    y = packed.weight.linear(a, b, activation)
    return None if y is None else wrap(y, None)


def _packing(a: np.ndarray) -> Any:
    """The module that packs, if it is the one that serves `linear` now, unwatched; else None."""
    forward = kernels.active("linear", a)[0]
    if forward not in _modules:
        module = kernels.active_module("linear")
        serves = module is not None and module.linear_forward is forward
        if not serves:
            return None
        _modules[forward] = module if hasattr(module, "PackedWeight") else None
    return _modules[forward]


_modules: dict[Any, Any] = {}  # by the function that serves `linear`
