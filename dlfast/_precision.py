"""Whether kernels may trade accuracy for speed."""

from __future__ import annotations

_precision = "fast"


def set_precision(precision: str) -> None:
    """Let convolutions use Winograd's algorithm ("fast", the default), or not ("exact"); see `kernels.conv_methods`.

    Winograd's rounding error is about six times that of the direct methods in the output and in the image's gradient,
    up to 25 times in the weights'. A NaN or an infinity reaches only what is computed from it, as in the direct
    methods, which do the work again where there is one. Raises ValueError for any other word.
    """
    global _precision
    if precision not in ("fast", "exact"):
        raise ValueError(f"set_precision: precision must be 'fast' or 'exact', got {precision!r}")
    _precision = precision


def get_precision() -> str:
    """The word given to `set_precision` last."""
    return _precision


def automatic() -> str:
    """How convolutions choose their method, in the words of `kernels.conv_methods`."""
    return "auto" if _precision == "fast" else "exact"
