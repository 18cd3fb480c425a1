"""Streams, events, pinned memory and statistics; and what `graph` and `dlfast info` say."""

import gc

import numpy as np
import pytest

import dlfast as dl
from dlfast.commands.info import facts
from dlfast.cuda import cuda, kernel


@kernel("ppi")
def doubled(x, y, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        y[i] = x[i] + x[i]


def test_streams_and_events(device):
    x, y = dl.cuda.array(np.arange(40, dtype=np.float32)), dl.cuda.empty(40)
    one, two = dl.cuda.Stream(), dl.cuda.Stream("cuda:0")
    start, middle, end = (dl.cuda.Event(enable_timing=True) for _ in range(3))
    before = device.current_stream
    one.wait_stream(dl.cuda.current_stream())
    with dl.cuda.stream(one) as current:
        assert current is one
        start.record()
        doubled((2, 1, 1), 32, x, y, 40)
        one.record(middle)
        with dl.cuda.stream(two):
            two.wait_event(middle)
            doubled((2, 1, 1), 32, y, x, 40)
        assert device.current_stream is one._queue is dl.cuda.current_stream("cuda:0")._queue
    assert device.current_stream is before
    end.record(two)
    end.wait()
    end.synchronize()
    one.synchronize()
    dl.cuda.synchronize()
    assert end.query()
    assert start.elapsed_time(end) >= 0
    np.testing.assert_array_equal(x.numpy(), 4 * np.arange(40))
    assert repr(one) == "<dlfast.cuda.Stream of cuda:0>"
    assert isinstance(one.record(), dl.cuda.Event)
    with pytest.raises(TypeError, match=r"expected a dlfast\.cuda\.Stream, got int"):
        dl.cuda.stream(0)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_pinned_memory(device, dtype):
    x = dl.cuda.pinned_empty((3, 5), dtype)
    assert (x.shape, x.dtype) == ((3, 5), dtype)
    x[...] = np.arange(15).reshape(3, 5) % 2
    y = device.upload(x[1:], non_blocking=True)
    np.testing.assert_array_equal(y.numpy(), x[1:])
    assert dl.cuda.pinned_empty(7).shape == (7,)


def test_statistics_of_memory():
    gc.collect()
    dl.cuda.empty_cache()
    before = dl.cuda.memory_stats()
    x = dl.cuda.empty(10_000)
    during = dl.cuda.memory_stats()
    assert during.in_use >= before.in_use + 40_000
    assert during.peak >= during.in_use
    assert during._fields == dl.memory.stats()._fields
    del x
    assert dl.cuda.memory_stats().in_use == before.in_use
    dl.cuda.empty_cache()
    assert dl.cuda.memory_stats().kept == 0


def test_info(monkeypatch):
    with dl.cuda.host():
        told = facts()
    assert told["cuda"] == "the CPU plays the GPU"
    assert {"cuda driver", "cuda packages"} <= told.keys()
    assert "driver" not in told
    assert "numba-cuda " in told["cuda packages"]


# graph: what it checks


def test_graph_checks_its_arguments():
    calls = []

    @dl.cuda.graph
    def step(x, options, scale=1.0):
        """One step."""
        calls.append(scale)
        return x

    assert step.__doc__ == "One step."
    x = dl.tensor(np.ones((4, 3), np.float32)).to("cuda")
    pair = [x, {"y": x}]
    assert step(x, pair, scale=2.0) is x
    for given, named, message in (
        (
            (x[:2], pair),
            {"scale": 2.0},
            r"argument 0 must be as in the first call, float32 of shape \(4, 3\) on cuda:0",
        ),
        ((x, pair), {"scale": 3.0}, r"argument scale must be as in the first call, 2.0, got 3.0; call the function"),
        ((x, pair), {}, r"argument scale must be as in the first call, 2.0, got missing"),
        ((x, [x, {"z": x}]), {"scale": 2.0}, r"the keys of argument 1\[1\] must be .*'y',.*, got .*'z',"),
        ((x, [x]), {"scale": 2.0}, "the length of argument 1 must be as in the first call, 2, got 1"),
        ((x.cpu(), pair), {"scale": 2.0}, r"argument 0 .* on cuda:0, got float32 of shape \(4, 3\) on cpu"),
        ((x, (x, {"y": x})), {"scale": 2.0}, None),
    ):
        if message is None:
            step(*given, **named)
            continue
        with pytest.raises(ValueError, match=message):
            step(*given, **named)
    assert calls == [2.0, 2.0]
    with pytest.raises(ValueError, match="argument 0 requires a gradient, which would go to a copy of it"):
        dl.cuda.graph(lambda x: x)(dl.tensor(np.ones(3, np.float32), requires_grad=True))


def test_graph_refuses():
    with pytest.raises(TypeError, match="graph: expected a function, got int"):
        dl.cuda.graph(3)
    for warmup in (0, -1, True, 1.0):
        with pytest.raises(ValueError, match="graph: warmup must be an integer from 1 on"):
            dl.cuda.graph(print, warmup=warmup)


def test_graph_on_the_cpu_calls_the_function():
    step = dl.cuda.graph(lambda x: x + 1)
    for value in range(4):
        assert step(dl.tensor([float(value)])).tolist() == [value + 1.0]
