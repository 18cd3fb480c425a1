"""The memory that the driver gives, for the pools of a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .streams import Event, Stream

if TYPE_CHECKING:
    from .gpu import Gpu


class DeviceMemory:
    """Memory of a GPU."""

    def __init__(self, device: Gpu):
        self._device = device

    def allocate(self, nbytes: int) -> int:
        return self._unless_full(self._device.driver.cuMemAlloc, nbytes)

    def _unless_full(self, call: Any, *arguments: Any) -> int:
        """The address that a call of the driver gives; 0 where it has no more memory."""
        device = self._device
        device.enter()
        error, pointer = call(*arguments)
        if error == device.driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            return 0
        return int(device.check((error, pointer)))

    def free(self, pointer: int) -> None:
        self._device.enter()
        self._device.check(self._device.driver.cuMemFree(pointer))

    def mark(self, stream: Stream) -> Event:
        return stream.record()

    def passed(self, mark: Event) -> bool:
        return mark.query()

    def describe(self) -> str:
        free, total = self._device.memory_info()
        return f"{free} of {total} bytes are free"


class PinnedMemoryOfCpu(DeviceMemory):
    """Memory of the CPU that GPUs read by themselves."""

    def allocate(self, nbytes: int) -> int:
        return self._unless_full(self._device.driver.cuMemHostAlloc, nbytes, 1)  # 1: portable, for all devices

    def free(self, pointer: int) -> None:
        self._device.enter()
        self._device.check(self._device.driver.cuMemFreeHost(pointer))

    def describe(self) -> str:
        return "the system gives no more of it"
