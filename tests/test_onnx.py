"""The cases that ship with the onnx package, recorded from PyTorch: an oracle that shares no code with the kernels.

Each case is a small graph with stored inputs and outputs. Those count whose operators are all ours (OPERATORS) or mere
plumbing (PLUMBING, done in NumPy), images and sequences alike; images are transposed to channels last at the door.
"""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import numpy_helper

from dlfast import kernels
from dlfast.kernels.conv_methods import PLAIN, Geometry
from dlfast.kernels.conv_plan import plan, plan_of_transposed

DATA = Path(onnx.backend.test.__file__).parent / "data"
COVERED = 62  # at least so many cases (all there are from onnx 1.16 to 1.23)


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def channels_first(x):
    return np.moveaxis(x, -1, 1)


def axes(attributes, name, default):
    """The attribute for rows and columns; sequences have columns alone."""
    values = tuple(attributes.get(name, ())) or (default,) * len(attributes["kernel_shape"])
    return values if len(values) == 2 else (default, *values)


def sides(attributes):
    """(top, bottom, left, right) from (start of each axis, end of each axis)."""
    pads = attributes.get("pads") or [0] * 2 * len(attributes["kernel_shape"])
    return (0, 0, *pads) if len(pads) == 2 else (pads[0], pads[2], pads[1], pads[3])


def geometry(attributes):
    stride, dilation = axes(attributes, "strides", 1), axes(attributes, "dilations", 1)
    return Geometry(stride, sides(attributes), dilation, attributes.get("group", 1))


def conv(run, attributes, x, weight, bias=None):
    flat = x.ndim == 3
    x, weight = (channels_last(a[:, :, None] if flat else a) for a in (x, weight))
    planned = plan(x.shape, weight.shape, geometry(attributes), None, "exact")
    y = channels_first(run("conv2d", x, weight, bias, plan=planned))
    return y[:, :, 0] if flat else y


def conv_transpose(run, attributes, x, weight, bias=None):
    x, weight, extra = channels_last(x), channels_last(weight), axes(attributes, "output_padding", 0)
    planned = plan_of_transposed(x.shape, weight.shape, geometry(attributes), extra, None, "exact", PLAIN)
    return channels_first(run("conv_transpose2d", x, weight, bias, plan=planned))


def pool(op, run, attributes, x, **options):
    top, bottom, left, right = sides(attributes)
    assert (top, left) == (bottom, right)
    window = {"kernel_size": axes(attributes, "kernel_shape", 1), "stride": axes(attributes, "strides", 1)}
    flat = x.ndim == 3
    y = run(op, channels_last(x[:, :, None] if flat else x), **window, padding=(top, left), ceil_mode=False, **options)
    return channels_first(y)[:, :, 0] if flat else channels_first(y)


def max_pool(run, attributes, x):
    return pool("max_pool2d", run, attributes, x, dilation=axes(attributes, "dilations", 1))


def average_pool(run, attributes, x):
    return pool("avg_pool2d", run, attributes, x, count_include_pad=bool(attributes.get("count_include_pad", 0)))


def gemm(run, attributes, a, b, c=None):
    a = a.T if attributes.get("transA") else a
    if attributes.get("transB"):
        assert attributes["alpha"] == attributes["beta"] == 1
        return run("linear", a, b, c, activation=None)
    y = np.float32(attributes["alpha"]) * run("matmul", a, b)
    return y if c is None else y + np.float32(attributes["beta"]) * c


def batch_norm(run, attributes, x, weight, bias, mean, var):
    eps = attributes["epsilon"]
    return channels_first(run("batch_norm", channels_last(x), weight, bias, None, mean, var, eps=eps, activation=None))


def elementwise(op, **options):
    """Options given as pairs are attributes of the ONNX operator and their defaults."""

    def apply(run, attributes, x):
        return run(op, x, **{k: attributes.get(*v) if isinstance(v, tuple) else v for k, v in options.items()})

    return apply


