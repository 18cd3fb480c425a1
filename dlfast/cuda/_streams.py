"""Streams and events: the order of work on a device; and pinned memory, from which it is fed without waiting."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._devices import get_device


class Stream:
    """A queue of work on a device: what is given to one is done in order, what is given to two at the same time.

    Work goes to the device's own stream unless `stream` says otherwise. What one stream makes and another reads needs
    `wait_stream` or an event. device: as `get_device` takes it, which says what is raised.
    """

    def __init__(self, device: Any = None):
        self.device = get_device(device)
        self._queue = self.device.new_stream()

    @classmethod
    def _of(cls, device: Any, queue: Any) -> Stream:
        """The one over a queue that is there."""
        self = cls.__new__(cls)
        self.device, self._queue = device, queue
        return self

    def record(self, event: Event | None = None) -> Event:
        """Put a mark behind all work given so far: the event, or a new one, which is returned."""
        event = Event(device=self.device) if event is None else event
        self._queue.record(event._mark)
        return event

    def wait_event(self, event: Event) -> None:
        """Let the work given from now on wait for an event."""
        self._queue.wait(event._mark)

    def wait_stream(self, stream: Stream) -> None:
        """Let the work given from now on wait for all that another stream has been given so far."""
        self._queue.wait(stream._queue)

    def synchronize(self) -> None:
        """Wait for all work given so far."""
        self._queue.synchronize()

    def __repr__(self) -> str:
        return f"<dlfast.cuda.Stream of {self.device}>"


class Event:
    """A mark in the work of a stream. enable_timing: whether times are told, which costs a little."""

    def __init__(self, enable_timing: bool = False, device: Any = None):
        self.device = get_device(device)
        self._mark = self.device.new_event(enable_timing)

    def record(self, stream: Stream | None = None) -> None:
        """Put it behind all work that a stream, by default the current one, has been given so far."""
        (stream._queue if stream is not None else self.device.current_stream).record(self._mark)

    def wait(self, stream: Stream | None = None) -> None:
        """Let a stream, by default the current one, wait for it."""
        (stream._queue if stream is not None else self.device.current_stream).wait(self._mark)

    def query(self) -> bool:
        """Whether the work before it is done."""
        return self._mark.query()

    def synchronize(self) -> None:
        """Wait for the work before it."""
        self._mark.synchronize()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this event to a later one; both are done, and were made with enable_timing=True."""
        return self._mark.elapsed_time(end._mark)


def current_stream(device: Any = None) -> Stream:
    """The stream that takes this thread's work on a device: that of `stream`, or the device's own."""
    found = get_device(device)
    return Stream._of(found, found.current_stream)


class stream:
    """``with dlfast.cuda.stream(s):`` gives this thread's work on the device of s to s, for the length of the block."""

    def __init__(self, stream: Stream):
        if not isinstance(stream, Stream):
            raise TypeError(f"stream: expected a dlfast.cuda.Stream, got {type(stream).__name__}")
        self._stream = stream

    def __enter__(self) -> Stream:
        self._before = self._stream.device.set_stream(self._stream._queue)
        return self._stream

    def __exit__(self, *exception) -> None:
        self._stream.device.set_stream(self._before)


def synchronize(device: Any = None) -> None:
    """Wait for all work that a device has been given."""
    get_device(device).synchronize()


def pinned_empty(shape: int | tuple[int, ...], dtype: Any = np.float32, device: Any = None) -> np.ndarray:
    """An array of NumPy in memory that the GPU reads by itself: ``upload(x, non_blocking=True)`` need not wait for it.

    Take little of it, for the system cannot move it away. Its values are arbitrary.
    """
    return get_device(device).pinned_empty((shape,) if isinstance(shape, int) else tuple(shape), dtype)


def memory_stats(device: Any = None) -> Any:
    """What the memory pool of a device holds, as `dlfast.memory.stats` tells it of the CPU's."""
    return get_device(device).memory_stats()


def empty_cache(device: Any = None) -> int:
    """Give the free memory of a device's pool back to the driver, for other programs; returns the bytes."""
    return get_device(device).release()
