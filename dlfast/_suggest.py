"""What a module says of a name that it has not: the nearest ones, and where else that name is."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_PLACES = ("", ".nn", ".functional", ".optim", ".init", ".data", ".train", ".models")


def missing(module: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a module of this name."""
    shown = f"module {module!r}"

    def __getattr__(name: str) -> Any:
        message = f"{shown} has no attribute {name!r}"
        if not name.startswith("_"):
            message += advice(module, name)
        raise AttributeError(message)

    return __getattr__


def advice(module: str, name: str) -> str:
    """The end of the message."""
    package = module.partition(".")[0]
    others = [f"{package}{place}" for place in _PLACES if f"{package}{place}" != module]
    elsewhere = [f"{other}.{name}" for other in others if name in vars(sys.modules.get(other, sys))]
    if elsewhere:
        return f"; there is {elsewhere[0]}"
    public = getattr(sys.modules[module], "__all__", ())
    own = [
        known
        for known, value in vars(sys.modules[module]).items()
        if known[0] != "_" and (known in public or not isinstance(value, ModuleType))
    ]
    near = nearest(name, own)
    return f"; did you mean {' or '.join(near)}?" if near else f"; it has {', '.join(sorted(own))}"


def nearest(name: str, known: list[str]) -> list[str]:
    """Up to three names that are spelled alike, whatever their case and underscores; the most alike first."""
    plain: dict[str, str] = {}
    for one in known:
        plain.setdefault(_bare(one), one)
    return [plain[match] for match in difflib.get_close_matches(_bare(name), list(plain), 3, 0.5)]


def _bare(name: str) -> str:
    return name.replace("_", "").lower()
