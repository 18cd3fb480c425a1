"""20,000 training steps of LeNet-5 on 32 digits each: memory that stays, steps that do not get slower.

    python benchmarks/long_run.py [steps]

Prints a line for every twentieth of the run. A machine gets slower and faster by itself, so each line sets the steps
beside those of a new process that starts just then. Exits with 1 where the memory of the process grows by more than 1%
(or 2 MiB) from the second line on, or where the pool asks the system for memory after the first.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dlfast as dl
from dlfast import functional as F
from dlfast import memory, models, optim

LINES, NEW = 20, "--new-process"
WARM, COUNTED = 100, 400  # steps of a new process


class Line(NamedTuple):
    """The steps up to one line."""

    ms: float  # median of a step
    ninth: float  # tenth: one step of ten takes longer
    new_ms: float  # median in a new process
    resident: int  # bytes of the process in memory
    pool: int  # bytes of the pool
    asked: int  # times that the pool asked the system
    loss: float


class Training:
    def __init__(self) -> None:
        dl.manual_seed(0)
        self.model = models.lenet5()
        self.optimizer = optim.Adam(self.model.parameters(), lr=1e-4)
        self.batches = self.endless(dl.data.DataLoader(dl.data.load("mnist10k"), 32, shuffle=True, drop_last=True))

    @staticmethod
    def endless(loader: dl.data.DataLoader) -> Iterator[tuple]:
        while True:
            yield from loader

    def step(self) -> float:
        x, y = next(self.batches)
        loss = F.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def times(self, steps: int) -> tuple[list[float], float]:
        """Milliseconds of so many steps, and the last loss."""
        times, loss = [], 0.0
        for _ in range(steps):
            start = time.perf_counter()
            loss = self.step()
            times.append(1e3 * (time.perf_counter() - start))
        return times, loss


def run(steps: int) -> Iterator[Line]:
    training = Training()
    for _ in range(LINES):
        before = memory.stats().from_system
        times, loss = training.times(steps // LINES)
        gc.collect()
        stats = memory.stats()
        size = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        new = subprocess.run([sys.executable, __file__, NEW], capture_output=True, text=True, check=True)
        ninth = statistics.quantiles(times, n=10)[8]
        pool, asked = stats.in_use + stats.kept, stats.from_system - before
        yield Line(statistics.median(times), ninth, float(new.stdout), size, pool, asked, loss)


def main(steps: int) -> int:
    """Print the lines and what became of time and memory; 1 where memory grew."""
    print("   steps    ms  ninth tenth  ms, new process  MB: process  pool  asked of the system    loss")
    lines = []
    for i, line in enumerate(run(steps), start=1):
        lines.append(line)
        print(
            f"{i * steps // LINES:8d} {line.ms:5.2f} {line.ninth:12.2f} {line.new_ms:16.2f} {line.resident / 1e6:12.1f}"
            f" {line.pool / 1e6:5.1f} {line.asked:20d} {line.loss:7.4f}",
            flush=True,
        )
    ratios = [line.ms / line.new_ms for line in lines]
    first, second = (statistics.median(part) for part in (ratios[: LINES // 2], ratios[LINES // 2 :]))
    grown, asked = max(line.resident for line in lines[1:]) - lines[1].resident, sum(line.asked for line in lines[1:])
    print(f"a step beside one of a new process: {first:.2f} in the first half of the run, {second:.2f} in the second")
    print(f"memory grown by {grown / 1e6:.2f} MB; the pool asked the system {asked} times")
    return int(grown > max(2 << 20, lines[1].resident // 100) or asked > 0)


if __name__ == "__main__":
    if NEW in sys.argv:
        training = Training()
        training.times(WARM)
        print(statistics.median(training.times(COUNTED)[0]))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
