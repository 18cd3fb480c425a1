"""What attention keeps of the steps behind it. B batch, T new steps, S steps so far, H heads, D features of a head."""

from __future__ import annotations

import numpy as np

from .. import _check as check


class KeyValueCache:
    """Keys and values of the steps that a `MultiheadAttention` has seen: `attention.extend(x, cache)` adds more.

    max_len: the most steps that it holds. `length`: the steps it holds now.
    """

    def __init__(self, max_len: int) -> None:
        self.max_len, self.length = check.integer("KeyValueCache", "max_len", max_len, 1), 0
        self._kept: np.ndarray | None = None  # (B, max_len, 2, H, D)

    def append(self, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take keys and values of further steps, (B, T, 2, H, D); all keys and all values so far, (B, S, H, D) each.

        Raises ValueError, and takes nothing, where they do not fit behind the steps before.
        """
        if self._kept is None:
            self._kept = np.empty_like(new, shape=(len(new), self.max_len, *new.shape[2:]))
        total = self.length + new.shape[1]
        if total > self.max_len:
            raise ValueError(f"KeyValueCache: it holds {self.max_len} steps, got {total} with those before")
        if len(new) != len(self._kept):
            raise ValueError(f"KeyValueCache: the batch must stay {len(self._kept)} sequences, got {len(new)}")
        self._kept[:, self.length : total] = new
        self.length = total
        return self._kept[:, :total, 0], self._kept[:, :total, 1]
