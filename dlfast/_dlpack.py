"""DLPack: arrays to other libraries and from them, in the memory in which they lie.

Source: the Python array API standard, "Data interchange mechanisms", and DLPack 1.0, https://dmlc.github.io/dlpack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import dlfast.tensor as tensor

from ._devices import device as device_name
from ._devices import find, on_device

if TYPE_CHECKING:
    from .tensor import Tensor

CPU = (1, 0)  # kDLCPU, its only number
_GPUS = (2, 13)  # kDLCUDA, kDLCUDAManaged
_DEVICES = {7: "a Vulkan device", 8: "a Metal device", 10: "a ROCm device"}
_VERSIONED = tuple(map(int, np.__version__.split(".")[:2])) >= (2, 1)  # NumPy's own __dlpack__ takes max_version, copy


def exported(x: Tensor, stream: Any, max_version: Any, dl_device: Any, copy: bool | None) -> Any:
    """The capsule that `Tensor.__dlpack__` gives. BufferError for what it cannot be, as the standard says."""
    if x.requires_grad:
        raise BufferError(
            f"__dlpack__: a Tensor of shape {x.shape} that requires a gradient cannot leave, for what is computed from "
            "it elsewhere has none; give x.detach()"
        )
    if on_device(x.data):
        return x.data.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
    if stream not in (None, -1):
        raise ValueError(f"__dlpack__: stream must be None for an array on the CPU, got {stream!r}")
    if dl_device is not None and tuple(map(int, dl_device)) != CPU:
        raise BufferError(f"__dlpack__: dl_device must be {CPU}, the CPU, where this Tensor lies, got {dl_device!r}")
    array = np.array(x.data) if copy and not _VERSIONED else x.data
    versioned = max_version is not None and tuple(max_version) >= (1, 0) and _VERSIONED
    if not (array.flags.writeable or versioned or copy):
        raise BufferError(
            "__dlpack__: this Tensor's array is read-only, which the receiver's version of DLPack cannot be told; "
            "give a copy: x.clone()"
        )
    if not _VERSIONED:
        return array.__dlpack__()
    return array.__dlpack__(max_version=max_version, copy=copy)


def interface(x: Tensor) -> dict[str, Any]:
    """What `Tensor.__cuda_array_interface__` gives; as in PyTorch RuntimeError where it requires a gradient."""
    if not on_device(x.data):
        raise AttributeError("a Tensor on the CPU has no __cuda_array_interface__")
    found: dict[str, Any] = x.data.__cuda_array_interface__  # type: ignore[attr-defined]
    if x.requires_grad:
        raise RuntimeError(
            f"__cuda_array_interface__: a Tensor of shape {x.shape} that requires a gradient cannot leave, for what is "
            "computed from it elsewhere has none; give x.detach()"
        )
    return found


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A Tensor in the memory of another library's array, on the CPU or a GPU: what one writes, the other sees.

    x: anything with `__dlpack__` (of NumPy, PyTorch, JAX, ...), or a capsule such as torch.utils.dlpack.to_dlpack
    gives, which can be taken once. What is read-only stays so. copy: True for memory of its own, False for an error
    where that would be needed, None for whatever works.
    device: where the array lies, or None; elsewhere the Tensor is moved afterwards, with x.to(device).
    Raises TypeError for other objects and for what holds no real numbers, BufferError for arrays on devices of another
    kind, read-only ones on GPUs, and tensors of PyTorch that require a gradient, RuntimeError for a GPU that dlfast
    cannot use.
    """
    if type(x).__name__ == "PyCapsule":
        x = _Capsule(x)
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise TypeError(
            f"from_dlpack: expected an array with __dlpack__, got {type(x).__name__}; dl.tensor(x) copies any array"
        )
    kind, number = map(int, x.__dlpack_device__())
    place = device_name("cpu") if kind == CPU[0] else device_name("cuda", number) if kind in _GPUS else None
    if place is None:
        where = _DEVICES.get(kind, f"a device of DLPack's kind {kind}")
        raise BufferError(f"from_dlpack: the array must lie on the CPU or a GPU of NVIDIA, got one on {where}")
    if device is not None and device_name(str(device)) not in (place, place.type):
        raise ValueError(
            f"from_dlpack: device is {str(device)!r}, but the array lies on {place}; move the Tensor afterwards: "
            f"x.to({str(device)!r})"
        )
    if getattr(x, "requires_grad", False):
        raise BufferError(
            f"from_dlpack: a {type(x).__name__} that requires a gradient cannot be taken over, for its gradient would "
            "be lost; give x.detach()"
        )
    if place.type != "cpu":
        from .kernels.cuda.array import Array

        return tensor.wrap(Array.from_dlpack(x, find(place), copy), None)
    try:
        array = np.from_dlpack(x, copy=copy) if _VERSIONED and copy is not None else np.from_dlpack(x)
    except (BufferError, RuntimeError, ValueError) as error:
        raise BufferError(f"from_dlpack: a {type(x).__name__} cannot be taken over: {error}") from error
    return tensor.Tensor(np.array(array) if copy and not _VERSIONED else array)


def to_dlpack(x: Tensor) -> Any:
    """The capsule of a Tensor, for libraries that take no objects; it can be taken once. Errors of `__dlpack__`."""
    return x.__dlpack__()


class _Capsule:
    """A bare capsule as the object that NumPy wants."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        from .kernels.cuda.array_exchange import place_in

        return place_in(self._capsule)
