"""`dlfast bench --device cuda`: dlfast on a GPU beside PyTorch on it, by the device's own clock.

Every result is compared with that of dlfast on the CPU before it is timed. A turn is a call that is not timed and some
calls between two events. Bytes are what our own kernels move (`kernels.cuda.traffic`), and their share is that of a
copy which is measured in the same run. Where the CPU plays the GPU, all is done on tiny arrays, and times mean nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from .. import cuda
from ..commands.info import facts
from ..kernels.cuda.gemm import gemm, matrix
from ..kernels.cuda.traffic import counted
from .device_rows import DeviceWork, Tiny, Usual, groups
from .measure import _compare
from .results import ON_DEVICE, Result, Roofs
from .rows import Group, Row, Step
from .timing import Timing

CALLS = 20  # in a turn
ROUNDS = 7


class Clock:
    """Milliseconds of calls on the device, by its events."""

    def __init__(self, device: Any):
        self.device = device

    def __call__(self, call: Callable[[], object], calls: int) -> float:
        begin, end = (cuda.Event(enable_timing=True, device=self.device) for _ in range(2))
        return _between(begin, end, call, calls)


def _between(begin: Any, end: Any, call: Callable[[], object], calls: int) -> float:
    """Milliseconds of a call, between events of CUDA on either side of several."""
    begin.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / calls


class TorchClock:
    """The same by PyTorch's events; by the processor's clock where PyTorch computes on the CPU."""

    def __init__(self, torch: Any, device: str):
        self.torch, self.device = torch, device

    def __call__(self, call: Callable[[], object], calls: int) -> float:
        if not self.device.startswith("cuda"):
            start = time.perf_counter()
            for _ in range(calls):
                call()
            return (time.perf_counter() - start) * 1e3 / calls
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        return _between(begin, end, call, calls)


class Peer:
    """PyTorch as it takes part: the module, its device, and its clock."""

    def __init__(self, torch: Any, device: str, tf32: bool):
        self.torch, self.device, self.clock = torch, device, TorchClock(torch, device)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32

    @classmethod
    def found(cls, tf32: bool) -> Peer | None:
        """PyTorch with a GPU, None where there is none."""
        try:
            import torch
        except ImportError:
            return None
        return cls(torch, "cuda", tf32) if torch.cuda.is_available() else None


def measure_roofs(device: Any, size: Any) -> Roofs:
    """GF/s of a product and GB/s of a copy, read and written, on the device."""
    clock, n = Clock(device), size.product
    a, b, c = (device.upload(np.ones((n, n), np.float32)) for _ in range(3))
    x, y = (device.upload(np.ones(size.copied, np.float32)) for _ in range(2))
    work = {"product": lambda: gemm(matrix(a), matrix(b), c, n, n, n), "copy": lambda: device.copy(x, y)}
    times = {name: _turns(clock, call, size.calls) for name, call in work.items()}
    return Roofs(1e-6 * 2 * n**3 / times["product"].median, 1e-6 * 2 * x.nbytes / times["copy"].median)


def _turns(clock: Callable, call: Callable[[], object], calls: int) -> Timing:
    call()
    times = [clock(call, calls) for _ in range(ROUNDS if calls > 1 else 1)]
    return Timing(median(times), min(times), calls * len(times))


def chosen(part: str, quick: bool, host: bool) -> tuple[list[Group], Any]:
    """The groups with the rows that have `part` in their name or their group's, and the sizes that they have."""
    size = Tiny() if host else Usual(calls=5 if quick else CALLS)
    found = []
    for group in groups(size):
        rows = [row for row in group.rows if part in row.name or part in group.name]
        if rows:
            found.append(replace(group, rows=rows))
    if not found:
        raise ValueError(f"no row of the device has {part!r} in its name")
    return found, size


def measure(group: Group, row: Row, device: Any, peer: Peer | None, size: Any, roofs: Roofs) -> Result:
    """A row's result. Raises Disagreement, and times nothing, where a contender computes something else."""
    work: DeviceWork = row.work()  # type: ignore[assignment]
    expected = work.on_cpu().results()
    steps: dict[str, tuple[Step, Callable]] = {name: (step, Clock(device)) for name, step in work.ours(device).items()}
    if peer is not None:
        steps |= {name: (step, peer.clock) for name, step in work.theirs(peer.torch, peer.device).items()}
    for name, (step, _) in steps.items():
        _compare(f"{group.name}: {row.name}: {name}", step.results(), expected, row.tolerance)
    with counted() as count:
        steps["cuda"][0]()
    times = {name: _turns(clock, step, size.calls) for name, (step, clock) in steps.items()}
    return Result("device", group, replace(row, bytes=count.bytes), ON_DEVICE, roofs, times)


def machine(device: Any, peer: Peer | None) -> dict[str, str]:
    """The device, the versions and the TF32 setting."""
    state = cuda.status()
    name = "the CPU plays the GPU: these times mean nothing" if state.host else str(state.devices[device.index])
    theirs = "takes no part" if peer is None else f"{peer.torch.__version__} on {peer.device}"
    packages = {package: number or "not installed" for package, number in state.packages.items()}
    driver = "none" if state.driver is None else "CUDA {}.{}".format(*state.driver)
    tf32 = "allowed, in PyTorch too" if state.tf32 else "not allowed, nor in PyTorch"
    return facts() | packages | {"device": name, "driver": driver, "PyTorch": theirs, "TF32": tf32}
