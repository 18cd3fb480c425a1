"""Sizes that the input decides: told by recording the model on inputs of several sizes and comparing the graphs.

The graphs differ in nothing but numbers of `Graph.lengths`: shapes, ends of slices, widths of padding. Each number that
differs is a function of the sizes, and becomes nodes that compute it: c s, c s + b, or a product of several sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .graph import Graph, Node


class Size(NamedTuple):
    """A size of the input that may differ: name, input and axis, its value in the first recording and in another."""

    name: str
    input: str
    axis: int
    base: int
    other: int


class Terms(NamedTuple):
    """factor x (the product of some sizes) + offset: which sizes, by number."""

    factor: int
    sizes: tuple[int, ...]
    offset: int


def merge(first: Graph, others: Sequence[Graph], sizes: Sequence[Size]) -> Graph:
    """The first graph, its numbers computed from the sizes; others[i] was recorded with size i different.

    Raises ValueError where the graphs differ in more than that.
    """
    for size, other in zip(sizes, others, strict=True):
        _check_alike(first, other, size)
    known: dict[Terms, str] = {}
    leading: list[Node] = []
    for name in sorted(first.lengths, key=lambda name: int(name.rpartition("_")[2])):
        values = [graph.constants[name] for graph in (first, *others)]
        if all(np.array_equal(values[0], value) for value in values[1:]):
            continue
        entries = [_entry([int(value[i]) for value in values], sizes) for i in range(len(values[0]))]
        _replace(first, name, entries, sizes, known, leading)
    first.nodes[:0] = leading
    for name, (dtype, shape) in first.outputs.items():
        others_shapes = [graph.outputs[name][1] for graph in others]
        axes = [_axis(n, [other[i] for other in others_shapes], sizes) for i, n in enumerate(shape)]
        first.outputs[name] = dtype, tuple(axes)
    return first


def _axis(n: int, others: list[int], sizes: Sequence[Size]) -> int | str | None:
    """A result's size as the file states it: a number, the name of one of the input's, None for others."""
    moving = [i for i, other in enumerate(others) if other != n]
    if not moving:
        return n
    size = sizes[moving[0]]
    return size.name if len(moving) == 1 and (n, others[moving[0]]) == (size.base, size.other) else None


def _check_alike(a: Graph, b: Graph, size: Size) -> None:
    same = len(a.nodes) == len(b.nodes) and all(
        (x.op, x.inputs, x.outputs) == (y.op, y.inputs, y.outputs) and _equal(x.attributes, y.attributes)
        for x, y in zip(a.nodes, b.nodes)
    )
    changed = [
        name
        for name, array in a.constants.items()
        if name not in a.lengths and not (array is b.constants.get(name) or _equal(array, b.constants.get(name)))
    ]
    if not same or a.constants.keys() != b.constants.keys() or changed:
        raise ValueError(
            f"export: what the model computes depends on the {size.name} in more than shapes (a table or mask made in "
            "its forward); give input_shape that size as a number"
        )


def _equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    return a == b


def _entry(values: list[int], sizes: Sequence[Size]) -> int | Terms:
    """The number that is values[0] at first and values[1 + i] where size i is the other one."""
    base, rest = values[0], values[1:]
    moving = [i for i, value in enumerate(rest) if value != base]
    if not moving:
        return base
    product = math.prod(sizes[i].base for i in moving)
    if base % product == 0 and all(rest[i] * sizes[i].base == base * sizes[i].other for i in moving):
        return Terms(base // product, tuple(moving), 0)
    if len(moving) == 1:
        (i,) = moving
        slope, left = divmod(rest[i] - base, sizes[i].other - sizes[i].base)
        if left == 0:
            return Terms(slope, (i,), base - slope * sizes[i].base)
    names = " and ".join(sizes[i].name for i in moving)
    raise ValueError(f"export: a shape in the model is no product of the {names}; give input_shape numbers")


def _replace(
    g: Graph, name: str, entries: list[int | Terms], sizes: Sequence[Size], known: dict[Terms, str], leading: list[Node]
) -> None:
    """The constant of that name as what is computed; the shape of a Reshape with one unknown needs no more than -1."""
    moving = [i for i, entry in enumerate(entries) if isinstance(entry, Terms)]
    readers = [node for node in g.nodes if name in node.inputs]
    reshapes = all(node.op == "Reshape" for node in readers)
    if reshapes and len(moving) == 1 and 0 not in entries:
        g.constants[name] = np.array([-1 if isinstance(e, Terms) else e for e in entries], np.int64)
        return
    del g.constants[name]
    parts = []
    for entry in entries:
        if isinstance(entry, Terms):
            parts.append(_computed(g, entry, sizes, known, leading))
        else:
            parts.append(g.constant(np.array([entry], np.int64)))
    leading.append(Node("Concat", parts, [name], {"axis": 0}))


def _computed(g: Graph, terms: Terms, sizes: Sequence[Size], known: dict[Terms, str], leading: list[Node]) -> str:
    """The name of a vector of one number."""
    if terms in known:
        return known[terms]

    def node(op: str, *inputs: str, **attributes: int) -> str:
        leading.append(Node(op, inputs, [g.fresh("size")], attributes))
        return leading[-1].outputs[0]

    found = ""
    for i in terms.sizes:
        one = Terms(1, (i,), 0)
        if one not in known:
            known[one] = node("Shape", sizes[i].input, start=sizes[i].axis, end=sizes[i].axis + 1)
        found = node("Mul", found, known[one]) if found else known[one]
    if terms.factor != 1:
        found = node("Mul", found, g.constant(np.array([terms.factor], np.int64)))
    if terms.offset:
        found = node("Add", found, g.constant(np.array([terms.offset], np.int64)))
    known[terms] = found
    return found
