"""Recurrent layers over whole sequences, forward and backward: T steps of B sequences, inputs -> hidden units.

Random lengths: PyTorch packs the padded batch, which is the only way it has to leave padding out. Streaming is one step
at a time, forward alone, with the state carried on.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ... import functional as F
from ...tensor import no_grad
from ..rows import BEST, Group, Operation, Row
from ..sequences import Layer

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
OURS = {"RNN": F.rnn, "LSTM": F.lstm, "GRU": F.gru}
SHAPES = ((64, 32, 128, 256), (32, 64, 64, 128), (128, 1, 128, 128), (100, 20, 10, 20))
TARGETS = {"LSTM": (1.5, 1.8, 1.5, 4), "GRU": (2, 2.5, 6, 8), "RNN": (1.5, 2, 2, 6)}
STREAM = 50


def weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Small enough for the gates not to saturate."""
    return rng.standard_normal(shape, np.float32) / np.float32(shape[-1] ** 0.5)


def layer(kind: str, steps: int, batch: int, features: int, hidden: int, target: float, lengths=None) -> Row:
    """A row: one layer, all gradients; lengths of the sequences, None where all are whole."""
    rows = GATES[kind] * hidden
    shapes = [(steps, batch, features), (rows, features), (rows, hidden), (rows,), (rows,)]
    ours = partial(_ours, OURS[kind], lengths)
    work = partial(
        Operation, shapes, (True,) * 5, (steps, batch, hidden), ours, partial(_pytorch, kind, lengths), draw=weights
    )
    existing = steps * batch if lengths is None else int(lengths.sum())
    flops = 6.0 * existing * rows * (features + hidden)
    name = f"{kind} T {steps}, B {batch}, {features} -> {hidden}" + ("" if lengths is None else ", random lengths")
    return Row(name, work, flops=flops, targets={BEST: target})


def _ours(function, lengths, x, weight_ih, weight_hh, bias_ih, bias_hh):
    return function(x, None, weight_ih, weight_hh, bias_ih, bias_hh, lengths=lengths)[0]


def _pytorch(kind, lengths, torch, x, *parameters):
    zeros = torch.zeros(1, x.shape[1], parameters[1].shape[1])
    state = (zeros, zeros) if kind == "LSTM" else zeros
    function = {"RNN": torch._VF.rnn_tanh, "LSTM": torch._VF.lstm, "GRU": torch._VF.gru}[kind]
    if lengths is None:
        return function(x, state, parameters, True, 1, 0.0, True, False, False)[0]
    rnn = torch.nn.utils.rnn
    packed = rnn.pack_padded_sequence(x, torch.from_numpy(lengths), enforce_sorted=False)
    data = function(packed.data, packed.batch_sizes, state, parameters, True, 1, 0.0, True, False)[0]
    packed = rnn.PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    return rnn.pad_packed_sequence(packed, total_length=x.shape[0])[0]


def deep(kind: str, steps: int, batch: int, features: int, hidden: int, target: float) -> Row:
    """A row: two layers in both directions."""
    options = {"num_layers": 2, "bidirectional": True}
    products = 2.0 * steps * batch * GATES[kind] * hidden * (features + 4 * hidden)
    return Row(
        f"{kind} T {steps}, B {batch}, {features} -> {hidden}, 2 layers, bidirectional",
        partial(Layer, kind, steps, batch, features, hidden, options),
        flops=6.0 * products,
        targets={BEST: target},
    )


def streaming(features: int, hidden: int) -> Row:
    """A row: STREAM steps of one sequence, each a call of its own."""
    shapes = [(STREAM, 1, 1, features), (4 * hidden, features), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,)]
    flat = [(STREAM * features,), *shapes[1:]]
    work = partial(
        Operation,
        flat,
        (False,) * 5,
        (hidden,),
        partial(_stream, features),
        partial(_stream_pytorch, features),
        draw=weights,
    )
    return Row(f"LSTM streaming, {STREAM} single steps, {features} -> {hidden}", work, targets={BEST: 8})


def _stream(features, x, *parameters):
    state = None
    with no_grad():
        for step in range(STREAM):
            y, state = F.lstm(x.data[step * features : (step + 1) * features].reshape(1, 1, -1), state, *parameters)
    return y.reshape(-1)


def _stream_pytorch(features, torch, x, *parameters):
    zeros = torch.zeros(1, 1, parameters[1].shape[1])
    state = [zeros, zeros]
    with torch.no_grad():
        for step in range(STREAM):
            one = x[step * features : (step + 1) * features].view(1, 1, -1)
            y, *state = torch._VF.lstm(one, state, parameters, True, 1, 0.0, False, False, False)
    return y.view(-1)


_LENGTHS = np.random.default_rng(0).integers(1, 201, 32)

GROUPS = [
    Group(
        "recurrent layers",
        [
            *(layer(kind, *shape, target) for kind in GATES for shape, target in zip(SHAPES, TARGETS[kind])),
            layer("LSTM", int(_LENGTHS.max()), 32, 64, 128, 5, _LENGTHS),
            deep("LSTM", 48, 16, 64, 96, 1.8),
            streaming(128, 128),
        ],
    )
]
