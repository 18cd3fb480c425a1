"""Captured graphs: what the device does is recorded once and repeated, with fresh numbers from the host.

While a graph is captured nothing runs. Numbers that differ from step to step are put in slots of device memory
(`Capture.numbers`), which kernels read; the Python that computed them (`capturing.again`) runs again before each
replay, with launches that do nothing, and its numbers go to the same slots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..capturing import LOCAL, refuse
from .array import Array

_PAGE = 4096  # bytes of slots that are sent at once
_SLOT = 16  # what kernels read from begins at a multiple of it


class Seed(int):
    """A seed while a graph is captured: `array` holds the seed of each replay, as int64 of the same bits."""

    array: Array


class _Part(NamedTuple):
    """A function that runs again before each replay, and the slots that it fills."""

    function: Callable
    arguments: tuple
    first: int
    end: int


class Capture:
    """One capture, on one device, by one thread."""

    def __init__(self, device: Any):
        self.device = device
        self.of_device: Any = None  # what the device keeps for the capture
        self._pages: list[tuple[Array, np.ndarray]] = []
        self._used = _PAGE
        self._slots: list[tuple[Array, np.ndarray]] = []
        self._parts: list[_Part] = []
        self._within = 0  # calls of `again` under way
        self._next: int | None = None  # the slot that a replay fills next, and the one before which it stops
        self._end = 0
        self.constants: list[Array] = []
        self.recording = True

    def again(self, function: Callable, arguments: tuple) -> Any:
        """Call a function now, and before each replay."""
        first = len(self._slots)
        self._within += 1
        try:
            result = function(*arguments)
        finally:
            self._within -= 1
        if self.recording and not self._within:
            self._parts.append(_Part(function, arguments, first, len(self._slots)))
        return result

    def numbers(self, values: np.ndarray) -> Array:
        """An array on the device with these values, and in each replay with those of then."""
        if not self._within:
            refuse("these numbers as they are now; compute them in `kernels.capturing.again`")
        if self._next is None:
            self._slots.append(self._slot(values))
            return self._slots[-1][0]
        array, mirror = self._slots[self._next] if self._next < self._end else (None, None)
        if array is None or array.shape != values.shape or array.dtype != values.dtype:
            raise RuntimeError("a replay needs other numbers than its graph was captured with; capture it anew")
        mirror[...] = values
        self._next += 1
        return array

    def _slot(self, values: np.ndarray) -> tuple[Array, np.ndarray]:
        size = -(-max(values.nbytes, 1) // _SLOT) * _SLOT
        if self._used + size > _PAGE:
            room = max(size, _PAGE)
            self._pages.append((self.device.empty((room,), np.uint8), np.zeros(room, np.uint8)))
            self._used = 0
        page, mirror = self._pages[-1]
        array = page.part(self._used, values.shape, values.dtype)
        place = mirror[self._used : self._used + values.nbytes].view(values.dtype).reshape(values.shape)
        place[...] = values
        self._used += size
        return array, place

    def seed(self, draw: Callable[[], int]) -> Seed:
        """A seed that is drawn anew for each replay."""

        def drawn():
            value = draw()
            return value, self.numbers(np.array([value], np.uint64).view(np.int64))

        value, array = self.again(drawn, ())
        seed = Seed(value)
        seed.array = array
        return seed

    def send(self) -> None:
        """Bring the numbers to the device."""
        for page, mirror in self._pages:
            self.device.write(page, mirror)

    def renew(self) -> None:
        """Run the parts again, for the numbers of the next replay."""
        before, LOCAL.capture = LOCAL.capture, self
        try:
            for function, arguments, first, end in self._parts:
                self._next, self._end = first, end
                self.again(function, arguments)
                if self._next != end:
                    raise RuntimeError("a replay needs fewer numbers than its graph was captured with; capture it anew")
        finally:
            LOCAL.capture = before


class Graph:
    """What a function made a device do, to be done again. Raises what the function raises; then nothing is kept."""

    def __init__(self, device: Any, function: Callable[[], Any]):
        if LOCAL.capture is not None:
            raise RuntimeError("a graph is being captured already; capture them one after the other")
        self._capture = LOCAL.capture = Capture(device)
        try:
            device.begin_capture(self._capture)
            try:
                self.result = function()
            except BaseException:
                device.abandon_capture(self._capture)
                raise
            self._recorded = device.end_capture(self._capture)
        finally:
            self._capture.recording = False
            LOCAL.capture = None
        self._fresh = True  # the numbers are those of the capture, which has not run yet

    def replay(self) -> None:
        """Do it again, on the device's current stream, with the numbers of now."""
        if not self._fresh:
            self._capture.renew()
        self._fresh = False
        self._capture.send()
        self._recorded.launch()
