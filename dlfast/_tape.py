"""The tape: recorded operations, the switch that stops recording, and the backward pass over them."""

from __future__ import annotations

import functools
import itertools
import operator
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .kernels import Into
from .kernels.memory import empty

_next_order = itertools.count().__next__
_by_order = operator.attrgetter("order")


silent_threads: dict[int, int] = {}  # thread -> how many no_grad() it is inside; empty while every thread records


class no_grad:
    """Stop recording in this thread, as a context manager or a decorator: `with no_grad(): ...`, `@no_grad()`."""

    def __enter__(self) -> None:
        thread = threading.get_ident()
        silent_threads[thread] = silent_threads.get(thread, 0) + 1

    def __exit__(self, *exception: object) -> None:
        thread = threading.get_ident()
        silent_threads[thread] -= 1
        if not silent_threads[thread]:
            del silent_threads[thread]

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with no_grad():
                return function(*args, **kwargs)

        return wrapped


class Node:
    """One recorded operation: `backward(dy, saved, needs)` gives one gradient (or None) for each edge.

    edges[i] is the Node that made input i, the leaf Tensor itself, or None where no gradient is wanted, so that the
    graph keeps only what backward needs, not every intermediate array. `fresh` says that the gradients alias nothing
    (the kernel contract promises it), so a leaf may keep them without a copy.
    """

    __slots__ = ("order", "backward", "saved", "edges", "needs", "fresh", "grad")

    def __init__(self, backward: Callable, saved: tuple, edges: Sequence, needs: tuple[bool, ...], fresh: bool) -> None:
        self.order = _next_order()
        self.backward: Any = backward  # None, as `saved`, when freed
        self.saved: Any = saved
        self.edges = edges
        self.needs = needs
        self.fresh = fresh
        self.grad: Any = None


def split_outputs(node: Node, outputs: tuple[np.ndarray, ...]) -> list[Node]:
    """One node for each output of an operation with several; they hand their gradients to `node`, which comes after."""
    blank = [(y.shape, y.dtype) for y in outputs]
    node.backward, node.saved = _joint_backward, (node.backward, node.saved, blank)
    return [Node(_pick_backward, (node, i), (node,), (True,), False) for i in range(len(outputs))]


def _pick_backward(dy: np.ndarray, saved: tuple, needs: tuple[bool, ...]) -> tuple[None]:
    node, i = saved
    if node.grad is None:
        node.grad = [None] * len(node.saved[2])
    node.grad[i] = dy
    return (None,)


def _joint_backward(dys: list, saved: tuple, needs: tuple[bool, ...]) -> tuple:
    backward, inner, blank = saved
    full = [np.zeros(*like) if dy is None else dy for dy, like in zip(dys, blank)]
    return backward(tuple(full), inner, needs)


def run_backward(root: Node, gradient: np.ndarray) -> None:
    """Send `gradient` from `root` to every leaf, newest operation first, and free what the graph had saved.

    Gradients of nodes are added out of place, because two edges may share one array (addition hands on its dy twice).
    """
    nodes = _reachable(root)
    root.grad = gradient
    try:
        for node in nodes:
            dy = node.grad
            backward, saved, edges, fresh = node.backward, node.saved, node.edges, node.fresh
            node.grad = node.backward = node.saved = None
            node.edges = ()
            if dy is None:
                continue
            if isinstance(dy, np.generic):  # NumPy turns 0-d results into scalars; kernels take arrays
                dy = np.asarray(dy)
            needs = _with_destinations(node.needs, edges) if fresh else node.needs
            for edge, grad in zip(edges, backward(dy, saved, needs)):
                if grad is None or edge is None:
                    continue
                if type(edge) is not Node:
                    edge._accumulate(grad, fresh)
                elif edge.grad is None:
                    edge.grad = grad
                else:
                    edge.grad = added(edge.grad, grad)
    except BaseException:
        for node in nodes:
            node.grad = node.backward = node.saved = None
        raise


def added(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b, of one shape and dtype, in memory of the pool."""
    return np.add(a, b, out=empty(b.shape, b.dtype))


def _with_destinations(needs: tuple, edges: Sequence) -> Sequence:
    """`needs`, with the place in the optimizer's arena where a parameter's first gradient may be written at once."""
    places: list | None = None
    for i, edge in enumerate(edges):
        if edge is None or type(edge) is Node or edge._grad_view is None or edge._has_grad:
            continue
        if places is None:
            places = list(needs)
        elif any(edge is other for other in edges[:i]):  # the second gradient is added to the first
            continue
        places[i] = Into(edge._grad_view)
    return needs if places is None else places


def _reachable(root: Node) -> list[Node]:
    """Every node that `root` depends on, newest first; raises before anything changes if one was freed."""
    nodes, seen = [root], {root}
    for node in nodes:  # grows while it is walked: no recursion, however long the chain
        if node.backward is None:
            raise RuntimeError(
                "backward: this graph (or a part of it that another backward used) is already freed; "
                "run the forward pass again, or add the losses and call backward once"
            )
        for edge in node.edges:
            if type(edge) is Node and edge not in seen:
                seen.add(edge)
                nodes.append(edge)
    nodes.sort(key=_by_order, reverse=True)
    return nodes
