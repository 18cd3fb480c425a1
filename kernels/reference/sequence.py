"""Recurrent layers over whole sequences: the cells of recurrent.py, step after step, layer after layer.

T steps, B sequences, I input features, Hd hidden size, G gates, L layers, D directions, R rows (one for each step of
each sequence). x (T, B, I) or (B, T, I). weight_ih, weight_hh, bias_ih, bias_hh as for cells; `further` are the same
four of the other directions and layers, in PyTorch's order: a layer takes the D Hd outputs of the one below. steps: a
`sequences.Steps` for each direction. h, c (L D, B, Hd), or (B, Hd) where L D is 1: the states before the first step,
or None for 0.
Results: y (T, B, D Hd) like x, 0 where a sequence has ended, and the states after each sequence's last step, like h.
"""

import numpy as np

from ..sequences import back_through_layers, states_before, through_layers
from . import recurrent as cells
from .elementwise import activation_gradient


def rnn_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *further, steps, nonlinearity):
    """h_t = act(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh). Source: Elman 1990."""

    def loop(inputs, states, parameters, steps):
        (state,) = states
        rows = np.empty((steps.rows, state.shape[1]), x.dtype)
        for here, n in steps.walk():
            rows[here], _ = cells.rnn_cell_forward(inputs[here], state[:n], *parameters, nonlinearity=nonlinearity)
            state[:n] = rows[here]
        return rows, states, (None, None)

    results, saved = through_layers(loop, x, (h,), (weight_ih, weight_hh, bias_ih, bias_hh, *further), steps)
    return results, (*saved, nonlinearity)


def rnn_backward(dy, saved, needs):
    """dz_t = dh_t act'(h_t) with dh_t = dy_t + W_hh^T dz_(t+1); then the affine gradients of all rows together."""
    *saved, nonlinearity = saved

    def loop(dy, dlast, inputs, states, parameters, rows, _, steps, needs):
        (dstate,), dz = dlast, rows.copy()
        for here, n in reversed(steps.walk()):
            dz[here] = activation_gradient(dy[here] + dstate[:n], rows[here], nonlinearity)
            dstate[:n] = np.matmul(dz[here], parameters[1])
        return _gradients(dz, dz, inputs, states_before(rows, states[0], steps), parameters, needs), dlast

    return back_through_layers(loop, dy, saved, needs)


def lstm_forward(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, *further, steps):
    """The steps of `lstm_cell_forward`. Saved of each loop, as rows: gates i, f, g, o (R, 4 Hd), c_t (R, Hd).

    Source: Gers et al. 2000.
    """
    return through_layers(_lstm, x, (h, c), (weight_ih, weight_hh, bias_ih, bias_hh, *further), steps)


def _lstm(inputs, states, parameters, steps):
    state, cell = states
    rows, memory = np.empty((2, steps.rows, state.shape[1]), inputs.dtype)
    gates = np.empty((steps.rows, 4 * state.shape[1]), inputs.dtype)
    for here, n in steps.walk():
        (rows[here], memory[here]), (*_, gates[here], _) = cells.lstm_cell_forward(
            inputs[here], state[:n], cell[:n], *parameters
        )
        state[:n], cell[:n] = rows[here], memory[here]
    return rows, states, (gates, memory)


def lstm_backward(dy, saved, needs):
    """The steps of `lstm_cell_backward` from the last to the first, then the affine gradients of all rows together."""
    return back_through_layers(_lstm_back, dy, saved, needs)


def _lstm_back(dy, dlast, inputs, states, parameters, rows, kept, steps, needs):
    (gates, memory), (dstate, dcell) = kept, dlast
    before, memory_before = states_before(rows, states[0], steps), states_before(memory, states[1], steps)
    dz = np.empty_like(gates)
    for here, n in reversed(steps.walk()):
        dz[here], dcell[:n] = cells.lstm_gates_gradient(
            dy[here] + dstate[:n], dcell[:n], memory_before[here], gates[here], np.tanh(memory[here])
        )
        dstate[:n] = np.matmul(dz[here], parameters[1])
    return _gradients(dz, dz, inputs, before, parameters, needs), dlast


def gru_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *further, steps):
    """The steps of `gru_cell_forward`. Saved of each loop, as rows: gates r, z, n (R, 3 Hd), W_hn h + b_hn (R, Hd).

    Source: Cho et al. 2014, with r applied after the product as in cuDNN and PyTorch.
    """
    return through_layers(_gru, x, (h,), (weight_ih, weight_hh, bias_ih, bias_hh, *further), steps)


def _gru(inputs, states, parameters, steps):
    (state,) = states
    rows, inner = np.empty((2, steps.rows, state.shape[1]), inputs.dtype)
    gates = np.empty((steps.rows, 3 * state.shape[1]), inputs.dtype)
    for here, n in steps.walk():
        rows[here], (*_, gates[here], inner[here]) = cells.gru_cell_forward(inputs[here], state[:n], *parameters)
        state[:n] = rows[here]
    return rows, states, (gates, inner)


def gru_backward(dy, saved, needs):
    """The steps of `gru_cell_backward` from the last to the first, then the affine gradients of all rows together."""
    return back_through_layers(_gru_back, dy, saved, needs)


def _gru_back(dy, dlast, inputs, states, parameters, rows, kept, steps, needs):
    (gates, inner), (dstate,), before = kept, dlast, states_before(rows, states[0], steps)
    dz_ih, dz_hh = np.empty((2, *gates.shape), gates.dtype)
    for here, n in reversed(steps.walk()):
        dz_ih[here], dz_hh[here], through_z = cells.gru_gates_gradient(
            dy[here] + dstate[:n], before[here], gates[here], inner[here]
        )
        dstate[:n] = through_z + np.matmul(dz_hh[here], parameters[1])
    return _gradients(dz_ih, dz_hh, inputs, before, parameters, needs), dlast


def _gradients(dz_ih, dz_hh, inputs, before, parameters, needs):
    """Gradients of the inputs' rows and of the parameters."""
    wanted = needs[0], False, *needs[1:]
    dx, _, *dparameters = cells.affine_gradients(dz_ih, dz_hh, inputs, before, *parameters[:2], wanted)
    return dx, *dparameters
