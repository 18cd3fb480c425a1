"""What the notes teach, a test for each: by its formula, and on the data that ships with the package.

Here: architectures. Each test is named after its subject, which has a page in docs/notes.
"""

import math

import numpy as np
import pytest
from features import digits, fitted

import dlfast as dl
from dlfast import functional as F
from dlfast import init, inspect, models, nn, optim


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


def randn(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def test_cnn_has_the_shapes_of_the_picture():
    """224 x 224 x 3 -> 222 x 222 x 32 -> 111 x 111 x 32 -> conv -> pool -> flatten 4096 -> 1000."""
    text = str(inspect.summary(models.notes_cnn(), (1, 224, 224, 3)))
    places = [text.index(shape) for shape in ("222x222x32", "111x111x32", "109x109x64", "8x8x64", "4096", "1000")]
    assert places == sorted(places), text


def test_cnn_convolution_is_its_formula():
    x, weight, bias = randn(2, 5, 6, 3), randn(4, 3, 3, 3, seed=1), randn(4, seed=2)
    y = np.empty((2, 3, 4, 4), np.float32)
    for p in range(3):
        for q in range(4):
            y[:, p, q] = np.einsum("nrsc,krsc->nk", x[:, p : p + 3, q : q + 3], weight) + bias
    np.testing.assert_allclose(F.conv2d(x, weight, bias).numpy(), y, rtol=1e-4, atol=1e-4)


def test_cnn_learns_digits():
    features = (nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    assert fitted(nn.Sequential(*features, nn.Linear(128, 10)), digits(), 12)["val_accuracy"][-1] > 0.88


def test_alexnet_has_61_100_840_parameters():
    assert sum(parameter.size for parameter in models.alexnet().parameters()) == 61_100_840


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_rnn_layer_equals_its_unrolled_cells(kind):
    layer, cell = getattr(nn, kind)(5, 7), getattr(nn, f"{kind}Cell")(5, 7)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x, state = randn(6, 3, 5), None
    y, _ = layer(x)
    for t in range(6):
        state = cell(x[t], state)
        h = state[0] if kind == "LSTM" else state
        np.testing.assert_allclose(h.numpy(), y[t].numpy(), rtol=1e-4, atol=1e-6)
    (y**2).sum().backward()
    whole = {name: parameter.grad for name, parameter in layer.named_parameters()}
    state, total = None, 0.0
    for t in range(6):
        state = cell(x[t], state)
        h = state[0] if kind == "LSTM" else state
        total = (h**2).sum() + total
    total.backward()
    for name, parameter in cell.named_parameters():
        np.testing.assert_allclose(parameter.grad, whole[f"{name}_l0"], rtol=1e-3, atol=1e-4)


def test_rnn_is_its_formula():
    cell, x, h = nn.RNNCell(3, 4), randn(2, 3), randn(2, 4, seed=1)
    w, u, b, d = (parameter.numpy() for parameter in cell.parameters())
    np.testing.assert_allclose(cell(x, h).numpy(), np.tanh(x @ w.T + b + h @ u.T + d), rtol=1e-5, atol=1e-6)


def test_rnn_reads_digits_row_by_row():
    def rows(part):
        return part.arrays[0][..., 0], part.arrays[1]

    model = models.sequence_net(8, 10, kind="RNN", hidden_size=32)
    assert fitted(model, [rows(part) for part in digits()], 12, lr=5e-3)["val_accuracy"][-1] > 0.75


def test_lstm_gates():
    cell, x, h, c = nn.LSTMCell(3, 4), randn(2, 3), randn(2, 4, seed=1), randn(2, 4, seed=2)
    w, u, b, d = (parameter.numpy() for parameter in cell.parameters())
    i, f, g, o = np.split(x @ w.T + b + h @ u.T + d, 4, axis=1)
    sigmoid = F.sigmoid
    c_next = sigmoid(f).numpy() * c + sigmoid(i).numpy() * np.tanh(g)
    h_next = sigmoid(o).numpy() * np.tanh(c_next)
    for ours, formula in zip(cell(x, (h, c)), (h_next, c_next), strict=True):
        np.testing.assert_allclose(ours.numpy(), formula, rtol=1e-5, atol=1e-6)


def test_lstm_forget_gate_keeps_or_clears_the_cell():
    """With f at 1 and i at 0 the cell state passes unchanged, with f at 0 nothing of it is left."""
    cell, c = nn.LSTMCell(1, 3), randn(1, 3)
    for parameter in cell.parameters():
        init.zeros_(parameter)
    for forget, kept in ((50, c), (-50, 0 * c)):
        cell.bias_ih.data[:] = np.repeat([-50, forget, 0, 0], 3)
        np.testing.assert_allclose(cell(np.zeros((1, 1), np.float32), (0 * c, c))[1].numpy(), kept, atol=1e-6)


def test_lstm_gradient_reaches_over_100_steps_where_that_of_an_rnn_vanishes():
    """Training on it, `dlfast remember`, is tested in test_sequence_models.py."""
    reach = {}
    for kind, options in {"LSTM": {"forget_bias": 3.0}, "RNN": {}}.items():
        x = dl.tensor(randn(8, 100, 1), requires_grad=True)
        models.sequence_net(1, 1, kind=kind, hidden_size=32, **options)(x).sum().backward()
        reach[kind] = np.abs(x.grad[:, 0]).mean() / np.abs(x.grad[:, -1]).mean()
    assert reach["LSTM"] > 1e-3
    assert reach["RNN"] < 1e-9


def attention(q, k, v, mask):
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + mask
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ v


def test_transformers_attention_is_its_formula():
    q, k, v = (randn(2, 4, 9, 8, seed=seed) for seed in range(3))
    for causal, mask in ((False, 0.0), (True, nn.causal_mask(9))):
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal).numpy()
        np.testing.assert_allclose(y, attention(q, k, v, mask), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformers_causal_mask_hides_what_comes_later(norm_first):
    layer = nn.TransformerEncoderLayer(16, 4, 32, norm_first=norm_first, batch_first=True).eval()
    x = randn(2, 7, 16)
    later = x.copy()
    later[:, 4:] = 5
    one, other = (layer(given, is_causal=True).numpy() for given in (x, later))
    np.testing.assert_allclose(one[:, :4], other[:, :4], rtol=1e-5, atol=1e-6)
    assert not np.allclose(one[:, 4:], other[:, 4:], atol=1e-3)


def test_transformers_key_padding_mask_is_as_if_the_padding_were_not_there():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    x = randn(2, 7, 16)
    padding = np.arange(7) >= np.array([[7], [4]])  # True at the filling of the second sequence
    y = layer(x, src_key_padding_mask=padding).numpy()
    np.testing.assert_allclose(y[0], layer(x[:1]).numpy()[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y[1, :4], layer(x[1:, :4]).numpy()[0], rtol=1e-4, atol=1e-5)


def test_transformers_decoder_attends_to_its_memory():
    layer = nn.TransformerDecoderLayer(16, 4, 32, batch_first=True).eval()
    x, memory = randn(2, 5, 16), randn(2, 6, 16, seed=1)
    y = layer(x, memory, tgt_is_causal=True).numpy()
    assert not np.allclose(y, layer(x, memory[:, ::-1] + 1, tgt_is_causal=True).numpy(), atol=1e-3)


def test_transformers_language_model_learns_the_gospels():
    text = dl.data.load("gospels")
    model = models.gpt(len(text.vocabulary), context=32, d_model=32, num_layers=1, nhead=2, dropout=0.0)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    batch = text.random_windows(32, 640)
    losses = []
    for x, y in dl.data.DataLoader(batch, batch_size=16):
        loss = F.cross_entropy(model(x).reshape(-1, len(text.vocabulary)), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(len(text.vocabulary)), rel=0.1)
    assert np.mean(losses[-5:]) < 2.9


def test_residual_connections_add_what_they_get():
    f = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    short, x = nn.Linear(6, 6), randn(5, 6)
    np.testing.assert_allclose(nn.Residual(*f)(x).numpy(), x + f(x).numpy(), rtol=1e-5, atol=1e-6)
    expected = np.maximum(short(x).numpy() + f(x).numpy(), 0)
    block = nn.Residual(*f, shortcut=short, activation="relu")
    np.testing.assert_allclose(block(x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_residual_connections_train_what_is_too_deep_without():
    def deep(residual):
        dl.manual_seed(0)
        parts = [(nn.Linear(64, 64), nn.Sigmoid()) for _ in range(20)]
        layers = [nn.Residual(*f) for f in parts] if residual else [module for f in parts for module in f]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 10))

    plain, residual = (fitted(deep(residual), digits(), 4, lr=1e-3)["val_accuracy"][-1] for residual in (False, True))
    assert plain < 0.3
    assert residual > 0.5
