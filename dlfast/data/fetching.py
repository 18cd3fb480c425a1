"""Data sets that are too large to ship: downloaded once, or read from a place of yours."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import _formats
from ._download import download
from .archives import open_npz, read_array
from .datasets import ArrayDataset, images_and_labels

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


class _Source(NamedTuple):
    """Where the makers' files lie and their MD5 sums, how they are read, and an image's shape there."""

    url: str
    sums: dict[str, str]
    read: Callable[[Path], _formats.Arrays]
    shape: tuple[int, ...]


def _of_mnist(url: str, *sums: str) -> _Source:
    files = dict(zip((f"{part}.gz" for part in _formats.IDX), sums, strict=True))
    return _Source(url, files, _formats.read_idx_files, (28, 28))


_SOURCES = {
    "mnist": _of_mnist(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    "fashion-mnist": _of_mnist(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "cifar10": _Source(
        "https://www.cs.toronto.edu/~kriz",
        {_formats.CIFAR: "c32a1d4ab5d03f1284b67883e8d87530"},
        _formats.read_cifar,
        (32, 32, 3),
    ),
}


def fetch(name: str, path: str | os.PathLike | None = None) -> tuple[ArrayDataset, ArrayDataset]:
    """(training, test) of a data set: images float32 (N, H, W, C) in 0..1, labels int64 (N,) in 0..9.

    ============== ==================================================================================================
    mnist          60,000 and 10,000 handwritten digits, 28 x 28 x 1; Y. LeCun and C. Cortes, CC BY-SA 3.0
    fashion-mnist  60,000 and 10,000 pictures of clothes, 28 x 28 x 1; H. Xiao, K. Rasul and R. Vollgraf (Zalando),
                   2017, MIT
    cifar10        50,000 and 10,000 photographs, 32 x 32 x 3 (740 MB as float32); A. Krizhevsky, 2009, "Learning
                   multiple layers of features from tiny images"
    ============== ==================================================================================================

    path: a folder with the makers' files: MNIST's four (``train-images-idx3-ubyte``, ..., with or without ``.gz``) or
    ``cifar-10-binary.tar.gz`` or what is in it; that archive itself; or an ``.npz`` file with x_train, y_train, x_test
    and y_test, which may be parts of the set. Without it the files are looked for in the folder `data_folder`, and
    downloaded into it where they are missing: checked, and going on where a download broke off.
    Raises ValueError for another name and for files of another kind, OSError where a file is missing or cannot be had.
    """
    if name not in _SOURCES:
        raise ValueError(f"fetch: unknown data set {name!r}; known are {', '.join(_SOURCES)}")
    source = _SOURCES[name]
    if path is None:
        arrays = source.read(_downloaded(name))
    elif Path(path).is_dir():
        arrays = source.read(Path(path))
    else:
        arrays = _read_file(name, Path(path))
    training, test = (_checked(name, *arrays[i : i + 2]) for i in (0, 2))
    return training, test


def data_folder(name: str) -> Path:
    """Where `fetch` keeps a data set: in the folder ``DLFAST_DATA_DIR``, else in the user's cache folder."""
    from platformdirs import user_cache_dir

    root = os.environ.get("DLFAST_DATA_DIR") or Path(user_cache_dir("dlfast", appauthor=False)) / "data"
    return Path(root) / name


def _downloaded(name: str) -> Path:
    folder, source = data_folder(name), _SOURCES[name]
    for file, md5 in source.sums.items():
        unpacked = folder / file.removesuffix(".gz"), folder / _formats.CIFAR_FOLDER
        if not (folder / file).is_file() and not any(place.exists() for place in unpacked):
            download(f"{source.url}/{file}", folder / file, md5)
    return folder


def _read_file(name: str, file: Path) -> _formats.Arrays:
    if not file.is_file():
        raise FileNotFoundError(f"fetch: there is no folder and no file {file}")
    if name == "cifar10" and file.suffix != ".npz":
        return _formats.read_cifar(file)
    if file.suffix != ".npz":
        raise ValueError(f"fetch: path must be a folder or an .npz file, got {file}")
    with open_npz("fetch", file) as archive:
        if missing := [array for array in _ARRAYS if array not in archive]:
            raise ValueError(f"fetch: {file} must have {', '.join(_ARRAYS)}; it lacks {', '.join(missing)}")
        return [read_array("fetch", file, archive, array) for array in _ARRAYS]


def _checked(name: str, images: np.ndarray, labels: np.ndarray) -> ArrayDataset:
    shape = _SOURCES[name].shape
    if images.dtype != np.uint8 or images.shape[1:] != shape or labels.shape != images.shape[:1]:
        raise ValueError(
            f"fetch: {name} must have images uint8 (N, {', '.join(map(str, shape))}) and labels (N,), got "
            f"{images.dtype} {images.shape} and {labels.shape}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() <= 9:
        raise ValueError(f"fetch: the labels of {name} must be in 0..9, got {labels.min()} to {labels.max()}")
    return images_and_labels(images, labels, white=255)
