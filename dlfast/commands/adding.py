"""What `dlfast remember` does: the adding problem, which an LSTM learns over 100 steps and a plain RNN does not.

A sequence is of pairs (number in 0..1, mark); two of its numbers are marked, one in each half, and the answer is their
sum. Whoever answers 1 every time has a mean square error of 1/6. To do better a network has to carry the first number
over up to 100 steps, and while it learns, the gradient back over them: through a plain RNN it vanishes.
Source: Hochreiter and Schmidhuber 1997, "Long short-term memory", section 5.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console

from .. import functional as F
from .. import models, optim
from ..random import manual_seed
from ..tensor import Tensor, no_grad

BASELINE = 1 / 6
SOLVED = BASELINE / 20  # where training ends
UPDATES = 2000  # at most
LAYERS: dict[str, dict[str, Any]] = {"LSTM": {"forget_bias": 3.0}, "RNN": {}}
_HIDDEN, _BATCH, _LR, _NORM = 32, 50, 5e-3, 1.0
_EVERY, _TESTED = 100, 1000


def problem(draw: np.random.Generator, steps: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """So many sequences x (count, steps, 2) and their sums y (count, 1), float32; steps is 2 at least."""
    x = np.zeros((count, steps, 2), np.float32)
    x[:, :, 0] = draw.random((count, steps), np.float32)
    for low, high in ((0, steps // 2), (steps // 2, steps)):
        x[np.arange(count), draw.integers(low, high, count), 1] = 1
    return x, (x[:, :, 0] * x[:, :, 1]).sum(axis=1, keepdims=True)


def learn(
    kind: str, steps: int = 100, updates: int = UPDATES, seed: int = 0, device: str = "cpu"
) -> Iterator[tuple[int, float]]:
    """Train a network of that layer; (updates, mean square error on new sequences) after each hundred, until solved.

    The same seed gives the same bits.
    """
    manual_seed(seed)
    draw = np.random.default_rng(seed)
    model = models.sequence_net(2, 1, kind=kind, hidden_size=_HIDDEN, **LAYERS[kind]).to(device)
    optimizer = optim.Adam(model.parameters(), lr=_LR, clip_grad_norm=_NORM)
    new = _tensors(problem(np.random.default_rng([seed, 1]), steps, _TESTED), device)
    for update in range(1, updates + 1):
        x, y = _tensors(problem(draw, steps, _BATCH), device)
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % _EVERY == 0 or update == updates:
            with no_grad():
                error = F.mse_loss(model(new[0]), new[1]).item()
            yield update, error
            if error < SOLVED:
                return


def _tensors(arrays: tuple[np.ndarray, ...], device: str) -> list[Tensor]:
    return [Tensor(array).to(device) for array in arrays]


def show(console: Console, steps: int, updates: int, seed: int, device: str = "cpu") -> None:
    """Train the LSTM, then the RNN, and print a line for each."""
    console.print(
        f"Adding two of {steps} numbers; answering 1 every time has an error of {BASELINE:.4f}.", soft_wrap=True
    )
    for kind in LAYERS:
        with console.status(kind) as status:
            for update, error in learn(kind, steps, updates, seed, device):
                status.update(f"{kind}: error {error:.4f} after {update} updates")
        console.print(
            f"{kind}: error {error:.4f} after {update} updates, {error / BASELINE:.0%} of that", soft_wrap=True
        )
