# cython: language_level=3, binding=False
"""Recurrent layers over whole sequences: products by gemm.h, the time loop and the gates by sequence.h.

T steps, B sequences, I input features, Hd hidden size, G gates, R rows, L layers, D directions (kernels/sequences.py).
Loop number i of a call is that of direction i % D of layer i // D.
"""
include "common.pxi"
include "products.pxi"
include "affine.pxi"
include "sequence.pxi"

from libc.string cimport memcpy

from . import recurrent as _cells
from .. import destination as _destination
from ..sequences import gathered, last_states, of_loop, scattered, sorted_states, together, unsorted_states


cdef list launches(long first, tuple parameters, tuple steps):
    """The loops from `first` on, in lists of those that run side by side: the directions of a layer; all layers of a
    stack whose batch is one, in one direction, with weights not too large."""
    cdef long ways = len(steps), count = len(parameters) // 4
    if ways == 1 and steps[0].lengths.shape[0] == 1 and count > 1 and parameters[1].size <= DL_SEQUENCE_STACK:
        return [range(first, count)]
    return [range(i, i + ways) for i in range(first, count, ways)]


cdef tuple forward(int kind, object x, tuple states, tuple parameters, tuple steps):
    """(y of each layer, (gates, extra) of each loop) as rows: see dl_sequence."""
    cdef long ways = len(steps), count = len(parameters) // 4, hidden = parameters[1].shape[1], rows = steps[0].rows
    cdef long gates_of = dl_sequence_gates(kind), i, n
    cdef bint within = steps[0].lengths.shape[0] >= DL_SEQUENCE_ROWS
    cdef Loops loops
    inputs = gathered(contiguous(x), steps[0])
    dtype = inputs.dtype
    ys = [_empty((rows, ways * hidden), dtype) for _ in range(count // ways)]
    kept = []
    for i in range(count):
        gates = None if within and gates_of == 1 else _empty((rows, gates_of * hidden), dtype)
        kept.append((gates, _empty((rows, hidden), dtype) if gates_of > 1 else None))
    for launch in launches(0, parameters, steps):
        loops = Loops(kind, is_double(inputs), hidden, steps, launch)
        for n, i in enumerate(launch):
            of_layer = inputs if i < ways else ys[i // ways - 1]
            first = [sorted_states(of_loop(state, i, count), hidden, dtype, steps[0]) for state in states]
            loops.begin_forward(n, of_layer, parameters[4 * i : 4 * i + 4], ys[i // ways], kept[i], first)
        loops.run(True)
    return ys, kept


cdef long lowest_layer(object needs, long states, long ways):
    """The first layer of which a gradient is wanted."""
    if any(needs[: 1 + states]):
        return 0
    return min([i // (4 * ways) for i, need in enumerate(needs[1 + states :]) if need], default=0)


cdef tuple backward(int kind, object dy, tuple saved, object needs):
    """Gradients in the order of the arguments: of x, the states and the parameters, each if needed."""
    x, states, parameters, ys, kept, steps = saved
    cdef long ways = len(steps), count = len(parameters) // 4, of_states = len(states), rows = steps[0].rows
    cdef long hidden = parameters[1].shape[1], lowest = lowest_layer(needs, of_states, ways), i, n
    cdef Loops loops
    inputs, gradients, dstates = gathered(contiguous(x), steps[0]), [None] * (4 * count), [[] for _ in states]
    dx = gathered(contiguous(dy[0]), steps[0])
    for launch in reversed(launches(lowest * ways, parameters, steps)):
        loops = Loops(kind, is_double(inputs), hidden, steps, launch)
        for n, i in reversed(list(enumerate(launch))):
            of_layer = inputs if i < ways else contiguous(ys[i // ways - 1])
            if n % ways == ways - 1:  # the gradient of this layer's y is that of the next one's x
                above, dx = dx, _empty(of_layer.shape, dx.dtype) if needs[0] or i // ways > lowest else None
            first = [sorted_states(of_loop(state, i, count), hidden, above.dtype, steps[0]) for state in states]
            last = [sorted_states(of_loop(each, i, count), hidden, above.dtype, steps[0]) for each in dy[1:]]
            loops.begin_backward(n, above, ys[i // ways], kept[i], first, last)
            loops.begin_inputs(n, of_layer, parameters[4 * i], parameters[4 * i + 1], dx)
            for each, d in zip(dstates, last):
                each.append(d)
        loops.run(False)
        for n, i in enumerate(launch):
            if dx is not None and not loops.all.stack and not loops.all.loops[n].within:
                into_inputs(kind, loops.dz[n], contiguous(parameters[4 * i]), dx, n > 0)
            wanted = needs[1 + of_states + 4 * i : 5 + of_states + 4 * i]
            gradients[4 * i : 4 * i + 4] = parameter_gradients(loops, n, wanted)
    finals = [together([unsorted_states(d, steps[0]) for d in each[::-1]]) if need else None
              for each, need in zip(dstates, needs[1:])]
    return None if dx is None else scattered(dx, x.shape[:2], steps[0]), *finals, *gradients


cdef int into_inputs(int kind, object dz, object weight, object dx, bint adds) except -1:
    """dx (R, I) = dz W_ih, or dx += dz W_ih; the GRU's dz begins with the gate that W_ih has last."""
    cdef long rows = dz.shape[0], wide = dz.shape[1], hidden = wide // 4, features = dx.shape[1]
    if kind != DL_SEQUENCE_GRU:
        return times(dz, weight, dx, rows, wide, features, adds)
    times(dz, weight[: 2 * hidden], dx, rows, 2 * hidden, features, adds, hidden, wide)
    return times(dz, weight[2 * hidden :], dx, rows, hidden, features, True, 0, wide)


cdef tuple parameter_gradients(Loops loops, long n, object needs):
    """(dweight_ih, dweight_hh, dbias_ih, dbias_hh) of loop n, each if needed."""
    dz, x = loops.dz[n], loops.x[n]
    cdef long hidden = loops.all.loops[n].hidden, rows = dz.shape[0], wide = dz.shape[1], features = x.shape[1]
    cdef long out = dl_sequence_gates(loops.all.loops[n].kind) * hidden
    cdef bint gru = loops.all.loops[n].kind == DL_SEQUENCE_GRU
    dtype = dz.dtype
    dwi = _destination(needs[0], (out, features), dtype) if needs[0] else None
    dwh = _destination(needs[1], (out, hidden), dtype) if needs[1] else None
    dbi = dbh = None
    if gru and needs[0]:
        times_transposed(dz, x, dwi[: 2 * hidden], rows, 2 * hidden, features, hidden, wide)
        times_transposed(dz, x, dwi[2 * hidden :], rows, hidden, features, 0, wide)
    if gru and needs[1]:
        times_transposed(dz, loops.beside(n, x, 0), dwh, rows, 3 * hidden, hidden, hidden, wide)
    if not gru and (needs[0] or needs[1]):  # one product: for one of them too, whose bits do not depend on the other
        joined = _empty((wide, features + hidden), dtype)
        times_transposed(dz, loops.beside(n, x, features), joined, rows, wide, features + hidden)
        if needs[0]:
            dwi[...] = joined[:, :features]
        if needs[1]:
            dwh[...] = joined[:, features:]
    if needs[2] or needs[3]:
        _, total = gradient_rows(dz, None, 0, rows, wide, True)
        if needs[2]:
            dbi = _destination(needs[2], out, dtype)
            dbi[: 2 * hidden] = total[hidden : 3 * hidden] if gru else total[: 2 * hidden]
            dbi[2 * hidden :] = total[:hidden] if gru else total[2 * hidden :]
        if needs[3]:
            dbh = _destination(needs[3], out, dtype)
            dbh[...] = total[hidden:] if gru else total
    return dwi, dwh, dbi, dbh


cdef tuple one_step(int kind, object below, tuple states, tuple parameters):
    """As `forward` in one direction, by cells, which pack no weights for a single step; below (B, I)."""
    cdef long count = len(parameters) // 4, hidden = parameters[1].shape[1], i
    ys, kept = [], []
    for i in range(count):
        h, *c = [
            _zeros((below.shape[0], hidden), below.dtype) if state is None else of_loop(state, i, count)
            for state in states
        ]
        wi, wh, bi, bh = parameters if count == 1 else parameters[4 * i : 4 * i + 4]
        if kind == DL_SEQUENCE_LSTM:
            (below, extra), of_cell = _cells.lstm_cell_forward(below, h, c[0], wi, wh, bi, bh)
            gates = of_cell[5]
        elif kind == DL_SEQUENCE_GRU:
            below, (*_, gates, extra) = _cells.gru_cell_forward(below, h, wi, wh, bi, bh)
        else:
            act = "tanh" if kind == DL_SEQUENCE_RNN else "relu"
            below, _ = _cells.rnn_cell_forward(below, h, wi, wh, bi, bh, nonlinearity=act)
            gates = extra = None
        ys.append(below)
        kept.append((gates, extra))
    return ys, kept


cdef object finals(list rows, tuple steps):
    """The last states, fresh: of all loops, whose rows are given."""
    if len(rows) > 1 or steps[0].offsets.shape[0] != 1:
        return together([last_states(each, steps[i % len(steps)]) for i, each in enumerate(rows)])
    fresh = like(rows[0])
    memcpy(pointer(fresh), pointer(rows[0]), size(rows[0]) * (8 if is_double(rows[0]) else 4))
    return fresh


cdef tuple run_forward(int kind, object x, tuple states, tuple parameters, tuple steps):
    """(y, the last states) and what `backward` takes."""
    cdef long ways = len(steps), hidden = parameters[1].shape[1]
    if ways == 1 and steps[0].offsets.shape[0] == 1:
        ys, kept = one_step(kind, gathered(x, steps[0]), states, parameters)
    else:
        ys, kept = forward(kind, x, states, parameters, steps)
    rows = ys if ways == 1 else [y[:, way * hidden : (way + 1) * hidden] for y in ys for way in range(ways)]
    last = finals(rows, steps), *((finals([cells for _, cells in kept], steps),) if kind == DL_SEQUENCE_LSTM else ())
    return (scattered(ys[-1], x.shape[:2], steps[0]), *last), (x, states, parameters, ys, kept, steps)


cdef int rnn_kind(str nonlinearity) except -1:
    return DL_SEQUENCE_RNN if nonlinearity == "tanh" else DL_SEQUENCE_RELU


def rnn_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *further, steps, nonlinearity):
    """h_t = act(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh) in each direction of each layer: (y, last h)."""
    parameters = weight_ih, weight_hh, bias_ih, bias_hh, *further
    results, saved = run_forward(rnn_kind(nonlinearity), x, (h,), parameters, steps)
    return results, (*saved, nonlinearity)


def rnn_backward(dy, saved, needs):
    """dz_t = dh_t act'(h_t), dh_t = dy_t + W_hh^T dz_(t+1); then the affine gradients of all rows together."""
    return backward(rnn_kind(saved[6]), dy, saved[:6], needs)


def lstm_forward(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, *further, steps):
    """The steps of an LSTM cell in each direction of each layer: (y, last h, last c)."""
    return run_forward(DL_SEQUENCE_LSTM, x, (h, c), (weight_ih, weight_hh, bias_ih, bias_hh, *further), steps)


def lstm_backward(dy, saved, needs):
    """The steps of `lstm_cell_backward` from the last to the first, then the affine gradients of all rows together."""
    return backward(DL_SEQUENCE_LSTM, dy, saved, needs)


def gru_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *further, steps):
    """The steps of a GRU cell in each direction of each layer: (y, last h)."""
    return run_forward(DL_SEQUENCE_GRU, x, (h,), (weight_ih, weight_hh, bias_ih, bias_hh, *further), steps)


def gru_backward(dy, saved, needs):
    """The steps of `gru_cell_backward` from the last to the first, then the affine gradients of all rows together."""
    return backward(DL_SEQUENCE_GRU, dy, saved, needs)
