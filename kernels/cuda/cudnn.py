"""cuDNN through its Python frontend: `cudnn_problem.py` says what is asked of it, here it is called.

A graph, with the plan that cuDNN's heuristics put first, is kept by its problem, so that the operation again is one
call. Workspace comes from the device's memory. Plans whose results may differ from run to run are left out, and for
float32 those that multiply by tensor cores, unless `allow_tf32` is on.
"""

from __future__ import annotations

import weakref
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np

from .cudnn_problem import Operand, Problem

MOST_GRAPHS = 4096  # kept; the oldest goes first
DATA_TYPES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT"}


class Cudnn:
    """cuDNN on a device, whose context is current where this is made. module: cudnn, or a test's."""

    def __init__(self, device: Any, module: Any = None):
        self._device = weakref.ref(device)
        self._cudnn = module or import_module("cudnn")
        self._handle = self._cudnn.create_handle()
        self._graphs: dict[Problem, Any] = {}
        self._lock = Lock()  # of the handle's stream

    def run(self, problem: Problem, arrays: list) -> bool:
        """Compute the outputs, the last of the arrays, from the first; False, and nothing done, where cuDNN cannot."""
        with self._lock:
            graph = self._graphs[problem] if problem in self._graphs else self._planned(problem)
            if graph is None:
                return False
            stream = self._device().for_library(*arrays)
            if stream is not None:
                self._execute(graph, arrays, stream)
        return True

    def _execute(self, graph: Any, arrays: list, stream: int) -> None:
        self._cudnn.set_stream(handle=self._handle, stream=stream)
        size = graph.get_workspace_size()
        workspace = self._device().empty((size,), np.uint8) if size else None
        pack = {uid: array.pointer for uid, array in enumerate(arrays, 1)}
        graph.execute(pack, None if workspace is None else workspace.pointer, handle=self._handle)

    def _planned(self, problem: Problem) -> Any:
        while len(self._graphs) >= MOST_GRAPHS:
            del self._graphs[next(iter(self._graphs))]
        self._graphs[problem] = graph = self._built(problem)
        return graph

    def _built(self, problem: Problem) -> Any:
        """The graph with its plan, None where cuDNN has none."""
        cudnn = self._cudnn
        try:
            graph = described(cudnn, problem, self._handle)
            graph.validate()
            graph.build_operation_graph()
            graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
            notes = [cudnn.numerical_note.NONDETERMINISTIC]
            if problem.exact:
                notes += [cudnn.numerical_note.TENSOR_CORE, cudnn.numerical_note.DOWN_CONVERT_INPUTS]
            graph.deselect_numeric_notes(notes)
            graph.check_support()
            graph.build_plans()
        except cudnn.cudnnGraphNotSupportedError:
            return None
        return graph


def described(cudnn: Any, problem: Problem, handle: Any = None) -> Any:
    """The graph of a problem, without a plan; its tensors are numbered from 1, inputs first."""
    types = cudnn.data_type
    dtype = types.__members__[DATA_TYPES[problem.inputs[0].dtype]]
    graph = cudnn.pygraph(io_data_type=dtype, intermediate_data_type=types.FLOAT, compute_data_type=types.FLOAT,
                          handle=handle)  # fmt: skip
    tensors = {x.name: _tensor(graph, types, x, uid) for uid, x in enumerate(problem.inputs, 1)}
    bias = tensors.pop("bias", None)
    options = {name: list(value) if type(value) is tuple else value for name, value in problem.options}
    found = getattr(graph, problem.op)(**tensors, **options)
    found = list(found) if isinstance(found, list | tuple) else [found]
    if bias is not None:
        found[0] = graph.bias(input=found[0], bias=bias)
    if problem.relu:
        found[0] = graph.relu(input=found[0])
    for uid, (tensor, x) in enumerate(zip(found, problem.outputs, strict=True), len(problem.inputs) + 1):
        tensor.set_output(True).set_dim(list(x.dim)).set_stride(list(x.stride))
        tensor.set_data_type(types.__members__[DATA_TYPES[x.dtype]]).set_uid(uid)
    return graph


def _tensor(graph: Any, types: Any, x: Operand, uid: int) -> Any:
    dtype = types.__members__[DATA_TYPES[x.dtype]]
    return graph.tensor(name=x.name, dim=list(x.dim), stride=list(x.stride), data_type=dtype, uid=uid)
