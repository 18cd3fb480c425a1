"""Data sets that are fetched: files and archives read, downloads checked, and what is said where they are missing."""

import gzip
import hashlib
import io
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec

import numpy as np
import pytest
from click.testing import CliRunner

from dlfast.cli import main
from dlfast.data import data_folder, fetch, fetching

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
    folder = write(tmp_path / "source", contents)
    offer(monkeypatch, "mnist", folder, folder.as_uri())
    monkeypatch.setenv("DLFAST_DATA_DIR", str(tmp_path / "data"))
    return folder


def offer(monkeypatch, name, folder, url):
    """Let the data set be what lies in the folder, at the url."""
    old = fetching._SOURCES[name]
    sums = {file: hashlib.md5((folder / file).read_bytes()).hexdigest() for file in old.sums}
    monkeypatch.setitem(fetching._SOURCES, name, old._replace(url=url, sums=sums))


def test_downloads_once(source):
    assert_is_the_set(fetch("mnist"))
    for file in source.iterdir():
        file.unlink()
    assert_is_the_set(fetch("mnist"))
    assert sorted(file.name for file in data_folder("mnist").iterdir()) == sorted(fetching._SOURCES["mnist"].sums)


def test_a_damaged_download_is_not_kept(source):
    file = source / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(OSError, match=r"t10k-labels-idx1-ubyte.gz is damaged or another file: its MD5 is"):
        fetch("mnist")
    assert not list(data_folder("mnist").glob("t10k-labels*"))


def test_says_what_to_do_without_a_network(source):
    (source / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(OSError, match=r"cannot download .*put the file into .*mnist, or give as path"):
        fetch("mnist")
    assert not list(data_folder("mnist").iterdir())


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
    with pytest.raises(ValueError, match="unknown data set 'cifar'; known are mnist, fashion-mnist, cifar10"):
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


# CIFAR-10

CIFAR = {f"data_batch_{i}.bin": i for i in range(1, 6)} | {"test_batch.bin": 6}


def cifar_batch(seed, count=5):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 10, count).astype(np.uint8)


def cifar_files():
    """As the makers give them: a label, then the red, the green and the blue bytes."""
    files = {}
    for name, seed in CIFAR.items():
        images, labels = cifar_batch(seed)
        files[name] = np.c_[labels, images.transpose(0, 3, 1, 2).reshape(len(images), -1)].tobytes()
    return files


