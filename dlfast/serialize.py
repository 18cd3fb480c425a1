"""Saving and loading arrays by name, in the safetensors format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import _safetensors
from ._arrays import refuse_masked
from ._devices import CPU, moved
from ._files import write_atomically
from .kernels.devices import DeviceArray
from .tensor import Tensor

_TREE = "__tree__"  # the name of the array of bytes that holds what is no array, as JSON
_PLAIN = (str, int, float, type(None))


def save(path: str | os.PathLike | Mapping[str, Any], state: Mapping[str, Any] | str | os.PathLike) -> None:
    """Write a dictionary of arrays or Tensors, on whatever device, such as `model.state_dict()`, to a safetensors file.

    Values may be dictionaries and lists in turn, as in ``{"model": model.state_dict(), "optimizer":
    optimizer.state_dict(), "epoch": 3}``; inside them numbers, strings and None are kept as they are. PyTorch's order,
    ``save(state, path)``, is understood too.

    The file is written under another name, brought to the disk and renamed, so `path` holds the old content or the new
    one, never half of it; each array has a checksum.
    Raises TypeError or ValueError, before anything is written, for keys and values that cannot be kept, and OSError,
    which names the path, where it cannot be written.
    """
    if isinstance(path, Mapping) and isinstance(state, (str, os.PathLike)):
        path, state = state, path
    if not isinstance(path, (str, os.PathLike)) or not isinstance(state, Mapping):
        raise TypeError(
            "save: expected a path and a dictionary of arrays, such as model.state_dict(), got "
            f"{type(path).__name__} and {type(state).__name__}"
        )
    nested = any(map(_is_nested, state.values()))
    arrays = pack(state) if nested else {key: _savable(key, value) for key, value in state.items()}
    if reserved := {_safetensors.RESERVED, _TREE} & state.keys():
        raise ValueError(f"save: the key {min(reserved)!r} is the format's own; use another")
    write_atomically(path, lambda temporary: _safetensors.write(temporary, arrays))


def load(path: str | os.PathLike) -> dict[str, Any]:
    """What `save` wrote, or the arrays of any safetensors file by name, in fresh memory.

    Files of other writers may hold half precision, which becomes float32.
    Raises FileNotFoundError where there is none, ValueError for a file that is damaged or of another format.
    """
    arrays = _safetensors.read(Path(path))
    if _TREE not in arrays:
        return arrays
    try:
        return unpack(arrays)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"load: {path} is not a sound safetensors file: its {_TREE} is damaged ({error!r})") from error


def _is_nested(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(isinstance(item, (Mapping, np.ndarray, Tensor, DeviceArray)) or _is_nested(item) for item in value)
    return isinstance(value, Mapping)


def _savable(key: Any, value: Any) -> np.ndarray:
    if not isinstance(key, str):
        raise TypeError(f"save: keys must be strings, got {key!r}")
    refuse_masked("save", key, value)
    array = np.asarray(moved(value.data if isinstance(value, Tensor) else value, CPU))
    if not _safetensors.can_hold(array.dtype):
        raise TypeError(f"save: {key!r} must be an array of numbers, got {type(value).__name__} of dtype {array.dtype}")
    return array


def pack(state: Any) -> dict[str, np.ndarray]:
    """Flatten nested dictionaries and lists: arrays by their path, and the rest as JSON in an array of bytes.

    Raises TypeError for keys that are neither strings nor integers, and for values that JSON has no words for.
    """
    arrays: dict[str, np.ndarray] = {}

    def walk(value: Any, path: str) -> dict:
        if isinstance(value, (np.ndarray, Tensor, DeviceArray)):
            while path in arrays:  # the keys "a/b" and "a", "b"; 1 and "1"
                path += "'"
            arrays[path] = _savable(path, value)
            return {"array": path}
        if isinstance(value, Mapping):
            return {"items": [[_key(path, key), walk(item, f"{path}/{key}")] for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            return {"list": [walk(item, f"{path}/{i}") for i, item in enumerate(value)]}
        value = value.item() if isinstance(value, np.generic) else value
        if not isinstance(value, _PLAIN):
            raise TypeError(f"save: {path} must be an array, number, string or None, got {type(value).__name__}")
        return {"value": value}

    tree = json.dumps(walk(state, "state"))
    return {**arrays, _TREE: np.frombuffer(tree.encode(), np.uint8)}


def _key(path: str, key: Any) -> str | int:
    if isinstance(key, np.integer):
        return int(key)
    if not isinstance(key, (str, int)):
        raise TypeError(f"save: the keys of {path} must be strings or integers, got {key!r}")
    return key


def unpack(arrays: Mapping[str, np.ndarray]) -> Any:
    """The inverse of `pack`; tuples come back as lists."""

    def build(node: dict) -> Any:
        if "array" in node:
            return arrays[node["array"]]
        if "items" in node:
            return {key: build(item) for key, item in node["items"]}
        return [build(item) for item in node["list"]] if "list" in node else node["value"]

    return build(json.loads(arrays[_TREE].tobytes()))
