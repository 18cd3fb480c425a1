"""What `dlfast evaluate` and `dlfast predict` do with a trained model."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from .. import functional as F
from .. import nn, train
from .._files import write_atomically, write_text
from ..data import ArrayDataset, DataLoader
from ..inspect import ConfusionMatrix, confusion_matrix
from . import examples, networks, preprocessing, reading, text
from .config import Config, Facts

_MOST_CLASSES = 30  # in a confusion matrix that is printed
_SHOWN = 20  # rows


@dataclass(frozen=True)
class Evaluation:
    """figures: what was measured, by name; confusion: of classes."""

    what: str
    rows: int
    figures: dict[str, float]
    confusion: ConfusionMatrix | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        found: dict[str, Any] = {"data": self.what, "rows": self.rows, **self.figures}
        if self.confusion is not None:
            names = ("precision", "recall", "f1", "count")
            found["classes"] = {name: dict(zip(names, scores)) for name, *scores in self.by_class()}
            found["confusion_matrix"] = self.confusion.counts.tolist()
        return found

    def by_class(self) -> list[tuple[str, float, float, float, int]]:
        """(name, precision, recall, F1, count) of each class; a score is 0 where nothing makes it up."""
        assert self.confusion is not None
        counts = self.confusion.counts
        right, taken, actual = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
        scores = right / np.maximum(1, taken), right / np.maximum(1, actual), 2 * right / np.maximum(1, taken + actual)
        return list(zip(self.confusion.classes, *(score.tolist() for score in scores), actual.tolist()))


def evaluate(found: Config, model: nn.Module, data: str | None, path: str | None) -> Evaluation:
    """Measure a model on what its run held out, or on other data. Raises ValueError for data that fits not."""
    facts, options = found.facts, found.options
    assert facts is not None
    what = f"what {options.data} held out" if data is None else data
    if facts.kind == "text":
        rows = text.held_out(options, facts, data)
        figures = train.evaluate(model, rows, loss=F.cross_entropy, metrics=["accuracy"])
        figures["perplexity"] = float(np.exp(figures["loss"]))
        return Evaluation(what, len(rows.dataset), figures)
    part = reading.with_targets(replace(options, path=path or options.path), facts, data)
    rows = examples.loader(preprocessing.prepared(facts, part))
    plain = replace(options, label_smoothing=0.0)
    if facts.classes:
        figures = train.evaluate(model, rows, loss=examples.loss_of(plain, facts))
        return Evaluation(what, len(part), figures, confusion_matrix(model, rows, facts.classes))
    return Evaluation(what, len(part), _errors(facts, model, rows))


def _errors(facts: Facts, model: nn.Module, rows: DataLoader) -> dict[str, float]:
    """Mean absolute error, root of the mean square error and R^2, in the units of the data."""
    outputs = preprocessing.in_units(facts, train.predict(model, rows))
    wanted = preprocessing.in_units(facts, np.concatenate([batch[-1] for batch in rows]))
    mse = train.metrics.mse(outputs, wanted)
    figures = {"mae": train.metrics.mae(outputs, wanted), "rmse": mse**0.5, "r2": train.metrics.r2(outputs, wanted)}
    return {name: float(value) for name, value in figures.items()}


def report(console: Console, evaluation: Evaluation) -> None:
    """Tables: the figures, the scores of each class, and the confusion matrix of not too many."""
    console.print(f"{evaluation.rows:,} rows, {evaluation.what}", soft_wrap=True)
    for name, value in evaluation.figures.items():
        console.print(f"{name.replace('_', ' ')} {value:.4f}")
    if evaluation.confusion is None:
        return
    table = Table("class")
    for name in ("precision", "recall", "F1", "rows"):
        table.add_column(name, justify="right")
    for name, precision, recall, f1, count in evaluation.by_class():
        table.add_row(name, f"{precision:.4f}", f"{recall:.4f}", f"{f1:.4f}", str(count))
    console.print(table)
    if len(evaluation.confusion.classes) <= _MOST_CLASSES:
        console.print(evaluation.confusion)


@dataclass(frozen=True)
class Predictions:
    """Of each row its name, the class or the numbers that are told, and the probabilities of all classes."""

    facts: Facts
    names: Sequence[str]
    outputs: np.ndarray
    probabilities: np.ndarray | None

    @property
    def classes(self) -> list[str]:
        assert self.probabilities is not None
        return [self.facts.classes[code] for code in self.probabilities.argmax(axis=1).tolist()]

    def columns(self) -> dict[str, list]:
        """As a table has them, by name."""
        if self.probabilities is None:
            numbers = [self._target(i) for i in range(self.outputs.shape[1])]
            return {"row": list(self.names), **dict(zip(numbers, self.outputs.T.tolist()))}
        shares = dict(zip((f"p({name})" for name in self.facts.classes), self.probabilities.T.tolist()))
        return {"row": list(self.names), "class": self.classes, **shares}

    def _target(self, i: int) -> str:
        name = self.facts.table.get("target") or self.facts.series or "y"
        return name if self.outputs.shape[1] == 1 else f"{name}_{i}"

    def as_rows(self) -> list[dict[str, Any]]:
        """As JSON has them."""
        columns = self.columns()
        return [dict(zip(columns, values)) for values in zip(*columns.values())]


def predict(found: Config, model: nn.Module, data: str | None, path: str | None) -> Predictions:
    """What a model says of what its run held out, or of other data, which needs no targets."""
    facts, options = found.facts, found.options
    assert facts is not None
    if facts.kind == "text":
        writers = ", ".join(networks.LANGUAGE)
        raise ValueError(f"predict is for images and rows; text by {writers} is written by `dlfast generate`")
    names, x = reading.without_targets(replace(options, path=path or options.path), facts, data)
    outputs = train.predict(model, ArrayDataset(preprocessing.inputs(facts, x)))
    if not facts.classes:
        return Predictions(facts, names, preprocessing.in_units(facts, outputs), None)
    if options.model == "perceptron":
        shares = outputs / np.maximum(outputs.sum(axis=1, keepdims=True), 1e-12)
    else:
        shares = F.softmax(outputs, axis=-1).numpy()
    return Predictions(facts, names, outputs, shares)


def show(console: Console, predictions: Predictions) -> None:
    """The first rows: a class with its probability, or the numbers that are told."""
    table = Table("row")
    shares = predictions.probabilities
    columns = predictions.columns()
    told = ["class", "probability"] if shares is not None else [name for name in columns if name != "row"]
    for name in told:
        table.add_column(name, justify="right")
    for i, name in enumerate(predictions.names[:_SHOWN]):
        if shares is not None:
            table.add_row(name, columns["class"][i], f"{shares[i].max():.4f}")
        else:
            table.add_row(name, *(f"{value:.6g}" for value in predictions.outputs[i]))
    console.print(table)
    if (rest := len(predictions.names) - _SHOWN) > 0:
        console.print(f"and {rest:,} more: --out FILE.csv keeps all")


def write_json(file: str, content: Any) -> None:
    """Into a file, or with "-" to the terminal."""
    words = json.dumps(content, indent=1)
    if file == "-":
        click.echo(words)
    else:
        write_text(file, words + "\n")


def write_predictions(path: Path, predictions: Predictions) -> None:
    """All rows into a .csv, .npz or .json file."""
    columns = predictions.columns()
    if path.suffix == ".csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
        write_text(path, stream.getvalue())
    elif path.suffix == ".json":
        write_text(path, json.dumps(predictions.as_rows(), indent=1) + "\n")
    else:
        write_atomically(path, lambda temporary: _write_npz(temporary, predictions))


def _write_npz(path: Path, predictions: Predictions) -> None:
    arrays: dict[str, Any] = {"row": np.array(predictions.names), "outputs": predictions.outputs}
    if predictions.probabilities is not None:
        arrays |= {
            "classes": np.array(predictions.facts.classes),
            "probabilities": predictions.probabilities,
            "labels": predictions.probabilities.argmax(axis=1),
        }
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
