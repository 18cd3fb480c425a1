"""The bytes that kernels move are those of their arrays, once."""

import numpy as np
import pytest
from every import KERNELS
from ondevice import up

from dlfast import kernels
from dlfast.kernels.cuda.dialect import Kernel
from dlfast.kernels.cuda.traffic import counted

N = 4096


def moved(op, *arrays, **options):
    """Bytes of forward and backward, a number of the first array that requires a gradient."""
    arrays = [up(np.ones(x, np.float32) if isinstance(x, tuple) else x) for x in arrays]
    forward, backward = kernels.pair(op, "cuda")
    with counted() as count:
        y, saved = forward(*arrays, **options)
    with counted() as back:
        backward(y, saved, (True,) * len(arrays))
    return count.bytes / N, back.bytes / N


@pytest.fixture(autouse=True)
def _launch_nothing(monkeypatch):
    """What is moved follows from the launches, which need not run."""
    monkeypatch.setattr(Kernel, "__call__", lambda *given: None)


def test_activations():
    assert moved("relu", (N,)) == (8, 12)
    assert moved("gelu", (N,), approximate="none") == (12, 12)  # the slope is made on the way
    assert moved("dropout", (N,), p=0.5, seed=1, scale=2.0) == (8, 8)


def test_rows():
    assert moved("softmax", (4, N // 4), axis=1) == (8, 12)
    forward, backward = moved("layer_norm", (16, N // 16), (N // 16,), (N // 16,), eps=1e-5)
    assert 8 <= forward < 9  # and weight, bias and statistics
    assert 20 <= backward < 22  # dx 12, dweight and dbias 8 in a pass of their own


def test_updates():
    p, g, m, v = (up(np.zeros(N, np.float32)) for _ in range(4))
    options = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
    with counted() as count:
        kernels.pair("adam_step", "cuda")(p, g, m, v, **options, grad_scale=1.0, step=1)
    assert 28 <= count.bytes / N < 29  # four arrays, of which three are written too


def test_rows_of_a_table():
    """Those that are taken, not the whole table."""
    indices = np.arange(8, dtype=np.int64)
    with counted() as count:
        kernels.pair("embedding", "cuda")[0](up(indices), up(np.ones((1000, 64), np.float32)), padding_idx=None)
    assert count.by_kernel == {"embedding_take": 8 * 8 + 2 * 8 * 64 * 4}


def test_every_kernel_has_a_count():
    arrays = {"i": 1, "w": 1, "f": 1.0}
    for kernel in KERNELS:
        x = up(np.ones(4, np.float32))
        arguments = [arrays.get(kind, x) for kind in kernel.kinds]
        wanted = kernel.moved(*arguments) if kernel.moved else 16 * sum(kind not in arrays for kind in kernel.kinds)
        with counted() as count:
            kernel((1, 1, 1), 32, *arguments)
        assert count.by_kernel == {kernel.name: wanted}
        assert wanted > 0
