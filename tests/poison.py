"""Memory that shows what a kernel did to it: fresh NumPy arrays full of NaN, with guards before and behind.

`poisoned()` installs a NumPy allocator (NEP 49), so it reaches every kernel, however it asks NumPy for memory. Bytes
0xFF are NaN in float32 and float64: an element of an output that is never written stays NaN, and so does a value read
beyond an array's end. The guards are looked at when an array is freed and on leaving: a kernel that writes outside an
array fails the test. (Memory that compiled code takes from malloc is not reached.)
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from numpy._core import multiarray

GUARD = 64  # bytes before and behind an array
FILL = 0xFF
SET_HANDLER = 304  # PyDataMem_SetHandler in NumPy's C API, numpy/_core/code_generators/numpy_api.py

_malloc = ctypes.pythonapi.PyMem_RawMalloc
_malloc.restype, _malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
_free = ctypes.pythonapi.PyMem_RawFree
_free.restype, _free.argtypes = None, [ctypes.c_void_p]

_sizes: dict[int, int] = {}  # of the arrays alive
_damaged: list[int] = []  # sizes of arrays around which something was written


def _allocate(_, size):
    block = _malloc(size + 2 * GUARD)
    if not block:
        return None
    ctypes.memset(block, FILL, size + 2 * GUARD)
    _sizes[block + GUARD] = size
    return block + GUARD


def _allocate_zeros(_, count, size):
    address = _allocate(None, count * size)
    if address:
        ctypes.memset(address, 0, count * size)
    return address


def _move(_, old, size):
    address = _allocate(None, size)
    if address and old:
        ctypes.memmove(address, old, min(size, _sizes[old]))
        _release(None, old, 0)
    return address


def _release(_, address, size):
    if address:
        _check(address)
        del _sizes[address]
        _free(address - GUARD)


def _check(address):
    guards = ctypes.string_at(address - GUARD, GUARD) + ctypes.string_at(address + _sizes[address], GUARD)
    if guards != bytes([FILL]) * 2 * GUARD:
        _damaged.append(_sizes[address])
        for guard in (address - GUARD, address + _sizes[address]):  # so that it is told once
            ctypes.memset(guard, FILL, GUARD)


_pointer, _size = ctypes.c_void_p, ctypes.c_size_t


class _Handler(ctypes.Structure):
    """PyDataMem_Handler, numpy/ndarraytypes.h."""

    _fields_ = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", _pointer),
        ("malloc", ctypes.CFUNCTYPE(_pointer, _pointer, _size)),
        ("calloc", ctypes.CFUNCTYPE(_pointer, _pointer, _size, _size)),
        ("realloc", ctypes.CFUNCTYPE(_pointer, _pointer, _pointer, _size)),
        ("free", ctypes.CFUNCTYPE(None, _pointer, _pointer, _size)),
    ]


_functions = (_allocate, _allocate_zeros, _move, _release)
_callbacks = [kind(f) for (_, kind), f in zip(_Handler._fields_[3:], _functions, strict=True)]
_handler = _Handler(b"dlfast_poison", 1, None, *_callbacks)
for _lasting in (_callbacks, _handler):  # arrays may outlive this module
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_lasting))

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [_pointer, ctypes.c_char_p, _pointer]
_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = _pointer, [ctypes.py_object, ctypes.c_char_p]
_api = ctypes.cast(_get_pointer(multiarray._ARRAY_API, None), ctypes.POINTER(_pointer))
_set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(_api[SET_HANDLER])
_CAPSULE_NAME = b"mem_handler"
_capsule = _new_capsule(ctypes.addressof(_handler), _CAPSULE_NAME, None)


@contextmanager
def poisoned() -> Iterator[None]:
    """NumPy arrays made inside begin as NaN, and nothing may write beyond them."""
    before = _set_handler(_capsule)
    try:
        yield
    finally:
        _set_handler(before)
        for address in list(_sizes):
            _check(address)
        damaged = _damaged[:]
        _damaged.clear()
    assert not damaged, f"something was written before or behind arrays of {damaged} bytes"
