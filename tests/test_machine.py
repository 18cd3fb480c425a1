"""The machine's roofs: plausible figures, no lasting effect. (How exact they are is no affair of tests.)"""

import numpy as np
import pytest

from dlfast import _machine
from dlfast.kernels.runtime import machine
from dlfast.kernels.threads import get_num_threads


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_machine, "_SECONDS", 0.001)
    monkeypatch.setattr(_machine, "copy_bytes", lambda: 1 << 20)


@pytest.mark.parametrize("dtype", [np.float32, "float64"])
def test_roofs_are_positive_and_threads_are_put_back(dtype):
    before = get_num_threads()
    assert 0.01 < _machine.fma_peak(2, dtype) < 1e6
    assert 0.01 < _machine.copy_rate(2) < 1e5
    assert _machine.fma_peak(dtype=dtype) > 0
    assert get_num_threads() == before


def test_operations_are_counted_by_width():
    """float64 registers hold half as many elements, except where there are no vectors at all."""
    single, double = machine.multiply_adds(3, "float32"), machine.multiply_adds(3, "float64")
    assert single == 3 * machine.multiply_adds(1, "float32")
    assert single / double in (1, 2, 4)  # 4: float64 takes the AVX2 copy where float32 takes AVX-512's


def test_bad_arguments():
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got int32"):
        _machine.fma_peak(1, np.int32)
    with pytest.raises(ValueError, match="n must be 1 or more, got 0"):
        _machine.copy_rate(0)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 7])
def test_copy_copies(size):
    source, target = np.random.default_rng(0).integers(0, 255, size, np.uint8), np.zeros(size, np.uint8)
    machine.copy(source, target)
    assert np.array_equal(source, target)


def test_size_of_the_copy_follows_the_caches(tmp_path, monkeypatch):
    monkeypatch.undo()
    assert _machine.copy_bytes(tmp_path) == 64 << 20
    for index, text in enumerate(["48K\n", "nonsense", "32768K\n"]):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(text)
    assert _machine.copy_bytes(tmp_path) == 128 << 20
    (tmp_path / "index0" / "size").write_text("2G")
    assert _machine.copy_bytes(tmp_path) == 512 << 20


def test_a_roof_is_measured_once_and_again_only_where_it_was_too_low(tmp_path, monkeypatch):
    trials = [50.0, 90.0, 100.0, 99.0, 98.0, 100.5, 97.0, *[120.0] * 5]
    monkeypatch.setattr(_machine, "fma_peak", lambda threads, dtype: trials.pop(0))
    monkeypatch.setattr(_machine, "_roofs_file", lambda: tmp_path / "folder" / "roofs.json")
    assert _machine.fma_roof(2) == 100.5  # the best of trials, until four bring nothing
    assert _machine.fma_roof(2, least=80.0) == 100.5
    assert _machine.fma_roof(2, np.float64) == 120.0  # each dtype has its own
    trials[:] = [110.0] * 5 + [90.0] * 5
    assert _machine.fma_roof(2, least=105.0) == 110.0
    assert _machine.fma_roof(2) == 110.0
    assert _machine.fma_roof(2, least=111.0) == 110.0  # a busy machine cannot lower it
    assert not trials
    kept = (tmp_path / "folder" / "roofs.json").read_text()
    assert _machine.cpu_model() in kept
    assert machine.isa() in kept


@pytest.mark.parametrize("damage", ["", "[1]", '{"x": "y"}', "\x00"])
def test_damaged_roofs_are_measured_anew(damage, tmp_path, monkeypatch):
    monkeypatch.setattr(_machine, "fma_peak", lambda threads, dtype: 7.0)
    path = tmp_path / "roofs.json"
    path.write_text(damage)
    monkeypatch.setattr(_machine, "_roofs_file", lambda: path)
    assert _machine.fma_roof(1) == 7.0
    assert "7.0" in path.read_text()
    monkeypatch.setattr(_machine, "_roofs_file", lambda: None)
    assert _machine.fma_roof(1) == 7.0
