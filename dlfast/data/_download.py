"""Downloads that go on where they broke off, and are kept only when their sum is right.

pooch, the usual library for this, begins an interrupted download anew: of CIFAR-10 that is 170 MB.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO

from .._files import fcntl

_SECONDS = 30  # without an answer
_CHUNK = 1 << 16


def download(url: str, file: Path, md5: str) -> None:
    """Bring ``url`` to ``file``, unless it is there when the way is free: one process downloads, others wait for it.

    What has come so far is kept in ``file.part``, and the next call asks for the rest, if the server gives parts; after
    a break with some progress this call does so itself. Raises OSError where it cannot be had or has another MD5 sum.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    with part.open("ab+") as stream:
        _wait_for_turn(stream)
        if file.is_file():  # another process has brought it meanwhile
            if part.exists() and part.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                part.unlink()
            return
        _receive(url, file, part, stream, md5)
        os.fsync(stream.fileno())
        os.replace(part, file)


def _receive(url: str, file: Path, part: Path, stream: BinaryIO, md5: str) -> None:
    old = stream.seek(0, os.SEEK_END)
    try:
        _continue_until_whole(url, stream)
    except (OSError, HTTPException) as error:
        kept = stream.seek(0, os.SEEK_END)
        if not kept:
            part.unlink()
        goes_on = f"{kept:,} bytes are kept, the next call asks for the rest; or " if kept else ""
        raise OSError(
            f"fetch: cannot download {url} ({error}); {goes_on}put the file into {file.parent}, or give as path a "
            "folder or file that has the data"
        ) from error
    got = _md5(stream)
    if got != md5 and old:  # the beginning was of another file
        stream.truncate(0)
        _receive(url, file, part, stream, md5)
    elif got != md5:
        part.unlink()
        raise OSError(f"fetch: {url} is damaged or another file: its MD5 is {got}, not {md5}")


def _continue_until_whole(url: str, stream: BinaryIO) -> None:
    while True:
        before = stream.seek(0, os.SEEK_END)
        try:
            return _continue(url, stream)
        except (OSError, HTTPException):
            if stream.seek(0, os.SEEK_END) <= before:
                raise


def _continue(url: str, stream: BinaryIO) -> None:
    """Append what is missing; write all, where the server gives no parts. Raises OSError where it ends too soon."""
    from urllib.error import HTTPError  # costs an import of 30 ms
    from urllib.request import Request, urlopen

    start = stream.seek(0, os.SEEK_END)
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urlopen(request, timeout=_SECONDS)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing is missing, unless it is another file, which its sum tells
            return
        raise
    with answer:
        if not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {start}-"):
            stream.truncate(0)
            start = 0
        length = answer.headers.get("Content-Length")
        whole = None if length is None else start + int(length)
        with _progress(url, start, whole) as tell:
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                tell(len(chunk))
        stream.flush()
    if whole is not None and stream.seek(0, os.SEEK_END) < whole:
        raise ConnectionError(f"it broke off after {stream.tell():,} of {whole:,} bytes")


def _md5(stream: BinaryIO) -> str:
    stream.seek(0)
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _wait_for_turn(stream: BinaryIO) -> None:
    if fcntl is not None:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX)


@contextmanager
def _progress(url: str, start: int, whole: int | None) -> Iterator[Callable[[int], Any]]:
    """A bar on the terminal, if there is one."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(url.rpartition("/")[2], total=whole, completed=start)
        yield lambda count: progress.advance(task, count)
