"""Data for a model that is trained: read as its training's was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data import ArrayDataset, ImageFolder, read_csv, read_npz
from ..data.archives import open_npz, read_array
from ..data.folders import ENDINGS, read_picture
from ..data.labels import targets_of
from ..data.tables import TableFormat
from . import sources
from .config import NAME, Facts
from .options import Options

_INPUTS = ("x", "images", "x_test", "images_test", "x_val", "images_val")


def with_targets(options: Options, facts: Facts, data: str | None) -> Any:
    """Inputs and targets: what the run held out, or that part of a named set, or a file or folder, its test part.

    Raises FileNotFoundError and ValueError.
    """
    if data is None:
        return sources.read(options).validation
    _check_kind(facts, data)
    if data in sources.NAMES:
        return sources.read(replace(options, data=data, val_fraction=None)).validation
    path = _existing(data)
    if path.is_dir():
        return _folder(facts, path)
    if path.suffix == ".npz":
        parts = sources.npz_parts(path)
        return read_npz(path, parts[0] if parts else None)
    if path.suffix in sources.FILES:
        table = read_csv(path, like=_format(facts, path))
        if len(table.arrays) < 2:
            raise ValueError(f"--data {path} has no column {table.format.target!r} to compare with")
        return table
    raise _unknown(path)


def without_targets(options: Options, facts: Facts, data: str | None) -> tuple[list[str], np.ndarray]:
    """Names and inputs of rows, which need no targets: also those of a picture file or a folder of pictures."""
    if data is not None and data not in sources.NAMES:
        path = _existing(data)
        if path.suffix.lower() in ENDINGS or (path.is_dir() and not _has_folders(path)):
            return _pictures(facts, path)
        if path.suffix == ".npz":
            return _numbered(_npz_inputs(path))
        if path.suffix in sources.FILES:
            return _numbered(read_csv(path, like=_format(facts, path)).arrays[0])
        if not path.is_dir():
            raise _unknown(path)
    part = with_targets(options, facts, data)
    if isinstance(part, ArrayDataset):
        return _numbered(part.arrays[0])
    names = [str(file) for file, _ in part.samples] if isinstance(part, ImageFolder) else None
    x = part[np.arange(len(part))][0]
    return (names, x) if names else _numbered(x)


def _numbered(x: np.ndarray) -> tuple[list[str], np.ndarray]:
    return [str(i) for i in range(len(x))], x


def _existing(data: str) -> Path:
    path = Path(data)
    if not path.exists():
        known = ", ".join(sources.NAMES)
        raise FileNotFoundError(f"--data {path}: there is no such file or folder; known names are {known}")
    return path


def _unknown(path: Path) -> ValueError:
    return ValueError(
        f"--data {path}: expected a folder, a picture, a file that ends in {', '.join(sources.FILES)}, or one of "
        f"{', '.join(sources.NAMES)}"
    )


def _check_kind(facts: Facts, data: str) -> None:
    wanted = "series" if facts.kind == "series" else "rows"
    if sources.kind_of(data) not in (None, wanted):
        raise ValueError(f"--data {data}: the model takes {facts.kind}, {tuple(facts.shape)} each")


def _format(facts: Facts, path: Path) -> TableFormat:
    if not facts.table:
        raise ValueError(f"--data {path} is a table; the model was trained on {facts.kind}, of shape {facts.shape}")
    try:
        columns = [{"fill": None, **column} for column in facts.table["columns"]]
        return TableFormat.of_dict({**facts.table, "columns": columns})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{NAME}: [found.table] is not what `dlfast train` writes: {error!r}") from error


def _folder(facts: Facts, path: Path) -> Any:
    """Folders of classes, numbered as in the training."""
    size, grey = _picture(facts, path)
    folder = ImageFolder(path, size, grey=grey)
    if unknown := sorted(set(folder.classes) - set(facts.classes)):
        raise ValueError(f"--data {path}: the training has no class {unknown[0]}, only {', '.join(facts.classes)}")
    numbers = np.array([facts.classes.index(name) for name in folder.classes])
    folder.samples = [(file, int(numbers[label])) for file, label in folder.samples]
    folder.targets = numbers[targets_of(folder)]
    return folder


def _has_folders(path: Path) -> bool:
    return any(f.is_dir() for f in path.iterdir())


def _picture(facts: Facts, path: Path) -> tuple[tuple[int, int], bool]:
    """Height and width, and whether pictures are grey."""
    if facts.kind != "images" or facts.shape[2] not in (1, 3):
        raise ValueError(f"--data {path} holds pictures; the model takes {facts.kind}, of shape {tuple(facts.shape)}")
    return (facts.shape[0], facts.shape[1]), facts.shape[2] == 1


def _pictures(facts: Facts, path: Path) -> tuple[list[str], np.ndarray]:
    """One picture file, or those in a folder."""
    size, grey = _picture(facts, path)
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.suffix.lower() in ENDINGS)
    if not files:
        raise ValueError(f"--data {path} has no pictures; known endings are {', '.join(ENDINGS)}")
    return [str(file) for file in files], np.stack([read_picture(file, size, grey=grey) for file in files])


def _npz_inputs(path: Path) -> np.ndarray:
    with open_npz("--data", path) as archive:
        found = [name for name in _INPUTS if name in archive] or (archive.files if len(archive.files) == 1 else [])
        if not found:
            raise ValueError(f"--data {path} must have one array, or x or images; it has {', '.join(archive.files)}")
        x = read_array("--data", path, archive, found[0])
    if x.dtype.kind not in "fiub" or x.ndim < 2:
        raise ValueError(f"--data {path}: {found[0]} must hold rows of numbers, (N, ...), got {x.dtype} {x.shape}")
    return x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 and x.ndim > 2 else x
