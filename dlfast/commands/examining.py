"""What `dlfast doctor` does with a run of `dlfast train`: its model, data and history, examined."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import train
from ..data import DataLoader
from ..inspect import Diagnosis, doctor, write_report
from . import examples, networks, preprocessing, reading, run, text, updates
from .config import Config
from .run import Work


def examine(checkpoint: Path, data: str | None, path: str | None, page: Path | None) -> Diagnosis:
    """Examine the run of a folder, or of a file in it, and write a page about it if one is named.

    data: what the model is judged on in place of what the run held out. Raises FileNotFoundError and ValueError.
    """
    found, model = run.load_model(checkpoint)
    if path is not None:
        found = replace(found, options=replace(found.options, path=path))
    work = _work(found)
    steady = replace(found.options, schedule="constant", warmup=0)  # the rate that was set, wherever a schedule ended
    given: dict[str, Any] = {
        "history": read_history(run.checkpoint_of(checkpoint)[0] / "history.csv"),
        "loss": work.loss,
        "optimizer": updates.plan(steady, model, len(work.training)).optimizer,
        "val": work.validation if data is None else _judged(found, data),
    }
    if page is None:
        return doctor(model, work.training, **given)
    classes = list(work.facts.classes) or list(work.facts.vocabulary) or None
    title = f"{found.options.model} on {found.options.data}"
    return write_report(page, model, work.training, classes=classes, title=title, **given)


def _work(found: Config) -> Work:
    """What was trained, its data read again."""
    options = networks.complete(found.options)
    if options.model in networks.LANGUAGE:
        return text.work(text.complete(options))
    return examples.work(options)


def _judged(found: Config, data: str) -> DataLoader:
    """Other data, read as the training's was."""
    assert found.facts is not None
    if found.facts.kind == "text":
        return text.held_out(found.options, found.facts, data)
    part = reading.with_targets(found.options, found.facts, data)
    return examples.loader(preprocessing.prepared(found.facts, part))


def read_history(path: Path) -> train.History | None:
    """The history that `train.CSVLogger` wrote, None where there is no such file. ValueError for another file."""
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return train.History(
                {name: float(value) for name, value in row.items() if name != "epoch"} for row in csv.DictReader(lines)
            )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not what `dlfast train` writes: {error}") from error
