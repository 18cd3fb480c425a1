"""Arrays on a device to other libraries and from them, in the memory in which they lie: DLPack and CUDA's interface.

Capsules are made and read here by ctypes, for NumPy knows no GPUs. The receiver's stream waits for the work that was
given before, so that nobody waits on the CPU.
Source: the Python array API standard, "Data interchange mechanisms"; DLPack 1.0, https://dmlc.github.io/dlpack; the
CUDA Array Interface, version 3, https://nvidia.github.io/numba-cuda/user/cuda_array_interface.html.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from ..halves import half_dtype
from .array_moving import DTYPES

if TYPE_CHECKING:
    from .array import Array

CPU, GPU, MANAGED = 1, 2, 13  # kDLCPU, kDLCUDA, kDLCUDAManaged
_NAMES = (b"dltensor", b"dltensor_versioned")
_USED = (b"used_dltensor", b"used_dltensor_versioned")
_KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}
_BFLOAT = 4
_READ_ONLY, _COPIED = 1, 2  # flags of DLPack


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _DLTensor), ("context", ctypes.c_void_p), ("deleter", _DELETER)]


class _Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p), ("deleter", _DELETER),
        ("flags", ctypes.c_uint64), ("tensor", _DLTensor),
    ]  # fmt: skip


_LAYOUTS = (_Managed, _Versioned)
_api = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, _DELETER)
_api.PyCapsule_IsValid.argtypes = (ctypes.py_object, ctypes.c_char_p)
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
_api.PyCapsule_SetName.argtypes = (ctypes.py_object, ctypes.c_char_p)
_lost_name, _lost_pointer = (  # of a capsule that is being dropped, which must not be referred to anew
    ctypes.PYFUNCTYPE(*kind)((name, _api))
    for name, kind in (
        ("PyCapsule_IsValid", (ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)),
        ("PyCapsule_GetPointer", (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)),
    )
)

_given: dict[int, tuple] = {}  # by address, what others hold: the structure, what it points to, the array


@_DELETER
def _delete(address: int) -> None:
    _given.pop(address, None)


@_DELETER
def _drop(capsule: int) -> None:
    """Free what nobody has taken out of a capsule."""
    for name in _NAMES:
        if _lost_name(capsule, name):
            _delete(_lost_pointer(capsule, name))


def place_of(device: Any) -> tuple[int, int]:
    """DLPack's kind and number of a device; the host that plays a GPU is the CPU."""
    return getattr(device, "dlpack_device", None) or (GPU, device.index)


def exported(x: Array, stream: Any, max_version: Any, dl_device: Any, copy: bool | None) -> Any:
    """The capsule of `Array.__dlpack__`, in the memory of x, or with copy=True, or for the CPU, in its own."""
    here = place_of(x.device)
    wanted = here if dl_device is None else tuple(map(int, dl_device))
    if wanted not in (here, (CPU, 0)) or (wanted != here and copy is False):
        raise BufferError(f"__dlpack__: dl_device must be {here}, where this array lies, or the CPU's, got {wanted}")
    if wanted != here:
        on_cpu = x.numpy()
        return _capsule(on_cpu.__array_interface__["data"][0], on_cpu, wanted, max_version, True)
    x = x.copy() if copy else x
    if here[0] == GPU:
        _hand_over(x, stream)
    elif stream not in (None, -1):
        raise ValueError(f"__dlpack__: stream must be None for an array on the CPU, got {stream!r}")
    return _capsule(x.pointer, x, here, max_version, bool(copy))


def _hand_over(x: Array, stream: Any) -> None:
    """Let a stream wait for the work that was given before, and x's memory wait for the stream when it is freed."""
    if stream == -1:
        return
    if stream == 0:
        raise ValueError("__dlpack__: stream 0 is ambiguous: 1 is the legacy default stream, 2 that of the thread")
    handle = 1 if stream is None else int(stream)
    current = x.device.current_stream
    if handle == _stream_of(x.device):
        return
    theirs = x.device.foreign_stream(handle)
    theirs.wait(current)
    if hasattr(x.owner, "used_by"):
        x.owner.used_by(theirs)


def _stream_of(device: Any) -> int:
    """The number of the stream that takes this thread's work, as other libraries want it: 1 for the legacy default."""
    return int(getattr(device.current_stream, "handle", 0)) or 1


