"""Data sets that are too large to ship: MNIST and Fashion-MNIST, downloaded once or read from a place of yours."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._files import write_atomically
from .archives import open_npz, read_array
from .datasets import ArrayDataset, images_and_labels

_PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_SECONDS = 30  # without an answer


class _Source(NamedTuple):
    """Where the makers' four files lie, and their MD5 sums."""

    url: str
    sums: tuple[str, str, str, str]


_SOURCES = {
    "mnist": _Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashion-mnist": _Source(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
}


def fetch(name: str, path: str | os.PathLike | None = None) -> tuple[ArrayDataset, ArrayDataset]:
    """(training, test) of a data set: images float32 (N, 28, 28, 1) in 0..1, labels int64 (N,) in 0..9.

    ============== ==================================================================================================
    mnist          60,000 and 10,000 handwritten digits; Y. LeCun and C. Cortes, CC BY-SA 3.0
    fashion-mnist  60,000 and 10,000 pictures of clothes; H. Xiao, K. Rasul and R. Vollgraf (Zalando), 2017, MIT
    ============== ==================================================================================================

    path: a folder with the makers' four files (``train-images-idx3-ubyte``, ..., with or without ``.gz``), or an
    ``.npz`` file with x_train, y_train, x_test and y_test, which may be parts of the set. Without it the files are
    looked for in the folder `data_folder`, downloaded into it where they are missing, and checked.
    Raises ValueError for another name and for files of another kind, OSError where a file is missing or cannot be had.
    """
    if name not in _SOURCES:
        raise ValueError(f"fetch: unknown data set {name!r}; known are {', '.join(_SOURCES)}")
    if path is None:
        folder = _downloaded(name)
        arrays = [_read_idx(_idx_file(folder, part)) for part in _PARTS]
    elif Path(path).is_dir():
        arrays = [_read_idx(_idx_file(Path(path), part)) for part in _PARTS]
    else:
        arrays = _read_npz(Path(path))
    training, test = (_checked(name, *arrays[i : i + 2]) for i in (0, 2))
    return training, test


def data_folder(name: str) -> Path:
    """Where `fetch` keeps a data set: in the folder ``DLFAST_DATA_DIR``, else in the user's cache folder."""
    from platformdirs import user_cache_dir

    root = os.environ.get("DLFAST_DATA_DIR") or Path(user_cache_dir("dlfast", appauthor=False)) / "data"
    return Path(root) / name


def _downloaded(name: str) -> Path:
    folder, source = data_folder(name), _SOURCES[name]
    for part, wanted in zip(_PARTS, source.sums):
        if not any(file.is_file() for file in _candidates(folder, part)):
            _download(f"{source.url}/{part}-ubyte.gz", folder / f"{part}-ubyte.gz", wanted)
    return folder


def _download(url: str, file: Path, wanted: str) -> None:
    from urllib.request import urlopen  # costs an import of 30 ms

    try:
        with urlopen(url, timeout=_SECONDS) as stream:
            content = stream.read()
    except OSError as error:
        raise OSError(
            f"fetch: cannot download {url} ({error}); put the file into {file.parent}, "
            "or give as path a folder or an .npz file that has the data"
        ) from error
    got = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if got != wanted:
        raise OSError(f"fetch: {url} is damaged or another file: its MD5 is {got}, not {wanted}")
    write_atomically(file, lambda temporary: temporary.write_bytes(content))


def _candidates(folder: Path, part: str) -> tuple[Path, Path]:
    return folder / f"{part}-ubyte.gz", folder / f"{part}-ubyte"


def _idx_file(folder: Path, part: str) -> Path:
    for file in _candidates(folder, part):
        if file.is_file():
            return file
    names = " or ".join(file.name for file in _candidates(folder, part))
    raise FileNotFoundError(f"fetch: there is no {names} in {folder}")


def _read_idx(file: Path) -> np.ndarray:
    """An IDX file of bytes: 0, 0, 8 (unsigned bytes), the number of axes, each axis as 32 bits, the elements."""
    try:
        content = file.read_bytes()
        content = gzip.decompress(content) if file.suffix == ".gz" else content
        axes = content[3]
        shape = np.frombuffer(content, ">u4", axes, offset=4)
        if content[:3] != b"\0\0\x08":
            raise ValueError("it does not start as one")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (EOFError, IndexError, ValueError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"fetch: {file} is no IDX file of bytes: {error}") from error


def _read_npz(file: Path) -> list[np.ndarray]:
    if not file.is_file():
        raise FileNotFoundError(f"fetch: there is no folder and no file {file}")
    if file.suffix != ".npz":
        raise ValueError(f"fetch: path must be a folder or an .npz file, got {file}")
    with open_npz("fetch", file) as archive:
        if missing := [name for name in _ARRAYS if name not in archive]:
            raise ValueError(f"fetch: {file} must have {', '.join(_ARRAYS)}; it lacks {', '.join(missing)}")
        return [read_array("fetch", file, archive, name) for name in _ARRAYS]


def _checked(name: str, images: np.ndarray, labels: np.ndarray) -> ArrayDataset:
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"fetch: {name} must have images uint8 (N, 28, 28) and labels (N,), got {images.dtype} {images.shape} and "
            f"{labels.shape}"
        )
    return images_and_labels(images, labels, white=255)
