"""save and load: every dtype and shape, damaged files, crashes."""

import numpy as np
import pytest

import dlfast as dl
from dlfast import _safetensors, nn, optim
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
        ({"a": np.ma.masked_array([1.0, 2.0], [0, 1])}, "a must not be masked"),
        ({"a": {"b": np.ma.masked_array([1.0, 2.0], [0, 1])}}, "b must not be masked"),
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


def test_arguments_in_pytorchs_order(tmp_path):
    path = tmp_path / "x.safetensors"
    for where in (path, str(path)):
        dl.save({"a": np.ones(2)}, where)
        assert list(dl.load(where)) == ["a"]
        path.unlink()
    for bad in ((nn.Linear(2, 2), path), (path, nn.Linear(2, 2)), (path, path), ({}, {}), (path, None), (None, {})):
        with pytest.raises(TypeError, match=r"a path and a dictionary of arrays, such as model\.state_dict\(\)"):
            dl.save(*bad)


@pytest.mark.parametrize("key", ["__metadata__", "__tree__"])
def test_keys_of_the_format_are_refused(tmp_path, key):
    for state in ({key: np.ones(1)}, {key: {"a": np.ones(1)}}):
        with pytest.raises(ValueError, match=f"the key '{key}' is the format's own"):
            dl.save(tmp_path / "x", state)
    dl.save(tmp_path / "x", {"a": {key: np.ones(1)}})
    assert list(dl.load(tmp_path / "x")["a"]) == [key]
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


class TestHalfPrecision:
    def test_of_other_writers_becomes_float32(self, tmp_path):
        torch, other = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
        values = torch.tensor([0.0, -1.5, 3.14159, 1e-7, 6e4, float("inf"), float("nan")])
        state = {"b": values.to(torch.bfloat16).reshape(1, 7), "h": values.half(), "f": values, "i": torch.arange(3)}
        other.save_file(state, tmp_path / "x.safetensors")
        found = dl.load(tmp_path / "x.safetensors")
        for key, value in state.items():
            np.testing.assert_array_equal(found[key], value.float().numpy() if key != "i" else value.numpy())
            assert found[key].dtype == (np.int64 if key == "i" else np.float32)
            assert found[key].flags.writeable

    def test_what_numpy_lacks_is_named(self, tmp_path):
        torch, other = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
        other.save_file({"w8": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "x.safetensors")
        with pytest.raises(ValueError, match="'w8' has dtype F8_E4M3, which NumPy lacks"):
            dl.load(tmp_path / "x.safetensors")


def test_other_readers_read_ours(tmp_path):
    from safetensors.numpy import load_file

    state = {"b": np.arange(3, dtype=np.int8), "a": np.ones((2, 3)), "c": np.array(True), "e": np.zeros((0, 2), "f4")}
    dl.save(tmp_path / "x.safetensors", state)
    found = load_file(tmp_path / "x.safetensors")
    for key, value in state.items():
        np.testing.assert_array_equal(found[key], value)
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape)
    assert list(dl.load(tmp_path / "x.safetensors")) == list(state)


def same(a, b):
    """Whether nested states are alike, to the bit; tuples come back as lists."""
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b and type(a) is type(b)


