"""Lion."""

from __future__ import annotations

from typing import Any

from .. import kernels
from .arena import Stretch
from .optimizer import Optimizer


class Lion(Optimizer):
    """Steps of one length for every number, by the sign of an average of the gradients::

        u = sign(beta1 * m + (1 - beta1) * g)
        w <- w - lr * (u + weight_decay * w)
        m <- beta2 * m + (1 - beta2) * g

    One state array where Adam has two. Its steps are longer than Adam's: take lr 3 to 10 times smaller, and
    weight_decay as many times larger. lr, weight_decay >= 0, both betas in [0, 1); ValueError otherwise.
    PyTorch has none. Source: Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2.
    """

    _state_names = ("exp_avg",)

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, *, clip_grad_norm=None, **others):
        options = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
        super().__init__(params, options, clip_grad_norm, **others)

    def _check_options(self, group: dict) -> None:
        for name in ("lr", "weight_decay"):
            self._check_range(group, name)
        self._check_betas(group)

    def _update(self, group: dict, stretch: Stretch, grad_scale: Any) -> None:
        beta1, beta2 = group["betas"]
        kernels.active_step("lion", stretch.data)(
            stretch.data,
            stretch.grad,
            stretch.state("exp_avg"),
            lr=float(group["lr"]),
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            grad_scale=grad_scale,
        )
        stretch.count_step()
