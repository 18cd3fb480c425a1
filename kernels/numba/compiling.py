"""Says on stderr when kernels are compiled for the first time, since calls then take seconds, and counts them.

One line in a process, and none where all kernels come from the cache; another one where they cannot be kept.
``DLFAST_QUIET=1`` leaves them out.
"""

from __future__ import annotations

import os
import sys

from numba.core import event

_PACKAGE = __package__


class Compilations(event.Listener):
    """Hears of everything that Numba compiles; heeds our kernels, not the helpers compiled into them."""

    def __init__(self, quiet: bool):
        self.quiet = self.silent = quiet  # the first also after the line has been said
        self.trouble = ""  # why compiled kernels could not be kept
        self.count = 0  # kernels compiled by this process
        self.where = ""  # they are kept, to be told
        self._depth = 0

    def on_start(self, event) -> None:
        if self._is_ours(event):
            self._depth += 1
            if self._depth == 1:
                self.count += 1
                self._tell()

    def on_end(self, event) -> None:
        self._depth -= self._is_ours(event)

    def not_kept(self, error: Exception) -> None:
        """Note that a compiled kernel could not be written, and say so the first time."""
        if not self.trouble and not self.silent and sys.stderr is not None:
            print(
                f"dlfast: compiled kernels cannot be kept, so each process compiles them anew: {error}", file=sys.stderr
            )
        self.trouble = self.trouble or str(error)

    @staticmethod
    def _is_ours(event) -> bool:
        return event.data["dispatcher"].py_func.__module__.startswith(_PACKAGE)

    def _tell(self) -> None:
        if not self.quiet and sys.stderr is not None:
            self.quiet = True
            what = f"dlfast: compiling kernels for this processor, which takes seconds once; {self.where}"
            print(f"{what} (`dlfast warmup` compiles ahead, DLFAST_QUIET=1 hides this line)", file=sys.stderr)


def _is_quiet(environ=os.environ) -> bool:
    return environ.get("DLFAST_QUIET", "").strip() not in ("", "0")


compilations = Compilations(_is_quiet())
event.register("numba:compile", compilations)