def _capsule(address: int, x: Any, place: tuple[int, int], max_version: Any, copied: bool) -> Any:
    """What is at an address, an array's that is kept until the receiver needs it no longer."""
    versioned = int(max_version is not None and tuple(max_version) >= (1, 0))
    managed = _LAYOUTS[versioned]()
    shape = (ctypes.c_int64 * x.ndim)(*x.shape)
    strides = (ctypes.c_int64 * x.ndim)(*[stride // x.itemsize for stride in x.strides])
    tensor = managed.tensor
    tensor.data, tensor.ndim, tensor.lanes, tensor.bits = address, x.ndim, 1, 8 * x.itemsize
    tensor.device_type, tensor.device_id = place
    tensor.code = _BFLOAT if str(x.dtype) == "bfloat16" else _KINDS[x.dtype.kind]
    tensor.shape, tensor.strides = (ctypes.cast(each, ctypes.POINTER(ctypes.c_int64)) for each in (shape, strides))
    managed.deleter = _delete
    if versioned:
        managed.major, managed.minor, managed.flags = 1, 0, _COPIED if copied else 0
    own = ctypes.addressof(managed)
    _given[own] = managed, shape, strides, x
    return _api.PyCapsule_New(own, _NAMES[versioned], _drop)


class _Taken:
    """Memory of another library: it is given back when nothing here holds it."""

    def __init__(self, managed: Any):
        self._managed = managed

    def __del__(self) -> None:
        if self._managed.deleter:
            self._managed.deleter(ctypes.addressof(self._managed))


def imported(x: Any, device: Any, kind: type[Array], copy: bool | None = None) -> Array:
    """The array of another library on a device, in its memory, from its `__dlpack__`.

    Raises BufferError for what is read-only, for dtypes that arrays here cannot have, and where a copy would be needed
    that copy=False forbids.
    """
    stream = None if place_of(device)[0] == CPU else _stream_of(device)
    try:
        capsule = x.__dlpack__(stream=stream, max_version=(1, 0), copy=copy)
    except TypeError:  # a library of DLPack before 1.0
        capsule = x.__dlpack__(stream=stream)
        return taken(capsule, device, kind).copy() if copy else taken(capsule, device, kind)
    return taken(capsule, device, kind)


def place_in(capsule: Any) -> tuple[int, int]:
    """DLPack's kind and number of the device of what a capsule holds. Raises BufferError for one that is empty."""
    tensor = _opened(capsule)[1].tensor
    return tensor.device_type, tensor.device_id


def _opened(capsule: Any) -> tuple[int, Any]:
    """Whether what a capsule holds has a version, and the structure."""
    for versioned, name in enumerate(_NAMES):
        if _api.PyCapsule_IsValid(capsule, name):
            return versioned, _LAYOUTS[versioned].from_address(_api.PyCapsule_GetPointer(capsule, name))
    raise BufferError("from_dlpack: this capsule holds no array, or it has been taken before")


def taken(capsule: Any, device: Any, kind: type[Array]) -> Array:
    """What is in a capsule, which can be taken once."""
    versioned, managed = _opened(capsule)
    tensor, flags = managed.tensor, managed.flags if versioned else 0
    dtype = _dtype(tensor)
    if flags & _READ_ONLY:
        raise BufferError("from_dlpack: this array is read-only, which arrays on a GPU cannot be; give a copy")
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = [n * dtype.itemsize for n in tensor.strides[: tensor.ndim]] if tensor.strides and tensor.ndim else None
    _api.PyCapsule_SetName(capsule, _USED[versioned])
    return kind(device, shape, dtype, _Taken(managed), (tensor.data or 0) + tensor.byte_offset, strides)


def _dtype(tensor: _DLTensor) -> np.dtype:
    """Raises BufferError for a dtype that arrays here cannot have."""
    names = {code: name for name, code in (("int", 0), ("uint", 1), ("float", 2), ("bfloat", _BFLOAT), ("bool", 6))}
    name = "bool" if tensor.code == 6 else f"{names.get(tensor.code, 'unknown')}{tensor.bits}"
    if name not in DTYPES or tensor.lanes != 1:
        raise BufferError(f"from_dlpack: arrays on a GPU are of {', '.join(DTYPES)}, got {name}; cast it first")
    return half_dtype(name) if name == "bfloat16" else np.dtype(name)


def interface(x: Array) -> dict[str, Any]:
    """`Array.__cuda_array_interface__`. Raises AttributeError on the host, which no library of CUDA can read."""
    if place_of(x.device)[0] != GPU or x.dtype.kind == "V":
        raise AttributeError(f"an array of {x.dtype} on {x.device!r} has no __cuda_array_interface__")
    return {"shape": x.shape, "typestr": x.dtype.str, "data": (x.pointer, False), "version": 3,
            "strides": None if x.is_contiguous else x.strides, "stream": _stream_of(x.device)}  # fmt: skip


def from_interface(given: Any, device: Any, kind: type[Array]) -> Array:
    """The array of another library by its `__cuda_array_interface__`, in its memory. Raises as `imported`."""
    found = given.__cuda_array_interface__
    dtype = np.dtype(found["typestr"])
    pointer, read_only = found["data"]
    if read_only or found.get("mask") is not None or str(dtype) not in DTYPES:
        raise BufferError(
            f"array: arrays on a GPU are writable, without a mask, and of {', '.join(DTYPES)}; got one of {dtype}"
        )
    if found.get("stream") is not None and found["stream"] != _stream_of(device):
        device.current_stream.wait(device.foreign_stream(int(found["stream"])))
    return kind(device, tuple(found["shape"]), dtype, _Kept(given), pointer, found.get("strides"))


class _Kept:
    """What owns memory of another library."""

    def __init__(self, given: Any):
        self._given = given
