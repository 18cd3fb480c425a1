"""Data sets that are fetched: files and archives read, downloads checked, and what is said where they are missing."""

import gzip
import hashlib
from importlib.util import find_spec

import numpy as np
import pytest
from click.testing import CliRunner

from dlfast.cli import main
from dlfast.data import data_folder, fetch

SIZES = {"train": 70, "t10k": 30}


def drawn(part):
    rng = np.random.default_rng(len(part))
    count = SIZES[part]
    return rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count).astype(np.uint8)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


@pytest.fixture
def contents():
    """The four files of a small data set, by name."""
    files = {}
    for part in SIZES:
        images, labels = drawn(part)
        files |= {f"{part}-images-idx3-ubyte": idx(images), f"{part}-labels-idx1-ubyte": idx(labels)}
    return files


def write(folder, contents, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        file = folder / (f"{name}.gz" if packed else name)
        file.write_bytes(gzip.compress(content) if packed else content)
    return folder


def assert_is_the_set(pair):
    for data, part in zip(pair, SIZES, strict=True):
        images, labels = drawn(part)
        assert (data.arrays[0].dtype, data.arrays[0].shape) == (np.float32, (len(images), 28, 28, 1))
        np.testing.assert_allclose(data.arrays[0][..., 0] * 255, images, atol=1e-4)
        assert data.arrays[1].dtype == np.int64
        np.testing.assert_array_equal(data.arrays[1], labels)


@pytest.mark.parametrize("packed", [True, False])
def test_reads_a_folder(contents, tmp_path, packed):
    assert_is_the_set(fetch("fashion-mnist", write(tmp_path, contents, packed)))


def save(file, **changes):
    arrays = {}
    for part, short in (("train", "train"), ("t10k", "test")):
        images, labels = drawn(part)
        arrays |= {f"x_{short}": images, f"y_{short}": labels}
    arrays = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    np.savez(file, **arrays)
    return file


def test_reads_an_archive(tmp_path):
    assert_is_the_set(fetch("mnist", str(save(tmp_path / "all.npz"))))


def test_finds_the_data_folder(contents, tmp_path, monkeypatch):
    monkeypatch.setenv("DLFAST_DATA_DIR", str(tmp_path))
    assert data_folder("mnist") == tmp_path / "mnist"
    write(tmp_path / "mnist", contents)
    assert_is_the_set(fetch("mnist"))


@pytest.fixture
def source(contents, tmp_path, monkeypatch):
    """A place to download from, in a folder of this machine; an empty data folder."""
    from dlfast.data.fetching import _PARTS, _SOURCES, _Source

    folder = write(tmp_path / "source", contents)
    sums = [hashlib.md5((folder / f"{part}-ubyte.gz").read_bytes()).hexdigest() for part in _PARTS]
    monkeypatch.setitem(_SOURCES, "mnist", _Source(folder.as_uri(), tuple(sums)))
    monkeypatch.setenv("DLFAST_DATA_DIR", str(tmp_path / "data"))
    return folder


def test_downloads_once(source):
    assert_is_the_set(fetch("mnist"))
    for file in source.iterdir():
        file.unlink()
    assert_is_the_set(fetch("mnist"))


def test_a_damaged_download_is_not_kept(source):
    file = source / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(OSError, match=r"t10k-labels-idx1-ubyte.gz is damaged or another file: its MD5 is"):
        fetch("mnist")
    assert not (data_folder("mnist") / file.name).exists()


def test_says_what_to_do_without_a_network(source):
    (source / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(OSError, match=r"cannot download .*put the file into .*mnist, or give as path"):
        fetch("mnist")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "is no IDX file of bytes"),
        (lambda content: b"\1" + content[1:], "does not start as one"),
        (lambda content: content[:-5], "is no IDX file of bytes"),
    ],
)
def test_names_a_file_of_another_kind(contents, tmp_path, damage, message):
    contents["train-images-idx3-ubyte"] = damage(contents["train-images-idx3-ubyte"])
    with pytest.raises(ValueError, match=message):
        fetch("mnist", write(tmp_path, contents))


def test_bad_input(contents, tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'cifar'; known are mnist, fashion-mnist"):
        fetch("cifar")
    with pytest.raises(FileNotFoundError, match="no folder and no file"):
        fetch("mnist", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"there is no train-images-idx3-ubyte.gz or train-images-idx3-ubyte"):
        fetch("mnist", tmp_path)
    with pytest.raises(ValueError, match=r"lacks y_test"):
        fetch("mnist", save(tmp_path / "part.npz", y_test=None))
    with pytest.raises(ValueError, match=r"must have images uint8 \(N, 28, 28\)"):
        fetch("mnist", save(tmp_path / "short.npz", y_train=np.zeros(3, np.uint8)))
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(ValueError, match=r"must be a folder or an .npz file"):
        fetch("mnist", tmp_path / "file.txt")


def test_demo_trains_on_fashion_mnist(tmp_path, monkeypatch):
    monkeypatch.setattr("dlfast.commands.demo.compare_steps", lambda console: {})
    compare = ["--compare"] if find_spec("torch") else []
    options = ["--data", "fashion-mnist", "--path", str(save(tmp_path / "all.npz")), "--epochs", "2", *compare]
    result = CliRunner().invoke(main, ["demo", *options, "--json", str(tmp_path / "out.json")])
    assert result.exit_code == 0, result.output
    assert "learns clothes from 70 images" in result.output
    assert "epoch 2/2" in result.output
    if compare:
        assert "The whole training" in result.output
        assert '"pytorch"' in (tmp_path / "out.json").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--path", "x"], "give --data fashion-mnist too"),
        (
            ["--data", "fashion-mnist", "--path", "/no/such/file.npz"],
            "there is no folder and no file /no/such/file.npz",
        ),
        (["--data", "cifar"], "'cifar' is not one of"),
    ],
)
def test_demo_names_what_is_wrong(options, message):
    result = CliRunner().invoke(main, ["demo", *options])
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "Traceback" not in result.output
