"""Training steps and reductions on several ranks: ``mpiexec -n 2 python -m dlfast.bench.ranks step 3`` times one.

`scaling` and `bandwidth` start such ranks, of one thread each, and give what they measure as facts of a row.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import dlfast

from .. import distributed
from ..distributed import Communicator, DataParallel
from .networks import Training, TrainingStep
from .rows import Step

ROUNDS, SECONDS = 7, 0.2  # of each, at least


class ParallelStep(TrainingStep):
    """A training step of one rank, whose gradients are the mean of those of all."""

    def __init__(self, training: Training, comm: Communicator):
        super().__init__(training.build(), training.x, training.y)
        self._ranks = DataParallel(self.model, self.optimizer, comm)

    def __call__(self) -> float:
        loss = dlfast.functional.cross_entropy(self.model(self.x), self.y)
        self.optimizer.zero_grad()
        loss.backward()
        self._ranks.average_gradients(len(self.x))
        self.optimizer.step()
        return loss.item()


class Addition:
    """What a rank adds up itself in the reduction of `count` numbers of float32: the work of a row, without ranks."""

    def __init__(self, count: int):
        self._a, self._b = np.zeros(count, np.float32), np.ones(count, np.float32)

    def __call__(self) -> np.ndarray:
        return np.add(self._a, self._b, out=self._a)

    def results(self) -> list[np.ndarray]:
        self._a.fill(1)
        return [self().copy()]

    def ours(self) -> Step:
        return self

    def peers(self, pytorch: bool) -> dict[str, Step]:
        return {}


def most_ranks() -> int:
    """As many as there are processors for, 2 to 16."""
    from ..kernels.threads import default_num_threads

    return min(16, max(2, default_num_threads()))


@cache
def scaling(number: int) -> dict[str, float]:
    """Milliseconds of a step, of the row with that number: of one rank, of all at once that tell each other nothing,
    and of all together.

    The efficiency is that of a fixed batch for each rank, time of one alone / time of all together; and what of it is
    the communication's, time of all apart / time of all together: processors share memory, caches and their clock.
    """
    many = most_ranks()
    alone, apart, together = (measured(*job, number) for job in ((1, "apart"), (many, "apart"), (many, "step")))
    times = {"ms,\n1 rank": alone, f"ms,\n{many} apart": apart, f"ms,\n{many} ranks": together}
    shares = {"efficiency": alone / together, "of those\napart": apart / together}
    return {name: 1e3 * seconds for name, seconds in times.items()} | shares


@cache
def bandwidth(count: int) -> dict[str, float]:
    """Microseconds of an all-reduce of so many numbers of float32, and the GB/s at which a rank's array is reduced."""
    seconds = measured(most_ranks(), "reduce", count)
    return {f"us,\n{most_ranks()} ranks": 1e6 * seconds, "GB/s": 4e-9 * count / seconds}


def measured(ranks: int, *job: Any) -> float:
    """Seconds of a job on so many ranks. Raises RuntimeError where they fail, ImportError without MPI."""
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
    if mpiexec is None:
        raise ImportError("the suite distributed needs mpiexec and mpi4py: install dlfast with its extra `mpi`")
    root = str(Path(dlfast.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "DLFAST_NUM_THREADS": "1"}
    command = [mpiexec, "-n", str(ranks), sys.executable, "-m", __name__, *map(str, job)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{ranks} ranks could not be measured:\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def main() -> None:
    comm = distributed.initialize("mpi")
    job, number = sys.argv[1], int(sys.argv[2])
    if job == "reduce":
        array = np.zeros(number, np.float32)
        seconds = _timed(comm, lambda: comm.all_reduce(array))
    else:
        from .suites.distributed import STEPS

        training = STEPS[number][1]()
        seconds = _timed(comm, training.ours() if job == "apart" else ParallelStep(training, comm))
    if comm.rank == 0:
        print(json.dumps(seconds))
    distributed.finalize()


def _timed(comm: Communicator, step: Callable[[], Any]) -> float:
    """Median of the rounds' seconds a call, of the slowest rank."""
    calls, times = 1, list[float]()
    while len(times) < ROUNDS:
        comm.barrier()
        start = time.perf_counter()
        for _ in range(calls):
            step()
        seconds = float(comm.all_reduce(np.array(time.perf_counter() - start), "max"))
        if seconds < SECONDS and not times:
            calls = max(calls + 1, min(10 * calls, int(1.2 * SECONDS / seconds * calls)))
        else:
            times.append(seconds / calls)
    return median(times)


if __name__ == "__main__":
    main()
