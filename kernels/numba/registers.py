"""How wide LLVM makes the registers of loops that it vectorises by itself: ``DLFAST_NUMBA_BITS=512``.

On most processors with AVX-512 LLVM keeps to 256 bits there (its `prefer-256-bit`), since wider ones once lowered the
clock; tiles (simd.py) have 512 bits anyway. Asked for 512, it takes them in Numba's loops too, in the whole process, if
nothing has been compiled before: other libraries' functions too, so it is for the user to ask. On a Zen 5 the rows of
``dlfast bench --suite layers --suite optim --backends numba`` take 0.93 of the time in the geometric mean, and 1.01 at
most; other processors differ.
"""

from __future__ import annotations

import os

from llvmlite import binding
from numba.core import config


def features() -> str:
    """What Numba compiles for, as LLVM names it: "+avx2,-avx512f,..."."""
    return config.CPU_FEATURES or binding.get_host_cpu_features().flatten()


def widened(features: str, wish: str | None) -> str:
    """The features with what lifts the limit, where that is wished for and the processor has AVX-512."""
    return f"{features},-prefer-256-bit" if wish == "512" and "+avx512f" in features else features


if widened(features(), os.environ.get("DLFAST_NUMBA_BITS")) != features():
    config.CPU_FEATURES = widened(features(), "512")
