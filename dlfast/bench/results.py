"""What was measured: ratios, targets that hold, means; and all of it as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from statistics import geometric_mean

import numpy as np

from .. import kernels
from .rows import BEST, Group, Row
from .timing import Timing

ON_DEVICE = 0  # in place of a number of threads: the work ran on a GPU
OURS = ("auto", *kernels.BACKENDS, "cuda", "cuda graph", "cuda implicit", "cuda im2col", "cuda cudnn")
SLOWER = 0.95  # a ratio under it is a loss, not noise


@dataclass(frozen=True)
class Roofs:
    """What the machine does at best: GF/s of multiply-adds in registers, GB/s of a copy (read and written)."""

    peak: float
    copy: float


@dataclass(frozen=True)
class Check:
    """A target: a wish, and what was measured."""

    what: str
    value: float
    target: float

    @property
    def holds(self) -> bool:
        return self.value >= self.target


@dataclass(frozen=True)
class Result:
    """One row on one number of threads: the times of each contender. Ratios are of medians."""

    suite: str
    group: Group
    row: Row
    threads: int
    roofs: Roofs
    times: dict[str, Timing]
    facts: Mapping[str, float] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()  # what other libraries computed wrong: they take no part

    @property
    def ours(self) -> str:
        """The backend that is held against the peers: auto, which users get, or else the fastest of those timed."""
        mine = [name for name in self.times if name in OURS]
        return "auto" if "auto" in mine else min(mine, key=self.median)

    @property
    def peers(self) -> list[str]:
        """The other libraries, fastest first."""
        return sorted((name for name in self.times if name not in OURS), key=self.median)

    def median(self, name: str) -> float:
        return self.times[name].median

    def ratio(self, peer: str = BEST) -> float | None:
        """The peer's time over ours; None where it did not take part."""
        names = self.peers[:1] if peer == BEST else [name for name in self.peers if name == peer]
        return self.median(names[0]) / self.median(self.ours) if names else None

    @property
    def gflops(self) -> float:
        """GF/s; algorithms that save multiplications (Winograd) are counted as if they did not."""
        return 1e-6 * self.row.flops / self.median(self.ours)

    @property
    def gbytes(self) -> float:
        """GB/s, each array counted once for each pass over it."""
        return 1e-6 * self.row.bytes / self.median(self.ours)

    @property
    def memory_bound(self) -> bool:
        """Whether the copy, not the arithmetic, is the nearer roof."""
        return self.row.bytes / self.roofs.copy > self.row.flops / self.roofs.peak

    def checks(self) -> list[Check]:
        """The row's targets, those left out whose peer did not take part."""
        ratios = [(peer, self.ratio(peer), target) for peer, target in (self.row.targets or {}).items()]
        checks = [Check(peer, ratio, target) for peer, ratio, target in ratios if ratio is not None]
        if self.row.peak_share is not None:
            checks.append(Check("share of peak", self.gflops / self.roofs.peak, self.row.peak_share))
        if self.row.copy_share is not None:
            checks.append(Check("share of copy", self.gbytes / self.roofs.copy, self.row.copy_share))
        return checks


@dataclass(frozen=True)
class Summary:
    """A group on one number of threads."""

    results: Sequence[Result]

    @property
    def mean(self) -> float | None:
        """Geometric mean of the ratios to the fastest peer; None without peers."""
        return geometric_mean(self.ratios) if self.ratios else None

    @property
    def worst(self) -> Result | None:
        """The row with the smallest ratio."""
        compared = [result for result in self.results if result.peers]
        return min(compared, key=lambda result: result.ratio() or 0, default=None)

    @property
    def ratios(self) -> list[float]:
        """To the fastest peer, smallest first."""
        return sorted(ratio for result in self.results if (ratio := result.ratio()) is not None)

    @property
    def tenth_percentile(self) -> float | None:
        """The ratio that a tenth of the rows stay under; None without peers."""
        return float(np.quantile(self.ratios, 0.1)) if self.ratios else None

    @property
    def slower(self) -> int:
        """The number of rows whose ratio is under `SLOWER`."""
        return sum(ratio < SLOWER for ratio in self.ratios)

    def checks(self) -> list[Check]:
        """Every target of the group, its mean's included."""
        checks = [check for result in self.results for check in result.checks()]
        wish, mean = self.results[0].group.mean, self.mean
        return checks if wish is None or mean is None else [*checks, Check("geometric mean", mean, wish)]


def summaries(results: Sequence[Result]) -> Iterator[Summary]:
    """The results of each group on each number of threads, in the order of the suites, fewest threads first."""

    def key(result: Result) -> tuple[int, str, str]:
        return result.threads, result.suite, result.group.name

    order = list(dict.fromkeys((result.suite, result.group.name) for result in results))
    ordered = sorted(results, key=lambda result: (result.threads, order.index(key(result)[1:])))
    return (Summary(list(part)) for _, part in groupby(ordered, key))


def as_json(results: Sequence[Result], machine: dict[str, str], roofs: dict[int, Roofs]) -> dict:
    """Everything, in plain types. Times are in milliseconds."""
    return {
        "machine": machine,
        "roofs": {str(threads): asdict(roof) for threads, roof in roofs.items()},
        "rows": [_row(result) for result in results],
        "groups": [_group(summary) for summary in summaries(results)],
    }


def _row(result: Result) -> dict:
    return {
        "suite": result.suite,
        "group": result.group.name,
        "row": result.row.name,
        "threads": result.threads,
        "flops": result.row.flops,
        "bytes": result.row.bytes,
        "ms": {name: asdict(timing) for name, timing in result.times.items()},
        "compared": result.ours,
        "facts": dict(result.facts),
        "wrong": list(result.wrong),
        "ratios": {BEST: result.ratio()} | {peer: result.ratio(peer) for peer in result.peers},
        "targets": [_check(check) for check in result.checks()],
    }


def _group(summary: Summary) -> dict:
    first, worst = summary.results[0], summary.worst
    return {
        "suite": first.suite,
        "group": first.group.name,
        "threads": first.threads,
        "geometric_mean": summary.mean,
        "worst": worst and {"row": worst.row.name, "ratio": worst.ratio()},
        "tenth_percentile": summary.tenth_percentile,
        f"rows_under_{SLOWER}": summary.slower,
        "targets": [_check(check) for check in summary.checks()],
    }


def _check(check: Check) -> dict:
    return asdict(check) | {"holds": check.holds}
