"""Recurrent layers, attention and Transformers: beside their cells, beside PyTorch, with lengths, and bad input."""

from itertools import product

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import nn

KINDS = ("RNN", "LSTM", "GRU")
OPTIONS = list(product((1, 2), (False, True), (False, True), (False, True)))


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def as_list(state):
    return list(state) if isinstance(state, tuple) else [state]


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_equals_its_unrolled_cells(kind):
    dl.manual_seed(1)
    layer, cell = getattr(nn, kind)(3, 5).to(np.float64), getattr(nn, f"{kind}Cell")(3, 5).to(np.float64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x, state, steps = drawn(6, 2, 3), None, []
    for each in x:
        state = cell(each, state)
        steps.append(as_list(state)[0])
    y, last = layer(x)
    np.testing.assert_allclose(y.data, F.stack(steps).data, atol=1e-13)
    for ours, theirs in zip(as_list(last), as_list(state), strict=True):
        np.testing.assert_allclose(ours.data[0], theirs.data, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_as_sequences_alone(kind):
    """A ragged batch gives what each sequence gives alone, zeros in the padding, and no gradient to it."""
    dl.manual_seed(2)
    layer = getattr(nn, kind)(3, 4, bidirectional=True).to(np.float64)
    x, lengths = dl.Tensor(drawn(6, 4, 3), requires_grad=True), np.array([2, 6, 1, 4])
    y, last = layer(x, lengths=lengths)
    for i, length in enumerate(lengths):
        alone, state = layer(x.data[:length, i])
        np.testing.assert_allclose(y.data[:length, i], alone.data, atol=1e-13)
        assert not y.data[length:, i].any()
        for ours, theirs in zip(as_list(last), as_list(state), strict=True):
            np.testing.assert_allclose(ours.data[:, i], theirs.data, atol=1e-13)
    (y * drawn(*y.shape)).sum().backward()
    for i, length in enumerate(lengths):
        assert x.grad[:length, i].any()
        assert not x.grad[length:, i].any()


def beside(torch, ours, theirs, inputs, run_ours, run_theirs):
    """Outputs and all gradients of two modules with the same weights agree."""
    ours.load_state_dict({name: value.detach().numpy() for name, value in theirs.state_dict().items()})
    here = [dl.Tensor(x, requires_grad=True) for x in inputs]
    there = [torch.tensor(x, requires_grad=True) for x in inputs]
    results, wanted = run_ours(*here), run_theirs(*there)
    loss, other = 0, 0
    for y, t in zip(results, wanted, strict=True):
        np.testing.assert_allclose(y.data, t.detach().numpy(), atol=1e-10)
        gain = drawn(*y.shape, seed=3)
        loss, other = loss + (y * gain).sum(), other + (t * torch.tensor(gain)).sum()
    loss.backward()
    other.backward()
    parameters = dict(theirs.named_parameters())
    pairs = [(x.grad, t.grad) for x, t in zip(here, there, strict=True)]
    pairs += [(p.grad, parameters[name].grad) for name, p in ours.named_parameters()]
    for gradient, peer in pairs:
        np.testing.assert_allclose(gradient, peer.numpy(), atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layers", "bidirectional", "batch_first", "ragged"), OPTIONS)
def test_recurrent_layers_agree_with_pytorch(kind, layers, bidirectional, batch_first, ragged):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rnn, options = torch.nn.utils.rnn, {"batch_first": batch_first, "bidirectional": bidirectional}
    theirs = getattr(torch.nn, kind)(3, 5, layers, **options).double()
    ours = getattr(nn, kind)(3, 5, layers, **options).to(np.float64)
    lengths = np.array([6, 2, 5, 1, 3, 6, 4, 2, 2]) if ragged else None
    states = [drawn(layers * (1 + bidirectional), 9, 5, seed=i) for i in range(2 if kind == "LSTM" else 1)]

    def run_ours(x, *state):
        y, last = ours(x, state if kind == "LSTM" else state[0], lengths=lengths)
        return [y, *as_list(last)]

    def run_theirs(x, *state):
        if ragged:
            x = rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=False)
        y, last = theirs(x, state if kind == "LSTM" else state[0])
        return [rnn.pad_packed_sequence(y, batch_first)[0] if ragged else y, *as_list(last)]

    x = drawn(9, 6, 3) if batch_first else drawn(6, 9, 3)
    beside(torch, ours, theirs, [x, *states], run_ours, run_theirs)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_multihead_attention_agrees_with_pytorch(cross, masked, need_weights):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    sizes = {"kdim": 6, "vdim": 4} if cross else {}
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True, **sizes).double()
    ours = nn.MultiheadAttention(8, 2, batch_first=True, **sizes).to(np.float64)
    keys = 7 if cross else 5
    hidden = np.random.default_rng(0).random((5, keys)) < 0.3
    hidden[:, 0] = False
    padding = np.zeros((3, keys), bool)
    padding[1, -2:] = True
    inputs = [drawn(3, 5, 8), drawn(3, keys, 6), drawn(3, keys, 4)] if cross else [drawn(3, 5, 8)]

    def call(module, convert, x):
        masks = {"attn_mask": convert(hidden), "key_padding_mask": convert(padding)} if masked else {}
        y, weights = module(*(x if cross else x * 3), need_weights=need_weights, **masks)
        return [y, weights] if need_weights else [y]

    beside(
        torch, ours, theirs, inputs,
        lambda *x: call(ours, np.asarray, list(x)), lambda *x: call(theirs, torch.tensor, list(x)),
    )  # fmt: skip


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_transformers_agree_with_pytorch(norm_first, activation):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    options = {"norm_first": norm_first, "activation": activation, "dropout": 0.0, "dim_feedforward": 16}
    peer, future = torch.nn, torch.nn.Transformer.generate_square_subsequent_mask(4).double()
    encoder = peer.TransformerEncoder(
        peer.TransformerEncoderLayer(8, 2, **options), 2, peer.LayerNorm(8), enable_nested_tensor=False
    ).double()
    ours = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, **options), 2, nn.LayerNorm(8)).to(np.float64)
    x, memory = drawn(4, 3, 8), drawn(5, 3, 8)
    beside(torch, ours, encoder, [x], lambda x: [ours(x, is_causal=True)], lambda x: [encoder(x, future)])
    decoder = peer.TransformerDecoder(peer.TransformerDecoderLayer(8, 2, **options), 2).double()
    mine = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, **options), 2).to(np.float64)
    beside(
        torch, mine, decoder, [x, memory],
        lambda x, m: [mine(x, m, tgt_is_causal=True)], lambda x, m: [decoder(x, m, tgt_mask=future)],
    )  # fmt: skip


