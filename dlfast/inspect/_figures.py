"""Pictures by matplotlib: figures, their colours, and files of them."""

from __future__ import annotations

from typing import Any

from .._files import write_atomically

COLOURS = ("#2f6fde", "#d9622b", "#2f9e6e", "#8b5cd6")
FAINT = "#8a8f98"


def figure(width: float = 7.0, height: float = 3.5) -> Any:
    """An empty figure of so many inches. Raises ImportError without matplotlib (the extra ``plots``)."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: install dlfast with its extra `plots`") from error
    return Figure(figsize=(width, height), layout="constrained")


class Pictured:
    """What can be drawn: a subclass gives `figure()`."""

    def figure(self) -> Any:
        """The picture as a matplotlib Figure."""
        raise NotImplementedError(f"{type(self).__name__} must define figure")

    def plot(self, path: Any) -> None:
        """Draw the picture into an image file; the suffix of ``path`` says the format.

        Raises ImportError without matplotlib (the extra ``plots``).
        """
        write_atomically(path, self.figure().savefig)


def bare(axes: Any) -> Any:
    """The axes without the frame's upper and right line, with a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def short(name: str, most: int = 26) -> str:
    """A layer's name that fits beside a bar, as text: matplotlib would read what stands between $ signs as TeX."""
    return (name if len(name) <= most else "…" + name[1 - most :]).replace("$", r"\$")


def layer_rows(axes: Any, names: list[str]) -> None:
    """One row for each layer, the first on top."""
    axes.set_yticks(range(len(names)), [short(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)


def height_of(rows: int) -> float:
    """Inches for a picture with so many layers."""
    return min(24.0, 1.1 + 0.26 * max(rows, 3))
