# cython: language_level=3, binding=False
"""Recurrent layers over whole sequences: products by gemm.h, the time loop and the gates by sequence.h.

T steps, B sequences, I input features, Hd hidden size, G gates, R rows (kernels/sequences.py).
"""
include "common.pxi"
include "products.pxi"
include "affine.pxi"

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from . import recurrent as _cells
from .. import destination as _destination
from ..sequences import gathered, last_states, scattered, shares, sorted_states, unsorted_states

cdef extern from "sequence.h" nogil:
    ctypedef struct dl_sequence:
        int dtype, kind, reverse
        long steps, batch, hidden, stride, jobs, features
        const void* x
        const void* weight_ih
        const int64_t* offset
        const int64_t* count
        const int64_t* cut
        void* y
        void* gates
        void* extra
        const void* bias
        const void* inner_bias
        const void* h0
        const void* c0
        const void* dy
        void* dz
        void* dh
        void* dc
        void* dx
        void* beside
        const void* weight
    enum:
        DL_SEQUENCE_RNN
        DL_SEQUENCE_RELU
        DL_SEQUENCE_LSTM
        DL_SEQUENCE_GRU
    long dl_sequence_gates(int kind)
    double DL_SEQUENCE_SERIAL
    long DL_SEQUENCE_ROWS
    long DL_SEQUENCE_JOIN
    int dl_sequence_forward(dl_sequence* s, long threads)
    int dl_sequence_backward(dl_sequence* s, long threads)
    int dl_sequence_join(dl_sequence* s)


cdef object _zeros = _memory.zeros


cdef class Loop:
    """The time loop of one call: its fields, and the arrays that they point into."""

    cdef dl_sequence s
    cdef long threads
    cdef list kept

    def __cinit__(self, int kind, object steps, object weight, int dtype):
        offsets, counts = steps.offsets, steps.counts
        self.threads = _threads.get_num_threads()
        self.s.kind, self.s.dtype, self.s.reverse, self.s.stride = kind, dtype, steps.reverse, steps.stride
        self.s.steps, self.s.batch, self.s.hidden = offsets.shape[0], steps.lengths.shape[0], weight.shape[1]
        if <double>steps.rows * dl_sequence_gates(kind) * self.s.hidden * self.s.hidden < DL_SEQUENCE_SERIAL:
            self.threads = 1
        cuts = shares(steps, self.threads)
        self.s.jobs = cuts.shape[0] - 1
        self.s.offset, self.s.count, self.s.cut = <int64_t*>pointer(offsets), <int64_t*>pointer(counts), <int64_t*>pointer(cuts)
        self.s.weight, self.s.features = pointer(weight), 0
        self.kept = [offsets, counts, cuts, weight]

    cdef void* keep(self, object array) except? NULL:
        self.kept.append(array)
        return optional(array)

    cdef int run(self, bint forward) except -1:
        cdef int status
        with nogil:
            status = dl_sequence_forward(&self.s, self.threads) if forward else dl_sequence_backward(&self.s, self.threads)
        if status != 0:
            raise MemoryError("no memory for the packed weights of a recurrent layer")
        return 0

    cdef object beside(self, object x, long features):
        """(R, features + Hd): the rows of x, of which so many features are wanted, beside the states before each."""
        cdef int status
        rows = _empty((x.shape[0], features + self.s.hidden), x.dtype)
        self.s.x, self.s.features, self.s.beside = self.keep(x), features, pointer(rows)
        with nogil:
            status = dl_sequence_join(&self.s)
        return rows


cdef object gru_input_bias(object bias_ih, object bias_hh, long hidden):
    """What the input's part of the gates r, z, n begins with: W_hn h has its bias inside the product with r."""
    if bias_hh is None:
        return bias_ih
    bias = _np.array(bias_hh)
    bias[2 * hidden :] = 0
    return bias if bias_ih is None else bias + bias_ih


cdef tuple forward(int kind, object x, object h, object c, object weight_ih, object weight_hh, object bias, object inner, object steps):
    """(rows of y, gates, extra): see dl_sequence; inner: the bias of W_hn h."""
    cdef long hidden = weight_hh.shape[1], rows = steps.rows, gates_of = dl_sequence_gates(kind)
    wi, wh, bc = contiguous(weight_ih), contiguous(weight_hh), contiguous(bias)
    inputs = gathered(contiguous(x), steps)
    cdef Loop loop = Loop(kind, steps, wh, is_double(inputs))
    cdef bint within = loop.s.batch >= DL_SEQUENCE_ROWS and inputs.shape[1] > 0
    gates = None if within and gates_of == 1 else _empty((rows, gates_of * hidden), inputs.dtype)
    y = _empty((rows, hidden), inputs.dtype)
    extra = _empty((rows, hidden), inputs.dtype) if gates_of > 1 else None
    if within:
        loop.s.x, loop.s.features, loop.s.weight_ih = loop.keep(inputs), inputs.shape[1], loop.keep(wi)
        loop.s.bias = loop.keep(_zeros(gates_of * hidden, inputs.dtype) if bc is None else bc)
    else:
        affine(inputs, wi, bc, gates, rows, inputs.shape[1], gates_of * hidden, 0, False)
    loop.s.y, loop.s.gates, loop.s.extra = loop.keep(y), loop.keep(gates), loop.keep(extra)
    loop.s.inner_bias = loop.keep(contiguous(inner))
    loop.s.h0 = loop.keep(sorted_states(h, hidden, inputs.dtype, steps))
    if kind == DL_SEQUENCE_LSTM:
        loop.s.c0 = loop.keep(sorted_states(c, hidden, inputs.dtype, steps))
    loop.run(True)
    return y, gates, extra


