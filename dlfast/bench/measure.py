"""Running rows: set up, compare, time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np

from .. import _machine, kernels
from . import load_suite
from .results import OURS, Result, Roofs
from .rows import Group, Row, Step
from .timing import Timing, in_turns, using_threads


class Disagreement(RuntimeError):
    """A contender computes something else than the reference."""


@dataclass(frozen=True)
class Options:
    """What to run: backends of dlfast by name, numbers of threads, whether PyTorch takes part; rounds of turns and
    seconds a turn, and of the rest before it."""

    backends: Sequence[str] = ("auto",)
    threads: Sequence[int] = (1,)
    pytorch: bool = True
    rounds: int = 7
    seconds: float = 0.04
    rest: float | None = None  # None: timing.REST


def quick(options: Options) -> Options:
    """Fewer and shorter turns."""
    return replace(options, rounds=3, seconds=0.015)


def brief(options: Options) -> Options:
    """Turns for rows of which there are many: as short as lets PyTorch's threads fall asleep before the next."""
    return replace(options, seconds=min(options.seconds, 0.01), rest=0.004)


def pytorch_installed() -> bool:
    return find_spec("torch") is not None


def chosen_groups(suites: Sequence[str], part: str = "", **drawing: int) -> list[tuple[str, Group]]:
    """(suite, group) with the rows that have `part` in their name or their group's; drawing: seed and count of the
    drawn ones. Raises ValueError without any row."""
    chosen = []
    for suite in suites:
        for group in load_suite(suite, **drawing):
            rows = [row for row in group.rows if part in row.name or part in group.name]
            if rows:
                chosen.append((suite, replace(group, rows=rows)))
    if not chosen:
        raise ValueError(f"no row of {', '.join(suites)} has {part!r} in its name")
    return chosen


def measure_roofs(threads: Sequence[int]) -> dict[int, Roofs]:
    return {count: Roofs(_machine.fma_peak(count), _machine.copy_rate(count)) for count in threads}


def measure(suite: str, group: Group, row: Row, options: Options, roofs: dict[int, Roofs]) -> Iterator[Result]:
    """The row's result for each number of threads. Raises Disagreement, and times nothing, where one of ours computes
    wrong; other libraries that do are left out, and the result says so."""
    options = brief(options) if group.drawn else options
    wrong: list[str] = []
    for threads, times in compared_times(f"{suite}: {group.name}: {row.name}", row, options, wrong):
        with using_threads(threads):
            facts = row.facts(options.pytorch) if row.facts else {}
        yield Result(suite, group, row, threads, roofs[threads], times, facts, tuple(wrong))


def compared_times(
    name: str, row: Row, options: Options, wrong: list[str] | None = None
) -> Iterator[tuple[int, dict[str, Timing]]]:
    """The times of each contender for each number of threads, as `measure`; `name` is the row's in errors.

    wrong: gets a line for each other library that computes something else, which then takes no part; without such a
    list they raise Disagreement as ours do.
    """
    work = row.work()
    steps: dict[str, Step] = {backend: work.ours() for backend in options.backends}
    steps |= work.peers(options.pytorch)
    with _turn_of("reference"):
        expected = work.ours().results()
    for threads in options.threads:
        with using_threads(threads):
            for contender, step in list(steps.items()):
                try:
                    with _turn_of(contender):
                        _compare(f"{name}: {contender}", step.results(), expected, row.tolerance)
                except Disagreement as error:
                    if wrong is None or contender in OURS:
                        raise
                    wrong.append(str(error))
                    del steps[contender]
            times = in_turns(steps, options.rounds, options.seconds, _turn_of, options.rest)
        yield threads, times


def _turn_of(name: str) -> AbstractContextManager:
    """The backend of that name in force, the reference standing in for what it lacks; nothing for a peer."""
    return kernels.use_backend(name, "reference") if name in ("auto", *kernels.BACKENDS) else nullcontext()


def _compare(name: str, got: list[np.ndarray], expected: list[np.ndarray], tolerance: float) -> None:
    for i, (value, wanted) in enumerate(zip(got, expected, strict=True)):
        if value.shape != wanted.shape:
            raise Disagreement(f"{name}: result {i} has shape {value.shape}, the reference's has {wanted.shape}")
        largest = np.abs(wanted).max(initial=0)
        error = np.abs(value - wanted).max(initial=0)
        if not error <= tolerance * largest:  # NaN counts as wrong
            raise Disagreement(
                f"{name}: result {i} (0 is the output, then gradients) is off the reference's by {error:.3g}, "
                f"more than {tolerance:g} of its largest value {largest:.3g}"
            )
