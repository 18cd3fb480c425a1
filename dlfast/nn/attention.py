"""Multi-head attention. B batch, T queries, S keys, E embed_dim, H num_heads, D = E / H."""

from __future__ import annotations

import math

import numpy as np

from .. import _check as check
from .. import functional as F
from .. import init
from .._devices import check_one_device, on_device
from ..functional._attention import attention_mask
from ..tensor import ArrayLike, Parameter, Tensor, as_tensor, unwrap
from . import plain
from .cache import KeyValueCache
from .linear import Linear
from .module import Module


class MultiheadAttention(Module):
    """y, weights = MultiheadAttention(E, H)(query, key, value): attention of H heads, projected in and out.

    query, y (T, B, E), key (S, B, kdim), value (S, B, vdim); with batch_first (B, T, E) ..., without batch (T, E).
    weights (B, T, S), the mean over heads, or (B, H, T, S) with average_attn_weights=False; None with
    need_weights=False, which is much faster and is the default here (in PyTorch it is True).
    key_padding_mask (B, S): True where a key is padding, or floats to add. attn_mask (T, S) or (B H, T, S): True where
    a query may NOT look (as in PyTorch; `functional.scaled_dot_product_attention` has it the other way round), or
    floats to add. is_causal: query i sees keys 0 .. i. dropout acts on the probabilities while training.
    Parameters in_proj_weight (3 E, E), in_proj_bias (3 E,), out_proj.weight (E, E), out_proj.bias (E,); with another
    kdim or vdim q_proj_weight, k_proj_weight and v_proj_weight. Weights start Xavier uniform, biases at 0.
    Raises ValueError where H does not divide E and for shapes that do not fit.
    Source: Vaswani et al. 2017, section 3.2.2.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ) -> None:
        name = "MultiheadAttention"
        self.embed_dim = check.integer(name, "embed_dim", embed_dim, 1)
        self.num_heads = check.integer(name, "num_heads", num_heads, 1)
        if embed_dim % num_heads:
            raise ValueError(f"{name}: num_heads must divide embed_dim {embed_dim}, got {num_heads}")
        self.kdim = check.integer(name, "kdim", embed_dim if kdim is None else kdim, 1)
        self.vdim = check.integer(name, "vdim", embed_dim if vdim is None else vdim, 1)
        self.dropout, self.batch_first = check.number(name, "dropout", dropout, 0, 1), bool(batch_first)
        self.together = self.kdim == self.vdim == embed_dim  # one projection for queries, keys and values
        if self.together:
            self.in_proj_weight = Parameter(np.empty((3 * embed_dim, embed_dim), np.float32))
        else:
            self.q_proj_weight = Parameter(np.empty((embed_dim, embed_dim), np.float32))
            self.k_proj_weight = Parameter(np.empty((embed_dim, self.kdim), np.float32))
            self.v_proj_weight = Parameter(np.empty((embed_dim, self.vdim), np.float32))
        self.in_proj_bias = Parameter(np.empty(3 * embed_dim, np.float32)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        self.out_proj.reset_parameters()
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                init.zeros_(parameter)
            elif not name.startswith("out_proj"):
                init.xavier_uniform_(parameter)

    def forward(
        self,
        query: ArrayLike,
        key: ArrayLike | None = None,
        value: ArrayLike | None = None,
        key_padding_mask: ArrayLike | None = None,
        need_weights: bool = False,
        attn_mask: ArrayLike | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """key and value: query and key if not given."""
        key = query if key is None else key
        value = key if value is None else value
        itself = self.together and query is key and key is value
        q, k, v = (self._batch_first(x, name) for x, name in ((query, "query"), (key, "key"), (value, "value")))
        self._check(q, k, v)
        mask = self._mask(key_padding_mask, attn_mask, q, k)
        dropout = self.dropout if self.training else 0.0
        weights: Tensor | None = None
        if itself and not need_weights:
            batch, steps, _ = q.shape
            qkv = F.linear(q, self.in_proj_weight, self.in_proj_bias)
            qkv = qkv.reshape(batch, steps, 3, self.num_heads, self.embed_dim // self.num_heads)
            y = F.self_attention(qkv, mask, causal=bool(is_causal), dropout_p=dropout)
        else:
            heads = self._project(q, k, v)
            if need_weights:
                y, weights = _with_weights(*heads, mask, bool(is_causal), dropout)
            else:
                y = F.scaled_dot_product_attention(*heads, mask, dropout, is_causal)
            y = y.transpose(1, 2)
        y = self._as_query(self.out_proj(y.reshape(*q.shape)), query)
        if weights is not None and average_attn_weights:
            weights = weights.mean(axis=1)
        return y, weights[0] if weights is not None and y.ndim == 2 else weights

    def extend(self, x: ArrayLike, cache: KeyValueCache) -> Tensor:
        """Causal attention of further steps to themselves and to those before, whose keys and values `cache` holds.

        x, y (B, T, E) whatever batch_first says. Step by step it gives what `forward` with is_causal gives at once.
        No gradient is recorded, and nothing is dropped out. Raises ValueError where the cache is full.
        """
        a = rows_to_extend("MultiheadAttention", x, self.embed_dim, self.out_proj.weight.dtype)
        return Tensor(self.extend_rows(a.reshape(-1, self.embed_dim), len(a), cache).reshape(a.shape))

    def extend_rows(self, x: np.ndarray, batch: int, cache: KeyValueCache) -> np.ndarray:
        """`extend` on plain rows (B T, E), unchecked."""
        if not self.together:
            raise ValueError("MultiheadAttention: extend is for self-attention, without kdim and vdim")
        steps, mask = len(x) // batch, None
        qkv = plain.affine(x, self.in_proj_weight, self.in_proj_bias)
        qkv = qkv.reshape(batch, steps, 3, self.num_heads, self.embed_dim // self.num_heads)
        keys, values = cache.append(qkv[:, :, 1:])
        first = cache.length == steps
        if not first and steps > 1:
            mask = np.triu(np.full_like(x, -np.inf, shape=(steps, cache.length)), cache.length - steps + 1)
        y = plain.attention(qkv[:, :, 0], keys, values, mask, first and steps > 1)
        return plain.run(self.out_proj, y.reshape(x.shape))

    def project_keys(self, key: ArrayLike, value: ArrayLike) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, S, D) of batch-first key and value: what a decoder keeps from step to step."""
        k, v = as_tensor(key), as_tensor(value)
        weights, biases = self._parts()
        return self._heads(F.linear(k, weights[1], biases[1])), self._heads(F.linear(v, weights[2], biases[2]))

    def project_query(self, query: ArrayLike) -> Tensor:
        """Queries (B, H, T, D) of a batch-first query."""
        weights, biases = self._parts()
        return self._heads(F.linear(query, weights[0], biases[0]))

    def _project(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.project_query(q), *self.project_keys(k, v)

    def _parts(self) -> tuple[list[Tensor], list[Tensor | None]]:
        """The three weights and biases."""
        e = self.embed_dim
        if self.together:
            weights: list[Tensor] = [self.in_proj_weight[i * e : (i + 1) * e] for i in range(3)]
        else:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        bias = self.in_proj_bias
        return weights, [None if bias is None else bias[i * e : (i + 1) * e] for i in range(3)]

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, E) as (B, H, T, D)."""
        batch, steps, _ = x.shape
        return x.reshape(batch, steps, self.num_heads, self.embed_dim // self.num_heads).transpose(1, 2)

    def _batch_first(self, x: ArrayLike, name: str) -> Tensor:
        tensor = as_tensor(x)
        if tensor.ndim == 2:
            return tensor.reshape(1, *tensor.shape)
        if tensor.ndim != 3:
            raise ValueError(f"MultiheadAttention: {name} must have 3 axes, or 2 without a batch, got {tensor.shape}")
        return tensor if self.batch_first else tensor.transpose(0, 1)

    def _as_query(self, y: Tensor, query: ArrayLike) -> Tensor:
        if unwrap(query).ndim == 2:
            return y.reshape(*y.shape[1:])
        return y if self.batch_first else y.transpose(0, 1)

    def _check(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        for name, x, width in (("query", q, self.embed_dim), ("key", k, self.kdim), ("value", v, self.vdim)):
            if x.shape[-1] != width:
                raise ValueError(f"MultiheadAttention: {name} must have {width} features, got {x.shape[-1]}")
        if k.shape[0] != q.shape[0] or v.shape[:2] != k.shape[:2]:
            raise ValueError(
                "MultiheadAttention: query, key and value must have one batch size, and key as many steps as value; "
                f"got (batch, steps) {q.shape[:2]}, {k.shape[:2]} and {v.shape[:2]}"
            )

    def _mask(
        self, key_padding_mask: ArrayLike | None, attn_mask: ArrayLike | None, q: Tensor, k: Tensor
    ) -> np.ndarray | None:
        """Both masks as one, additive, (B or 1, H or 1, T or 1, S)."""
        batch, queries, keys = q.shape[0], q.shape[1], k.shape[1]
        scores = batch, self.num_heads, queries, keys
        total: np.ndarray | None = None
        if key_padding_mask is not None:
            padding = _added("key_padding_mask", key_padding_mask, q.data)
            if padding.shape != (batch, keys) and padding.shape != (keys,):
                raise ValueError(
                    f"MultiheadAttention: key_padding_mask must have shape ({batch}, {keys}), got {padding.shape}"
                )
            total = attention_mask("MultiheadAttention", padding.reshape(-1, 1, 1, keys), scores, q.data)
        if attn_mask is not None:
            added = _added("attn_mask", attn_mask, q.data)
            if added.shape not in ((queries, keys), (batch * self.num_heads, queries, keys)):
                raise ValueError(
                    f"MultiheadAttention: attn_mask must have shape ({queries}, {keys}) or "
                    f"({batch * self.num_heads}, {queries}, {keys}), got {added.shape}"
                )
            added = added.reshape(
                -1 if added.ndim == 2 else batch, 1 if added.ndim == 2 else self.num_heads, queries, keys
            )
            total = added if total is None else total + added
        return total

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}" + (f", dropout={self.dropout}" if self.dropout else "")


def rows_to_extend(owner: str, x: ArrayLike, width: int, dtype: np.dtype) -> np.ndarray:
    """x (B, T, E) as a contiguous array. Raises ValueError for another shape, TypeError for another dtype."""
    a = unwrap(x)
    if a.ndim != 3 or a.shape[2] != width or not len(a):
        raise ValueError(f"{owner}: extend takes x (B, T, {width}), got {a.shape}")
    if a.dtype != dtype:
        raise TypeError(f"{owner}: x must have the dtype of the weights, {dtype}, got {a.dtype}")
    return a if on_device(a) else np.ascontiguousarray(a)


def _added(name: str, mask: ArrayLike, query: np.ndarray) -> np.ndarray:
    """A mask as floats to add: -inf where it says True."""
    found, dtype = unwrap(mask), query.dtype
    check_one_device("MultiheadAttention", ("query", name), (query, found))
    if found.dtype == bool:
        return np.where(found, dtype.type(-np.inf), dtype.type(0))
    if found.dtype != dtype:
        raise TypeError(f"MultiheadAttention: {name} must be bool or {dtype}, got {found.dtype}")
    return found


def _with_weights(
    q: Tensor, k: Tensor, v: Tensor, mask: np.ndarray | None, causal: bool, dropout: float
) -> tuple[Tensor, Tensor]:
    """(y, weights (B, H, T, S)) with the whole matrix; a query that may look nowhere has weights of 0."""
    scores = q @ k.transpose(2, 3) * (1 / math.sqrt(q.shape[-1]))
    added = np.zeros_like(scores.data, shape=(1, 1, *scores.shape[2:])) if mask is None else mask
    if causal:
        added = added + np.triu(np.full_like(scores.data, -np.inf, shape=scores.shape[2:]), 1)
    blind = np.isneginf(added).all(axis=-1, keepdims=True)
    weights = F.softmax(scores + np.where(blind, 0, added).astype(scores.dtype), axis=-1)
    if on_device(blind) or blind.any():  # whether any is, the CPU would have to wait for
        weights = weights * (~blind).astype(scores.dtype)
    return (F.dropout(weights, dropout) if dropout else weights) @ v, weights
