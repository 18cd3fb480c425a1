"""Tensors made from nothing: dlfast.zeros, dlfast.arange, dlfast.randn and their like, as in PyTorch.

dtype: float32 where none is given. device: "cpu" where none is given, or "cuda", "cuda:1"; it raises as `Tensor.to`.
Random numbers come from dlfast's generator (`manual_seed`), the same ones on every device.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ._devices import device_of, moved, on_device, wanted
from .random import generator
from .tensor import ArrayLike, Tensor, unwrap

_FLOAT = np.dtype(np.float32)


def tensor(data: ArrayLike, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A Tensor with a copy of the data: lists of floats become float32, arrays keep their dtype."""
    array = unwrap(data)
    copy = array.astype(dtype or array.dtype) if on_device(array) else np.array(array, dtype, order="C")
    return _made("tensor", copy, device, requires_grad)


def as_tensor(data: ArrayLike, dtype: Any = None, device: Any = None) -> Tensor:
    """The data as a Tensor, without a copy where there is no need for one."""
    value = data if isinstance(data, Tensor) else Tensor(data)
    return value.to(dtype=dtype, device=device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A Tensor around the array itself."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: array must be a NumPy array, got {type(array).__name__}")
    return Tensor(array)


def _shape(op: str, sizes: tuple, size: Any) -> tuple[int, ...]:
    """The shape out of zeros(2, 3), zeros((2, 3)) or zeros(size=(2, 3))."""
    if size is not None:
        sizes = (size,)
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    try:
        shape = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(f"{op}: sizes must be integers, got {sizes!r}") from None
    if any(n < 0 for n in shape):
        raise ValueError(f"{op}: sizes must be at least 0, got {shape}")
    return shape


def _made(op: str, array: np.ndarray, device: Any, requires_grad: bool) -> Tensor:
    place = wanted(op, None, None, device)[1]
    return Tensor(array if place is None else moved(array, place), requires_grad)


def zeros(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """All 0: zeros(2, 3) or zeros((2, 3))."""
    return _made("zeros", np.zeros(_shape("zeros", sizes, size), dtype or _FLOAT), device, requires_grad)


def ones(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """All 1: ones(2, 3) or ones((2, 3))."""
    return _made("ones", np.ones(_shape("ones", sizes, size), dtype or _FLOAT), device, requires_grad)


empty = zeros


def full(size: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """All `fill_value`, float32 for a float, int64 for an integer."""
    shape = _shape("full", (size,), None)
    return _made("full", np.full(shape, fill_value, dtype or unwrap(fill_value).dtype), device, requires_grad)


def eye(n: int, m: int | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity matrix (n, m), square without m."""
    return _made("eye", np.eye(n, m, dtype=dtype or _FLOAT), device, requires_grad)


def arange(
    start: float, end: float | None = None, step: float = 1, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... below end (from 0 where only one is given): int64 for integers, else float32."""
    if end is None:
        start, end = 0, start
    array = np.arange(start, end, step)
    wanted = dtype or (_FLOAT if array.dtype.kind == "f" else np.int64)
    return _made("arange", array.astype(wanted, copy=False), device, requires_grad)


def linspace(
    start: float, end: float, steps: int, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers at equal distances, start and end among them."""
    return _made("linspace", np.linspace(start, end, steps).astype(dtype or _FLOAT), device, requires_grad)


def rand(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform in [0, 1)."""
    array = generator().random(_shape("rand", sizes, size), np.float32 if dtype is None else np.float64)
    return _made("rand", array.astype(dtype or _FLOAT, copy=False), device, requires_grad)


def randn(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Normal with mean 0 and variance 1."""
    array = generator().standard_normal(_shape("randn", sizes, size), np.float32 if dtype is None else np.float64)
    return _made("randn", np.asarray(array, dtype or _FLOAT), device, requires_grad)


def randint(low: int, high: Any = None, size: Any = None, dtype: Any = None, device: Any = None) -> Tensor:
    """Integers in low..high-1: randint(low, high, size) or randint(high, size)."""
    if size is None:
        low, high, size = 0, low, high
    array = generator().integers(low, high, _shape("randint", (size,), None))
    return _made("randint", array.astype(dtype or np.int64, copy=False), device, False)


def randperm(n: int, device: Any = None) -> Tensor:
    """0..n-1 in random order."""
    return _made("randperm", generator().permutation(n), device, False)


def _like(make: Any, name: str, what: str) -> Any:
    def like(x: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        array = unwrap(x)
        place = device_of(array) if device is None else device
        return make(array.shape, dtype=dtype or array.dtype, device=place, requires_grad=requires_grad)

    like.__name__ = like.__qualname__ = name
    like.__doc__ = f"{what}, in the shape and dtype and on the device of x."
    return like


zeros_like = _like(zeros, "zeros_like", "All 0")
ones_like = _like(ones, "ones_like", "All 1")
empty_like = zeros_like
rand_like = _like(rand, "rand_like", "Uniform in [0, 1)")
randn_like = _like(randn, "randn_like", "Normal with mean 0 and variance 1")


def full_like(x: Tensor, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """All `fill_value`, in the shape and dtype and on the device of x."""
    array = unwrap(x)
    place = device_of(array) if device is None else device
    return full(array.shape, fill_value, dtype or array.dtype, place, requires_grad)
