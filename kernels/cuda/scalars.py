"""Numbers that the host computes for a kernel and that differ from call to call, in device memory."""

from __future__ import annotations

import numpy as np


def on_device(like, numbers, dtype=None):
    """An array of these numbers beside `like`, in its dtype where no other is given."""
    return like.device.upload(np.array(numbers, dtype or like.dtype))
