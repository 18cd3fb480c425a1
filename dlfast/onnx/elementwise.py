"""Activations as nodes of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .graph import Graph

if TYPE_CHECKING:
    from .kernels import Operation

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def activated(g: Graph, x: str, activation: str | None) -> str:
    """x behind one of the activations that layers fuse."""
    return x if activation is None else g.add({"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[activation], [x])


def _plain(name: str, **attributes: Any) -> Callable[..., str]:
    """An operator whose attributes are the kernel's options of other names: attribute -> option."""

    def node(g: Graph, op: Operation, **options: Any) -> str:
        given: dict[str, Any] = {key: float(options[option]) for key, option in attributes.items()}
        return g.add(name, op.names, **given)

    return node


def gelu(g: Graph, op: Operation, *, approximate: str) -> str:
    return g.add("Gelu", op.names, approximate="tanh" if approximate == "tanh" else "none")


def silu(g: Graph, op: Operation) -> str:
    return g.add("Mul", [*op.names, g.add("Sigmoid", op.names)])


def softplus(g: Graph, op: Operation, *, beta: float, threshold: float) -> str:
    """log(1 + exp(beta x)) / beta; ONNX's own takes beta 1. Above the threshold both are x to rounding."""
    (x,) = op.names
    if beta == 1:
        return g.add("Softplus", [x])
    scale = g.scalar(beta, op.x.dtype)
    return g.add("Div", [g.add("Softplus", [g.add("Mul", [x, scale])]), scale])


def hardtanh(g: Graph, op: Operation, *, min_val: float, max_val: float) -> str:
    return g.add("Clip", [*op.names, g.scalar(min_val, op.x.dtype), g.scalar(max_val, op.x.dtype)])


def hardsigmoid(g: Graph, op: Operation) -> str:
    return g.add("HardSigmoid", op.names, alpha=1 / 6, beta=0.5)


def selu(g: Graph, op: Operation) -> str:
    return g.add("Selu", op.names, alpha=SELU_ALPHA, gamma=SELU_SCALE)


def logsigmoid(g: Graph, op: Operation) -> str:
    return g.add("Neg", [g.add("Softplus", [g.add("Neg", op.names)])])


def threshold(g: Graph, op: Operation, *, threshold: float, value: float) -> str:
    (x,) = op.names
    below = g.add("LessOrEqual", [x, g.scalar(threshold, op.x.dtype)])
    return g.add("Where", [below, g.scalar(value, op.x.dtype), x])


def hardshrink(g: Graph, op: Operation, *, lambd: float) -> str:
    return g.add("Shrink", op.names, lambd=float(lambd), bias=0.0)


def softshrink(g: Graph, op: Operation, *, lambd: float) -> str:
    return g.add("Shrink", op.names, lambd=float(lambd), bias=float(lambd))


def prelu(g: Graph, op: Operation) -> str:
    """ONNX's slopes broadcast like the kernel's: one, or one for each channel of the last axis."""
    return g.add("PRelu", op.names)


def glu(g: Graph, op: Operation, *, axis: int) -> str:
    (x,), half = op.names, op.x.shape[axis] // 2
    a, b = g.slice(x, axis, 0, half), g.slice(x, axis, half, 2 * half)
    return g.add("Mul", [a, g.add("Sigmoid", [b])])


def dropout(g: Graph, op: Operation, **_: Any) -> str:
    raise TypeError("export: the model drops at random in evaluation; nn.Dropout does not")


ACTIVATIONS: dict[str, Callable[..., str]] = {
    "relu": _plain("Relu"),
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("Tanh"),
    "leaky_relu": _plain("LeakyRelu", alpha="negative_slope"),
    "elu": _plain("Elu", alpha="alpha"),
    "celu": _plain("Celu", alpha="alpha"),
    "hardswish": _plain("HardSwish"),
    "mish": _plain("Mish"),
    "softsign": _plain("Softsign"),
    "gelu": gelu,
    "silu": silu,
    "softplus": softplus,
    "hardtanh": hardtanh,
    "hardsigmoid": hardsigmoid,
    "selu": selu,
    "logsigmoid": logsigmoid,
    "threshold": threshold,
    "hardshrink": hardshrink,
    "softshrink": softshrink,
    "prelu": prelu,
    "glu": glu,
    "dropout": dropout,
}
