"""Flat arenas: the parameters of a model side by side in memory, so that one kernel call updates them all.

    arena   | weight ......... pad | bias . pad | weight ...... pad |    each parameter starts at a multiple of 64 bytes
    state   | exp_avg ........ pad | ...... pad | ............. pad |    laid out alike, one flat array for each name

A parameter is moved into an arena once, by the first optimizer that takes it, and stays there. A later optimizer finds
which of its parameters lie side by side and updates each such stretch with one call, so any number of optimizers may
share parameters. The padding is zero in every array and stays zero under every update.

An arena lies where its parameters do. One that is moved to another device leaves its arena; at the next step it is put
into one there, and its state follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from .._changes import change_of
from .._devices import assign, device_of, on_device
from .._tape import have_gradients
from ..kernels.capturing import LOCAL
from ..kernels.memory import pooled

ALIGNMENT = 64  # bytes: a cache line, and the widest SIMD register


class Arena(np.ndarray):
    """The bytes of an arena on the CPU. Parameters are plain arrays whose ``.base`` is one of these."""

    @classmethod
    def zeros(cls, nbytes: int) -> Arena:
        with pooled():  # in huge pages, where the system has them
            arena = cls((nbytes + ALIGNMENT,), np.uint8)  # owns its memory, else views would name another base
        arena.fill(0)
        return arena

    def array_at(self, address: int, shape: tuple[int, ...], dtype) -> np.ndarray:
        """A plain array on the arena's bytes from ``address`` on."""
        return np.ndarray(shape, dtype, buffer=self, offset=address - _address(self))


def _address(array: Any) -> int:
    return array.pointer if on_device(array) else array.__array_interface__["data"][0]


def _memory(array: Any) -> Any:
    """The object that stands for the memory of an arena, the same for all that lies in it."""
    return array.owner if on_device(array) else array.base


def _padded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def zeros(count: int, dtype, beside: Any) -> Any:
    """A flat array of zeros, aligned, on the device of another."""
    nbytes = _padded(count * np.dtype(dtype).itemsize)
    if on_device(beside):
        if LOCAL.capture is not None:
            raise RuntimeError(
                "optimizer: a graph is being captured, and would make this state anew in each replay; take a step "
                "before, so that it is there"
            )
        arena = beside.device.empty((nbytes,), np.uint8)
        beside.device.fill(arena, 0)
        return arena.part(0, (count,), dtype)
    arena = Arena.zeros(nbytes)
    return arena.array_at(_padded(_address(arena)), (count,), dtype)


def _array_at(array: Any, offset: int, shape: tuple[int, ...], dtype) -> Any:
    """An array in the memory of another of an arena, so many bytes behind its start."""
    if on_device(array):
        return type(array)(array.device, shape, dtype, array.owner, array.pointer + offset)
    assert isinstance(array.base, Arena)
    return array.base.array_at(_address(array) + offset, shape, dtype)


def bind(parameters) -> None:
    """Move those parameters, all of one dtype, that lie in no arena yet into a new one on their device."""
    loose: dict[str, list] = {}
    for p in parameters:
        if p._place is None:
            loose.setdefault(device_of(p.data), []).append(p)
    for group in loose.values():
        nbytes, first = sum(_padded(p.data.nbytes) for p in group), group[0].data
        arenas, offset = [zeros(nbytes, np.uint8, first) for _ in range(2)], 0
        for p in group:
            p._bind(*(_array_at(arena, offset, p.data.shape, p.data.dtype) for arena in arenas))
            offset += _padded(p.data.nbytes)


class Stretch:
    """Parameters ``first`` to ``last`` of a `Block`, side by side in memory: what one kernel call updates.

    ``data`` and ``grad`` are flat views of the arena.
    """

    def __init__(self, block: Block, first: int, last: int):
        # No reference to the block, which holds its stretches: memory must go with the last name of the optimizer.
        self._steps, self._states, self.first, self.last = block.steps, block.states_of(first), first, last
        self._numbers = block.numbers
        self.low, self.high = block.offsets[first], block.offsets[last] + block.parameters[last].data.size
        data, grad = block.parameters[first].data, block.parameters[first]._place.array
        self.data, self.grad = (_array_at(array, 0, (self.high - self.low,), block.dtype) for array in (data, grad))
        self._views: dict[str, Any] = {}
        self.change = change_of(self.data)  # for the tape, which must not take old weights for new ones

    def state(self, name: str) -> Any:
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


class _States(dict):
    """Name of a kind of state -> its flat array for all parameters of a block, made of zeros at its first use."""

    def __init__(self, length: int, dtype: np.dtype, beside: Any):
        super().__init__()
        self._length, self._dtype, self._beside = length, dtype, beside

    def __missing__(self, name: str) -> Any:
        self[name] = array = zeros(self._length, self._dtype, self._beside)
        return array


class Block:
    """The parameters of one dtype in one parameter group, with the state that an optimizer keeps for them.

    The state of parameters on several devices has flat arrays on each, of which only their own parts are used.
    """

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
        self._states: dict[str, _States] = {}
        self._devices = self._where()
        self._plan()

    def _where(self) -> list[str]:
        """The device of each parameter."""
        return [device_of(p.data) for p in self.parameters]

    def states_of(self, i: int) -> _States:
        """The flat arrays on the device of parameter ``i``."""
        device = self._devices[i]
        if device not in self._states:
            self._states[device] = _States(self.length, self.dtype, self.parameters[i].data)
        return self._states[device]

    def state_names(self) -> list[str]:
        return list(dict.fromkeys(name for states in self._states.values() for name in states))

    def state_view(self, name: str, i: int) -> Any:
        """The state of parameter ``i``, in its shape."""
        p = self.parameters[i].data
        return self.states_of(i)[name][self.offsets[i] : self.offsets[i] + p.size].reshape(p.shape)

    def of_each(self, name: str) -> list[float]:
        """A number for each parameter, 1 at first."""
        return self.numbers.setdefault(name, [1.0] * len(self.steps))

    def take_state(self, i: int, other: Block, j: int) -> None:
        """Copy the state of another block's parameter ``j`` for parameter ``i``."""
        self.steps[i] = other.steps[j]
        for name, values in other.numbers.items():
            self.of_each(name)[i] = values[j]
        for name in other.state_names():
            assign(self.state_view(name, i), other.state_view(name, j))

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
        before, self._devices = self._devices, self._where()
        if self._devices != before:
            self._move_states(before)
        self._plan()

    def _move_states(self, before: list[str]) -> None:
        """Copy the state of parameters that lie on another device than before after them; neighbours together."""
        for (old, new), run in groupby(range(len(before)), lambda i: (before[i], self._devices[i])):
            places = list(run)
            part = slice(self.offsets[places[0]], [*self.offsets, self.length][places[-1] + 1])
            for name, array in self._states.get(old, {}).items() if old != new else ():
                assign(self.states_of(places[0])[name][part], array[part])
        self._states = {device: states for device, states in self._states.items() if device in self._devices}

    def _plan(self) -> None:
        """Find the stretches of a step in which every parameter has a gradient, the usual one."""
        self._places = [p._place for p in self.parameters]
        self._joined = [self._adjacent(i) for i in range(len(self.parameters) - 1)]
        self._whole = list(self._split(lambda i: True, lambda i: True))

    def _adjacent(self, i: int) -> bool:
        (data, grad), (next_data, next_grad) = ((p.data, p._place.array) for p in self.parameters[i : i + 2])
        pitch = _padded(data.nbytes)
        return (
            _memory(data) is _memory(next_data)
            and _memory(grad) is _memory(next_grad)
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
