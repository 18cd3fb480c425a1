"""save and load: every dtype and shape, damaged files, crashes."""

import numpy as np
import pytest

import dlfast as dl
from dlfast import nn
from dlfast.tensor import Tensor


def test_round_trip_of_every_dtype(tmp_path):
    rng = np.random.default_rng(0)
    state = {
        f"a.{kind}": (rng.normal(size=(2, 3)) * 50).astype(kind) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8")
    }
    state |= {f"u.{kind}": rng.integers(0, 99, 4).astype(kind) for kind in ("u1", "u2", "u4", "u8", "?")}
    state |= {
        "scalar": np.array(3),
        "empty": np.zeros((0, 3), np.float32),
        "strided": np.arange(12.0).reshape(3, 4)[::-1, ::2],
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big endian": np.arange(3, dtype=">i4"),
        "tensor": Tensor([1.5]),
        "number": 2.5,
    }
    dl.save(tmp_path / "x.safetensors", state)
    found = dl.load(tmp_path / "x.safetensors")
    assert set(found) == set(state)
    for key, value in state.items():
        value = np.asarray(value)
        assert found[key].dtype == value.dtype.newbyteorder("="), key
        assert found[key].shape == value.shape, key
        np.testing.assert_array_equal(found[key], value)
        assert found[key].flags.writeable


def test_a_model_comes_back(tmp_path):
    def build():
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))

    a, b = build(), build()
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)
    a(x)
    dl.save(str(tmp_path / "model.safetensors"), a.state_dict())
    b.load_state_dict(dl.load(str(tmp_path / "model.safetensors")))
    np.testing.assert_array_equal(a.eval()(x), b.eval()(x))


def test_bad_values_write_nothing(tmp_path):
    path = tmp_path / "x.safetensors"
    for state, words in (
        ({1: np.ones(1)}, "keys must be strings, got 1"),
        ({"a": "text"}, "'a' must be an array of numbers"),
    ):
        with pytest.raises(TypeError, match=words):
            dl.save(path, state)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    dl.save(path, {"a": np.ones(2)})

    def crash(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        dl.save(path, {"a": np.zeros(2)})
    monkeypatch.undo()
    np.testing.assert_array_equal(dl.load(path)["a"], 1)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_damaged_files(tmp_path):
    path = tmp_path / "x.safetensors"
    dl.save(path, {"a": np.ones(100)})
    content = path.read_bytes()
    for bad in (b"", content[:5], content[:50], content[:-8], b"\xff" * 64, content[:8] + b"[" + content[9:]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"load: .*x\.safetensors is not a sound safetensors file"):
            dl.load(path)
    with pytest.raises(FileNotFoundError):
        dl.load(tmp_path / "none.safetensors")
