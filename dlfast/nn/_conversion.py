"""A module's arrays in another dtype, on another device, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check as check
from .._devices import CPU, moved, on_device
from ..kernels.devices import DeviceArray
from ..kernels.halves import is_half, is_real
from ..tensor import Parameter

if TYPE_CHECKING:
    from .module import Module


def convert(root: Module, dtype: Any, place: Any) -> None:
    """What `Module.to` does. TypeError for a dtype other than float32 and float64, before anything is changed."""
    if dtype is not None:
        dtype = np.dtype(dtype)
        if dtype not in check.FLOATS and not is_half(dtype):
            raise TypeError(f"to: dtype must be float32 or float64, or on a device float16 or bfloat16, got {dtype}")
        _check_half(root, dtype, place)
    for module in root.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Parameter):
                _convert_parameter(value, dtype, place)
            elif isinstance(value, (np.ndarray, DeviceArray)) and name in module._buffer_names + module._table_names:
                found = _converted(value, dtype, place)
                if found is not value:
                    setattr(module, name, found)


def _check_half(root: Module, dtype: np.dtype, place: Any) -> None:
    """Raise TypeError where parameters in half would lie on the CPU."""
    stays = place is None and any(not on_device(p.data) for p in root.parameters())
    if is_half(dtype) and (place is CPU or stays):
        raise TypeError(f"to: the CPU computes in float32; move the model first: model.to('cuda').to({str(dtype)!r})")


def _convert_parameter(parameter: Parameter, dtype: np.dtype | None, place: Any) -> None:
    data, grad = parameter.data, parameter.grad
    if dtype is not None and data.dtype != dtype:
        data, grad = data.astype(dtype), None
    if place is not None:
        data, grad = moved(data, place), None if grad is None else moved(grad, place)
    if data is not parameter.data:
        parameter._rebind(data, grad)


def _converted(buffer: Any, dtype: np.dtype | None, place: Any) -> Any:
    if is_real(buffer.dtype):
        buffer = buffer if dtype is None else buffer.astype(dtype, copy=False)
    elif buffer.ndim == 0:  # a counter
        return buffer
    return buffer if place is None else moved(buffer, place)
