"""What a noted operation runs: the algorithm of each pass, why, and how many floating-point operations it takes."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np

from ..kernels import Call
from ..kernels.conv_methods import Choice
from ..kernels.conv_plan import PASSES

__all__ = ["PASSES", "choices", "flops"]

_PATHS = {  # what the products of a backend say of themselves
    "blocks": "a product of packed panels",
    "dots": "few rows: dot products, read in place, not packed",
    "combine": "few rows: sums of the other's rows, read in place, not packed",
    "outer": "of few rows: outer products, written once",
}
_GATES = {"rnn_cell": 1, "lstm_cell": 4, "gru_cell": 3}
_SEQUENCES = {"rnn": 1, "lstm": 4, "gru": 3}


def choices(call: Call) -> dict[str, Choice]:
    """The algorithm of each pass, and why; empty where the backend has but one way."""
    plan = call.options.get("plan")
    if call.op == "conv_transpose2d":
        roles = {"forward": "dx", "dx": "forward", "dweight": "dweight"}
        found = {name: plan.choices[role] for name, role in roles.items()}
        if plan.scatters:
            found["forward"] = Choice("scatter", f"{plan.kernel[3]} output channels would leave registers empty")
        return found
    if plan is not None:
        return _with_paths(call, plan)
    if call.op in ("linear", "matmul", *_GATES):
        return {name: _product(call, name) for name in PASSES}
    return {}


def _with_paths(call: Call, plan: Any) -> dict[str, Choice]:
    """The plan's choices, and what the backend says it does within them in float32."""
    if call.backend != "cython":
        return plan.choices
    single = np.empty(0, np.float32)
    paths = import_module("dlfast.kernels.cython.conv_pool").inner_paths(call.op, single, plan)
    return {
        name: choice._replace(why=f"{choice.why}; {paths[name]}") if name in paths else choice
        for name, choice in plan.choices.items()
    }


def _product(call: Call, name: str) -> Choice:
    if call.device is not None:
        why = call.device.no_cublas
        return Choice("tiles", f"of our own; cuBLASLt: {why}") if why else Choice("cuBLASLt", "it is installed")
    if call.backend == "reference":
        return Choice("BLAS", "NumPy's matrix product")
    if call.op not in ("linear", "matmul"):
        return Choice("gemm", "products of packed panels, few rows in place")
    path = import_module(f"dlfast.kernels.{call.backend}.linear").product_path(*_sides(call, name))
    return Choice("gemm" if path == "blocks" else "skinny", _PATHS[path])


def _sides(call: Call, name: str) -> tuple[int, int, int, bool, bool]:
    """m, n and k of C (m, n) = op(A) op(B) of a pass, and whether A and B are transposed."""
    x, weight = _shapes(call)
    linear = call.op == "linear"
    stacked = linear or len(x) < 2 or (len(weight) == 2 and len(x) > 2)  # one product with all rows of x
    rows, depth = math.prod(x[:-1]) if stacked else x[-2], x[-1]
    outputs = weight[0] if linear else weight[-1] if len(weight) > 1 else 1
    if name == "forward":
        return rows, outputs, depth, False, linear
    if name == "dx":
        return rows, depth, outputs, False, not linear
    return (outputs, depth, rows, True, False) if linear else (depth, outputs, rows, True, False)


def flops(call: Call) -> tuple[int, int, int]:
    """Operations of forward, dx and dweight, a multiply-add counting as two; 0 where memory is the limit.

    Convolutions count by their definition, whatever the algorithm saves; recurrent layers by the steps that exist. The
    gradients of attention, to queries, keys and values, are twice its forward.
    """
    if "plan" in call.options:
        plan = call.options["plan"]
        each = 2 * math.prod(plan.output) * math.prod(plan.kernel[1:])
    elif call.op == "linear":
        x, weight = _shapes(call)
        each = 2 * math.prod(x[:-1]) * math.prod(weight)
    elif call.op == "matmul":
        each = _matmul_flops(*_shapes(call))
    elif call.op in _GATES:
        (batch, features), (_, hidden) = _shapes(call)
        each = 2 * batch * _GATES[call.op] * hidden * (features + hidden)
    elif call.op in _SEQUENCES:
        parameters = call.shapes[3 if call.op == "lstm" else 2 :]  # of each direction and layer, behind the states
        weights = [shape for shape in parameters if shape is not None and len(shape) == 2]
        each = 2 * call.options["steps"][0].rows * sum(map(math.prod, weights))
    elif call.op in ("attention", "self_attention"):
        forward = _attention_flops(call)
        return forward, 2 * forward, 0
    else:
        each = 0
    return each, each, each


def _matmul_flops(a: tuple, b: tuple) -> int:
    """2 M K N for every matrix of the broadcast batch."""
    batch = 1
    for i in range(1, max(len(a), len(b)) - 1):
        batch *= max(shape[-2 - i] if len(shape) > 1 + i else 1 for shape in (a, b))
    return 2 * batch * (a[-2] if len(a) > 1 else 1) * a[-1] * (b[-1] if len(b) > 1 else 1)


def _attention_flops(call: Call) -> int:
    """q k^T and the probabilities times v, of the pairs of query and key that may meet; a mask leaves out none."""
    if call.op == "self_attention":
        batch, queries, _, heads, features = _shapes(call)[0]
        keys = queries
    else:
        (batch, *query, features), key = _shapes(call)
        last = call.options["heads_last"]
        (queries, heads), keys = (query if last else query[::-1]), key[1 if last else 2]
    pairs = sum(min(i + 1, keys) for i in range(queries)) if call.options["causal"] else queries * keys
    return 2 * 2 * batch * heads * pairs * features


def _shapes(call: Call) -> Any:
    """The shapes of the first two arrays."""
    return call.shapes[:2]
