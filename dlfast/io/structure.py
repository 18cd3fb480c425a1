"""What the rows that a Linear reads were before, told from a model that is a tree of Sequentials."""

from __future__ import annotations

from typing import NamedTuple

from .. import nn
from ..nn import Module, activation, elementwise
from .layout import CONVOLUTIONS, POOLS, Findings, Undecided, has_rows

# What leaves an image an image and a row a row: every layer of nn/elementwise.py and nn/activation.py but one.
_KINDS = (kind for module in (elementwise, activation) for kind in vars(module).values() if isinstance(kind, type))
_SAME = {nn.Identity, *_KINDS} - {nn.GLU}


class State(NamedTuple):
    """What runs through a model at some place: "image", "flat" (an image as a row), "rows", or "input" where nothing
    has said yet; channels: of the image, None where these depend on the input."""

    kind: str
    channels: int | None = None


def read_structure(model: Module) -> Findings:
    """Raises Undecided, with the reason, where the structure does not tell."""
    findings = Findings()
    _walk("", model, State("input"), findings)
    return findings


def _walk(name: str, module: Module, state: State, findings: Findings) -> State:
    """The state behind the module."""
    kind = type(module)
    if "forward" in vars(module):
        raise Undecided(f"{name} has a forward of its own")
    if kind in (nn.Sequential, nn.Residual):
        shortcut = getattr(module, "shortcut", None)
        if shortcut is not None and has_rows(shortcut):
            _walk(f"{name}.shortcut", shortcut, state, findings)
        for key, child in module.named_children():
            if child is not shortcut:
                state = _walk(f"{name}.{key}" if name else key, child, state, findings)
        return state
    if isinstance(module, CONVOLUTIONS):
        return State("image", module.out_channels)
    if isinstance(module, nn.Flatten):
        return _flattened(name, module, state)
    if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)) and state.kind != "flat":
        return State("image", module.num_features if isinstance(module, nn.BatchNorm2d) else module.num_channels)
    if isinstance(module, POOLS):
        return State("image", state.channels)
    if kind is nn.Embedding:
        return State("rows")
    if kind in (nn.Linear, nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm):
        return _of_rows(name, module, state, findings)
    if kind in _SAME:
        return state
    raise Undecided(f"{name or 'the model'} ({kind.__name__}) has a forward of its own")


def _flattened(name: str, module: nn.Flatten, state: State) -> State:
    if state.kind not in ("image", "input"):
        return state
    if (module.start_dim, module.end_dim) != (1, -1):
        raise Undecided(f"{name} (Flatten) joins some axes of an image only")
    return State("flat", state.channels)


def _of_rows(name: str, module: Module, state: State, findings: Findings) -> State:
    """A module whose parameters lie along the last axes of what it reads."""
    if state.kind == "flat":
        if state.channels is None:
            raise Undecided(f"{name} ({type(module).__name__}) reads an image as a row, and the input says which")
        findings.reads[id(module)] = state.channels
    several = isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and len(module.normalized_shape) > 1
    if several and state.kind in ("image", "flat"):
        findings.of_images.add(id(module))
    return State("rows") if isinstance(module, nn.Linear) else state
