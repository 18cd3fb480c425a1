"""Optimizer updates, in place on 1-D contiguous arrays of one length: param, its gradient and the state.

Each takes the gradient times grad_scale: clipping by norm without a pass of its own.
"""

import math

import numpy as np


def sgd_step(param, grad, momentum_buffer, *, lr, momentum, dampening, nesterov, weight_decay, grad_scale, first):
    """Gradient descent with momentum; momentum_buffer is None when momentum is 0.

    g = grad_scale grad + weight_decay param
    b = momentum b + (1 - dampening) g,  or b = g on the first step
    param -= lr (g + momentum b) with nesterov,  lr b without,  lr g without momentum
    Source: Sutskever et al. 2013, section 2, in PyTorch's form (lr multiplies the buffer, not the gradient in it).
    """
    g = grad_scale * grad + weight_decay * param
    if momentum_buffer is not None:
        momentum_buffer[:] = g if first else momentum * momentum_buffer + (1 - dampening) * g
        g = g + momentum * momentum_buffer if nesterov else momentum_buffer
    param -= lr * g


def rmsprop_step(
    param, grad, square_avg, momentum_buffer, *, lr, alpha, eps, eps_inside_sqrt, weight_decay, momentum, grad_scale
):
    """Gradient over its root mean square; momentum_buffer is None when momentum is 0.

    g = grad_scale grad + weight_decay param,  s = alpha s + (1 - alpha) g^2
    u = g / (sqrt(s) + eps),  or g / sqrt(s + eps) with eps_inside_sqrt
    param -= lr u,  or b = momentum b + u; param -= lr b
    Source: Tieleman and Hinton 2012, lecture 6.5; Szegedy et al. 2016, section 8, for eps inside the root.
    """
    g = grad_scale * grad + weight_decay * param
    square_avg[:] = alpha * square_avg + (1 - alpha) * (g * g)
    update = g / (np.sqrt(square_avg + eps) if eps_inside_sqrt else np.sqrt(square_avg) + eps)
    if momentum_buffer is not None:
        momentum_buffer[:] = momentum * momentum_buffer + update
        update = momentum_buffer
    param -= lr * update


def adam_step(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step):
    """Adam, or AdamW when decoupled; step counts from 1.

    g = grad_scale grad + weight_decay param,  or with decoupled  g = grad_scale grad; param -= lr weight_decay param
    m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
    param -= lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)
    Source: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2.
    """
    _averages(param, grad, exp_avg, exp_avg_sq, lr, beta1, beta2, weight_decay, decoupled, grad_scale)
    root = np.sqrt(exp_avg_sq) / math.sqrt(1 - beta2**step) + eps
    param -= (lr / (1 - beta1**step)) * (exp_avg / root)


def adagrad_step(param, grad, square_sum, *, lr, eps, weight_decay, grad_scale):
    """Gradient over the root of the sum of all its squares.

    g = grad_scale grad + weight_decay param,  s = s + g^2
    param -= lr g / (sqrt(s) + eps)
    Source: Duchi et al. 2011, figure 1, with a diagonal matrix.
    """
    g = grad_scale * grad + weight_decay * param
    square_sum += g * g
    param -= lr * (g / (np.sqrt(square_sum) + eps))


def nadam_step(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    *,
    lr,
    beta1,
    beta2,
    eps,
    weight_decay,
    decoupled,
    grad_scale,
    step,
    mu,
    next_mu,
    mu_product,
):
    """Adam with Nesterov's momentum; mu and next_mu are those of this step and the next, mu_product of all so far.

    g, m, v and the decay as in adam_step
    u = (1 - mu) / (1 - mu_product) g + next_mu / (1 - mu_product next_mu) m
    param -= lr u / (sqrt(v / (1 - beta2^step)) + eps)
    Source: Dozat 2016, algorithm 2.
    """
    g = _averages(param, grad, exp_avg, exp_avg_sq, lr, beta1, beta2, weight_decay, decoupled, grad_scale)
    root = np.sqrt(exp_avg_sq) / math.sqrt(1 - beta2**step) + eps
    fresh, old = lr * (1 - mu) / (1 - mu_product), lr * next_mu / (1 - mu_product * next_mu)
    param -= (fresh * g + old * exp_avg) / root


def radam_step(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step):
    """Adam whose divisor waits until its variance is known, and is scaled by how well it is.

    g, m, v and the decay as in adam_step,  r = rectification(beta2, step)
    param -= lr m / (1 - beta1^step) r / (sqrt(v) + eps),  without the last factor where r is None
    Source: Liu et al. 2020, algorithm 2; eps as PyTorch has it.
    """
    _averages(param, grad, exp_avg, exp_avg_sq, lr, beta1, beta2, weight_decay, decoupled, grad_scale)
    rate, scale = lr / (1 - beta1**step), rectification(beta2, step)
    param -= rate * exp_avg if scale is None else rate * scale * (exp_avg / (np.sqrt(exp_avg_sq) + eps))


def rectification(beta2, step):
    """sqrt((1 - beta2^t) (rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho)), None for rho <= 5.

    rho_inf = 2 / (1 - beta2) - 1,  rho = rho_inf - 2 t beta2^t / (1 - beta2^t): the length of the average at step t.
    Source: Liu et al. 2020, equation 6 and algorithm 2.
    """
    known = 1 - beta2**step
    most = 2 / (1 - beta2) - 1
    length = most - 2 * step * beta2**step / known
    if length <= 5:
        return None
    variance = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
    return math.sqrt(known * variance)


def _averages(param, grad, exp_avg, exp_avg_sq, lr, beta1, beta2, weight_decay, decoupled, grad_scale):
    """Update Adam's averages, and param for the decay past them; the gradient that they were updated by."""
    if decoupled:
        param *= 1 - lr * weight_decay
        g = grad_scale * grad
    else:
        g = grad_scale * grad + weight_decay * param
    exp_avg[:] = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq[:] = beta2 * exp_avg_sq + (1 - beta2) * (g * g)
    return g


def lion_step(param, grad, exp_avg, *, lr, beta1, beta2, weight_decay, grad_scale):
    """Steps of one length, by the sign of an average; the decay goes past it.

    g = grad_scale grad
    param -= lr (sign(beta1 m + (1 - beta1) g) + weight_decay param),  m = beta2 m + (1 - beta2) g
    Source: Chen et al. 2023, algorithm 2.
    """
    g = grad_scale * grad
    param *= 1 - lr * weight_decay
    param -= lr * np.sign(beta1 * exp_avg + (1 - beta1) * g)
    exp_avg[:] = beta2 * exp_avg + (1 - beta2) * g


def square_sum(x):
    """sum x^2, for the norm of all gradients."""
    return float(np.square(x, dtype=np.float64).sum())


def abs_sum(x):
    """sum |x|, for the L1 penalty."""
    return float(np.abs(x).sum(dtype=np.float64))
