"""The memory pool: statistics, bound, release, arrays that outlive everything, threads, other allocators."""

import os
import pickle
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from poison import poisoned

import dlfast as dl
from dlfast import functional as F
from dlfast import memory, nn, optim
from dlfast.kernels.memory import default_limit, empty, pooled, zeros

SMALLEST = 1024  # bytes; smaller arrays are NumPy's
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, or counts on mmap")


@pytest.fixture(autouse=True)
def _automatic_limit():
    yield
    memory.set_limit(None)


@pytest.mark.parametrize("shape", [(), 3, (0,), (5, 7), (64, 10), (3, 300, 400), (2, 0, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.dtype(float), "int8", bool, None])
def test_arrays_are_those_of_numpy(shape, dtype):
    for ours, theirs in ((empty(shape, dtype), np.empty(shape, dtype)), (zeros(shape, dtype), np.zeros(shape, dtype))):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert ours.strides == theirs.strides or not ours.size
        assert ours.flags.owndata
        assert ours.flags.carray
        assert ours.nbytes < SMALLEST or ours.ctypes.data % 64 == 0
    assert not zeros(shape, dtype).any()


@pytest.mark.parametrize("shape", [-1, (3, -2), (2**62, 4), 1.5, (2.0,), "x"])
def test_bad_shapes_raise(shape):
    with pytest.raises((TypeError, ValueError, MemoryError)):
        empty(shape, np.float32)


def _mlp():
    return nn.Sequential(nn.Linear(40, 300), nn.ReLU(), nn.Linear(300, 10)), (40,)


def _lenet():
    return dl.models.lenet5(), (28, 28, 1)


def _convolutions():
    conv = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()
    return nn.Sequential(*conv, nn.Flatten(), nn.Dropout(0.3), nn.Linear(14 * 14 * 16, 10)), (28, 28, 1)


def _trainer(network):
    """A function that trains one step on so many rows."""
    model, shape = network()
    optimizer = optim.Adam(model.parameters())

    def step(rows):
        loss = F.cross_entropy(model(np.ones((rows, *shape), np.float32)), np.zeros(rows, int))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("backends", [("auto",), ("cython", "reference")], ids="+".join)
@pytest.mark.parametrize("network", [_mlp, _lenet, _convolutions])
def test_second_step_takes_nothing_from_the_system(network, backends):
    step = _trainer(network)
    with dl.use_backend(*backends):
        for count in range(6):
            for rows in (16, 70):
                step(rows)
            if count == 1:
                before = memory.stats()
    after = memory.stats()
    assert after.from_system == before.from_system
    assert after.from_pool > before.from_pool


@linux
def test_second_step_faults_few_pages():
    """Without the pool this net's arrays of 64 rows, 10 MB, are mapped anew and fault 2500 pages or so a step."""
    import resource

    step = _trainer(_convolutions)
    for _ in range(4):
        step(64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step(64)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 5 * 100


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@linux
def test_release_gives_memory_back_to_the_system():
    memory.set_limit(1 << 30)
    arrays = [zeros(4_000_000, np.float32) for _ in range(8)]
    full = _resident()
    del arrays
    assert _resident() > full - (16 << 20)  # kept
    assert memory.release() >= 8 * 16_000_000
    assert _resident() < full - (100 << 20)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_uses_its_own_copy_of_the_pool():
    kept, inherited = empty(100_000), zeros(50_000)
    del kept
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads run: Python 3.12 warns of it
        child = os.fork()
    if not child:
        try:
            taken = [zeros(size) for size in (100_000, 50_000, 300, 10)]
            for array in (*taken, inherited):
                array += 1
            right = all((array == 1).all() for array in (*taken, inherited))
            del taken, inherited
            memory.release()
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not inherited.any()


def test_limit_and_release():
    memory.set_limit(1 << 20)
    for size in (100, 10_000, 200_000, 3_000_000):
        empty(size, np.float32)
        assert memory.stats().kept <= 1 << 20
    memory.set_limit(0)
    empty(5000)
    assert memory.stats().kept == 0
    memory.set_limit(None)
    empty(3_000_000)
    assert memory.release() >= 24_000_000
    assert memory.stats().kept == 0


def test_arrays_outlive_a_release_and_can_be_resized_and_pickled():
    array = zeros(1000)
    array[:] = np.arange(1000)
    memory.release()
    array.resize(100_000, refcheck=False)
    assert (array[:1000] == np.arange(1000)).all()
    array.resize(10, refcheck=False)
    assert (pickle.loads(pickle.dumps(array)) == np.arange(10)).all()


def test_threads_free_what_others_took():
    def work(arrays):
        assert all((array == i).all() for i, array in enumerate(arrays))
        fresh = [empty(200 + 300 * i) for i in range(50)]
        for i, array in enumerate(fresh):
            array[:] = i
        return fresh

    before = memory.stats().in_use
    with ThreadPoolExecutor(8) as threads:
        arrays = [[]] * 8
        for _ in range(30):
            arrays = list(threads.map(work, arrays))
    del arrays
    assert memory.stats().in_use <= before + (1 << 20)


def test_numpy_expressions_inside_pooled():
    x, before = np.ones(100_000), memory.stats().in_use
    with pooled():
        y = x + x
    with pytest.raises(ZeroDivisionError), pooled():
        1 / 0  # noqa: B018
    assert memory.stats().in_use >= before + y.nbytes
    inside = memory.stats().in_use
    x + x
    assert memory.stats().in_use == inside


def test_another_allocator_goes_before_the_pool():
    with poisoned():
        array = empty(100, np.float32)
        with pooled():
            assert np.isnan(np.empty(100, np.float32)).all()
    assert np.isnan(array).all()


def test_limit_from_the_environment_and_bad_limits():
    assert default_limit({}) is None
    assert default_limit({"DLFAST_MEMORY_LIMIT": "4096"}) == 4096
    with pytest.raises(ValueError, match="whole number of bytes"):
        default_limit({"DLFAST_MEMORY_LIMIT": "1G"})
    with pytest.raises(TypeError, match="set_limit: limit must be a number"):
        memory.set_limit(1.5)
    with pytest.raises(ValueError, match="set_limit: limit must be in"):
        memory.set_limit(-1)
