"""`dlfast bench --device cuda`, on the tiny arrays of the host that plays a GPU: every row, and what it says."""

import json

import pytest
from click.testing import CliRunner

import dlfast as dl
from dlfast.bench import device_rows, on_device
from dlfast.bench.device_rows import Tiny, Usual, groups
from dlfast.bench.measure import Disagreement
from dlfast.bench.results import ON_DEVICE, Roofs
from dlfast.cli import main

ROWS = [(group, row) for group in groups(Tiny()) for row in group.rows]
ROOFS = Roofs(peak=100.0, copy=20.0)


@pytest.mark.parametrize(("group", "row"), ROWS, ids=lambda each: each.name)
def test_each_row_agrees_with_the_cpu(group, row, device):
    result = on_device.measure(group, row, device, None, Tiny(), ROOFS)
    assert (result.suite, result.threads, result.row.bytes > 0) == ("device", ON_DEVICE, True)
    assert result.ours.startswith("cuda")
    assert all(timing.minimum > 0 for timing in result.times.values())


def test_methods_and_loops_are_contenders(device):
    wanted = ("convolution 3x3", "LSTM, a whole sequence")
    names = {row.name: set(row.work().ours(device)) for _, row in ROWS if row.name in wanted}
    assert names["convolution 3x3"] >= {"cuda", "cuda implicit", "cuda im2col"}
    assert "cell loop" in names["LSTM, a whole sequence"]


def test_the_targets_are_rows():
    """Those of the plan: of bandwidth, linear + activation, convolution, Adam, the captured step, the sequence."""
    wanted = {row.name: (row.targets or {}, row.copy_share) for group in groups(Usual()) for row in group.rows}
    assert wanted["ReLU"] == ({"PyTorch": 1.0}, 0.85)
    assert wanted["linear + bias + ReLU"][0] == {"PyTorch": 1.1}
    assert wanted["convolution 3x3"][0] == {"PyTorch": 0.95}
    assert wanted["Adam"][0] == {"PyTorch default": 2.0, "PyTorch fused": 1.0}
    assert wanted["training step, MLP 784-128-64-10"][0] == {"PyTorch": 3.0}
    assert wanted["LSTM, a whole sequence"][0] == {"cell loop": 2.0}


@pytest.mark.parametrize("name", ["softmax + cross-entropy", "depthwise convolution 3x3", "clip by norm + Adam", "MLP"])
def test_pytorch_as_a_peer(name, device):
    """On the CPU: what it computes is compared, and it is timed."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    group, row = next((group, row) for group, row in ROWS if name in row.name)
    result = on_device.measure(group, row, device, on_device.Peer(torch, "cpu", False), Tiny(), ROOFS)
    assert result.peers
    assert all(check.value > 0 for check in result.checks())


@pytest.mark.skipif(dl.cuda.is_available() and not dl.cuda.status().host, reason="for the host that plays a GPU")
def test_command(tmp_path):
    file, picture = tmp_path / "out.json", tmp_path / "out.png"
    options = ["--device", "cuda", "--quick", "--filter", "ReLU", "--json", str(file), "--plot", str(picture)]
    outcome = CliRunner().invoke(main, ["bench", *options], terminal_width=200)
    assert outcome.exit_code == 0, outcome.output
    for part in ("these times mean nothing", "TF32: not allowed", "what memory limits, on the device", "(of copy)"):
        assert part in outcome.output
    figures = json.loads(file.read_text())
    assert figures["machine"]["TF32"] == "not allowed, nor in PyTorch"
    assert [row["row"] for row in figures["rows"]] == ["ReLU", "linear + bias + ReLU"]
    assert figures["rows"][0]["bytes"] == 20 * device_rows.Tiny().numbers  # 8 forward, 12 backward
    assert picture.stat().st_size > 3000
    outcome = CliRunner().invoke(main, ["bench", "--device", "cuda", "--suite", "conv"])
    assert "--suite chooses among those of the CPU" in outcome.output


def test_a_wrong_result_is_found(monkeypatch, device):
    group, row = ROWS[0]
    monkeypatch.setattr(device_rows.Operation, "on_cpu", lambda self: Doubled(self.step(None)))
    with pytest.raises(Disagreement, match="what memory limits: ReLU: cuda: result 0"):
        on_device.measure(group, row, device, None, Tiny(), ROOFS)


class Doubled:
    def __init__(self, step):
        self.step = step

    def results(self):
        return [2 * x + 1 for x in self.step.results()]
