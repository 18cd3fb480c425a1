"""Run: a training under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..nn import Module
from ..optim import Optimizer
from .callbacks import Callback
from .history import History
from .means import Means
from .metrics import Metric
from .mixed import Mixed
from .nonfinite import Before
from .placing import Place
from .ranks import Alone
from .schedule import Schedule
from .update import Update


@dataclass
class Run:
    """A training under way, as callbacks see it.

    ``epoch`` and ``batch`` count from 1, ``batches`` is the number of batches in an epoch, ``steps`` that of the
    updates so far, ``means`` holds the running means of this epoch, ``seconds`` its time, ``resumed`` says whether the
    run was, ``stop`` is None or the reason to end after this epoch. ``order`` is the random state that the order of
    this epoch's batches was drawn from, None between epochs; ``data`` describes the batches, ``before`` is what a batch
    that fails is undone by, ``place`` where the model computes, ``mixed`` the precision that it computes in.
    """

    model: Module
    optimizer: Optimizer
    loss: Callable
    metrics: dict[str, Metric]
    callbacks: list[Callback]
    epochs: int
    data: dict[str, Any]
    schedule: Schedule
    update: Update
    before: Before
    place: Place
    augment: Callable | None = None
    history: History = field(default_factory=History)
    epoch: int = 0
    batch: int = 0
    steps: int = 0
    means: Means = field(default_factory=Means)
    seconds: float = 0.0
    order: dict | None = None
    resumed: bool = False
    ranks: Alone = field(default_factory=Alone)
    seed: int = 0
    stop: str | None = None
    mixed: Mixed = field(default_factory=Mixed)

    @property
    def batches(self) -> int:
        return self.data["batches"]

    def tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)
