"""The time of one training step of the demo's network on each backend, and on PyTorch where it is installed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import functional as F
from . import kernels
from .bench.measure import pytorch_installed
from .bench.timing import in_turns
from .models import demo_cnn
from .optim import Adam
from .random import manual_seed

ROUNDS = 7


def step_times(x: np.ndarray, y: np.ndarray, threads: int) -> dict[str, float]:
    """Milliseconds of forward, loss, backward and Adam on the batch (x, y): the median of steps taken in turns.

    Keys are backends, and ``pytorch`` (its faster layout) where it is installed. Raises RuntimeError, and times
    nothing, where a backend's loss or gradients are not the reference's.
    """
    names = [name for name in ("reference", "numba", "cython", "auto") if name == "auto" or kernels.built(name)]
    trainings = {name: _Training(name, x, y) for name in names}
    _compare(trainings)
    steps: dict[str, Callable[[], float]] = {name: training.step for name, training in trainings.items()}
    if pytorch_installed():
        from . import _torch_steps

        for layout in _torch_steps.LAYOUTS:
            steps[f"pytorch {layout}"] = _torch_steps.training_step(layout, x, y, threads)
    times = {name: timing.median for name, timing in in_turns(steps, ROUNDS).items()}
    peers = [times.pop(name) for name in list(times) if name.startswith("pytorch")]
    return {**times, "pytorch": min(peers)} if peers else times


class _Training:
    """The demo's network, fresh from one seed, and its optimizer, on one backend; the reference fills its gaps."""

    def __init__(self, backend: str, x: np.ndarray, y: np.ndarray):
        manual_seed(0)
        self.backends, self.x, self.y = (backend, "reference"), x, y
        self.model = demo_cnn()
        self.optimizer = Adam(self.model.parameters(), lr=1e-3)

    def step(self) -> float:
        with kernels.use_backend(*self.backends):
            loss = F.cross_entropy(self.model(self.x), self.y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return loss.item()


def _compare(trainings: dict[str, _Training]) -> None:
    """Take the first step of each and hold its loss and gradients against the reference's."""
    results = {}
    for name, training in trainings.items():
        manual_seed(1)  # dropout's mask
        loss = training.step()
        results[name] = [np.array(loss), *(p.grad for p in training.model.parameters())]
    for name, values in results.items():
        for value, expected in zip(values, results["reference"], strict=True):
            if not np.abs(value - expected).max() <= 1e-3 * np.abs(expected).max() + 1e-6:
                raise RuntimeError(f"backend {name!r} computes another training step than the reference")
