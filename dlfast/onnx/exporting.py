"""A model written as an ONNX file."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from .._files import write_atomically
from .._modes import no_grad
from .._version import __version__
from ..nn import Module
from ..tensor import Tensor
from .graph import OPSET, Graph, Node
from .recording import Recorded, Recorder
from .sizes import Size, merge
from .tidy import tidy

_TRACED = (5, 7)  # sizes with which axes that are free are recorded, plus twice the axis' number
BATCH = (2, 3)

Axis = int | str | None


def export(
    model: Module,
    path: str | Path,
    input_shape: Sequence[Axis],
    *,
    input_name: str = "input",
    output_name: str = "output",
    class_names: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write the model, as it computes in evaluation, to an ONNX file (opset 23); the path is returned.

    input_shape: that of one example, without the batch, as for `io.from_torch`: (28, 28, 1) for images, channels last
    as everywhere here. The batch may have any size; so may an axis given as None or by a name, such as the steps of a
    sequence: (None,) for codes, ("time", 8) for 8 features. Codes for an `nn.Embedding` are int64, all else has the
    dtype of the parameters. The graph is what the model's forward does with such an input, in custom modules too, as
    long as it goes through dlfast's functions and does not look at the numbers. Images stay channels last at the door;
    inside they are channels first, and a CNN has one Transpose at each end at most.
    class_names and metadata go into the file's metadata (class_names as lines), beside the version of dlfast.

    Raises ImportError without the package onnx (``pip install 'dlfast-kernels[onnx]'``), TypeError and ValueError for
    what has no form in ONNX, naming it, before a file is written. The file is written whole or not at all.
    """
    onnx = _onnx()
    if not isinstance(model, Module):
        raise TypeError(f"export: model must be a dlfast.nn.Module, got {type(model).__name__}")
    shape, sizes = _sizes(input_shape, input_name)
    graph = _recorded_graph(model, shape, sizes, input_name, output_name)
    proto = _proto(onnx, graph, model, shape, sizes)
    entries = {"dlfast": __version__, **({"class_names": "\n".join(class_names)} if class_names else {})}
    onnx.helper.set_model_props(proto, {**entries, **dict(metadata or {})})
    onnx.checker.check_model(proto)
    write_atomically(path, lambda temporary: temporary.write_bytes(proto.SerializeToString()))
    return Path(path)


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
        import onnx.shape_inference
    except ImportError as error:
        raise ImportError("export: needs the package onnx; pip install 'dlfast-kernels[onnx]'") from error
    return onnx


def _sizes(input_shape: Sequence[Axis], input_name: str) -> tuple[list[int], list[Size]]:
    """The shape of the first recording, with the batch, and the sizes that may differ."""
    if isinstance(input_shape, (int, str)) or not all(
        axis is None or isinstance(axis, str) or (isinstance(axis, (int, np.integer)) and axis > 0)
        for axis in input_shape
    ):
        raise ValueError(
            "export: input_shape must hold the sizes of one example without the batch, None or a name for one that "
            f"may differ, such as (28, 28, 1) or (None,), got {input_shape!r}"
        )
    shape, sizes = [BATCH[0]], [Size("batch", input_name, 0, *BATCH)]
    for i, axis in enumerate(input_shape, 1):
        if isinstance(axis, (int, np.integer)):
            shape.append(int(axis))
            continue
        base, other = (size + 2 * (i - 1) for size in _TRACED)
        sizes.append(Size(axis or ("time" if i == 1 else f"axis_{i}"), input_name, i, base, other))
        shape.append(base)
    return shape, sizes


def _recorded_graph(model: Module, shape: list[int], sizes: list[Size], input_name: str, output_name: str) -> Graph:
    """The graph, its sizes free, made short."""
    graphs = [_record(model, shape, input_name, output_name)]
    for size in sizes:
        other = list(shape)
        other[size.axis] = size.other
        graphs.append(_record(model, other, input_name, output_name))
    return tidy(merge(graphs[0], graphs[1:], sizes))


def _record(model: Module, shape: list[int], input_name: str, output_name: str) -> Graph:
    """The graph of one run, in evaluation."""
    graph = Graph()
    recorder = Recorder(graph)
    arrays: dict[int, Any] = {id(p._data): p._data for p in model.parameters()}
    copied = copy.deepcopy(model, arrays).eval().to(recorder)  # with the arrays of the parameters themselves
    for name, parameter in copied.named_parameters():
        recorded: Any = parameter.data
        graph.constant(recorded.values, name)
    graph.inputs.append(input_name)
    with no_grad():
        y = copied(Tensor(Recorded(recorder, _example(model, shape), input_name)))
    results: list[Any] = [part.data for part in _leaves(y)]
    for i, result in enumerate(results):
        if getattr(result, "name", None) is None:
            raise ValueError("export: a result of the model does not depend on its input")
        name = output_name if len(results) == 1 else f"{output_name}_{i}"
        graph.nodes.append(Node("Identity", [result.name], [name], {}))
        graph.outputs[name] = result.dtype, result.shape
    return graph


def _leaves(y: Any) -> list[Tensor]:
    if isinstance(y, (tuple, list)):
        return [leaf for part in y for leaf in _leaves(part)]
    if not isinstance(y, Tensor):
        raise TypeError(f"export: the model must give Tensors, got {type(y).__name__}")
    return [y]


def _example(model: Module, shape: list[int]) -> np.ndarray:
    """Zeros for codes, else numbers whose results are finite."""
    dtype = _input_dtype(model)
    if dtype == np.int64:
        return np.zeros(shape, dtype)
    return np.linspace(-1, 1, int(np.prod(shape))).reshape(shape).astype(dtype)


def _input_dtype(model: Module) -> np.dtype:
    if any(isinstance(module, nn.Embedding) for module in model.modules()):
        return np.dtype(np.int64)
    return next((p._data.dtype for p in model.parameters()), np.dtype(np.float32))


# The file


def _proto(onnx: Any, g: Graph, model: Module, shape: list[int], sizes: list[Size]) -> Any:
    helper, element = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    free = {size.axis: size.name for size in sizes}
    entering = [free.get(axis, n) for axis, n in enumerate(shape)]
    given = helper.make_tensor_value_info(g.inputs[0], element(_input_dtype(model)), entering)
    graph = helper.make_graph(
        [_node_proto(helper, i, node) for i, node in enumerate(g.nodes)],
        type(model).__name__,
        [given],
        [helper.make_tensor_value_info(name, element(dtype), axes) for name, (dtype, axes) in g.outputs.items()],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in g.constants.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    proto = helper.make_model(graph, opset_imports=opset, producer_name="dlfast", producer_version=__version__)
    proto.ir_version = helper.find_min_ir_version_for(opset)
    return onnx.shape_inference.infer_shapes(proto)


def _node_proto(helper: Any, i: int, node: Node) -> Any:
    inputs = list(node.inputs)
    while inputs and not inputs[-1]:
        inputs.pop()
    to_element = helper.np_dtype_to_tensor_dtype
    attributes = {key: to_element(v) if isinstance(v, np.dtype) else v for key, v in node.attributes.items()}
    return helper.make_node(node.op, inputs, node.outputs, name=f"{node.op}_{i}", **attributes)
