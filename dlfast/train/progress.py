"""ProgressBar: a bar while an epoch runs and one line when it is done."""

from __future__ import annotations

import time
from typing import Any

from .callbacks import Callback

_REFRESH_SECONDS = 0.2  # drawing costs milliseconds of the training thread


class ProgressBar(Callback):
    """Show the epoch under way with its loss, metrics and speed, and print a line for each finished one.

    Where the output is no terminal only the lines are printed. ``console`` is a `rich.console.Console`. The speed is
    given in ``unit``, of which a row of the data holds ``per_row``: for windows of text, characters.
    """

    on_every_rank = False

    def __init__(self, console=None, *, unit: str = "images", per_row: int = 1):
        self._console = console
        self._unit, self._per_row = unit, per_row
        self._bar: Any = None

    def on_train_begin(self, run) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = self._console or Console(highlight=False)
        # No refreshing thread: it would take the interpreter away from training.
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[measured]}"),
            console=self._console,
            auto_refresh=False,
            transient=True,
            disable=not (self._console.is_terminal or self._console.is_jupyter),
        )
        self._bar.start()
        self._task = self._bar.add_task("", measured="")

    def on_epoch_begin(self, run) -> None:
        self._bar.reset(
            self._task, total=run.batches, completed=run.batch, description=_title(run.epoch, run), measured=""
        )
        self._bar.refresh()
        self._drawn = time.perf_counter()
        self._began = self._drawn - run.seconds

    def on_batch_end(self, run) -> None:
        now = time.perf_counter()
        if now - self._drawn < _REFRESH_SECONDS:
            return
        self._drawn = now
        rate = run.means.count / (now - self._began)
        measured = f"{_numbers(run.means.values())}  {self._speed(rate)}"
        self._bar.update(self._task, completed=run.batch, measured=measured)
        self._bar.refresh()

    def on_epoch_end(self, run) -> None:
        record = dict(run.history.epochs[-1])
        rate = record.pop("images_per_second")
        seconds = record.pop("seconds")
        numbers = _numbers({name.removeprefix("train_"): value for name, value in record.items()})
        line = f"{_title(len(run.history), run)}  {numbers}  {seconds:.1f} s, {self._speed(rate)}"
        self._console.print(line, soft_wrap=True)

    def _speed(self, rows: float) -> str:
        return f"{rows * self._per_row:,.0f} {self._unit}/s"

    def on_train_end(self, run) -> None:
        if run.stop and self._console is not None:
            self.close()
            self._console.print(f"stopped after {len(run.history)} epochs: {run.stop}")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _title(epoch: int, run) -> str:
    return f"epoch {epoch:>{len(str(run.epochs))}}/{run.epochs}"


def _numbers(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:{'.3g' if name.startswith('lr') else '.4f'}}" for name, value in values.items())
