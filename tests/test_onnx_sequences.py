"""RNN, LSTM, GRU, attention and norms as the onnx package defines them: its cases for single nodes, with their results.

Newer versions of the package make these cases when their modules are imported, older ones lack some. Left out are those
that say what our functions do not (`expressible`): peepholes, GRUs that multiply by r before the product, soft caps,
windows, values of another width than keys, half precision.
"""

from importlib import import_module
from unittest import mock

import numpy as np
import onnx
import onnx.backend.test.case.node as cases
import pytest

from dlfast import functional as F
from dlfast import kernels

GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # ours by ONNX's places: i o f c, z r h
MODULES = ("lstm", "gru", "rnn", "attention", "layernormalization", "rmsnormalization")
FEWEST = {"LSTM": 5, "GRU": 3, "RNN": 6}  # in every version there is


def collected():
    """(name, node, attributes, inputs by name, outputs by name) of each case."""
    found = []

    def expect(node, inputs, outputs, name, **options):
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        given = [
            dict(zip(filter(None, names), values)) for names, values in ((node.input, inputs), (node.output, outputs))
        ]
        found.append((name.removeprefix("test_"), node.op_type, attributes, *given))

    with mock.patch.object(cases, "expect", expect):
        for module in MODULES:
            try:
                import_module(f"{cases.__name__}.{module}")
            except ModuleNotFoundError:
                continue
    return found


def expressible(name, op, attributes, inputs, outputs):
    if any(x.dtype not in (np.float32, np.bool_, np.int32, np.int64) for x in inputs.values()):
        return False
    if op == "Attention":
        known = {"scale", "is_causal", "q_num_heads", "kv_num_heads"}
        wide = inputs["K"].shape == inputs["V"].shape and not (attributes.get("is_causal") and "past_key" in inputs)
        return set(attributes) <= known and not {"nonpad_kv_seqlen", "qk_matmul_output"} & {*inputs, *outputs} and wide
    if op == "GRU" and not attributes.get("linear_before_reset", 0):
        # With one step from a state of 0 there is nothing to multiply, but the bias of R, before or after.
        steps = inputs["X"].shape[attributes.get("layout", 0)]
        return steps == 1 and not inputs.get("B", np.zeros((1, 2)))[:, -attributes["hidden_size"] :].any()
    return "P" not in inputs and not {"activations", "clip", "input_forget"} & set(attributes)


def gates(op, array):
    """Rows of the gates, (directions, G Hd, ...), in our order."""
    parts = np.split(array, len(GATES[op]), axis=1)
    return np.concatenate([parts[i] for i in GATES[op]], axis=1)


def recurrent(op, attributes, inputs):
    batch_first = bool(attributes.get("layout", 0))
    x, w, r = inputs["X"], gates(op, inputs["W"]), gates(op, inputs["R"])
    biases = [gates(op, b) for b in np.split(inputs["B"], 2, axis=1)] if "B" in inputs else None
    direction = attributes.get("direction", b"forward").decode()
    states = [inputs.get(name) for name in ("initial_h", "initial_c")[: 1 + (op == "LSTM")]]
    outputs, lasts = [], []
    for i in range(len(w)):
        options = {"batch_first": batch_first, "reverse": direction == "reverse" or i == 1}
        options["lengths"] = inputs.get("sequence_lens")
        own = [None if state is None else state[:, i] if batch_first else state[i] for state in states]
        given = tuple(own) if len(own) > 1 and own[0] is not None else own[0]
        y, last = getattr(F, op.lower())(x, given, w[i], r[i], *((b[i] for b in biases) if biases else ()), **options)
        outputs.append(y.data)
        lasts.append([state.data for state in (last if op == "LSTM" else (last,))])
    axis = 2 if batch_first else 1
    finals = [np.stack(each, axis=1 if batch_first else 0) for each in zip(*lasts)]
    return dict(zip(("Y", "Y_h", "Y_c"), (np.stack(outputs, axis=axis), *finals)))


def heads(x, count):
    return x if count is None else x.reshape(*x.shape[:2], count, -1).swapaxes(1, 2)


def attention(op, attributes, inputs):
    queries, shared = attributes.get("q_num_heads"), attributes.get("kv_num_heads")
    q, k, v = heads(inputs["Q"], queries), heads(inputs["K"], shared), heads(inputs["V"], shared)
    if "past_key" in inputs:
        k, v = (np.concatenate([inputs[f"past_{name}"], x], axis=2) for name, x in (("key", k), ("value", v)))
    causal, gqa = bool(attributes.get("is_causal", 0)), q.shape[1] != k.shape[1]
    y = F.scaled_dot_product_attention(q, k, v, inputs.get("attn_mask"), 0.0, causal, attributes.get("scale"), gqa).data
    y = y if queries is None else y.swapaxes(1, 2).reshape(*inputs["Q"].shape)
    return {"Y": y, "present_key": k, "present_value": v}


def norm(op, attributes, inputs):
    shape, eps = inputs["X"].shape[attributes.get("axis", -1) :], attributes.get("epsilon", 1e-5)
    if op == "RMSNormalization":
        return {"Y": F.rms_norm(inputs["X"], shape, inputs["W"], eps).data}
    return {"Y": F.layer_norm(inputs["X"], shape, inputs["W"], inputs["B"], eps).data}


CASES = {case[0]: case for case in collected() if expressible(*case)}
OURS = {"Attention": attention, "LayerNormalization": norm, "RMSNormalization": norm}


def test_enough_cases_are_covered():
    counts = {op: sum(case[1] == op for case in CASES.values()) for op in FEWEST}
    assert all(counts[op] >= least for op, least in FEWEST.items()), counts


@pytest.mark.parametrize("backend", [name for name in kernels.BACKENDS if kernels.built(name)])
@pytest.mark.parametrize("name", CASES)
def test_node(name, backend):
    _, op, attributes, inputs, wanted = CASES[name]
    with kernels.use_backend(backend, "reference"):
        found = OURS.get(op, recurrent)(op, attributes, inputs)
    for output in set(found) & set(wanted):
        assert found[output].dtype == wanted[output].dtype
        np.testing.assert_allclose(found[output], wanted[output], rtol=1e-4, atol=1e-6)
