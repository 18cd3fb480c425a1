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
