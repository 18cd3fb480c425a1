"""Recurrent layers and attention as nodes of ONNX. T steps, B sequences, Hd hidden units, D directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .graph import Graph

if TYPE_CHECKING:
    from .kernels import Operation

_LSTM, _GRU, _RNN = (0, 3, 1, 2), (1, 0, 2), (0,)  # ONNX's gates i o f c and z r h, from i f g o and r z n


def _ordered(array: np.ndarray, gates: tuple[int, ...]) -> np.ndarray:
    """Rows of gates in ONNX's order."""
    parts = np.split(array, len(gates))
    return np.concatenate([parts[gate] for gate in gates])


def _layer(
    g: Graph, kind: str, x: str, states: list[str], parameters: Any, gates: Any, backwards: bool = False, **more: Any
) -> Any:
    """One layer in all its directions: parameters holds four arrays for each. x (T, B, I); the outputs of the node."""
    ways = len(parameters) // 4
    direction = "bidirectional" if ways == 2 else "reverse" if backwards else "forward"
    stacks = []
    for i in range(2):
        stacks.append(g.constant(np.stack([_ordered(parameters[4 * d + i], gates) for d in range(ways)])))
    biases = ""
    if parameters[2] is not None:
        rows = [np.concatenate([_ordered(parameters[4 * d + i], gates) for i in (2, 3)]) for d in range(ways)]
        biases = g.constant(np.stack(rows))
    return g.add(
        kind,
        [x, *stacks, biases, "", *states],
        1 + max(len(states), 1),
        hidden_size=parameters[1].shape[1],
        direction=direction,
        **more,
    )


def _stack(g: Graph, op: Operation, kind: str, states: int, gates: Any, steps: Any, **more: Any) -> list[str]:
    """All layers: y like x, then the last states, as the kernel gives them."""
    if any(each.index is not None for each in steps):
        raise TypeError("export: sequences of several lengths are not exported; call the model without lengths")
    parameters = op.arrays[1 + states :]
    if any(name and name not in g.constants for name in op.names[1 + states :]):
        raise TypeError("export: the weights of a recurrent layer depend on the input")
    ways, loops, hidden = len(steps), len(parameters) // 4, parameters[1].shape[1]
    batch_first = _is_batch_first(op.x.shape, steps[0])
    length, batch = (op.x.shape[1], op.x.shape[0]) if batch_first else op.x.shape[:2]
    y = g.transpose(op.names[0], (1, 0, 2)) if batch_first else op.names[0]
    shaped = loops == 1
    given = [g.reshape(name, (1, batch, hidden)) if name and shaped else name for name in op.names[1 : 1 + states]]
    last: list[list[str]] = [[] for _ in range(states)]
    for layer in range(loops // ways):
        first = layer * ways
        before = [g.slice(name, 0, first, first + ways) if name and not shaped else name for name in given]
        y, *ends = _layer(
            g, kind, y, before, parameters[4 * first : 4 * (first + ways)], gates, steps[0].reverse, **more
        )
        for found, end in zip(last, ends, strict=True):
            found.append(end)
        # (T, D, B, Hd): the directions side by side
        y = g.reshape(g.transpose(y, (0, 2, 1, 3)), (length, batch, ways * hidden))
    y = g.transpose(y, (1, 0, 2)) if batch_first else y
    joined = [found[0] if len(found) == 1 else g.add("Concat", found, axis=0) for found in last]
    return [y, *(g.reshape(end, (batch, hidden)) if shaped else end for end in joined)]


def _is_batch_first(shape: tuple[int, ...], steps: Any) -> bool:
    """The rows of a step are T apart with batch_first, and neighbours without."""
    return steps.stride == shape[1] and (len(steps.offsets) == 1 or int(steps.offsets[1]) == 1) and shape[1] > 1


def lstm(g: Graph, op: Operation, *, steps: Any) -> list[str]:
    return _stack(g, op, "LSTM", 2, _LSTM, steps)


def gru(g: Graph, op: Operation, *, steps: Any) -> list[str]:
    return _stack(g, op, "GRU", 1, _GRU, steps, linear_before_reset=1)


def rnn(g: Graph, op: Operation, *, steps: Any, nonlinearity: str) -> list[str]:
    kind = {"tanh": "Tanh", "relu": "Relu"}[nonlinearity]
    return _stack(g, op, "RNN", 1, _RNN, steps, activations=[kind] * len(steps))


def _cell(kind: str, states: int, gates: Any, **more: Any) -> Callable[..., Any]:
    """A cell is a layer that takes one step."""

    def converter(g: Graph, op: Operation, **options: Any) -> Any:
        attributes = dict(more)
        if "nonlinearity" in options:
            attributes["activations"] = [{"tanh": "Tanh", "relu": "Relu"}[options["nonlinearity"]]]
        x = g.add("Unsqueeze", [op.names[0], g.numbers(0)])
        before = [g.add("Unsqueeze", [name, g.numbers(0)]) for name in op.names[1 : 1 + states]]
        _, *ends = _layer(g, kind, x, before, op.arrays[1 + states :], gates, **attributes)
        made = [g.add("Squeeze", [end, g.numbers(0)]) for end in ends]
        return made if states > 1 else made[0]

    return converter


# Attention


def attention(
    g: Graph, op: Operation, *, heads_last: bool, causal: bool, scale: float, dropout: float, seed: int
) -> str:
    """The operator of that name: q, k, v (B, H, T, D), an additive mask."""
    *rows, mask = op.names
    return _attended(g, rows, mask, heads_last, causal, scale, dropout)


def _attended(
    g: Graph, rows: list[str], mask: str, heads_last: bool, causal: bool, scale: float, dropout: float
) -> str:
    if dropout:
        raise TypeError("export: attention drops at random in evaluation; dropout_p must be 0 there")
    q, k, v = (g.transpose(x, (0, 2, 1, 3)) for x in rows) if heads_last else rows
    y = g.add("Attention", [q, k, v, *([mask] if mask else [])], is_causal=int(causal), scale=float(scale))
    return g.transpose(y, (0, 2, 1, 3)) if heads_last else y


def self_attention(g: Graph, op: Operation, *, causal: bool, scale: float, dropout: float, seed: int) -> str:
    """qkv (B, T, 3, H, D) in three."""
    qkv, mask = op.names
    rows = [g.add("Squeeze", [g.slice(qkv, 2, i, i + 1), g.numbers(2)]) for i in range(3)]
    return _attended(g, rows, mask, True, causal, scale, dropout)


CONVERTERS: dict[str, Callable[..., Any]] = {
    "lstm": lstm,
    "gru": gru,
    "rnn": rnn,
    "lstm_cell": _cell("LSTM", 2, _LSTM),
    "gru_cell": _cell("GRU", 1, _GRU, linear_before_reset=1),
    "rnn_cell": _cell("RNN", 1, _RNN),
    "attention": attention,
    "self_attention": self_attention,
}
