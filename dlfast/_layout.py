"""Words for an x of the wrong shape: what to do where its axes come in PyTorch's order, or one is missing."""

from __future__ import annotations

from typing import Any

import numpy as np

_KINDS = {3: ("sequences are (N, L, C)", (0, 2, 1)), 4: ("images are (N, H, W, C)", (0, 2, 3, 1))}


def channels_first(x: Any, channels: int) -> str:
    """The rest of an error about the channels of x, where the second axis has as many as were expected of the last."""
    shape = tuple(x.shape)
    if len(shape) not in _KINDS or shape[1] != channels or shape[-1] == channels:
        return ""
    kind, order = _KINDS[len(shape)]
    return f"; {kind} here, channels last: {'x.transpose' if isinstance(x, np.ndarray) else 'x.permute'}{order}"


def missing_axis(x: Any, axes: int, channels: int | None) -> str:
    """The rest of an error about the number of axes of x, where a batch of one or a single channel would help."""
    shape = tuple(x.shape)
    if len(shape) != axes - 1 or channels is None:
        return ""
    if channels == 1 and shape[-1] != 1:
        return "; a single channel needs its axis: x[..., None]"
    return "; a batch of one needs its axis: x[None]" if shape[-1] == channels else ""
