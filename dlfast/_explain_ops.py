"""What a noted operation runs: the algorithm of each pass, why, and how many floating-point operations it takes."""

from __future__ import annotations

import math
from typing import Any

from .functional._conv import conv_methods, only_3x3
from .kernels import Call
from .kernels.conv_adjoint import image_padding, image_shape, scatters
from .kernels.conv_methods import Choice, Geometry, choose, geometry_of, output_shape

PASSES = ("forward", "dx", "dweight")
_CONVOLUTIONS = ("conv2d", "conv2d_max_pool2d", "conv2d_avg_pool2d", "conv2d_batch_norm")
FEW = {"numba": 4, "cython": 8}  # rows up to which they multiply without packing
_GATES = {"rnn_cell": 1, "lstm_cell": 4, "gru_cell": 3}


def choices(call: Call) -> dict[str, Choice]:
    """The algorithm of each pass, and why; empty where the backend has but one way."""
    if call.op in _CONVOLUTIONS:
        image, kernel = _shapes(call)
        return {name: _convolution(call, name, image, kernel, geometry_of(call.options)) for name in PASSES}
    if call.op == "conv_transpose2d":
        image, kernel, geometry = _adjoint(call)
        roles = {"forward": "dx", "dx": "forward", "dweight": "dweight"}
        found = {name: _convolution(call, role, image, kernel, geometry) for name, role in roles.items()}
        if call.backend == "numba" and scatters(kernel, geometry.groups):
            found["forward"] = Choice("scatter", f"{kernel[3]} output channels would leave registers empty")
        return found
    if call.op in ("linear", "matmul", *_GATES):
        return {name: _product(call, name) for name in PASSES}
    return {}


def _convolution(call: Call, role: str, image: tuple, kernel: tuple, geometry: Geometry) -> Choice:
    choice = choose(role, image, kernel, geometry, call.options["method"], only_3x3())
    known = conv_methods()
    return choice if choice.method in known else Choice("im2col", f"the {call.backend} backend has no {choice.method}")


def _product(call: Call, name: str) -> Choice:
    if call.backend == "reference":
        return Choice("BLAS", "NumPy's matrix product")
    x, weight = _shapes(call)
    rows = x[-2] if call.op == "matmul" and len(x) > 1 else math.prod(x[:-1])
    few = FEW[call.backend]
    if call.backend == "cython" and name == "forward" and call.op == "linear":
        few = max(4, min(32, x[-1] // 12))  # dl_gemm_skinny: dot products with the rows of the weight
    if call.op in ("linear", "matmul") and rows <= few:
        return Choice("skinny", f"up to {few} rows: read in place, not packed")
    return Choice("gemm", "a product of packed panels")


def flops(call: Call) -> tuple[int, int, int]:
    """Operations of forward, dx and dweight, a multiply-add counting as two; 0 where memory is the limit.

    Convolutions count by their definition, whatever the algorithm saves.
    """
    if call.op in _CONVOLUTIONS:
        image, kernel = _shapes(call)
        each = 2 * math.prod(output_shape(image, kernel, geometry_of(call.options))) * math.prod(kernel[1:])
    elif call.op == "conv_transpose2d":
        x, kernel = _shapes(call)
        each = 2 * math.prod(x) * math.prod(kernel[1:])
    elif call.op == "linear":
        x, weight = _shapes(call)
        each = 2 * math.prod(x[:-1]) * math.prod(weight)
    elif call.op == "matmul":
        each = _matmul_flops(*_shapes(call))
    elif call.op in _GATES:
        (batch, features), (_, hidden) = _shapes(call)
        each = 2 * batch * _GATES[call.op] * hidden * (features + hidden)
    else:
        each = 0
    return each, each, each


def _matmul_flops(a: tuple, b: tuple) -> int:
    """2 M K N for every matrix of the broadcast batch."""
    batch = 1
    for i in range(1, max(len(a), len(b)) - 1):
        batch *= max(shape[-2 - i] if len(shape) > 1 + i else 1 for shape in (a, b))
    return 2 * batch * (a[-2] if len(a) > 1 else 1) * a[-1] * (b[-1] if len(b) > 1 else 1)


def _shapes(call: Call) -> Any:
    """The shapes of the first two arrays."""
    return call.shapes[:2]


def _adjoint(call: Call) -> tuple[tuple, tuple, Geometry]:
    """Image, kernel and geometry of the conv2d whose gradient a transposed convolution is."""
    x, kernel = _shapes(call)
    o = call.options
    image = image_shape(x, kernel, o["stride"], o["padding"], o["output_padding"], o["dilation"], o["groups"])
    return image, kernel, geometry_of({**o, "padding": image_padding(o["padding"], o["output_padding"])})
