"""What `dlfast warmup` does: small networks train for a step, images are transformed; their kernels are kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .. import functional as F
from .. import kernels, models, nn
from ..bench.networks import Inference, Training
from ..data import transforms

Network = tuple[Callable[[], nn.Module], tuple[int, ...]]


class _Cells(nn.Module):
    """The cells of recurrent networks, one after the other."""

    def __init__(self) -> None:
        self.lstm, self.gru, self.rnn = nn.LSTMCell(128, 64), nn.GRUCell(64, 64), nn.RNNCell(64, 64)
        self.last = nn.Linear(64, 10)

    def forward(self, x):
        return self.last(self.rnn(self.gru(self.lstm(x)[0])))


class _Sequences(nn.Module):
    """Recurrent layers over whole sequences (B, T, I), then attention."""

    def __init__(self) -> None:
        self.lstm, self.gru, self.rnn = (kind(64, 64, batch_first=True) for kind in (nn.LSTM, nn.GRU, nn.RNN))
        self.block = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.1, batch_first=True)
        self.last = nn.Linear(64, 10)

    def forward(self, x):
        for layer in (self.lstm, self.gru, self.rnn):
            x, _ = layer(x)
        return self.last(self.block(x)[:, -1])


class _Losses(nn.Module):
    """Logits to which the losses of regression and of yes or no have been added, so that a step runs them too."""

    def __init__(self) -> None:
        self.linear = nn.Linear(128, 100)

    def forward(self, x):
        y = self.linear(x)
        target = x[:, :100] > 0
        numbers = target.astype(x.dtype)
        others = F.mse_loss(y, numbers) + F.l1_loss(y, numbers) + F.huber_loss(y, numbers)
        return F.log_softmax(F.softmax(y)) + others + F.binary_cross_entropy_with_logits(y, numbers)


def _activations() -> nn.Module:
    kinds = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardswish)
    return nn.Sequential(nn.Linear(128, 64), *(kind() for kind in kinds), nn.LayerNorm(64), nn.Linear(64, 10))


def _convolutions() -> nn.Module:
    """Strided, grouped, depthwise and transposed ones, those of few channels, and images of another size."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 7, stride=2, padding=3),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.Conv2d(32, 32, 1),
        nn.Tanh(),
        nn.Conv2d(32, 32, 3, padding=1, groups=4),
        nn.ConvTranspose2d(32, 3, 2, stride=2),
        nn.AvgPool2d(2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.AdaptiveMaxPool2d(8),
        nn.Flatten(),
        nn.Linear(3 * 8 * 8, 10),
    )


NETWORKS: dict[str, Network] = {
    "perceptrons": (partial(models.mlp, 784, 128, 64, 10), (64, 784)),
    "LeNet-5": (models.lenet5, (32, 28, 28, 1)),
    "LeNet-5 with ReLU": (partial(models.lenet5, modern=True), (32, 28, 28, 1)),
    "the demo's CNN": (models.demo_cnn, (32, 28, 28, 1)),
    "convolutions of images": (_convolutions, (8, 32, 32, 3)),
    "ResNets": (models.resnet20, (4, 32, 32, 3)),
    "VGG": (partial(models.vgg11, 10, image_size=32), (8, 32, 32, 3)),
    "recurrent cells": (_Cells, (64, 128)),
    "sequences": (_Sequences, (8, 32, 64)),
    "activations": (_activations, (128, 128)),
    "losses": (_Losses, (128, 128)),
}


def warm_up(console: Console, backend: str = "auto") -> None:
    """Run a training step and inference of each network, and say what was compiled.

    Raises RuntimeError where kernels cannot be kept.
    """
    from ..kernels.numba.compiling import compilations
    from ..kernels.numba.jit import cache_folder

    folder, before, start = cache_folder(), compilations.count, time.perf_counter()
    if folder is None:
        raise RuntimeError("compiled kernels cannot be kept: no folder can be written; set DLFAST_CACHE_DIR to one")
    compilations.quiet = compilations.silent = True
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar as progress, kernels.use_backend(backend, "reference"):
        task = progress.add_task("", total=len(NETWORKS) + 1)
        for name, network in NETWORKS.items():
            progress.update(task, description=name)
            run(*network)
            progress.advance(task)
        progress.update(task, description="transforms of images")
        transform_images()
    if compilations.trouble:
        raise RuntimeError(f"compiled kernels cannot be kept: {compilations.trouble}")
    console.print(_summary(compilations.count - before, time.perf_counter() - start, folder), soft_wrap=True)


def transform_images() -> None:
    """Those that are kernels, of floats and of bytes; random numbers of their own leave dlfast's as they were."""
    augment = transforms.Compose([transforms.RandomAffine(10), transforms.ColorJitter(0.2, 0.2, 0.2)])
    for dtype in (np.float32, np.uint8):
        augment(np.zeros((2, 8, 8, 3), dtype), np.random.default_rng(0))


def run(model: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    """A training step, and inference on the batch and on one row of it."""
    Training.drawn(model, shape).ours()()
    for rows in (shape[0], 1):
        Inference.drawn(model, (rows, *shape[1:])).ours()()


def _summary(count: int, seconds: float, folder: Path) -> str:
    size = 1e-6 * sum(file.stat().st_size for file in folder.iterdir())
    done = f"compiled {count} kernels in {seconds:.0f} s" if count else "every kernel was there"
    return f"{done}: {size:.1f} MB in {folder}"
