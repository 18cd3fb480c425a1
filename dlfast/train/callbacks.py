"""Callbacks: what happens beside the training loop."""

from __future__ import annotations

import csv
import io

from .. import _check as check
from .._files import check_writable, write_text
from .monitor import Best


class Callback:
    """Base class; `fit` calls these methods with its `Run` (model, optimizer, history, epoch, batch, means, ...).

    A callback stops the training by setting ``run.stop`` to the reason, in words. What it must remember to resume
    exactly, it gives in `state_dict` and takes back in `load_state_dict`: nested dictionaries of arrays and JSON.
    In distributed training it is called on every rank, with the same records; one that writes or prints says
    ``on_every_rank = False`` in its class, and is called on rank 0 alone.
    """

    on_every_rank = True

    def on_train_begin(self, run) -> None:
        """Before the first epoch, after a resumed state is in place."""

    def on_epoch_begin(self, run) -> None:
        """Before the first batch of an epoch; where a run is resumed in the middle of one, ``run.batch`` are done."""

    def on_batch_end(self, run) -> None:
        """After each batch; ``run.means`` has the epoch's running means, ``run.steps`` counts the updates."""

    def after_update(self, run) -> None:
        """After a batch that ended with an update, when `on_batch_end` of every callback and the scheduler are done."""

    def on_epoch_end(self, run) -> None:
        """After validation; ``run.history.epochs[-1]`` is this epoch's record."""

    def after_epoch(self, run) -> None:
        """When `on_epoch_end` of every callback and the scheduler are done: the time to save their states."""

    def on_train_end(self, run) -> None:
        """After the last epoch or an interrupt, but not after an error."""

    def close(self) -> None:
        """At the very end, whatever happened."""

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


class EarlyStopping(Callback):
    """Stop when ``monitor`` has not improved by more than ``min_delta`` for ``patience`` epochs.

    When training ends, for whatever reason but an error, the model gets the weights of its best epoch
    (``restore_best=False`` leaves it the last ones). ``monitor`` is a column of the `History`, val_loss by default, or
    train_loss without validation data. mode: "max" where larger is better, "min" where smaller is; None for columns of
    which that is known: losses and errors, accuracy, auc, f1 and the like. NaN is worse than every number.

    A resumed run is judged anew, by the patience that it is resumed with.
    """

    def __init__(
        self,
        patience: int = 5,
        monitor: str | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
        *,
        mode: str | None = None,
    ):
        self.patience = check.integer("EarlyStopping", "patience", patience, least=1)
        self.restore_best = restore_best
        self._best = Best("EarlyStopping", monitor, mode, min_delta)
        self._waited = 0
        self._weights: dict = {}

    def on_train_begin(self, run) -> None:
        if not run.resumed:
            self._forget()
        self._judge(run)

    def on_epoch_end(self, run) -> None:
        if self._best.improved(run.history.epochs[-1]):
            self._waited = 0
            self._weights = run.model.state_dict()
            return
        self._waited += 1
        self._judge(run)

    def _judge(self, run) -> None:
        if self._waited >= self.patience:
            run.stop = f"no better than {self._best.value:.6g} for {self._waited} epochs"

    def _forget(self) -> None:
        self._best.forget()
        self._waited, self._weights = 0, {}

    def on_train_end(self, run) -> None:
        if self.restore_best and self._weights:
            run.model.load_state_dict(self._weights)

    def state_dict(self) -> dict:
        return {**self._best.state_dict(), "waited": self._waited, "weights": self._weights}

    def load_state_dict(self, state: dict) -> None:
        waited, weights = int(state["waited"]), dict(state["weights"])
        if self._best.load_state_dict(state):
            self._waited, self._weights = waited, weights
        else:  # it watched another column
            self._forget()


class CSVLogger(Callback):
    """Keep a CSV file of the history, one line an epoch, written anew after each, so that it is never half a line."""

    on_every_rank = False

    def __init__(self, path):
        self.path = path

    def on_train_begin(self, run) -> None:
        check_writable(self.path)

    def on_epoch_end(self, run) -> None:
        rows = [{"epoch": number, **record} for number, record in enumerate(run.history.epochs, start=1)]
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())


class LRLogger(Callback):
    """Put the learning rate of an epoch's last update into its record: column ``lr``, or ``lr_0``, ``lr_1``, ... for
    several parameter groups. Callbacks that write the record, such as `CSVLogger`, come after it.
    """

    def __init__(self) -> None:
        self._rates: list[float] = []

    def on_batch_end(self, run) -> None:
        self._rates = learning_rates(run.optimizer)

    def on_epoch_end(self, run) -> None:
        rates = self._rates or learning_rates(run.optimizer)
        names = ["lr"] if len(rates) == 1 else [f"lr_{i}" for i in range(len(rates))]
        run.history.epochs[-1].update(zip(names, rates))

    def state_dict(self) -> dict:
        return {"rates": self._rates}

    def load_state_dict(self, state: dict) -> None:
        self._rates = [float(rate) for rate in state["rates"]]


def learning_rates(optimizer) -> list[float]:
    """The rate of each parameter group."""
    return [float(group["lr"]) for group in optimizer.param_groups]


class LambdaCallback(Callback):
    """Calls functions of one's own: ``LambdaCallback(on_epoch_end=lambda run: print(run.history))``.

    The names are those of `Callback`'s methods, each function is called with the run. Raises TypeError for others.
    """

    def __init__(self, **functions) -> None:
        events = [
            name for name, of_run in vars(Callback).items() if name.startswith(("on_", "after_")) and callable(of_run)
        ]
        for name, function in functions.items():
            if name not in events or not callable(function):
                got = f"{name}={function!r}"
                raise TypeError(f"LambdaCallback: expected functions named {', '.join(events)}, got {got}")
            setattr(self, name, function)


def named(callbacks: list[Callback]) -> list[tuple[str, Callback]]:
    """Each callback under its class's name and its number among those of that class."""
    names = [type(callback).__name__ for callback in callbacks]
    return [(f"{name}.{names[:i].count(name)}", callbacks[i]) for i, name in enumerate(names)]
