"""The words that CUDA kernels are written in, and the decorators that make them.

    @kernel("ppi")
    def double(x, y, n):
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        if i < n:
            y[i] = real(2) * x[i]

    double((blocks, 1, 1), 128, x, y, n)      # x, y: `device.Array`

A letter says what an argument is: p a pointer to numbers of the arrays' dtype from a multiple of 16 bytes on; u such a
pointer to anywhere; s a pointer like p to numbers of the dtype that kernels compute in, which `real` casts to: float32
for arrays of float16 and bfloat16, else the arrays' own. Sums and statistics are s. r is a pointer to float32; d one to
float64; l one to int64; j one to int32; b one to bytes; i an int32; w an int64; f a number that `real` casts to.

The words stand for what each compiler puts in their place (`bind`):

    cuda                Numba's: threadIdx, blockIdx, blockDim, gridDim, syncthreads(), shared.array, local.array
    load4(p, i)         four numbers from p + i, a multiple of 4, by accesses of 16 bytes; store4(p, i, a, b, c, d);
                        shared memory that they go to needs shared.array(n, real, alignment=16)
    shuffle_xor(v, m)   the v of the lane whose number is this one's with the bits of m flipped
    real, i32, i64, f64 casts
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..halves import HALVES

WORDS = ("cuda", "load4", "store4", "shuffle_xor", "real", "i32", "i64", "f64")


def real_dtype(dtype: Any) -> np.dtype:
    """What kernels compute in for arrays of a dtype, and keep sums and statistics in."""
    return np.dtype(np.float32) if str(dtype) in HALVES else np.dtype(dtype)


class _Word(str):
    """A word that has no meaning before a compiler gives it one."""

    def __getattr__(self, name: str):
        raise AttributeError(f"{self}.{name} means something only in a kernel")

    def __call__(self, *arguments):
        raise TypeError(f"{self}() means something only in a kernel")


cuda, load4, store4, shuffle_xor, real, i32, i64, f64 = (_Word(word) for word in WORDS)


class Device(NamedTuple):
    """A function that kernels call; it is compiled into them."""

    function: Callable


class Kernel:
    """A kernel: its source, and what its arguments are. Call it with a grid, a block and the arguments to run it."""

    def __init__(self, function: Callable, kinds: str, name: str, bounds: tuple[int, int] | None = None,
                 moved: Callable[..., int] | None = None):  # fmt: skip
        if function.__code__.co_argcount != len(kinds):
            raise TypeError(
                f"kernel {name}: {function.__code__.co_argcount} arguments, but {kinds!r} names {len(kinds)}"
            )
        self.function, self.kinds, self.name, self.bounds, self.moved = function, kinds, name, bounds, moved
        self.compiled: dict[Any, Any] = {}  # what devices make of it
        self._arrays = [place for place, kind in enumerate(kinds) if kind in "pu"]
        KERNELS.append(self)

    def __call__(self, grid: tuple[int, int, int], block: int | tuple[int, int], *arguments) -> None:
        """Run on the device of the first array, in its order of work; an empty grid does nothing."""
        if 0 in grid:
            return
        for place in self._arrays:
            first = arguments[place]
            if first is not None:
                break
        first.device.launch(self, grid, block if isinstance(block, tuple) else (block, 1), arguments, first.dtype)

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"


KERNELS: list[Kernel] = []  # all that have been imported


def kernel(kinds: str, name: str | None = None, bounds: tuple[int, int] | None = None,
           moved: Callable[..., int] | None = None):  # fmt: skip
    """Make a function a kernel whose arguments are of these kinds.

    bounds: the most threads of its blocks, and how many such blocks a multiprocessor is to hold at a time: what
    registers a thread may take follows from both. moved: the bytes that a launch moves, by its arguments, where they
    are not those of all its arrays (`traffic`).
    """
    return lambda function: Kernel(function, kinds, name or full_name(function), bounds, moved)


def full_name(function: Callable) -> str:
    """A name that no other kernel has: the function's, behind that of its file."""
    return f"{function.__module__.rpartition('.')[2]}_{function.__name__.strip('_')}"


def device(function: Callable) -> Device:
    """Make a function one that kernels call."""
    return Device(function)


def bind(function: Callable, meanings: dict[str, Any], compile_device: Callable[[Callable], Any]) -> Callable:
    """A copy of a function in which words have these meanings and `Device` functions are compiled."""

    def meant(value: Any) -> Any:
        if isinstance(value, _Word):
            return meanings[value]
        if isinstance(value, Device):
            return compile_device(bind(value.function, meanings, compile_device))
        return value

    names = {*function.__code__.co_names}
    scope = {name: meant(value) if name in names else value for name, value in function.__globals__.items()}
    closure = tuple(CellType(meant(cell.cell_contents)) for cell in function.__closure__ or ())
    return FunctionType(function.__code__, scope, function.__name__, function.__defaults__, closure)


def made_of(function: Callable) -> Iterator[str]:
    """What tells a function from others, however they are named: code, constants, and the functions that it calls."""
    yield from _of_code(function.__code__)
    named = {name: value for name, value in function.__globals__.items() if name in function.__code__.co_names}
    for name, value in [*sorted(named.items()), *enumerate(cell.cell_contents for cell in function.__closure__ or ())]:
        called = value.function if isinstance(value, Device) else getattr(value, "py_func", None)  # Numba's own
        if called is not None:
            yield f"{name}:"
            yield from made_of(called)
        else:
            yield f"{name}: {value.__name__ if isinstance(value, ModuleType) else repr(value)}"


def _of_code(code: CodeType) -> Iterator[str]:
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
        else:
            yield repr(constant)
