# cython: language_level=3, binding=False
"""One step of a recurrent cell: matrix products by gemm.h, gates by recurrent.h.

B batch, I in features, Hd hidden size, G gates.
"""
include "common.pxi"
include "products.pxi"
include "affine.pxi"

cdef extern from "sequence/recurrent.h" nogil:
    ctypedef struct dl_cell:
        long batch, hidden
        const void* c
        const void* dy
        const void* dy2
        void* gates
        void* extra
        void* dz
        void* dz2
        void* out
        void* out2
    enum:
        DL_LSTM_FORWARD
        DL_LSTM_BACKWARD
        DL_GRU_FORWARD
        DL_GRU_BACKWARD
    void dl_cell_run(dl_cell* m, int kind, int dtype)


cdef int run(dl_cell* m, int kind, int dtype) except -1:
    with nogil:
        dl_cell_run(m, kind, dtype)
    return 0


cdef object sums(object x, object h, object weight_ih, object weight_hh, object bias, int activation):
    """act(W_ih x + W_hh h + b): (B, G Hd)."""
    x, h, weight_ih, weight_hh, bias = map(contiguous, (x, h, weight_ih, weight_hh, bias))
    cdef long batch = x.shape[0], out = weight_ih.shape[0]
    z = with_last(x, out)
    affine(x, weight_ih, bias, z, batch, x.shape[1], out, 0, False)
    affine(h, weight_hh, None, z, batch, h.shape[1], out, activation, True)
    return z


cdef object input_side(object dz, object weight, object start):
    """dz W, added to start if that is given."""
    weight = contiguous(weight)
    dx = _empty((dz.shape[0], weight.shape[1]), dz.dtype) if start is None else start
    times(dz, weight, dx, dz.shape[0], weight.shape[0], weight.shape[1], start is not None)
    return dx


cdef object weight_side(object dz, object x):
    """dz^T x."""
    x = contiguous(x)
    dweight = _empty((dz.shape[1], x.shape[1]), dz.dtype)
    times_transposed(dz, x, dweight, dz.shape[0], dz.shape[1], x.shape[1])
    return dweight


cdef tuple gradients(
    object dz_ih, object dz_hh, object dh, object x, object h, object weight_ih, object weight_hh, object needs
):
    """Gradients through z_ih = W_ih x + b_ih and z_hh = W_hh h + b_hh, in the order of `needs`:
    dx, dh (added to the dh given), dweight_ih, dweight_hh, dbias_ih, dbias_hh."""
    cdef long batch = dz_ih.shape[0], out = dz_ih.shape[1]
    return (
        input_side(dz_ih, weight_ih, None) if needs[0] else None,
        input_side(dz_hh, weight_hh, dh) if needs[1] else None,
        weight_side(dz_ih, x) if needs[2] else None,
        weight_side(dz_hh, h) if needs[3] else None,
        gradient_rows(dz_ih, None, 0, batch, out, True)[1] if needs[4] else None,
        gradient_rows(dz_hh, None, 0, batch, out, True)[1] if needs[5] else None,
    )


def rnn_cell_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, nonlinearity):
    """h' = act(W_ih x + b_ih + W_hh h + b_hh): x (B, I), h and h' (B, Hd), act "tanh" or "relu"."""
    y = sums(x, h, weight_ih, weight_hh, both(bias_ih, bias_hh), _ACTIVATIONS[nonlinearity])
    return y, (x, h, weight_ih, weight_hh, y, nonlinearity)


def rnn_cell_backward(dy, saved, needs):
    """dz = dh' act'(h'), then the affine gradients."""
    x, h, weight_ih, weight_hh, y, nonlinearity = saved
    dz, _ = gradient_rows(dy, y, _ACTIVATIONS[nonlinearity], dy.shape[0], dy.shape[1], False)
    return gradients(dz, dz, None, x, h, weight_ih, weight_hh, needs)


def lstm_cell_forward(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh):
    """One LSTM step: x (B, I), h, c, h', c' (B, Hd); saved: gates i, f, g, o after activation, tanh(c')."""
    cdef dl_cell m
    gates = sums(x, h, weight_ih, weight_hh, both(bias_ih, bias_hh), 0)
    cc = contiguous(c)
    y, c_next, tanh_c = like(cc), like(cc), like(cc)
    m.batch, m.hidden = dim(cc, 0), dim(cc, 1)
    m.gates, m.c, m.extra, m.out, m.out2 = pointer(gates), pointer(cc), pointer(tanh_c), pointer(y), pointer(c_next)
    run(&m, DL_LSTM_FORWARD, is_double(gates))
    return (y, c_next), (x, h, c, weight_ih, weight_hh, gates, tanh_c)


def lstm_cell_backward(dy, saved, needs):
    """dy = (dh', dc'); the formulas stand in the reference."""
    cdef dl_cell m
    x, h, c, weight_ih, weight_hh, gates, tanh_c = saved
    dh_next, dc_next, cc, gc, tc = map(contiguous, (dy[0], dy[1], c, gates, tanh_c))
    dz, dc = _empty(gc.shape, gc.dtype), _empty(cc.shape, gc.dtype)
    m.batch, m.hidden = cc.shape
    m.gates, m.c, m.extra, m.dy, m.dy2 = pointer(gc), pointer(cc), pointer(tc), pointer(dh_next), pointer(dc_next)
    m.dz, m.out = pointer(dz), pointer(dc)
    run(&m, DL_LSTM_BACKWARD, is_double(gc))
    dx, dh, *rest = gradients(dz, dz, None, x, h, weight_ih, weight_hh, (*needs[:2], *needs[3:]))
    return (dx, dh, dc if needs[2] else None, *rest)


def gru_cell_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """One GRU step: x (B, I), h and h' (B, Hd); saved: gates r, z, n after activation, hn = W_hn h + b_hn."""
    cdef dl_cell m
    xc, hc, wi, wh, bi, bh = map(contiguous, (x, h, weight_ih, weight_hh, bias_ih, bias_hh))
    cdef long batch = xc.shape[0], out = wi.shape[0], hidden = hc.shape[1]
    gates, inner, y, hn = with_last(xc, out), with_last(xc, out), like(hc), like(hc)
    affine(xc, wi, bi, gates, batch, xc.shape[1], out, 0, False)
    affine(hc, wh, bh, inner, batch, hidden, out, 0, False)
    m.batch, m.hidden, m.gates, m.dz, m.c = batch, hidden, pointer(gates), pointer(inner), pointer(hc)
    m.extra, m.out = pointer(hn), pointer(y)
    run(&m, DL_GRU_FORWARD, is_double(xc))
    return y, (x, h, weight_ih, weight_hh, gates, hn)


def gru_cell_backward(dy, saved, needs):
    """The input side sees dzn where the hidden side sees r dzn, and h also passes through z h: see the reference."""
    cdef dl_cell m
    x, h, weight_ih, weight_hh, gates, hn = saved
    dy, hc, gc, nc = map(contiguous, (dy, h, gates, hn))
    dz_ih, dz_hh, dh = _empty(gc.shape, gc.dtype), _empty(gc.shape, gc.dtype), _empty(hc.shape, gc.dtype)
    m.batch, m.hidden = hc.shape
    m.gates, m.c, m.extra, m.dy = pointer(gc), pointer(hc), pointer(nc), pointer(dy)
    m.dz, m.dz2, m.out = pointer(dz_ih), pointer(dz_hh), pointer(dh)
    run(&m, DL_GRU_BACKWARD, is_double(gc))
    return gradients(dz_ih, dz_hh, dh, x, h, weight_ih, weight_hh, needs)
