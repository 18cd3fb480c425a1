"""Flat arenas: the parameters of a model side by side in memory, so that one kernel call updates them all.

    arena   | weight ......... pad | bias . pad | weight ...... pad |    each parameter starts at a multiple of 64 bytes
    state   | exp_avg ........ pad | ...... pad | ............. pad |    laid out alike, one flat array for each name

A parameter is moved into an arena once, by the first optimizer that takes it, and stays there. A later optimizer finds
which of its parameters lie side by side and updates each such stretch with one call, so any number of optimizers may
share parameters. The padding is zero in every array and stays zero under every update.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._changes import change_of
from .._tape import have_gradients
from ..kernels.memory import pooled

ALIGNMENT = 64  # bytes: a cache line, and the widest SIMD register


class Arena(np.ndarray):
    """The bytes of an arena. Parameters are plain arrays whose ``.base`` is one of these."""

    @classmethod
    def zeros(cls, nbytes: int) -> Arena:
        with pooled():  # in huge pages, where the system has them
            arena = cls((nbytes + ALIGNMENT,), np.uint8)  # owns its memory, else views would name another base
        arena.fill(0)
        return arena

    def array_at(self, address: int, shape: tuple[int, ...], dtype) -> np.ndarray:
        """A plain array on the arena's bytes from ``address`` on."""
        return np.ndarray(shape, dtype, buffer=self, offset=address - _address(self))


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _padded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def zeros(count: int, dtype) -> np.ndarray:
    """A flat array of zeros, aligned."""
    arena = Arena.zeros(count * np.dtype(dtype).itemsize)
    return arena.array_at(_aligned_start(arena), (count,), dtype)


def _aligned_start(arena: Arena) -> int:
    return _padded(_address(arena))


def bind(parameters) -> None:
    """Move those parameters, all of one dtype, that lie in no arena yet into a new one."""
    loose = [p for p in parameters if not isinstance(p.data.base, Arena)]
    nbytes = sum(_padded(p.data.nbytes) for p in loose)
    data, grad = Arena.zeros(nbytes), Arena.zeros(nbytes)
    offset = 0
    for p in loose:
        p._bind(*(a.array_at(_aligned_start(a) + offset, p.data.shape, p.data.dtype) for a in (data, grad)))
        offset += _padded(p.data.nbytes)


class Stretch:
    """Parameters ``first`` to ``last`` of a `Block`, side by side in memory: what one kernel call updates.

    ``data`` and ``grad`` are flat views of the arena.
    """

    def __init__(self, block: Block, first: int, last: int):
        # No reference to the block, which holds its stretches: memory must go with the last name of the optimizer.
        self._steps, self._states, self.first, self.last = block.steps, block.states, first, last
        self._numbers = block.numbers
        self.low, self.high = block.offsets[first], block.offsets[last] + block.parameters[last].data.size
        self.data = _flat_view(block.parameters[first].data, self.high - self.low)
        self.grad = _flat_view(block.parameters[first]._place.array, self.high - self.low)
        self._views: dict[str, np.ndarray] = {}
        self.change = change_of(self.data)  # for the tape, which must not take old weights for new ones

    def state(self, name: str) -> np.ndarray:
        """The stretch's part of the state ``name``, zero at first."""
        if name not in self._views:
            self._views[name] = self._states[name][self.low : self.high]
        return self._views[name]

    @property
    def steps(self) -> int:
        """Updates that these parameters have had, the same number for all of them."""
        return self._steps[self.first]

    def count_step(self) -> int:
        """Count one more update; their number."""
        count = self.steps + 1
        self._steps[self.first : self.last + 1] = [count] * (self.last + 1 - self.first)
        return count

    def multiply(self, name: str, factor: float) -> float:
        """Multiply a number that is kept for each parameter, 1 at first and the same for all of these; the product."""
        numbers = self._numbers.setdefault(name, [1.0] * len(self._steps))
        product = numbers[self.first] * factor
        numbers[self.first : self.last + 1] = [product] * (self.last + 1 - self.first)
        return product


