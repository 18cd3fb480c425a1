"""The devices of "cuda": by name, and the current one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..kernels.cuda import dialect
from ._playing import host, playing
from ._status import status

__all__ = ["current_device", "device", "get_device", "host", "set_device"]

_current = threading.local()


def get_device(device: Any = None) -> Any:
    """The device that "cuda" (the current one), "cuda:1" or a number names; None: the current one.

    Raises RuntimeError, with the exact reason and what to install, where CUDA cannot be used or has no such device, and
    ValueError for a name of something else.
    """
    if device is not None and not isinstance(device, str | int):
        return _checked(device)
    index = _index(device)
    if playing():
        count, make = 1, _host_device
    else:
        found = status()
        if found.reason:
            raise RuntimeError(f"cuda cannot be used: {found.reason}")
        count, make = len(found.devices), _gpu
    if index >= count:
        raise RuntimeError(f"there is no device cuda:{index}; cuda has {count} here, from cuda:0 on")
    return make(index)


def _checked(device: Any) -> Any:
    if not hasattr(device, "launch"):
        raise TypeError(f"device must be a name as 'cuda:0', a number or a device, got {type(device).__name__}")
    return device


def _index(device: str | int | None) -> int:
    if device is None or device == "cuda":
        return current_device()
    if isinstance(device, int) and not isinstance(device, bool) and device >= 0:
        return device
    kind, _, number = str(device).partition(":")
    if kind != "cuda" or not (number.isascii() and number.isdecimal()):
        raise ValueError(f"device must be 'cuda', 'cuda:0' and so on, or a number from 0 on, got {device!r}")
    return int(number)


def _host_device(index: int) -> Any:
    try:
        from ..kernels.cuda.device import host_device
    except ImportError as error:
        raise ImportError(f"dlfast.cuda: kernels run on the host by Numba, and not on Windows: {error}") from error
    return host_device()


def _gpu(index: int) -> Any:
    from ..kernels.cuda.gpu import gpu

    return gpu(index)


def current_device() -> int:
    """The number of this thread's current device, the one that "cuda" means: 0 until `set_device` changes it."""
    return getattr(_current, "index", 0)


def set_device(device: Any) -> None:
    """Let "cuda" mean another device in this thread. Raises as `get_device` does."""
    _current.index = get_device(device).index


class device:
    """``with device(1):`` lets "cuda" mean cuda:1 in this thread, for the length of the block.

    As a decorator, ``@device``, it makes a function one that kernels call (`dlfast.kernels.cuda.dialect`).
    """

    def __new__(cls, what: Any) -> Any:
        return dialect.device(what) if isinstance(what, Callable) else super().__new__(cls)  # type: ignore[arg-type]

    def __init__(self, what: Any):
        self._index = get_device(what).index

    def __enter__(self) -> device:
        self._before = current_device()
        _current.index = self._index
        return self

    def __exit__(self, *exception) -> None:
        _current.index = self._before
