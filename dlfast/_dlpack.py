"""DLPack: arrays to other libraries and from them, in the memory in which they lie.

Source: the Python array API standard, "Data interchange mechanisms", and DLPack 1.0, https://dmlc.github.io/dlpack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import dlfast.tensor as tensor

from ._devices import device as device_name

if TYPE_CHECKING:
    from .tensor import Tensor

CPU = (1, 0)  # kDLCPU, its only number
_DEVICES = {1: "the CPU", 2: "a CUDA device", 7: "a Vulkan device", 8: "a Metal device", 10: "a ROCm device"}
_VERSIONED = tuple(map(int, np.__version__.split(".")[:2])) >= (2, 1)  # NumPy's own __dlpack__ takes max_version, copy


def exported(x: Tensor, stream: Any, max_version: Any, dl_device: Any, copy: bool | None) -> Any:
    """The capsule that `Tensor.__dlpack__` gives. BufferError for what it cannot be, as the standard says."""
    if x.requires_grad:
        raise BufferError(
            f"__dlpack__: a Tensor of shape {x.shape} that requires a gradient cannot leave, for what is computed from "
            "it elsewhere has none; give x.detach()"
        )
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


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A Tensor in the memory of another library's array, which lies on the CPU: what one writes, the other sees.

    x: anything with `__dlpack__` (of NumPy, PyTorch, JAX, ...), or a capsule such as torch.utils.dlpack.to_dlpack
    gives, which can be taken once. What is read-only stays so. copy: True for memory of its own, False for an error
    where that would be needed, None for whatever works.
    Raises TypeError for other objects and for what holds no real numbers, BufferError for arrays on other devices and
    for tensors of PyTorch that require a gradient.
    """
    if device is not None and device_name(device).type != "cpu":
        raise ValueError(
            f"from_dlpack: device must be 'cpu', got {device!r}; move the Tensor afterwards: x.to({device!r})"
        )
    if type(x).__name__ == "PyCapsule":
        x = _Capsule(x)
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise TypeError(
            f"from_dlpack: expected an array with __dlpack__, got {type(x).__name__}; dl.tensor(x) copies any array"
        )
    place = int(x.__dlpack_device__()[0])
    if place != CPU[0]:
        where = _DEVICES.get(place, f"a device of DLPack's kind {place}")
        raise BufferError(f"from_dlpack: the array must lie on the CPU, got one on {where}; move it first: x.cpu()")
    if getattr(x, "requires_grad", False):
        raise BufferError(
            f"from_dlpack: a {type(x).__name__} that requires a gradient cannot be taken over, for its gradient would "
            "be lost; give x.detach()"
        )
    try:
        array = np.from_dlpack(x, copy=copy) if _VERSIONED and copy is not None else np.from_dlpack(x)
    except (BufferError, RuntimeError, ValueError) as error:
        raise BufferError(f"from_dlpack: a {type(x).__name__} cannot be taken over: {error}") from error
    return tensor.Tensor(np.array(array) if copy and not _VERSIONED else array)


def to_dlpack(x: Tensor) -> Any:
    """The capsule of a Tensor, for libraries that take no objects; it can be taken once. Errors of `__dlpack__`."""
    return x.__dlpack__()


class _Capsule:
    """A bare capsule as the object that NumPy wants; NumPy looks itself where its array lies."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU
