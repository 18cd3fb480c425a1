"""The number of threads of the OpenBLAS that NumPy's wheels bring along; NumPy itself has no function for it."""

from __future__ import annotations

import ctypes
import re
from functools import cache
from pathlib import Path
from typing import Any

_MAPS = Path("/proc/self/maps")
_NAMES = [f"{scipy}openblas_{{}}_num_threads{bits}" for scipy in ("scipy_", "") for bits in ("64_", "")]


def get_num_threads() -> int | None:
    """The number of threads of NumPy's matrix product; None where that cannot be found out."""
    function = _function("get")
    return function() if function else None


def set_num_threads(count: int | None) -> None:
    """Set the number of threads of NumPy's matrix product, where that is possible; None changes nothing."""
    function = _function("set")
    if function and count is not None:
        function(count)


@cache
def _function(verb: str) -> Any:
    """OpenBLAS's function, by the names that the builds in NumPy's wheels give it."""
    try:
        paths = re.findall(r"(/\S*openblas\S*)$", _MAPS.read_text(), re.MULTILINE)
    except OSError:
        return None
    for path in sorted(set(paths), key=lambda path: "numpy" not in path):  # SciPy's wheels bring one of their own
        library = ctypes.CDLL(path)
        for name in _NAMES:
            if hasattr(library, name.format(verb)):
                return getattr(library, name.format(verb))
    return None
