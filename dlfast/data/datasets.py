"""The data sets that ship with dlfast, as `ArrayDataset`, `Text` and `Series`. LICENSES.md names their sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal, overload

import numpy as np

from .._arrays import described, plain_array, refuse_masked
from .text import Text


class ArrayDataset:
    """Arrays of one length, indexed together: ``dataset[i]`` is the tuple of every array's row ``i``.

    ``i`` may be an integer, a slice or an array of integers. ``.arrays`` holds the arrays, which are not copied.
    Raises TypeError for object arrays and ValueError where the lengths differ.
    """

    def __init__(self, *arrays):
        if not arrays:
            raise ValueError("ArrayDataset: expected at least one array, got none")
        self.arrays = tuple(_check_array(i, array) for i, array in enumerate(arrays))
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(f"ArrayDataset: arrays must have equal lengths, got {', '.join(map(str, lengths))}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index) -> tuple:
        return tuple(array[index] for array in self.arrays)

    def split(
        self, count: int | float, *, shuffle: bool = False, stratify: Any = False
    ) -> tuple[ArrayDataset, ArrayDataset]:
        """The first ``count`` rows (or a share of them in (0, 1)) and the rest, as views; see `data.split`."""
        from .splitting import split

        return split(self, count, shuffle=shuffle, stratify=stratify)

    def __repr__(self) -> str:
        return f"ArrayDataset({', '.join(f'{array.dtype} {array.shape}' for array in self.arrays)})"


def _check_array(position: int, array) -> np.ndarray:
    refuse_masked("ArrayDataset", f"array {position}", array)
    data, array = array, plain_array(array)
    if array.dtype == object:
        raise TypeError(
            f"ArrayDataset: array {position} has dtype object; expected numbers, booleans or strings, got "
            f"{described(data, array)}"
        )
    if array.ndim == 0:
        raise ValueError(f"ArrayDataset: array {position} has no length (it is a single number)")
    return array


@dataclass(frozen=True)
class Series:
    """Three series of measurements, float32.

    sunspots (309,): yearly sunspot number, in the years ``sunspots_year`` (309,), 1700 to 2008.
    co2_weekly (2284,): weekly mean CO2 at Mauna Loa in ppm, 29 March 1958 to 29 December 2001; 59 weeks were not
        measured and are NaN: fill them (``numpy.interp``) or leave their windows out before training.
    elnino (61, 13): one row a year from 1950 to 2010: the year, then twelve monthly sea surface temperatures in
        degrees Celsius off Peru (0 to 10 S, 90 to 80 W).
    """

    sunspots: np.ndarray = field(repr=False)
    sunspots_year: np.ndarray = field(repr=False)
    co2_weekly: np.ndarray = field(repr=False)
    elnino: np.ndarray = field(repr=False)


@overload
def load(name: Literal["digits", "mnist10k"]) -> ArrayDataset: ...
@overload
def load(name: Literal["gospels"]) -> Text: ...
@overload
def load(name: Literal["series"]) -> Series: ...
def load(name):
    """One of the data sets that ship with dlfast.

    ========== =======================================================================================================
    digits     `ArrayDataset`: images float32 (1797, 8, 8, 1) in 0..1 (sixteenths), labels int64 (1797,)
    mnist10k   `ArrayDataset`: images float32 (10000, 28, 28, 1) in 0..1, labels int64 (10000,); a shuffled part of
               MNIST's training split, so no result on it is an "MNIST test accuracy"
    gospels    `Text`: the King James Bible from Matthew to Acts, one verse a line
    series     `Series`: sunspots, CO2 in the air, El Nino
    ========== =======================================================================================================

    Raises ValueError for another name.
    """
    if name not in _LOADERS:
        raise ValueError(f"load: unknown data set {name!r}; known are {', '.join(_LOADERS)}")
    file = files(__package__).joinpath(f"{name}.npz")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        return _LOADERS[name](archive)


def _digits(archive) -> ArrayDataset:
    return images_and_labels(archive["images"], archive["labels"], white=16)


def _mnist10k(archive) -> ArrayDataset:
    return images_and_labels(archive["images"], archive["labels"], white=255)


def images_and_labels(images: np.ndarray, labels: np.ndarray, white: int) -> ArrayDataset:
    """Images of bytes, (N, H, W) or (N, H, W, C), as float32 (N, H, W, C) in 0..1, labels as int64."""
    scaled = images.astype(np.float32, order="C")
    scaled /= white
    return ArrayDataset(scaled if scaled.ndim == 4 else scaled[..., None], labels.astype(np.int64))


def _gospels(archive) -> Text:
    raw = archive["text"]
    characters, codes = np.unique(raw, return_inverse=True)
    return Text(raw.tobytes().decode("ascii"), codes.astype(np.int64, copy=False), characters.tobytes().decode("ascii"))


def _series(archive) -> Series:
    return Series(**archive)


_LOADERS = {"digits": _digits, "mnist10k": _mnist10k, "gospels": _gospels, "series": _series}
