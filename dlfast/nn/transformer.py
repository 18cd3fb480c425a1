"""Transformer layers and stacks. B batch, T and S steps, E d_model; batch_first: (B, T, E), else (T, B, E)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from .. import _check as check
from .. import functional as F
from .._devices import find, moved
from ..tensor import ArrayLike, Tensor, as_tensor
from . import plain
from .attention import MultiheadAttention, rows_to_extend
from .cache import KeyValueCache
from .container import ModuleList
from .elementwise import Dropout
from .linear import Linear
from .module import Module
from .norm import LayerNorm

_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


def causal_mask(steps: int, dtype: Any = np.float32, device: Any = None) -> np.ndarray:
    """(T, T) to add to scores: 0 on and below the diagonal, -inf above. `is_causal` does the same and is faster."""
    mask = np.triu(np.full((steps, steps), -np.inf, dtype), 1)
    return mask if device is None else moved(mask, find(device))


class _Layer(Module):
    """What encoder and decoder layers share: the feed-forward part, residuals, and norms before or after."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        name = type(self).__name__
        self.activation = check.choice(name, "activation", activation, tuple(_ACTIVATIONS))
        self.norm_first, self.batch_first = bool(norm_first), bool(batch_first)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self._make_cross(d_model, nhead, dropout, bias)
        self.linear1 = Linear(d_model, check.integer(name, "dim_feedforward", dim_feedforward, 1), bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        for i in range(self._norms):
            setattr(self, f"norm{i + 1}", LayerNorm(d_model, layer_norm_eps, bias=bias))
            setattr(self, f"dropout{i + 1}", Dropout(dropout))

    _norms = 2

    def _make_cross(self, d_model: int, nhead: int, dropout: float, bias: bool) -> None:
        """A decoder's second attention stands between the first and the feed-forward part."""

    def _sublayer(self, i: int, x: Tensor, function: Any) -> Tensor:
        """x + dropout(f(norm(x))), or norm(x + dropout(f(x)))."""
        norm, dropout = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
        if self.norm_first:
            return x + dropout(function(norm(x)))
        return norm(x + dropout(function(x)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = self.linear1(x, "relu") if self.activation == "relu" else F.gelu(self.linear1(x))
        return self.linear2(self.dropout(hidden))


class TransformerEncoderLayer(_Layer):
    """Self-attention and two Linear layers, each with dropout, a residual and a norm: x, y (T, B, E).

    norm_first: norms before each part (pre-norm: steadier in deep stacks) in place of after. activation: "relu" or
    "gelu". Masks as `MultiheadAttention` takes them. Source: Vaswani et al. 2017, section 3.1; Xiong et al. 2020.
    """

    def forward(
        self,
        src: ArrayLike,
        src_mask: ArrayLike | None = None,
        src_key_padding_mask: ArrayLike | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        options = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask, "is_causal": is_causal}
        x = self._sublayer(1, as_tensor(src), lambda x: self.self_attn(x, **options)[0])
        return self._sublayer(2, x, self._feed_forward)

    def extend(self, src: ArrayLike, cache: KeyValueCache) -> Tensor:
        """Causal self-attention for further steps (B, T, E), those before in `cache`; see `MultiheadAttention.extend`.

        Nothing is dropped out.
        """
        a = rows_to_extend("TransformerEncoderLayer", src, self.self_attn.embed_dim, self.linear1.weight.dtype)
        return Tensor(self.extend_rows(a.reshape(-1, a.shape[2]), len(a), cache).reshape(a.shape))

    def extend_rows(self, x: np.ndarray, batch: int, cache: KeyValueCache) -> np.ndarray:
        """`extend` on plain rows (B T, E), unchecked."""
        norm1, norm2 = vars(self)["norm1"], vars(self)["norm2"]
        if self.norm_first:
            x = x + self.self_attn.extend_rows(plain.run(norm1, x), batch, cache)
            return x + self._feed_rows(plain.run(norm2, x))
        x = plain.run(norm1, x + self.self_attn.extend_rows(x, batch, cache))
        return plain.run(norm2, x + self._feed_rows(x))

    def _feed_rows(self, x: np.ndarray) -> np.ndarray:
        fused = "relu" if self.activation == "relu" else None
        hidden = plain.affine(x, self.linear1.weight, self.linear1.bias, fused)
        return plain.run(self.linear2, hidden if fused else plain.gelu(hidden))


class TransformerDecoderLayer(_Layer):
    """As the encoder's, with attention to the encoder's output (`memory`) between: tgt, y (T, B, E), memory (S, B, E).

    tgt_is_causal hides the future of tgt. Source: Vaswani et al. 2017, section 3.1.
    """

    _norms = 3

    def _make_cross(self, d_model: int, nhead: int, dropout: float, bias: bool) -> None:
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=self.batch_first)

    def forward(
        self,
        tgt: ArrayLike,
        memory: ArrayLike,
        tgt_mask: ArrayLike | None = None,
        memory_mask: ArrayLike | None = None,
        tgt_key_padding_mask: ArrayLike | None = None,
        memory_key_padding_mask: ArrayLike | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        own = {"attn_mask": tgt_mask, "key_padding_mask": tgt_key_padding_mask, "is_causal": tgt_is_causal}
        cross = {"attn_mask": memory_mask, "key_padding_mask": memory_key_padding_mask, "is_causal": memory_is_causal}
        x = self._sublayer(1, as_tensor(tgt), lambda x: self.self_attn(x, **own)[0])
        x = self._sublayer(2, x, lambda x: self.multihead_attn(x, memory, memory, **cross)[0])
        return self._sublayer(3, x, self._feed_forward)


class _Stack(Module):
    """num_layers copies of a layer, each with weights of its own (drawn anew; PyTorch copies them), and a norm."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.num_layers = check.integer(type(self).__name__, "num_layers", num_layers, 1)
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        for each in self.layers:
            each.apply(lambda module: getattr(module, "reset_parameters", lambda: None)())
        self.norm = norm


class TransformerEncoder(_Stack):
    """num_layers encoder layers, and perhaps a last norm (which pre-norm layers want)."""

    def forward(
        self,
        src: ArrayLike,
        mask: ArrayLike | None = None,
        src_key_padding_mask: ArrayLike | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        x = as_tensor(src)
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, is_causal)
        return x if self.norm is None else self.norm(x)

    def extend(self, src: ArrayLike, caches: Sequence[KeyValueCache]) -> Tensor:
        """Causal self-attention for further steps (B, T, E), those before in one cache for each layer.

        Nothing is dropped out, and no gradient is recorded.
        """
        layers = cast(list[TransformerEncoderLayer], list(self.layers))
        a = rows_to_extend("TransformerEncoder", src, layers[0].self_attn.embed_dim, layers[0].linear1.weight.dtype)
        x = a.reshape(-1, a.shape[2])
        for layer, cache in zip(layers, caches, strict=True):
            x = layer.extend_rows(x, len(a), cache)
        return Tensor((x if self.norm is None else plain.run(self.norm, x)).reshape(a.shape))


class TransformerDecoder(_Stack):
    """num_layers decoder layers over one memory, and perhaps a last norm."""

    def forward(self, tgt: ArrayLike, memory: ArrayLike, *masks: Any, **options: Any) -> Tensor:
        """masks and options: those of `TransformerDecoderLayer`."""
        x = as_tensor(tgt)
        for layer in self.layers:
            x = layer(x, memory, *masks, **options)
        return x if self.norm is None else self.norm(x)
