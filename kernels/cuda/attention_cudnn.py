"""Attention of halves by cuDNN, where it does as `attention.py` does; heads are that file's `Heads`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .cudnn_problem import attention, attention_fits, attention_gradients


def forward(q: Any, k: Any, v: Any, mask: Any, y: Any, causal: bool, scale: float, dropout: float) -> Any:
    """Write y; lse (B, H, T), or None, and nothing done, where cuDNN cannot."""
    device = q.array.device
    if device.cudnn is None or not attention_fits(q, k, mask, dropout):
        return None
    lse = device.empty((q.batch, q.heads, q.rows), np.float32)
    arrays = [each.array for each in (q, k, v, y)]
    return lse if device.cudnn.run(attention(q, k, v, y, causal, scale), [*arrays, lse]) else None


def backward(
    dy: Any, q: Any, k: Any, v: Any, mask: Any, y: Any, lse: Any, out: list, causal: bool, scale: float, dropout: float
) -> bool:
    """Write the gradients of q, k and v; False, and nothing done, where cuDNN cannot or not all are wanted."""
    cudnn = q.array.device.cudnn
    if cudnn is None or any(each is None for each in out) or not attention_fits(q, k, mask, dropout):
        return False
    heads = q, k, v, y, dy
    arrays = [*(each.array for each in heads), lse, *(each.array for each in out)]
    return cudnn.run(attention_gradients(heads, out, causal, scale), arrays)
