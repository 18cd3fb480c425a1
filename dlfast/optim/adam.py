"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

from .. import kernels
from .arena import Stretch
from .optimizer import Optimizer


class Adam(Optimizer):
    """Momentum and RMSprop in one, corrected for their start at zero::

        g <- g + weight_decay * w
        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g^2
        w <- w - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    t counts the steps of each parameter for itself: one that was skipped for want of a gradient is corrected by its
    own count. lr >= 0, both betas in [0, 1), eps > 0 (without it a gradient of zero gives 0/0), weight_decay >= 0;
    ValueError otherwise. Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.
    """

    _state_names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, *, clip_grad_norm=None, **others
    ):
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options, clip_grad_norm, **others)

    def _check_options(self, group: dict) -> None:
        for name in ("lr", "weight_decay"):
            self._check_range(group, name)
        self._check_range(group, "eps", low_open=True)
        self._check_betas(group)

    def _update(self, group: dict, stretch: Stretch, grad_scale: Any) -> None:
        self._step("adam", group, stretch, grad_scale, self._decoupled, step=stretch.count_step())

    @staticmethod
    def _step(name: str, group: dict, stretch: Stretch, grad_scale: Any, decoupled: bool, **options) -> None:
        """The update that the optimizers with Adam's two averages have in common."""
        beta1, beta2 = group["betas"]
        kernels.active_step(name, stretch.data)(
            stretch.data,
            stretch.grad,
            stretch.state("exp_avg"),
            stretch.state("exp_avg_sq"),
            lr=float(group["lr"]),
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            grad_scale=grad_scale,
            decoupled=decoupled,
            **options,
        )


class AdamW(Adam):
    """Adam whose weight decay goes past the running averages::

        w <- w * (1 - lr * weight_decay)               then Adam's update with the gradient as it came

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2.
    """

    _decoupled = True

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, *, clip_grad_norm=None, **others
    ):
        super().__init__(params, lr, betas, eps, weight_decay, clip_grad_norm=clip_grad_norm, **others)
