"""`dlfast bench` on rows of a few numbers: comparison, ratios, tables, files. No time is held to anything."""

import io
import json
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import dlfast
from dlfast import bench, kernels
from dlfast.bench import blas, measure, report, results, rows, timing
from dlfast.bench.suites import conv, matmul
from dlfast.cli import main

TINY = [
    conv.conv(2.0, 2, 7, 4, 5, 3, padding=1),
    conv.conv({"PyTorch NHWC": 1.6, "PyTorch NCHW": 8.0}, 2, 6, 4, 4, 3, stride=2, padding=1, groups=4),
    conv.conv(2.5, 1, 9, 3, 2, 5),
    matmul.square(6, 0.85),
    matmul.linear_relu(3, 4),
]
ROOFS = results.Roofs(peak=100.0, copy=20.0)
needs_pytorch = pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed")


@pytest.fixture
def tiny(monkeypatch):
    """One suite of tiny rows, one short round, roofs without a measurement."""
    monkeypatch.setattr(measure, "load_suite", lambda name, **drawing: [rows.Group(f"tiny {name}", TINY, mean=2.0)])
    monkeypatch.setattr(measure, "measure_roofs", lambda threads: dict.fromkeys(threads, ROOFS))
    monkeypatch.setattr("dlfast.bench.run.measure_roofs", measure.measure_roofs)
    monkeypatch.setattr(timing, "REST", 0)
    monkeypatch.setattr(timing, "BLAS_REST", 0)
    monkeypatch.setattr(measure, "quick", lambda options: measure.replace(options, rounds=1, seconds=0.001))


@pytest.fixture
def no_pytorch(monkeypatch):
    monkeypatch.setattr(measure, "find_spec", lambda name: None)


def call(*arguments):
    return CliRunner().invoke(main, ["bench", "--quick", *arguments], terminal_width=200)


def result_of(row, ms, threads=1, mean=None):
    times = {name: timing.Timing(value, value / 2, 3) for name, value in ms.items()}
    return results.Result("suite", rows.Group("group", [row], mean), row, threads, ROOFS, times)


def row_of(name="row", **facts):
    return rows.Row(name, lambda: pytest.fail("nothing is to be built"), **facts)


@pytest.mark.parametrize("pytorch", [pytest.param(True, marks=needs_pytorch), False])
def test_every_contender_agrees(tiny, pytorch):
    options = measure.Options(("auto", "numba", "cython", "reference"), (1, 2), pytorch, rounds=1, seconds=0.001)
    (_, group), *_ = measure.chosen_groups(["conv"])
    for row in group.rows:
        one, two = measure.measure("conv", group, row, options, dict.fromkeys((1, 2), ROOFS))
        assert (one.threads, two.threads) == (1, 2)
        assert [name for name in one.times if name in options.backends] == list(options.backends)
        assert bool(one.peers) == (pytorch or "6 x 6" in row.name)
        assert ("PyTorch NHWC" in one.times) == (pytorch and "x" in row.name.split(",")[-1] and "6 x 6" not in row.name)
        assert all(each.minimum <= each.median and each.calls >= 1 for each in one.times.values())


class Broken:
    """The work of a row whose first contender is wrong in one number."""

    def __init__(self, change):
        self.change, self.made = change, 0
        self.work = TINY[0].work()

    def ours(self):
        step, wrong = self.work.ours(), self.made == 0
        self.made += 1
        honest = step.results
        step.results = lambda: self.changed(honest()) if wrong else honest()
        return step

    def changed(self, values):
        values = [np.array(each) for each in values]
        self.change(values)
        return values

    def peers(self, pytorch):
        return {}


def nan(values):
    values[1][0, 0, 0, 0] = np.nan


def one_off(values):
    values[3][-1] *= 1.01


def lost_axis(values):
    values[2] = values[2][0]


@pytest.mark.parametrize("change", [nan, one_off, lost_axis])
def test_wrong_result_is_an_error_that_names_the_row(tiny, monkeypatch, change):
    row = rows.Row("a wrong row", partial(Broken, change))
    monkeypatch.setattr(measure, "load_suite", lambda name, **drawing: [rows.Group("group", [row])])
    outcome = call("--threads", "1", "--suite", "conv")
    assert outcome.exit_code == 1
    assert "conv: group: a wrong row: auto: result" in outcome.output
    assert "Traceback" not in outcome.output


