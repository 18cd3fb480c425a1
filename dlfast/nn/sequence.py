"""Recurrent layers over whole sequences; equations in `functional`. T steps, B sequences, Hd hidden_size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _check as check
from .. import functional as F
from .. import init
from ..tensor import ArrayLike, Parameter, Tensor, as_tensor
from .module import Module

_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class _Recurrent(Module):
    """What RNN, LSTM and GRU share; `_run` calls one layer in one direction."""

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

    def _parameters_of(self, suffix: str) -> tuple[Any, ...]:
        return tuple([getattr(self, f"{kind}_{suffix}", None) for kind in _KINDS])

    def _run(self, x: Tensor, states: list[Tensor | None], suffix: str, **options: Any) -> tuple[Tensor, list[Tensor]]:
        raise NotImplementedError(f"{type(self).__name__} must define _run")

    def _layers(self, x: Tensor, states: list[Tensor | None], lengths: Any) -> tuple[Tensor, list[Tensor]]:
        """(y, last states), each state (num_layers directions, B, Hd)."""
        ways, directions = 1 + self.bidirectional, self._directions()
        finals: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            outputs = []
            for way in range(ways):
                i = layer * ways + way
                own = [_own(state, i) for state in states]
                options = {"lengths": lengths, "batch_first": self.batch_first, "reverse": way == 1}
                y, last = self._run(x, own, directions[i][1], **options)
                outputs.append(y)
                finals.append(last)
            x = outputs[0] if ways == 1 else F.concatenate(outputs, axis=-1)
            if self.dropout and self.training and layer + 1 < self.num_layers:
                x = F.dropout(x, self.dropout, training=True)
        return x, [_together(state) for state in zip(*finals)]

    def _forward(self, x: ArrayLike, states: list[ArrayLike | None], lengths: Any) -> tuple[Tensor, list[Tensor]]:
        """As `_layers`, for a single sequence (T, I) with states (num_layers directions, Hd) too."""
        name, x = type(self).__name__, as_tensor(x)
        if x.ndim not in (2, 3):
            letters = "(B, T, I)" if self.batch_first else "(T, B, I)"
            raise ValueError(f"{name}: x must have shape {letters}, or (T, I) for one sequence, got {x.shape}")
        single, axis = x.ndim == 2, 0 if self.batch_first else 1
        if x.shape[-1] != self.input_size:
            raise ValueError(f"{name}: x must have input_size {self.input_size} features, got shape {x.shape}")
        batch = 1 if single else x.shape[axis]
        wanted = (len(self._directions()), *(() if single else (batch,)), self.hidden_size)
        given: list[Tensor | None] = []
        for kind, state in zip(("h", "c"), states):
            tensor = None if state is None else as_tensor(state)
            if tensor is not None and tensor.shape != wanted:
                raise ValueError(f"{name}: {kind} must have shape {wanted} to match x {x.shape}, got {tensor.shape}")
            given.append(tensor.reshape(wanted[0], 1, self.hidden_size) if single and tensor is not None else tensor)
        if single:
            y, last = self._layers(x.reshape(x.shape[0], 1, -1).transpose(0, axis ^ 1), given, lengths)
            return y.reshape(x.shape[0], -1), [state.reshape(*wanted) for state in last]
        return self._layers(x, given, lengths)

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        shown += [f"{name}={getattr(self, name)}" for name, usual in defaults.items() if getattr(self, name) != usual]
        return ", ".join(shown)


def _own(state: Tensor | None, i: int) -> Tensor | None:
    """The state of direction i."""
    if state is None or len(state) > 1:
        return state if state is None else state[i]
    return state.reshape(state.shape[1:])  # the only one, at half the cost


def _together(states: tuple[Tensor, ...]) -> Tensor:
    """The states (B, Hd) of all directions, (directions, B, Hd)."""
    return F.stack(list(states)) if len(states) > 1 else states[0].reshape(1, *states[0].shape)


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

    def _run(self, x: Tensor, states: list[Tensor | None], suffix: str, **options: Any) -> tuple[Tensor, list[Tensor]]:
        weight_ih, weight_hh, bias_ih, bias_hh = self._parameters_of(suffix)
        y, h = F.rnn(x, states[0], weight_ih, weight_hh, bias_ih, bias_hh, self.nonlinearity, **options)
        return y, [h]

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

    _gates = 4

    def _run(self, x: Tensor, states: list[Tensor | None], suffix: str, **options: Any) -> tuple[Tensor, list[Tensor]]:
        h, c = states
        if (h is None) != (c is None):
            raise ValueError("LSTM: give both h and c, or neither")
        y, last = F.lstm(x, None if h is None or c is None else (h, c), *self._parameters_of(suffix), **options)
        return y, list(last)

    def forward(
        self,
        x: ArrayLike,
        state: tuple[ArrayLike, ArrayLike] | None = None,
        lengths: ArrayLike | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is not None and not (isinstance(state, (tuple, list)) and len(state) == 2):
            raise TypeError(f"LSTM: the state must be the pair (h, c) or None, got {type(state).__name__}")
        y, (h, c) = self._forward(x, list(state or (None, None)), lengths)
        return y, (h, c)


class GRU(_Recurrent):
    """A layer of gated recurrent units: y, h = GRU(I, Hd)(x, h, lengths=...).

    Shapes, lengths and dropout as `RNN`. Parameters as `RNN` with 3 Hd rows, gates in the order r, z, n.
    """

    _gates = 3

    def _run(self, x: Tensor, states: list[Tensor | None], suffix: str, **options: Any) -> tuple[Tensor, list[Tensor]]:
        y, h = F.gru(x, states[0], *self._parameters_of(suffix), **options)
        return y, [h]

    def forward(
        self, x: ArrayLike, h: ArrayLike | None = None, lengths: ArrayLike | None = None
    ) -> tuple[Tensor, Tensor]:
        y, (last,) = self._forward(x, [h], lengths)
        return y, last
