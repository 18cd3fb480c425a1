"""RMSprop."""

from __future__ import annotations

from typing import Any

from .. import kernels
from .arena import Stretch
from .optimizer import Optimizer


class RMSprop(Optimizer):
    """Divide each gradient by a running root mean square of itself::

        s <- alpha * s + (1 - alpha) * g^2
        w <- w - lr * g / sqrt(s + eps)                as the notes have it: eps inside the root, the default
        w <- w - lr * g / (sqrt(s) + eps)              eps_inside_sqrt=False, as PyTorch has it

    Where s is far above eps both agree. For tiny gradients they differ greatly: inside the root the divisor is at least
    sqrt(eps) = 1e-4, outside it is at least eps = 1e-8.
    With ``momentum`` the quotient goes into a velocity, v <- momentum * v + g / (...), and w <- w - lr * v.
    ``weight_decay`` adds weight_decay * w to the gradient.
    lr >= 0, 0 <= alpha < 1, eps > 0 (without it a gradient of zero gives 0/0), weight_decay >= 0, momentum >= 0;
    ValueError otherwise. Source: Tieleman and Hinton, lecture 6.5 of "Neural Networks for Machine Learning", 2012.
    """

    _state_names = ("square_avg", "momentum_buffer")

    def __init__(
        self,
        params,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0.0,
        momentum=0.0,
        eps_inside_sqrt=True,
        *,
        clip_grad_norm=None,
        **others,
    ):
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**options, "eps_inside_sqrt": eps_inside_sqrt}, clip_grad_norm, **others)

    def _check_options(self, group: dict) -> None:
        for name in ("lr", "weight_decay", "momentum"):
            self._check_range(group, name)
        self._check_range(group, "alpha", high=1.0)
        self._check_range(group, "eps", low_open=True)

    def _update(self, group: dict, stretch: Stretch, grad_scale: Any) -> None:
        kernels.active_step("rmsprop", stretch.data)(
            stretch.data,
            stretch.grad,
            stretch.state("square_avg"),
            stretch.state("momentum_buffer") if group["momentum"] else None,
            lr=float(group["lr"]),
            alpha=group["alpha"],
            eps=group["eps"],
            eps_inside_sqrt=group["eps_inside_sqrt"],
            weight_decay=group["weight_decay"],
            grad_scale=grad_scale,
            momentum=group["momentum"],
        )
        stretch.count_step()
