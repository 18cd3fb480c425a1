"""How a run of `dlfast train` updates: the optimizer and the schedule of its learning rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .. import nn, optim
from ..optim import lr_scheduler
from ..optim.lr_scheduler.cycles import half_cosine
from .options import Options

_CLASSES = {
    "sgd": "SGD", "rmsprop": "RMSprop", "adagrad": "Adagrad", "adam": "Adam", "adamw": "AdamW", "nadam": "NAdam",
    "radam": "RAdam", "lion": "Lion",
}  # fmt: skip


@dataclass(frozen=True)
class Updates:
    """The optimizer, and the options of `fit` about the scheduler of its rate."""

    optimizer: optim.Optimizer
    fit: dict[str, Any] = field(default_factory=dict)


def plan(options: Options, model: nn.Module, batches: int) -> Updates:
    """What the options ask for; `batches` is the number of updates of an epoch.

    cosine falls over all updates from lr to 0, the warm-up being a second limit, min(lr t / warmup, cosine); where a
    run is resumed with more epochs, over all of those. warmup-cosine rises first and falls over the rest. The others go
    by epochs, one-cycle by updates, and rise first where there is a warm-up.
    """
    optimizer = _optimizer(options, model)
    total = options.epochs * batches
    warmup = round(options.warmup * (1 if options.warmup >= 1 else total))
    if options.schedule == "plateau":
        scheduler: Any = lr_scheduler.ReduceLROnPlateau(optimizer, factor=options.gamma or 0.1, patience=3)
        return Updates(optimizer, fit={"scheduler": scheduler})
    scheduler = _by_updates(options, optimizer, batches, warmup)
    return Updates(optimizer, fit={"scheduler": scheduler, "scheduler_step": "batch"})


def _optimizer(options: Options, model: nn.Module) -> optim.Optimizer:
    more: dict[str, Any] = {}
    if options.optimizer in ("sgd", "rmsprop"):
        more["momentum"] = options.momentum or 0.0
    if options.nesterov:
        more["nesterov"] = True
    return getattr(optim, _CLASSES[options.optimizer])(
        model.parameters(),
        lr=options.lr,
        weight_decay=options.weight_decay,
        clip_grad_norm=options.clip_norm or None,
        **more,
    )


def _by_updates(options: Options, optimizer: optim.Optimizer, batches: int, warmup: int) -> lr_scheduler.LRScheduler:
    """A scheduler that is stepped after each update; those of epochs hold their rate for the updates of one."""
    total = options.epochs * batches
    if options.schedule == "cosine":
        return lr_scheduler.LambdaLR(optimizer, _cosine(total, warmup))
    if options.schedule == "warmup-cosine":
        return lr_scheduler.CosineWithWarmup(optimizer, total, min(warmup, total - 1))
    if options.schedule == "one-cycle":
        return lr_scheduler.OneCycleLR(optimizer, max_lr=options.lr, total_steps=total)
    if options.schedule == "step":
        size = options.step_size or max(1, -(-options.epochs // 3))
        after: Any = lr_scheduler.StepLR(optimizer, size * batches, options.gamma or 0.1)
    elif options.schedule == "exponential":
        after = lr_scheduler.StepLR(optimizer, batches, options.gamma or 0.95)
    else:
        after = lr_scheduler.ConstantLR(optimizer, 1.0)
    if warmup < 2:
        return after
    rise = lr_scheduler.LinearLR(optimizer, 1 / warmup, total_iters=warmup - 1)
    return lr_scheduler.ChainedScheduler([after, rise], optimizer)


def _cosine(total: int, warmup: int) -> Callable[[int], float]:
    """The share of the rate when t updates are done: half a cosine over all of them, at most (t + 1) / warmup."""

    def share(t: int) -> float:
        fall = half_cosine(t / total)
        return min(fall, (t + 1) / warmup) if t < warmup else fall

    return share
