"""What `dlfast demo` does: train a CNN on real digits, then time its training step on every backend."""

from __future__ import annotations

import json
import math
import statistics
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from . import functional as F
from . import kernels, models, optim, train
from ._files import write_text
from .bench.measure import Options, compared_times, pytorch_installed
from .bench.networks import Training
from .bench.rows import Row
from .data import ArrayDataset, load
from .kernels.threads import get_num_threads
from .random import manual_seed

ROUNDS = 7
_LR = 2e-3
_BATCH = 64


def train_demo(console: Console, epochs: int, batch_size: int, seed: int, backend: str) -> train.History:
    """Train the CNN on 8,000 of the images and validate it on the other 2,000."""
    manual_seed(seed)
    training, validation = _standardised(*load("mnist10k").split(8000))
    model = models.demo_cnn()
    size, threads = sum(p.size for p in model.parameters()), get_num_threads()
    text = f"A CNN of {size:,} parameters learns digits from {len(training):,} images on {threads} threads."
    console.print(text, soft_wrap=True)
    with kernels.use_backend(backend, "reference"):
        return train.fit(
            model,
            training,
            validation,
            epochs=epochs,
            batch_size=batch_size,
            loss=F.cross_entropy,
            optimizer=optim.Adam(model.parameters(), lr=_LR),
            callbacks=[train.ProgressBar(console), _Cosine()],
        )


def _standardised(training: ArrayDataset, validation: ArrayDataset) -> list[ArrayDataset]:
    """Both with the mean 0 and the deviation 1 of the training images."""
    mean, deviation = training.arrays[0].mean(), training.arrays[0].std()
    return [ArrayDataset((images - mean) / deviation, labels) for images, labels in (training[:], validation[:])]


class _Cosine(train.Callback):
    """Lower the learning rate after each update along half a cosine: lr (1 + cos(pi t / T)) / 2."""

    def on_batch_end(self, run) -> None:
        done = (run.epoch - 1 + run.batch / run.batches) / run.epochs
        run.optimizer.param_groups[0]["lr"] = _LR * (1 + math.cos(math.pi * done)) / 2


def compare_steps(console: Console) -> dict[str, float]:
    """Time the training step on every backend and print the table."""
    x, y = load("mnist10k")[:_BATCH]
    with console.status("timing the same training step on every backend"):
        times = step_times(x, y, get_num_threads())
    title = f"One training step, {_BATCH} images, {get_num_threads()} threads"
    table = Table(title=title, title_justify="left")
    for name in ("", "ms a step", "images/s", "reference = 1"):
        table.add_column(name, justify="right" if name else "left")
    for name, ms in times.items():
        table.add_row(name, f"{ms:.1f}", f"{1e3 * _BATCH / ms:,.0f}", f"{times['reference'] / ms:.1f}")
    console.print(table)
    return times


def step_times(x: np.ndarray, y: np.ndarray, threads: int) -> dict[str, float]:
    """Milliseconds of forward, loss, backward and Adam on the batch (x, y): the median of steps taken in turns.

    Keys are backends, and ``pytorch`` (its faster layout) where it is installed. Raises RuntimeError, and times
    nothing, where a contender's loss or gradients are not the reference's.
    """
    backends = [name for name in ("reference", "numba", "cython", "auto") if name == "auto" or kernels.built(name)]
    row = Row("demo CNN", partial(Training, models.demo_cnn, x, y), tolerance=1e-3)
    options = Options(backends, (threads,), pytorch_installed(), ROUNDS)
    ((_, timings),) = compared_times("training step", row, options)
    times = {name: timing.median for name, timing in timings.items()}
    peers = [times.pop(name) for name in list(times) if name not in backends]
    return {**times, "pytorch": min(peers)} if peers else times


def write_figures(path, history: train.History, step_ms: dict[str, float], seconds_total: float) -> None:
    """The figures of the demo as JSON."""
    figures = {
        "val_accuracy": history["val_accuracy"][-1],
        "images_per_second": images_per_second(history),
        "step_ms": step_ms,
        "seconds_total": seconds_total,
    }
    write_text(path, json.dumps(figures, indent=1) + "\n")


def images_per_second(history: train.History) -> float:
    """The median of the epochs: in the first one kernels may have been compiled."""
    return statistics.median(history["images_per_second"])