cdef tuple backward(
    int kind, object dy, object x, object h, object c, object weight_ih, object weight_hh,
    object y, object gates, object extra, object steps, object needs
):
    """(dx, dh[, dc], dweight_ih, dweight_hh, dbias_ih, dbias_hh), each if needed."""
    cdef long hidden = weight_hh.shape[1], rows = y.shape[0], features = x.shape[2]
    cdef bint lstm = kind == DL_SEQUENCE_LSTM
    y, gates, extra, wh = contiguous(y), contiguous(gates), contiguous(extra), contiguous(weight_hh)
    dtype = y.dtype
    h0, dh = sorted_states(h, hidden, dtype, steps), sorted_states(dy[1], hidden, dtype, steps)
    dc = sorted_states(dy[2], hidden, dtype, steps) if lstm else None
    cdef long wide = hidden if gates is None else 4 * hidden
    dz = _empty((rows, wide), dtype)
    cdef Loop loop = Loop(kind, steps, wh, is_double(y))
    loop.s.y, loop.s.gates, loop.s.extra = loop.keep(y), loop.keep(gates), loop.keep(extra)
    loop.s.h0, loop.s.dh, loop.s.dc = loop.keep(h0), loop.keep(dh), loop.keep(dc)
    loop.s.dy, loop.s.dz = loop.keep(gathered(contiguous(dy[0]), steps)), loop.keep(dz)
    if lstm:
        loop.s.c0 = loop.keep(sorted_states(c, hidden, dtype, steps))
    cdef bint within = needs[0] and kind != DL_SEQUENCE_GRU and loop.s.batch >= DL_SEQUENCE_ROWS
    within = within and wide * (features + hidden) <= DL_SEQUENCE_JOIN
    dx = _empty((rows, features), dtype) if needs[0] else None
    if within:
        loop.s.features, loop.s.weight_ih, loop.s.dx = features, loop.keep(contiguous(weight_ih)), loop.keep(dx)
    loop.run(False)
    if needs[0]:
        if not within:
            into_inputs(kind, dz, contiguous(weight_ih), dx)
        dx = scattered(dx, x.shape[:2], steps)
    states = (unsorted_states(dh, steps) if needs[1] else None,)
    if lstm:
        states = *states, unsorted_states(dc, steps) if needs[2] else None
    inputs = gathered(contiguous(x), steps)
    return dx, *states, *parameter_gradients(loop, kind, dz, inputs, weight_ih.shape, needs[1 + len(states) :])


cdef int into_inputs(int kind, object dz, object weight, object dx) except -1:
    """dx (R, I) = dz W_ih; the GRU's dz begins with the gate that W_ih has last."""
    cdef long rows = dz.shape[0], wide = dz.shape[1], hidden = wide // 4, features = dx.shape[1]
    if kind != DL_SEQUENCE_GRU:
        return times(dz, weight, dx, rows, wide, features, False)
    times(dz, weight[: 2 * hidden], dx, rows, 2 * hidden, features, False, hidden, wide)
    return times(dz, weight[2 * hidden :], dx, rows, hidden, features, True, 0, wide)


cdef tuple parameter_gradients(Loop loop, int kind, object dz, object x, object shape, object needs):
    """(dweight_ih, dweight_hh, dbias_ih, dbias_hh), each if needed. x: its rows."""
    cdef long hidden = loop.s.hidden, rows = dz.shape[0], wide = dz.shape[1], features = x.shape[1]
    cdef bint gru = kind == DL_SEQUENCE_GRU
    dtype = dz.dtype
    dwi = _destination(needs[0], shape, dtype) if needs[0] else None
    dwh = _destination(needs[1], (shape[0], hidden), dtype) if needs[1] else None
    dbi = dbh = None
    if gru and needs[0]:
        times_transposed(dz, x, dwi[: 2 * hidden], rows, 2 * hidden, features, hidden, wide)
        times_transposed(dz, x, dwi[2 * hidden :], rows, hidden, features, 0, wide)
    if gru and needs[1]:
        times_transposed(dz, loop.beside(x, 0), dwh, rows, 3 * hidden, hidden, hidden, wide)
    if not gru and (needs[0] or needs[1]):  # one product: for one of them too, whose bits do not depend on the other
        joined = _empty((wide, features + hidden), dtype)
        times_transposed(dz, loop.beside(x, features), joined, rows, wide, features + hidden)
        if needs[0]:
            dwi[...] = joined[:, :features]
        if needs[1]:
            dwh[...] = joined[:, features:]
    if needs[2] or needs[3]:
        _, total = gradient_rows(dz, None, 0, rows, wide, True)
        if needs[2]:
            dbi = _destination(needs[2], shape[0], dtype)
            dbi[: 2 * hidden] = total[hidden : 3 * hidden] if gru else total[: 2 * hidden]
            dbi[2 * hidden :] = total[:hidden] if gru else total[2 * hidden :]
        if needs[3]:
            dbh = _destination(needs[3], shape[0], dtype)
            dbh[...] = total[hidden:] if gru else total
    return dwi, dwh, dbi, dbh


