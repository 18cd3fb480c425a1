"""The suite of drawn shapes: rows that follow from the seed, compared in every contender, and their summary."""

import io
import json
from importlib.util import find_spec

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from dlfast import bench
from dlfast.bench import measure, report, results, rows, timing
from dlfast.bench.suites import random
from dlfast.bench.updates import Update
from dlfast.cli import main

ROOFS = results.Roofs(peak=100.0, copy=20.0)
needs_pytorch = pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed")


@pytest.fixture
def short(monkeypatch):
    """One short round without rests, of small shapes; roofs without a measurement."""
    monkeypatch.setattr("dlfast.bench.run.measure_roofs", lambda threads: dict.fromkeys(threads, ROOFS))
    monkeypatch.setattr(measure, "brief", lambda options: measure.replace(options, rounds=1, seconds=0, rest=0))
    monkeypatch.setattr(random, "ELEMENTS", 1 << 12)
    monkeypatch.setattr(timing, "BLAS_REST", 0)


def names(seed, count):
    return {group.name: [row.name for row in group.rows] for group in random.groups(seed, count)}


def test_rows_follow_from_the_seed_alone():
    long = names(5, 12)
    assert list(long) == [f"random {kind}" for kind in random.KINDS]
    assert names(5, 12) == long != names(6, 12)
    assert names(5, 3) == {kind: some[:3] for kind, some in long.items()}
    assert all(len(set(some)) == 12 for some in long.values())


def test_every_group_is_drawn():
    assert all(group.drawn for group in bench.load_suite("random", seed=2, count=1))
    assert "random" not in bench.usual_suites()
    assert set(bench.usual_suites()) < set(bench.suite_names())


def test_sizes_are_log_uniform_within_their_bounds():
    draw = np.random.default_rng(0)
    sizes = np.array([random.size(draw, 1, 1000) for _ in range(4000)])
    assert (sizes.min(), sizes.max() <= 1000) == (1, True)
    assert abs(np.median(sizes) - 31) < 6  # the square root of the range
    assert {random.size(draw, 3, 4) for _ in range(50)} == {3, 4}


def test_shapes_hold_their_bounds():
    by_kind = {group.name.split()[1]: group.rows for group in random.groups(3, 40)}
    for row in (*by_kind["pools"], *by_kind["norms"], *by_kind["convolutions"]):
        work = row.work()
        assert max(np.prod(shape) for shape in work.shapes) <= random.ELEMENTS, row.name
    words = " ".join(row.name for row in by_kind["convolutions"])
    assert all(word in words for word in ("groups", "dilation", "stride", "1x1", "7x7"))
    assert {row.name.split(",")[0] for row in by_kind["optimizers"]} == {
        "SGD",
        "Adam",
        "AdamW",
        "RMSprop",
        "Adagrad",
        "NAdam",
        "RAdam",
    }


@pytest.mark.parametrize("kind", random.KINDS)
def test_every_contender_agrees(short, kind):
    options = measure.Options(threads=(1, 2), pytorch=measure.pytorch_installed())
    group = next(group for group in random.groups(7, 6) if group.name == f"random {kind}")
    for row in group.rows:
        for result in measure.measure("random", group, row, options, dict.fromkeys((1, 2), ROOFS)):
            assert bool(result.peers) == options.pytorch
            assert all(timed.calls == 1 for timed in result.times.values())  # `brief` was asked


@needs_pytorch
def test_command(short, tmp_path):
    file = tmp_path / "out.json"
    arguments = ["bench", "--suite", "random", "--seed", "9", "--count", "2", "--filter", "softmax"]
    outcome = CliRunner().invoke(main, [*arguments, "--threads", "1", "--json", str(file)], terminal_width=200)
    assert outcome.exit_code == 0, outcome.output
    for part in ("random softmax, 1 thread", "tenth percentile", "rows under 0.95", "drawn shapes", "held to AVX2"):
        assert part in outcome.output
    figures = json.loads(file.read_text())
    assert [row["row"] for row in figures["rows"]] == names(9, 2)["random softmax"]
    assert {"tenth_percentile", "rows_under_0.95"} <= set(figures["groups"][0])
    assert "torch instructions" in figures["machine"]


def summary_of(ratios):
    group = rows.Group("random kind", [], drawn=True)
    timings = [{"auto": timing.Timing(1, 1, 1), "PyTorch": timing.Timing(ratio, ratio, 1)} for ratio in ratios]
    named = [rows.Row(f"ratio {ratio}", lambda: pytest.fail("nothing is to be built")) for ratio in ratios]
    return results.Summary([results.Result("random", group, row, 1, ROOFS, ms) for row, ms in zip(named, timings)])


def test_summary_of_drawn_rows():
    summary = summary_of([2.0, 0.94, 0.95, 3.0, 0.5, *[1.5] * 6])
    assert summary.slower == 2
    assert summary.tenth_percentile == pytest.approx(0.94)
    assert "2 of 11 rows under 0.95" in report.conclusion(summary)
    assert [result.row.name for result in report.worst_of(summary).results][:3] == [
        "ratio 0.5",
        "ratio 0.94",
        "ratio 0.95",
    ]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report.drawn_table([summary]))
    assert console.export_text().split("\n")[4].split() == ["random", "kind", "1", "11", "1.36", "0.94", "2", "0.50"]
    assert results.Summary([]).tenth_percentile is None


@pytest.mark.parametrize("kind", ["SGD", "AdamW", "RMSprop"])
def test_update_of_each_optimizer_agrees(kind):
    row = rows.Row(kind, lambda: Update([(3, 5), (70,)], None, kind, {"weight_decay": 0.1}), tolerance=1e-6)
    options = measure.Options(("auto", "reference"), (1,), measure.pytorch_installed(), rounds=1, seconds=0, rest=0)
    for _, times in measure.compared_times("row", row, options):
        assert ("PyTorch default" in times) == options.pytorch


@needs_pytorch
def test_report_says_whether_pytorch_is_held():
    from dlfast.bench.pytorch import HELD, instructions

    assert "held to AVX2 by ATEN_CPU_CAPABILITY" in instructions(HELD)
    assert instructions({}).endswith(", not held to AVX2")
    assert "only ONEDNN_MAX_CPU_ISA is set" in instructions({"ONEDNN_MAX_CPU_ISA": "avx2"})
