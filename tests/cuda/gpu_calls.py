"""`Gpu` over the real cuda.core and a stand-in for the driver (`driver.h`): it checks calls, not a GPU.

`test_cuda_gpu.py` runs this file in a process of its own, which loads the stand-in. Kernels run on the host's fibers.
"""

import ctypes
import gc
import threading
from functools import partial

import numpy as np
import pytest
from cublas_double import CublasLt

from dlfast.kernels.capturing import again
from dlfast.kernels.cuda import compiler, dialect, fibers, host
from dlfast.kernels.cuda.capture import Graph
from dlfast.kernels.cuda.cublas import Cublas
from dlfast.kernels.cuda.dialect import cuda, kernel, real
from dlfast.kernels.cuda.gemm import matrix
from dlfast.kernels.cuda.gpu import Gpu
from dlfast.kernels.cuda.scalars import on_device

driver = ctypes.CDLL("libcuda.so.1")
LAUNCHES, UPLOADS, ALLOCATIONS = range(3)


@kernel("ppfi")
def scaled(x, y, factor, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        y[i] = factor * x[i]


@kernel("ppi")
def added(x, y, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        y[i] += x[i]


@kernel("puii")
def added_number(y, number, n, times):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        y[i] += real(times) * number[0]


def as_text(kernel_, dtype, capability):
    assert capability == (9, 0)
    return compiler.Cubin(f"{len(kernel_.kinds)} {dtype} {kernel_.name}\0".encode(), 1, 0, 0)


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, *3 * [ctypes.c_void_p])
def run_kernel(text, name, grid, block, cells):
    count, dtype, _ = text.decode().split()
    found = next(each for each in dialect.KERNELS if each.name == name.decode())
    entry = found.compiled.setdefault(("test", dtype), None) or host.compile_kernel(found, np.dtype(dtype))
    found.compiled["test", dtype] = entry
    threads = (ctypes.c_uint * 3).from_address(grid), (ctypes.c_uint * 3).from_address(block)[:2]
    values = np.frombuffer((ctypes.c_int64 * int(count)).from_address(cells), np.int64)
    fibers.launch(found.name, entry.address, values.copy(), tuple(threads[0]), tuple(threads[1]))
    return 0


@pytest.fixture(scope="session", autouse=True)
def _kernels_run_on_fibers():
    driver.test_set_launch(run_kernel)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "compile_kernel", as_text)
        yield
        driver.test_set_launch(None)


@pytest.fixture
def gpu():
    """A new one for each test, whose pool holds nothing yet."""
    for each in (scaled, added, added_number):
        each.compiled.clear()
    gc.collect()
    driver.test_set_limit(ctypes.c_size_t(64 << 20))
    yield Gpu(0)
    gc.collect()


def run(kernel_, *arguments):
    n = arguments[0].size
    kernel_((-(-n // 32), 1, 1), 32, *arguments)


def test_what_it_is(gpu):
    assert str(gpu) == "cuda:0"
    assert repr(gpu) == "<cuda:0, stand-in 0>"
    assert (gpu.capability, gpu.memory, gpu.multiprocessors) == ((9, 0), 64 << 20, 132)
    assert gpu.memory_info()[1] == 64 << 20


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 2)])
def test_up_and_down(gpu, dtype, shape):
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    y = gpu.upload(x)
    assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, gpu)
    np.testing.assert_array_equal(y.numpy(), x)
    np.testing.assert_array_equal(gpu.upload(x.T).numpy(), x.T)


def test_work_is_not_waited_for(gpu):
    x, y = gpu.upload(np.arange(40, dtype=np.float32)), gpu.empty((40,))
    gpu.synchronize()
    run(scaled, x, y, 2.0, 40)
    gpu.copy(y, x)
    gpu.fill(y, 0)
    assert driver.test_pending() == 3
    np.testing.assert_array_equal(x.numpy(), 2 * np.arange(40))
    assert not y.numpy().any()
    assert driver.test_pending() == 0


def test_dtypes_have_kernels_of_their_own(gpu):
    for dtype in (np.float32, np.float64):
        x, y = gpu.upload(np.ones(3, dtype)), gpu.empty((3,), dtype)
        run(scaled, x, y, 0.1, 3)
        np.testing.assert_array_equal(y.numpy(), np.full(3, 0.1, dtype))
    assert {key for key in scaled.compiled if key[0] == 0} == {(0, np.dtype(np.float32)), (0, np.dtype(np.float64))}


def test_limits_of_a_launch(gpu):
    x = gpu.empty((4,))
    with pytest.raises(ValueError, match="a grid has at most 2147483647 x 65535 x 65535 blocks, got"):
        scaled((1, 65536, 1), 32, x, x, 1.0, 4)
    with pytest.raises(ValueError, match="a block has at most 1024 threads"):
        scaled((1, 1, 1), (64, 32), x, x, 1.0, 4)
    with pytest.raises(TypeError, match="expected an aligned array of float32"):
        scaled((1, 1, 1), 32, x, gpu.empty((4,), np.float64), 1.0, 4)


