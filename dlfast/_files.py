"""Writing files so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

# Without it, on Windows, what a killed process left behind stays.
fcntl: Any = import_module("fcntl") if os.name == "posix" else None

_TEMPORARY = re.compile(r"\..*\.dlfast-[0-9a-f]{12}(\..*)?", re.DOTALL)


def write_atomically(path, write: Callable[[Path], object], durable: bool = True, keep=None) -> None:
    """Let ``write(temporary)`` make the file beside ``path``, bring it to the disk, and rename it to ``path``.

    Missing folders are made. A symbolic link stays one: what it points to is written. The file has the mode of the one
    it replaces, a new one that of the umask. If ``write`` raises, nothing is left behind and ``path`` is as before;
    what a killed process left in the folder is removed. Any number of threads and processes may write one path: the
    last one stands. Without `durable` a loss of power may lose the new file, or leave it empty. ``keep``: a second
    path in the same folder, which gets the old file, once the new one is whole.
    Raises OSError, which names the path, where the disk is full or the place cannot be written.
    """
    named, path = path, Path(os.path.realpath(path))
    try:
        if path.exists() and not path.is_file():
            _write_through(path, write)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        with _temporary_beside(path) as temporary:
            mode = (path if path.exists() else temporary).stat().st_mode
            write(temporary)
            temporary.chmod(mode & 0o7777)
            if durable:
                _sync_file(temporary)
            if keep is not None and path.is_file():
                _keep(path, Path(os.path.realpath(keep)))
            os.replace(temporary, path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        if error.errno is None or (error.filename is not None and not _TEMPORARY.fullmatch(Path(error.filename).name)):
            raise
        raise OSError(error.errno, error.strerror, str(named)) from error


def check_writable(path) -> None:
    """Raise OSError, which says why, where `write_atomically` could not write ``path``; makes missing folders."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"cannot write {path}: the folder {target.parent} is read-only")


def write_text(path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """A new empty file that this call alone has, removed at the end; held open, which tells others that we live."""
    while True:
        temporary = _temporary_name(path)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if _claim(descriptor) and os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # another process took it for abandoned in the instant before it was claimed
    held = fcntl is not None
    try:
        if not held:  # Windows renames no open file
            os.close(descriptor)
        yield temporary
    finally:
        if held:
            os.close(descriptor)
        temporary.unlink(missing_ok=True)


def _temporary_name(path: Path) -> Path:
    """The suffix is kept, since writers look at it; the start says to people what it was to be."""
    return path.with_name(f".{path.stem[:100]}.dlfast-{secrets.token_hex(6)}{path.suffix[:30]}")


def _keep(path: Path, kept: Path) -> None:
    """Let the file have the name ``kept`` as well, in place of the one that had it."""
    second = _temporary_name(kept)
    try:
        os.link(path, second)
    except OSError:  # a file system without links: for an instant nothing has the first name
        os.replace(path, kept)
        return
    try:
        os.replace(second, kept)
    finally:
        second.unlink(missing_ok=True)  # renaming does nothing where both are the same file


def _claim(descriptor: int) -> bool:
    """Whether nobody else holds the file open with such a claim; it ends with the process, however that ends."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote."""
    if fcntl is None:
        return
    for entry in os.scandir(folder):
        if _TEMPORARY.fullmatch(entry.name):
            with suppress(OSError):
                _remove_unless_claimed(entry.path)


def _remove_unless_claimed(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)


def _write_through(path: Path, write: Callable[[Path], Any]) -> None:
    """Into a device or a pipe, which has no old content to keep; a folder is refused by the system."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder) / path.name
        write(content)
        with content.open("rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)


def _sync_file(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Bring the rename itself to the disk, where the system lets folders be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
