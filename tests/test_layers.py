"""Each layer and loss by gradcheck, alone and in nets; what single layers keep: statistics, modes, initial values."""

import copy
import math

import numpy as np
import pytest
from layers import LAYERS, LOSSES
from samples import image

import dlfast as dl
from dlfast import functional as F
from dlfast import nn
from dlfast.nn import margin_loss, padding


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


def name_of(value):
    return repr(value).split("\n")[0] if isinstance(value, nn.Module) else ""


@pytest.mark.parametrize(("layer", "shapes"), LAYERS, ids=name_of)
def test_every_layer_by_gradcheck(layer, shapes):
    layer = copy.deepcopy(layer).to(np.float64)
    inputs = [image(*shape) for shape in shapes]
    dl.gradcheck(lambda *a: layer(*a[: len(inputs)]), [*inputs, *layer.parameters()])


@pytest.mark.parametrize(("layer", "target", "x"), LOSSES, ids=name_of)
def test_every_loss_by_gradcheck(layer, target, x):
    dl.gradcheck(lambda x: layer(x, target), x)


def test_embedding_by_gradcheck():
    layer = nn.Embedding(5, 3, padding_idx=-1).to(np.float64)
    assert layer.padding_idx == 4
    np.testing.assert_array_equal(layer.weight.data[4], 0)
    indices = np.array([[0, 3], [3, 1]])
    dl.gradcheck(lambda w: layer(indices), list(layer.parameters()))
    layer(np.array([4, 1])).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.sum(1), [0, 3, 0, 0, 0])


def test_the_table_of_layers_is_complete():
    tested = {type(layer) for layer, *_ in [*LAYERS, *LOSSES]} | {nn.Embedding, nn.ModuleList, nn.Module, nn.Parameter}
    elsewhere = {nn.ModuleDict, nn.ParameterDict, nn.ParameterList}  # in test_hooks.py, and in test_sequences.py:
    elsewhere |= {nn.RNN, nn.LSTM, nn.GRU, nn.MultiheadAttention, nn.PositionalEncoding, nn.causal_mask}
    elsewhere |= {nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.TransformerDecoder, nn.TransformerDecoderLayer}
    elsewhere |= {nn.KeyValueCache, nn.LearnedPositions}  # and in test_language.py
    for module in (margin_loss, padding):  # and in test_margin_losses.py and test_padding.py
        elsewhere |= {vars(module)[name] for name in nn.__all__ if name in vars(module)}
    assert {getattr(nn, name) for name in nn.__all__} == tested | elsewhere


class Block(nn.Module):
    """A Transformer block: attention of several heads and a feed-forward net, both residual."""

    def __init__(self, width, heads):
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def attention(self, x):
        b, t, c = x.shape
        split = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = split[0], split[1], split[2]
        scores = F.softmax(q @ k.transpose(-2, -1) / math.sqrt(c // self.heads))
        return self.out((scores @ v).transpose(1, 2).reshape(b, t, c))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.feed(self.norm2(x))


def test_a_transformer_block_by_gradcheck():
    block = Block(6, 2).to(np.float64)
    x = np.random.default_rng(0).normal(size=(2, 3, 6))
    dl.gradcheck(lambda x, *_: block(x), [x, *block.parameters()])


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_an_unrolled_recurrent_net_by_gradcheck(kind):
    cell, head = kind(2, 3).to(np.float64), nn.Linear(3, 2).to(np.float64)

    def net(x, *_):
        state, outputs = None, []
        for t in range(6):
            state = cell(x[:, t], state)
            outputs.append(head(state[0] if kind is nn.LSTMCell else state))
        return F.stack(outputs, axis=1)

    x = np.random.default_rng(0).normal(size=(2, 6, 2))
    dl.gradcheck(net, [x, *cell.parameters(), *head.parameters()])


def test_a_layer_used_twice_by_gradcheck():
    layer = nn.Linear(3, 3, activation="tanh").to(np.float64)
    model = nn.Sequential(layer, nn.Sigmoid(), layer)
    assert len(list(model.parameters())) == 2
    assert sorted(model.state_dict()) == ["0.bias", "0.weight", "2.bias", "2.weight"] or len(model.state_dict()) == 2
    dl.gradcheck(lambda x, *_: model(x), [np.random.default_rng(0).normal(size=(2, 3)), *model.parameters()])


def test_a_convolutional_net_by_gradcheck():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)
    ).to(np.float64)
    x = image(2, 4, 4, 1)
    dl.gradcheck(lambda x, *_: F.cross_entropy(model(x), [0, 2]), [x, *model.parameters()])


def test_batch_norm_statistics():
    layer = nn.BatchNorm1d(2, momentum=None)
    batches = np.random.default_rng(0).normal(3, 2, (4, 50, 2)).astype(np.float32)
    for batch in batches:
        layer(batch)
    assert layer.num_batches_tracked == 4
    np.testing.assert_allclose(layer.running_mean, batches.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var, batches.var(1, ddof=1).mean(0), rtol=1e-5)
    layer.eval()(batches[0])
    assert layer.num_batches_tracked == 4
    plain = nn.BatchNorm1d(2, track_running_stats=False)
    assert list(plain.state_dict()) == ["weight", "bias"]
    np.testing.assert_allclose(plain.eval()(batches[0]).data.mean(0), 0, atol=1e-6)
    with pytest.raises(ValueError, match=r"BatchNorm2d: x must have shape \(N, H, W, C\), got \(2, 3\)"):
        nn.BatchNorm2d(3)(np.zeros((2, 3), np.float32))
    layer.train()
    with pytest.raises(ValueError, match=r"BatchNorm1d: x must have num_features=2 channels in its last axis"):
        layer(np.zeros((4, 3), np.float32))
    assert layer.num_batches_tracked == 4


def test_dropout_only_in_training():
    x = np.ones((50, 50), np.float32)
    layer = nn.Dropout(0.5)
    assert (layer(x).data == 0).any()
    np.testing.assert_array_equal(layer.eval()(x), x)


def test_cells_start_at_zero():
    x, zeros = np.ones((2, 3), np.float32), np.zeros((2, 4), np.float32)
    for cell, state in ((nn.RNNCell(3, 4), zeros), (nn.GRUCell(3, 4), zeros)):
        np.testing.assert_array_equal(cell(x), cell(x, state))
    cell = nn.LSTMCell(3, 4)
    for found, expected in zip(cell(x), cell(x, (zeros, zeros))):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("layer", "limit"),
    [
        (nn.Linear(100, 200), 0.1),
        (nn.Conv2d(32, 64, 5, groups=2), 1 / math.sqrt(16 * 25)),
        (nn.Conv1d(32, 64, 9, groups=2), 1 / 12),
        (nn.ConvTranspose2d(32, 64, 5, groups=2), 1 / math.sqrt(32 * 25)),
        (nn.LSTMCell(50, 64), 1 / 8),
        (nn.GRUCell(50, 64), 1 / 8),
        (nn.RNNCell(50, 64), 1 / 8),
    ],
)
def test_initial_values_are_uniform_within_pytorchs_limits(layer, limit):
    for parameter in layer.parameters():
        assert np.abs(parameter.data).max() <= limit * (1 + 1e-6)
        assert np.abs(parameter.data).max() > 0.9 * limit
        if parameter.size > 4000:
            assert parameter.data.var() == pytest.approx(limit**2 / 3, rel=0.05)


def test_seeds_make_layers_equal():
    dl.manual_seed(5)
    first = nn.Linear(3, 4).weight.data
    dl.manual_seed(5)
    np.testing.assert_array_equal(nn.Linear(3, 4).weight.data, first)