def test_what_is_uploaded_may_be_changed(gpu):
    x = np.ones(100, np.float32)
    y = gpu.upload(x)
    x[:] = 5
    assert y.numpy().tolist() == [1] * 100
    pinned = gpu.pinned_empty((100,), np.float32)
    pinned[:] = 1
    y = gpu.upload(pinned)  # waits, for the caller may change what is not said to stay
    pinned[:] = 5
    assert y.numpy().tolist() == [1] * 100


def test_pinned_memory(gpu):
    gpu.synchronize()
    pinned = gpu.pinned_empty((2, 50), np.float32)
    assert (pinned.shape, pinned.dtype, pinned.flags.writeable) == ((2, 50), np.float32, True)
    pinned[:] = np.arange(100).reshape(2, 50)
    y = gpu.upload(pinned[1:], non_blocking=True)
    assert driver.test_pending() == 2  # the copy, and the mark behind it
    address = pinned.ctypes.data
    del pinned
    again_ = gpu.pinned_empty((2, 50), np.float32)  # what is still read is not given to anybody else
    assert again_.ctypes.data != address
    again_[:] = -1
    assert y.numpy().ravel().tolist() == list(range(50, 100))
    gpu.upload(again_, non_blocking=True).numpy()
    assert gpu.pinned_empty((2, 50), np.float32).ctypes.data == address


def test_a_block_is_used_again_in_the_order_of_its_stream(gpu):
    x = gpu.upload(np.arange(200, dtype=np.float32))
    y = gpu.empty((200,))
    run(scaled, x, y, 3.0, 200)
    result = gpu.empty((200,))
    run(scaled, y, result, 1.0, 200)
    pointer = y.pointer
    del y
    z = gpu.empty((200,))
    assert z.pointer == pointer
    gpu.fill(z, 0)
    np.testing.assert_array_equal(result.numpy(), 3 * np.arange(200))


def test_a_block_that_another_stream_uses_is_not_taken(gpu):
    side = gpu.new_stream()
    x = gpu.upload(np.arange(200, dtype=np.float32))
    result = gpu.empty((200,))
    side.wait(gpu.current_stream)
    before = gpu.set_stream(side)
    run(scaled, x, result, 2.0, 200)
    gpu.set_stream(before)
    pointer = x.pointer
    del x
    y = gpu.empty((200,))
    gpu.fill(y, 0)
    gpu.default_stream.synchronize()
    assert y.pointer != pointer
    gpu.current_stream.wait(side)
    np.testing.assert_array_equal(result.numpy(), 2 * np.arange(200))
    del y
    taken = [gpu.empty((200,)) for _ in range(3)]
    assert pointer in [each.pointer for each in taken]


def test_streams_wait_for_events(gpu):
    one, two = gpu.new_stream(), gpu.new_stream()
    x = gpu.upload(np.ones(10, np.float32))
    gpu.synchronize()
    before = gpu.set_stream(one)
    run(scaled, x, x, 2.0, 10)
    event = one.record(gpu.new_event(timing=True))
    assert not event.query()
    gpu.set_stream(two)
    two.wait(event)
    run(scaled, x, x, 3.0, 10)
    np.testing.assert_array_equal(x.numpy(), np.full(10, 6))
    assert event.query()
    end = two.record(gpu.new_event(timing=True))
    end.synchronize()
    assert event.elapsed_time(end) == 1.5
    gpu.set_stream(before)


def test_threads_enter_the_context(gpu):
    x = gpu.upload(np.ones(10, np.float32))
    found = []

    def work():
        y = gpu.empty((10,))
        run(scaled, x, y, 2.0, 10)
        found.append((y.numpy(), gpu.current_stream is gpu.default_stream))

    side = gpu.set_stream(gpu.new_stream())  # of this thread alone
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    gpu.set_stream(side)
    np.testing.assert_array_equal(found[0][0], np.full(10, 2))
    assert found[0][1]


def test_two_gpus(gpu):
    other = Gpu(1)
    assert str(other) == "cuda:1"
    x = gpu.upload(np.arange(20, dtype=np.float32))
    run(scaled, x, x, 2.0, 20)
    y = other.empty((20,))
    other.copy(x, y)
    gpu.fill(x, 0)
    run(scaled, y, y, 10.0, 20)
    np.testing.assert_array_equal(y.numpy(), 20 * np.arange(20))
    assert not x.numpy().any()
    assert {key[0] for key in scaled.compiled} >= {0, 1}


