"""The embedding table."""

from __future__ import annotations

import numpy as np

from .. import _check as check
from .. import functional as F
from .. import init
from ..tensor import ArrayLike, Parameter, Tensor
from .module import Module


class Embedding(Module):
    """Rows of a table: indices (...) integers in 0..num_embeddings-1, y (..., embedding_dim).

    weight (num_embeddings, embedding_dim) starts normal with mean 0 and variance 1; its row padding_idx starts at 0 and
    gets no gradient.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        self.num_embeddings = check.integer("Embedding", "num_embeddings", num_embeddings, 1)
        self.embedding_dim = check.integer("Embedding", "embedding_dim", embedding_dim, 1)
        if padding_idx is not None:
            padding_idx = check.integer("Embedding", "padding_idx", padding_idx, -num_embeddings)
            if padding_idx >= num_embeddings:
                raise ValueError(f"Embedding: padding_idx must be below {num_embeddings}, got {padding_idx}")
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), np.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, indices: ArrayLike) -> Tensor:
        return F.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
