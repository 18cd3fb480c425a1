"""fit: the training loop."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .. import _check as check
from ..nn import Module
from ..optim import Optimizer
from ..tensor import Tensor
from .callbacks import Callback
from .checkpoint import resume as resume_run
from .evaluation import Means, batch_loss, check_loss, check_model, evaluate, measure, metric_functions
from .history import History
from .progress import ProgressBar
from .sources import Loader, as_loader


class NonFiniteLoss(FloatingPointError):
    """The loss became NaN or infinite. ``history`` holds the epochs before."""

    def __init__(self, message: str, history: History):
        super().__init__(message)
        self.history = history


@dataclass
class Run:
    """A training under way, as callbacks see it.

    ``epoch`` and ``batch`` count from 1, ``batches`` is the number of batches in an epoch, ``means`` holds the running
    means of this epoch, ``stop`` is None or the reason to end after this epoch.
    """

    model: Module
    optimizer: Optimizer
    loss: Callable
    metrics: dict[str, Callable]
    callbacks: list[Callback]
    epochs: int
    batches: int
    history: History = field(default_factory=History)
    epoch: int = 0
    batch: int = 0
    means: Means = field(default_factory=Means)
    stop: str | None = None

    def tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)


def fit(
    model,
    train,
    val=None,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    loss: Callable | None = None,
    optimizer: Optimizer | None = None,
    callbacks=(),
    metrics=None,
    progress: bool = True,
    shuffle: bool = True,
    resume=None,
) -> History:
    """Train ``model`` on ``train`` and give the `History`, with validation after each epoch if there is ``val``.

    train, val   a data set or a pair (x, y) of arrays, PyTorch's TensorDataset too; or batches, with their own size and
                 order: a `DataLoader`, PyTorch's too, or a list of tuples (x, y)
    loss         ``loss(model(x), y)`` -> Tensor, the mean of the batch. A batch whose targets are all ignored
                 (``ignore_index``) counts 0, and nothing is updated
    metrics      names or functions as in `evaluate`; None means accuracy where the targets are integers, else none
    callbacks    `Callback` objects, called in their order; ``progress`` puts a `ProgressBar` in front
    resume       a folder that a `Checkpoint` wrote: go on after its last epoch. ``epochs`` counts from the beginning.

    After `dlfast.manual_seed` every run gives the same bits, whether it was interrupted and resumed or not.

    Ctrl-C ends the training and gives the history of the finished epochs (``history.stopped`` says "interrupted"); the
    update under way is finished first, so the weights are always those after a whole number of updates.
    Raises NonFiniteLoss, before anything is updated, where a batch has a NaN or infinite loss; ValueError and TypeError
    for arguments that do not fit.
    """
    check_model("fit", model)
    batch_size = check.integer("fit", "batch_size", batch_size, least=1)
    loader = as_loader("train", train, batch_size, shuffle=shuffle)
    val_loader = None if val is None else as_loader("val", val, max(batch_size, 256))
    loss = check_loss("fit", loss)
    functions = metric_functions(metrics, loader)
    callbacks = list(callbacks)
    if progress and not any(isinstance(callback, ProgressBar) for callback in callbacks):
        callbacks.insert(0, ProgressBar())
    optimizer = _check(model, optimizer, epochs, callbacks)
    run = Run(model, optimizer, loss, functions, callbacks, epochs, len(loader))
    if resume is not None:
        resume_run(resume, run)
    modes = [(module, module.training) for module in model.modules()]
    if not model.training:  # else a part may be in evaluation mode on purpose
        model.train()
    try:
        with _Interrupts() as interrupts:
            _train(run, loader, val_loader, interrupts)
    finally:
        for module, training in modes:
            module.training = training
        for callback in callbacks:
            callback.close()
    run.history.stopped = run.stop
    return run.history


def _check(model, optimizer, epochs: int, callbacks: list) -> Optimizer:
    """The optimizer, when it and the other arguments fit."""
    check.integer("fit", "epochs", epochs, least=1)
    if optimizer is None:
        raise TypeError("fit: optimizer is missing: optimizer=optim.Adam(model.parameters(), lr=1e-3) for example")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"fit: optimizer must be made, as in optim.Adam(model.parameters()), got {optimizer!r}")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(p) in held for p in model.parameters()):
        raise ValueError("fit: the optimizer holds no parameter of this model; make it from model.parameters()")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"fit: callbacks must be Callback objects, got {callback!r}")
    return optimizer


def _train(run: Run, loader: Loader, val_loader: Loader | None, interrupts: _Interrupts) -> None:
    try:
        run.tell("on_train_begin")
        while len(run.history) < run.epochs and run.stop is None:
            run.epoch, run.batch, run.means = len(run.history) + 1, 0, Means()
            run.tell("on_epoch_begin")
            seconds = _train_epoch(run, loader, interrupts)
            validation = {}
            if val_loader is not None:
                validation = evaluate(run.model, val_loader, loss=run.loss, metrics=run.metrics.values())
            with interrupts.held():
                run.history.epochs.append(_record(run.means, validation, seconds))
                run.tell("on_epoch_end")
                run.tell("after_epoch")
    except KeyboardInterrupt:
        run.stop = "interrupted"
    with interrupts.held():
        run.tell("on_train_end")


def _train_epoch(run: Run, loader: Loader, interrupts: _Interrupts) -> float:
    """Every batch once; returns the seconds it took."""
    start = time.perf_counter()
    for run.batch, (*inputs, targets) in enumerate(loader, start=1):
        outputs = run.model(*inputs)
        loss, weight, counts = batch_loss("fit", run.loss, outputs, targets)
        value = loss.item()
        if weight:  # else every target is ignored: the mean of nothing is NaN, and there is nothing to learn
            _update(run, loss, value, interrupts)
        run.means.add(len(targets), {"loss": (value, weight)} | measure(run.metrics, outputs, targets, counts))
        run.tell("on_batch_end")
    return time.perf_counter() - start


def _update(run: Run, loss: Tensor, value: float, interrupts: _Interrupts) -> None:
    if not math.isfinite(value):
        raise NonFiniteLoss(
            f"fit: the loss of batch {run.batch} in epoch {run.epoch} is {value}; the weights are those before "
            "this batch. Look for NaN in the data, try a smaller learning rate, or clip the gradients",
            run.history,
        )
    run.optimizer.zero_grad()
    loss.backward()
    with interrupts.held():
        run.optimizer.step()


def _record(means: Means, validation: dict, seconds: float) -> dict:
    record = {f"train_{name}": value for name, value in means.values().items()}
    record |= {f"val_{name}": value for name, value in validation.items()}
    return record | {"seconds": seconds, "images_per_second": means.count / seconds}


class _Interrupts:
    """Ctrl-C while weights, history or files change waits until they are whole.

    Only in the main thread, where signals arrive, and only where Python's own handler is in place.
    """

    def __init__(self):
        self._holding = self._waiting = False

    def __enter__(self) -> _Interrupts:
        main = threading.current_thread() is threading.main_thread()
        self._installed = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number, frame) -> None:
        if not self._holding:
            raise KeyboardInterrupt
        self._waiting = True

    @contextmanager
    def held(self) -> Iterator[None]:
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._waiting:
            self._waiting = False
            raise KeyboardInterrupt