def test_broken_kernel_is_found(tiny, monkeypatch, no_pytorch):
    forward, backward = kernels.pair("linear", "cython")
    broken = (forward, lambda dy, saved, needs: backward(2 * dy, saved, needs))
    honest = kernels.pair
    monkeypatch.setattr(
        kernels, "pair", lambda op, name: broken if (op, name) == ("linear", "cython") else honest(op, name)
    )
    outcome = call("--threads", "1", "--backends", "cython", "--filter", "batch 3", "--suite", "matmul")
    assert outcome.exit_code == 1
    assert "batch 3, 4 to 4: cython: result 1" in outcome.output


def test_files_and_tables(tiny, tmp_path):
    file, picture = tmp_path / "out.json", tmp_path / "out.png"
    options = ["--threads", "2", "--threads", "1", "--suite", "conv", "--backends", "auto, reference"]
    outcome = call(*options, "--json", str(file), "--plot", str(picture))
    assert outcome.exit_code == 0, outcome.output
    for part in ("tiny conv, 1 thread", "tiny conv, 2 threads", "geometric mean", "targets hold", "no dx", "(of peak)"):
        assert part in outcome.output
    figures = json.loads(file.read_text())
    assert set(figures) == {"machine", "roofs", "rows", "groups"}
    assert figures["roofs"] == {"1": {"peak": 100, "copy": 20}, "2": {"peak": 100, "copy": 20}}
    assert "processor" in figures["machine"]
    assert [(row["row"], row["threads"]) for row in figures["rows"]] == [(row.name, n) for row in TINY for n in (1, 2)]
    assert all(set(row["ms"]) >= {"auto", "reference"} and row["compared"] == "auto" for row in figures["rows"])
    assert all(set(each) == {"median", "minimum", "calls"} for row in figures["rows"] for each in row["ms"].values())
    assert [group["threads"] for group in figures["groups"]] == [1, 2]
    assert picture.stat().st_size > 3000


def test_without_pytorch(tiny, no_pytorch):
    outcome = call("--threads", "1", "--suite", "conv", "--filter", "3x3")
    assert outcome.exit_code == 0, outcome.output
    assert "PyTorch takes no part" in outcome.output
    assert "nothing to compare with" in outcome.output
    assert "ratio\n" not in outcome.output


def test_interrupt_shows_what_was_done(tiny, monkeypatch):
    honest = measure.measure

    def interrupted(suite, group, row, *rest):
        if row is TINY[1]:
            raise KeyboardInterrupt
        return honest(suite, group, row, *rest)

    monkeypatch.setattr("dlfast.bench.run.measure", interrupted)
    outcome = call("--threads", "1", "--suite", "conv")
    assert outcome.exit_code == 1
    assert TINY[0].name in outcome.output
    assert TINY[1].name not in outcome.output
    assert "Aborted!" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--filter", "no such row"], "has 'no such row' in its name"),
        (["--suite", "fortran"], "'fortran' is not"),
        (["--backends", "auto,fortran"], "unknown backend 'fortran'"),
        (["--threads", "0"], "--threads"),
        (["--threads", "0"], "is not in the range x>=1"),
        (["--json", "/no/such/folder/out.json"], "there is no folder /no/such/folder"),
        (["--plot", "/no/such/folder/out.png"], "there is no folder /no/such/folder"),
    ],
)
def test_user_errors_are_one_clear_line(arguments, message):
    outcome = call(*arguments)
    assert outcome.exit_code in (1, 2)
    assert message in outcome.output
    assert "Traceback" not in outcome.output


def test_suites_are_listed_without_work():
    """Row names are unique, so that a filter and a file can name one; nothing is drawn before a row is run."""
    assert {"conv", "matmul"} <= set(bench.suite_names())
    for name in bench.suite_names():
        groups = bench.load_suite(name)
        names = [(group.name, row.name) for group in groups for row in group.rows]
        assert len(set(names)) == len(names) > 0
        assert len({group.name for group in groups}) == len(groups)


