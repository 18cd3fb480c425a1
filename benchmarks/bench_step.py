"""A whole training step of the demo's CNN on 64 images: forward, loss, backward, Adam."""

from importlib.util import find_spec

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels, models, optim

IMAGES = 64
PYTORCH = ("pytorch-NCHW", "pytorch-NHWC") if find_spec("torch") else ()


def training(backends, x, y):
    """(a function that takes a step and returns the loss, the model)."""
    dl.manual_seed(0)
    model = models.demo_cnn()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    dl.manual_seed(1)  # the same dropout in every contender

    def step():
        with kernels.use_backend(*backends):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    return step, model


def first_step(backends, x, y):
    step, model = training(backends, x, y)
    return [np.array(step()), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("contender", ["reference", "numba", "cython", "auto", *PYTORCH])
def test_training_step(contender, benchmark, threads):
    benchmark.name = contender
    benchmark.group = f"training step of the demo, {threads} thread{'s' if threads > 1 else ''}"
    x, y = dl.data.load("mnist10k")[:IMAGES]
    if contender in PYTORCH:
        from dlfast._torch_steps import training_step  # it compares the networks' outputs

        step = training_step(contender.removeprefix("pytorch-"), x, y, threads)
    else:
        backends = ("auto",) if contender == "auto" else (contender, "reference")
        for got, wanted in zip(first_step(backends, x, y), first_step(("reference",), x, y), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max())
        step, _ = training(backends, x, y)
    benchmark(step)
