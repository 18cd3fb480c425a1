"""A stand-in for cuDNN's Python frontend that computes graphs with NumPy in host memory, as the manual defines them.

Tensors are read by the lengths and strides that the graph declares, axes in cuDNN's order, and not by how
`kernels/cuda/cudnn_problem.py` came to them. It refuses what cuDNN would refuse, and remembers the calls.
"""

import ctypes
import enum
from itertools import product

import numpy as np

data_type = enum.Enum("data_type", ["FLOAT", "DOUBLE", "HALF", "BFLOAT16"])
heur_mode = enum.Enum("heur_mode", ["A", "B", "FALLBACK"])
numerical_note = enum.Enum("numerical_note", ["TENSOR_CORE", "DOWN_CONVERT_INPUTS", "NONDETERMINISTIC"])
_DTYPES = {"FLOAT": np.float32, "DOUBLE": np.float64, "HALF": np.float16}


class cudnnGraphNotSupportedError(Exception):
    pass


class Tensor:
    def __init__(self, dim=None, stride=None, data_type=None, uid=None, made=None):
        self.dim, self.stride, self.data_type, self.uid, self.made = dim, stride, data_type, uid, made
        self.output = False

    def set_output(self, value):
        self.output = value
        return self

    def set_dim(self, dim):
        assert self.dim is None or list(self.dim) == list(dim), (self.dim, dim)
        self.dim = dim
        return self

    def set_stride(self, stride):
        self.stride = stride
        return self

    def set_data_type(self, data_type):
        self.data_type = data_type
        return self

    def set_uid(self, uid):
        self.uid = uid
        return self

    def memory(self, pointer):
        """The numbers at an address, by this tensor's strides."""
        dtype = np.dtype(_DTYPES[self.data_type.name])
        count = 1 + sum((length - 1) * step for length, step in zip(self.dim, self.stride))
        held = (ctypes.c_char * (count * dtype.itemsize)).from_address(pointer)
        return np.ndarray(tuple(self.dim), dtype, held, strides=[step * dtype.itemsize for step in self.stride])


