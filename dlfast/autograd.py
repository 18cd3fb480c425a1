"""One's own operation: `Function`, a forward and a backward on arrays, under the names of PyTorch's torch.autograd."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import _inplace
from ._changes import note
from ._check import FLOATS
from ._devices import on_device
from ._gradcheck import gradcheck
from ._modes import no_grad
from ._tape import wrap
from .kernels.devices import DeviceArray
from .tensor import Tensor, record, unwrap, wants_gradient

__all__ = ["Context", "Function", "gradcheck"]


class Context:
    """What forward hands to backward, `ctx`: arrays by `save_for_backward`, anything else as attributes.

    needs_input_grad: one flag for each argument of `apply`, whether a gradient may be asked for; all False in no_grad.
    """

    def __init__(self, name: str, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self._name = name
        self._saved: tuple = ()
        self._constant: tuple = ()
        self._dirty: tuple = ()
        self._materialize = True

    def save_for_backward(self, *arrays: Any) -> None:
        """Keep arrays, inputs or results or others, or None in the place of one; backward reads `ctx.saved_tensors`.

        That they are unchanged is checked before backward, as for every operation of the library; what is kept as an
        attribute is not. Raises TypeError for anything else.
        """
        for i, value in enumerate(arrays):
            if value is not None and not isinstance(value, (np.ndarray, Tensor, DeviceArray)):
                raise TypeError(
                    f"{self._name}: save_for_backward takes arrays, got {type(value).__name__} in place {i}; "
                    "keep other things as attributes: ctx.alpha = alpha"
                )
        self._saved = tuple(None if value is None else unwrap(value) for value in arrays)

    @property
    def saved_tensors(self) -> tuple:
        """The arrays of `save_for_backward`."""
        return self._saved

    def mark_non_differentiable(self, *arrays: Any) -> None:
        """Say that these results have no gradient; integers and booleans never have."""
        self._constant = tuple(map(unwrap, arrays))

    def mark_dirty(self, *arrays: Any) -> None:
        """Say that these arguments were written over in place; each must be among the results."""
        self._dirty = tuple(map(unwrap, arrays))

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (the default) or None for a result that nothing was computed from."""
        self._materialize = bool(value)