def pack(file, members, folder="cifar-10-batches-bin"):
    with tarfile.open(file, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def assert_is_cifar(pair):
    training, test = pair
    images = np.concatenate([cifar_batch(seed)[0] for seed in range(1, 6)])
    np.testing.assert_allclose(training.arrays[0] * 255, images, atol=1e-4)
    assert training.arrays[0].flags.c_contiguous
    assert training.arrays[1].tolist() == np.concatenate([cifar_batch(seed)[1] for seed in range(1, 6)]).tolist()
    np.testing.assert_allclose(test.arrays[0] * 255, cifar_batch(6)[0], atol=1e-4)
    assert test.arrays[1].dtype == np.int64


@pytest.mark.parametrize("kind", ["archive", "folder of the archive", "files", "unpacked", "npz"])
def test_reads_cifar(tmp_path, kind):
    place = tmp_path / "files" if kind == "files" else tmp_path / "cifar-10-batches-bin"
    if "archive" in kind:
        file = pack(tmp_path / "cifar-10-binary.tar.gz", cifar_files())
        place = file if kind == "archive" else tmp_path
    elif kind == "npz":
        place = tmp_path / "all.npz"
        batches = [cifar_batch(seed) for seed in range(1, 7)]
        x, y = (np.concatenate([batch[i] for batch in batches]) for i in (0, 1))
        np.savez(place, x_train=x[:25], y_train=y[:25], x_test=x[25:], y_test=y[25:])
    else:
        place.mkdir()
        for name, content in cifar_files().items():
            (place / name).write_bytes(content)
    assert_is_cifar(fetch("cifar10", tmp_path if kind == "unpacked" else place))


def test_cifar_that_cannot_be_read(tmp_path):
    def refused(message, members=None, error=ValueError):
        if members is not None:
            pack(tmp_path / "cifar.tar.gz", members)
        with pytest.raises(error, match=message):
            fetch("cifar10", tmp_path / "cifar.tar.gz")

    refused("Python pickles, which can run programs; take the binary version", {"data_batch_1": b"x"})
    first = {name: content for name, content in cifar_files().items() if name != "test_batch.bin"}
    refused("there is no test_batch.bin in", first, FileNotFoundError)
    refused("data_batch_1.bin in .* must have rows of 3073 bytes", {**cifar_files(), "data_batch_1.bin": b"0" * 3000})
    refused("labels of cifar10 must be in 0..9, got 48 to 48", dict.fromkeys(CIFAR, b"0" * 3073))
    whole = pack(tmp_path / "cifar.tar.gz", cifar_files()).read_bytes()
    for damaged in (whole[:5000], b"no archive", b""):
        (tmp_path / "cifar.tar.gz").write_bytes(damaged)
        refused("is damaged, or no archive of CIFAR-10")
    with pytest.raises(FileNotFoundError, match="there is no cifar-10-binary.tar.gz and no data_batch_1.bin in"):
        fetch("cifar10", tmp_path)
    (tmp_path / "data_batch_1").write_bytes(b"pickle")
    with pytest.raises(ValueError, match="Python pickles"):
        fetch("cifar10", tmp_path)


# A server on this machine


class Server(ThreadingHTTPServer):
    """Gives the files of a folder. ``breaks``: after how many bytes each answer breaks off, None for whole ones."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.ranges, self.breaks, self.asked, self.status = folder, True, [], [], None
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.status is not None:
            return self.send_error(server.status)
        content = (server.folder / self.path.lstrip("/")).read_bytes()
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if start and start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        limit = server.breaks.pop(0) if server.breaks else None
        self.wfile.write(content[start : None if limit is None else start + limit])

    def log_message(self, *words):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The archive of CIFAR-10 on a server; an empty data folder."""
    folder = tmp_path / "source"
    folder.mkdir()
    pack(folder / "cifar-10-binary.tar.gz", cifar_files())
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        offer(monkeypatch, "cifar10", folder, server.url)
        monkeypatch.setenv("DLFAST_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("no_proxy", "*")
        yield server
        server.shutdown()
        thread.join()


def kept():
    return {file.name: file.stat().st_size for file in data_folder("cifar10").iterdir()}


def test_downloads_from_a_server(server):
    assert_is_cifar(fetch("cifar10"))
    assert_is_cifar(fetch("cifar10"))
    assert server.asked == [None]
    assert list(kept()) == ["cifar-10-binary.tar.gz"]


def test_goes_on_where_it_broke_off(server):
    server.breaks = [30_000, 20_000]
    assert_is_cifar(fetch("cifar10"))
    assert server.asked == [None, "bytes=30000-", "bytes=50000-"]
    assert list(kept()) == ["cifar-10-binary.tar.gz"]


def test_the_next_call_goes_on(server):
    server.breaks = [30_000, 0]
    with pytest.raises(OSError, match=r"broke off after 30,000 of .* 30,000 bytes are kept, the next call asks"):
        fetch("cifar10")
    assert kept() == {"cifar-10-binary.tar.gz.part": 30_000}
    assert_is_cifar(fetch("cifar10"))
    assert server.asked == [None, "bytes=30000-", "bytes=30000-"]
    assert list(kept()) == ["cifar-10-binary.tar.gz"]


def test_a_server_without_ranges_gives_all_again(server):
    server.ranges, server.breaks = False, [30_000, 0]
    with pytest.raises(OSError, match="broke off after 0 of"):
        fetch("cifar10")
    assert_is_cifar(fetch("cifar10"))
    assert list(kept()) == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("count", [4000, 10**6])
def test_a_beginning_of_another_file_is_given_up(server, count):
    part = data_folder("cifar10") / "cifar-10-binary.tar.gz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * count)
    assert_is_cifar(fetch("cifar10"))
    assert server.asked == [f"bytes={count}-", None]
    assert list(kept()) == ["cifar-10-binary.tar.gz"]


def test_a_wrong_sum_is_told_and_nothing_kept(server):
    pack(server.folder / "cifar-10-binary.tar.gz", {"other": b"file"})
    with pytest.raises(OSError, match=r"damaged or another file: its MD5 is"):
        fetch("cifar10")
    assert kept() == {}


@pytest.mark.parametrize("status", [404, 503])
def test_a_refusal_is_told(server, status):
    server.status = status
    with pytest.raises(OSError, match=rf"cannot download {server.url}/cifar-10-binary.tar.gz \(HTTP Error {status}"):
        fetch("cifar10")
    assert kept() == {}


def test_one_downloads_and_the_others_wait(server):
    with ThreadPoolExecutor(4) as pool:
        for pair in pool.map(lambda _: fetch("cifar10"), range(4)):
            assert_is_cifar(pair)
    assert server.asked == [None]
    assert list(kept()) == ["cifar-10-binary.tar.gz"]


def test_demo_trains_on_fashion_mnist(tmp_path, monkeypatch):
    monkeypatch.setattr("dlfast.commands.demo.compare_steps", lambda console, device: {})
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
