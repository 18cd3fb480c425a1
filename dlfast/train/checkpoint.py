"""Checkpoint: the best weights and the whole state of a run, on disk after every epoch; and the way back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .. import random
from ..serialize import load, save
from .callbacks import Best, Callback


class Checkpoint(Callback):
    """After each epoch write into ``folder``, which is made if missing:

    best.safetensors   the weights of the best epoch: ``model.load_state_dict(dlfast.load(...))``
    last.safetensors   everything that ``fit(..., resume=folder)`` needs to go on with the same bits: weights,
                       optimizer, random numbers, history, and the state of all callbacks

    Each file is written under a temporary name, brought to the disk and renamed, so a crash at any moment leaves the
    old file or the new one. ``monitor`` is as in `EarlyStopping`.
    """

    def __init__(self, folder, monitor: str | None = None):
        self.folder = Path(folder)
        self._best = Best("Checkpoint", monitor)

    def on_train_begin(self, run) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)  # fails before the first epoch, not after it
        if not len(run.history):
            self._best.value = None

    def after_epoch(self, run) -> None:
        if self._best.improved(run.history.epochs[-1]):
            save(self.folder / "best.safetensors", run.model.state_dict())
        save(self.folder / "last.safetensors", pack(run_state(run)))

    def state_dict(self) -> dict:
        return {"best": self._best.value}

    def load_state_dict(self, state: dict) -> None:
        self._best.value = state["best"]


def run_state(run) -> dict:
    """All that decides how the run goes on, as nested dictionaries and lists of arrays and JSON."""
    return {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "random": random.get_state(),
        "history": json.loads(run.history.to_json()),
        "stop": run.stop,
        "callbacks": {name: callback.state_dict() for name, callback in _named(run.callbacks)},
    }


def resume(folder, run) -> None:
    """Put the state that `Checkpoint` wrote into ``folder`` back in place.

    Raises FileNotFoundError where there is none, ValueError where model or optimizer do not fit it; nothing is changed
    then.
    """
    path = Path(folder) / "last.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"fit: nothing to resume in {folder}: there is no {path.name} (Checkpoint writes it)")
    state = unpack(load(path))
    before = run.model.state_dict()
    try:
        run.model.load_state_dict(state["model"])
        run.optimizer.load_state_dict(state["optimizer"])
    except BaseException:
        run.model.load_state_dict(before)
        raise
    random.set_state(state["random"])
    run.history.epochs, run.stop = state["history"]["epochs"], state["stop"]
    for name, callback in _named(run.callbacks):
        if name in state["callbacks"]:
            callback.load_state_dict(state["callbacks"][name])


def _named(callbacks) -> list[tuple[str, Callback]]:
    """Each callback under its class's name and its number among those of that class."""
    names = [type(callback).__name__ for callback in callbacks]
    return [(f"{name}.{names[:i].count(name)}", callbacks[i]) for i, name in enumerate(names)]


_TREE = "__tree__"


def pack(state) -> dict[str, np.ndarray]:
    """Flatten nested dictionaries and lists: arrays by their path, and the rest as JSON in an array of bytes."""
    arrays: dict[str, np.ndarray] = {}

    def walk(value, path: str):
        if isinstance(value, np.ndarray):
            arrays[path] = value
            return {"array": path}
        if isinstance(value, dict):
            return {"items": [[key, walk(item, f"{path}/{key}")] for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            return {"list": [walk(item, f"{path}/{i}") for i, item in enumerate(value)]}
        return {"value": value.item() if isinstance(value, np.generic) else value}

    tree = json.dumps(walk(state, "state"))
    return {**arrays, _TREE: np.frombuffer(tree.encode(), np.uint8)}


def unpack(arrays: dict[str, np.ndarray]):
    """The inverse of `pack`; tuples come back as lists."""

    def build(node: dict):
        if "array" in node:
            return arrays[node["array"]]
        if "items" in node:
            return {key: build(item) for key, item in node["items"]}
        return [build(item) for item in node["list"]] if "list" in node else node["value"]

    return build(json.loads(arrays[_TREE].tobytes()))
