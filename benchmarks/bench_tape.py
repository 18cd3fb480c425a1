"""The tape's own cost: a chain of operations on one element through the public API, and its kernels called bare.

The difference, divided by the operations of the chain, is what recording and the way back cost one operation.
"""

import numpy as np
import pytest

from dlfast import functional as F
from dlfast import kernels
from dlfast.tensor import Tensor

LENGTH = 1000
ONE = np.ones(1, np.float32)


def add_chain():
    x = leaf = Tensor(ONE, requires_grad=True)
    for _ in range(LENGTH):
        x = x + ONE
    x.backward()
    return x.item(), leaf.grad.item()


def bare_additions():
    x = ONE
    for _ in range(LENGTH):
        x = x + ONE
    return x.item(), 1.0  # the gradient passes through as it is


def relu_chain():
    x = leaf = Tensor(ONE, requires_grad=True)
    for _ in range(LENGTH):
        x = F.relu(x)
    x.backward()
    return x.item(), leaf.grad.item()


def bare_relus():
    forward, backward = kernels.active("relu", ONE)
    x, dy, saves = ONE, ONE, []
    for _ in range(LENGTH):
        x, saved = forward(x)
        saves.append(saved)
    for saved in reversed(saves):
        (dy,) = backward(dy, saved, (True,))
    return x.item(), dy.item()


@pytest.mark.parametrize(
    ("operation", "chain", "bare"), [("addition", add_chain, bare_additions), ("ReLU", relu_chain, bare_relus)]
)
@pytest.mark.parametrize("contender", ["tape", "kernels alone"])
def test_tape(operation, chain, bare, contender, benchmark, threads):
    assert chain() == bare()
    benchmark.group = f"{LENGTH} times {operation}: 1 ms is 1 us an operation"
    benchmark.name = contender
    benchmark(chain if contender == "tape" else bare)
