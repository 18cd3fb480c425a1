"""Saving and loading arrays by name, in the safetensors format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._files import write_atomically
from .tensor import Tensor


def save(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write a dictionary of arrays or Tensors, such as `model.state_dict()`, to a safetensors file.

    The file is written under another name, brought to the disk and renamed, so `path` holds the old content or the new
    one, never half of it.
    Raises TypeError, before anything is written, for keys that are no strings and values that are no numeric arrays.
    """
    from safetensors.numpy import save_file

    arrays = {key: _savable(key, value) for key, value in state.items()}
    write_atomically(path, lambda temporary: save_file(arrays, temporary))


def _savable(key: Any, value: Any) -> np.ndarray:
    if not isinstance(key, str):
        raise TypeError(f"save: keys must be strings, got {key!r}")
    array = np.asarray(value.data if isinstance(value, Tensor) else value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"save: {key!r} must be an array of numbers, got {type(value).__name__} of dtype {array.dtype}")
    # The library writes the buffer as it lies: contiguous and little-endian it must be. Unlike ascontiguousarray this
    # keeps 0-d arrays 0-d.
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def load(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, in fresh memory.

    Raises FileNotFoundError where there is none, ValueError for a file that is damaged or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    content = Path(path).read_bytes()
    try:
        return {key: np.array(array) for key, array in parse(content).items()}
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"load: {path} is not a sound safetensors file: {error}") from error
