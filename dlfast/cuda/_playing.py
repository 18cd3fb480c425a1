"""Whether the CPU plays the GPU: ``DLFAST_CUDA=host``, and `host`, which overrules it for a while."""

from __future__ import annotations

import os

_VARIABLE = "DLFAST_CUDA"
_choice: bool | None = None


def playing() -> bool:
    """Whether the CPU plays the GPU. Raises ValueError for a DLFAST_CUDA other than "host" or nothing."""
    if _choice is not None:
        return _choice
    wish = os.environ.get(_VARIABLE, "").strip()
    if wish not in ("", "host"):
        raise ValueError(f"{_VARIABLE} must be 'host', which lets the CPU play the GPU, or be unset; got {wish!r}")
    return wish == "host"


class host:
    """``with dlfast.cuda.host():`` lets the CPU play the GPU as "cuda:0", in all threads; ``host(False)`` does not.

    Every kernel runs on the CPU as it would on the GPU, and what would be wrong there is an error here (docs/cuda.md).
    """

    def __init__(self, on: bool = True):
        self._on = bool(on)

    def __enter__(self) -> host:
        global _choice
        self._before, _choice = _choice, self._on
        return self

    def __exit__(self, *exception) -> None:
        global _choice
        _choice = self._before
