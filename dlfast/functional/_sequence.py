"""Recurrent layers over whole sequences. T steps, B sequences, I input features, Hd hidden features, G gates.

x (T, B, I), or (B, T, I) with batch_first; weight_ih (G Hd, I), weight_hh (G Hd, Hd), bias_ih and bias_hh (G Hd,) or
None, as PyTorch lays them out; states (B, Hd), None for 0. y is like x with Hd features.

lengths (B,), integers in 1..T in any order, tell how long each sequence is; the rest of x is padding. They are read by
the CPU and best lie there; from a device they are copied, for which the CPU waits. Then y is 0 in
the padding, the last states are those at each sequence's own last step, nothing flows into or out of the padding, and
only the steps that exist are computed. reverse: from the last step to the first; each sequence begins at its own end.

Each raises TypeError for dtypes other than float32 and float64 or mixed ones and for lengths that are no integers,
ValueError for shapes that do not fit and lengths out of range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _check as check
from .._devices import on_cpu, on_device
from ..kernels.sequences import Steps, steps_of
from ..tensor import ArrayLike, Tensor, arrays_of, run, unwrap

_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_STATES = ("h", "c")
_GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def rnn(
    x: ArrayLike,
    h: ArrayLike | None,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None = None,
    bias_hh: ArrayLike | None = None,
    nonlinearity: str = "tanh",
    *,
    lengths: ArrayLike | None = None,
    batch_first: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or relu: (y, h), y all h_t and h the last one.

    Raises ValueError for a nonlinearity other than "tanh" and "relu", and as all in this file. Source: Elman 1990.
    """
    inputs = (x, h, weight_ih, weight_hh, bias_ih, bias_hh)
    check.choice("rnn", "nonlinearity", nonlinearity, ("tanh", "relu"))
    arrays, steps = _checked("rnn", 1, inputs, ("h",), lengths, batch_first, reverse)
    return run("rnn", inputs, arrays, {"steps": (steps,), "nonlinearity": nonlinearity})