@pytest.mark.parametrize("rule", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_optimizer_state_comes_back(tmp_path, rule):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = getattr(optim, rule)(model.parameters(), lr=0.1)
    model(np.ones((2, 3), np.float32)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "name": "x", "none": None}
    files = []
    for _ in range(2):
        dl.save(tmp_path / "x.safetensors", state)
        files.append((tmp_path / "x.safetensors").read_bytes())
        found = dl.load(tmp_path / "x.safetensors")
        assert same(state, found)
        optimizer.load_state_dict(found["optimizer"])
        assert same(optimizer.state_dict(), state["optimizer"])  # in the same order too
        state = found
    assert files[0] == files[1]
    dl.save(tmp_path / "y.safetensors", optimizer.state_dict())
    optimizer.load_state_dict(dl.load(tmp_path / "y.safetensors"))
    assert same(optimizer.state_dict(), state["optimizer"])


class TestNested:
    def test_paths_that_would_collide(self, tmp_path):
        state = {"a": {"b": np.ones(1)}, "a/b": np.zeros(1), "n": {1: np.full(1, 2.0), "1": np.full(1, 3.0)}, "l": [[]]}
        dl.save(tmp_path / "x", state)
        assert same(dl.load(tmp_path / "x"), state)

    def test_tensors_and_numpy_numbers(self, tmp_path):
        dl.save(tmp_path / "x", {"a": [Tensor([1.0]), np.ones(2)], "b": {"n": np.float32(0.5), np.int64(3): True}})
        found = dl.load(tmp_path / "x")
        assert same(found, {"a": [np.ones(1, np.float32), np.ones(2)], "b": {"n": 0.5, 3: True}})

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            ({"a": {"f": len}}, "state/a/f must be an array, number, string or None, got builtin"),
            ({"a": {"z": 1j}}, "state/a/z must be an array, number"),
            ({"a": {(1, 2): 3}}, r"the keys of state/a must be strings or integers, got \(1, 2\)"),
            ({"a": {"s": np.array(["text"])}}, "'state/a/s' must be an array of numbers"),
            ({"a": {"c": np.ones(1, complex)}}, "'state/a/c' must be an array of numbers"),
            ({"a": {"long": np.ones(1, np.longdouble)}}, "'state/a/long' must be an array of numbers"),
        ],
    )
    def test_what_cannot_be_kept_is_named(self, tmp_path, state, words):
        with pytest.raises(TypeError, match=words):
            dl.save(tmp_path / "x", state)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "tree", [b"", b"{", b"[]", b"3", b"{}", b'{"array": "none"}', b'{"items": [1]}', b'{"list": 3}', b"\xff"]
    )
    def test_a_damaged_tree(self, tmp_path, tree):
        _safetensors.write(tmp_path / "x", {"a": np.ones(1), "__tree__": np.frombuffer(tree, np.uint8)})
        with pytest.raises(ValueError, match="load: .*x is not a sound safetensors file: its __tree__ is damaged"):
            dl.load(tmp_path / "x")


def test_a_flipped_bit_in_any_byte_is_refused_or_harmless(tmp_path):
    """Of the header, the numbers and the tree; harmless is one in the mark that says who wrote the file."""
    path, state = tmp_path / "x", {"a": {"w": np.arange(4, dtype=np.float32)}, "b": np.array([True, False]), "c": "yes"}
    dl.save(path, state)
    content, refused = path.read_bytes(), 0
    for place in range(len(content)):
        flipped = content[place] ^ 1 << place % 8
        path.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
        try:
            assert same(dl.load(path), state), place
        except ValueError as error:
            assert "is not a sound safetensors file" in str(error)  # noqa: PT017
            refused += 1
    assert refused > len(content) - 8


class TestOtherFormats:
    @pytest.mark.parametrize("name", ["x.pth", "x.pt", "model"])
    @pytest.mark.parametrize("old", [False, True])
    def test_pytorch(self, tmp_path, name, old):
        torch = pytest.importorskip("torch")
        torch.save({"w": torch.ones(2)}, tmp_path / name, _use_new_zipfile_serialization=not old)
        with pytest.raises(ValueError, match=r"it is a PyTorch file.*safetensors\.torch\.save_file\(torch\.load\("):
            dl.load(tmp_path / name)

    def test_numpy(self, tmp_path):
        np.savez(tmp_path / "x.npz", a=np.ones(2))
        np.save(tmp_path / "x.npy", np.ones(2))
        for name in ("x.npz", "x.npy"):
            with pytest.raises(ValueError, match=r"it is a NumPy file, for numpy\.load"):
                dl.load(tmp_path / name)
