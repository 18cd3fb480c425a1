"""Sequence layers of options drawn by chance beside PyTorch's: outputs and all gradients, in float32 and float64."""

import numpy as np
import pytest
from peers import needs_torch, torch

import dlfast as dl
from dlfast import functional as F
from dlfast import nn

pytestmark = needs_torch
SEEDS = range(12)
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-10}  # of the largest value
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])


class Draw:
    """Options, sizes and arrays that follow from a seed."""

    def __init__(self, *seed):
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed[0])  # the layers' first values are PyTorch's

    def size(self, low, high):
        return int(np.exp(self.rng.uniform(np.log(low), np.log(high + 1))))

    def of(self, *values):
        return values[self.rng.integers(len(values))]

    def array(self, *shape):
        return self.rng.normal(size=shape)

    def mask(self, *shape):
        """True where nothing may be seen; the first key always may."""
        hidden = self.rng.random(shape) < 0.4
        hidden[..., 0] = False
        return hidden


def agree(ours, theirs, dtype, what):
    wanted = theirs.detach().numpy()
    assert ours.dtype == dtype, what
    assert ours.shape == wanted.shape, what
    scale = np.abs(wanted).max(initial=0.1)  # below that, a gradient may be nothing but rounding
    np.testing.assert_allclose(ours / scale, wanted / scale, rtol=0, atol=TOLERANCE[dtype], err_msg=what)


def beside(draw, dtype, inputs, ours, theirs, modules=()):
    """Results and all gradients of ours(*Tensors) in that dtype, and of theirs(*tensors) in float64.

    modules: ours and PyTorch's, whose values ours takes.
    """
    if modules:
        mine, peer = modules
        peer.double()
        mine.load_state_dict({name: value.numpy() for name, value in peer.state_dict().items()})
        mine.to(dtype)
    here = [dl.Tensor(x.astype(dtype), requires_grad=True) for x in inputs]
    there = [torch.tensor(x, requires_grad=True) for x in inputs]
    found, wanted = ours(*here), theirs(*there)
    loss, other = 0, 0
    for i, (y, t) in enumerate(zip(found, wanted, strict=True)):
        agree(y.data, t, dtype, f"result {i}")
        gain = draw.array(*y.shape)
        loss, other = loss + (y * gain.astype(dtype)).sum(), other + (t * torch.tensor(gain)).sum()
    loss.backward()
    other.backward()
    for i, (x, t) in enumerate(zip(here, there, strict=True)):
        agree(x.grad, t.grad, dtype, f"gradient of input {i}")
    if modules:
        gradients = {name: p.grad for name, p in mine.named_parameters()}
        assert gradients.keys() == dict(peer.named_parameters()).keys()
        for name, p in peer.named_parameters():
            agree(gradients[name], p.grad, dtype, f"gradient of {name}")


def as_list(state):
    return list(state) if isinstance(state, tuple) else [state]


@DTYPES
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers(kind, seed, dtype):
    draw = Draw(seed, ord(kind[0]))
    steps, batch, features, hidden = draw.size(1, 60), draw.size(1, 40), draw.size(1, 40), draw.size(3, 90)
    layers, both, first = draw.of(1, 1, 2, 3), draw.of(False, True), draw.of(False, True)
    options = {"bias": draw.of(True, True, False), "batch_first": first, "bidirectional": both}
    if kind == "RNN":
        options["nonlinearity"] = draw.of("tanh", "relu")
    mine, peer = (getattr(of, kind)(features, hidden, layers, **options) for of in (nn, torch.nn))
    single, ragged = draw.of(False, False, False, True), draw.of(False, True)
    lengths = draw.rng.integers(1, steps + 1, batch) if ragged and not single else None
    axes = (steps,) if single else (batch, steps) if first else (steps, batch)
    state = (layers * (1 + both), *(() if single else (batch,)), hidden)
    count = draw.of(0, 2 if kind == "LSTM" else 1)
    inputs = [draw.array(*axes, features), *(draw.array(*state) for _ in range(count))]
    rnn = torch.nn.utils.rnn

    def given(states):
        return states if len(states) > 1 else states[0] if states else None

    def ours(x, *states):
        y, last = mine(x, given(states), lengths)
        return [y, *as_list(last)]

    def theirs(x, *states):
        if lengths is None:
            y, last = peer(x, given(states))
        else:
            packed = rnn.pack_padded_sequence(x, torch.tensor(lengths), first, enforce_sorted=False)
            y, last = peer(packed, given(states))
            y, _ = rnn.pad_packed_sequence(y, first, total_length=steps)
        return [y, *as_list(last)]

    beside(draw, dtype, inputs, ours, theirs, (mine, peer))