def lstm(
    x: ArrayLike,
    state: tuple[ArrayLike, ArrayLike] | None,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None = None,
    bias_hh: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    batch_first: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """All steps of an LSTM: (y, (h, c)), y all h_t, h and c those after the last step; see `lstm_cell` for one step.

    state: (h, c) before the first step. Raises TypeError where it is no pair, and as all in this file.
    Source: Gers et al. 2000.
    """
    if state is not None and not (isinstance(state, (tuple, list)) and len(state) == 2):
        raise TypeError(f"lstm: state must be the pair (h, c) or None, got {type(state).__name__}")
    inputs = (x, *(state or (None, None)), weight_ih, weight_hh, bias_ih, bias_hh)
    arrays, steps = _checked("lstm", 4, inputs, ("h", "c"), lengths, batch_first, reverse)
    y, h, c = run("lstm", inputs, arrays, {"steps": (steps,)})
    return y, (h, c)


def gru(
    x: ArrayLike,
    h: ArrayLike | None,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None = None,
    bias_hh: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    batch_first: bool = False,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """All steps of a GRU: (y, h), y all h_t and h the last one; see `gru_cell` for one step.

    Raises as all in this file. Source: Cho et al. 2014, with r inside as in cuDNN and PyTorch.
    """
    inputs = (x, h, weight_ih, weight_hh, bias_ih, bias_hh)
    arrays, steps = _checked("gru", 3, inputs, ("h",), lengths, batch_first, reverse)
    return run("gru", inputs, arrays, {"steps": (steps,)})


def recurrent_layers(
    op: str,
    x: ArrayLike,
    states: Sequence[ArrayLike | None],
    parameters: Sequence[ArrayLike | None],
    lengths: ArrayLike | None,
    batch_first: bool,
    bidirectional: bool,
    **options: Any,
) -> tuple[Tensor, ...]:
    """L layers of "rnn", "lstm" or "gru" in one operation, D directions each: (y, h), or (y, h, c) with "lstm".

    parameters: weight_ih, weight_hh, bias_ih, bias_hh of each direction of each layer, PyTorch's order; further layers
    take the D Hd outputs of the one below. states (L D, B, Hd), but (B, Hd) where L D is 1. Raises as all in this file.
    """
    inputs, ways = (x, *states, *parameters), 1 + bidirectional
    arrays, one = _checked(op, _GATES[op], inputs, _STATES[: len(states)], lengths, batch_first, False, ways)
    steps = (one, one._replace(reverse=True)) if bidirectional else (one,)
    return run(op, inputs, arrays, {"steps": steps, **options})


def _checked(
    op: str,
    gates: int,
    inputs: Any,
    states: tuple[str, ...],
    lengths: Any,
    batch_first: bool,
    reverse: bool,
    ways: int = 1,
) -> tuple[list[Any], Steps]:
    """The arrays of a call and its steps, or an error."""
    arrays = arrays_of(inputs)
    a, given, parameters = arrays[0], arrays[1 : 1 + len(states)], arrays[1 + len(states) :]
    for name, array in (("x", a), ("weight_ih", parameters[0]), ("weight_hh", parameters[1])):
        if array is None:
            raise TypeError(f"{op}: {name} must be an array, got None")
    loops = len(parameters) // 4
    check.floats(op, ("x", *states, *_PARAMETERS * loops), arrays)
    if not _fit(gates, a, given, batch_first, loops, *parameters[:4]):
        _refuse(op, gates, a, dict(zip(states, given)), batch_first, *parameters[:4])
    for i in range(1, loops):
        _check_further(op, a.shape[2] if i < ways else ways * parameters[1].shape[1], parameters, i)
    batch, length = a.shape[:2] if batch_first else a.shape[1::-1]
    return arrays, steps_of(length, batch, _lengths(op, lengths, batch, length), bool(batch_first), bool(reverse))


def _check_further(op: str, features: int, parameters: list[Any], i: int) -> None:
    """Raise ValueError unless the parameters of a loop fit its inputs and those of the first one."""
    like, (w_ih, w_hh, *biases) = parameters[1], parameters[4 * i : 4 * i + 4]
    check.shape(op, "weight_hh", w_hh, like.shape, "like that of the other layers")
    check.shape(op, "weight_ih", w_ih, (like.shape[0], features), "to match the layer below")
    for name, bias in zip(_PARAMETERS[2:], biases):
        check.shape(op, name, bias, like.shape[:1], f"to match weight_hh {like.shape}")


def _fit(
    gates: int, a: Any, states: list[Any], batch_first: bool, loops: int, w_ih: Any, w_hh: Any, *biases: Any
) -> bool:
    """Whether the shapes go together: at little cost, since each step of a stream is a call."""
    if a.ndim != 3 or w_hh.ndim != 2 or a.shape[1 if batch_first else 0] < 1:
        return False
    hidden = w_hh.shape[1]
    rows, batch = gates * hidden, a.shape[0 if batch_first else 1]
    state = (batch, hidden) if loops == 1 else (loops, batch, hidden)
    if w_hh.shape[0] != rows or w_ih.shape != (rows, a.shape[2]):
        return False
    return all([b is None or b.shape == (rows,) for b in biases] + [s is None or s.shape == state for s in states])


def _refuse(
    op: str, gates: int, a: Any, states: dict[str, Any], batch_first: bool, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any
) -> None:
    """Raise ValueError for the first shape that does not fit."""
    check.rank(op, "x", a, "B, T, I" if batch_first else "T, B, I")
    if a.shape[1 if batch_first else 0] < 1:
        raise ValueError(f"{op}: x must have at least one step, got shape {a.shape}")
    check.rank(op, "weight_hh", w_hh, f"{gates} Hd, Hd" if gates > 1 else "Hd, Hd")
    hidden, batch = w_hh.shape[1], a.shape[0 if batch_first else 1]
    check.shape(op, "weight_hh", w_hh, (gates * hidden, hidden), f"{gates} gates of {hidden} units")
    check.shape(op, "weight_ih", w_ih, (gates * hidden, a.shape[2]), f"to match x {a.shape} and weight_hh {w_hh.shape}")
    check.shape(op, "bias_ih", b_ih, (gates * hidden,), f"to match weight_hh {w_hh.shape}")
    check.shape(op, "bias_hh", b_hh, (gates * hidden,), f"to match weight_hh {w_hh.shape}")
    for name, state in states.items():
        check.shape(op, name, state, (batch, hidden), f"to match x {a.shape} and weight_hh {w_hh.shape}")


def _lengths(op: str, lengths: Any, batch: int, length: int) -> np.ndarray | None:
    """The lengths as int64, None where all are whole."""
    if lengths is None:
        return None
    found = unwrap(lengths)
    if on_device(found):  # the CPU lays out the steps
        found = on_cpu(found)
    if found.dtype.kind not in "iu":
        raise TypeError(f"{op}: lengths must be integers, got dtype {found.dtype}; cast with lengths.astype(np.int64)")
    if found.shape != (batch,):
        raise ValueError(f"{op}: lengths must have shape ({batch},), one for each sequence, got {found.shape}")
    if batch and not (found.min() >= 1 and found.max() <= length):
        raise ValueError(f"{op}: lengths must be in 1..{length}, the steps of x, got {found.min()}..{found.max()}")
    return None if batch == 0 or found.min() == length else found.astype(np.int64)
