"""Where steps stand: positions added to the features. B batch, T steps, E embed_dim."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _check as check
from .. import functional as F
from .. import init
from ..tensor import ArrayLike, Parameter, Tensor, as_tensor
from .module import Module


class _Positions(Module):
    """What both tables of positions share."""

    def __init__(self, embed_dim: int, dropout: float, max_len: int, batch_first: bool) -> None:
        name = type(self).__name__
        self.embed_dim = check.integer(name, "embed_dim", embed_dim, 1)
        self.max_len = check.integer(name, "max_len", max_len, 1)
        self.dropout, self.batch_first = check.number(name, "dropout", dropout, 0, 1), bool(batch_first)

    def _rows(self, start: int, stop: int, dtype: Any) -> Any:
        """Rows of the table."""
        raise NotImplementedError(f"{type(self).__name__} must define _rows")

    def forward(self, x: ArrayLike, start: int = 0) -> Tensor:
        """start: the position of the first step."""
        x = as_tensor(x)
        axis = 1 if x.ndim == 3 and self.batch_first else 0
        if x.shape[-1] != self.embed_dim or start + x.shape[axis] > self.max_len:
            raise ValueError(
                f"{type(self).__name__}: x must have {self.embed_dim} features and at most {self.max_len} steps, "
                f"got shape {x.shape}" + (f" from step {start}" if start else "")
            )
        rows = self._rows(start, start + x.shape[axis], x.dtype)
        y = x + (rows[:, None] if x.ndim == 3 and not self.batch_first else rows)
        return F.dropout(y, self.dropout) if self.dropout and self.training else y

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, dropout={self.dropout}, max_len={self.max_len}"


class PositionalEncoding(_Positions):
    """y = dropout(x + p), p[t, 2i] = sin(t / 10000^(2i / E)), p[t, 2i + 1] = cos(t / 10000^(2i / E)).

    x (T, B, E), with batch_first (B, T, E), or (T, E); T up to max_len. Source: Vaswani et al. 2017, section 3.5.
    """

    table: np.ndarray

    def __init__(self, embed_dim: int, dropout: float = 0.1, max_len: int = 5000, *, batch_first: bool = False) -> None:
        super().__init__(embed_dim, dropout, max_len, batch_first)
        angle = np.arange(max_len)[:, None] * 10000.0 ** (-2 * (np.arange(embed_dim) // 2) / embed_dim)
        table = np.where(np.arange(embed_dim) % 2, np.cos(angle), np.sin(angle)).astype(np.float32)
        self.register_buffer("table", table, persistent=False)

    def _rows(self, start: int, stop: int, dtype: Any) -> np.ndarray:
        return self.table[start:stop].astype(dtype, copy=False)


class LearnedPositions(_Positions):
    """y = dropout(x + weight[t]): a learned row for each step.

    x as `PositionalEncoding` takes it, T up to max_len. weight (max_len, E), like that of an `Embedding` of positions,
    starts normal with mean 0 and standard deviation 0.02. Source: Radford et al. 2018, "Improving language
    understanding by generative pre-training", section 4.1.
    """

    def __init__(self, embed_dim: int, dropout: float = 0.1, max_len: int = 512, *, batch_first: bool = False) -> None:
        super().__init__(embed_dim, dropout, max_len, batch_first)
        self.weight = Parameter(np.empty((max_len, embed_dim), np.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        init.normal_(self.weight, std=0.02)

    def _rows(self, start: int, stop: int, dtype: Any) -> Tensor:
        return self.weight[start:stop]
