"""Adagrad."""

from __future__ import annotations

from typing import Any

from .. import kernels
from .arena import Stretch
from .optimizer import Optimizer


class Adagrad(Optimizer):
    """Divide each gradient by the root of the sum of all its squares::

        g <- g + weight_decay * w
        s <- s + g^2                                   (s = initial_accumulator_value at first)
        w <- w - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)

    Numbers that rarely have a gradient take long steps; all steps grow shorter with time.
    lr, lr_decay, weight_decay, initial_accumulator_value >= 0, eps > 0 (without it a gradient of zero gives 0/0);
    ValueError otherwise. Source: Duchi et al., "Adaptive subgradient methods for online learning and stochastic
    optimization", 2011, figure 1.
    """

    _state_names = ("sum",)

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay=0.0,
        weight_decay=0.0,
        initial_accumulator_value=0.0,
        eps=1e-10,
        *,
        clip_grad_norm=None,
        **others,
    ):
        options = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        options["initial_accumulator_value"] = initial_accumulator_value
        super().__init__(params, options, clip_grad_norm, **others)

    def _check_options(self, group: dict) -> None:
        for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value"):
            self._check_range(group, name)
        self._check_range(group, "eps", low_open=True)

    def _update(self, group: dict, stretch: Stretch, grad_scale: Any) -> None:
        square_sum = stretch.state("sum")
        if stretch.steps == 0:
            square_sum.fill(group["initial_accumulator_value"])  # of the padding too, whose gradient is 0
        kernels.active_step("adagrad", stretch.data)(
            stretch.data,
            stretch.grad,
            square_sum,
            lr=float(group["lr"]) / (1 + (stretch.count_step() - 1) * group["lr_decay"]),
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            grad_scale=grad_scale,
        )
