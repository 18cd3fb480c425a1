"""What the tests of optimizers share: parameters, steps in which some get no gradient, and the updates as formulas."""

import numpy as np

from dlfast.nn import Parameter

SHAPES = [(3, 5), (7,), (), (2, 1, 4), (0, 3), (33,)]
STEPS = 6


def arrays(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]


def parameters(dtype=np.float64):
    return [Parameter(value) for value in arrays(dtype)]


def take_steps(optimizer, params, steps=STEPS, first=0, skip=lambda step, i: False):
    for step in range(first, first + steps):
        optimizer.zero_grad()
        for i, g in enumerate(arrays(params[0].dtype, 100 + step)):
            if not skip(step, i):
                params[i].grad = g
        optimizer.step()


def same_bits(first, second):
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(first, second, strict=True))


def values(params):
    return [p.data.copy() for p in params]


SKIPS = {"none": lambda step, i: False, "some": lambda step, i: (step + i) % 3 == 0, "one": lambda step, i: i == 1}


def sgd(w, g, s, t, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    g = g + weight_decay * w
    if momentum:
        s["v"] = g if t == 1 else momentum * s["v"] + (1 - dampening) * g
        g = g + momentum * s["v"] if nesterov else s["v"]
    return w - lr * g


def rmsprop(w, g, s, t, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, eps_inside_sqrt=True):
    g = g + weight_decay * w
    s["s"] = alpha * s.get("s", 0) + (1 - alpha) * g**2
    g = g / (np.sqrt(s["s"] + eps) if eps_inside_sqrt else np.sqrt(s["s"]) + eps)
    s["v"] = momentum * s.get("v", 0) + g
    return w - lr * s["v"]


def adam(w, g, s, t, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    w, g = (w * (1 - lr * weight_decay), g) if decoupled else (w, g + weight_decay * w)
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g**2
    return w - lr * (s["m"] / (1 - betas[0] ** t)) / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps)


def adamw(w, g, s, t, lr, weight_decay=1e-2, **options):
    return adam(w, g, s, t, lr, weight_decay=weight_decay, decoupled=True, **options)


def adagrad(w, g, s, t, lr, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    g = g + weight_decay * w
    s["s"] = s.get("s", initial_accumulator_value) + g**2
    return w - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["s"]) + eps)


def _averages(w, g, s, lr, betas, weight_decay, decoupled):
    w, g = (w * (1 - lr * weight_decay), g) if decoupled else (w, g + weight_decay * w)
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g**2
    return w, g


def nadam(
    w,
    g,
    s,
    t,
    lr,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    momentum_decay=4e-3,
    decoupled_weight_decay=False,
):
    w, g = _averages(w, g, s, lr, betas, weight_decay, decoupled_weight_decay)
    mu, ahead = (betas[0] * (1 - 0.96 ** (k * momentum_decay) / 2) for k in (t, t + 1))
    s["product"] = s.get("product", 1) * mu
    n = ahead / (1 - s["product"] * ahead) * s["m"] + (1 - mu) / (1 - s["product"]) * g
    return w - lr * n / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps)


def radam(w, g, s, t, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False):
    w, g = _averages(w, g, s, lr, betas, weight_decay, decoupled_weight_decay)
    step = lr * s["m"] / (1 - betas[0] ** t)
    known, most = 1 - betas[1] ** t, 2 / (1 - betas[1]) - 1
    rho = most - 2 * t * betas[1] ** t / known
    if rho <= 5:
        return w - step
    r = np.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
    return w - step * r * np.sqrt(known) / (np.sqrt(s["v"]) + eps)


def lion(w, g, s, t, lr, betas=(0.9, 0.99), weight_decay=0.0):
    u = np.sign(betas[0] * s.get("m", 0) + (1 - betas[0]) * g)
    s["m"] = betas[1] * s.get("m", 0) + (1 - betas[1]) * g
    return w - lr * (u + weight_decay * w)
