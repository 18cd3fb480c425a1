"""Kernels: arrays in, arrays out; and the lookup that says which backend serves an operation.

The file tree is the registry. A family of operations has one stem (``conv``, ``pool``, ``linear``, ...) that names its
file in every backend folder; ``<op>_forward``, ``<op>_backward`` and, for optimizers, ``<name>_step`` and
``<name>_sum``, for data ``<name>_transform`` are found in those files by name. ``reference/`` defines every operation;
the other backends may lack some.

The contract of a kernel::

    y, saved = conv2d_forward(x, weight, bias, *, stride, padding, dilation, groups, activation)
    dx, dweight, dbias = linear_backward(dy, saved, needs)

- arrays are positional, options keyword-only; kernels check nothing (``dlfast.functional`` has done so);
- pure: inputs are not modified, outputs are fresh, C-contiguous and of the inputs' dtype (float32 or float64);
- ``saved`` has one meaning for all backends, so any forward pairs with any backward;
- what a convolution will do is decided before, and handed over as its option ``plan`` (`conv_plan.Plan`); ``saved``
  holds it, and a backend that another's plan does not fit plans anew (``plan.of``);
- ``needs`` has one flag for each positional argument, and the gradients come in the same order, None where not wanted;
  a flag may be an `Into`, which is true and names an array that a kernel may write the gradient into and return;
- an optimizer's ``<name>_step(param, grad, *state, **options)`` is the exception: it updates in place;
- ``<name>_sum(x)`` gives a Python float, the sum over a 1-D contiguous array, with the range of float64 and for float32
  numbers a relative error of at most 1e-6;
- ``<name>_transform(x, *parameters, **options)`` gives a new batch of images (N, H, W, C), which may be bytes too; it
  has no gradient, and its random numbers are drawn before;
- the bits do not depend on the number of threads.
"""

from __future__ import annotations

if __name__ == "kernels":
    raise ImportError("the folder kernels/ is the subpackage dlfast.kernels: write `from dlfast import kernels`")

import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy

from . import auto, environment, on_device, reference
from .devices import DeviceArray
from .memory import empty

BACKENDS = ("reference", "numba", "cython")  # of the CPU; "cuda" has the same operations, for arrays on a device
_PREFERENCE = ("numba", "cython", "reference")

_DEVICE = ("cuda",)
_ndarray = numpy.ndarray

Pair = tuple[Callable, Callable]


class Into:
    """A place for a gradient, instead of True in ``needs``: a C-contiguous array of its shape and dtype.

    Kernels whose gradient is large take it (`destination`), which saves the optimizer's arena a copy; others need not.
    """

    __slots__ = ("array",)

    def __init__(self, array):
        self.array = array


def destination(need, shape, dtype):
    """The array that a gradient is to be written into: the caller's, where there is one, else a fresh one."""
    return need.array if type(need) is Into else empty(shape, dtype)


@cache
def operations() -> dict[str, str]:
    """Every operation (``conv2d``), update (``adam_step``), sum and transform with its family, as the reference has it.

    What a file imports from another one is none of its own.
    """
    found = {}
    for family in pkgutil.iter_modules(reference.__path__):
        module = import_module(f"{reference.__name__}.{family.name}")
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        for name in own:
            if name.endswith("_forward") and not name.startswith("_"):
                found[name.removesuffix("_forward")] = family.name
            elif is_single(name) and not name.startswith("_"):
                found[name] = family.name
    return found


def is_single(op: str) -> bool:
    """Whether it is one function, an update, a sum or a transform of data, and no pair of forward and backward."""
    return op.endswith(("_step", "_sum", "_transform"))


@cache
def pair(op: str, backend: str) -> Pair | Callable | None:
    """(forward, backward) of ``op`` in ``backend``, the function itself for a single one, None where it is missing."""
    module = _module(backend, operations()[op])
    if module is None:
        return None
    if is_single(op):
        return getattr(module, op, None)
    forward = getattr(module, f"{op}_forward", None)
    return forward and (forward, getattr(module, f"{op}_backward"))


