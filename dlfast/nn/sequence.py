"""Recurrent layers over whole sequences; equations in `functional`. T steps, B sequences, Hd hidden_size."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from .. import _check as check
from .. import functional as F
from .. import init
from ..functional._sequence import recurrent_layers
from ..tensor import ArrayLike, Parameter, Tensor, as_tensor
from .module import Module

_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class _Recurrent(Module):
    """What RNN, LSTM and GRU share; _op: the operation."""

    _op = "rnn"
    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        name = type(self).__name__
        self.input_size = check.integer(name, "input_size", input_size, 1)
        self.hidden_size = check.integer(name, "hidden_size", hidden_size, 1)
        self.num_layers = check.integer(name, "num_layers", num_layers, 1)
        self.bias, self.batch_first, self.bidirectional = bool(bias), bool(batch_first), bool(bidirectional)
        self.dropout = check.number(name, "dropout", dropout, 0, 1, high_closed=True)
        rows = self._gates * hidden_size
        for layer, suffix in self._directions():
            inputs = input_size if layer == 0 else hidden_size * (1 + self.bidirectional)
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, inputs), "weight_hh": (rows, hidden_size)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for kind, shape in shapes.items():
                setattr(self, f"{kind}_{suffix}", Parameter(np.empty(shape, np.float32)))
        self.reset_parameters()

    def _directions(self) -> list[tuple[int, str]]:
        """(layer, suffix of its parameters' names) for each layer and direction, in PyTorch's order."""
        ways = ("", "_reverse") if self.bidirectional else ("",)
        return [(layer, f"l{layer}{way}") for layer in range(self.num_layers) for way in ways]

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        limit = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -limit, limit)

    def _options(self) -> dict[str, Any]:
        """What else the operation takes."""
        return {}

    def _layers(self, x: ArrayLike, states: list[Tensor | None], lengths: Any) -> tuple[Tensor, list[Tensor]]:
        """(y, last states), each (num_layers directions, B, Hd): one operation, or one a layer with dropout between."""
        ways = 1 + self.bidirectional
        loops = ways * self.num_layers
        if not (self.dropout and self.training and self.num_layers > 1):
            return self._loops(x, states, lengths, 0, loops)
        y, last = self._loops(x, [_own(state, 0, ways) for state in states], lengths, 0, ways)
        finals = [last]
        for first in range(ways, loops, ways):
            y = F.dropout(y, self.dropout, training=True)
            y, last = self._loops(y, [_own(state, first, ways) for state in states], lengths, first, ways)
            finals.append(last)
        return y, [F.concatenate(list(state)) for state in zip(*finals)]

    def _loops(
        self, x: ArrayLike, states: list[Tensor | None], lengths: Any, first: int, count: int
    ) -> tuple[Tensor, list[Tensor]]:
        """`_layers` of so many loops, each one direction of one layer, in one operation, which takes and gives the
        states of a single loop without their first axis."""
        names, own = _names(self.num_layers, self.bidirectional), self.__dict__
        parameters = [own.get(name) for name in names[4 * first : 4 * (first + count)]]
        if count == 1:
            states = [state if state is None else state.reshape(state.shape[1:]) for state in states]
        y, *last = recurrent_layers(
            self._op, x, states, parameters, lengths, self.batch_first, self.bidirectional, **self._options()
        )
        return y, [state.reshape((1, *state.shape)) for state in last] if count == 1 else last

    def _forward(self, x: ArrayLike, states: list[ArrayLike | None], lengths: Any) -> tuple[Tensor, list[Tensor]]:
        """As `_layers`, for a single sequence (T, I) with states (num_layers directions, Hd) too."""
        name, x = type(self).__name__, x if type(x) is np.ndarray else as_tensor(x)
        if x.ndim not in (2, 3):
            letters = "(B, T, I)" if self.batch_first else "(T, B, I)"
            raise ValueError(f"{name}: x must have shape {letters}, or (T, I) for one sequence, got {x.shape}")
        single, axis = x.ndim == 2, 0 if self.batch_first else 1
        if x.shape[-1] != self.input_size:
            raise ValueError(f"{name}: x must have input_size {self.input_size} features, got shape {x.shape}")
        batch = 1 if single else x.shape[axis]
        loops = self.num_layers * (1 + self.bidirectional)
        wanted = (loops, self.hidden_size) if single else (loops, batch, self.hidden_size)
        given: list[Tensor | None] = []
        for kind, state in zip(("h", "c"), states):
            tensor = None if state is None else as_tensor(state)
            if tensor is not None and tensor.shape != wanted:
                raise ValueError(f"{name}: {kind} must have shape {wanted} to match x {x.shape}, got {tensor.shape}")
            given.append(tensor.reshape(wanted[0], 1, self.hidden_size) if single and tensor is not None else tensor)
        if single:
            length, features = x.shape
            y, last = self._layers(x.reshape((length, 1, features) if axis else (1, length, features)), given, lengths)
            return y.reshape(length, -1), [state.reshape(*wanted) for state in last]
        return self._layers(x, given, lengths)

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        shown += [f"{name}={getattr(self, name)}" for name, usual in defaults.items() if getattr(self, name) != usual]
        return ", ".join(shown)


@lru_cache(maxsize=256)
def _names(layers: int, bidirectional: bool) -> tuple[str, ...]:
    """The parameters' names, in the order of the operation."""
    ways = ("", "_reverse") if bidirectional else ("",)
    return tuple([f"{kind}_l{layer}{way}" for layer in range(layers) for way in ways for kind in _KINDS])


def _own(state: Tensor | None, first: int, count: int) -> Tensor | None:
    """The states of so many loops."""
    return None if state is None else state[first : first + count]


class RNN(_Recurrent):
    """A plain recurrent layer: y, h = RNN(I, Hd)(x, h, lengths=...); `functional.rnn` has the equation.

    x (T, B, I), (B, T, I) with batch_first, or (T, I) for one sequence; y like it with Hd features, 2 Hd if
    bidirectional (forward, then backward). h (num_layers directions, B, Hd) starts at 0 if not given. lengths (B,): see
    `functional.rnn`. dropout, while training, on the outputs of all layers but the last.
    Parameters weight_ih_l0 (Hd, I), weight_hh_l0 (Hd, Hd), bias_ih_l0, bias_hh_l0 (Hd,), for further layers l1, ...,
    for the way back l0_reverse; all start uniform in +-1/sqrt(Hd).
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", **options: Any
    ) -> None:
        self.nonlinearity = check.choice("RNN", "nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(input_size, hidden_size, num_layers, **options)

    def _options(self) -> dict[str, Any]:
        return {"nonlinearity": self.nonlinearity}

    def forward(
        self, x: ArrayLike, h: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> tuple[Tensor, Tensor]:
        y, (last,) = self._forward(x, [h], lengths)
        return y, last


class LSTM(_Recurrent):
    """A layer of long short-term memory: y, (h, c) = LSTM(I, Hd)(x, (h, c), lengths=...).

    Shapes, lengths and dropout as `RNN`; the state (h, c) starts at 0 if not given. Parameters as `RNN` with 4 Hd rows,
    gates in the order i, f, g, o.
    """

    _op = "lstm"
    _gates = 4

    def forward(
        self,
        x: ArrayLike,
        state: tuple[ArrayLike, ArrayLike] | None = None,
        lengths: ArrayLike | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is not None and not (isinstance(state, (tuple, list)) and len(state) == 2):
            raise TypeError(f"LSTM: the state must be the pair (h, c) or None, got {type(state).__name__}")
        if state is not None and (state[0] is None) != (state[1] is None):
            raise ValueError("LSTM: give both h and c, or neither")
        y, (h, c) = self._forward(x, list(state or (None, None)), lengths)
        return y, (h, c)


class GRU(_Recurrent):
    """A layer of gated recurrent units: y, h = GRU(I, Hd)(x, h, lengths=...).

    Shapes, lengths and dropout as `RNN`. Parameters as `RNN` with 3 Hd rows, gates in the order r, z, n.
    """

    _op = "gru"
    _gates = 3

    def forward(
        self, x: ArrayLike, h: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> tuple[Tensor, Tensor]:
        y, (last,) = self._forward(x, [h], lengths)
        return y, last
