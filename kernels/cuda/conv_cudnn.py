"""Convolution by cuDNN. Where it has no plan our own kernels compute, unless it was asked for by name."""

from __future__ import annotations

from typing import Any

from .cudnn_problem import convolution
from .gemm import finished
from .loops import destination
from .tf32 import tf32_is_allowed


def forward(x: Any, weight: Any, bias: Any, plan: Any) -> Any:
    """y = act(conv(x) + bias), bias and ReLU in cuDNN's pass where it can; None where it cannot convolve."""
    y = x.device.empty(plan.output, x.dtype)
    added = [] if bias is None else [bias]
    fused = plan.activation in (None, "relu") and bool(added or plan.activation)
    if fused and _run(x, [x, weight, *added, y], "forward", plan, bool(added), plan.activation == "relu"):
        return y
    return finished(y, bias, plan.activation) if _run(x, [x, weight, y], "forward", plan) else _without(plan)


def image_gradient(dz: Any, weight: Any, plan: Any) -> Any:
    """dx (N, H, W, C), or None."""
    dx = dz.device.empty(plan.image, dz.dtype)
    return dx if _run(dz, [dz, weight, dx], "dx", plan) else _without(plan)


def weight_gradient(x: Any, dz: Any, plan: Any, need: Any = True) -> Any:
    """dweight (K, R, S, C/groups), or None. need: where it goes, see `destination`."""
    dweight = destination(need, plan.kernel, x.device, x.dtype)
    return dweight if _run(x, [x, dz, dweight], "dweight", plan) else _without(plan)


def _run(x: Any, arrays: list, passing: str, plan: Any, bias: bool = False, relu: bool = False) -> bool:
    problem = convolution(passing, plan, x.dtype, tf32_is_allowed(), bias, relu)
    return x.device.cudnn.run(problem, arrays)


def _without(plan: Any) -> None:
    """What to do where cuDNN has no plan: raise RuntimeError where it was asked for."""
    if plan.method == "cudnn":
        raise RuntimeError(
            f"conv2d: cuDNN has no plan for x {plan.image}, weight {plan.kernel}, {plan.geometry}; let method='auto' "
            "choose"
        )
