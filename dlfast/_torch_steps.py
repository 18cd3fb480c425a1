"""The same training step in PyTorch, in both of its image layouts. Imported only where PyTorch is installed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ._tape import no_grad
from .bench.pytorch import LAYOUTS, tensor
from .models import demo_cnn


def training_step(layout: str, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], float]:
    """Forward, loss, backward and fused Adam on the batch x (N, 28, 28, 1), y (N,).

    Raises RuntimeError where PyTorch's network, given our weights, has other outputs than ours.
    """
    torch.set_num_threads(threads)
    model = _network().to(memory_format=LAYOUTS[layout])
    images = tensor(x, layout)
    labels = torch.from_numpy(y)
    _compare(model, images, x)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> float:
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _network() -> nn.Sequential:
    """`dlfast.models.demo_cnn`, layer by layer."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(128, 10),
    )


def _compare(model: nn.Sequential, images: torch.Tensor, x: np.ndarray) -> None:
    ours = demo_cnn().eval()
    model.load_state_dict({name: _channels_first(value) for name, value in ours.state_dict().items()})
    with no_grad(), torch.no_grad():
        expected, got = ours(x).numpy(), model.eval()(images).numpy()
    model.train()
    if not np.allclose(got, expected, rtol=1e-3, atol=1e-4):
        raise RuntimeError("PyTorch's network, given the same weights, has other outputs than ours")


def _channels_first(weight: np.ndarray) -> torch.Tensor:
    """Our weights (K, R, S, C), and those of the layer behind Flatten, in PyTorch's order."""
    if weight.ndim == 2 and weight.shape[1] == 7 * 7 * 64:
        return tensor(weight.reshape(-1, 7, 7, 64), "NCHW").flatten(1)
    return tensor(weight, "NCHW")
