"""What `dlfast.explain` gives back: rows of figures, printed as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from .._printing import WIDTH, plain_text
from ..kernels.conv_methods import Choice

_TIMED = "Each layer was timed alone, on its own input; MFLOP and GF/s count forward and backward by the definition"


class Row(NamedTuple):
    """One layer. Seconds are of all its calls; backward is None where nothing requires a gradient.

    forward, dx, dweight: the algorithm of each pass, "-" where it is not needed, "" where the backend has but one.
    flops counts the passes that ran. gflops and of_peak are None for layers that memory limits.
    """

    name: str
    layer: str
    output: tuple[int, ...] | None
    calls: int
    backend: str
    forward: str
    dx: str
    dweight: str
    why: tuple[Choice, ...]
    flops: int
    forward_seconds: float
    backward_seconds: float | None
    gflops: float | None
    of_peak: float | None


@dataclass(frozen=True, repr=False)
class Explanation:
    """`rows` of all layers in the order in which they ran, and `whole`, the model measured in one piece.

    peak: GF/s of multiply-adds that `threads` threads can do in `dtype`, None for a device. backends: the names in
    force. device: where the model lies. tf32: whether `cuda.allow_tf32` is on.
    """

    rows: list[Row]
    whole: Row
    peak: float | None
    threads: int
    dtype: str
    backends: tuple[str, ...]
    device: str = "cpu"
    tf32: bool = False

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return plain_text(self)

    __repr__ = __str__

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        return Group(_table(self), Text("\n".join([*_reasons(self.rows), *_notes(self)])))


def _table(explanation: Explanation) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=0, collapse_padding=True, pad_edge=False, show_footer=False)
    for name in ("name", "layer", "output", "backend", "forward", "dx", "dweight"):
        table.add_column(name, overflow="fold")
    for name in ("MFLOP", "fwd ms", "bwd ms", "GF/s", "peak"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in explanation.rows:
        table.add_row(*_cells(row))
    table.add_section()
    layers = [sum(row.forward_seconds for row in explanation.rows)]
    layers.append(sum(row.backward_seconds or 0 for row in explanation.rows))
    table.add_row("", "all layers", *[""] * 6, *map(_milliseconds, layers), "", "")
    table.add_row(*_cells(explanation.whole))
    return table


def _cells(row: Row) -> list[str]:
    layer = row.layer if row.calls == 1 else f"{row.layer}, {row.calls} times"
    output = "" if row.output is None else "x".join(map(str, row.output)) or "scalar"
    return [
        row.name,
        layer,
        output,
        row.backend,
        row.forward,
        row.dx,
        row.dweight,
        _millions(row.flops) if row.flops else "",
        _milliseconds(row.forward_seconds),
        "-" if row.backward_seconds is None else _milliseconds(row.backward_seconds),
        "" if row.gflops is None else f"{row.gflops:.1f}",
        "" if row.of_peak is None else f"{100 * row.of_peak:.0f}%",
    ]


def _millions(count: int) -> str:
    return f"{count / 1e6:,.{1 if count >= 1e5 else 4}f}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.{3 if seconds < 1e-3 else 2 if seconds < 1 else 0}f}"


def _reasons(rows: list[Row]) -> list[str]:
    """A line for each algorithm and reason, with the layers they hold for."""
    where: dict[Choice, list[str]] = {}
    for row in rows:
        for choice in row.why:
            where.setdefault(choice, []).append(row.name)
    lines = []
    for choice, names in where.items():
        line, shown = f"{choice.method}: {choice.why}", ""
        for i, name in enumerate(names):
            left = f" and {len(names) - i} more"
            if len(line) + len(shown) + len(name) + len(left) + 6 > WIDTH:
                shown += left
                break
            shown += f", {name}" if shown else name
        lines.append(f"{line} ({shown})" if any(names) else line)
    return lines


def _notes(explanation: Explanation) -> list[str]:
    if explanation.device != "cpu":
        tf32 = "allowed" if explanation.tf32 else "not allowed"
        where = f"On {explanation.device}, in {explanation.dtype}; TF32 is {tf32}."
        return ["", where, f"{_TIMED}. -: not needed, as for the gradient of data"]
    names = ", ".join(map(repr, explanation.backends))
    chosen = "auto takes the one measured fastest" if explanation.backends == ("auto",) else f"use_backend({names})"
    threads = f"{explanation.threads} thread{'s' if explanation.threads > 1 else ''}"
    return [
        "",
        f"Backends: {chosen}. Peak: {explanation.peak:.0f} GF/s of multiply-adds in {explanation.dtype}, {threads}.",
        f"{_TIMED}, so",
        "Winograd, which needs fewer multiplications, may pass the peak. -: not needed, as for the gradient of data",
    ]