def test_flops_and_bytes():
    row = conv.conv(2.0, 2, 6, 4, 8, 3)
    assert row.flops == 3 * 2 * (2 * 4 * 4 * 8) * (3 * 3 * 4)
    image, kernel, bias, y = 2 * 6 * 6 * 4, 8 * 3 * 3 * 4, 8, 2 * 4 * 4 * 8
    assert row.bytes == 4 * (3 * (image + kernel + bias) + 2 * y)
    assert conv.conv(2.0, 2, 6, 3, 8, 3).flops == 2 * 2 * (2 * 4 * 4 * 8) * (3 * 3 * 3)
    assert matmul.square(5).bytes == 4 * 3 * 25


def test_ratios_are_of_medians_to_the_fastest_peer():
    row = row_of(flops=3e8, bytes=8e6, targets={"best": 2.0, "PyTorch NCHW": 4.0, "JAX": 1.0}, peak_share=0.85)
    result = result_of(row, {"numba": 1, "auto": 2, "PyTorch NCHW": 6, "PyTorch NHWC": 5})
    assert (result.ours, result.peers) == ("auto", ["PyTorch NHWC", "PyTorch NCHW"])
    assert (result.ratio(), result.ratio("PyTorch NCHW"), result.ratio("JAX")) == (2.5, 3, None)
    assert (result.gflops, result.gbytes, result.memory_bound) == (150, 4, False)
    assert [(check.value, check.holds) for check in result.checks()] == [(2.5, True), (3, False), (1.5, True)]
    assert result_of(row, {"numba": 4, "cython": 3}).ours == "cython"
    assert result_of(row, {"auto": 3}).ratio() is None
    assert result_of(row_of(bytes=8e6), {"auto": 2}).memory_bound


def test_means_and_worst():
    parts = [({"auto": 1, "NumPy": 4}, "four"), ({"auto": 2, "NumPy": 1}, "half"), ({"auto": 1}, "alone")]
    measured = [result_of(row_of(name), ms, threads, mean=2.0) for threads in (2, 1) for ms, name in parts]
    first, second = results.summaries(measured)
    assert [result.threads for result in (*first.results, *second.results)] == [1, 1, 1, 2, 2, 2]
    assert first.mean == pytest.approx(2**0.5)
    assert first.worst.row.name == "half"
    assert [(check.what, check.holds) for check in first.checks()] == [("geometric mean", False)]
    assert "0 of 1 targets hold" in report.conclusion(first)
    assert "worst 0.50 (half)" in report.conclusion(first)


def test_table_shows_losses_like_wins():
    wins, loses = row_of("wins", targets={"best": 2.0}), row_of("[loses]", targets={"best": 2.0}, bytes=1e6)
    measured = [result_of(wins, {"auto": 1, "NumPy": 3}), result_of(loses, {"auto": 2, "NumPy": 1})]
    console = Console(width=120, record=True, force_terminal=True, file=io.StringIO())
    console.print(report.results_table(results.Summary(measured)))
    text = console.export_text(clear=False)
    for part in ("group, 1 thread", "wins", "[loses]", "3.00 (1.50)", "0.50", "0.5 (2%)"):
        assert part in text
    coloured = console.export_text(styles=True)
    assert "\x1b[32m3.00" in coloured
    assert "\x1b[31m0.50" in coloured


def test_turns(monkeypatch):
    monkeypatch.setattr(timing, "REST", 0)
    log = []
    contenders = {name: lambda name=name: log.append((name, *kernels.get_backend())) for name in ("auto", "numba")}
    times = timing.in_turns(contenders, 2, 0, kernels.use_backend)
    assert log == 2 * [("auto", "auto"), ("auto", "auto"), ("numba", "numba"), ("numba", "numba")]
    assert {name: each.calls for name, each in times.items()} == {"auto": 2, "numba": 2}
    assert timing.in_turns({"a": lambda: None}, 3, 10)["a"].calls == 3 * timing.MOST_CALLS


def test_threads_are_set_everywhere_and_put_back():
    before = dlfast.get_num_threads(), blas.get_num_threads()
    with timing.using_threads(3):
        assert dlfast.get_num_threads() == 3
        assert blas.get_num_threads() in (None, 3)
    assert (dlfast.get_num_threads(), blas.get_num_threads()) == before
