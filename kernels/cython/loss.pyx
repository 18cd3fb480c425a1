# cython: language_level=3, binding=False
"""Losses by loss.h, formulas as in the reference.

reduction "none" keeps each loss, "sum" and "mean" give a 0-d array.
"""
include "common.pxi"
from libc.stdint cimport int64_t

cdef extern from "rowwise/loss.h" nogil:
    ctypedef struct dl_cross_entropy:
        long rows, classes, ignore
        const void* logits
        const void* weight
        const void* dy
        const int64_t* target
        void* most
        void* log_sum
        void* losses
        void* dlogits
        double smoothing, divisor
        int dy_rows
    ctypedef struct dl_pairs:
        long n
        int kind, dy_each
        const void* x
        const void* target
        const void* weight
        const void* pos_weight
        const void* dy
        void* losses
        void* dx
        void* dtarget
        double delta, divisor
    enum:
        DL_MSE
        DL_L1
        DL_HUBER
        DL_BCE
    void dl_cross_entropy_run(dl_cross_entropy* m, int backward, int dtype)
    double dl_sum(const void* values, long n, int dtype)
    double dl_element(const void* values, long i, int dtype)
    int dl_pairs_run(dl_pairs* m, double* total, int dtype)
    void dl_pairs_back(dl_pairs* m, int dtype)

cdef double _nan = float("nan"), _infinity = float("inf")


cdef object scalar(double value, object array):
    """A 0-d array of a plain array's dtype."""
    y = dl_new_array(0, NULL, PyArray_TYPE(<PyArrayObject*>array))
    if is_double(y):
        (<double*>pointer(y))[0] = value
    else:
        (<float*>pointer(y))[0] = value
    return y


cdef void set_rows(dl_cross_entropy* m, object logits, object logs, object target, object weight):
    """Where the arrays of a call lie: logits (M, C), logs (2, M), target (M,), weight (C,) or None, all contiguous."""
    m.rows, m.classes = dim(logits, 0), dim(logits, 1)
    m.logits, m.most = pointer(logits), pointer(logs)
    m.log_sum = <char*>m.most + m.rows * (8 if is_double(logits) else 4)
    m.target, m.weight = <const int64_t*>pointer(target), optional(weight)


def cross_entropy_forward(logits, target, weight, *, label_smoothing, ignore_index, reduction):
    """loss[m] = -sum over c of q[m, c] log_probs[m, c], 0 for ignored rows; logits (M, C), target (M,) int64."""
    cdef dl_cross_entropy m
    cdef int dtype = is_double(logits)
    cdef double total, divisor
    cdef npy_intp[2] shape
    lc, tc, wc = contiguous(logits), contiguous(target), contiguous(weight)
    shape[0], shape[1] = 2, dim(lc, 0)
    logs, losses = dl_new_array(2, shape, PyArray_TYPE(<PyArrayObject*>lc)), new_row(shape[1], lc)
    set_rows(&m, lc, logs, tc, wc)
    m.losses, m.ignore, m.smoothing = pointer(losses), ignore_index, label_smoothing
    with nogil:
        dl_cross_entropy_run(&m, 0, dtype)
    saved = (lc, logs, target, weight, label_smoothing, ignore_index, reduction)
    if reduction == "none":
        return losses, saved
    total = dl_sum(m.losses, m.rows, dtype)
    if reduction == "mean":
        divisor = summed_weight(&m, dtype)
        total = total / divisor if divisor else total * _infinity if total == total and total else _nan
    return scalar(total, lc), saved


def cross_entropy_backward(dy, saved, needs):
    """dlogits[m] = dy[m] (softmax(logits)[m] sum of q[m] - q[m]); 0 for ignored rows."""
    cdef dl_cross_entropy m
    logits, logs, target, weight, label_smoothing, ignore_index, reduction = saved
    if not needs[0]:
        return None, None, None
    cdef int dtype = is_double(logits)
    lc, oc, tc, wc, dc = contiguous(logits), contiguous(logs), contiguous(target), contiguous(weight), contiguous(dy)
    dlogits = like(lc)
    set_rows(&m, lc, oc, tc, wc)
    m.dy, m.dlogits, m.ignore, m.smoothing = pointer(dc), pointer(dlogits), ignore_index, label_smoothing
    m.dy_rows, m.divisor = reduction == "none", summed_weight(&m, dtype) if reduction == "mean" else 1
    with nogil:
        dl_cross_entropy_run(&m, 1, dtype)
    return dlogits, None, None