def backends_of(op: str) -> list[str]:
    """Names of the backends that have ``op``."""
    return [name for name in BACKENDS if built(name) and pair(op, name)]


@cache
def built(backend: str) -> bool:
    """Whether the backend is part of this installation (a folder ``kernels/<backend>``)."""
    return find_spec(f"{__name__}.{backend}") is not None


def auto_table() -> dict[str, str]:
    """Operation -> the backend that ``auto`` takes for it; ``auto.CHOICE`` holds the measurements."""
    return {op: _resolve(op, ("auto",))[0] for op in operations()}


def small_size(op: str) -> int:
    """Elements of the first array below which ``auto`` takes Cython instead of its choice; 0 where it never does."""
    if is_single(op) or "cython" not in backends_of(op) or _resolve(op, ("auto",))[0] == "cython":
        return 0
    return auto.SMALL


class use_backend:
    """Let these backends serve the operations, in order of preference; until changed, or for the length of a ``with``.

    ``use_backend("numba")`` raises at the first operation that Numba lacks; ``use_backend("numba", "reference")`` lets
    the reference stand in. ``"auto"``, the default, takes for each operation the backend that measured fastest.
    The choice holds for the whole process. Raises ValueError for an unknown name, RuntimeError for one not installed.
    """

    def __init__(self, *names: str):
        global _table
        for name in names or ("",):
            _check_backend(name)
        self._before = _table
        _table = _Table(names)

    def __enter__(self) -> use_backend:
        return self

    def __exit__(self, *exception) -> None:
        global _table
        _table = self._before


def get_backend(x: Any = None) -> tuple[str, ...]:
    """The names given to ``use_backend`` last, ``("auto",)`` at first; ``("cuda",)`` for an array x on a device."""
    return x.backend if isinstance(x, DeviceArray) else _table.names


def active(op: str, x: numpy.ndarray | None = None) -> Pair:
    """(forward, backward) of the backend in force, for an operation whose first array is x (None: a large one).

    Arrays on a device are served by "cuda", whatever backend is in force for those of the CPU.
    Raises RuntimeError where the chosen backend lacks the operation.
    """
    if x is not None:
        if type(x) is not _ndarray and isinstance(x, DeviceArray):
            return _table.on_device[op] if x.kernel is None else x.kernel(op)
        if x.size < auto.SMALL:
            return _table.small[op]
    return _table[op]


def active_module(op: str, names: tuple[str, ...] | None = None) -> ModuleType | None:
    """The file that serves ``op``, for what a family says of itself (``ABILITIES``); None where none does.

    names: what `get_backend` said, for other backends than those in force."""
    if names == _DEVICE:
        return _module("cuda", operations()[op])
    if op not in _table.modules:
        backend = _serving(op, _table.names)
        _table.modules[op] = backend and _module(backend, operations()[op])
    return _table.modules[op]


def active_step(name: str, x: Any = None) -> Callable:
    """The optimizer update ``<name>_step`` of the backend in force, or for an array x on a device that of "cuda"."""
    return (_table.on_device if isinstance(x, DeviceArray) else _table)[f"{name}_step"]


def active_sum(name: str, x: Any = None) -> Callable:
    """The sum ``<name>_sum`` of the backend in force, or for an array x on a device that of "cuda"."""
    return (_table.on_device if isinstance(x, DeviceArray) else _table)[f"{name}_sum"]


def active_transform(name: str, x: Any = None) -> Callable:
    """The transform ``<name>_transform`` of the backend in force, or for an array x on a device that of "cuda"."""
    return (_table.on_device if isinstance(x, DeviceArray) else _table)[f"{name}_transform"]


class Call(NamedTuple):
    """An operation that ran: its backend, the shapes of its arrays (None for one not given), its options, its device.

    device: None for the CPU.
    """

    op: str
    backend: str
    shapes: tuple[tuple[int, ...] | None, ...]
    options: dict[str, Any]
    device: Any = None