OPERATORS = {
    "Conv": (conv, "conv2d"),
    "ConvTranspose": (conv_transpose, "conv_transpose2d"),
    "MaxPool": (max_pool, "max_pool2d"),
    "AveragePool": (average_pool, "avg_pool2d"),
    "Gemm": (gemm, "linear"),
    "MatMul": (lambda run, _, a, b: run("matmul", a, b), "matmul"),
    "BatchNormalization": (batch_norm, "batch_norm"),
    "Gather": (lambda run, _, table, places: run("embedding", places, table, padding_idx=None), "embedding"),
    "Relu": (elementwise("relu"), "relu"),
    "LeakyRelu": (elementwise("leaky_relu", negative_slope=("alpha", 0.01)), "leaky_relu"),
    "Elu": (elementwise("elu", alpha=("alpha", 1.0)), "elu"),
    "Sigmoid": (elementwise("sigmoid"), "sigmoid"),
    "Tanh": (elementwise("tanh"), "tanh"),
    "Softplus": (elementwise("softplus", beta=1.0, threshold=20.0), "softplus"),
    "Softmax": (elementwise("softmax", axis=("axis", 1)), "softmax"),
    "LogSoftmax": (elementwise("log_softmax", axis=("axis", 1)), "log_softmax"),
}

PLUMBING = {
    "Add": lambda attributes, a, b: a + b,
    "Mul": lambda attributes, a, b: a * b,
    "Neg": lambda attributes, x: -x,
    "Constant": lambda attributes: numpy_helper.to_array(attributes["value"]),
    "Transpose": lambda attributes, x: x.transpose(attributes["perm"]),
    "Unsqueeze": lambda attributes, x: np.expand_dims(x, tuple(attributes["axes"])),
    "Squeeze": lambda attributes, x: np.squeeze(x, tuple(attributes["axes"])),
    "Split": lambda attributes, x: np.split(x, 2, attributes["axis"]),
}


@cache
def graph_of(folder):
    return onnx.load(folder / "model.onnx").graph


def arrays_of(folder, kind):
    files = sorted((folder / "test_data_set_0").glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    return [numpy_helper.to_array(onnx.load_tensor(path)) for path in files]


def ours(folder):
    """The operations of ours that a case needs; none where it holds something else as well, or volumes."""
    nodes = graph_of(folder).node
    if any(node.op_type not in OPERATORS and node.op_type not in PLUMBING for node in nodes):
        return set()
    if any(len(a.ints) == 3 for node in nodes for a in node.attribute if a.name == "kernel_shape"):
        return set()
    return {OPERATORS[node.op_type][1] for node in nodes if node.op_type in OPERATORS}


def covered():
    return [path.parent for path in sorted(DATA.glob("pytorch-*/*/model.onnx")) if ours(path.parent)]


def evaluate(graph, inputs, backend):
    values = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    names = [value.name for value in graph.input if value.name not in values]
    values.update(zip(names, inputs, strict=True))
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        arguments = [values[name] for name in node.input]
        if node.op_type in PLUMBING:
            results = PLUMBING[node.op_type](attributes, *arguments)
        else:
            results = OPERATORS[node.op_type][0](caller(backend), attributes, *arguments)
        values.update(zip(node.output, results if isinstance(results, list) else [results], strict=True))
    return [values[output.name] for output in graph.output]


def caller(backend):
    def run(op, *arrays, **options):
        return kernels.pair(op, backend)[0](*arrays, **options)[0]

    return run


def having_all_operations():
    return [
        pytest.param(folder, backend, id=f"{folder.name.removeprefix('test_')}-{backend}")
        for folder in covered()
        for backend in kernels.BACKENDS
        if kernels.built(backend) and all(backend in kernels.backends_of(op) for op in ours(folder))
    ]


def test_enough_cases_are_covered():
    assert len(covered()) >= COVERED


@pytest.mark.parametrize(("folder", "backend"), having_all_operations())
def test_stored_case(folder, backend):
    wanted = arrays_of(folder, "output")
    got = evaluate(graph_of(folder), arrays_of(folder, "input"), backend)
    for x, y in zip(got, wanted, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
