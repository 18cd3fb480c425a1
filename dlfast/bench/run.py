"""What `dlfast bench` does from its options to its tables and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .._files import write_text
from ..commands.info import facts
from .measure import Options, measure, measure_roofs, pytorch_installed
from .report import print_results, print_roofs
from .results import ON_DEVICE, Result, Roofs, as_json
from .rows import Group


def run(
    console: Console, groups: Sequence[tuple[str, Group]], options: Options
) -> tuple[list[Result], dict[int, Roofs]]:
    """Measure the rows of these (suite, group) and print tables of those that were done, however it ends.

    Raises Disagreement where a contender computes something else than the reference.
    """
    if not options.pytorch:
        console.print("PyTorch takes no part (not installed, or left out): no ratios to it.", soft_wrap=True)
    roofs = measure_roofs(options.threads)
    print_roofs(console, machine(options.pytorch), roofs)
    results: list[Result] = []
    try:
        with _progress(console) as progress:
            task = progress.add_task("", total=sum(len(group.rows) for _, group in groups))
            for suite, group in groups:
                for row in group.rows:
                    progress.update(task, description=f"{group.name}: {row.name}", refresh=True)
                    results += measure(suite, group, row, options, roofs)
                    progress.advance(task)
    finally:
        if results:
            print_results(console, results)
    return results, roofs


def run_on_device(
    console: Console, name: str, part: str, *, quick: bool, pytorch: bool, tf32: bool
) -> tuple[list[Result], dict[int, Roofs], dict[str, str]]:
    """Measure the rows of a device whose names have `part`, print the tables, and return what a file is to hold.

    Raises RuntimeError where there is no such device, Disagreement where a contender computes something else.
    """
    from .. import cuda
    from . import on_device

    device = cuda.get_device(name)
    before = cuda.tf32_is_allowed()
    cuda.allow_tf32(tf32)
    try:
        peer = on_device.Peer.found(tf32) if pytorch else None
        told = on_device.machine(device, peer)
        for key in ("device", "driver", "PyTorch", "TF32"):
            console.print(f"{key}: {told[key]}", soft_wrap=True)
        groups, size = on_device.chosen(part, quick, cuda.status().host)
        roofs = {ON_DEVICE: on_device.measure_roofs(device, size)}
        results: list[Result] = []
        try:
            for group in groups:
                for row in group.rows:
                    results.append(on_device.measure(group, row, device, peer, size, roofs[ON_DEVICE]))
        finally:
            if results:
                print_results(console, results)
    finally:
        cuda.allow_tf32(before)
    return results, roofs, told


def _progress(console: Console) -> Progress:
    """A bar that is drawn between rows alone: a thread that redraws it would take time from those that are timed."""
    columns = (
        *Progress.get_default_columns()[1:3],
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    return Progress(*columns, console=console, auto_refresh=False, transient=True)


def write_json(
    path: Path, results: Sequence[Result], roofs: dict[int, Roofs], told: dict[str, str] | None = None
) -> None:
    """Machine, roofs, every row and group; told: what is said of the machine, where it is not this one's processor."""
    told = machine(pytorch_installed()) if told is None else told
    write_text(path, json.dumps(as_json(results, told, roofs), indent=1) + "\n")


def machine(pytorch: bool) -> dict[str, str]:
    """`facts`, with the instructions that PyTorch uses where it takes part."""
    if not pytorch:
        return facts()
    from .pytorch import instructions

    return facts() | {"torch instructions": instructions()}