class Graph:
    """`pygraph`; refuses: what the heuristics have no plan for, "bias", "relu" or the name of an operation."""

    def __init__(self, module, io_data_type, intermediate_data_type, compute_data_type, handle):
        assert intermediate_data_type is compute_data_type is data_type.FLOAT
        self._module, self._handle, self._made = module, handle, []
        self.steps, self.notes, self._tensors = [], [], []

    def tensor(self, name, dim, stride, data_type, uid):
        return Tensor(dim, stride, data_type, uid)

    def _node(self, op, outputs, **inputs):
        self._made.append(op)
        found = [Tensor(dim, made=(op, number, inputs)) for number, dim in enumerate(outputs)]
        self._tensors += found
        return found if op.startswith("sdpa") else found[0]

    def conv_fprop(self, image, weight, padding, stride, dilation):
        n, c, *size = image.dim
        k, per_group, *taps = weight.dim
        assert c % per_group == 0
        out = [(x + 2 * p - d * (t - 1) - 1) // s + 1 for x, t, p, s, d in zip(size, taps, padding, stride, dilation)]
        options = {"padding": padding, "stride": stride, "dilation": dilation}
        return self._node("conv_fprop", [[n, k, *out]], image=image, weight=weight, **options)

    def conv_dgrad(self, loss, filter, padding, stride, dilation):
        options = {"padding": padding, "stride": stride, "dilation": dilation}
        return self._node("conv_dgrad", [None], loss=loss, filter=filter, **options)

    def conv_wgrad(self, image, loss, padding, stride, dilation):
        options = {"padding": padding, "stride": stride, "dilation": dilation}
        return self._node("conv_wgrad", [None], image=image, loss=loss, **options)

    def bias(self, input, bias):
        assert bias.dim == [1, input.dim[1], 1, 1]
        return self._node("bias", [input.dim], input=input, bias=bias)

    def relu(self, input):
        return self._node("relu", [input.dim], input=input)

    def sdpa(self, q, k, v, attn_scale, use_causal_mask, generate_stats):
        assert generate_stats
        outputs = [[*q.dim[:3], v.dim[3]], [*q.dim[:3], 1]]
        return self._node("sdpa", outputs, q=q, k=k, v=v, scale=attn_scale, causal=use_causal_mask)

    def sdpa_backward(self, q, k, v, o, dO, stats, attn_scale, use_causal_mask, use_deterministic_algorithm):
        assert use_deterministic_algorithm
        options = {"scale": attn_scale, "causal": use_causal_mask}
        return self._node("sdpa_backward", [q.dim, k.dim, v.dim], q=q, k=k, v=v, o=o, dO=dO, stats=stats, **options)

    def _step(self, name):
        order = ["validate", "build_operation_graph", "create_execution_plans", "deselect_numeric_notes",
                 "check_support", "build_plans"]  # fmt: skip
        assert order[len(self.steps)] == name
        self.steps.append(name)

    def validate(self):
        self._step("validate")

    def build_operation_graph(self):
        self._step("build_operation_graph")

    def create_execution_plans(self, heuristics):
        self._step("create_execution_plans")
        assert all(isinstance(mode, heur_mode) for mode in heuristics)

    def deselect_numeric_notes(self, notes):
        self._step("deselect_numeric_notes")
        self.notes = [note.name for note in notes]

    def check_support(self):
        self._step("check_support")
        if refused := self._module.refuses.intersection(self._made):
            raise cudnnGraphNotSupportedError(f"no plan for {refused}")

    def build_plans(self):
        self._step("build_plans")
        self._module.calls.append(("built", *self._made, *self.notes))

    def get_workspace_size(self):
        return self._module.workspace

    def execute(self, tensor_dict, workspace, handle):
        assert len(self.steps) == 6
        assert handle is self._handle
        assert bool(workspace) == bool(self._module.workspace)
        self._module.calls.append(("executed", *self._made, handle.stream))
        self._values, self._pack = {}, tensor_dict
        outputs = [x for x in self._tensors if x.output]
        results = [np.array(self._value(x)) for x in outputs]
        for tensor, result in zip(outputs, results, strict=True):
            tensor.memory(tensor_dict[tensor.uid])[...] = result

    def _value(self, x):
        if id(x) not in self._values:
            if x.made is None:
                self._values[id(x)] = x.memory(self._pack[x.uid]).astype(np.float64)
            else:
                op, number, inputs = x.made
                given = {k: self._value(v) if isinstance(v, Tensor) else v for k, v in inputs.items()}
                with np.errstate(all="ignore"):
                    self._values[id(x)] = _OPERATIONS[op](x, number, **given)
        return self._values[id(x)]


def _windows(shape, out, taps, padding, stride, dilation):
    """For each tap the slices of the outputs that read pixels, and of these."""
    for tap in product(*map(range, taps)):
        outs, ins = [], []
        for size, count, t, p, s, d in zip(shape, out, tap, padding, stride, dilation):
            places = np.arange(count) * s + t * d - p
            outs.append(np.flatnonzero((places >= 0) & (places < size)))
            ins.append(places[outs[-1]])
        yield tap, np.ix_(*outs), np.ix_(*ins)


def _each_group(image_channels, per_group, kernels):
    groups = image_channels // per_group
    for g in range(groups):
        yield slice(g * per_group, (g + 1) * per_group), slice(g * kernels // groups, (g + 1) * kernels // groups)


def _fprop(x, number, image, weight, **geometry):
    y = np.zeros(x.dim)
    for tap, outs, ins in _windows(image.shape[2:], x.dim[2:], weight.shape[2:], **geometry):
        for c, k in _each_group(image.shape[1], weight.shape[1], weight.shape[0]):
            part = np.einsum("nchw,kc->nkhw", image[:, c][:, :, ins[0], ins[1]], weight[k][:, :, tap[0], tap[1]])
            y[:, k][:, :, outs[0], outs[1]] += part
    return y


def _dgrad(x, number, loss, filter, **geometry):
    dx = np.zeros(x.dim)
    for tap, outs, ins in _windows(x.dim[2:], loss.shape[2:], filter.shape[2:], **geometry):
        for c, k in _each_group(x.dim[1], filter.shape[1], filter.shape[0]):
            part = np.einsum("nkhw,kc->nchw", loss[:, k][:, :, outs[0], outs[1]], filter[k][:, :, tap[0], tap[1]])
            dx[:, c][:, :, ins[0], ins[1]] += part
    return dx


def _wgrad(x, number, image, loss, **geometry):
    dw = np.zeros(x.dim)
    for tap, outs, ins in _windows(image.shape[2:], loss.shape[2:], x.dim[2:], **geometry):
        for c, k in _each_group(image.shape[1], x.dim[1], x.dim[0]):
            left, right = loss[:, k][:, :, outs[0], outs[1]], image[:, c][:, :, ins[0], ins[1]]
            dw[k][:, :, tap[0], tap[1]] = np.einsum("nkhw,nchw->kc", left, right)
    return dw


def _scores(q, k, scale, causal):
    k = np.repeat(k, q.shape[1] // k.shape[1], axis=1)
    scores = scale * q @ k.swapaxes(2, 3)
    if causal:
        scores = np.where(np.arange(scores.shape[3]) > np.arange(scores.shape[2])[:, None], -np.inf, scores)
    return scores


def _sdpa(x, number, q, k, v, scale, causal):
    scores = _scores(q, k, scale, causal)
    lse = np.log(np.exp(scores).sum(axis=3, keepdims=True))
    return lse if number else np.exp(scores - lse) @ np.repeat(v, q.shape[1] // v.shape[1], axis=1)


def _sdpa_backward(x, number, q, k, v, o, dO, stats, scale, causal):
    p = np.exp(_scores(q, k, scale, causal) - stats)
    times = q.shape[1] // k.shape[1]
    ds = p * (dO @ np.repeat(v, times, axis=1).swapaxes(2, 3) - (dO * o).sum(axis=3, keepdims=True)) * scale
    if number == 0:
        return ds @ np.repeat(k, times, axis=1)
    each = ds.swapaxes(2, 3) @ q if number == 1 else p.swapaxes(2, 3) @ dO
    return each.reshape(k.shape[0], k.shape[1], times, *k.shape[2:]).sum(axis=2)


_OPERATIONS = {
    "conv_fprop": _fprop,
    "conv_dgrad": _dgrad,
    "conv_wgrad": _wgrad,
    "bias": lambda x, number, input, bias: input + bias,
    "relu": lambda x, number, input: np.maximum(input, 0),
    "sdpa": _sdpa,
    "sdpa_backward": _sdpa_backward,
}


class Handle:
    stream = None


class Cudnn:
    """The module `cudnn`."""

    data_type, heur_mode, numerical_note = data_type, heur_mode, numerical_note
    cudnnGraphNotSupportedError = cudnnGraphNotSupportedError

    def __init__(self, refuses=(), workspace=0):
        self.refuses, self.workspace, self.calls = set(refuses), workspace, []

    def create_handle(self):
        return Handle()

    def set_stream(self, handle, stream):
        handle.stream = stream

    def pygraph(self, io_data_type, intermediate_data_type, compute_data_type, handle):
        return Graph(self, io_data_type, intermediate_data_type, compute_data_type, handle)
