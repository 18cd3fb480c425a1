"""One step of a recurrent cell. B batch, I in features, Hd hidden size, G gates.

weight_ih (G Hd, I), weight_hh (G Hd, Hd), bias_ih and bias_hh (G Hd,) or None, as in PyTorch.
"""

import numpy as np

from .elementwise import activate, activation_gradient, like, sigmoid


def _affine(x, weight, bias):
    """x W^T + b."""
    y = np.matmul(x, weight.T)
    return y if bias is None else y + bias


def affine_gradients(dz_ih, dz_hh, x, h, weight_ih, weight_hh, needs):
    """Gradients through z_ih = W_ih x + b_ih and z_hh = W_hh h + b_hh, in the order of `needs`:
    dx, dh (the part through W_hh), dweight_ih, dweight_hh, dbias_ih, dbias_hh."""
    return (
        like(np.matmul(dz_ih, weight_ih), dz_ih) if needs[0] else None,
        like(np.matmul(dz_hh, weight_hh), dz_hh) if needs[1] else None,
        like(np.matmul(dz_ih.T, x), dz_ih) if needs[2] else None,
        like(np.matmul(dz_hh.T, h), dz_hh) if needs[3] else None,
        dz_ih.sum(axis=0) if needs[4] else None,
        dz_hh.sum(axis=0) if needs[5] else None,
    )


def rnn_cell_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, nonlinearity):
    """h' = act(W_ih x + b_ih + W_hh h + b_hh): x (B, I), h and h' (B, Hd), act "tanh" or "relu".

    Source: Elman 1990.
    """
    z = _affine(x, weight_ih, bias_ih) + _affine(h, weight_hh, bias_hh)
    h_next = like(activate(z, nonlinearity), x)
    return h_next, (x, h, weight_ih, weight_hh, h_next, nonlinearity)


def rnn_cell_backward(dy, saved, needs):
    """dz = dh' act'(h'), then the affine gradients."""
    x, h, weight_ih, weight_hh, h_next, nonlinearity = saved
    dz = activation_gradient(dy, h_next, nonlinearity)
    return affine_gradients(dz, dz, x, h, weight_ih, weight_hh, needs)


def lstm_cell_forward(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh):
    """One LSTM step: x (B, I), h, c, h', c' (B, Hd).

    i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of the four quarters of W_ih x + b_ih + W_hh h + b_hh
    c' = f c + i g,  h' = o tanh(c')
    Saved: the gates (B, 4 Hd) after activation and tanh(c'). Source: Gers et al. 2000.
    """
    z = _affine(x, weight_ih, bias_ih) + _affine(h, weight_hh, bias_hh)
    zi, zf, zg, zo = np.split(z, 4, axis=1)
    i, f, g, o = sigmoid(zi), sigmoid(zf), np.tanh(zg), sigmoid(zo)
    c_next = like(f * c + i * g, x)
    tanh_c = np.tanh(c_next)
    gates = np.concatenate((i, f, g, o), axis=1)
    return (like(o * tanh_c, x), c_next), (x, h, c, weight_ih, weight_hh, gates, tanh_c)


def lstm_cell_backward(dy, saved, needs):
    """dy = (dh', dc'). With dC = dc' + dh' o (1 - tanh(c')^2), the whole gradient of c':

    dzi = dC g i (1 - i),  dzf = dC c f (1 - f),  dzg = dC i (1 - g^2),  dzo = dh' tanh(c') o (1 - o),  dc = dC f
    """
    x, h, c, weight_ih, weight_hh, gates, tanh_c = saved
    dz, dc = lstm_gates_gradient(*dy, c, gates, tanh_c)
    dx, dh, *dparameters = affine_gradients(dz, dz, x, h, weight_ih, weight_hh, needs[:2] + needs[3:])
    return dx, dh, dc if needs[2] else None, *dparameters


def lstm_gates_gradient(dh_next, dc_next, c, gates, tanh_c):
    """(dz, dc) of one step: see `lstm_cell_backward`."""
    i, f, g, o = np.split(gates, 4, axis=1)
    dc_total = dc_next + activation_gradient(dh_next * o, tanh_c, "tanh")
    dz = np.concatenate(
        (
            activation_gradient(dc_total * g, i, "sigmoid"),
            activation_gradient(dc_total * c, f, "sigmoid"),
            activation_gradient(dc_total * i, g, "tanh"),
            activation_gradient(dh_next * tanh_c, o, "sigmoid"),
        ),
        axis=1,
    )
    return dz, like(dc_total * f, dz)


def gru_cell_forward(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """One GRU step: x (B, I), h and h' (B, Hd).

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr),  z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r (W_hn h + b_hn)),  h' = (1 - z) n + z h
    Saved: the gates r, z, n (B, 3 Hd) after activation and hn = W_hn h + b_hn (B, Hd).
    Source: Cho et al. 2014, with r applied after the product as in cuDNN and PyTorch.
    """
    ir, iz, i_n = np.split(_affine(x, weight_ih, bias_ih), 3, axis=1)
    hr, hz, hn = np.split(_affine(h, weight_hh, bias_hh), 3, axis=1)
    r, z = sigmoid(ir + hr), sigmoid(iz + hz)
    n = np.tanh(i_n + r * hn)
    gates = np.concatenate((r, z, n), axis=1)
    return like((1 - z) * n + z * h, x), (x, h, weight_ih, weight_hh, gates, like(hn, x))


def gru_cell_backward(dy, saved, needs):
    """dzn = dh' (1 - z) (1 - n^2),  dzz = dh' (h - n) z (1 - z),  dzr = dzn hn r (1 - r)

    The hidden side sees r dzn where the input side sees dzn, and h also passes through z h.
    """
    x, h, weight_ih, weight_hh, gates, hn = saved
    dz_ih, dz_hh, through_z = gru_gates_gradient(dy, h, gates, hn)
    dx, dh, *dparameters = affine_gradients(dz_ih, dz_hh, x, h, weight_ih, weight_hh, needs)
    return dx, dh + through_z if needs[1] else None, *dparameters


def gru_gates_gradient(dh_next, h, gates, hn):
    """(dz of the input side, dz of the hidden side, the part of dh past the gates) of one step: `gru_cell_backward`."""
    r, z, n = np.split(gates, 3, axis=1)
    dzn = activation_gradient(dh_next * (1 - z), n, "tanh")
    dzz = activation_gradient(dh_next * (h - n), z, "sigmoid")
    dzr = activation_gradient(dzn * hn, r, "sigmoid")
    return np.concatenate((dzr, dzz, dzn), axis=1), np.concatenate((dzr, dzz, dzn * r), axis=1), dh_next * z
