"""Where compiled CUDA kernels are kept."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir


def cache_folder() -> Path:
    """The folder for machine code, below that of all compiled kernels (``DLFAST_CACHE_DIR`` moves it)."""
    return Path(os.environ.get("DLFAST_CACHE_DIR") or user_cache_dir("dlfast", appauthor=False)) / "cubins"
