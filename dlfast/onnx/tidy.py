"""A recorded graph made shorter: turned images meet and cancel, what nobody reads goes.

Layers are channels last and ONNX's operators channels first, so that every one of them stands between two Transposes.
A Transpose sinks below what computes element by element, and below what names its axes; two that meet become one, or
none. What is left of a convolutional network is one at each end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .graph import Graph, Node

_ELEMENTWISE = {
    *("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Celu", "Selu", "Gelu", "HardSwish", "HardSigmoid", "Mish"),
    *("Softplus", "Softsign", "Clip", "Shrink", "Neg", "Abs", "Exp", "Log", "Sqrt", "Sign", "Identity", "Cast"),
    *("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Where", "PRelu", "Not", "LessOrEqual", "Less", "Greater"),
}


def tidy(g: Graph) -> Graph:
    """The graph with what can be left out left out; it computes the same."""
    _fold_slices(g)
    while _sink(g) or _cancel(g):
        _drop_unread(g)
    _drop_unread(g)
    return g


def _makers(g: Graph) -> dict[str, Node]:
    return {name: node for node in g.nodes for name in node.outputs}


def _drop_unread(g: Graph) -> None:
    """Without nodes whose results nobody reads, from the last to the first, and without constants likewise."""
    wanted, kept = set(g.outputs), []
    for node in reversed(g.nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    g.nodes[:] = kept[::-1]
    g.constants = {name: array for name, array in g.constants.items() if name in wanted}


def _fold_slices(g: Graph) -> None:
    """Parts of constants, where they depend on no size after all."""
    kept = []
    for node in g.nodes:
        if node.op != "Slice" or any(name not in g.constants for name in node.inputs):
            kept.append(node)
            continue
        array, starts, stops, axes, *steps = (g.constants[name] for name in node.inputs)
        index = [slice(None)] * array.ndim
        for i, axis in enumerate(axes):
            step = int(steps[0][i]) if steps else 1
            stop = None if step < 0 and stops[i] < -array.shape[axis] else int(stops[i])
            index[axis] = slice(int(starts[i]), stop, step)
        g.constants[node.outputs[0]] = array[tuple(index)]
    g.nodes[:] = kept


def _cancel(g: Graph) -> bool:
    """Two Transposes one behind the other become one; one that changes nothing goes. Whether anything did."""
    makers, changed = _makers(g), False
    renamed: dict[str, str] = {}
    for node in g.nodes:
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        before = makers.get(node.inputs[0]) if node.op == "Transpose" else None
        if before is not None and before.op == "Transpose":
            order = [before.attributes["perm"][axis] for axis in node.attributes["perm"]]
            node.inputs, node.attributes = list(before.inputs), {"perm": order}
            changed = True
        if node.op == "Transpose" and node.attributes["perm"] == sorted(node.attributes["perm"]):
            renamed[node.outputs[0]] = node.inputs[0]
            changed = True
    g.nodes[:] = [node for node in g.nodes if node.outputs[0] not in renamed]
    return changed


def _sink(g: Graph) -> bool:
    """Each Transpose that can, below the node that reads it. Whether any did."""
    makers, changed = _makers(g), False
    nodes: list[Node] = []
    for node in g.nodes:
        turned = [makers[name] for name in node.inputs if name in makers and makers[name].op == "Transpose"]
        order = turned[0].attributes["perm"] if turned else None
        moved = None if order is None else _below(g, node, order, makers)
        if moved is None or order is None:
            nodes.append(node)
            continue
        result, inner = node.outputs[0], g.fresh(node.op.lower())
        nodes.append(Node(node.op, moved[0], [inner], moved[1]))
        nodes.append(Node("Transpose", [inner], [result], {"perm": list(order)}))
        makers[inner], makers[result] = nodes[-2], nodes[-1]
        changed = True
    g.nodes[:] = nodes
    return changed


Moved = tuple[list[str], dict]


def _below(g: Graph, node: Node, order: Sequence[int], makers: dict[str, Node]) -> Moved | None:
    """The node's inputs and attributes in front of the Transpose; None where it must stay behind it."""
    if node.op in _ELEMENTWISE:
        inputs = [_unturned(g, name, order, makers) for name in node.inputs]
        return None if None in inputs else ([name for name in inputs if name is not None], dict(node.attributes))
    if node.op == "Concat":
        inputs = [_unturned(g, name, order, makers, False) for name in node.inputs]
        if None not in inputs:
            attributes = {"axis": order[node.attributes["axis"]]}
            return [name for name in inputs if name is not None], attributes
        return None
    rule = _RULES.get(node.op)
    return None if rule is None else rule(g, node, order, makers)


def _unturned(g: Graph, name: str, order: Sequence[int], makers: dict[str, Node], broadcast: bool = True) -> str | None:
    """An operand before it is turned: what the Transpose reads, or a constant turned back; None where there is none."""
    maker = makers.get(name)
    if maker is not None and maker.op == "Transpose" and list(maker.attributes["perm"]) == list(order):
        return maker.inputs[0]
    if name == "":
        return name
    array = g.constants.get(name)
    if array is None or name in g.lengths:
        return None
    if array.ndim == 0 or (broadcast and array.size == 1 and array.ndim <= 1):
        return name
    if array.ndim > len(order) or (not broadcast and array.ndim != len(order)):
        return None
    full = array.reshape((1,) * (len(order) - array.ndim) + array.shape)
    return g.constant(np.ascontiguousarray(full.transpose(np.argsort(order))))


def _slice(g: Graph, node: Node, order: Sequence[int], makers: dict[str, Node]) -> Moved | None:
    """Slice names its axes."""
    axes = g.constants.get(node.inputs[3]) if len(node.inputs) > 3 else None
    source = _unturned(g, node.inputs[0], order, makers, False)
    if axes is None or source is None:
        return None
    return [source, *node.inputs[1:3], g.numbers(*(order[int(axis)] for axis in axes)), *node.inputs[4:]], {}


def _pad(g: Graph, node: Node, order: Sequence[int], makers: dict[str, Node]) -> Moved | None:
    """Pad has a number for each axis at its start, then for each at its end."""
    sides = g.constants.get(node.inputs[1])
    source = _unturned(g, node.inputs[0], order, makers, False)
    if sides is None or source is None or len(node.inputs) > 3:
        return None
    back, count = np.argsort(order), len(order)
    turned = [int(sides[axis]) for axis in back] + [int(sides[count + axis]) for axis in back]
    return [source, g.numbers(*turned), *node.inputs[2:]], dict(node.attributes)


_RULES: dict[str, Callable[..., Moved | None]] = {"Slice": _slice, "Pad": _pad}
