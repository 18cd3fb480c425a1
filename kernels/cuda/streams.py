"""Streams, in whose order a GPU works, and events, the marks in them; and those of the host, which is never behind."""

from __future__ import annotations

import time
from typing import Any


class Stream:
    """A queue of a GPU's work, over that of cuda.core."""

    def __init__(self, device: Any, core: Any):
        self.device, self._core = device, core
        self.handle = core.handle  # a CUstream; int() of it is its address

    def record(self, event: Event | None = None) -> Event:
        """A mark behind all work given so far: the event, or a new one."""
        self.device.enter()
        event = self.device.new_event() if event is None else event
        self._core.record(event._core)
        return event

    def wait(self, other: Event | Stream) -> None:
        """Let the work given from now on wait for an event, or for all work given so far to another stream."""
        event = other.record() if isinstance(other, Stream) else other
        self.device.enter()  # after the other one's: a device's own stream has the same handle on all of them
        self._core.wait(event._core)

    def synchronize(self) -> None:
        """Wait for all work given so far."""
        self.device.enter()
        self._core.sync()

    def __repr__(self) -> str:
        return f"<stream {int(self.handle):#x} of {self.device}>"


class Event:
    """A mark in a stream, over that of cuda.core."""

    def __init__(self, device: Any, core: Any):
        self.device, self._core = device, core

    def query(self) -> bool:
        """Whether the work before it is done."""
        return self._core.is_done

    def synchronize(self) -> None:
        """Wait for the work before it."""
        self._core.sync()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this event to a later one; both were made with timing, and are done."""
        return end._core - self._core


class HostStream:
    """A stream of the host, whose work is done when it has been given."""

    def __init__(self, device: Any):
        self.device = device

    def record(self, event: HostEvent | None = None) -> HostEvent:
        event = HostEvent(self.device) if event is None else event
        event.time = time.perf_counter()
        return event

    def wait(self, other: HostEvent | HostStream) -> None: ...

    def synchronize(self) -> None: ...


class HostEvent:
    """An event of the host: the time at which it was recorded."""

    def __init__(self, device: Any):
        self.device, self.time = device, 0.0

    def query(self) -> bool:
        return True

    def synchronize(self) -> None: ...

    def elapsed_time(self, end: HostEvent) -> float:
        return (end.time - self.time) * 1e3
