"""Single steps of recurrent layers; equations in `functional`. B batch, I input_size, Hd hidden_size."""

from __future__ import annotations

import math

import numpy as np

from .. import _check as check
from .. import functional as F
from .. import init
from ..tensor import ArrayLike, Parameter, Tensor, unwrap
from .module import Module


class _Cell(Module):
    """weight_ih (G Hd, I), weight_hh (G Hd, Hd), biases (G Hd,), G gates; all start uniform in +-1/sqrt(Hd)."""

    _gates = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        name = type(self).__name__
        self.input_size = check.integer(name, "input_size", input_size, 1)
        self.hidden_size = check.integer(name, "hidden_size", hidden_size, 1)
        rows = self._gates * hidden_size
        self.weight_ih = Parameter(np.empty((rows, input_size), np.float32))
        self.weight_hh = Parameter(np.empty((rows, hidden_size), np.float32))
        self.bias_ih = Parameter(np.empty(rows, np.float32)) if bias else None
        self.bias_hh = Parameter(np.empty(rows, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        limit = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -limit, limit)

    def _zeros(self, x: ArrayLike) -> np.ndarray:
        array = unwrap(x)
        check.rank(type(self).__name__, "x", array, "B, I")
        return np.zeros_like(array, shape=(array.shape[0], self.hidden_size))

    def _parameters(self) -> tuple[Parameter, Parameter, Parameter | None, Parameter | None]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias_ih is not None else ", bias=False")


class RNNCell(_Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh): x (B, I), h and h' (B, Hd); h starts at 0 if not given.

    weight_ih (Hd, I), weight_hh (Hd, Hd), bias_ih and bias_hh (Hd,); all start uniform in +-1/sqrt(Hd).
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh") -> None:
        self.nonlinearity = check.choice("RNNCell", "nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(input_size, hidden_size, bias)

    def forward(self, x: ArrayLike, h: ArrayLike | None = None) -> Tensor:
        return F.rnn_cell(x, self._zeros(x) if h is None else h, *self._parameters(), self.nonlinearity)


class LSTMCell(_Cell):
    """One step of an LSTM: x (B, I), state (h, c) both (B, Hd), returns (h', c'); the state starts at 0 if not given.

    weight_ih (4 Hd, I), weight_hh (4 Hd, Hd), bias_ih and bias_hh (4 Hd,), gates in the order i, f, g, o; all start
    uniform in +-1/sqrt(Hd).
    """

    _gates = 4

    def forward(self, x: ArrayLike, state: tuple[ArrayLike, ArrayLike] | None = None) -> tuple[Tensor, Tensor]:
        if state is None:
            zeros = self._zeros(x)
            state = zeros, zeros
        return F.lstm_cell(x, state, *self._parameters())


class GRUCell(_Cell):
    """One step of a GRU: x (B, I), h and h' (B, Hd); h starts at 0 if not given.

    weight_ih (3 Hd, I), weight_hh (3 Hd, Hd), bias_ih and bias_hh (3 Hd,), gates in the order r, z, n; all start
    uniform in +-1/sqrt(Hd).
    """

    _gates = 3

    def forward(self, x: ArrayLike, h: ArrayLike | None = None) -> Tensor:
        return F.gru_cell(x, self._zeros(x) if h is None else h, *self._parameters())
