from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .kernels import Into
from .tensor import ArrayLike

_F = TypeVar("_F", bound=Callable)

class no_grad:
    """Stop recording in this thread, as a context manager or a decorator: `with no_grad(): ...`, `@no_grad()`."""

    def __enter__(self) -> None: ...
    def __exit__(self, *exception: object) -> None: ...
    def __call__(self, function: _F) -> _F: ...

class Node:
    order: int
    backward: Any
    saved: Any
    edges: tuple
    needs: tuple[bool, ...]
    grad: Any

class Variable:
    data: Any
    grad: Any
    requires_grad: bool
    _node: Node | None
    _place: Into | None

    def _accumulate(self, gradient: np.ndarray, fresh: bool) -> None: ...

def results_are(tensor: type[Variable]) -> None: ...
def wrap(data: np.ndarray, node: Node | None) -> Any: ...
def unwrap(value: ArrayLike) -> np.ndarray: ...
def arrays_of(values: Sequence) -> list: ...
def run(op: str, inputs: Sequence, arrays: Sequence, options: dict[str, Any], method: str = "") -> Any: ...
def record(y: Any, backward: Callable, saved: Any, inputs: Sequence, fresh: bool = False) -> Any: ...
def run_backward(root: Node, gradient: np.ndarray) -> None: ...
def forget_gradients(tensors: list) -> None: ...
