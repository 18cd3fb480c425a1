"""Devices: their names, arrays on the way from one to another, and the error where arguments lie on several.

All that layers know of devices stands here. An array of NumPy lies on the CPU, a `DeviceArray` on its own device; what
is made beside an array is made with `np.zeros_like(array, shape=...)` and its like, which know where it lies.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from . import kernels
from ._changes import change_count, changes_since, first_stale
from .kernels.devices import DeviceArray, device_name
from .kernels.halves import HALVES, half_dtype

CUDA = "cuda"


class device(str):
    """The name of a device: "cpu", "cuda" (the first GPU) or "cuda:1", as `Tensor.device` tells it.

    `type`: "cpu" or "cuda"; `index`: the number of the GPU, None for the CPU and where none is named.
    Raises ValueError for any other name. Whether there is such a device shows when something is moved there.
    """

    def __new__(cls, name: Any = "cpu", index: int | None = None) -> device:
        text = f"{CUDA}:{name}" if type(name) is int else str(name) if index is None else f"{name}:{index}"
        kind, colon, number = text.partition(":")
        if not (kind in ("cpu", CUDA) and (number.isdecimal() if colon else True)):
            raise ValueError(f"device: must be 'cpu', 'cuda' or 'cuda:' and the number of a GPU, got {name!r}")
        return super().__new__(cls, "cpu" if kind == "cpu" else text)

    @property
    def type(self) -> str:
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]
        number = self.partition(":")[2]
        return int(number) if number else None


CPU = device("cpu")
_ARRAYS = (np.ndarray, DeviceArray)


def device_of(array: Any) -> device:
    """Where an array lies."""
    if type(array) is np.ndarray:
        return CPU
    return array.device if isinstance(getattr(array, "device", None), device) else device(device_name(array))


def on_device(array: Any) -> bool:
    """Whether an array lies on a device other than the CPU."""
    return isinstance(array, DeviceArray)


def find(name: Any) -> Any:
    """The device of that name: `CPU`, or what makes and copies arrays of a GPU.

    Raises ValueError for what is no name of a device, RuntimeError for a GPU that cannot be used, with the reason and
    what to install.
    """
    if hasattr(name, "upload"):
        return name
    wanted = device(name)
    if wanted.type == "cpu":
        return CPU
    from .cuda import get_device

    return get_device(wanted)


def wanted(op: str, target: Any, dtype: Any, place: Any) -> tuple[Any, Any]:
    """What `to(target, dtype, device=place)` asks for: a dtype and a device as `find` gives it, None where none.

    target: the name of a device, a dtype, or a Tensor, whose dtype and device are meant. Raises as `find`.
    """
    dtype = half_dtype(dtype) if isinstance(dtype, str) and dtype in HALVES else dtype
    if isinstance(target, str) and target in HALVES:
        target = half_dtype(target)
    array = getattr(target, "data", None) if not isinstance(target, (str, np.ndarray, np.dtype)) else target
    if isinstance(array, _ARRAYS):
        target, place = array.dtype, (array.device if on_device(array) else CPU) if place is None else place
    elif type(target) is int or hasattr(target, "upload") or (isinstance(target, str) and not _is_dtype(target)):
        target, place = None, target
    try:
        found = None if place is None else find(place)
    except ValueError as error:
        raise ValueError(f"{op}: {error}") from None
    return (target if dtype is None else dtype), found


def _is_dtype(name: str) -> bool:
    if isinstance(name, device):
        return False
    try:
        np.dtype(name)
    except TypeError:
        return False
    return True


def moved(array: Any, place: Any) -> Any:
    """The array on a device that `find` gave: itself where it lies there, else a copy."""
    if place is CPU:
        return array.numpy() if on_device(array) else array
    if on_device(array):
        if array.device is place:
            return array
        array = array.numpy()  # from one GPU to another by way of the CPU
    return place.upload(np.asarray(array, order="C"))


def beside(values: Any, array: Any) -> Any:
    """Values where `array` lies, as they are or copied there."""
    return moved(values, array.device if on_device(array) else CPU)


def assign(array: Any, values: Any) -> None:
    """array[...] = values, wherever either lies; values that come from elsewhere are cast before they are moved."""
    if isinstance(values, _ARRAYS) and device_of(values) != device_of(array):
        values = beside(values.astype(array.dtype, copy=False), array)
    array[...] = values


def zeros_beside(array: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Zeros where `array` lies."""
    return np.zeros_like(array, dtype, shape=shape) if on_device(array) else np.zeros(shape, dtype)


def as_array(value: Any) -> Any:
    """A result as an array, for on the CPU NumPy gives scalars where no axis is left."""
    return value if isinstance(value, _ARRAYS) else np.asarray(value)


def on_cpu(array: Any) -> np.ndarray:
    """A copy of the array on the CPU."""
    return array.numpy() if on_device(array) else np.array(array)


# What is known of arrays on a device without asking it

_known: WeakKeyDictionary[Any, tuple[int, int, np.ndarray]] = WeakKeyDictionary()  # by the owner of the memory


def remember(array: Any, values: np.ndarray) -> None:
    """Let `values_of` know the values of an array that has just been copied to a device."""
    _known[array.owner] = array.pointer, change_count(), values


def values_of(array: Any) -> np.ndarray:
    """The array's values on the CPU, not to be written: those remembered, if nothing was written since, or a copy."""
    if not on_device(array):
        return array
    pointer, count, values = _known.get(array.owner, (0, 0, None))
    if values is None or pointer != array.pointer or values.dtype != array.dtype or values.size != array.size:
        return array.numpy()
    stale = not array.is_contiguous or first_stale(None, array, (), count, changes_since(count)) is not None
    return array.numpy() if stale else values.reshape(array.shape)


# Arguments that lie on several devices


def check_one_device(op: str, names: Sequence[str], arrays: Iterable[Any]) -> None:
    """Raise TypeError, which says where each argument lies, unless the arrays lie on one device; None lies nowhere."""
    places = {name: device_of(array) for name, array in zip(names, arrays) if isinstance(array, _ARRAYS)}
    if len(set(places.values())) > 1:
        lies = [f"{name} on {place}" for name, place in places.items()]
        lies[0] = lies[0].replace(" on ", " lies on ")
        here = CPU if CPU in places.values() else next(iter(places.values()))
        name = next(name for name, place in places.items() if (place == here) == (here is CPU))
        target = next(place for place in places.values() if place != places[name])
        fix = f"{name}.to({target.removesuffix(':0')!r})"
        raise TypeError(f"{op}: {', '.join(lies[:-1])} and {lies[-1]}; move one, for example {fix}")


def check_operands(op: str, **values: Any) -> None:
    """`check_one_device` for what NumPy computes with: numbers, and arrays of NumPy without axes, lie everywhere."""
    arrays = {name: value for name, value in values.items() if on_device(value) or np.ndim(value)}
    if any(map(on_device, arrays.values())):
        check_one_device(op, tuple(arrays), [as_array(value) for value in arrays.values()])


def check_kernel_arguments(op: str, arrays: Sequence[Any]) -> None:
    """`check_one_device` with the names that the operation's definition has for its arguments."""
    if any(isinstance(array, DeviceArray) for array in arrays):
        check_one_device(op, argument_names(op, len(arrays)), arrays)


@cache
def argument_names(op: str, count: int) -> tuple[str, ...]:
    """The names of an operation's first `count` arrays."""
    forward: Any = kernels.pair(op, "reference")
    names: list[str] = []
    for name, parameter in inspect.signature(forward[0]).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{name}[{i}]" for i in range(count - len(names))]
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            names.append(name)
    return tuple(names)
