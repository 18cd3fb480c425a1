"""Writing files: modes, links, crowds of writers, killed ones, full disks."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

import dlfast as dl
from dlfast._files import write_atomically

STATE = {"a": np.arange(6, dtype=np.float32)}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_of_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        dl.save(tmp_path / "new.safetensors", STATE)
    finally:
        os.umask(before)
    assert mode(tmp_path / "new.safetensors") == 0o666 & ~umask


@pytest.mark.parametrize("wanted", [0o600, 0o640, 0o444, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path, wanted):
    path = tmp_path / "old.safetensors"
    dl.save(path, {})
    path.chmod(wanted)
    dl.save(path, STATE)
    assert mode(path) == wanted
    assert list(dl.load(path)) == ["a"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(tmp_path, exists):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    if exists:
        dl.save(target, {})
    link.symlink_to("far/target")
    second = tmp_path / "second"
    second.symlink_to(link)
    dl.save(second, STATE)
    assert second.is_symlink()
    assert link.is_symlink()
    np.testing.assert_array_equal(dl.load(target)["a"], STATE["a"])
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["target"]


def test_a_device_and_a_folder(tmp_path):
    write_atomically("/dev/null", lambda path: path.write_text("gone"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        dl.save(tmp_path, STATE)


@pytest.mark.parametrize("name", ["x" * 250, "s." + "x" * 250, "a.b.safetensors", ".hidden", "ü ☃.safetensors"])
def test_any_name_that_the_system_takes(tmp_path, name):
    dl.save(tmp_path / name, STATE)
    assert os.listdir(tmp_path) == [name]


def test_threads_that_write_one_path(tmp_path):
    path, faults = tmp_path / "x.safetensors", []

    def write(number):
        try:
            for _ in range(10):
                dl.save(path, {"a": np.full(1000, number)})
                assert len(set(dl.load(path)["a"].tolist())) == 1
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert os.listdir(tmp_path) == ["x.safetensors"]


WRITER = """
import sys, time
from dlfast._files import write_atomically
def write(path):
    path.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
write_atomically(sys.argv[1], write)
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / name)], stdout=subprocess.PIPE)
        for name in ("one.txt", "two.txt")
    ]
    try:
        for writer in writers:
            assert writer.stdout.readline() == b"writing\n"
        writers[0].send_signal(signal.SIGKILL)
        writers[0].wait()
        (tmp_path / ".mine.txt").write_text("stays")
        assert len(os.listdir(tmp_path)) == 3
        dl.save(tmp_path / "other.safetensors", STATE)
        left = sorted(os.listdir(tmp_path))
        assert left[0] == ".mine.txt"
        assert left[1].startswith(".two.dlfast-")
        assert left[2:] == ["other.safetensors"]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.stdout.close()
    dl.save(tmp_path / "other.safetensors", STATE)
    assert sorted(os.listdir(tmp_path)) == [".mine.txt", "other.safetensors"]


class TestKeep:
    """The old file under a second name."""

    def write(self, folder, text, **options):
        write_atomically(folder / "a.txt", lambda path: path.write_text(text), keep=folder / "b.txt", **options)

    def contents(self, folder):
        return {path.name: path.read_text() for path in folder.iterdir()}

    @pytest.mark.parametrize("links", [True, False])
    def test_the_last_two(self, tmp_path, monkeypatch, links):
        def refused(*names):
            raise OSError(errno.EPERM, "no links here")

        if not links:
            monkeypatch.setattr(os, "link", refused)
        self.write(tmp_path, "1")
        assert self.contents(tmp_path) == {"a.txt": "1"}
        self.write(tmp_path, "2")
        assert self.contents(tmp_path) == {"a.txt": "2", "b.txt": "1"}
        self.write(tmp_path, "3", durable=False)
        assert self.contents(tmp_path) == {"a.txt": "3", "b.txt": "2"}

    def test_a_write_that_fails_changes_neither(self, tmp_path):
        self.write(tmp_path, "1")
        self.write(tmp_path, "2")
        with pytest.raises(OSError, match="full"):
            write_atomically(tmp_path / "a.txt", full, keep=tmp_path / "b.txt")
        assert self.contents(tmp_path) == {"a.txt": "2", "b.txt": "1"}

    def test_both_names_of_one_file(self, tmp_path):
        """As a crash between the two steps leaves them."""
        self.write(tmp_path, "1")
        os.link(tmp_path / "a.txt", tmp_path / "b.txt")
        self.write(tmp_path, "2")
        assert self.contents(tmp_path) == {"a.txt": "2", "b.txt": "1"}


def full(path):
    path.write_text("half")
    raise OSError(errno.ENOSPC, "the disk is full")


class TestFullDisk:
    """OSError with the path, the old file as it was, nothing left behind."""

    def check(self, path, save):
        with pytest.raises(OSError, match=path.name) as caught:
            save()
        assert caught.value.filename == str(path)
        assert caught.value.errno in (errno.EFBIG, errno.ENOSPC)
        assert os.listdir(path.parent) == [path.name]
        assert list(dl.load(path)) == ["small"]

    def test_by_a_limit(self, tmp_path):
        path = tmp_path / "x.safetensors"
        dl.save(path, {"small": np.ones(1)})
        limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        try:
            self.check(path, lambda: dl.save(path, {"large": np.ones(1 << 15)}))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_said_late(self, tmp_path, monkeypatch, call):
        path = tmp_path / "x.safetensors"
        dl.save(path, {"small": np.ones(1)})

        def full(*args):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *[str(one) for one in args[:1] if call == "replace"])

        monkeypatch.setattr(os, call, full)
        self.check(path, lambda: dl.save(path, {"large": np.ones(9)}))
