"""A graph of ONNX operators while it is written: nodes in order, constants by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

OPSET = 23  # of what is written: the first with Attention, RMSNormalization and RotaryEmbedding
ALL = np.iinfo(np.int64).max  # the end of a slice that goes to the end of its axis


class Node:
    """One operator: its name in ONNX, the names of what it reads ("" for what is left out) and makes, attributes."""

    __slots__ = ("attributes", "inputs", "op", "outputs")

    def __init__(self, op: str, inputs: Sequence[str], outputs: Sequence[str], attributes: dict[str, Any]) -> None:
        self.op, self.inputs, self.outputs = op, list(inputs), list(outputs)
        self.attributes = {name: value for name, value in attributes.items() if value is not None}

    def __repr__(self) -> str:
        return f"{', '.join(self.outputs)} = {self.op}({', '.join(self.inputs)}) {self.attributes}"


class Graph:
    """Nodes in an order in which they can run.

    constants: arrays by name. lengths: the names of those that hold sizes of arrays, which may depend on the sizes of
    the input. inputs: names; outputs: names, dtypes and shapes.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.lengths: set[str] = set()
        self.inputs: list[str] = []
        self.outputs: dict[str, Any] = {}
        self._count = 0
        self._named: dict[int, tuple[Any, str]] = {}  # arrays that have a name: themselves, which keeps their id

    def fresh(self, stem: str = "v") -> str:
        self._count += 1
        return f"{stem}_{self._count}"

    def add(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        """Append a node; the name of its result, or of its results."""
        names = [self.fresh(op.lower()) for _ in range(outputs)]
        self.nodes.append(Node(op, inputs, names, attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array: Any, name: str | None = None, lengths: bool = False) -> str:
        """The name of a constant; the same array has one name."""
        known = self._named.get(id(array))
        if known is not None and name is None:
            return known[1]
        name = self.fresh("constant") if name is None else name
        self.constants[name] = np.asarray(array)
        self._named[id(array)] = array, name
        if lengths:
            self.lengths.add(name)
        return name

    def sizes(self, values: Sequence[int]) -> str:
        """A constant that holds sizes of arrays, ends of slices and the like."""
        return self.constant(np.array(values, np.int64), lengths=True)

    def numbers(self, *values: int) -> str:
        """A constant vector of integers that depend on no size."""
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: Any, dtype: Any) -> str:
        return self.constant(np.array(value, dtype))

    # What is needed everywhere

    def transpose(self, x: str, order: Sequence[int]) -> str:
        """x with its axes in this order; a constant becomes another constant."""
        order = [axis % len(order) for axis in order]
        if order == sorted(order):
            return x
        if x in self.constants:
            return self.constant(np.ascontiguousarray(self.constants[x].transpose(order)))
        return self.add("Transpose", [x], perm=order)

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        if x in self.constants:
            return self.constant(self.constants[x].reshape(shape))
        return self.add("Reshape", [x, self.sizes(shape)])

    def slice(self, x: str, axis: int, start: int, stop: int) -> str:
        return self.add("Slice", [x, self.sizes([start]), self.sizes([stop]), self.numbers(axis)])

    def channels_first(self, x: str, axes: int) -> str:
        """(N, ..., C) as (N, C, ...)."""
        return self.transpose(x, [0, axes - 1, *range(1, axes - 1)])

    def channels_last(self, x: str, axes: int) -> str:
        """(N, C, ...) as (N, ..., C)."""
        return self.transpose(x, [0, *range(2, axes), 1])
