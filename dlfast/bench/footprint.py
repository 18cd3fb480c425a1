"""What a training step takes of memory: the same step without the pool, and facts to stand beside the times."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import memory
from ..kernels.memory import default_limit
from .networks import Training
from .rows import Step

_COUNTED = 10  # steps
_PROCESS = Path("/proc/self")


@dataclass
class PoolOnOff:
    """A training step; its peer is the same step where the pool keeps nothing, so that arrays come from the system."""

    training: Training

    @classmethod
    def of(cls, work: Callable[[], Any]) -> PoolOnOff:
        return cls(work())

    def ours(self) -> Step:
        return LimitedStep(self.training.ours(), default_limit())

    def peers(self, pytorch: bool) -> dict[str, Step]:
        return {"pool off": LimitedStep(self.training.ours(), 0)}


class LimitedStep:
    """A step under a limit of the pool."""

    def __init__(self, step: Step, limit: int | None):
        self.step, self.limit, self.results = step, limit, step.results

    def __call__(self) -> object:
        memory.set_limit(self.limit)
        try:
            return self.step()
        finally:
            memory.set_limit(default_limit())


def facts(work: Callable[[], Any], pytorch: bool) -> dict[str, float]:
    """Arrays that the pool had no memory for and page faults, a step, from the third step on; and megabytes that a step
    takes at most, gradients included, beyond parameters and averages. PyTorch's in the layout that does with less.

    Left out is what the system cannot tell: page faults outside Unix, megabytes outside Linux.
    """
    training: Training = work()
    ours: Any = training.ours()
    found = {"from the system\na step": _per_step(ours, lambda: memory.stats().from_system)} | _system_facts(ours)
    if "MB" in found:
        found["MB"] += 1e-6 * sum(p.data.nbytes for p in ours.model.parameters())  # the arena of gradients stays
    columns = [_system_facts(peer) for peer in training.peers(pytorch).values()]
    return found | {f"PyTorch\n{name}": min(column[name] for column in columns) for name in next(iter(columns), ())}


def _system_facts(step: Step) -> dict[str, float]:
    known = {}
    if sys.platform != "win32":
        from resource import RUSAGE_SELF, getrusage

        known["page faults\na step"] = _per_step(step, lambda: getrusage(RUSAGE_SELF).ru_minflt)
    if sys.platform == "linux":
        known["MB"] = min(_growth(step) for _ in range(3))
    return known


def _per_step(step: Step, count: Callable[[], int]) -> float:
    """What a step adds to a count, from the third step on."""
    for _ in range(2):
        step()
    before = count()
    for _ in range(_COUNTED):
        step()
    return (count() - before) / _COUNTED


def _growth(step: Any) -> float:
    """Megabytes by which the memory of the process is larger in a step than before it, free memory given back."""
    step.optimizer.zero_grad()
    gc.collect()
    memory.release()
    (_PROCESS / "clear_refs").write_text("5")  # the peak starts anew
    before = _bytes("VmRSS")
    step()
    return 1e-6 * (_bytes("VmHWM") - before)


def _bytes(name: str) -> int:
    """What Linux writes as `VmRSS:  1234 kB`."""
    found = re.search(rf"{name}:\s+(\d+) kB", (_PROCESS / "status").read_text())
    assert found, f"/proc/self/status has no {name}"
    return 1024 * int(found[1])
