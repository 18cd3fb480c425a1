"""What `dlfast train`, `evaluate` and `predict` read: rows of images, sequences, tables and series, with targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..data import fetch, load
from .forecast import WIDTH, series
from .options import SERIES, Options

EMBEDDED = {"digits": 360, "mnist10k": 2000}  # rows at the end of the file that are held out
FETCHED = ("mnist", "fashion-mnist", "cifar10")
_FILES = (".npz",)
NAMES = (*EMBEDDED, "gospels", "series", *FETCHED)
_HELD_OUT = 0.2
_CLOTHES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
_THINGS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CLASSES = {"fashion-mnist": _CLOTHES, "cifar10": _THINGS}
_PAIRS = (
    ("x", "y"),
    ("images", "labels"),
    ("X", "y"),
    ("data", "target"),
    ("inputs", "targets"),
    ("features", "labels"),
)
_PARTS = (("x_train", "y_train", "x_test", "y_test"), ("x_train", "y_train", "x_val", "y_val"))


@dataclass(frozen=True)
class Rows:
    """Inputs (N, ...) and targets (N,) or (N, K) as they were read; y is None where there are none."""

    x: np.ndarray
    y: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Any) -> Rows:
        return Rows(self.x[index], None if self.y is None else self.y[index])


@dataclass(frozen=True)
class Source:
    """Rows to learn from and rows held out; the names of classes where they have such, a table's features and target.

    columns: the features of a table in their order, each with its texts where it holds such.
    """

    training: Rows
    validation: Rows
    classes: list[str] = field(default_factory=list)
    columns: dict[str, list[str]] = field(default_factory=dict)
    target: str = ""
    series: bool = False


def kind_of(data: str) -> str | None:
    """text, series or rows; None for a file of which its name does not tell."""
    if data == "series":
        return "series"
    path = Path(data)
    if data == "gospels" or path.suffix in (".txt", ".md"):
        return "text"
    return "rows" if data in NAMES or path.suffix in _FILES or path.is_dir() else None


def read(options: Options) -> Source:
    """The data that the options name, split. Raises FileNotFoundError, OSError and ValueError, which name it."""
    name = options.data
    if options.path is not None and name not in FETCHED:
        raise ValueError(f"--path says where {', '.join(FETCHED)} lie; for other data give --data")
    if name == "series":
        return _series(options)
    if name in EMBEDDED:
        rows = Rows(*load(name).arrays)
        held = EMBEDDED[name] if options.val_fraction is None else _count(rows, options.val_fraction)
        return Source(rows[:-held], rows[-held:])
    if name in FETCHED:
        return _fetched(options)
    return _file(options)


def _fetched(options: Options) -> Source:
    training, test = (Rows(*part.arrays) for part in fetch(options.data, options.path))
    if options.val_fraction is not None:
        training, test = split(training, options.val_fraction, options.seed)
    return Source(training, test, CLASSES.get(options.data, []))


def _file(options: Options) -> Source:
    path = Path(options.data)
    if not path.exists():
        raise FileNotFoundError(f"--data {path}: there is no such file or folder; known names are {', '.join(NAMES)}")
    if path.suffix == ".npz":
        parts = read_npz(path)
        if len(parts) == 2 and options.val_fraction is None:
            return Source(parts[0], parts[1])
        training, held = split(parts[0], options.val_fraction, options.seed)
        return Source(training, held)
    raise ValueError(f"--data {path}: expected an .npz file or one of {', '.join(NAMES)}")


def read_npz(path: Path, targets: bool = True) -> list[Rows]:
    """The training and the test part of an .npz file, or all of its rows as one part.

    Raises ValueError for names and lengths of arrays that do not fit; without `targets` inputs alone will do.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} is no .npz file of plain arrays: {error}") from error
    for names in _PARTS:
        if all(name in arrays for name in names):
            return [_paired(path, arrays, *names[i : i + 2]) for i in (0, 2)]
    for x, y in _PAIRS:
        if x in arrays and y in arrays:
            return [_paired(path, arrays, x, y)]
    inputs = [x for x, _ in _PAIRS if x in arrays] or (list(arrays) if len(arrays) == 1 else [])
    if not targets and inputs:
        return [Rows(arrays[inputs[0]])]
    wanted = "; ".join(", ".join(names) for names in (*_PARTS, *_PAIRS))
    raise ValueError(f"{path} must have arrays of one of these names: {wanted}; it has {', '.join(arrays)}")


def _paired(path: Path, arrays: dict[str, np.ndarray], x: str, y: str) -> Rows:
    a, b = arrays[x], arrays[y]
    if a.ndim < 2 or a.dtype.kind not in "fiub":
        raise ValueError(f"{path}: {x} must hold rows of numbers, (N, ...), got {a.dtype} {a.shape}")
    if b.ndim == 2 and b.shape[1] == 1:
        b = b[:, 0]
    if b.ndim not in (1, 2) or len(a) != len(b):
        raise ValueError(f"{path}: {y} must have shape ({len(a)},) or ({len(a)}, K) as {x} has rows, got {b.shape}")
    return Rows(a, b)


def _count(rows: Rows, fraction: float) -> int:
    """How many rows a share is. Raises ValueError where nothing would be left of either part."""
    held = round(len(rows) * fraction)
    if not 0 < held < len(rows):
        raise ValueError(f"{len(rows)} rows are too few to hold {fraction} of them out")
    return held


def split(rows: Rows, fraction: float | None, seed: int) -> tuple[Rows, Rows]:
    """Rows to learn from and a share held out, drawn by the seed, of each class the same share; both in file order."""
    fraction, y = _HELD_OUT if fraction is None else fraction, rows.y
    _count(rows, fraction)
    order = np.random.default_rng([seed, 1]).permutation(len(rows))
    parts = [order] if y is None or not is_classes(y) else [order[y[order] == label] for label in np.unique(y)]
    held = np.zeros(len(rows), bool)
    for part in parts:
        held[part[: round(len(part) * fraction)]] = True
    return rows[~held], rows[held]


def is_classes(y: np.ndarray) -> bool:
    """Whether targets are classes, whole numbers or texts, and not numbers to tell."""
    return y.ndim == 1 and y.dtype.kind in "biuUS"


def _series(options: Options) -> Source:
    """Windows of a series and the values that follow them; its last fifth is held out."""
    name = options.target or SERIES[0]
    if name not in SERIES:
        raise ValueError(f"--target {name}: the series are {', '.join(SERIES)}")
    width, (_, values) = WIDTH[name], series(name)
    windows = np.lib.stride_tricks.sliding_window_view(values[:-1], width)[..., None]
    rows = Rows(np.ascontiguousarray(windows), values[width:, None])
    held = _count(Rows(values), _HELD_OUT if options.val_fraction is None else options.val_fraction)
    if held >= len(rows):
        raise ValueError(f"--val-fraction {options.val_fraction}: of {name} nothing would be left to learn from")
    return Source(rows[:-held], rows[-held:], target=name, series=True)