def _all_alike(values: list) -> bool:
    return values.count(values[0]) == len(values)


def _flat_view(array: np.ndarray, count: int) -> np.ndarray:
    assert isinstance(array.base, Arena)
    return array.base.array_at(_address(array), (count,), array.dtype)


class _States(dict):
    """Name of a kind of state -> its flat array for all parameters of a block, made of zeros at its first use."""

    def __init__(self, length: int, dtype: np.dtype):
        super().__init__()
        self._length, self._dtype = length, dtype

    def __missing__(self, name: str) -> np.ndarray:
        self[name] = array = zeros(self._length, self._dtype)
        return array


class Block:
    """The parameters of one dtype in one parameter group, with the state that an optimizer keeps for them."""

    def __init__(self, parameters: list):
        bind(parameters)
        self.parameters = parameters
        self.dtype = parameters[0].data.dtype
        self.steps = [0] * len(parameters)
        self.numbers: dict[str, list[float]] = {}
        self.offsets, self.length = [], 0
        for p in parameters:
            self.offsets.append(self.length)
            self.length += _padded(p.data.nbytes) // self.dtype.itemsize
        self.states = _States(self.length, self.dtype)
        self._plan()

    def state_names(self) -> list[str]:
        return list(self.states)

    def state_view(self, name: str, i: int) -> np.ndarray:
        """The state of parameter ``i``, in its shape."""
        p = self.parameters[i].data
        return self.states[name][self.offsets[i] : self.offsets[i] + p.size].reshape(p.shape)

    def of_each(self, name: str) -> list[float]:
        """A number for each parameter, 1 at first."""
        return self.numbers.setdefault(name, [1.0] * len(self.steps))

    def take_state(self, i: int, other: Block, j: int) -> None:
        """Copy the state of another block's parameter ``j`` for parameter ``i``."""
        self.steps[i] = other.steps[j]
        for name, values in other.numbers.items():
            self.of_each(name)[i] = values[j]
        for name in other.state_names():
            self.state_view(name, i)[...] = other.state_view(name, j)

    def stretches(self) -> list[Stretch]:
        """The longest stretches whose parameters all have a gradient, as many steps and the same numbers."""
        kept: list[list] = [self.steps, *self.numbers.values()]
        if have_gradients(self.parameters, self._places) and all(map(_all_alike, kept)):
            return self._whole
        if [p._place for p in self.parameters] != self._places:
            self._follow()
        wanted = [p.grad is not None for p in self.parameters]
        return list(self._split(wanted.__getitem__, lambda i: all(each[i] == each[i + 1] for each in kept)))

    def _follow(self) -> None:
        """Plan anew, since a parameter has been moved in memory."""
        if any(p.data.dtype != self.dtype for p in self.parameters):
            raise RuntimeError("step: a parameter has another dtype than when the optimizer was made; make a new one")
        bind(self.parameters)
        self._plan()

    def _plan(self) -> None:
        """Find the stretches of a step in which every parameter has a gradient, the usual one."""
        self._places = [p._place for p in self.parameters]
        self._joined = [self._adjacent(i) for i in range(len(self.parameters) - 1)]
        self._whole = list(self._split(lambda i: True, lambda i: True))

    def _adjacent(self, i: int) -> bool:
        (data, grad), (next_data, next_grad) = ((p.data, p._place.array) for p in self.parameters[i : i + 2])
        pitch = _padded(data.nbytes)
        return (
            data.base is next_data.base
            and grad.base is next_grad.base
            and _address(next_data) - _address(data) == pitch == _address(next_grad) - _address(grad)
        )

    def _split(self, wanted, alike) -> Iterator[Stretch]:
        first = None
        for i in range(len(self.parameters)):
            if not wanted(i):
                continue
            first = i if first is None else first
            last = i + 1 == len(self.parameters) or not (self._joined[i] and wanted(i + 1) and alike(i))
            if last:
                yield Stretch(self, first, i)
                first = None
