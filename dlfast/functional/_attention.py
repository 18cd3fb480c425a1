"""Scaled dot-product attention and rotary positions. B batch, H heads, T queries, S keys, D features of a head."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from .. import _check as check
from .. import random
from .._autocast import FLOAT32, arrays_for, cast
from .._devices import CPU, check_one_device, moved, on_device
from ..kernels import active
from ..kernels.halves import is_half
from ..tensor import ArrayLike, Tensor, arrays_of, record, run, unwrap


def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    attn_mask: ArrayLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """y = softmax(scale q k^T + mask) v for each head, without the T x S matrix: memory grows with T + S.

    query, y (..., H, T, D), key and value (..., H, S, D) with the same leading axes; with enable_gqa they may have
    fewer heads, of which each serves H / heads of the query's. attn_mask: broadcasts to (..., H, T, S), True where a
    query may look, or floats that are added to the scores (no gradient flows to them). is_causal: query i sees keys
    0 .. i. scale: 1 / sqrt(D) if None. dropout_p in [0, 1): the share of probabilities that become 0; it always acts,
    so pass 0 when not training.
    A query that may look nowhere gives 0 and has gradients of 0 (PyTorch's matrix form gives NaN).
    Raises TypeError for dtypes that are not all float32 or all float64 and masks of other kinds, ValueError for shapes
    that do not fit. Source: Vaswani et al. 2017, section 3.2.1; Dao et al. 2022, "FlashAttention".
    """
    op = "scaled_dot_product_attention"
    inputs = query, key, value
    check.given(op, ("query", "key", "value"), inputs)
    q, k, v = arrays_of(inputs)
    check.floats(op, ("query", "key", "value"), (q, k, v))
    if q.ndim < 3:
        raise ValueError(f"{op}: query must have shape (..., heads, T, D), got {q.shape}")
    _check_heads(op, q.shape, k.shape, v.shape, enable_gqa)
    dropout_p = check.number(op, "dropout_p", dropout_p, 0, 1)
    scale = (
        1 / math.sqrt(max(1, q.shape[-1])) if scale is None else check.number(op, "scale", scale, -math.inf, math.inf)
    )
    lead = q.shape[:-3]
    mask = attention_mask(op, attn_mask, (*q.shape[:-1], k.shape[-2]), q)
    options = {"heads_last": False, **_options(bool(is_causal), scale, dropout_p)}
    if q.ndim == 4:
        return run("attention", (*inputs, None), [q, k, v, mask], options)
    if on_device(q):
        q, k, v, mask = arrays_for("attention", inputs, (q, k, v, mask))
    folded = [x.reshape(math.prod(lead), *x.shape[-3:]) for x in (q, k, v)]
    forward, backward = active("attention", folded[0])
    y, saved = forward(*folded, mask, **options)
    return record(y.reshape(q.shape), _folded_backward, (backward, saved, y.shape), inputs, True)


def _folded_backward(dy, saved, needs):
    """Of attention over other than two leading axes, which are one while it runs."""
    backward, inner, folded = saved
    gradients = backward(dy.reshape(folded), inner, (*needs, False))
    return [None if dx is None else dx.reshape(*dy.shape[:-3], *dx.shape[1:]) for dx in gradients[:3]]


def self_attention(
    qkv: ArrayLike, mask: np.ndarray | None = None, *, causal: bool = False, dropout_p: float = 0.0
) -> Tensor:
    """Attention of sequences to themselves: qkv (B, T, 3, H, D), queries, keys and values of each step; y (B, T, H, D).

    mask: as `attention_mask` makes it. The gradient is one array like qkv, which spares taking it apart.
    Raises TypeError for dtypes other than float32 and float64, ValueError for another shape.
    """
    a = unwrap(qkv)
    check.is_float("self_attention", "qkv", a)
    if a.ndim != 5 or a.shape[2] != 3:
        raise ValueError(f"self_attention: qkv must have shape (B, T, 3, H, D), got {a.shape}")
    dropout_p = check.number("self_attention", "dropout_p", dropout_p, 0, 1)
    options = _options(causal, 1 / math.sqrt(max(1, a.shape[4])), dropout_p)
    return run("self_attention", (qkv, None), [a, mask], options)


def _options(causal: bool, scale: float, dropout_p: float) -> dict[str, Any]:
    seed = random.seed64() if dropout_p else 0
    return {"causal": causal, "scale": scale, "dropout": dropout_p, "seed": seed}


def _check_heads(op: str, q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], enable_gqa: bool) -> None:
    if k[-1:] != q[-1:] or len(k) != len(q) or k[:-3] != q[:-3]:
        raise ValueError(f"{op}: key must have shape (..., heads, S, {q[-1]}) to match query {q}, got {k}")
    if v != k:
        raise ValueError(f"{op}: value must have key's shape {k}, got {v}")
    if k[-3] != q[-3] and not enable_gqa:
        raise ValueError(f"{op}: key has {k[-3]} heads and query {q[-3]}; with enable_gqa=True fewer may serve more")
    if k[-3] != q[-3] and (k[-3] == 0 or q[-3] % k[-3]):
        raise ValueError(f"{op}: key's {k[-3]} heads must divide query's {q[-3]}")


def attention_mask(op: str, mask: ArrayLike | None, scores: tuple[int, ...], query: np.ndarray) -> np.ndarray | None:
    """A mask that broadcasts to `scores` (..., H, T, S) as kernels take it: additive, (B or 1, H or 1, T or 1, S)."""
    if mask is None:
        return None
    found, dtype = unwrap(mask), FLOAT32 if is_half(query.dtype) else query.dtype
    check_one_device(op, ("query", "attn_mask"), (query, found))
    if isinstance(mask, Tensor) and mask.requires_grad:
        raise ValueError(f"{op}: attn_mask has no gradient here; add it to the scores by hand, or detach() it")
    if found.dtype == bool:
        found = np.where(found, dtype.type(0), dtype.type(-np.inf))
    elif found.dtype not in (dtype, query.dtype):
        raise TypeError(f"{op}: attn_mask must be bool or of query's dtype {dtype}, got {found.dtype}")
    try:
        np.broadcast_to(found, scores)
    except ValueError:
        raise ValueError(f"{op}: attn_mask must broadcast to {scores}, got {found.shape}") from None
    found = found.reshape((1,) * (len(scores) - found.ndim) + found.shape)
    if found.ndim != 4:
        lead = math.prod(found.shape[:-3])
        if lead != 1 and found.shape[:-3] != scores[:-3]:
            found = np.broadcast_to(found, (*scores[:-3], *found.shape[-3:]))
            lead = math.prod(scores[:-3])
        found = found.reshape(lead, *found.shape[-3:])
    found = np.broadcast_to(found, (*found.shape[:3], scores[-1]))
    return cast(found, query.dtype) if on_device(found) else np.ascontiguousarray(found)


def rotary_embedding(x: ArrayLike, base: float = 10000.0, start: int = 0) -> Tensor:
    """Turns pairs of features by an angle that grows with the step, so that scores depend on distances alone.

        y[t, i] = x[t, i] cos a - x[t, i + D/2] sin a      y[t, i + D/2] = x[t, i + D/2] cos a + x[t, i] sin a
        a = (start + t) base^(-2 i / D),  i < D / 2

    x, y (..., T, D), D even. start: the step of the first row. Raises TypeError for dtypes other than float32 and
    float64, ValueError for an odd D. Source: Su et al. 2021, "RoFormer", section 3.2.2, halves instead of neighbours.
    """
    a = unwrap(x)
    check.is_float("rotary_embedding", "x", a)
    if a.ndim < 2 or a.shape[-1] % 2:
        raise ValueError(f"rotary_embedding: x must have shape (..., T, D) with an even D, got {a.shape}")
    start = check.integer("rotary_embedding", "start", start, 0)
    base = check.number("rotary_embedding", "base", base, 0, math.inf, low_open=True)
    turn = _turns(start, a.shape[-2], a.shape[-1] // 2, base, a.dtype, a.device if on_device(a) else CPU)
    return record(_turned(a, *turn), _rotary_backward, turn, (x,))


@lru_cache(maxsize=16)
def _turns(start: int, steps: int, half: int, base: float, dtype: np.dtype, place: Any) -> tuple[Any, Any]:
    """Cosine and sine of the angles (T, D / 2), on a device."""
    angle = np.arange(start, start + steps)[:, None] * base ** (-np.arange(half) / max(1, half))
    return moved(np.cos(angle).astype(dtype), place), moved(np.sin(angle).astype(dtype), place)


def _turned(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    y, half = np.empty_like(x, order="C"), x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    y[..., :half] = first * cos - second * sin
    y[..., half:] = second * cos + first * sin
    return y


def _rotary_backward(dy, saved, needs):
    cos, sin = saved
    return (_turned(dy, cos, -sin),)
