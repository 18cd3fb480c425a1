"""Results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .results import BEST, ON_DEVICE, SLOWER, Check, Result, Roofs, Summary, summaries

_WORST = 8  # drawn rows that are shown
_LEGEND = """\
ms: median of the calls (minimum), contenders in turns in one process, results compared before. ratio: the fastest other
library's median over ours (one for each library where targets name them); green where the target holds, red where not.
GF/s: as if by the plain formula, so Winograd may pass 100% of the peak. GB/s where the copy rate is the nearer roof.
MB: most memory that a step takes, gradients included, beyond parameters and Adam's averages."""


def print_roofs(console: Console, facts: dict[str, str], roofs: dict[int, Roofs]) -> None:
    """The machine, the instructions in use, and what it does at best."""
    console.print(f"{facts['processor']}, {facts['instructions']}", soft_wrap=True)
    if "torch instructions" in facts:
        console.print(f"PyTorch {facts['torch']}: {facts['torch instructions']}", soft_wrap=True)
    for threads, roof in roofs.items():
        text = f"{roof.peak:.0f} GF/s of multiply-adds in registers, {roof.copy:.1f} GB/s of a copy (read + written)"
        console.print(f"{_count(threads)}: {text}", soft_wrap=True)


def print_results(console: Console, results: Sequence[Result]) -> None:
    """A table for each group on each number of threads, each followed by its mean, worst row and targets."""
    drawn = []
    for summary in summaries(results):
        console.print(results_table(worst_of(summary) if summary.results[0].group.drawn else summary))
        console.print(conclusion(summary) + "\n", soft_wrap=True)
        for note in dict.fromkeys(note for result in summary.results for note in result.wrong):
            console.print(f"left out: {note}\n", soft_wrap=True)
        drawn += [summary] * summary.results[0].group.drawn
    if drawn:
        console.print(drawn_table(drawn))
    console.print(_LEGEND, soft_wrap=True)


def worst_of(summary: Summary) -> Summary:
    """Its slowest rows beside the fastest peer, the slowest first."""
    return Summary(sorted(summary.results, key=lambda result: result.ratio() or 0)[:_WORST])


def drawn_table(drawn: Sequence[Summary]) -> Table:
    """A line for each kind of drawn rows on each number of threads."""
    table = Table(title="drawn shapes", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("", "threads", "rows", "geometric mean", "tenth percentile", f"under {SLOWER}", "worst"):
        table.add_column(heading, justify="right" if heading else "left")
    for summary in drawn:
        first, worst = summary.results[0], summary.worst
        figures = [summary.mean, summary.tenth_percentile, worst and worst.ratio()]
        mean, tenth, least = ("" if figure is None else f"{figure:.2f}" for figure in figures)
        rows, slower = str(len(summary.results)), str(summary.slower) if summary.ratios else ""
        table.add_row(first.group.name, str(first.threads), rows, mean, tenth, slower, least)
    return table


def results_table(summary: Summary) -> Table:
    """Rows against contenders: backends, then other libraries, then what follows from the times."""
    first = summary.results[0]
    table = Table(title=f"{first.group.name}, {_count(first.threads)}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(first.suite)
    columns = [[escape(result.row.name) for result in summary.results]]
    for heading, cell in _columns(summary):
        cells = [cell(result) for result in summary.results]
        if any(cells):
            table.add_column(heading, justify="right")
            columns.append(cells)
    for row in zip(*columns):
        table.add_row(*row)
    return table


def _columns(summary: Summary) -> list[tuple[str, Callable[[Result], str]]]:
    """Headings, and what gives a row's cell."""
    names = dict.fromkeys(name for result in summary.results for name in result.times)
    facts = dict.fromkeys(name for result in summary.results for name in result.facts)
    return [
        *((f"{name}\nms", partial(_time, name)) for name in names),
        ("ratio", _ratios),
        ("target", _targets),
        *((name, partial(_fact, name)) for name in facts),
        ("GF/s\n(of peak)", _gflops),
        ("GB/s\n(of copy)", _gbytes),
    ]


def conclusion(summary: Summary) -> str:
    """One line: geometric mean, worst row, how many targets hold."""
    checks, first, worst = summary.checks(), summary.results[0], summary.worst
    parts = []
    if summary.mean is not None and worst is not None:
        wish = first.group.mean
        mean = f"{summary.mean:.2f}" if wish is None else _coloured(Check("", summary.mean, wish))
        parts.append(f"geometric mean {mean}" + ("" if wish is None else f" (target {wish:g})"))
        if first.group.drawn:
            parts.append(f"tenth percentile {summary.tenth_percentile:.2f}")
            parts.append(f"{summary.slower} of {len(summary.ratios)} rows under {SLOWER}")
        parts.append(f"worst {worst.ratio():.2f} ({escape(worst.row.name)})")
    if checks:
        parts.append(f"{sum(check.holds for check in checks)} of {len(checks)} targets hold")
    return f"{first.group.name}, {_count(first.threads)}: {'; '.join(parts) or 'nothing to compare with'}"


def _count(threads: int) -> str:
    if threads == ON_DEVICE:
        return "on the device"
    return f"{threads} thread{'s' if threads > 1 else ''}"


def _time(name: str, result: Result) -> str:
    timing = result.times.get(name)
    return f"{_digits(timing.median)} ({_digits(timing.minimum)})" if timing else ""


def _fact(name: str, result: Result) -> str:
    return f"{result.facts[name]:.3g}" if name in result.facts else ""


def _digits(ms: float) -> str:
    """Three significant digits."""
    return f"{ms:.{0 if ms >= 100 else 1 if ms >= 10 else 2 if ms >= 1 else 3}f}"


def _ratios(result: Result) -> str:
    checks = [check for check in result.checks() if check.what in (BEST, *result.peers)]
    if checks:
        return ", ".join(_coloured(check) for check in checks)
    ratio = result.ratio()
    return "" if ratio is None else f"{ratio:.2f}"


def _targets(result: Result) -> str:
    wishes = (result.row.targets or {}).items()
    return ", ".join(f"{wish:g}" if peer == BEST else f"{wish:g} {peer.split()[-1]}" for peer, wish in wishes)


def _coloured(check: Check) -> str:
    return f"[{'green' if check.holds else 'red'}]{check.value:.2f}[/]"


def _gflops(result: Result) -> str:
    if not result.row.flops:
        return ""
    return f"{result.gflops:.0f} ({_share(result.gflops / result.roofs.peak, result.row.peak_share)})"


def _gbytes(result: Result) -> str:
    if not result.memory_bound:
        return ""
    return f"{result.gbytes:.1f} ({_share(result.gbytes / result.roofs.copy, result.row.copy_share)})"


def _share(share: float, wish: float | None) -> str:
    """Of a roof, and what is wished for."""
    if wish is None:
        return f"{share:.0%}"
    return f"[{'green' if share >= wish else 'red'}]{share:.0%}[/] of {wish:.0%}"