class Function:
    """One's own operation, from two static methods on NumPy arrays::

        class Square(dl.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            def backward(ctx, dy):
                (x,) = ctx.saved_tensors
                return 2 * x * dy

        y = Square.apply(x)

    As PyTorch's torch.autograd.Function, but both methods see arrays where Tensors go in and come out. forward returns
    an array or a tuple of them; the other arguments of `apply`, numbers, strings, None, arrays, reach it as they are.
    backward gets one array for each result and returns one gradient for each argument of `apply`, of its shape, or None
    where there is none; `ctx.needs_input_grad` says which are wanted. It must not write into the gradients that it
    gets. Nothing is recorded inside either, and no gradients of gradients.

    With `setup_context(ctx, inputs, output)` defined, forward has no ctx, as in PyTorch 2.
    """

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__}: an operation is not made but applied: {type(self).__name__}.apply(x)")

    @staticmethod
    def forward(*args: Any) -> Any:
        """forward(ctx, *arguments of apply) -> an array or a tuple of arrays."""
        raise NotImplementedError("Function: define forward as a static method")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        """Save what backward needs, where forward does not take ctx itself."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """backward(ctx, dy, ...) -> the gradient of each argument of apply."""
        raise NotImplementedError("Function: define backward as a static method")

    @classmethod
    def apply(cls, *inputs: Any) -> Any:
        """Run forward and record the operation: a Tensor, or a tuple of them where forward returns a tuple.

        Raises TypeError where forward gives anything but arrays, and for Tensors with a gradient inside of lists, which
        would get none; RuntimeError where a leaf is written over in place. In backward: ValueError for gradients of
        other number or shapes than the arguments', TypeError for what is no array.
        """
        name, recording = cls.__name__, wants_gradient(inputs)
        ctx = Context(name, tuple([recording and isinstance(x, Tensor) and x.requires_grad for x in inputs]))
        for i, x in enumerate(inputs):
            _refuse_hidden(name, i, x, x)
        arrays = tuple([x.data if isinstance(x, Tensor) else x for x in inputs])
        with no_grad():
            if cls.setup_context is Function.setup_context:
                y = cls.forward(ctx, *arrays)
            else:
                y = cls.forward(*arrays)
                cls.setup_context(ctx, arrays, y)
        several = isinstance(y, (tuple, list))
        results = [_result(name, part) for part in (y if several else (y,))]
        tensors = _recorded(cls, ctx, inputs, results, recording)
        return tuple(tensors) if several else tensors[0]


class _Applied(NamedTuple):
    """One recorded application. inputs, results: shape and dtype of each, None for an argument that is no array;
    carrying: the places of the results that carry a gradient."""

    function: type[Function]
    ctx: Context
    inputs: list
    results: list
    carrying: list[int]


def _refuse_hidden(name: str, place: int, argument: Any, part: Any) -> None:
    """Raise TypeError for a Tensor that wants a gradient inside of a list, tuple or dictionary."""
    if isinstance(part, (list, tuple, dict)):
        for one in part.values() if isinstance(part, dict) else part:
            if isinstance(one, Tensor) and wants_gradient((one,)):
                raise TypeError(
                    f"{name}: argument {place} is a {type(argument).__name__} with a Tensor that requires a gradient, "
                    "which would get none there; give each Tensor as an argument of its own: apply(*tensors)"
                )
            _refuse_hidden(name, place, argument, one)


_ARRAYS = (np.ndarray, np.generic, Tensor, DeviceArray)


def _array(value: Any) -> np.ndarray:
    array = unwrap(value)
    return array if on_device(array) else np.asarray(array)


def _result(name: str, value: Any) -> np.ndarray:
    if isinstance(value, _ARRAYS):
        return _array(value)
    raise TypeError(f"{name}: forward must return an array or a tuple of arrays, got {type(value).__name__}")


def _recorded(cls: Any, ctx: Context, inputs: tuple, results: list[np.ndarray], recording: bool) -> list[Tensor]:
    """The results as Tensors, with the operation behind those that carry a gradient."""
    dirty = [_dirty_place(cls.__name__, array, inputs, results, recording) for array in ctx._dirty]
    carrying = [i for i, y in enumerate(results) if _carries(cls.__name__, ctx, i, y)] if recording else []
    for _, place in dirty:
        note(results[place])  # before the operation is recorded, whose own saved arrays have the new values
    tensors = [wrap(y, None) for y in results]
    if carrying:
        described = [(x.shape, x.dtype) if isinstance(x, (Tensor, np.ndarray, DeviceArray)) else None for x in inputs]
        applied = _Applied(cls, ctx, described, [(y.shape, y.dtype) for y in results], carrying)
        outputs = tuple([results[i] for i in carrying])
        y = record(outputs if len(outputs) > 1 else outputs[0], own_backward, (applied, ctx._saved), inputs)
        for i, tensor in zip(carrying, y if len(outputs) > 1 else (y,)):
            tensors[i] = tensor
        if len(outputs) > 1 and not ctx._materialize:
            y[0]._node.edges[0].backward = own_joint_backward
    for x, place in dirty:
        tensors[place] = _inplace.become(cls.__name__, x, tensors[place]) if tensors[place].requires_grad else x
    return tensors


def _dirty_place(
    name: str, array: np.ndarray, inputs: tuple, results: list[np.ndarray], recording: bool
) -> tuple[Tensor, int]:
    """The argument that was written over, and its place among the results."""
    given = [x for x in inputs if isinstance(x, Tensor) and x.data is array]
    places = [i for i, y in enumerate(results) if y is array]
    if not given or not places:
        raise ValueError(f"{name}: what is given to mark_dirty must be the array of a Tensor argument and a result")
    if recording:
        _inplace.check_no_leaf(name, given[0])
    return given[0], places[0]


def _carries(name: str, ctx: Context, i: int, y: np.ndarray) -> bool:
    """Whether a result carries a gradient."""
    if y.dtype.kind in "iub" or any(y is constant for constant in ctx._constant):
        return False
    if y.dtype not in FLOATS:
        raise TypeError(f"{name}: result {i} must be float32 or float64 to carry a gradient, got {y.dtype}")
    return True


def own_backward(dy: Any, saved: tuple, needs: tuple) -> list:
    """The gradients of one application, checked."""
    applied: _Applied = saved[0]
    ctx, name = applied.ctx, f"{applied.function.__name__}.backward"
    given = dict(zip(applied.carrying, dy if isinstance(dy, tuple) else (dy,)))
    known = next(iter(given.values()))
    blank = (lambda like: np.zeros_like(known, like[1], shape=like[0])) if ctx._materialize else (lambda like: None)
    with no_grad():
        found = applied.function.backward(
            ctx, *[given[i] if i in given else blank(like) for i, like in enumerate(applied.results)]
        )
    gradients = list(found) if isinstance(found, (tuple, list)) else [found]
    while len(gradients) > len(applied.inputs) and gradients[-1] is None:  # PyTorch allows None too many
        gradients.pop()
    if len(gradients) != len(applied.inputs):
        raise ValueError(
            f"{name}: expected {len(applied.inputs)} gradients, one for each argument of apply (None for those "
            f"without), got {len(gradients)}"
        )
    return [
        None if gradient is None else _gradient(name, i, gradient, like)
        for i, (gradient, like) in enumerate(zip(gradients, applied.inputs))
    ]


def _gradient(name: str, i: int, value: Any, like: tuple | None) -> np.ndarray:
    """A gradient as an array of the dtype of argument i."""
    if like is None:
        raise ValueError(f"{name}: gradient {i} must be None, as argument {i} is no array, got {type(value).__name__}")
    if not isinstance(value, _ARRAYS):
        raise TypeError(f"{name}: gradient {i} must be an array or None, got {type(value).__name__}")
    array = _array(value)
    if array.shape != like[0]:
        raise ValueError(f"{name}: gradient {i} must have shape {like[0]}, as argument {i}, got {array.shape}")
    return array.astype(like[1], copy=False)


def own_joint_backward(dys: list, saved: tuple, needs: tuple) -> list:
    """Of an operation with several results that takes None for those that nothing was computed from."""
    backward, inner, _ = saved
    return backward(tuple(dys), inner, needs)
