"""NumPy's ufuncs on Tensors: those that have a gradient here are recorded, tests give plain results, others raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import _operators as ops
from . import _selecting as selecting

_RECORDED: dict[Any, Callable] = {
    np.add: ops.add,
    np.subtract: ops.subtract,
    np.multiply: ops.multiply,
    np.true_divide: ops.divide,
    np.power: ops.power,
    np.float_power: ops.power,
    np.matmul: ops.matmul,
    np.maximum: selecting.maximum,
    np.minimum: selecting.minimum,
    np.negative: ops.negative,
    np.absolute: ops.absolute,
    np.fabs: ops.absolute,
    np.exp: ops.exp,
    np.log: ops.log,
    np.sqrt: ops.sqrt,
    np.tanh: ops.tanh,
    np.square: lambda x: ops.multiply(x, x),
}
_TESTS = {
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.isnan, np.isfinite, np.isinf,
    np.signbit, np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.bitwise_and, np.bitwise_or,
    np.bitwise_xor, np.invert,
}  # fmt: skip


def dispatch(self: Any, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """What NumPy calls for a ufunc with a Tensor among its arguments."""
    tensor = ops.tensor.Tensor
    plain = [value.data if isinstance(value, tensor) else value for value in inputs]
    if method == "__call__" and not options:
        if ufunc in _TESTS:
            return tensor(ufunc(*plain))
        if ufunc in _RECORDED:
            first, *rest = inputs
            return _RECORDED[ufunc](first if rest or isinstance(first, tensor) else tensor(first), *rest)
    name = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    out = options.get("out", ())
    if out and not any(isinstance(value, tensor) for value in out) and not ops.tensor.wants_gradient(inputs):
        return getattr(ufunc, method)(*plain, **options)  # array += x
    known = ", ".join(sorted(f"x.{one.__name__}()" for one in (np.exp, np.log, np.sqrt, np.tanh)))
    raise TypeError(
        f"{name}: NumPy cannot compute this with a Tensor and keep its gradient; use the methods of Tensor ({known}, "
        f"...) and dlfast.functional, or {name}(x.numpy()) where no gradient is wanted"
    )


class Dispatch:
    """`dispatch` where NumPy looks it up, on the class; on a Tensor None, which tells masked arrays to leave sums,
    products and their like to the Tensor, for they would compute with its bare array."""

    def __get__(self, instance: Any, owner: Any) -> Callable | None:
        return dispatch if instance is None else None
