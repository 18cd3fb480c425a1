"""What `dlfast demo` does: train a CNN on real digits, then time its training step on every backend."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from .. import functional as F
from .. import kernels, models, nn, optim, train
from .._devices import find
from .._files import write_text
from ..bench.measure import Options, compared_times, pytorch_installed
from ..bench.networks import WINDOWS, Training
from ..bench.rows import Row
from ..cuda._playing import playing
from ..data import ArrayDataset, fetch, load
from ..kernels.threads import get_num_threads
from ..optim.lr_scheduler import CosineWithWarmup
from ..random import manual_seed
from ..tensor import Tensor
from .run import where

ROUNDS = 13  # of turns: a busy machine has slow seconds, which the median should not see
_LR = 2e-3
_BATCH = 64
_PLAYED = 256, 64  # images, where the CPU plays a GPU


class Demo(NamedTuple):
    """What is to be trained on, and how."""

    what: str
    training: ArrayDataset
    validation: ArrayDataset
    epochs: int
    batch_size: int
    seed: int
    device: str = "cpu"

    @classmethod
    def of(cls, data: str, path: Path | None, epochs: int, batch_size: int, seed: int, device: str = "cpu") -> Demo:
        """On mnist10k, 8,000 images and 2,000, or on the first 20,000 and 5,000 of Fashion-MNIST's two parts; on the
        first 256 and 64 where the CPU plays a GPU.
        """
        if data == "mnist10k":
            what, (training, validation) = "digits", load("mnist10k").split(8000)
        else:
            what, (training, validation) = "clothes", map(_first, fetch(data, path), (20_000, 5_000))
        if device != "cpu" and playing():
            training, validation = map(_first, (training, validation), _PLAYED)
        training, validation = _standardised(training, validation)
        return cls(what, training, validation, epochs, batch_size, seed, device)

    def model(self) -> nn.Module:
        """The network, whose first values follow from the seed; as do the order of images and dropout from here on."""
        manual_seed(self.seed)
        return models.demo_cnn()


def _first(data: ArrayDataset, count: int) -> ArrayDataset:
    return ArrayDataset(*data[:count])


def train_demo(console: Console, demo: Demo, backend: str) -> train.History:
    """Train the CNN and validate it after each epoch."""
    model = demo.model()
    size, images = sum(p.size for p in model.parameters()), len(demo.training)
    text = f"A CNN of {size:,} parameters learns {demo.what} from {images:,} images on {where(demo.device)}."
    console.print(text, soft_wrap=True)
    optimizer, batches = optim.Adam(model.parameters(), lr=_LR), -(-images // demo.batch_size)
    with kernels.use_backend(backend, "reference"):
        return train.fit(
            model,
            demo.training,
            demo.validation,
            epochs=demo.epochs,
            batch_size=demo.batch_size,
            loss=F.cross_entropy,
            optimizer=optimizer,
            scheduler=CosineWithWarmup(optimizer, demo.epochs * batches),
            scheduler_step="batch",
            callbacks=[train.ProgressBar(console)],
            device=demo.device,
        )


def compare_training(console: Console, demo: Demo, history: train.History) -> dict[str, float]:
    """Train the same in PyTorch and print both; returns PyTorch's accuracy and seconds."""
    from . import torch_demo

    with console.status("training the same network in PyTorch"):
        accuracy, seconds = torch_demo.train(
            demo.model(),
            demo.training,
            demo.validation,
            epochs=demo.epochs,
            batch_size=demo.batch_size,
            lr=_LR,
            seed=demo.seed,
            threads=get_num_threads(),
        )
    table = Table(title=f"The whole training, {get_num_threads()} threads", title_justify="left")
    for name in ("", "seconds", "images/s", "validation accuracy"):
        table.add_column(name, justify="right" if name else "left")
    ours = "dlfast", sum(history["seconds"]), history["val_accuracy"][-1]
    for name, spent, right in (ours, ("PyTorch", seconds, accuracy)):
        rate = len(demo.training) * demo.epochs / spent
        table.add_row(name, f"{spent:.1f}", f"{rate:,.0f}", f"{right:.4f}")
    console.print(table)
    return {"val_accuracy": accuracy, "seconds": seconds}


def _standardised(training: ArrayDataset, validation: ArrayDataset) -> Iterator[ArrayDataset]:
    """Both with the mean 0 and the deviation 1 of the training images."""
    mean, deviation = training.arrays[0].mean(), training.arrays[0].std()
    return (ArrayDataset((images - mean) / deviation, labels) for images, labels in (training[:], validation[:]))


def compare_steps(console: Console, device: str = "cpu") -> dict[str, float]:
    """Time the training step on every backend, or on a device, and print the table."""
    x, y = load("mnist10k")[:_BATCH]
    if device != "cpu":
        times = device_times(x, y, device)
        console.print(f"One training step, {_BATCH} images: {times[device]:.2f} ms on {device}")
        return times
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
    row = Row("demo CNN", partial(Training, models.demo_cnn, x, y), tolerance=WINDOWS)
    options = Options(backends, (threads,), pytorch_installed(), ROUNDS)
    ((_, timings),) = compared_times("training step", row, options)
    times = {name: timing.median for name, timing in timings.items()}
    peers = [times.pop(name) for name in list(times) if name not in backends]
    return {**times, "pytorch": min(peers)} if peers else times


def device_times(x: np.ndarray, y: np.ndarray, device: str) -> dict[str, float]:
    """Milliseconds of the same on a device, the batch lying there: the median, after a step that is not timed."""
    model, batch = models.demo_cnn().to(device), [Tensor(array).to(device) for array in (x, y)]
    optimizer, times = optim.Adam(model.parameters()), []
    for _ in range(1 + (2 if playing() else ROUNDS)):
        start = time.perf_counter()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        find(device).synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return {device: statistics.median(times[1:])}


def write_figures(path, history: train.History, seconds_total: float, **others: dict[str, float]) -> None:
    """The figures of the demo as JSON, with others by name."""
    figures = {
        "val_accuracy": history["val_accuracy"][-1],
        "images_per_second": images_per_second(history),
        "seconds_total": seconds_total,
        **others,
    }
    write_text(path, json.dumps(figures, indent=1) + "\n")


def images_per_second(history: train.History) -> float:
    """The median of the epochs: in the first one kernels may have been compiled."""
    return statistics.median(history["images_per_second"])
