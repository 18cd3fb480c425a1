"""Text as numbers: a vocabulary, and the windows that a language model learns from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .. import _check as check
from .. import random


@dataclass(frozen=True)
class Text:
    """A text with its characters numbered: ``text[i] == vocabulary[codes[i]]``.

    ``codes`` int64 (T,), ``vocabulary`` distinct characters, as one string; `Text.of` makes both from a string.
    """

    text: str = field(repr=False)
    codes: np.ndarray = field(repr=False)
    vocabulary: str

    @classmethod
    def of(cls, text: str) -> Text:
        """A text with the vocabulary of its own characters, in code point order."""
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        characters, codes = np.unique(points, return_inverse=True)
        return cls(text, codes.astype(np.int64, copy=False), "".join(map(chr, characters)))

    def __len__(self) -> int:
        return len(self.text)

    def encode(self, text: str) -> np.ndarray:
        """Codes int64 of any text. Raises ValueError, naming them, for characters that the vocabulary lacks."""
        return encode(text, self.vocabulary)

    def decode(self, codes) -> str:
        """The text of an array of codes."""
        return "".join(self.vocabulary[code] for code in np.asarray(codes).ravel())

    def split(self, validation: float = 0.1) -> tuple[Text, Text]:
        """The text and its last part, a share of `validation` in (0, 1), as texts with one vocabulary.

        Raises ValueError where one of them would be empty.
        """
        share = check.number("Text.split", "validation", validation, 0, 1, low_open=True)
        count = len(self) - round(len(self) * share)
        if not 0 < count < len(self):
            raise ValueError(f"Text.split: {len(self)} characters are too few to keep {share} of them apart")
        return self._part(slice(count)), self._part(slice(count, None))

    def _part(self, part: slice) -> Text:
        return Text(self.text[part], self.codes[part], self.vocabulary)

    def windows(self, length: int) -> Windows:
        """Windows of `length` characters, one behind the other: what to validate on. See `Windows`."""
        return Windows(self.codes, length)

    def random_windows(self, length: int, count: int | None = None) -> Windows:
        """`count` windows of `length` characters from anywhere, others in every epoch: what to train on.

        count: as many as the text is long, if None. Which ones follows from `dlfast.manual_seed`. See `Windows`.
        """
        if count is None:
            count = max(1, (len(self) - 1) // check.integer("Text.random_windows", "length", length, 1))
        return Windows(self.codes, length, check.integer("Text.random_windows", "count", count, 1))


class Windows:
    """A data set of (x, y): x (length,) codes, and y (length,) the codes that follow each of them in the text.

    Without `count` window i begins at character i length, and characters that fill no window are left out. With it
    there are `count` windows, each begins at a character drawn when it is asked for, whatever its number.
    Raises ValueError for a text that has fewer than length + 1 characters.
    """

    def __init__(self, codes: np.ndarray, length: int, count: int | None = None) -> None:
        self.length = check.integer("Windows", "length", length, 1)
        if len(codes) <= length:
            raise ValueError(
                f"Windows: the text must have more than {length} characters, the length of a window, got {len(codes)}"
            )
        self._drawn = count is not None
        self._count = (len(codes) - 1) // length if count is None else count
        self._all = sliding_window_view(codes, length + 1)  # no copy

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> tuple[np.ndarray, np.ndarray]:
        starts = np.arange(self._count)[index] * self.length
        if self._drawn:
            starts = random.generator().integers(len(self._all), size=starts.shape)
        windows = self._all[starts]
        return windows[..., :-1], windows[..., 1:]


def encode(text: str, vocabulary: str) -> np.ndarray:
    """Codes int64 of the characters. Raises ValueError, naming them, for those that the vocabulary lacks."""
    if unknown := sorted(set(text) - set(vocabulary)):
        raise ValueError(f"encode: not in the vocabulary: {' '.join(map(repr, unknown))}")
    codes = {character: code for code, character in enumerate(vocabulary)}
    return np.array([codes[character] for character in text], dtype=np.int64)
