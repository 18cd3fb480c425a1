"""Numbers that the host computes for a kernel and that differ from call to call, in device memory."""

from __future__ import annotations

import numpy as np

from ..capturing import LOCAL


def on_device(like, numbers, dtype=None):
    """An array of these numbers beside `like`, in its dtype where no other is given.

    While a graph is captured it holds the numbers of each replay; the caller runs in `capturing.again` then.
    """
    values = np.array(numbers, dtype or like.dtype)
    return like.device.upload(values) if LOCAL.capture is None else LOCAL.capture.numbers(values)