cdef double summed_weight(const dl_cross_entropy* m, int dtype) noexcept nogil:
    """The sum of weight[target] over the rows not ignored."""
    cdef double total = 0
    cdef long row
    for row in range(m.rows):
        if m.target[row] != m.ignore:
            total += dl_element(m.weight, m.target[row], dtype) if m.weight else 1
    return total


cdef object pairs_forward(
    int kind, object x, object target, object weight, object pos_weight, double delta, object reduction
):
    """The losses of x against target, their sum or mean."""
    cdef dl_pairs m
    cdef double total
    cdef int status, dtype = is_double(x)
    xc, tc, wc, pc = contiguous(x), contiguous(target), contiguous(weight), contiguous(pos_weight)
    losses = like(x) if reduction == "none" else None
    m.n, m.kind, m.delta = size(xc), kind, delta
    m.x, m.target, m.weight, m.pos_weight = pointer(xc), pointer(tc), optional(wc), optional(pc)
    m.losses = optional(losses)
    with nogil:
        status = dl_pairs_run(&m, &total, dtype)
    if status != 0:
        raise MemoryError("no memory for the partial sums of a loss")
    if losses is not None:
        return losses
    return scalar(total if reduction == "sum" else total / m.n if m.n else _nan, xc)


cdef tuple pairs_backward(
    int kind,
    object dy,
    object x,
    object target,
    object weight,
    object pos_weight,
    double delta,
    object reduction,
    object needs,
):
    """(dx, dtarget), None where not wanted."""
    cdef dl_pairs m
    cdef int dtype = is_double(x)
    xc, tc, wc, pc, dc = map(contiguous, (x, target, weight, pos_weight, dy))
    dx = like(x) if needs[0] else None
    dtarget = like(x) if needs[1] else None
    m.n, m.kind, m.delta, m.dy_each = size(xc), kind, delta, reduction == "none"
    m.divisor = max(m.n, 1) if reduction == "mean" else 1
    m.x, m.target, m.weight, m.pos_weight, m.dy = pointer(xc), pointer(tc), optional(wc), optional(pc), pointer(dc)
    m.dx, m.dtarget = optional(dx), optional(dtarget)
    with nogil:
        dl_pairs_back(&m, dtype)
    return dx, dtarget


def mse_forward(x, target, *, reduction):
    """loss = (x - target)^2."""
    return pairs_forward(DL_MSE, x, target, None, None, 1, reduction), (x, target, reduction)


def mse_backward(dy, saved, needs):
    """dx = 2 dy (x - target)."""
    x, target, reduction = saved
    return pairs_backward(DL_MSE, dy, x, target, None, None, 1, reduction, needs)


def l1_forward(x, target, *, reduction):
    """loss = |x - target|."""
    return pairs_forward(DL_L1, x, target, None, None, 1, reduction), (x, target, reduction)


def l1_backward(dy, saved, needs):
    """dx = dy sign(x - target)."""
    x, target, reduction = saved
    return pairs_backward(DL_L1, dy, x, target, None, None, 1, reduction, needs)


def huber_forward(x, target, *, delta, reduction):
    """With d = |x - target|: loss = d^2 / 2 where d <= delta, else delta (d - delta / 2)."""
    return pairs_forward(DL_HUBER, x, target, None, None, delta, reduction), (x, target, delta, reduction)


def huber_backward(dy, saved, needs):
    """dx = dy clip(x - target, -delta, delta)."""
    x, target, delta, reduction = saved
    return pairs_backward(DL_HUBER, dy, x, target, None, None, delta, reduction, needs)


def bce_with_logits_forward(x, target, weight, pos_weight, *, reduction):
    """loss = weight (pos_weight target softplus(-x) + (1 - target) softplus(x))."""
    y = pairs_forward(DL_BCE, x, target, weight, pos_weight, 1, reduction)
    return y, (x, target, weight, pos_weight, reduction)


def bce_with_logits_backward(dy, saved, needs):
    """dx = dy weight ((1 - target) sigmoid(x) - pos_weight target sigmoid(-x)), and the gradient of target."""
    x, target, weight, pos_weight, reduction = saved
    return (*pairs_backward(DL_BCE, dy, x, target, weight, pos_weight, 1, reduction, needs), None, None)
