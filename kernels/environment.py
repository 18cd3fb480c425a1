"""The environment variables of dlfast. One that is not understood is told once, on stderr, with what is done instead.

(Those that ask for threads or bytes raise: nobody could tell what was meant.)
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping

ISAS = ("base", "avx2", "avx512")
SPIN_US = 200  # outlasts the Python between two kernels of a training step
MOST_SPIN_US = 1_000_000
VARIABLES = (
    "DLFAST_CACHE_DIR",
    "DLFAST_CUDA",
    "DLFAST_CUDA_COMPILER",
    "DLFAST_DATA_DIR",
    "DLFAST_ISA",
    "DLFAST_MEMORY_LIMIT",
    "DLFAST_NCCL_FILE",
    "DLFAST_NUMBA_BITS",
    "DLFAST_NUM_THREADS",
    "DLFAST_QUIET",
    "DLFAST_SPIN_US",
)


def complaints(isa: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """What is not understood, a sentence each; ``isa`` is the instruction set in use."""
    found = []
    wish = environ.get("DLFAST_ISA", "")
    if wish and wish not in ISAS:
        found.append(f"DLFAST_ISA must be one of {', '.join(ISAS)}, got {wish!r}: using {isa}")
    elif wish and wish != isa:
        found.append(f"DLFAST_ISA={wish}, but this processor has not all of it: using {isa}")
    wish = environ.get("DLFAST_SPIN_US", "")
    if wish and _whole(wish, MOST_SPIN_US) is None:
        found.append(f"DLFAST_SPIN_US must be a whole number in 0..{MOST_SPIN_US}, got {wish!r}: using {SPIN_US}")
    wish = environ.get("DLFAST_QUIET", "").strip()
    if wish not in ("", "0", "1"):
        found.append(f"DLFAST_QUIET must be 0 or 1, got {wish!r}: using 1")
    for name in sorted(environ):
        if name.startswith("DLFAST_") and name not in VARIABLES:
            near = difflib.get_close_matches(name, VARIABLES, 1, 0.85)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(VARIABLES)}"
            found.append(f"{name} is no variable of dlfast and has no effect; {hint}")
    return found


def spin_us(environ: Mapping[str, str] = os.environ) -> int:
    """DLFAST_SPIN_US, the microseconds for which threads spin before they sleep."""
    wish = _whole(environ.get("DLFAST_SPIN_US", ""), MOST_SPIN_US)
    return SPIN_US if wish is None else wish


def _whole(text: str, most: int) -> int | None:
    """A number from 0 to `most`, None where the text is none."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and int(text) <= most else None


def tell() -> None:
    """Print the complaints, where there is a stderr."""
    from .runtime.machine import isa  # a kernel: it needs the rest of the package

    for sentence in complaints(isa()) if sys.stderr is not None else ():
        print(f"dlfast: {sentence}", file=sys.stderr)
