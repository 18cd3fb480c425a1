"""What `dlfast train`, `evaluate` and `predict` read: data sets of images, sequences, tables and series.

A part is a data set of inputs and targets, as `dlfast.data` has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data import ArrayDataset, DataLoader, ImageFolder, fetch, load, read_csv, read_npz, split
from ..data.archives import open_npz
from ..data.tables import TableFormat
from .forecast import WIDTH, series
from .options import SERIES, Options

EMBEDDED = {"digits": 360, "mnist10k": 2000}  # rows at the end of the file that are held out
FETCHED = ("mnist", "fashion-mnist", "cifar10")
NAMES = (*EMBEDDED, "gospels", "series", *FETCHED)
FILES = (".npz", ".csv", ".tsv")
_HELD_OUT = 0.2
_TRAINING, _TEST = ("train", "training"), ("test", "val", "valid", "validation")  # folders

_CLOTHES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
_THINGS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CLASSES = {"fashion-mnist": _CLOTHES, "cifar10": _THINGS}


@dataclass(frozen=True)
class Source:
    """A part to learn from and one held out. classes: their names, where labels are their numbers."""

    training: Any
    validation: Any
    classes: Sequence[str] = field(default_factory=list)
    table: TableFormat | None = None
    series: str = ""


def kind_of(data: str) -> str | None:
    """text, series or rows; None for a file of which its name does not tell."""
    if data == "series":
        return "series"
    path = Path(data)
    if data == "gospels" or path.suffix in (".txt", ".md"):
        return "text"
    return "rows" if data in NAMES or path.suffix in FILES or path.is_dir() else None


def read(options: Options) -> Source:
    """The data that the options name, split. Raises FileNotFoundError, OSError and ValueError, which name it."""
    name = options.data
    if options.path is not None and name not in FETCHED:
        raise ValueError(f"--path says where {', '.join(FETCHED)} lie; for other data give --data")
    if name == "series":
        return _series(options)
    if name in EMBEDDED:
        rows = load(name)
        return Source(*rows.split(len(rows) - _held(options, len(rows), EMBEDDED[name])))
    if name in FETCHED:
        training, test = fetch(name, options.path)
        classes = CLASSES.get(name, [])
        return Source(training, test, classes) if options.val_fraction is None else _split(options, training, classes)
    return _file(options, Path(name))


def _file(options: Options, path: Path) -> Source:
    if not path.exists():
        raise FileNotFoundError(f"--data {path}: there is no such file or folder; known names are {', '.join(NAMES)}")
    if path.is_dir():
        return _folder(options, path)
    if path.suffix == ".npz":
        parts = npz_parts(path)
        if parts and options.val_fraction is None:
            return Source(read_npz(path, "train"), read_npz(path, parts[0]))
        return _split(options, read_npz(path, "train" if parts else None))
    if path.suffix in FILES:
        target = options.target
        number = target is not None and target.lstrip("-").isdigit()
        table = read_csv(path, int(target) if number else target, missing="mean", drop=options.drop or ())
        return _split(options, table, table.classes, table.format)
    raise ValueError(f"--data {path}: expected a folder, a file that ends in {', '.join(FILES)}, or {', '.join(NAMES)}")


def npz_parts(path: Path) -> list[str]:
    """The parts that are held out, test first, of a file that has x_train as well."""
    with open_npz("--data", path) as archive:
        names = {name.rpartition("_")[2] for name in archive.files}
    return [part for part in ("test", "val") if part in names and "train" in names]


def _folder(options: Options, path: Path) -> Source:
    """Folders train and test (or val) of classes, or classes alone."""
    parts = {f.name for f in path.iterdir() if f.is_dir()}
    trains, tests = ([name for name in names if name in parts] for names in (_TRAINING, _TEST))
    if not (trains and tests):
        folder = ImageFolder(path, options.image_size, grey=bool(options.grey))
        return _split(options, folder, folder.classes)
    training, test = (
        ImageFolder(path / name, options.image_size, grey=bool(options.grey)) for name in (trains[0], tests[0])
    )
    if training.classes != test.classes:
        raise ValueError(f"--data {path}: {trains[0]} has the classes {training.classes}, {tests[0]} {test.classes}")
    return Source(training, test, training.classes)


def _split(options: Options, rows: Any, classes: Sequence[str] = (), table: TableFormat | None = None) -> Source:
    """Rows to learn from and a share held out, drawn by the seed, of each class the same share; both in file order."""
    is_table = getattr(rows, "targets", None) is None
    labels = rows.arrays[-1] if is_table else rows.targets
    count = len(rows) - _held(options, len(rows), round(len(rows) * _HELD_OUT))
    draw = np.random.default_rng([options.seed, 1])
    training, validation = split(rows, count, shuffle=True, stratify=is_classes(labels), generator=draw)
    return Source(training, validation, classes, table)


def _held(options: Options, rows: int, usual: int) -> int:
    """How many rows are held out. Raises ValueError where nothing would be left of either part."""
    held = usual if options.val_fraction is None else round(rows * options.val_fraction)
    if not 0 < held < rows:
        share = "a fifth" if options.val_fraction is None else f"--val-fraction {options.val_fraction}"
        raise ValueError(f"--data {options.data} has {rows} rows, too few to hold {share} of them out")
    return held


def is_classes(y: np.ndarray) -> bool:
    """Whether targets are classes, whole numbers, and not numbers to tell."""
    return y.dtype.kind in "biu" and y.size == len(y)


def _series(options: Options) -> Source:
    """Windows of a series and the values that follow them; its last fifth is held out."""
    name = options.target or SERIES[0]
    if name not in SERIES:
        raise ValueError(f"--target {name}: the series are {', '.join(SERIES)}")
    rows = windows(name)
    held = round((len(rows) + WIDTH[name]) * _HELD_OUT)  # of the values, as `dlfast forecast` does
    return Source(*rows.split(len(rows) - _held(options, len(rows), held)), series=name)


def windows(name: str) -> ArrayDataset:
    """All windows of a series and the value behind each."""
    width, (_, values) = WIDTH[name], series(name)
    x = np.lib.stride_tricks.sliding_window_view(values[:-1], width)[..., None]
    return ArrayDataset(np.ascontiguousarray(x), values[width:, None])


def row_shape(part: Any) -> tuple[int, ...]:
    """The shape of an input."""
    return tuple(DataLoader(part).peek()[0].shape[1:])
