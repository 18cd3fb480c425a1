"""What whole training steps take from the system once they are warm: nothing. The rows are those of the benchmark."""

import gc
import os
import sys

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import memory, optim
from dlfast.bench.suites.steps import GROUPS

ROWS = [row for group in GROUPS for row in group.rows]
COUNTED = 4  # steps
FAULTS = 50  # a step, at most: the interpreter's own; without the pool a step of these networks has up to 10,000
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, or counts on mmap")


@pytest.fixture(params=ROWS, ids=[row.name for row in ROWS])
def warm_step(request):
    """The step of a row, after its second time."""
    gc.collect()
    memory.release()
    step = request.param.work().ours()
    step()
    step()
    return step


def test_third_step_takes_nothing_from_the_system(warm_step):
    before = memory.stats()
    for _ in range(COUNTED):
        warm_step()
    after = memory.stats()
    assert after.from_system == before.from_system
    assert after.given_back == before.given_back
    assert after.in_use + after.kept == before.in_use + before.kept


@linux
def test_third_step_faults_few_pages(warm_step):
    from resource import RUSAGE_SELF, getrusage

    before = getrusage(RUSAGE_SELF).ru_minflt
    for _ in range(COUNTED):
        warm_step()
    assert getrusage(RUSAGE_SELF).ru_minflt - before < COUNTED * FAULTS


@linux
def test_hundreds_of_steps_keep_to_the_memory_of_the_first():
    """`benchmarks/long_run.py` takes 20,000 and looks at their times too."""
    x, y = dl.data.load("mnist10k")[:512]
    model = dl.models.lenet5()
    optimizer = optim.Adam(model.parameters())
    seen = []
    for _ in range(8):
        for i in range(0, 512, 16):
            loss = F.cross_entropy(model(x[i : i + 16]), y[i : i + 16])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        gc.collect()
        seen.append((_resident(), memory.stats().in_use + memory.stats().kept, len(gc.get_objects())))
    resident, pool, objects = np.transpose(seen)
    assert pool[1:].max() == pool[1]
    assert objects[2:].max() <= objects[2] + 50
    assert resident[4:].max() - resident[4] < 1 << 20  # the interpreter's own allocator settles in the rounds before


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
