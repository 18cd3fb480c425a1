"""A Transformer over characters or other tokens. V tokens, B sequences, T steps."""

from __future__ import annotations

import math

from .. import _check as check
from .. import functional as F
from .. import init, nn
from ..nn import plain
from ..tensor import ArrayLike, Tensor, as_tensor, unwrap


class GPT(nn.Module):
    """Token embedding + learned positions, causal pre-norm blocks, a last norm, Linear: codes (B, T) or (T,), integers
    below V and at most `context` steps -> logits (B, T, V) or (T, V) for what comes next.

    Parameters: token.weight (V, E), position.weight (context, E), those of a `TransformerEncoder` (blocks.layers.0...,
    blocks.norm), head.weight (V, E); PyTorch's modules of the same names hold the same.
    """

    def __init__(self, token: nn.Embedding, position: nn.LearnedPositions, blocks: nn.TransformerEncoder) -> None:
        self.token, self.position, self.blocks = token, position, blocks
        self.head = nn.Linear(token.embedding_dim, token.num_embeddings, bias=False)

    @property
    def context(self) -> int:
        """The most steps that it sees."""
        return self.position.max_len

    def forward(self, codes: ArrayLike) -> Tensor:
        codes = as_tensor(codes)
        x = self.token(codes.reshape(1, -1) if codes.ndim == 1 else codes)
        y = self.head(self.blocks(self.position(x), is_causal=True))
        return y[0] if codes.ndim == 1 else y

    def advance(
        self, codes: ArrayLike, state: list[nn.KeyValueCache] | None = None
    ) -> tuple[Tensor, list[nn.KeyValueCache]]:
        """Logits of further characters, and the state behind them for the next call; no gradient is recorded.

        state: keys and values of the steps before, which the call adds to in place; None begins a text. The logits are
        those that `forward` gives in evaluation mode for the whole text. Raises ValueError beyond `context` steps.
        """
        codes = unwrap(codes)
        rows = codes.reshape(1, -1) if codes.ndim == 1 else codes
        if state is None:
            state = [nn.KeyValueCache(self.context) for _ in self.blocks.layers]
        start, stop = state[0].length, state[0].length + rows.shape[1]
        if stop > self.context:
            raise ValueError(f"gpt: a text may have {self.context} characters, the context, got {stop}")
        x = F.embedding(rows, self.token.weight.data).data + self.position.weight.data[start:stop]
        y = plain.run(self.head, self.blocks.extend(x, state).data.reshape(-1, x.shape[2]))
        return Tensor(y.reshape(*codes.shape, -1)), state


def gpt(
    vocab_size: int,
    *,
    context: int = 128,
    d_model: int = 128,
    num_layers: int = 4,
    nhead: int = 4,
    dropout: float = 0.1,
    tie_weights: bool = False,
) -> GPT:
    """A small GPT: codes (B, T), T <= context -> logits (B, T, vocab_size).

    num_layers pre-norm blocks of causal self-attention with nhead heads and a feed-forward part of 4 d_model units with
    GELU; dropout behind the embedding, on attention's probabilities and in front of each residual sum. tie_weights: the
    last layer's weight is that of the embedding. Weights start normal with standard deviation 0.02, those in front of
    the residual sums with 0.02 / sqrt(2 num_layers), biases at 0. The smallest GPT-2 has the same 124,439,808
    parameters as ``gpt(50257, context=1024, d_model=768, num_layers=12, nhead=12, tie_weights=True)``.
    Raises ValueError where nhead does not divide d_model. Source: Radford et al. 2019, "Language models are
    unsupervised multitask learners", section 2.3.
    """
    vocab_size = check.integer("gpt", "vocab_size", vocab_size, 1)
    layer = nn.TransformerEncoderLayer(
        d_model, nhead, 4 * d_model, dropout, activation="gelu", batch_first=True, norm_first=True
    )
    model = GPT(
        nn.Embedding(vocab_size, d_model),
        nn.LearnedPositions(d_model, dropout, context, batch_first=True),
        nn.TransformerEncoder(layer, num_layers, nn.LayerNorm(d_model)),
    )
    if tie_weights:
        model.head.weight = model.token.weight
    _initialise(model, num_layers)
    return model


def _initialise(model: GPT, num_layers: int) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            init.zeros_(parameter)
        elif parameter.ndim == 2:
            summed = name.endswith(("out_proj.weight", "linear2.weight"))
            init.normal_(parameter, std=0.02 / math.sqrt(2 * num_layers) if summed else 0.02)
