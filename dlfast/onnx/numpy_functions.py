"""NumPy's functions on arrays that are recorded: what they compute, and the nodes that compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .graph import Graph
from .recording import Recorded, Recorder, depends, name_of, values_of

_SAME: dict[Any, str] = {  # of operands of one dtype, to a result of that dtype
    np.add: "Add",
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.true_divide: "Div",
    np.power: "Pow",
    np.maximum: "Max",
    np.minimum: "Min",
    np.negative: "Neg",
    np.absolute: "Abs",
    np.sign: "Sign",
    np.exp: "Exp",
    np.log: "Log",
    np.sqrt: "Sqrt",
    np.tanh: "Tanh",
    np.sin: "Sin",
    np.cos: "Cos",
    np.floor: "Floor",
    np.ceil: "Ceil",
    np.rint: "Round",
    np.reciprocal: "Reciprocal",
    np.matmul: "MatMul",
}
_COMPARISONS: dict[Any, str] = {
    np.equal: "Equal",
    np.greater: "Greater",
    np.less: "Less",
    np.greater_equal: "GreaterOrEqual",
    np.less_equal: "LessOrEqual",
}
_LOGIC: dict[Any, str] = {
    np.logical_and: "And",
    np.logical_or: "Or",
    np.logical_xor: "Xor",
    np.logical_not: "Not",
    np.bitwise_and: "And",
    np.bitwise_or: "Or",
    np.invert: "Not",
}
_REDUCING = {np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min}


def _missing(name: str) -> TypeError:
    return TypeError(
        f"export: np.{name} has no form in ONNX here; the model's forward uses it on what its input decides"
    )


def call_ufunc(recorder: Recorder, ufunc: Any, method: str, inputs: tuple, options: dict[str, Any]) -> Any:
    """A ufunc, or its `reduce`. TypeError for one without a form in ONNX."""
    out = options.pop("out", (None,))[0]
    if method == "reduce" and ufunc in _REDUCING:
        y = call_function(recorder, _REDUCING[ufunc], inputs, {"axis": options.get("axis", 0)})
    elif method != "__call__":
        raise _missing(f"{ufunc.__name__}.{method}")
    else:
        values = ufunc(*values_of(list(inputs)), **options)
        name = _ufunc_node(recorder.graph, ufunc, inputs, values) if depends(*inputs) else None
        y = Recorded(recorder, values, name)
    if out is None:
        return y
    out[...] = y
    return out


def _ufunc_node(g: Graph, ufunc: Any, inputs: tuple, values: np.ndarray) -> str:
    if ufunc in _SAME:
        return g.add(_SAME[ufunc], [name_of(g, x, values.dtype) for x in inputs])
    if ufunc in _COMPARISONS or ufunc is np.not_equal:
        common = np.result_type(*values_of(list(inputs)))
        names = [name_of(g, x, common) for x in inputs]
        return g.add("Not", [g.add("Equal", names)]) if ufunc is np.not_equal else g.add(_COMPARISONS[ufunc], names)
    if ufunc in _LOGIC and values.dtype == bool:
        return g.add(_LOGIC[ufunc], [name_of(g, x, bool) for x in inputs])
    if ufunc is np.square:
        x = name_of(g, inputs[0], values.dtype)
        return g.add("Mul", [x, x])
    if ufunc is np.log1p:
        return g.add("Log", [g.add("Add", [name_of(g, inputs[0], values.dtype), g.scalar(1, values.dtype)])])
    if ufunc is np.expm1:
        return g.add("Sub", [g.add("Exp", [name_of(g, inputs[0], values.dtype)]), g.scalar(1, values.dtype)])
    if ufunc in (np.isnan, np.isinf):
        return g.add("IsNaN" if ufunc is np.isnan else "IsInf", [name_of(g, inputs[0])])
    if ufunc is np.isfinite:
        x = name_of(g, inputs[0])
        return g.add("Not", [g.add("Or", [g.add("IsNaN", [x]), g.add("IsInf", [x])])])
    raise _missing(ufunc.__name__)


def call_function(recorder: Recorder, function: Any, args: Any, kwargs: Any) -> Any:
    """A function of NumPy. TypeError for one without a form in ONNX."""
    kwargs = {name: value for name, value in kwargs.items() if value is not np._NoValue}
    values = function(*values_of(args), **{name: values_of(value) for name, value in kwargs.items()})
    if not depends(*args, *kwargs.values()) or function in _MAKING:
        return _constants(recorder, values)
    node = FUNCTIONS.get(function)
    if node is None:
        raise _missing(function.__name__)
    names = node(recorder.graph, values, *args, **kwargs)
    if isinstance(names, list):
        return [Recorded(recorder, value, name) for value, name in zip(values, names, strict=True)]
    return Recorded(recorder, values, names)


def _constants(recorder: Recorder, values: Any) -> Any:
    if isinstance(values, list):
        return [_constants(recorder, value) for value in values]
    return Recorded(recorder, values) if isinstance(values, (np.ndarray, np.generic)) else values


_MAKING = (np.empty_like, np.zeros_like, np.ones_like, np.full_like, np.shape, np.ndim, np.size, np.result_type)


def cast(x: Recorded, dtype: Any) -> Recorded:
    """x in another dtype."""
    values = x.values.astype(dtype)
    if x.name is None or values.dtype == x.dtype:
        return Recorded(x.device, values, x.name)
    return Recorded(x.device, values, x.device.graph.add("Cast", [x.name], to=values.dtype))


# Each takes the graph, the values of the result and the function's own arguments.


def _reshape(g: Graph, y: Any, x: Any, *_: Any, **__: Any) -> str:
    return g.reshape(name_of(g, x), y.shape)


def _permuted(order_of: Callable[..., Any]) -> Callable[..., str]:
    def node(g: Graph, y: Any, x: Any, *args: Any, **kwargs: Any) -> str:
        return g.transpose(name_of(g, x), order_of(range(x.ndim), *args, **kwargs))

    return node


def _transposed(axes: range, order: Any = None) -> Any:
    return order if order is not None else axes[::-1]


def _swapped(axes: range, first: int, second: int) -> Any:
    order = list(axes)
    order[first], order[second] = order[second], order[first]
    return order


def _moved(axes: range, source: int, destination: int) -> Any:
    order = [axis for axis in axes if axis != source % len(axes)]
    order.insert(destination % len(axes), source % len(axes))
    return order


def _broadcast(g: Graph, y: Any, x: Any, *_: Any, **__: Any) -> str:
    return g.add("Expand", [name_of(g, x), g.sizes(y.shape)])


def _concatenate(g: Graph, y: Any, arrays: Any, axis: int = 0, **_: Any) -> str:
    return g.add("Concat", [name_of(g, x, y.dtype) for x in arrays], axis=axis % y.ndim)


def _stack(g: Graph, y: Any, arrays: Any, axis: int = 0, **_: Any) -> str:
    axis %= y.ndim
    parts = [g.add("Unsqueeze", [name_of(g, x, y.dtype), g.numbers(axis)]) for x in arrays]
    return g.add("Concat", parts, axis=axis)


def _split(g: Graph, ys: Any, x: Any, where: Any, axis: int = 0) -> list[str]:
    """Pieces of equal or given lengths, each a slice."""
    name, ends = name_of(g, x), np.cumsum([y.shape[axis] for y in ys])
    return [g.slice(name, axis % x.ndim, int(end - y.shape[axis]), int(end)) for y, end in zip(ys, ends)]


def _where(g: Graph, y: Any, condition: Any, *choices: Any) -> str:
    if not choices:
        raise _missing("nonzero")
    return g.add("Where", [name_of(g, condition, bool), *(name_of(g, x, y.dtype) for x in choices)])


def _clip(g: Graph, y: Any, x: Any, low: Any = None, high: Any = None, **_: Any) -> str:
    return g.add("Clip", [name_of(g, x, y.dtype), *(name_of(g, b, y.dtype) for b in (low, high))])


def _take(g: Graph, y: Any, x: Any, indices: Any, axis: Any = None, **_: Any) -> str:
    source = name_of(g, x)
    if axis is None:
        source, axis = g.reshape(source, (x.size,)), 0
    return g.add("Gather", [source, name_of(g, indices, np.int64)], axis=axis % max(x.ndim, 1))


def _repeat(g: Graph, y: Any, x: Any, repeats: int, axis: int) -> str:
    """Each element so often along an axis: as a new axis, expanded, then joined."""
    axis %= x.ndim
    shape = [*x.shape[: axis + 1], repeats, *x.shape[axis + 1 :]]
    wide = g.add("Expand", [g.add("Unsqueeze", [name_of(g, x), g.numbers(axis + 1)]), g.sizes(shape)])
    return g.reshape(wide, y.shape)


def _cumsum(g: Graph, y: Any, x: Any, axis: int, **_: Any) -> str:
    return g.add("CumSum", [name_of(g, x, y.dtype), g.scalar(axis, np.int64)])


def _reduced(op: str) -> Callable[..., str]:
    def node(g: Graph, y: Any, x: Any, axis: Any = None, keepdims: bool = False, **_: Any) -> str:
        axes = [] if axis is None else [g.numbers(*(axis if isinstance(axis, tuple) else (axis,)))]
        return g.add(op, [name_of(g, x, y.dtype), *axes], keepdims=int(keepdims))

    return node


def _logical(op: str) -> Callable[..., str]:
    """np.any and np.all, by the largest or smallest of 0 and 1."""
    reduced = _reduced(op)

    def node(g: Graph, y: Any, x: Any, axis: Any = None, keepdims: bool = False, **_: Any) -> str:
        ones = Recorded(x.device, x.values.astype(bool).astype(np.int32), name_of(g, cast(cast(x, bool), np.int32)))
        return g.add("Cast", [reduced(g, ones.values.max(axis), ones, axis, keepdims)], to=np.dtype(bool))

    return node


def _place(op: str) -> Callable[..., str]:
    def node(g: Graph, y: Any, x: Any, axis: Any = None, keepdims: bool = False, **_: Any) -> str:
        name = name_of(g, x) if axis is not None else g.reshape(name_of(g, x), (x.size,))
        return g.add(op, [name], axis=0 if axis is None else axis, keepdims=int(keepdims))

    return node


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.reshape: _reshape,
    np.ravel: _reshape,
    np.squeeze: _reshape,
    np.expand_dims: _reshape,
    np.transpose: _permuted(_transposed),
    np.swapaxes: _permuted(_swapped),
    np.moveaxis: _permuted(_moved),
    np.broadcast_to: _broadcast,
    np.concatenate: _concatenate,
    np.stack: _stack,
    np.split: _split,
    np.where: _where,
    np.clip: _clip,
    np.take: _take,
    np.repeat: _repeat,
    np.cumsum: _cumsum,
    np.sum: _reduced("ReduceSum"),
    np.mean: _reduced("ReduceMean"),
    np.prod: _reduced("ReduceProd"),
    np.max: _reduced("ReduceMax"),
    np.amax: _reduced("ReduceMax"),
    np.min: _reduced("ReduceMin"),
    np.amin: _reduced("ReduceMin"),
    np.any: _logical("ReduceMax"),
    np.all: _logical("ReduceMin"),
    np.argmax: _place("ArgMax"),
    np.argmin: _place("ArgMin"),
}
