"""Weights from PyTorch and to it. PyTorch itself is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .. import serialize
from .._devices import CPU, moved
from ..nn import Module
from ..tensor import Tensor
from .layout import Findings, Layout, Undecided, has_images, has_rows, owners
from .structure import read_structure
from .trace import trace


def from_torch(
    state: Mapping[str, Any] | str | Path,
    model: Module,
    input_shape: tuple[int, ...] | None = None,
    strict: bool = True,
) -> dict[str, list[str]]:
    """Write the weights of a PyTorch model into a dlfast model of the same layers and names.

    state: its state_dict (tensors or arrays), the model itself, or a .safetensors file, which is read without PyTorch.
    Weights of convolutions come to lie channels last; a Linear behind a flattened image is permuted from the order
    C H W to H W C, and one whose output is made into an image likewise; all else is taken as it is. Where the model is
    a tree of Sequentials this is told from its structure. Else give input_shape, the shape of one input without the
    batch axis, such as (224, 224, 3): the model is run once to see what each Linear reads.
    Names may begin with what PyTorch's wrappers put there (`module.`, `_orig_mod.`), and torchvision's `downsample` is
    the `shortcut` of a Residual.
    Everything is checked before anything is changed: ValueError lists keys that are missing or unexpected (both allowed
    without `strict`) and shapes that differ, and says where input_shape is needed.
    Returns {"missing": [...], "unexpected": [...]}.
    """
    layouts, own = _layouts("from_torch", model, input_shape)
    given = _by_our_names(_arrays(state), own)
    faults = [f"missing {key}" for key in own if key not in given] if strict else []
    faults += [f"unexpected {key}" for key in given if key not in own] if strict else []
    converted = {key: array for key, array in given.items() if key not in own}
    for key, array in given.items():
        if key in own:
            wanted = layouts[key].torch(own[key]).shape
            if array.shape == wanted:
                converted[key] = layouts[key].ours(array)
            else:
                faults.append(f"{key} must have shape {wanted} in PyTorch, got {array.shape}")
    if faults:
        raise ValueError(f"from_torch: {type(model).__name__} does not fit: " + "; ".join(faults))
    return model.load_state_dict(converted, strict)


def to_torch(
    model: Module, path: str | Path | None = None, input_shape: tuple[int, ...] | None = None
) -> dict[str, Any]:
    """The state_dict of a PyTorch model of the same layers and names, the way back of `from_torch`.

    A model with `torch_names`, such as `models.resnet18`, gets torchvision's names. Torch tensors where PyTorch
    is installed, else arrays: copies. With a path they are written to a .safetensors file, too, which
    `safetensors.torch.load_file` reads. input_shape and errors as in `from_torch`.
    """
    layouts, own = _layouts("to_torch", model, input_shape)
    names = getattr(model, "torch_names", {})
    arrays = {
        ".".join(names.get(part, part) for part in key.split(".")): np.array(layouts[key].torch(array), order="C")
        for key, array in own.items()
    }
    if path is not None:
        serialize.save(path, arrays)
    if find_spec("torch") is None:
        return dict(arrays)
    import torch

    return {key: torch.from_numpy(array) for key, array in arrays.items()}


def _layouts(
    op: str, model: Module, input_shape: tuple[int, ...] | None
) -> tuple[dict[str, Layout], dict[str, np.ndarray]]:
    """How each parameter and buffer lies in PyTorch; and what they are here."""
    if not isinstance(model, Module):
        raise TypeError(f"{op}: model must be a dlfast Module, got {type(model).__name__}")
    findings, own = _findings(op, model, input_shape), model.state_dict()
    return {key: findings.layout(module, name) for key, module, name in owners(model, own)}, own


def _findings(op: str, model: Module, input_shape: tuple[int, ...] | None) -> Findings:
    if not has_rows(model):
        return Findings()
    if input_shape is not None:
        try:
            return trace(model, tuple(input_shape))
        except ValueError as error:
            raise ValueError(f"{op}: {error}") from error
    try:
        return read_structure(model)
    except Undecided as reason:
        if not has_images(model):
            return Findings()
        raise ValueError(
            f"{op}: cannot tell in which order the Linear layers read flattened images: {reason}; give "
            "input_shape=, the shape of one input without the batch axis, such as (28, 28, 1)"
        ) from None


_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_THEIRS = {"downsample": "shortcut"}  # torchvision's name -> ours


def _by_our_names(given: dict[str, np.ndarray], own: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays under the names that they have here; what fits nowhere keeps its own."""
    while given and not any(key in own for key in given):
        wrapper = next((prefix for prefix in _WRAPPERS if all(key.startswith(prefix) for key in given)), None)
        if wrapper is None:
            break
        given = {key.removeprefix(wrapper): value for key, value in given.items()}
    ours = {key: ".".join(_THEIRS.get(part, part) for part in key.split(".")) for key in given}
    return {key if key in own or ours[key] not in own else ours[key]: value for key, value in given.items()}


def _arrays(state: Any) -> dict[str, np.ndarray]:
    """The arrays of a state_dict, of a model or of a file."""
    if isinstance(state, (str, Path)):
        if Path(state).suffix in (".pt", ".pth", ".bin", ".ckpt"):
            raise ValueError(
                f"from_torch: {state} is a PyTorch file; give torch.load(path, map_location='cpu', weights_only=True)"
            )
        return serialize.load(state)
    if not isinstance(state, Mapping) and callable(getattr(state, "state_dict", None)):
        state = state.state_dict()
    if not isinstance(state, Mapping):
        raise TypeError(f"from_torch: state must be a state_dict or a .safetensors file, got {type(state).__name__}")
    return {key: _array(key, value) for key, value in state.items()}


def _array(key: Any, value: Any) -> np.ndarray:
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if str(value.dtype) in ("torch.bfloat16", "torch.float16") else value).numpy()
    array = np.asarray(moved(value.data if isinstance(value, Tensor) else value, CPU))
    if not isinstance(key, str) or array.dtype.kind not in "fiub":
        kind = type(value).__name__
        raise TypeError(
            f"from_torch: {key!r} must be an array of numbers, got {kind}; a checkpoint holds the state_dict"
        )
    return array