def test_memory_and_what_is_said_where_there_is_none(gpu):
    x = gpu.empty((1000,))
    assert gpu.memory_stats().in_use == 4096
    del x
    assert gpu.memory_stats()[:2] == (0, 4096)
    calls = driver.test_calls(ALLOCATIONS)
    x = gpu.empty((1000,))
    assert driver.test_calls(ALLOCATIONS) == calls
    del x
    free = gpu.memory_info()[0] + 4096
    whole = gpu.empty((free // 2,), np.uint8)  # what is kept goes back first
    with pytest.raises(MemoryError, match=r"cuda:0 has no memory for an array of \d+ bytes: \d+ of 67108864 bytes are"):
        gpu.empty((free,), np.uint8)
    del whole
    assert gpu.release() > 0


def test_an_error_of_the_driver_is_told(gpu):
    with pytest.raises(RuntimeError, match=r"cuda:0: CUDA_ERROR_INVALID_VALUE: an error of the stand-in.*DLFAST_CUDA"):
        gpu.check(gpu.driver.cuMemFree(12345))


def test_a_graph_is_captured_and_replayed(gpu):
    x, total = gpu.upload(np.arange(30, dtype=np.float32)), gpu.upload(np.zeros(30, np.float32))
    gpu.synchronize()
    launches = driver.test_calls(LAUNCHES)

    def step():
        y = gpu.empty((30,))
        run(scaled, x, y, 2.0, 30)
        run(added, y, total, 30)
        return y

    graph = Graph(gpu, step)
    assert driver.test_calls(LAUNCHES) == launches + 2
    assert not total.numpy().any()
    for times in (1, 2, 3):
        others = [gpu.empty((30,)) for _ in range(4)]  # nobody else gets the memory of the graph
        for each in others:
            gpu.fill(each, 0xFF)
        graph.replay()
        np.testing.assert_array_equal(total.numpy(), times * 2 * np.arange(30))
        np.testing.assert_array_equal(graph.result.numpy(), 2 * np.arange(30))
    assert driver.test_calls(LAUNCHES) == launches + 2
    in_use = gpu.memory_stats().in_use
    del graph
    gc.collect()
    assert gpu.memory_stats().in_use < in_use


def test_a_graph_keeps_what_it_reads(gpu):
    x = gpu.upload(np.arange(30, dtype=np.float32))
    pointer = x.pointer

    def step(x):
        y = gpu.empty((30,))
        run(scaled, x, y, 2.0, 30)
        return y

    graph = Graph(gpu, partial(step, x))
    del x
    others = [gpu.empty((30,)) for _ in range(4)]
    assert pointer not in [each.pointer for each in others]
    graph.replay()
    np.testing.assert_array_equal(graph.result.numpy(), 2 * np.arange(30))


def test_numbers_of_a_graph_are_those_of_its_replays(gpu):
    total = gpu.upload(np.zeros(8, np.float32))
    count = [0]

    def add():
        count[0] += 1
        number = on_device(total, (count[0],))
        run(added_number, total, number, 8, 2)

    def step():
        again(add)
        again(add)

    graph = Graph(gpu, step)
    expected = 0
    for k in range(5):
        graph.replay()
        expected += 2 * (2 * k + 1 + 2 * k + 2)
    assert total.numpy().tolist() == [expected] * 8  # read once: the replays before did not wait
    side = gpu.new_stream()
    side.wait(gpu.current_stream)
    before = gpu.set_stream(side)
    graph.replay()
    expected += 2 * (11 + 12)
    assert total.numpy().tolist() == [expected] * 8
    gpu.set_stream(before)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda gpu, x: x.numpy(), "cannot read an array while a graph is captured on cuda:0"),
        (lambda gpu, x: gpu.synchronize(), "cannot wait for the device while a graph is captured"),
        (lambda gpu, x: gpu.upload(np.ones(3)), "a graph is being captured, which would repeat these values on cuda:0"),
        (lambda gpu, x: Graph(gpu, lambda: None), "a graph is being captured already"),
        (lambda gpu, x: on_device(x, (1,)), "would repeat these numbers as they are now"),
        (lambda gpu, x: [][0], "list index out of range"),
    ],
)
def test_what_a_graph_cannot_have(gpu, what, message):
    x = gpu.upload(np.ones(5, np.float32))

    def step():
        run(scaled, x, x, 2.0, 5)
        what(gpu, x)

    with pytest.raises((RuntimeError, IndexError), match=message):
        Graph(gpu, step)
    run(scaled, x, x, 3.0, 5)  # and all is as before
    assert x.numpy().tolist() == [3] * 5
    assert gpu.current_stream is gpu.default_stream


def test_a_library_works_in_the_stream_of_the_thread_and_in_its_context(gpu):
    double = CublasLt(workspace=1 << 12)
    made = Cublas(gpu, double.bindings())
    a, b, c = gpu.upload(np.eye(4, dtype=np.float32)), gpu.upload(np.ones((4, 4), np.float32)), gpu.empty((4, 4))
    stream = gpu.new_stream()
    gpu.synchronize()
    gpu.set_stream(stream)
    gpu.driver.cuCtxSetCurrent(0)
    assert made.product(matrix(a), matrix(b), c, 4, 4, 4)
    assert gpu.driver.cuCtxGetCurrent()[1] == gpu.context
    _, _, _, workspace, used = double.calls[-1]
    assert (used, workspace != 0) == (int(stream.handle), True)
    np.testing.assert_array_equal(c.numpy(), np.ones((4, 4)))
