"""Whether this thread captures a CUDA graph, asked at little cost where numbers differ from step to step.

A graph repeats what the GPU did, not what Python did. What Python must do again before each replay, for the numbers
that it gives to kernels (a learning rate, a step count, a seed), goes through here; see `kernels/cuda/capture.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class _Local(threading.local):
    capture: Any = None  # a `cuda.capture.Capture`


LOCAL = _Local()


def again(function: Callable, *arguments: Any) -> Any:
    """function(*arguments); for a captured graph again before each replay, when launches in it do nothing."""
    capture = LOCAL.capture
    return function(*arguments) if capture is None else capture.again(function, arguments)


def refuse(what: str) -> None:
    """Raise RuntimeError while a graph is captured: `what` would be repeated as it is now, though it must change."""
    if LOCAL.capture is not None:
        raise RuntimeError(f"a graph is being captured, which would repeat {what}")


def refuse_upload(device: Any) -> None:
    """Raise RuntimeError where values of the CPU would be recorded in a graph."""
    if LOCAL.capture is not None and LOCAL.capture.recording:
        refuse(f"these values on {device}; give them to the function as an argument, or bring them there before")


def refuse_waiting(device: Any, purpose: str) -> None:
    """Raise RuntimeError while a graph is captured: what would wait for the device waits for work that is not done."""
    if LOCAL.capture is not None:
        raise RuntimeError(
            f"cannot {purpose} while a graph is captured on {device}, for nothing runs yet; return the array from the "
            "function, and read it after the call"
        )


def seed(draw: Callable[[], int]) -> int:
    """A seed of 64 bits, draw(); for a captured graph a fresh one in each replay, in the order of the draws."""
    capture = LOCAL.capture
    return draw() if capture is None else capture.seed(draw)
