"""Rich tables as plain text."""

from __future__ import annotations

from io import StringIO
from typing import Any

WIDTH = 120


def plain_text(renderable: Any, width: int = WIDTH) -> str:
    """What rich prints of it, without colours and without spaces at the ends of lines."""
    from rich.console import Console

    text = StringIO()
    Console(file=text, width=width, color_system=None, legacy_windows=False).print(renderable)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().split("\n"))
