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
    if decoupled:
        param *= 1 - lr * weight_decay
        g = grad_scale * grad
    else:
        g = grad_scale * grad + weight_decay * param
    exp_avg[:] = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq[:] = beta2 * exp_avg_sq + (1 - beta2) * (g * g)
    root = np.sqrt(exp_avg_sq) / math.sqrt(1 - beta2**step) + eps
    param -= (lr / (1 - beta1**step)) * (exp_avg / root)


def square_sum(x):
    """sum x^2, for the norm of all gradients."""
    return float(np.square(x, dtype=np.float64).sum())
