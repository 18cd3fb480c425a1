"""Whether NVIDIA's libraries may round float32 to TF32 (10 bits of mantissa) in products and convolutions."""

from __future__ import annotations


class allow_tf32:
    """Let cuBLASLt and cuDNN multiply float32 numbers as TF32; until changed, or for the length of a ``with``.

    Tensor cores then take about a tenth of the time, and products have a relative error of 2^-11 a number (float32:
    2^-24); sums stay float32. Off by default, as in PyTorch's matmul; dlfast's own kernels know no TF32. It holds for
    the whole process, and for what is launched from then on. Raises TypeError for anything but True and False.
    """

    def __init__(self, on: bool = True):
        global _allowed
        if type(on) is not bool:
            raise TypeError(f"allow_tf32: expected True or False, got {on!r}")
        self._before, _allowed = _allowed, on

    def __enter__(self) -> allow_tf32:
        return self

    def __exit__(self, *exception) -> None:
        global _allowed
        _allowed = self._before


def tf32_is_allowed() -> bool:
    """Whether `allow_tf32` is on."""
    return _allowed


_allowed = False