cdef tuple single(object x, tuple states, long hidden, object steps):
    """(x, *states) as a cell takes them where there is one step alone, else None: a cell packs no weights for it."""
    if steps.offsets.shape[0] != 1:
        return None
    x = gathered(x, steps)
    return x, *[_zeros((x.shape[0], hidden), x.dtype) if state is None else state for state in states]


cdef object finals(object rows, object steps):
    """The last states, fresh: of one step, the rows themselves."""
    if steps.offsets.shape[0] != 1:
        return last_states(rows, steps)
    fresh = like(rows)
    memcpy(pointer(fresh), pointer(rows), size(rows) * (8 if is_double(rows) else 4))
    return fresh


def rnn_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, steps, nonlinearity):
    """h_t = act(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh): (y, last h); saved: all h_t as rows."""
    kind = DL_SEQUENCE_RNN if nonlinearity == "tanh" else DL_SEQUENCE_RELU
    one = single(x, (h,), weight_hh.shape[1], steps)
    if one is None:
        y, _, _ = forward(kind, x, h, None, weight_ih, weight_hh, both(bias_ih, bias_hh), None, steps)
    else:
        y, _ = _cells.rnn_cell_forward(*one, weight_ih, weight_hh, bias_ih, bias_hh, nonlinearity=nonlinearity)
    saved = x, h, weight_ih, weight_hh, y, steps, nonlinearity
    return (scattered(y, x.shape[:2], steps), finals(y, steps)), saved


def rnn_backward(dy, saved, needs):
    """dz_t = dh_t act'(h_t), dh_t = dy_t + W_hh^T dz_(t+1); then the affine gradients of all rows together."""
    x, h, weight_ih, weight_hh, y, steps, nonlinearity = saved
    kind = DL_SEQUENCE_RNN if nonlinearity == "tanh" else DL_SEQUENCE_RELU
    return backward(kind, dy, x, h, None, weight_ih, weight_hh, y, None, None, steps, needs)


def lstm_forward(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, *, steps):
    """The steps of an LSTM cell: (y, last h, last c); saved as rows: h_t, gates i, f, g, o, c_t."""
    one = single(x, (h, c), weight_hh.shape[1], steps)
    if one is None:
        y, gates, cells = forward(DL_SEQUENCE_LSTM, x, h, c, weight_ih, weight_hh, both(bias_ih, bias_hh), None, steps)
    else:
        (y, cells), (*_, gates, _) = _cells.lstm_cell_forward(*one, weight_ih, weight_hh, bias_ih, bias_hh)
    results = scattered(y, x.shape[:2], steps), finals(y, steps), finals(cells, steps)
    return results, (x, h, c, weight_ih, weight_hh, y, gates, cells, steps)


def lstm_backward(dy, saved, needs):
    """The steps of `lstm_cell_backward` from the last to the first, then the affine gradients of all rows together."""
    x, h, c, weight_ih, weight_hh, y, gates, cells, steps = saved
    return backward(DL_SEQUENCE_LSTM, dy, x, h, c, weight_ih, weight_hh, y, gates, cells, steps, needs)


def gru_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, steps):
    """The steps of a GRU cell: (y, last h); saved as rows: h_t, gates r, z, n, W_hn h + b_hn."""
    cdef long hidden = weight_hh.shape[1]
    one = single(x, (h,), hidden, steps)
    if one is None:
        bias, inner_bias = gru_input_bias(bias_ih, bias_hh, hidden), None if bias_hh is None else bias_hh[2 * hidden :]
        y, gates, inner = forward(DL_SEQUENCE_GRU, x, h, None, weight_ih, weight_hh, bias, inner_bias, steps)
    else:
        y, (*_, gates, inner) = _cells.gru_cell_forward(*one, weight_ih, weight_hh, bias_ih, bias_hh)
    saved = x, h, weight_ih, weight_hh, y, gates, inner, steps
    return (scattered(y, x.shape[:2], steps), finals(y, steps)), saved


def gru_backward(dy, saved, needs):
    """The steps of `gru_cell_backward` from the last to the first, then the affine gradients of all rows together."""
    x, h, weight_ih, weight_hh, y, gates, inner, steps = saved
    return backward(DL_SEQUENCE_GRU, dy, x, h, None, weight_ih, weight_hh, y, gates, inner, steps, needs)
