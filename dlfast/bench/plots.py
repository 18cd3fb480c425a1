"""Results as a picture: ratios as bars, and the roofline. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._files import write_atomically
from .results import BEST, ON_DEVICE, Result, Roofs

_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")


def draw(path, results: Sequence[Result], roofs: dict[int, Roofs]) -> None:
    """Both pictures, side by side, into one image file whose suffix says the format."""
    rows = list(dict.fromkeys((result.group.name, result.row.name) for result in results))
    figure = Figure(figsize=(15, max(5, 2 + 0.25 * len(rows))), layout="constrained")
    bars, roofline = figure.subplots(1, 2)
    draw_ratios(bars, results, rows)
    draw_roofline(roofline, results, roofs)
    write_atomically(path, figure.savefig)


def draw_ratios(axes: Axes, results: Sequence[Result], rows: list[tuple[str, str]]) -> None:
    """A bar for each row and number of threads, a line at 1, a mark at each target."""
    threads = sorted({result.threads for result in results})
    height = 0.8 / len(threads)
    for i, count in enumerate(threads):
        mine = [result for result in results if result.threads == count and result.ratio() is not None]
        places = [rows.index((result.group.name, result.row.name)) + (i + 0.5) * height - 0.4 for result in mine]
        axes.barh(places, [result.ratio() or 0 for result in mine], height, label=_label(count), color=_colour(i))
        wishes = [(result.row.targets or {}).get(BEST, np.nan) for result in mine]
        axes.plot(wishes, places, "|", color="black", markersize=9, label="" if i else "target")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [f"{group}: {row}" for group, row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="time of the fastest other library / time of dlfast", title="Ratios: right of 1 dlfast is faster")
    axes.legend()


def draw_roofline(axes: Axes, results: Sequence[Result], roofs: dict[int, Roofs]) -> None:
    """GF/s over flops a byte, a point for each row, under min(peak, copy rate times intensity)."""
    for i, (count, roof) in enumerate(roofs.items()):
        mine = [result for result in results if result.threads == count and result.row.flops and result.row.bytes]
        intensity = np.array([result.row.flops / result.row.bytes for result in mine])
        reach = np.geomspace(min(intensity, default=1) / 2, max(intensity, default=100) * 2, 50)
        axes.plot(reach, np.minimum(roof.peak, roof.copy * reach), color=_colour(i))
        axes.plot(intensity, [result.gflops for result in mine], "o", color=_colour(i), label=_label(count))
    axes.set(xscale="log", yscale="log", xlabel="flops a byte (each array once for each pass)", ylabel="GF/s")
    axes.set_title("Roofline, as measured; Winograd may pass it")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _label(threads: int) -> str:
    if threads == ON_DEVICE:
        return "on the device"
    return f"{threads} thread{'s' if threads > 1 else ''}"


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]
