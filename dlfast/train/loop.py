"""fit: the training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .. import _check as check
from .. import random
from .._devices import find
from ..distributed import Communicator
from ..optim import Optimizer
from .batch import train_batch
from .checking import check_augment, check_callbacks, check_loss, check_model, check_optimizer
from .evaluation import evaluate
from .history import History
from .interrupts import Interrupts
from .means import Means, metrics_by_name
from .mixed import Mixed
from .nonfinite import Before
from .placing import Place, move_run
from .ranks import ranks_of
from .resuming import resume as resume_run
from .run import Run
from .schedule import Schedule
from .sources import Loader, as_loader, batches_after, description
from .update import Update
from .weighting import weighted_loss


def fit(
    model,
    train,
    val=None,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    loss: Callable | None = None,
    optimizer: Optimizer | None = None,
    scheduler=None,
    scheduler_step: str = "epoch",
    metrics=None,
    callbacks=(),
    augment: Callable | None = None,
    class_weight=None,
    regularizers=(),
    accumulate: int = 1,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    progress: bool = True,
    shuffle: bool = True,
    resume=None,
    distributed: bool | Communicator = False,
    sync_batch_norm: bool = False,
    device=None,
    amp: str | None = None,
) -> History:
    """Train ``model`` on ``train`` and give the `History`, with validation after each epoch if there is ``val``.

    train, val       a data set or a pair (x, y) of arrays, PyTorch's TensorDataset too; or batches, with their own size
                     and order: a `DataLoader`, PyTorch's too, or a list of tuples (x, y)
    loss             ``loss(model(x), y)`` -> Tensor, the mean of the batch. A batch whose targets are all ignored
                     (``ignore_index``) counts 0, and nothing is updated
    scheduler        of `optim.lr_scheduler`: its ``step()`` is called after each epoch, or with
                     ``scheduler_step="batch"`` after each update. ReduceLROnPlateau gets val_loss, or train_loss where
                     nothing is validated
    metrics          names or functions as in `evaluate`; None means accuracy where the targets are integers, else none
    callbacks        `Callback` objects, called in their order; ``progress`` puts a `ProgressBar` in front
    augment          ``augment(x)`` -> x, a transform of each training batch (its first input), not of validation
    class_weight     an array (C,), or "balanced" for n / (K n_c): the ``weight`` of cross_entropy or nll_loss, in
                     training and validation
    regularizers     of `optim.regularizers`: ``penalty = r(parameters)`` is added to what is minimised. Every loss
                     that is reported is without it; the column train_penalty has it
    accumulate       k: one update by the gradient of the mean over k batches, as of one batch k times as large; the
                     last batches of an epoch that are fewer give one too
    clip_grad_value, clip_grad_norm    limits of each number of an update's gradient, then of its norm
    resume           a folder that a `Checkpoint` wrote: go on where it was written, in the middle of an epoch too.
                     ``epochs`` counts from the beginning. Give the other arguments as before
    distributed      True: train on all ranks that a launcher such as mpiexec has started (`dlfast.distributed`), or a
                     communicator. ``batch_size`` is that of each rank: an update is that of one batch size times as
                     large, whose rows are shared out. Losses and metrics are those of all ranks; rank 0 alone writes
                     and prints. A run may be resumed with another number of ranks, in the middle of an epoch where size
                     times batch_size is as before. Batches of others are each rank's own
    sync_batch_norm  whether batch normalisation takes its statistics from the rows of all ranks, or of each its own
    device           "cuda" or "cpu": model, loss and optimizer are moved there first, and stay. None: where the model
                     lies. Batches are augmented on the CPU and copied to the device; a run may be resumed on another

    amp              "bfloat16" or "float16": mixed precision on a GPU by `dlfast.amp.autocast`, with float16 by a
                     `GradScaler` too, whose state is kept with the run's; an update that overflows is left out. None:
                     float32

    After `dlfast.manual_seed` every run gives the same bits, whether it was interrupted and resumed or not. Batches of
    others, such as PyTorch's loaders, are passed over up to where the run was: give them in the same order again. That
    goes for a `DataLoader` too whose sampler or data set draws from a generator of its own, which is not saved.

    Ctrl-C ends the training and gives the history of the finished epochs (``history.stopped`` says "interrupted"); the
    update under way is finished first, so the weights are always those after a whole number of updates.
    Raises NonFiniteLoss, before anything is updated, where a batch has a NaN or infinite loss or gradient: the batch is
    run again layer by layer, and the error names the first one that gave such numbers; ValueError and TypeError for
    arguments that do not fit.
    """
    check_model("fit", model)
    epochs = check.integer("fit", "epochs", epochs, least=1)
    batch_size = check.integer("fit", "batch_size", batch_size, least=1)
    ranks = ranks_of("fit", distributed, device, sync_batch_norm)
    loader = ranks.share(as_loader("train", train, batch_size, shuffle=shuffle))
    val_loader = None if val is None else as_loader("val", val, max(batch_size, 256))
    loss = weighted_loss(check_loss("fit", loss), class_weight, loader)
    measures = metrics_by_name(metrics, loader)
    optimizer = check_optimizer("fit", model, optimizer)
    schedule = Schedule(scheduler, scheduler_step, optimizer)
    mixed = Mixed(amp)
    mixed.check_place(Place(model).device if device is None else find(device))
    update = Update(optimizer, accumulate, clip_grad_norm, clip_grad_value, regularizers, ranks, mixed.scaler)
    callbacks = check_callbacks(callbacks, progress)
    if ranks.comm.rank:
        callbacks = [callback for callback in callbacks if callback.on_every_rank]
    check_augment("fit", augment)
    if device is not None:
        move_run(model, optimizer, device)
    place = Place(model)
    place.take(loss)
    run = Run(
        model,
        optimizer,
        loss,
        measures,
        callbacks,
        epochs,
        description(loader),
        schedule,
        update,
        Before(model),
        place,
        augment,
        ranks=ranks,
        mixed=mixed,
    )
    ranks.begin(run)
    if resume is not None:
        resume_run(resume, run)
    with _training(run), update.clipping(), Interrupts(ranks.comm.size > 1) as interrupts:
        _train(run, loader, val_loader, interrupts)
    run.history.stopped = run.stop
    return run.history


@contextmanager
def _training(run: Run) -> Iterator[None]:
    """Training mode; at the end each module is in the mode it was in, and callbacks are closed."""
    modes = [(module, module.training) for module in run.model.modules()]
    if not run.model.training:  # else a part may be in evaluation mode on purpose
        run.model.train()
    try:
        yield
    finally:
        run.ranks.end()
        for module, training in modes:
            module.training = training
        for callback in run.callbacks:
            callback.close()


def _train(run: Run, loader: Loader, val_loader: Loader | None, interrupts: Interrupts) -> None:
    try:
        state = random.get_state()
        run.tell("on_train_begin")
        if run.resumed:  # it goes on from its random state, whatever callbacks have drawn
            random.set_state(state)
        run.stop = run.ranks.first_stop(run.stop)
        while len(run.history) < run.epochs and run.stop is None:
            run.epoch = len(run.history) + 1
            batches = _batches(run, loader)
            if run.augment is None:
                batches = run.place.batches(loader, batches)
            _train_epoch(run, batches, interrupts)
            validation = {}
            run.ranks.before_validation()
            if val_loader is not None:
                metrics, comm = run.metrics.values(), run.ranks.comm
                with run.mixed.casting():
                    validation = evaluate(run.model, val_loader, loss=run.loss, metrics=metrics, distributed=comm)
            with interrupts.held():
                run.order = None
                run.ranks.sum_metrics(run)
                run.history.epochs.append(run.ranks.of_first(_record(run, validation)))
                run.tell("on_epoch_end")
                run.schedule.after_epoch(run.history.epochs[-1])
                run.tell("after_epoch")
                run.stop = run.ranks.first_stop(run.stop)
    except KeyboardInterrupt:
        run.stop = "interrupted"
    with interrupts.held():
        run.tell("on_train_end")


def _batches(run: Run, loader: Loader) -> Iterator[tuple]:
    """The batches of a new epoch, or those that a resumed one still has: they are in the order drawn at its beginning,
    and random numbers go on from where the run was.
    """
    if run.order is None:
        run.batch, run.means, run.seconds = 0, Means(run.metrics), 0.0
        run.tell("on_epoch_begin")
        run.order, run.seed = random.get_state(), random.peek64()
        return iter(loader)
    state = random.get_state()
    run.tell("on_epoch_begin")
    random.set_state(run.order)
    run.seed = random.peek64()
    batches = batches_after(loader, run.batch)
    random.set_state(state)
    return batches


def _train_epoch(run: Run, batches: Iterator[tuple], interrupts: Interrupts) -> None:
    start = time.perf_counter() - run.seconds
    run.update.begin()
    for *inputs, targets in batches:
        run.batch += 1
        train_batch(run, inputs, targets, interrupts)
        run.seconds = time.perf_counter() - start


def _record(run: Run, validation: dict) -> dict:
    record = {f"train_{name}": value for name, value in run.means.values().items()}
    record |= {f"val_{name}": value for name, value in validation.items()}
    return record | {"seconds": run.seconds, "images_per_second": run.means.count / run.seconds}
