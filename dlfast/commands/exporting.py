"""What `dlfast export` does."""

from __future__ import annotations

import json
from pathlib import Path

from .. import nn
from ..onnx import export
from ..onnx.exporting import Axis
from . import networks
from .config import Config


def write(found: Config, model: nn.Module, checkpoint: Path, out: Path | None) -> Path:
    """Write the model of a run as an ONNX file; its path. Raises as `onnx.export`."""
    facts = found.facts
    assert facts is not None
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    told = {"mean": facts.mean, "std": facts.std, "target_mean": facts.target_mean, "target_std": facts.target_std}
    metadata = {name: json.dumps(values) for name, values in told.items() if values}
    metadata |= {"model": found.options.model, **({"vocabulary": facts.vocabulary} if facts.vocabulary else {})}
    shape: list[Axis] = list(facts.shape)
    if found.options.model in networks.LANGUAGE:
        shape = ["time"]
    elif facts.kind == "series":
        shape[0] = "time"
    return export(model, out or folder / "model.onnx", shape, class_names=facts.classes, metadata=metadata)
