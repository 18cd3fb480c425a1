"""The number of threads: setting it, its default, concurrent callers, fork. (Results: test_determinism.py.)"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from agreement import FAST, assert_same_bits, call

import dlfast
from cases import LARGE
from dlfast import kernels
from dlfast.kernels.threads import MAX_THREADS, default_num_threads, get_num_threads, set_num_threads

OPS = ("linear", "conv2d", "max_pool2d", "relu", "lstm_cell", "cross_entropy")
ROWS = [next(case for case in LARGE if case.op == op) for op in OPS]

each_backend = pytest.mark.parametrize("backend", FAST)


def python(script, *arguments, **environment):
    """Run a script in another Python; (exit status, output, errors)."""
    env = {key: value for key, value in os.environ.items() if key != "DLFAST_NUM_THREADS"}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, env=env | environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout.strip(), done.stderr


PRINT_COUNT = "from dlfast.kernels.threads import get_num_threads; print(get_num_threads())"


def test_set_and_get():
    for n in (1, 3, np.int64(2), MAX_THREADS):
        set_num_threads(n)
        assert get_num_threads() == n
        assert type(get_num_threads()) is int


def test_package_exports_both():
    assert dlfast.set_num_threads is set_num_threads
    assert dlfast.get_num_threads is get_num_threads


@pytest.mark.parametrize("n", [0, -1, -(2**70)])
def test_out_of_range(n):
    set_num_threads(2)
    with pytest.raises(ValueError, match="set_num_threads: n must be 1 or more, got"):
        set_num_threads(n)
    assert get_num_threads() == 2


@pytest.mark.parametrize("n", [MAX_THREADS + 1, 10_000, 2**70])
def test_more_threads_than_the_machine_can_use(n):
    assert min(1024, max(64, 4 * os.cpu_count())) == MAX_THREADS
    with pytest.warns(RuntimeWarning, match=f"set_num_threads: {n} threads .* taking {MAX_THREADS}"):
        set_num_threads(n)
    assert get_num_threads() == MAX_THREADS
    with pytest.warns(RuntimeWarning, match=f"DLFAST_NUM_THREADS: {n} threads .* taking {MAX_THREADS}"):
        assert default_num_threads({"DLFAST_NUM_THREADS": str(n)}) == MAX_THREADS


@pytest.mark.parametrize("n", [1.0, "2", None, True, np.float64(2), [2]])
def test_no_integer(n):
    set_num_threads(2)
    with pytest.raises(TypeError, match="set_num_threads: n must be an int, got"):
        set_num_threads(n)
    assert get_num_threads() == 2


def test_environment_variable():
    assert python(PRINT_COUNT, DLFAST_NUM_THREADS="3")[:2] == (0, "3")


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1e3"])
def test_bad_environment_variable(value):
    with pytest.raises(ValueError, match=f"DLFAST_NUM_THREADS must be a whole number, 1 or more, got '{value}'"):
        default_num_threads({"DLFAST_NUM_THREADS": value})


def test_bad_environment_variable_stops_the_import():
    status, _, errors = python(PRINT_COUNT, DLFAST_NUM_THREADS="two")
    assert status != 0
    assert "DLFAST_NUM_THREADS must be a whole number" in errors


@pytest.mark.parametrize("value", ["", " "])
def test_empty_environment_variable_is_none(value, tmp_path):
    assert default_num_threads({"DLFAST_NUM_THREADS": value}, tmp_path) == default_num_threads({}, tmp_path)


def test_default_is_what_this_process_may_use(tmp_path):
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert default_num_threads({}, tmp_path) == min(available, MAX_THREADS)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to processors here")
def test_default_follows_the_affinity():
    bound = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + PRINT_COUNT
    assert python(bound)[:2] == (0, "1")


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "nonsense"}, None),
    ],
)
def test_container_quota(files, count, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert default_num_threads({}, tmp_path) == (count or 64)


@each_backend
def test_concurrent_callers(backend):
    """Python threads that call kernels at the same time get the bits they get alone."""
    rows = [case for case in ROWS if backend in kernels.backends_of(case.op)]
    set_num_threads(4)
    work = [(case, case.inputs("float32")) for case in rows]
    alone = [call(case.op, backend, inputs, case) for case, inputs in work]
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(call, case.op, backend, inputs, case) for case, inputs in work * 6]
        for task, wanted, case in zip(tasks, alone * 6, rows * 6, strict=True):
            assert_same_bits(task.result(timeout=120), wanted, str(case))


@pytest.mark.parametrize("case", ROWS, ids=str)
@each_backend
def test_number_changes_while_kernels_run(backend, case):
    """Nothing is sized by the number of threads, which is another one by the time the threads start."""
    if backend not in kernels.backends_of(case.op):
        pytest.skip(f"{backend} has no {case.op}")
    inputs = case.inputs("float32")
    alone = call(case.op, backend, inputs, case)
    with ThreadPoolExecutor(1) as pool:
        tasks = [pool.submit(call, case.op, backend, inputs, case) for _ in range(20)]
        n = 0
        while not tasks[-1].done():
            n = n % 9 + 1
            set_num_threads(n)
        for task in tasks:
            assert_same_bits(task.result(), alone, "while the number of threads changes")


FORK = """
import os, sys
import numpy as np
from dlfast import kernels
from dlfast.kernels.threads import set_num_threads

set_num_threads(3)
forward, backward = kernels.pair("linear", sys.argv[1])
rng = np.random.default_rng(0)
x, weight = rng.standard_normal((900, 200)), rng.standard_normal((100, 200))

def work():
    y, saved = forward(x, weight, None, activation="relu")
    return b"".join(a.tobytes() for a in (y, *backward(y, saved, (True, True, False))[:2]))

before = work()
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if all(work() == before for _ in range(3)) else 1)
    children.append(child)
assert work() == before
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
print("ok")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@each_backend
def test_fork_after_use(backend):
    """A child process has no threads of its parent's pool, and makes its own."""
    status, out, errors = python(FORK, backend)
    assert (status, out) == (0, "ok"), errors


@each_backend
def test_many_more_threads_than_processors(backend):
    case = ROWS[0]
    inputs = case.inputs("float32")
    set_num_threads(1)
    wanted = call(case.op, backend, inputs, case)
    set_num_threads(37)
    for _ in range(5):
        assert_same_bits(call(case.op, backend, inputs, case), wanted, "37 threads")
