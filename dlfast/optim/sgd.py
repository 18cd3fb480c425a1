"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from .. import kernels
from .arena import Stretch
from .optimizer import Optimizer


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted, in PyTorch's form::

        g <- g + weight_decay * w
        v <- momentum * v + (1 - dampening) * g        (v = g at the first step)
        w <- w - lr * v                                (nesterov: w - lr * (g + momentum * v))

    The notes put the learning rate inside the velocity, v <- momentum * v + lr * g and w <- w - v. Their v is lr times
    this one, so while lr is constant both walk the same path. When lr changes they part: here the change scales the
    whole velocity at once, there only the gradients to come.

    ``weight_decay`` adds weight_decay * w to the gradient, which is the penalty weight_decay / 2 * sum w^2: for the
    notes' penalty lambda * sum w^2 take weight_decay = 2 lambda.
    lr >= 0, momentum >= 0, weight_decay >= 0; nesterov needs momentum > 0 and dampening = 0. ValueError otherwise.
    Nesterov's form: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """

    _state_names = ("momentum_buffer",)

    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0.0,
        dampening=0.0,
        weight_decay=0.0,
        nesterov=False,
        *,
        clip_grad_norm=None,
        **others,
    ):
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov}, clip_grad_norm, **others)

    def _check_options(self, group: dict) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            self._check_range(group, name)
        self._check_range(group, "dampening", low=float("-inf"))
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum above 0 and dampening 0")

    def _update(self, group: dict, stretch: Stretch, grad_scale: Any) -> None:
        momentum = group["momentum"]
        kernels.active_step("sgd", stretch.data)(
            stretch.data,
            stretch.grad,
            stretch.state("momentum_buffer") if momentum else None,
            lr=float(group["lr"]),
            momentum=momentum,
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            weight_decay=group["weight_decay"],
            grad_scale=grad_scale,
            first=stretch.steps == 0,
        )
        if momentum:  # the count says whether there is a velocity yet
            stretch.count_step()
