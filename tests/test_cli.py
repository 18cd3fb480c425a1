"""The command line, in its own process where start-up matters and in this one elsewhere."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from dlfast import _gradcheck, data, train
from dlfast.cli import main


def call(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def tiny(monkeypatch):
    """The demo on 320 images and one round of timing, so that its test takes seconds."""
    whole = data.load("mnist10k")
    cut = data.ArrayDataset(*whole[np.r_[0:256, 8000:8064]])
    cut.split = lambda count: data.ArrayDataset.split(cut, 256)
    monkeypatch.setattr("dlfast.commands.demo.load", lambda name: cut)
    monkeypatch.setattr("dlfast.commands.demo.ROUNDS", 1)


def test_demo(tiny, tmp_path):
    result = call("demo", "--epochs", "2", "--json", str(tmp_path / "out.json"), "--plot", str(tmp_path / "curves.png"))
    assert result.exit_code == 0, result.output
    assert "epoch 2/2" in result.output
    assert "val_accuracy" in result.output
    assert "images a second" in result.output
    figures = json.loads((tmp_path / "out.json").read_text())
    assert set(figures) == {"val_accuracy", "images_per_second", "step_ms", "seconds_total"}
    assert set(figures["step_ms"]) - {"pytorch"} == {"reference", "numba", "cython", "auto"}
    assert all(value > 0 for value in figures["step_ms"].values())
    assert 0 <= figures["val_accuracy"] <= 1
    assert (tmp_path / "curves.png").stat().st_size > 3000


def test_demo_is_reproducible_and_takes_a_backend(tiny, monkeypatch):
    monkeypatch.setattr("dlfast.commands.demo.compare_steps", lambda console, device: {})
    outputs = []
    for options in (("--seed", "1"), ("--seed", "1"), ("--seed", "2"), ("--seed", "1", "--backend", "reference")):
        result = call("demo", "--epochs", "1", "--batch-size", "32", "--threads", "2", *options)
        assert result.exit_code == 0, result.output
        line = next(line for line in result.output.splitlines() if "epoch 1/1" in line)
        outputs.append(line[: line.index(" s, ")].rsplit(maxsplit=1)[0])  # without the times
    assert outputs[0] == outputs[1] != outputs[2]


def test_demo_interrupted(tiny, monkeypatch):
    def interrupt(self, run):
        raise KeyboardInterrupt

    monkeypatch.setattr(train.ProgressBar, "on_batch_end", interrupt)
    result = call("demo")
    assert result.exit_code == 1
    assert "stopped after 0 epochs: interrupted" in result.output
    assert "Aborted!" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--epochs", "0"], "--epochs"),
        (["demo", "--batch-size", "x"], "--batch-size"),
        (["demo", "--backend", "fortran"], "'fortran' is not one of"),
        (["demo", "--threads", "0"], "--threads"),
        (["demo", "--json", "/no/such/folder/out.json"], "there is no folder /no/such/folder"),
        (["dome"], "No such command"),
    ],
)
def test_user_errors_are_one_clear_line(arguments, message):
    result = call(*arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["demo", "bench"])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("--plot", "a.xyz"), "the name must end in one of ."),
        (("--plot", "curves"), "the name must end in one of ."),
        (("--plot", "same.png", "--json", "./same.png"), "--json and --plot name one file"),
        (("--json", "none/out.json"), "there is no folder"),
        (("--plot", "none/out.png"), "there is no folder"),
        (("--json", "locked/out.json"), "is read-only"),
        (("--plot", "locked/out.png"), "is read-only"),
        (("--json", "folder"), "is a directory"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(command, names, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(
        "dlfast._files.os.access", lambda path, mode: not str(path).endswith("locked")
    )  # root may write anywhere
    monkeypatch.setattr("dlfast.commands.demo.train_demo", lambda *work: pytest.fail("trained"))
    monkeypatch.setattr("dlfast.bench.run.run", lambda *work: pytest.fail("timed"))
    result = call(command, *names)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "locked"]


def test_plot_without_matplotlib_is_said_before_training(monkeypatch):
    monkeypatch.setattr("dlfast.cli.find_spec", lambda name: None)
    result = call("demo", "--plot", "curves.png")
    assert result.exit_code == 1
    assert "--plot needs matplotlib" in result.output


def test_info():
    result = call("info")
    assert result.exit_code == 0, result.output
    for part in [
        "dlfast",
        "numpy",
        "numba",
        "processor",
        "threads",
        "reference",
        "cython",
        "conv2d",
        "adam_step",
        "cache",
    ]:
        assert part in result.output


def test_gradcheck(monkeypatch):
    monkeypatch.setattr(_gradcheck, "operations", lambda: iter([("conv2d", 3e-9), ("relu", 0.0)]))
    result = call("gradcheck")
    assert result.exit_code == 0
    assert "3.0e-09" in result.output
    errors = [("conv2d", 3e-5), ("relu", float("nan")), ("elu", 1e-6)]
    monkeypatch.setattr(_gradcheck, "operations", lambda: iter(errors))
    result = call("gradcheck")
    assert result.exit_code == 1
    assert "gradients above 1e-06: conv2d, relu" in result.output


def test_gradcheck_of_every_operation():
    result = call("gradcheck")
    assert result.exit_code == 0, result.output
    assert result.output.count("ok") > 20


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from dlfast.cli import main\n"
        "try: main(['demo', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numba', 'torch', 'matplotlib', 'rich.progress', 'scipy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "--batch-size" in result.stdout
