# cython: language_level=3, binding=False
"""Optimizer updates by optim.h, in place on 1-D contiguous arrays of one length; formulas as in the reference."""
include "common.pxi"

cdef extern from "optim.h" nogil:
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
    void dl_sgd_run(dl_sgd* m, int dtype)
    void dl_rmsprop_run(dl_rmsprop* m, int dtype)
    void dl_adam_run(dl_adam* m, int dtype)
    int dl_square_sum_run(long n, void* x, int dtype, double* sum)


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
