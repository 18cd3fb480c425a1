"""Recurrent layers over whole sequences: the cells of recurrent.py, step after step. `steps` is a `sequences.Steps`.

T steps, B sequences, I input features, Hd hidden size, G gates, R rows (one for each step of each sequence).
x (T, B, I) or (B, T, I); h, c (B, Hd) the states before the first step, or None for 0; weights and biases as for cells.
Results: y (T, B, Hd) like x, 0 where a sequence has ended, and the state (B, Hd) after each sequence's last step.
"""

import numpy as np

from ..sequences import gathered, scattered, sorted_states, states_before, unsorted_states
from . import recurrent as cells
from .elementwise import activation_gradient


def rnn_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, steps, nonlinearity):
    """h_t = act(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh). Saved: all h_t as rows (R, Hd). Source: Elman 1990."""
    inputs, state = gathered(x, steps), sorted_states(h, weight_hh.shape[1], x.dtype, steps)
    rows = np.empty((steps.rows, state.shape[1]), x.dtype)
    for here, n in steps.walk():
        rows[here], _ = cells.rnn_cell_forward(
            inputs[here], state[:n], weight_ih, weight_hh, bias_ih, bias_hh, nonlinearity=nonlinearity
        )
        state[:n] = rows[here]
    y = scattered(rows, x.shape[:2], steps)
    return (y, unsorted_states(state, steps)), (x, h, weight_ih, weight_hh, rows, steps, nonlinearity)


def rnn_backward(dy, saved, needs):
    """dz_t = dh_t act'(h_t) with dh_t = dy_t + W_hh^T dz_(t+1); then the affine gradients of all rows together."""
    x, h, weight_ih, weight_hh, rows, steps, nonlinearity = saved
    before = states_before(rows, sorted_states(h, rows.shape[1], rows.dtype, steps), steps)
    dstate, dy_rows, dz = sorted_states(dy[1], rows.shape[1], rows.dtype, steps), gathered(dy[0], steps), rows.copy()
    for here, n in reversed(steps.walk()):
        dz[here] = activation_gradient(dy_rows[here] + dstate[:n], rows[here], nonlinearity)
        dstate[:n] = np.matmul(dz[here], weight_hh)
    return _gradients(dz, dz, (dstate,), x, before, weight_ih, weight_hh, steps, needs)


def lstm_forward(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, *, steps):
    """The steps of `lstm_cell_forward`. Saved, as rows: h_t (R, Hd), gates i, f, g, o (R, 4 Hd), c_t (R, Hd).

    Source: Gers et al. 2000.
    """
    hidden, inputs = weight_hh.shape[1], gathered(x, steps)
    state, cell = sorted_states(h, hidden, x.dtype, steps), sorted_states(c, hidden, x.dtype, steps)
    rows, memory = np.empty((2, steps.rows, hidden), x.dtype)
    gates = np.empty((steps.rows, 4 * hidden), x.dtype)
    for here, n in steps.walk():
        (rows[here], memory[here]), (*_, gates[here], _) = cells.lstm_cell_forward(
            inputs[here], state[:n], cell[:n], weight_ih, weight_hh, bias_ih, bias_hh
        )
        state[:n], cell[:n] = rows[here], memory[here]
    y = scattered(rows, x.shape[:2], steps)
    finals = unsorted_states(state, steps), unsorted_states(cell, steps)
    return (y, *finals), (x, h, c, weight_ih, weight_hh, rows, gates, memory, steps)


def lstm_backward(dy, saved, needs):
    """The steps of `lstm_cell_backward` from the last to the first, then the affine gradients of all rows together."""
    x, h, c, weight_ih, weight_hh, rows, gates, memory, steps = saved
    hidden, dtype = rows.shape[1], rows.dtype
    before = states_before(rows, sorted_states(h, hidden, dtype, steps), steps)
    memory_before = states_before(memory, sorted_states(c, hidden, dtype, steps), steps)
    dstate, dcell = (sorted_states(d, hidden, dtype, steps) for d in dy[1:])
    dy_rows, dz = gathered(dy[0], steps), np.empty_like(gates)
    for here, n in reversed(steps.walk()):
        dz[here], dcell[:n] = cells.lstm_gates_gradient(
            dy_rows[here] + dstate[:n], dcell[:n], memory_before[here], gates[here], np.tanh(memory[here])
        )
        dstate[:n] = np.matmul(dz[here], weight_hh)
    return _gradients(dz, dz, (dstate, dcell), x, before, weight_ih, weight_hh, steps, needs)


def gru_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, steps):
    """The steps of `gru_cell_forward`. Saved, as rows: h_t (R, Hd), gates r, z, n (R, 3 Hd), W_hn h + b_hn (R, Hd).

    Source: Cho et al. 2014, with r applied after the product as in cuDNN and PyTorch.
    """
    hidden, inputs = weight_hh.shape[1], gathered(x, steps)
    state = sorted_states(h, hidden, x.dtype, steps)
    rows, inner = np.empty((2, steps.rows, hidden), x.dtype)
    gates = np.empty((steps.rows, 3 * hidden), x.dtype)
    for here, n in steps.walk():
        rows[here], (*_, gates[here], inner[here]) = cells.gru_cell_forward(
            inputs[here], state[:n], weight_ih, weight_hh, bias_ih, bias_hh
        )
        state[:n] = rows[here]
    y = scattered(rows, x.shape[:2], steps)
    return (y, unsorted_states(state, steps)), (x, h, weight_ih, weight_hh, rows, gates, inner, steps)


def gru_backward(dy, saved, needs):
    """The steps of `gru_cell_backward` from the last to the first, then the affine gradients of all rows together."""
    x, h, weight_ih, weight_hh, rows, gates, inner, steps = saved
    hidden, dtype = rows.shape[1], rows.dtype
    before = states_before(rows, sorted_states(h, hidden, dtype, steps), steps)
    dstate, dy_rows = sorted_states(dy[1], hidden, dtype, steps), gathered(dy[0], steps)
    dz_ih, dz_hh = np.empty((2, *gates.shape), dtype)
    for here, n in reversed(steps.walk()):
        dz_ih[here], dz_hh[here], through_z = cells.gru_gates_gradient(
            dy_rows[here] + dstate[:n], before[here], gates[here], inner[here]
        )
        dstate[:n] = through_z + np.matmul(dz_hh[here], weight_hh)
    return _gradients(dz_ih, dz_hh, (dstate,), x, before, weight_ih, weight_hh, steps, needs)


def _gradients(dz_ih, dz_hh, dstates, x, before, weight_ih, weight_hh, steps, needs):
    """Gradients in the order of the arguments: of x, of the states given, of the weights and the biases."""
    states = len(dstates)
    wanted = needs[0], False, *needs[1 + states :]
    dx, _, *dparameters = cells.affine_gradients(dz_ih, dz_hh, gathered(x, steps), before, weight_ih, weight_hh, wanted)
    dx = None if dx is None else scattered(dx, x.shape[:2], steps)
    dinitial = (unsorted_states(d, steps) if needed else None for d, needed in zip(dstates, needs[1:], strict=False))
    return dx, *dinitial, *dparameters
