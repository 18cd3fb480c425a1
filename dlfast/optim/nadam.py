"""NAdam and RAdam: Adam with Nesterov's momentum, and Adam that waits until it knows its divisor."""

from __future__ import annotations

from typing import Any

from .adam import Adam
from .arena import Stretch


class _DecoupledOption(Adam):
    """Adam's averages, the weight decay going past them by an option of each group."""

    def _check_options(self, group: dict) -> None:
        super()._check_options(group)
        group["decoupled_weight_decay"] = bool(group["decoupled_weight_decay"])


class NAdam(_DecoupledOption):
    """Adam that looks ahead, with Nesterov's momentum::

        g, m, v                                        as in Adam
        mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2),   M_t = mu_1 * ... * mu_t
        n = mu_(t+1) / (1 - M_t * mu_(t+1)) * m + (1 - mu_t) / (1 - M_t) * g
        w <- w - lr * n / (sqrt(v / (1 - beta2^t)) + eps)

    weight_decay adds weight_decay * w to the gradient; with decoupled_weight_decay it goes past the averages, as in
    AdamW. momentum_decay >= 0; otherwise as Adam.
    Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016, algorithm 2.
    """

    _number_names = ("mu_product",)

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        momentum_decay=4e-3,
        decoupled_weight_decay=False,
        *,
        clip_grad_norm=None,
        **others,
    ):
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay}
        options["decoupled_weight_decay"] = decoupled_weight_decay
        super(Adam, self).__init__(params, options, clip_grad_norm, **others)

    def _check_options(self, group: dict) -> None:
        super()._check_options(group)
        self._check_range(group, "momentum_decay")

    def _update(self, group: dict, stretch: Stretch, grad_scale: Any) -> None:
        step = stretch.count_step()
        mu, next_mu = (group["betas"][0] * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
        numbers = {"mu": mu, "next_mu": next_mu, "mu_product": stretch.multiply("mu_product", mu)}
        self._step("nadam", group, stretch, grad_scale, group["decoupled_weight_decay"], step=step, **numbers)


class RAdam(_DecoupledOption):
    """Adam without the divisor while too few gradients were seen, then scaled by how well the divisor is known::

        g, m, v                                        as in Adam
        rho_inf = 2 / (1 - beta2) - 1,   rho = rho_inf - 2 t beta2^t / (1 - beta2^t)
        w <- w - lr * m / (1 - beta1^t)                                              rho <= 5, for beta2 = 0.999 t < 6
        w <- w - lr * m / (1 - beta1^t) * r * sqrt(1 - beta2^t) / (sqrt(v) + eps)    after that
        r = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))

    weight_decay adds weight_decay * w to the gradient; with decoupled_weight_decay it goes past the averages, as in
    AdamW. Otherwise as Adam.
    Source: Liu et al., "On the variance of the adaptive learning rate and beyond", 2020, algorithm 2.
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        decoupled_weight_decay=False,
        *,
        clip_grad_norm=None,
        **others,
    ):
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        options["decoupled_weight_decay"] = decoupled_weight_decay
        super(Adam, self).__init__(params, options, clip_grad_norm, **others)

    def _update(self, group: dict, stretch: Stretch, grad_scale: Any) -> None:
        decoupled = group["decoupled_weight_decay"]
        self._step("radam", group, stretch, grad_scale, decoupled, step=stretch.count_step())
