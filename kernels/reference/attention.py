"""Scaled dot-product attention. B batch, H heads, Hk heads of keys and values (Hk divides H: a group of H / Hk queries'
heads shares one), T queries, S keys, D features of a head.

mask: None or additive, (B or 1, H or 1, T or 1, S). causal: query i sees the keys 0 .. i. A query that sees nothing,
all of its scores being -inf, gives 0 and has gradients of 0. dropout: the share of probabilities that become 0, the
others are divided by 1 - dropout; which ones follows from the seed.

Source: Vaswani et al. 2017, section 3.2.1.
"""

import numpy as np

from ..sums import product
from .elementwise import _hash, like


def attention_forward(q, k, v, mask, *, heads_last, causal, scale, dropout, seed):
    """y = drop(softmax(scale q k^T + mask)) v for each head.

    q, y (B, H, T, D), k and v (B, Hk, S, D); with heads_last the heads stand behind the rows: (B, T, H, D).
    Saved: lse (B, H, T), the logarithm of each row's sum of exponentials, +inf for a row that sees nothing.
    """
    p, lse = _probabilities(*_heads_first(heads_last, q, k), mask, causal, scale)
    y = product(_dropped(p, dropout, seed), _grouped(*_heads_first(heads_last, v), q.shape[2 if heads_last else 1]))
    (y,) = _heads_first(heads_last, y)
    return like(y, q), (q, k, v, mask, like(y, q), lse, heads_last, causal, scale, dropout, seed)


def attention_backward(dy, saved, needs):
    """dv = drop(P)^T dy,  ds = P (drop(dy v^T) - sum of dy y) scale,  dq = ds k,  dk = ds^T q; none for the mask."""
    q, k, v, mask, y, _, heads_last, causal, scale, dropout, seed = saved
    gradients = _gradients(*_heads_first(heads_last, dy, q, k, v, y), mask, causal, scale, dropout, seed)
    return *(
        like(d, dy) if need else None for d, need in zip(_heads_first(heads_last, *gradients), needs, strict=False)
    ), None


def self_attention_forward(qkv, mask, *, causal, scale, dropout, seed):
    """Attention of sequences to themselves: qkv (B, T, 3, H, D) holds queries, keys and values; y (B, T, H, D)."""
    q, k, v = (qkv[:, :, i] for i in range(3))
    options = {"heads_last": True, "causal": causal, "scale": scale, "dropout": dropout, "seed": seed}
    y, (*_, kept, lse, _, _, _, _, _) = attention_forward(q, k, v, mask, **options)
    return y, (qkv, mask, kept, lse, causal, scale, dropout, seed)


def self_attention_backward(dy, saved, needs):
    """The three gradients of `attention_backward`, side by side like qkv."""
    qkv, mask, y, lse, causal, scale, dropout, seed = saved
    if not needs[0]:
        return None, None
    q, k, v = (qkv[:, :, i] for i in range(3))
    same = (q, k, v, mask, y, lse, True, causal, scale, dropout, seed)
    return np.stack(attention_backward(dy, same, (True, True, True, False))[:3], axis=2), None


def _heads_first(heads_last, *arrays):
    """(B, T, H, D) as (B, H, T, D), and back: the same exchange."""
    return tuple(np.swapaxes(x, 1, 2) for x in arrays) if heads_last else arrays


def _grouped(x, heads):
    """Each head of keys or values as often as there are heads of queries that share it."""
    return np.repeat(x, heads // x.shape[1], axis=1)


def _probabilities(q, k, mask, causal, scale):
    """(P, lse): softmax of the scores, 0 in rows that see nothing, and the logarithm of the sums."""
    with np.errstate(all="ignore"):
        scores = scale * product(q, np.swapaxes(_grouped(k, q.shape[1]), 2, 3))
        if mask is not None:
            scores = scores + mask
        if causal:
            hidden = np.arange(scores.shape[3]) > np.arange(scores.shape[2])[:, None]
            scores = np.where(hidden, -np.inf, scores)
        peak = np.max(scores, axis=3, keepdims=True, initial=-np.inf)
        e = np.exp(scores - np.where(peak == -np.inf, 0, peak))
        total = e.sum(axis=3, keepdims=True)
        lse = np.where(total == 0, np.inf, peak + np.log(total))
        return np.where(total == 0, 0, e / total), like(lse[..., 0], q)


def _dropped(p, dropout, seed):
    """p keep / (1 - dropout): keep where hash(seed, (row of all scores, key)) >= round(dropout 2^32)."""
    if not dropout:
        return p
    row = np.arange(np.prod(p.shape[:3], dtype=int), dtype=np.uint64).reshape(*p.shape[:3], 1)
    words = _hash(seed, (row << np.uint64(32)) | np.arange(p.shape[3], dtype=np.uint64))
    return np.where(words >= round(dropout * 2**32), p / (1 - dropout), 0)


def _gradients(dy, q, k, v, y, mask, causal, scale, dropout, seed):
    p, _ = _probabilities(q, k, mask, causal, scale)
    with np.errstate(all="ignore"):
        dp = _dropped(product(dy, np.swapaxes(_grouped(v, q.shape[1]), 2, 3)), dropout, seed)
        ds = np.where(p == 0, 0, p * (dp - (dy * y).sum(axis=3, keepdims=True)) * scale)
        dq = product(ds, _grouped(k, q.shape[1]))
        dk, dv = product(np.swapaxes(ds, 2, 3), q), product(np.swapaxes(_dropped(p, dropout, seed), 2, 3), dy)
    shared = k.shape[0], k.shape[1], q.shape[1] // k.shape[1], *k.shape[2:]
    return dq, dk.reshape(shared).sum(axis=2), dv.reshape(shared).sum(axis=2)
