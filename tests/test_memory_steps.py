"""What whole training steps take from the system once they are warm: nothing. The rows are those of the benchmark."""

import gc
import os
import subprocess
import sys

import numpy as np
import pytest

from dlfast import functional as F
from dlfast import memory
from dlfast.bench.suites import attention, recurrent, sequence_steps, steps
from dlfast.tensor import Tensor

LAYERS = [row for suite in (recurrent, attention) for row in suite.GROUPS[0].rows]
SEQUENCES = [row for row in LAYERS if any(word in row.name for word in ("lengths", "layers", "dropout", "4 x 8 x 256"))]
ROWS = [*(row for group in steps.GROUPS for row in group.rows), *sequence_steps.TRAINING, *SEQUENCES]
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
    """The median of the steps: the interpreter's own allocator may take a new arena (256 pages) in any one of them."""
    faults = [_faults()]
    for _ in range(COUNTED):
        warm_step()
        faults.append(_faults())
    assert np.median(np.diff(faults)) < FAULTS


def _faults():
    from resource import RUSAGE_SELF, getrusage

    return getrusage(RUSAGE_SELF).ru_minflt


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"dropout_p": 0.1}], ids=["all", "causal", "dropout"])
def test_memory_of_attention_grows_with_the_steps_alone(options):
    most = []
    for length in (4096, 8192):
        q, k, v = (Tensor(np.ones((1, 1, length, 16), np.float32), requires_grad=True) for _ in range(3))
        gc.collect()
        memory.release()
        before = memory.stats().in_use
        F.scaled_dot_product_attention(q, k, v, **options).sum().backward()
        most.append(memory.stats().peak - before)
    assert most[1] < 2.2 * most[0]
    assert most[0] < 4096 * 4096  # a quarter of the matrix of scores


MAPPED_STEPS = """
from resource import RUSAGE_SELF, getrusage
from test_memory_steps import ROWS, SEQUENCES, sequence_steps

for row in (*sequence_steps.TRAINING, *SEQUENCES, *ROWS[:8]):
    step = row.work().ours()
    step()
    step()
    before = getrusage(RUSAGE_SELF).ru_minflt
    step()
    step()
    print((getrusage(RUSAGE_SELF).ru_minflt - before) / 2, row.name)
"""


@linux
def test_no_large_array_is_left_to_the_c_library():
    """Where the C library maps each block of 64 KiB anew, an array that does not come from the pool costs faults."""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": os.path.dirname(__file__)}
    environment["PYTHONPATH"] += os.pathsep + os.environ.get("PYTHONPATH", "")
    done = subprocess.run(
        [sys.executable, "-c", MAPPED_STEPS], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    faults = {name: float(count) for count, name in (line.split(" ", 1) for line in done.stdout.splitlines())}
    assert len(faults) == len(sequence_steps.TRAINING) + len(SEQUENCES) + 8
    assert {name: count for name, count in faults.items() if count >= 16} == {}  # 16 pages are 64 KiB


HUNDREDS_OF_STEPS = """
import gc, os
import dlfast as dl
from dlfast import functional as F, memory, optim

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

x, y = dl.data.load("mnist10k")[:512]
model = dl.models.lenet5()
optimizer = optim.Adam(model.parameters())
for _ in range(10):
    for i in range(0, 512, 16):
        loss = F.cross_entropy(model(x[i : i + 16]), y[i : i + 16])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gc.collect()
    print(resident(), memory.stats().in_use + memory.stats().kept, len(gc.get_objects()))
"""


@linux
def test_hundreds_of_steps_keep_to_the_memory_of_the_first():
    """In an interpreter of its own, where nothing else comes and goes. `benchmarks/long_run.py` takes 20,000 steps
    and looks at their times too."""
    done = subprocess.run([sys.executable, "-c", HUNDREDS_OF_STEPS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    resident, pool, objects = np.transpose([line.split() for line in done.stdout.splitlines()]).astype(int)
    assert pool[1:].max() == pool[1]
    assert objects[2:].max() <= objects[2] + 50
    assert resident[2:].max() - resident[2] < 1 << 18  # 256 KiB in 224 steps
