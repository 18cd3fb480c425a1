"""What the rows that a Linear reads were before, told by a run of the model: the tape leads back to their origin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import nn
from .._modes import enable_grad
from .._operators import _reshape_backward as RESHAPE
from ..nn import Module
from ..tensor import Parameter, Tensor
from .layout import OF_IMAGES, OF_ROWS, Findings

_NODE: Any = type(Tensor(np.zeros(1), requires_grad=True).reshape(1)._node)
_IMAGE = ("conv", "pool", "interpolate")  # in the names of operations whose results are images or sequences
_JOINED = ("pick", "concatenate", "stack", "getitem", "permute", "swap", "_sum", "_mean", "_extreme")
_ROWS = ("linear", "matmul", "embedding", "cell", *_JOINED)
_KEEPING = (nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm)  # an image stays one, and a row a row


def trace(model: Module, input_shape: tuple[int, ...]) -> Findings:
    """Run the model, in evaluation, on two inputs of this shape. Raises ValueError where it does not run."""
    integers = any(isinstance(module, nn.Embedding) for module in model.modules())
    like = next((p.data for p in model.parameters()), np.zeros(0, np.float32))
    zeros = np.zeros_like(like, np.int64 if integers else None, shape=(2, *input_shape))
    x = Tensor(zeros, requires_grad=not integers)
    watch = _Watch(model)
    with watch.running(), enable_grad():
        try:
            model(x)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the model does not run on an input of shape {x.shape}: {error}") from error
    return watch.findings


class _Watch:
    """Notes what enters and leaves the modules that matter."""

    def __init__(self, model: Module) -> None:
        self.model, self.findings = model, Findings()
        self.modules = list(model.modules())
        self.owner = {id(p): m for m in self.modules for p in vars(m).values() if isinstance(p, Parameter)}
        self.left: dict[int, tuple[Any, Module, Tensor]] = {}  # node -> itself, the module that it left, what entered

    @contextmanager
    def running(self) -> Iterator[None]:
        """Evaluation, with all parameters on the tape. A forward of its own keeps a module from running with others."""
        modes = [module.training for module in self.modules]
        frozen = [parameter for parameter in self.model.parameters() if not parameter.requires_grad]
        kinds = (*OF_ROWS, *OF_IMAGES, nn.Embedding)
        watched = [m for m in self.modules if isinstance(m, kinds) and "forward" not in vars(m)]
        self.model.eval().requires_grad_()
        for module in watched:
            module.forward = self._noting(module)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for module in watched:
                del module.forward
            for parameter in frozen:
                parameter.requires_grad = False
            for part, mode in zip(self.modules, modes):
                part.training = mode

    def _noting(self, module: Module) -> Any:
        forward = module.forward

        def noting(x: Any, *args: Any, **kwargs: Any) -> Any:
            y = forward(x, *args, **kwargs)
            if isinstance(x, Tensor) and isinstance(y, Tensor) and y._node is not None:
                if isinstance(module, OF_ROWS):
                    self._note_rows(module, x)
                elif isinstance(module, OF_IMAGES):
                    self._note_image(x)
                self.left[id(y._node)] = y._node, module, x
            return y

        return noting

    def _note_rows(self, module: Module, x: Tensor) -> None:
        """Whether the module reads an image as a row, or normalises whole images."""
        axes = len(getattr(module, "normalized_shape", (1,)))
        if axes > 1:
            if x.ndim == 1 + axes and self._is_image(x._node, x.ndim):
                self.findings.of_images.add(id(module))
            return
        node, shape = self._reshape_before(x)
        if node is not None and len(shape) == 2:
            before = node.saved[0]
            if len(before) > 2 and before[0] == shape[0] and self._is_image(node.edges[0], len(before)):
                self.findings.reads[id(module)] = before[-1]

    def _note_image(self, x: Tensor) -> None:
        """Whether the image that a module reads was made as a row; and by which modules."""
        node, shape = self._reshape_before(x)
        if node is None or len(shape) < 3 or len(node.saved[0]) != 2:
            return
        maker = node.edges[0]
        while isinstance(maker, _NODE):
            owners = [self.owner[id(edge)] for edge in maker.edges[1:] if id(edge) in self.owner]
            for owner in owners[:1]:
                self.findings.makes[id(owner)] = shape[-1]
            if any(isinstance(owner, nn.Linear) for owner in owners):
                return
            maker = _first_edge(maker)

    def _reshape_before(self, x: Tensor) -> tuple[Any, tuple[int, ...]]:
        """The last change of shape before x, through what keeps the shape, and the shape that it gave; or None."""
        node, shape = x._node, x.shape
        while isinstance(node, _NODE):
            if id(node) in self.left:
                _, module, entered = self.left[id(node)]
                if not isinstance(module, _KEEPING):
                    break
                node, shape = entered._node, entered.shape
            elif node.backward is RESHAPE:
                return node, shape
            elif any(part in _name(node) for part in (*_IMAGE, *_ROWS)):
                break
            else:
                node = _first_edge(node)
        return None, shape

    def _is_image(self, node: Any, axes: int) -> bool:
        """Whether what an operation gave, of so many axes, is an image or sequence whose channels PyTorch has first."""
        while isinstance(node, _NODE):
            if id(node) in self.left:
                _, module, entered = self.left[id(node)]
                if not isinstance(module, _KEEPING):
                    return isinstance(module, OF_IMAGES)
                node, axes = entered._node if entered._node is not None else entered, entered.ndim
            elif _makes_image(node):
                return True
            elif any(part in _name(node) for part in _ROWS):
                return False
            else:
                node = _first_edge(node)
        return (node.ndim if isinstance(node, Tensor) else axes) > 3  # the input


def _name(node: Any) -> str:
    return getattr(node.backward, "__name__", "")


def _makes_image(node: Any) -> bool:
    """Whether it is an operation on images, or makes a row into one."""
    row = node.backward is RESHAPE and len(node.saved[0]) == 2
    return row or any(part in _name(node) for part in _IMAGE)


def _first_edge(node: Any) -> Any:
    return next((edge for edge in node.edges if edge is not None), None)
