"""Data sets in NumPy archives."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .. import _check as check
from .datasets import ArrayDataset

_NAMES = (("x", "y"), ("images", "labels"))


def read_npz(path: str | os.PathLike, part: str | None = None) -> ArrayDataset:
    """Inputs and targets from an ``.npz`` file: its arrays x and y, or images and labels.

    part: "train", "test" or "val", for a file that has x_train, y_train and so on; None for one without parts.
    Bytes with three axes or more are images: (N, H, W) or (N, H, W, C), they become float32 (N, H, W, C) in 0..1. Other
    inputs become float32, but float64 stays; integer targets become int64.
    Raises ValueError where the arrays are missing, of other kinds or of unequal lengths, OSError for no such file.
    """
    check.choice("read_npz", "part", part, (None, "train", "test", "val"))
    pairs = [tuple(name if part is None else f"{name}_{part}" for name in names) for names in _NAMES]
    with open_npz("read_npz", Path(path)) as archive:
        for x, y in pairs:
            if x in archive and y in archive:
                inputs, targets = (read_array("read_npz", Path(path), archive, name) for name in (x, y))
                return ArrayDataset(_inputs(path, inputs), _targets(path, targets))
        wanted = " or ".join(" and ".join(pair) for pair in pairs)
        parts = sorted({name.rpartition("_")[2] for name in archive.files} & {"train", "test", "val"})
        hint = f"; it has parts: part={parts[0]!r}" if parts and part is None else ""
        raise ValueError(f"read_npz: {path} must have {wanted}; it has {', '.join(archive.files) or 'nothing'}{hint}")


@contextmanager
def open_npz(op: str, path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The archive, from which no objects are read. Raises FileNotFoundError, ValueError for other kinds of files."""
    if not path.is_file():
        raise FileNotFoundError(f"{op}: there is no file {path}")
    with path.open("rb") as stream:
        try:
            archive = np.load(stream, allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{op}: {path} is no .npz file: {error}") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError(f"{op}: {path} is no .npz file, it holds one array")
        with archive:
            yield archive


def read_array(op: str, path: Path, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """One array of it. Raises ValueError for objects and for damaged data."""
    try:
        return archive[name]
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{op}: {name} in {path} cannot be read: {error}") from error


def _inputs(path: str | os.PathLike, x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "fiub":
        raise ValueError(f"read_npz: the inputs in {path} must be numbers, got {x.dtype}")
    if x.dtype == np.uint8 and x.ndim >= 3:
        x = x.astype(np.float32)
        x /= 255
        return x[..., None] if x.ndim == 3 else x
    return x if x.dtype == np.float64 else x.astype(np.float32)


def _targets(path: str | os.PathLike, y: np.ndarray) -> np.ndarray:
    if y.dtype.kind not in "fiub":
        raise ValueError(
            f"read_npz: the targets in {path} must be numbers, got {y.dtype}; number the classes: "
            "names, y = np.unique(y, return_inverse=True)"
        )
    return y if y.dtype.kind == "f" else y.astype(np.int64)
