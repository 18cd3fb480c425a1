"""The files in which the makers of MNIST, Fashion-MNIST and CIFAR-10 give them."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

Arrays = list[np.ndarray]  # x_train, y_train, x_test, y_test

IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR, CIFAR_FOLDER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
_BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_ROW = 1 + 3 * 32 * 32


def read_idx_files(folder: Path) -> Arrays:
    """The four files in a folder, packed or not."""
    return [_read_idx(_idx_file(folder, part)) for part in IDX]


def idx_candidates(folder: Path, part: str) -> tuple[Path, Path]:
    return folder / f"{part}.gz", folder / part


def _idx_file(folder: Path, part: str) -> Path:
    for file in idx_candidates(folder, part):
        if file.is_file():
            return file
    names = " or ".join(file.name for file in idx_candidates(folder, part))
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


def read_cifar(place: Path) -> Arrays:
    """The six files of CIFAR-10's binary version, in a folder or in the archive as it is given.

    A row of theirs is the label and 32 x 32 red, green and blue bytes. The Python version is refused: reading a pickle
    may run any program that its maker put in.
    """
    if place.is_file():
        return _cifar_archive(place)
    for folder in (place, place / CIFAR_FOLDER):
        if (folder / _BATCHES[0]).is_file():
            return _cifar_arrays(folder, partial(_read_bytes, folder))
    if (place / CIFAR).is_file():
        return _cifar_archive(place / CIFAR)
    if any((folder / "data_batch_1").is_file() for folder in (place, place / "cifar-10-batches-py")):
        raise ValueError(f"fetch: {place} {_PICKLES}")
    raise FileNotFoundError(f"fetch: there is no {CIFAR} and no {_BATCHES[0]} in {place}")


_PICKLES = f"has CIFAR-10 as Python pickles, which can run programs; take the binary version, {CIFAR}"


def _read_bytes(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def _cifar_archive(file: Path) -> Arrays:
    try:
        with tarfile.open(file, "r:*") as archive:
            members = {Path(member.name).name: member for member in archive if member.isfile()}
            if "data_batch_1" in members:
                raise ValueError(f"fetch: {file} {_PICKLES}")

            def read(name: str) -> bytes:
                if name not in members:
                    raise FileNotFoundError(f"fetch: there is no {name} in {file}")
                stream = archive.extractfile(members[name])
                assert stream is not None  # of a regular file there is one
                return stream.read()

            return _cifar_arrays(file, read)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"fetch: {file} is damaged, or no archive of CIFAR-10: {error}") from error


def _cifar_arrays(place: Path, read: Callable[[str], bytes]) -> Arrays:
    rows = []
    for name in _BATCHES:
        content = np.frombuffer(read(name), np.uint8)
        if not content.size or content.size % _ROW:
            raise ValueError(f"fetch: {name} in {place} must have rows of {_ROW} bytes, it has {content.size} bytes")
        rows.append(content.reshape(-1, _ROW))
    found = []
    for part in (np.concatenate(rows[:-1]), rows[-1]):
        images = part[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        found += [images, part[:, 0]]
    return found
