"""Single steps of recurrent layers. B batch, I input features, Hd hidden features; weights as PyTorch lays them out.

Each raises TypeError for dtypes other than float32 and float64 or mixed ones, ValueError for shapes that do not fit.
"""

from __future__ import annotations

from .. import _check as check
from ..tensor import ArrayLike, Tensor, arrays_of, run

_NAMES = ("x", "h", "weight_ih", "weight_hh", "bias_ih", "bias_hh")


def rnn_cell(
    x: ArrayLike,
    h: ArrayLike,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None = None,
    bias_hh: ArrayLike | None = None,
    nonlinearity: str = "tanh",
) -> Tensor:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu.

    x (B, I), h (B, Hd), weight_ih (Hd, I), weight_hh (Hd, Hd), biases (Hd,) or None, h' (B, Hd).
    Raises ValueError for a nonlinearity other than "tanh" and "relu". Source: Elman 1990.
    """
    inputs = (x, h, weight_ih, weight_hh, bias_ih, bias_hh)
    arrays = arrays_of(inputs)
    check.choice("rnn_cell", "nonlinearity", nonlinearity, ("tanh", "relu"))
    _check("rnn_cell", 1, *arrays)
    return run("rnn_cell", inputs, arrays, {"nonlinearity": nonlinearity})


def lstm_cell(
    x: ArrayLike,
    state: tuple[ArrayLike, ArrayLike],
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None = None,
    bias_hh: ArrayLike | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM: with i, f, g, o the four blocks of W_ih x + b_ih + W_hh h + b_hh,

        c' = sigmoid(f) c + sigmoid(i) tanh(g)        h' = sigmoid(o) tanh(c')

    x (B, I), state = (h, c) both (B, Hd), weight_ih (4 Hd, I), weight_hh (4 Hd, Hd), biases (4 Hd,) or None.
    Returns (h', c'). Source: Gers et al. 2000.
    """
    if not (isinstance(state, (tuple, list)) and len(state) == 2):
        raise TypeError(f"lstm_cell: state must be the pair (h, c), got {type(state).__name__}")
    inputs = (x, *state, weight_ih, weight_hh, bias_ih, bias_hh)
    arrays = arrays_of(inputs)
    a, h, c, *parameters = arrays
    _check("lstm_cell", 4, a, h, *parameters)
    check.floats("lstm_cell", ("x", "c"), (a, c), 2)
    if c.shape != h.shape:
        check.shape("lstm_cell", "c", c, h.shape, "like h")
    return run("lstm_cell", inputs, arrays, {})


def gru_cell(
    x: ArrayLike,
    h: ArrayLike,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None = None,
    bias_hh: ArrayLike | None = None,
) -> Tensor:
    """One step of a GRU:

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)        z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r (W_hn h + b_hn))        h' = (1 - z) n + z h

    x (B, I), h (B, Hd), weight_ih (3 Hd, I) and weight_hh (3 Hd, Hd) with the blocks r, z, n, biases (3 Hd,) or None.
    Source: Cho et al. 2014, with r inside as in cuDNN and PyTorch.
    """
    inputs = (x, h, weight_ih, weight_hh, bias_ih, bias_hh)
    arrays = arrays_of(inputs)
    _check("gru_cell", 3, *arrays)
    return run("gru_cell", inputs, arrays, {})


def _check(op: str, gates: int, a, h, w_ih, w_hh, b_ih, b_hh) -> None:
    check.floats(op, _NAMES, (a, h, w_ih, w_hh, b_ih, b_hh), 4)
    check.rank(op, "x", a, "B, I")
    check.rank(op, "h", h, "B, Hd")
    hidden = h.shape[1]
    if a.shape[0] != h.shape[0]:
        raise ValueError(f"{op}: h must have shape ({a.shape[0]}, Hd) to match x {a.shape}, got {h.shape}")
    rows = gates * hidden
    if w_ih.shape != (rows, a.shape[1]) or w_hh.shape != (rows, hidden):
        check.shape(op, "weight_ih", w_ih, (rows, a.shape[1]), f"to match x {a.shape} and h {h.shape}")
        check.shape(op, "weight_hh", w_hh, (rows, hidden), f"to match h {h.shape}")
    check.shape(op, "bias_ih", b_ih, (rows,), f"to match h {h.shape}")
    check.shape(op, "bias_hh", b_hh, (rows,), f"to match h {h.shape}")
