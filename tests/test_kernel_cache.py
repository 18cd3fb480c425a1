"""Compiled kernels on disk: damaged, missing, read-only and crowded files cost time and nothing else."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dlfast.cli import main
from dlfast.kernels.numba import jit, keeping
from dlfast.kernels.numba.compiling import compilations


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache of its own for the kernels of a test."""
    place = tmp_path / "kernels-here"
    place.mkdir()
    monkeypatch.setattr(jit, "cache_folder", lambda: place)
    monkeypatch.setattr(compilations, "trouble", "")
    return place


def twice(x):
    return x + x


twice.__module__ = f"{jit.__package__}.twice"  # users' kernels are not kept


def kernel():
    """The kernel as a new process has it: nothing compiled or loaded yet."""
    return jit.jit(twice)


def use(dispatcher=None, x=1.5):
    """Call it; whether it had to be compiled."""
    dispatcher = dispatcher or kernel()
    assert dispatcher(x) == 2 * x
    return bool(dispatcher.stats.cache_misses)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


DAMAGES = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "a byte short": lambda content: content[:-1],
    "garbage": lambda content: b"\x80\x04garbage" * 20,
    "a bit": lambda content: content[:-200] + bytes([content[-200] ^ 1]) + content[-199:],
    "a bit of the checksum": lambda content: bytes([content[3] ^ 16]) + content[1:],
    "longer": lambda content: content + b"\0",
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_anew_and_written_again(folder, damage):
    assert use()
    assert not use()
    (path,) = folder.iterdir()
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert use()
    assert not use()
    assert list(folder.iterdir()) == [path]
    assert compilations.trouble == ""


def test_a_folder_that_vanishes(folder):
    dispatcher = kernel()
    shutil.rmtree(folder)
    assert use(dispatcher)
    assert not use()


def test_signatures_and_kernels_do_not_mix(folder):
    """Each has a file of its own, so that processes which compile at one time cannot give out another's code."""
    use(x=1.5)
    use(x=3)

    def thrice(x):
        return x + x + x

    thrice.__module__ = twice.__module__
    assert jit.jit(thrice)(2.0) == 6.0
    assert len(files(folder)) == 3
    assert [use(x=1.5), use(x=3), use(x=np.float32(2)), use(x=np.float32(2))] == [False, False, True, False]


class TestWhatCannotBeWritten:
    def test_full_disk(self, folder, capsys, monkeypatch):
        monkeypatch.setattr(compilations, "silent", False)
        limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
        try:
            assert use()
            assert use()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert list(folder.iterdir()) == []
        assert str(folder) in compilations.trouble
        assert capsys.readouterr().err.count("compiled kernels cannot be kept") == 1

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
    def test_whatever_the_system_says(self, folder, monkeypatch, number):
        def refuse(*args, **options):
            raise OSError(number, os.strerror(number), str(folder))

        use()
        monkeypatch.setattr(keeping, "write_atomically", refuse)
        assert not use()  # what is there is used
        assert use(x=2)
        assert os.strerror(number) in compilations.trouble

    def test_a_file_in_place_of_the_folder(self, folder):
        folder.rmdir()
        folder.write_text("in the way")
        assert use()
        assert compilations.trouble


FIRST_CALL = """
import numpy as np
from dlfast import functional as F
from dlfast.kernels.numba.compiling import compilations
print(float(F.mse_loss(*np.ones((2, 5000), np.float32)).item()), compilations.count)
"""


def first_call(cache):
    env = {**os.environ, "DLFAST_CACHE_DIR": str(cache), "DLFAST_QUIET": ""}
    done = subprocess.run([sys.executable, "-c", FIRST_CALL], env=env, capture_output=True, text=True, check=True)
    value, compiled = done.stdout.split()
    assert value == "0.0"
    return int(compiled), done.stderr


def test_new_processes(tmp_path):
    """Every file of a real cache damaged; then a complete one in a folder that nothing can be written to."""
    assert first_call(tmp_path)[0]
    (place,) = tmp_path.iterdir()
    for path in place.iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    assert first_call(tmp_path)[0]
    before = files(place)
    for path in (place, tmp_path):
        path.chmod(0o555)
    try:
        assert first_call(tmp_path) == (0, "")
    finally:
        for path in (tmp_path, place):
            path.chmod(0o755)
    assert files(place) == before


def test_read_only_folders_are_used_where_they_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("DLFAST_CACHE_DIR", str(tmp_path))
    find = jit.cache_folder.__wrapped__
    place = find()
    assert place.parent == tmp_path
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
    assert find() == place

    def refuse(*args, **options):
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert find() == place
    place.rmdir()
    assert find() is None


def test_warmup_says_that_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(
        "dlfast.commands.warmup.run", lambda *network: compilations.not_kept(OSError(28, "No space left"))
    )
    monkeypatch.setattr(compilations, "trouble", "")
    result = CliRunner().invoke(main, ["warmup"])
    assert result.exit_code == 1
    assert "compiled kernels cannot be kept" in result.output
    assert "No space left" in result.output


def test_results_do_not_depend_on_the_cache(folder):
    x = np.arange(5.0)
    np.testing.assert_array_equal(kernel()(x), kernel()(x))
