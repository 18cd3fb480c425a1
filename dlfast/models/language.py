"""Language models over characters: recurrent nets. V characters, B sequences, T steps.

Each is trained on logits for the next character, ``model(codes)``, and continues a text with ``model.advance(codes,
state)``, which hands its state from call to call: see `generate`.
"""

from __future__ import annotations

from typing import Any

from .. import _check as check
from .. import nn
from .._modes import no_grad
from ..tensor import ArrayLike, Tensor


class CharNet(nn.Module):
    """Embedding, LSTM or GRU layers, Linear: codes (B, T) or (T,), integers below V -> logits (B, T, V) or (T, V)."""

    def __init__(self, embedding: nn.Embedding, rnn: nn.LSTM | nn.GRU, dropout: float) -> None:
        self.embedding, self.rnn = embedding, rnn
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(rnn.hidden_size, embedding.num_embeddings)

    def forward(self, codes: ArrayLike, state: Any = None) -> Tensor:
        """state: that of the recurrent layers before the first step, 0 if None."""
        return self._run(codes, state)[0]

    @no_grad
    def advance(self, codes: ArrayLike, state: Any = None) -> tuple[Tensor, Any]:
        """Logits of further characters, and the state behind them for the next call; no gradient is recorded."""
        return self._run(codes, state)

    def _run(self, codes: ArrayLike, state: Any) -> tuple[Tensor, Any]:
        y, state = self.rnn(self.embedding(codes), state)
        return self.head(self.dropout(y)), state


def char_lstm(
    vocab_size: int, *, embedding_dim: int = 64, hidden_size: int = 256, num_layers: int = 1, dropout: float = 0.0
) -> CharNet:
    """An LSTM that predicts the next character: codes (B, T) -> logits (B, T, vocab_size).

    dropout: between layers and before the last one. Source: Graves 2013, "Generating sequences with recurrent neural
    networks", section 3.
    """
    return _char_net(nn.LSTM, "char_lstm", vocab_size, embedding_dim, hidden_size, num_layers, dropout)


def char_gru(
    vocab_size: int, *, embedding_dim: int = 64, hidden_size: int = 256, num_layers: int = 1, dropout: float = 0.0
) -> CharNet:
    """As `char_lstm`, with gated recurrent units (Cho et al. 2014), which have three quarters of the weights."""
    return _char_net(nn.GRU, "char_gru", vocab_size, embedding_dim, hidden_size, num_layers, dropout)


def _char_net(
    kind: type[nn.LSTM] | type[nn.GRU], op: str, vocab_size: int, width: int, hidden: int, layers: int, dropout: float
) -> CharNet:
    embedding = nn.Embedding(check.integer(op, "vocab_size", vocab_size, 1), width)
    return CharNet(embedding, kind(width, hidden, layers, batch_first=True, dropout=dropout), dropout)