def test_a_query_that_may_look_nowhere_gives_0():
    q, mask = dl.Tensor(drawn(1, 1, 3, 4), requires_grad=True), np.array([[True, False, True], [False] * 3, [True] * 3])
    y = F.scaled_dot_product_attention(q, drawn(1, 1, 3, 4, seed=1), drawn(1, 1, 3, 4, seed=2), mask)
    y.sum().backward()
    assert not y.data[0, 0, 1].any()
    assert not q.grad[0, 0, 1].any()
    assert q.grad[0, 0, 0].any()


def test_rotary_scores_depend_on_distances_alone():
    q, k = drawn(1, 6), drawn(1, 6, seed=1)
    score = [
        float((F.rotary_embedding(q, start=3 + t).data @ F.rotary_embedding(k, start=t).data.T).item()) for t in (0, 9)
    ]
    assert score[0] == pytest.approx(score[1])


def test_positions_follow_the_paper():
    p = nn.PositionalEncoding(6, 0.0, 10)(np.zeros((4, 6), np.float32)).data
    np.testing.assert_allclose(p[3, 2:4], [np.sin(3 / 10000 ** (2 / 6)), np.cos(3 / 10000 ** (2 / 6))], rtol=1e-6)


X, W = np.zeros((4, 2, 3)), [np.zeros((20, 3)), np.zeros((20, 5))]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: F.lstm(X, None, *W, lengths=[2, 5]), "lengths must be in 1..4, the steps of x, got 2..5"),
        (lambda: F.lstm(X, None, *W, lengths=[0, 3]), "lengths must be in 1..4"),
        (lambda: F.lstm(X, None, *W, lengths=[-1, 3]), "lengths must be in 1..4"),
        (lambda: F.lstm(X, None, *W, lengths=[1.5, 3]), "lengths must be integers"),
        (lambda: F.lstm(X, None, *W, lengths=[1, 2, 3]), r"lengths must have shape \(2,\)"),
        (lambda: F.lstm(X, np.zeros((2, 5)), *W), "state must be the pair"),
        (lambda: F.lstm(X, (np.zeros((2, 5)), np.zeros((2, 4))), *W), "c must have shape"),
        (lambda: F.gru(X, None, *W), "weight_hh must have shape"),
        (lambda: F.lstm(X[:0], None, *W), "at least one step"),
        (lambda: nn.LSTM(3, 5)(np.zeros((4, 2, 4), np.float32)), "input_size 3"),
        (lambda: nn.MultiheadAttention(8, 3), "num_heads must divide embed_dim 8, got 3"),
        (
            lambda: F.scaled_dot_product_attention(*[np.zeros((1, 2, 3, 4))] * 3, np.zeros((2, 5), bool)),
            "must broadcast",
        ),
        (lambda: F.scaled_dot_product_attention(np.zeros((1, 3, 3, 4)), *[np.zeros((1, 2, 3, 4))] * 2), "heads"),
        (lambda: F.self_attention(np.zeros((2, 3, 4))), r"\(B, T, 3, H, D\)"),
        (lambda: F.rotary_embedding(np.zeros((3, 5))), "even D"),
    ],
)
def test_bad_input_names_the_argument(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
