"""The demo's training in PyTorch. Imported only where PyTorch is installed."""

from __future__ import annotations

import time

import numpy as np
import torch

from .. import nn
from ..bench.pytorch_networks import Twin
from ..data import ArrayDataset, DataLoader

LAYOUT = "NHWC"  # the faster one for this network


def train(
    model: nn.Module,
    training: ArrayDataset,
    validation: ArrayDataset,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    seed: int,
    threads: int,
) -> tuple[float, float]:
    """Train the same network from the same values on batches of the same order: (validation accuracy, seconds).

    The rate falls from lr to 0 along half a cosine. The seconds are those of the epochs, as `dlfast.train.fit` counts
    them: without validation, with the running accuracy.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    net = Twin(model, training.arrays[0][:1], LAYOUT).net
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    batches, seconds = DataLoader(training, batch_size, shuffle=True), 0.0
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
    for _ in range(epochs):
        start, right = time.perf_counter(), 0.0
        for x, y in batches:
            right += _update(net, optimizer, _images(x), torch.from_numpy(y))
            schedule.step()
        seconds += time.perf_counter() - start
    return _accuracy(net, validation), seconds


def _update(net: torch.nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    outputs = net(x)
    loss = torch.nn.functional.cross_entropy(outputs, y)
    loss.item()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return _right(outputs, y)


def _accuracy(net: torch.nn.Module, data: ArrayDataset) -> float:
    net.eval()
    with torch.inference_mode():
        right = [_right(net(_images(x)), torch.from_numpy(y)) for x, y in DataLoader(data, 256)]
    return sum(right) / len(data)


def _right(outputs: torch.Tensor, y: torch.Tensor) -> float:
    return (outputs.argmax(1) == y).sum().item()


def _images(x: np.ndarray) -> torch.Tensor:
    """Images (N, H, W, C) as PyTorch's (N, C, H, W), channels last in memory: no copy."""
    return torch.from_numpy(x).permute(0, 3, 1, 2)