@DTYPES
@pytest.mark.parametrize("seed", SEEDS)
def test_multihead_attention(seed, dtype):
    draw = Draw(seed, 1)
    heads, batch, queries, keys = draw.of(1, 2, 3, 4), draw.size(1, 6), draw.size(1, 70), draw.size(1, 70)
    width, first, itself = heads * draw.size(1, 40), draw.of(False, True), draw.of(False, True)
    other = {} if itself or draw.of(False, True) else {"kdim": draw.size(1, 30), "vdim": draw.size(1, 30)}
    options = {"bias": draw.of(True, True, False), "batch_first": first, **other}
    mine, peer = (of.MultiheadAttention(width, heads, **options) for of in (nn, torch.nn))
    keys, single = queries if itself else keys, draw.of(False, False, False, True)
    batch = 1 if single else batch

    def drawn(count, features):
        shape = (count,) if single else (batch, count) if first else (count, batch)
        return draw.array(*shape, features)

    sizes = [(queries, width)] if itself else [(keys, other.get(name, width)) for name in ("kdim", "vdim")]
    inputs = [drawn(*size) for size in (sizes if itself else [(queries, width), *sizes])]
    masks = {}
    kind = draw.of("none", "pairs", "each head", "added")
    if kind != "none":
        masks["attn_mask"] = draw.mask(*((batch * heads,) if kind == "each head" else ()), queries, keys)
        if kind == "added":
            masks["attn_mask"] = np.where(masks["attn_mask"], -np.inf, draw.array(queries, keys))
    if kind != "added" and draw.of(False, True):
        masks["key_padding_mask"] = draw.mask(*(() if single else (batch,)), keys)
    need, mean = draw.of(False, True), draw.of(False, True)

    def call(module, x, convert):
        given = {name: convert(mask) for name, mask in masks.items()}
        y, weights = module(*(x * 3 if itself else x), need_weights=need, average_attn_weights=mean, **given)
        return [y, weights] if need else [y]

    def ours_of(mask):
        return mask if mask.dtype == bool else mask.astype(dtype)

    beside(
        draw, dtype, inputs,
        lambda *x: call(mine, list(x), ours_of), lambda *x: call(peer, list(x), torch.tensor), (mine, peer),
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("seed", SEEDS)
def test_attention_of_shared_heads(seed, dtype):
    draw = Draw(seed, 2)
    shared, queries, keys, size = draw.of(1, 2, 3), draw.size(2, 150), draw.size(2, 150), draw.size(1, 130)
    heads, lead = shared * draw.of(1, 2, 4), draw.of((), (2,), (2, 2))
    scale, causal = draw.of(None, 0.3), draw.of(False, True)
    mask = None
    if not causal:
        shape = draw.of(None, (queries, keys), (heads, 1, keys), (*lead[:1], *(1,) * len(lead), queries, keys))
        mask = None if shape is None else ~draw.mask(*shape)
    inputs = [
        draw.array(*lead, count, rows, size) for count, rows in ((heads, queries), (shared, keys), (shared, keys))
    ]
    peer = torch.nn.functional.scaled_dot_product_attention
    given = None if mask is None else torch.tensor(mask)
    beside(
        draw, dtype, inputs,
        lambda *x: [F.scaled_dot_product_attention(*x, mask, 0.0, causal, scale, True)],
        lambda *x: [peer(*x, given, 0.0, causal, scale=scale, enable_gqa=True)],
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("decoder", [False, True], ids=["encoder", "decoder"])
def test_transformers(decoder, seed, dtype):
    draw = Draw(seed, 3 + decoder)
    heads, batch, steps, keys = draw.of(1, 2, 4), draw.size(1, 5), draw.size(1, 40), draw.size(1, 40)
    width, first = 4 * heads * draw.size(1, 4), draw.of(False, True)
    options = {
        "dim_feedforward": draw.size(1, 60), "dropout": 0.0, "activation": draw.of("relu", "gelu"),
        "layer_norm_eps": draw.of(1e-5, 1e-3), "batch_first": first, "norm_first": draw.of(False, True),
        "bias": draw.of(True, True, False),
    }  # fmt: skip
    kind, layers, last = "Decoder" if decoder else "Encoder", draw.of(1, 2), draw.of(False, True)
    mine, peer = (
        getattr(of, f"Transformer{kind}")(
            getattr(of, f"Transformer{kind}Layer")(width, heads, **options),
            layers,
            of.LayerNorm(width) if last else None,
            **extra,
        )
        for of, extra in ((nn, {}), (torch.nn, {} if decoder else {"enable_nested_tensor": False}))
    )
    causal, padded = draw.of(False, True), draw.of(False, True)
    names = ("tgt", "memory") if decoder else ("",)
    masks = {}
    if causal:
        masks["tgt_mask" if decoder else "mask"] = np.triu(np.ones((steps, steps), bool), 1)
    if padded:
        masks["memory_key_padding_mask" if decoder else "src_key_padding_mask"] = draw.mask(
            batch, keys if decoder else steps
        )
    inputs = []
    for count in (steps, keys)[: len(names)]:
        inputs.append(draw.array(*((batch, count) if first else (count, batch)), width))
    beside(
        draw, dtype, inputs,
        lambda *x: [mine(*x, **masks)],
        lambda *x: [peer(*x, **{name: torch.tensor(mask) for name, mask in masks.items()})], (mine, peer),
    )  # fmt: skip
