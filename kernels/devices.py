"""Where arrays lie. Imports nothing, so that what runs on CPUs may ask at no cost."""

from __future__ import annotations

from typing import Any


class DeviceArray:
    """The base of arrays on a device: ``isinstance(x, DeviceArray)`` says that x does not lie on the CPU.

    kernel: op -> (forward, backward) for arrays of this class, None for those of "cuda". backend: the names of the
    backends whose abilities they have.
    """

    __slots__ = ()
    kernel: Any = None
    backend: tuple[str, ...] = ("cuda",)


def device_name(x: Any) -> str:
    """`cpu` for an array of NumPy, else the name of the device, such as `cuda:0`."""
    return str(x.device) if isinstance(x, DeviceArray) else "cpu"