@contextmanager
def watch() -> Iterator[list[Call]]:
    """Note every operation that runs inside, in the whole process and in order: ``with watch() as calls``."""
    global _table
    before, calls = _table, []
    _table = _Watched(before.names, calls)
    try:
        yield calls
    finally:
        _table = before


class _Table(dict):
    """op, or op and its method ("conv2d direct") -> functions; filled when needed, so that nothing is imported before.

    `small` is the table for small arrays, where ``auto`` prefers Cython, `on_device` that for arrays on a device.
    """

    def __init__(self, names: tuple[str, ...]):
        super().__init__()
        self.names = names
        self.modules: dict[str, ModuleType | None] = {}
        self.small = _Table(("cython", *names)) if names[:1] == ("auto",) and built("cython") else self
        self.on_device = self if names == _DEVICE else _Table(_DEVICE)

    def __missing__(self, op: str):
        self[op] = functions = _resolve(op, self.names)[1]
        return functions


class _Watched(_Table):
    """A table whose forwards append to `calls`."""

    def __init__(self, names: tuple[str, ...], calls: list[Call]):
        super().__init__(names)
        self.calls = calls
        self.small = self if self.small is self else _Watched(self.small.names, calls)
        self.on_device = self if names == _DEVICE else _Watched(_DEVICE, calls)

    def __missing__(self, op: str):
        backend, functions = _resolve(op, self.names)
        if not is_single(op):
            functions = self._noting(op, backend, functions[0]), functions[1]
        self[op] = functions
        return functions

    def _noting(self, op: str, backend: str, forward: Callable) -> Callable:
        def noting(*arrays, **options):
            shapes = tuple(None if array is None else array.shape for array in arrays)
            device = next((array.device for array in arrays if isinstance(array, DeviceArray)), None)
            self.calls.append(Call(op, backend, shapes, options, device))
            return forward(*arrays, **options)

        return noting


def _resolve(op: str, names: tuple[str, ...]) -> tuple[str, Pair | Callable]:
    if backend := _serving(op, names):
        functions = pair(op, backend)
        return backend, on_device.taking_views(op, functions) if names == _DEVICE else functions
    if names == _DEVICE:
        raise RuntimeError(f"arrays on a device: there is no kernel for {op!r}; move them to the CPU, with x.cpu()")
    raise RuntimeError(
        f"backend {names[0]!r} has no kernel for {op!r} (these have: {', '.join(backends_of(op))}); "
        f"use_backend({', '.join(map(repr, names))}, 'reference') lets the reference stand in"
    )


def _serving(op: str, names: tuple[str, ...]) -> str | None:
    """The first of these backends that has the operation; ``auto`` stands for several. None where none has it."""
    order = (backend for name in names for backend in (_auto_order(op) if name == "auto" else (name,)))
    return next((backend for backend in order if pair(op, backend)), None)


def _auto_order(op: str) -> tuple[str, ...]:
    return (auto.CHOICE[op], *_PREFERENCE) if op in auto.CHOICE else _PREFERENCE


def _check_backend(name: str) -> None:
    if name == "cuda":
        raise ValueError(
            "use_backend: the kernels of 'cuda' serve arrays that lie on a device, and no others; to time or compare "
            "kernels of the CPU choose among " + ", ".join(("auto", *BACKENDS))
        )
    if name != "auto" and name not in BACKENDS:
        raise ValueError(f"use_backend: unknown backend {name!r}; known are {', '.join(('auto', *BACKENDS))}")
    if name != "auto" and not built(name):
        raise RuntimeError(f"use_backend: backend {name!r} is not part of this installation of dlfast")


@cache
def _module(backend: str, family: str) -> ModuleType | None:
    """The family's file in a backend; None where there is none. A file that is there and broken raises."""
    name = f"{__name__}.{backend}.{family}"
    return import_module(name) if find_spec(name) else None


_table = _Table(("auto",))
environment.tell()
