"""The safetensors format: a header of names, dtypes and places, then the numbers. Ours has a checksum for each array.

The checksums stand under the key `dlfast` of the header's metadata, where other readers pass over them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .kernels.halves import half_dtype

RESERVED = "__metadata__"  # no array can have this name
_OURS = "dlfast"
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_PYTORCH = (".pth", ".pt", ".bin", ".ckpt")
_PYTORCH_BEFORE_1_6 = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a number that it pickled first


def can_hold(dtype: np.dtype) -> bool:
    """Whether arrays of this dtype can be written."""
    return _code(dtype) in (*_DTYPES, "BF16")


def _code(dtype: np.dtype) -> str | None:
    """The format's name of a dtype."""
    return "BF16" if str(dtype) == "bfloat16" else _CODES.get(dtype.newbyteorder("<").str)


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of dtypes that `can_hold` takes; the same arrays always give the same bytes."""
    codes = {name: _code(array.dtype) for name, array in arrays.items()}
    arrays = {name: _as_written(array) for name, array in arrays.items()}
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # each lies at a multiple of its size
    places, end = {}, 0
    for name in order:
        places[name] = [end, end + arrays[name].nbytes]
        end = places[name][1]
    checks = {name: _checksum(name, str(codes[name]), array) for name, array in arrays.items()}
    header: dict = {RESERVED: {_OURS: json.dumps(checks)}}
    for name, array in arrays.items():
        header[name] = {"dtype": codes[name], "shape": array.shape, "data_offsets": places[name]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            stream.write(_bytes(arrays[name]))


def _as_written(array: np.ndarray) -> np.ndarray:
    """In row-major order, the least byte first."""
    array = array.view(np.uint16) if str(array.dtype) == "bfloat16" else array
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays by name, in the order in which they were written, in fresh memory.

    In files of other writers half precision is widened to float32: F16 and BF16; in ours BF16 needs ml_dtypes, else
    ImportError says so.
    Raises ValueError for what is damaged or another format, or holds dtypes that NumPy lacks, and names it.
    """
    from safetensors import SafetensorError, deserialize

    content = path.read_bytes()
    try:
        parts = dict(deserialize(content))
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        checks = json.loads(header.pop(RESERVED, {}).get(_OURS, "null"))
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"load: {path} is not a sound safetensors file: {_format(path, content) or error}") from error
    del content
    arrays = {}
    for name in header:
        part = parts.pop(name)
        arrays[name] = _array(path, name, part["dtype"], part["shape"], part["data"], widen=checks is None)
        if checks is not None and checks.get(name) != _checksum(name, part["dtype"], arrays[name]):
            raise ValueError(f"load: {path} is not a sound safetensors file: {name!r} is damaged, its checksum differs")
    if checks is not None and checks.keys() != arrays.keys():
        raise ValueError(f"load: {path} is not a sound safetensors file: names in its header are damaged")
    return arrays


def _array(path: Path, name: str, code: str, shape: list[int], data: bytearray, widen: bool) -> np.ndarray:
    if code == "BF16" and not widen:
        return np.frombuffer(data, "<u2").astype(np.uint16, copy=False).view(half_dtype("bfloat16")).reshape(shape)
    if code == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape).astype(np.float32)
    if code not in _DTYPES:
        raise ValueError(f"load: {path}: {name!r} has dtype {code}, which NumPy lacks; convert the file to F32 first")
    array = np.frombuffer(data, _DTYPES[code]).reshape(shape)
    return array.astype(np.float32 if widen and code == "F16" else array.dtype.newbyteorder("="), copy=False)


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _checksum(name: str, code: str, array: np.ndarray) -> int:
    """Of the numbers and of all that the header says of them."""
    return zlib.crc32(_bytes(array), zlib.crc32(f"{name} {code} {array.shape}".encode(errors="surrogatepass")))


def _format(path: Path, content: bytes) -> str:
    """Which other format this is, and what to do; empty for an unknown one."""
    zipped = content[:4] == b"PK\x03\x04"
    named = path.suffix in _PYTORCH and (zipped or content[:1] == b"\x80")
    if named or content.startswith(_PYTORCH_BEFORE_1_6) or (zipped and b"data.pkl" in content[:4096]):
        return (
            "it is a PyTorch file. Convert it where PyTorch is: safetensors.torch.save_file(torch.load("
            f"{path.name!r}, weights_only=True), {path.with_suffix('.safetensors').name!r}); "
            "dlfast.io.from_torch brings its layouts into a model"
        )
    if zipped or content[:6] == b"\x93NUMPY":
        return "it is a NumPy file, for numpy.load"
    return "it is a pickle" if content[:1] == b"\x80" and path.suffix in (".pkl", ".pickle") else ""
