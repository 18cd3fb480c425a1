"""Keeps compiled kernels on disk, in files that may be cut short, damaged, read-only, or written by several processes.

A file holds one signature of one kernel; its name follows from these, so that there is no index which could name the
wrong one. It begins with a checksum of the rest: what does not fit is neither read nor run but counts as missing, and
the kernel is compiled anew and written again. A disk that is full, or a folder that cannot be written, costs the next
process the time to compile and nothing else.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

from numba.core.caching import FunctionCache, IndexDataCacheFile

from ..._files import write_atomically
from .compiling import compilations

_DIGEST = hashlib.sha256
_LENGTH = _DIGEST().digest_size


class KernelFiles(IndexDataCacheFile):
    """The files of one kernel; key: its signature and the processor."""

    def __init__(self, folder: str, base: str, stamp: str):
        super().__init__(folder, base, stamp)
        self._base = Path(folder) / base

    def _path(self, key) -> Path:
        return self._base.with_name(f"{self._base.name}.{_DIGEST(repr(key).encode()).hexdigest()[:16]}.nbc")

    def save(self, key, data) -> None:
        content = self._dump(data)
        whole = _DIGEST(content).digest() + content
        write_atomically(self._path(key), lambda temporary: temporary.write_bytes(whole), durable=False)

    def load(self, key):
        try:
            whole = self._path(key).read_bytes()
        except OSError:
            return None
        content = whole[_LENGTH:]
        return pickle.loads(content) if _DIGEST(content).digest() == whole[:_LENGTH] else None


class KernelCache(FunctionCache):
    """Numba's cache of one function, which raises nothing: whatever is wrong with it, kernels can be compiled."""

    def __init__(self, function):
        super().__init__(function)
        locator = self._impl.locator
        self._cache_file = KernelFiles(locator.get_cache_path(), self._impl.filename_base, locator.get_source_stamp())

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig, data) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:
            compilations.not_kept(error)
