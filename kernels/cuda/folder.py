"""Where compiled CUDA kernels are kept: files whose content is checked, since a crash may leave one damaged."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from platformdirs import user_cache_dir

from ..._files import write_atomically
from .dialect import Kernel, made_of

_DIGEST = 32  # bytes in front of the content


def cache_folder() -> Path:
    """The folder for machine code, below that of all compiled kernels (``DLFAST_CACHE_DIR`` moves it)."""
    return Path(os.environ.get("DLFAST_CACHE_DIR") or user_cache_dir("dlfast", appauthor=False)) / "cubins"


def place(kernel: Kernel, suffix: str, packages: Iterable[str], sources: Iterable[str], *others: object) -> Path:
    """The file of a kernel, whose name holds a digest of all that its machine code follows from.

    That is its own code and that of what it calls, the versions of `packages`, the files of the compiler named in
    `sources`, and `others`.
    """
    digest = hashlib.sha256()
    versions = [sys.version, *(f"{name} {_number(name)}" for name in packages)]
    for part in (kernel.name, kernel.kinds, *made_of(kernel.function), *versions, *map(repr, others)):
        digest.update(f"{len(part)} {part}".encode())
    for name in sources:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return cache_folder() / f"{kernel.name}-{digest.hexdigest()[:16]}.{suffix}"


def kept(path: Path) -> bytes | None:
    """What a file holds; None where there is none or it is damaged."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    content = whole[_DIGEST:]
    return content if hashlib.sha256(content).digest() == whole[:_DIGEST] else None


def keep(path: Path, content: bytes) -> None:
    """Write a file, where the folder can be written."""
    whole = hashlib.sha256(content).digest() + content
    with suppress(OSError):
        write_atomically(path, lambda temporary: temporary.write_bytes(whole), durable=False)


def _number(package: str) -> str:
    """A package's version; empty where it is not installed, as those of another CUDA are not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
