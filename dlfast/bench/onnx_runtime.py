"""Our networks in ONNX Runtime: as `onnx.export` writes them. Imported only where both packages are installed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from .. import nn
from ..kernels.threads import get_num_threads
from ..onnx import export
from .rows import Step


def inference_steps(model: nn.Module, x: np.ndarray) -> dict[str, Step]:
    """The forward pass of x, with as many threads as dlfast has."""
    with tempfile.TemporaryDirectory() as folder:
        path = export(model, Path(folder, "model.onnx"), x.shape[1:])
        return {"ONNX Runtime": InferenceStep(path.read_bytes(), x)}


class InferenceStep:
    def __init__(self, file: bytes, x: np.ndarray):
        self.file, self.feed = file, {"input": x}
        self.sessions: dict[int, onnxruntime.InferenceSession] = {}

    def __call__(self) -> np.ndarray:
        return self._session().run(None, self.feed)[0]

    def results(self) -> list[np.ndarray]:
        return [self()]

    def _session(self) -> onnxruntime.InferenceSession:
        threads = get_num_threads()
        if threads not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            self.sessions[threads] = onnxruntime.InferenceSession(
                self.file, options, providers=["CPUExecutionProvider"]
            )
        return self.sessions[threads]
