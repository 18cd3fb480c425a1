# cython: language_level=3, binding=False
"""Optimizer updates by optim.h, in place on 1-D contiguous arrays of one length; formulas as in the reference."""
include "common.pxi"
import math as _math

from ..reference.optim import rectification as _rectification

cdef extern from "rowwise/optim.h" nogil:
    ctypedef struct dl_sgd:
        long n
        void* param
        void* grad
        void* buffer
        double lr, momentum, dampening, decay, scale
        int nesterov, first
    ctypedef struct dl_rmsprop:
        long n
        void* param
        void* grad
        void* square
        void* buffer
        double lr, alpha, eps, decay, momentum, scale
        int eps_inside
    ctypedef struct dl_adam:
        long n
        void* param
        void* grad
        void* mean
        void* square
        double lr, beta1, beta2, eps, decay, scale, correction1, correction2
        int decoupled
    ctypedef struct dl_adagrad:
        long n
        void* param
        void* grad
        void* sum
        double lr, eps, decay, scale
    ctypedef struct dl_mixed:
        long n
        void* param
        void* grad
        void* mean
        void* square
        double fresh, old, beta1, beta2, eps, root, decay, keep, scale
        int divides
    ctypedef struct dl_lion:
        long n
        void* param
        void* grad
        void* mean
        double lr, beta1, beta2, keep, scale
    void dl_sgd_run(dl_sgd* m, int dtype)
    void dl_rmsprop_run(dl_rmsprop* m, int dtype)
    void dl_adam_run(dl_adam* m, int dtype)
    void dl_adagrad_run(dl_adagrad* m, int dtype)
    void dl_mixed_run(dl_mixed* m, int dtype)
    void dl_lion_run(dl_lion* m, int dtype)
    int dl_square_sum_run(long n, void* x, int dtype, double* sum)
    int dl_abs_sum_run(long n, void* x, int dtype, double* sum)


def sgd_step(param, grad, momentum_buffer, *, lr, momentum, dampening, nesterov, weight_decay, grad_scale, first):
    """Gradient descent with momentum; momentum_buffer is None when momentum is 0."""
    cdef dl_sgd m
    cdef int dtype = is_double(param)
    grad = contiguous(grad)
    m.n, m.param, m.grad, m.buffer = param.size, pointer(param), pointer(grad), optional(momentum_buffer)
    m.lr, m.momentum, m.dampening, m.decay, m.scale = lr, momentum, dampening, weight_decay, grad_scale
    m.nesterov, m.first = nesterov, first
    with nogil:
        dl_sgd_run(&m, dtype)


def rmsprop_step(
    param, grad, square_avg, momentum_buffer, *, lr, alpha, eps, eps_inside_sqrt, weight_decay, momentum, grad_scale
):
    """Gradient over its root mean square; momentum_buffer is None when momentum is 0."""
    cdef dl_rmsprop m
    cdef int dtype = is_double(param)
    grad = contiguous(grad)
    m.n, m.param, m.grad, m.square = param.size, pointer(param), pointer(grad), pointer(square_avg)
    m.buffer = optional(momentum_buffer)
    m.lr, m.alpha, m.eps, m.eps_inside = lr, alpha, eps, eps_inside_sqrt
    m.decay, m.momentum, m.scale = weight_decay, momentum, grad_scale
    with nogil:
        dl_rmsprop_run(&m, dtype)


def adam_step(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step):
    """Adam, or AdamW when decoupled; step counts from 1."""
    cdef dl_adam m
    cdef int dtype = is_double(param)
    grad = contiguous(grad)
    m.n, m.param, m.grad = param.size, pointer(param), pointer(grad)
    m.mean, m.square = pointer(exp_avg), pointer(exp_avg_sq)
    m.lr, m.beta1, m.beta2, m.eps, m.decay, m.decoupled = lr, beta1, beta2, eps, weight_decay, decoupled
    m.scale = grad_scale
    m.correction1, m.correction2 = 1 - beta1**step, 1 - beta2**step
    with nogil:
        dl_adam_run(&m, dtype)


def adagrad_step(param, grad, square_sum, *, lr, eps, weight_decay, grad_scale):
    """Gradient over the root of the sum of all its squares."""
    cdef dl_adagrad m
    cdef int dtype = is_double(param)
    grad = contiguous(grad)
    m.n, m.param, m.grad, m.sum = param.size, pointer(param), pointer(grad), pointer(square_sum)
    m.lr, m.eps, m.decay, m.scale = lr, eps, weight_decay, grad_scale
    with nogil:
        dl_adagrad_run(&m, dtype)


cdef _mixed(param, grad, exp_avg, exp_avg_sq, dl_mixed m):
    """The averages and the step of nadam and radam; m has its rates."""
    cdef int dtype = is_double(param)
    grad = contiguous(grad)
    m.n, m.param, m.grad = param.size, pointer(param), pointer(grad)
    m.mean, m.square = pointer(exp_avg), pointer(exp_avg_sq)
    with nogil:
        dl_mixed_run(&m, dtype)


def nadam_step(
    param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step, mu, next_mu,
    mu_product
):
    """Adam with Nesterov's momentum."""
    cdef dl_mixed m
    m.fresh, m.old = lr * (1 - mu) / (1 - mu_product), lr * next_mu / (1 - mu_product * next_mu)
    m.beta1, m.beta2, m.eps, m.root, m.scale = beta1, beta2, eps, 1 / _math.sqrt(1 - beta2**step), grad_scale
    m.decay, m.keep = (0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1)
    m.divides = True
    _mixed(param, grad, exp_avg, exp_avg_sq, m)


def radam_step(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, decoupled, grad_scale, step):
    """Adam whose divisor waits until its variance is known."""
    cdef dl_mixed m
    scale = _rectification(beta2, step)
    m.fresh, m.old = 0, lr / (1 - beta1**step) * (1 if scale is None else scale)
    m.beta1, m.beta2, m.eps, m.root, m.scale = beta1, beta2, eps, 1, grad_scale
    m.decay, m.keep = (0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1)
    m.divides = scale is not None
    _mixed(param, grad, exp_avg, exp_avg_sq, m)


def lion_step(param, grad, exp_avg, *, lr, beta1, beta2, weight_decay, grad_scale):
    """Steps of one length, by the sign of an average."""
    cdef dl_lion m
    cdef int dtype = is_double(param)
    grad = contiguous(grad)
    m.n, m.param, m.grad, m.mean = param.size, pointer(param), pointer(grad), pointer(exp_avg)
    m.lr, m.beta1, m.beta2, m.keep, m.scale = lr, beta1, beta2, 1 - lr * weight_decay, grad_scale
    with nogil:
        dl_lion_run(&m, dtype)


def square_sum(x):
    """The sum of the squares, in double."""
    cdef int status, dtype = is_double(x)
    cdef double total
    x = contiguous(x)
    cdef long n = x.size
    cdef void* data = pointer(x)
    with nogil:
        status = dl_square_sum_run(n, data, dtype, &total)
    if status != 0:
        raise MemoryError("no memory for the partial sums of squares")
    return total


def abs_sum(x):
    """The sum of the absolute values, in double."""
    cdef int status, dtype = is_double(x)
    cdef double total
    x = contiguous(x)
    cdef long n = x.size
    cdef void* data = pointer(x)
    with nogil:
        status = dl_abs_sum_run(n, data, dtype, &total)
    if status != 0:
        raise MemoryError("no memory for the partial sums")
    return total
