"""explain: what it says of each layer is what runs, the table can be read, and the model stays as it was."""

import io
from importlib import import_module

import numpy as np
import pytest
from rich.console import Console

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels, nn, random
from dlfast.tensor import Tensor


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """No figure is looked at, so every layer is timed once."""
    monkeypatch.setattr("dlfast._explain.layers._SECONDS", 0)
    monkeypatch.setattr("dlfast._explain.layers._LEAST", 1)
    monkeypatch.setattr("dlfast._machine.fma_roof", lambda threads, dtype, least: 100.0)


def residual_net():
    body = [nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    down = [nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Residual(*body), nn.ReLU()),
        nn.Sequential(*down),
        nn.Conv2d(32, 32, 1),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(32, 10),
    )


def by_name(explanation):
    return {row.name: row for row in explanation.rows}


def test_a_residual_net():
    found = dl.explain(residual_net(), (8, 12, 12, 3))
    assert [(row.name, row.layer) for row in found] == [
        ("0", "Conv2d + ReLU + MaxPool2d"),
        ("3.0.0", "Conv2d"),
        ("3.0.1", "BatchNorm2d + ReLU"),
        ("3.1", "ReLU"),
        ("4.0", "Conv2d"),
        ("4.1", "BatchNorm2d + ReLU"),
        ("5", "Conv2d + Tanh"),
        ("7", "AdaptiveAvgPool2d"),
        ("8", "Flatten"),
        ("9", "Dropout"),
        ("10", "Linear"),
    ]
    rows = by_name(found)
    assert rows["0"][4:8] == ("cython", "direct", "-", "direct")
    assert rows["3.0.0"][4:8] == ("cython", "winograd", "winograd", "winograd")
    assert rows["4.0"].forward == "direct"
    assert rows["5"].why == (("pointwise", "a 1 x 1 kernel"),)
    assert rows["10"].dweight == "skinny"
    assert rows["8"][4:8] == ("numpy", "", "", "")
    assert rows["4.0"].output == (8, 3, 3, 32)
    assert rows["0"].flops == 2 * 2 * (8 * 12 * 12 * 16) * 27  # forward and dweight
    assert rows["10"].flops == 3 * 2 * 8 * 32 * 10
    assert found.whole.flops == sum(row.flops for row in found)
    assert rows["0"].of_peak == pytest.approx(rows["0"].gflops / 100)
    assert all(row.forward_seconds > 0 and row.backward_seconds > 0 for row in [*found, found.whole])


def test_the_table_is_of_120_columns():
    found = dl.explain(residual_net(), (16, 8, 8, 3))
    lines = str(found).split("\n")
    assert max(map(len, lines)) <= 120
    assert repr(found) == str(found)
    assert lines[1].split()[:3] == ["name", "layer", "output"]
    (row,) = (line for line in lines if line.startswith(" 3.0.0"))
    assert row.split()[:7] == ["3.0.0", "Conv2d", "16x4x4x16", "cython", "winograd", "winograd", "winograd"]
    assert "direct: 3 channels: gathering would cost more than multiplying (0)" in lines
    assert any("Peak: 100 GF/s" in line for line in lines)
    console = Console(file=io.StringIO(), width=100)
    console.print(found)
    assert "Tanh" in console.file.getvalue()  # perhaps in a line of its own: names of methods differ by processor


def test_long_lists_of_layers_are_cut():
    found = dl.explain(nn.Sequential(*(nn.Conv2d(1, 1, 2) for _ in range(60))), (1, 61, 61, 1))
    (line,) = (line for line in str(found).split("\n") if line.startswith("direct:"))
    assert line.endswith("more)")
    assert len(line) <= 120


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_was(training):
    model = residual_net().train(training)
    model[0].weight.grad = np.ones(model[0].weight.shape, np.float32)
    optimizer = dl.optim.Adam(model[10].parameters())
    before, state, call = model.state_dict(), random.get_state(), nn.Module.__call__
    dl.explain(model, (4, 8, 8, 3))
    assert random.get_state() == state
    assert nn.Module.__call__ is call
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert (model[0].weight.grad == 1).all()
    assert all(p.grad is None for p in model[10].parameters())
    assert all(module.training is training for module in model.modules())
    del optimizer


def test_modes_and_frozen_parameters():
    model = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 4))
    assert by_name(dl.explain(model, (8, 6)))["1"].backend == "cython"
    model.eval()
    model[2].requires_grad_(False)
    rows = by_name(dl.explain(model, (8, 6)))
    assert rows["1"].backend == "numpy"
    assert rows["2"][5:8] == ("gemm", "skinny", "-")
    model.requires_grad_(False)
    found = dl.explain(model, (8, 6))
    assert [row.backward_seconds for row in [*found, found.whole]] == [None] * 4
    assert by_name(found)["0"].dweight == "-"
    assert by_name(dl.explain(model, Tensor(np.ones((9, 6), np.float32), requires_grad=True)))["0"].dx == "skinny"


class Reader(nn.Module):
    """A cell over the time steps of embedded letters, a product that is no layer, and a second input."""

    def __init__(self):
        self.letters, self.cells = nn.Embedding(9, 6), nn.ModuleList([nn.LSTMCell(6, 8)])
        self.head = nn.Linear(8, 9)

    def forward(self, x, scale):
        state, letters = None, self.letters(x)
        for t in range(x.shape[1]):
            state = self.cells[0](letters[:, t], state)
        return self.head(state[0] * scale)


def test_custom_modules_repeated_calls_and_several_inputs():
    found = dl.explain(Reader(), (np.array([[1, 2, 0, 8, 3]] * 7), (7, 8)))
    rows = [(row.name, row.layer, row.calls, row.output) for row in found]
    assert rows == [
        ("letters", "Embedding", 1, (7, 5, 6)),
        ("cells.0", "LSTMCell", 1, (7, 8)),
        ("cells.0", "LSTMCell", 4, (7, 8)),
        ("head", "Linear", 1, (7, 9)),
    ]
    assert found.rows[2].flops == 4 * 3 * 2 * 7 * 4 * 8 * (6 + 8)
    assert "LSTMCell, 4 times" in str(found)


def test_language_models_get_integers_and_attention_has_a_row():
    found = dl.explain(dl.models.gpt(11, num_layers=1, d_model=8, nhead=2, context=6), (3, 6))
    rows = by_name(found)
    assert [row.name for row in found][2:5] == [
        f"blocks.layers.0.{n}" for n in ("norm1", "self_attn", "self_attn.out_proj")
    ]
    pairs = 3 * 2 * (6 * 7 // 2) * 4  # sequences, heads, queries and keys under the causal mask, features
    projection = 2 * (3 * 6) * 8 * 24
    assert rows["blocks.layers.0.self_attn"].flops == 3 * projection + 3 * (2 * 2 * pairs)
    assert rows["token"].dx == rows["token"].forward == ""
    assert rows["head"].output == (3, 6, 11)
    (lstm,) = (
        row for row in dl.explain(dl.models.char_lstm(11, hidden_size=5, embedding_dim=4), (3, 6)) if row.name == "rnn"
    )
    assert lstm.flops == 3 * 2 * (3 * 6) * 4 * 5 * (4 + 5)


class Functional(nn.Module):
    """A layer without layers: two kernels and a product."""

    def __init__(self):
        self.weight = nn.Parameter(np.ones((20, 3, 3, 20), np.float32))

    def forward(self, x):
        y = F.conv2d(F.conv_transpose2d(x, self.weight, stride=2), self.weight)
        return F.matmul(y, np.ones((20, 6), np.float32))


def test_a_layer_of_several_operations():
    (row,) = dl.explain(Functional(), (2, 5, 6, 20))
    assert row.forward == "direct, winograd, gemm"
    assert row.name == ""
    assert row.layer == "Functional"
    products = 2 * 2 * 5 * 6 * 20 * 9 * 20 + 2 * 2 * 9 * 11 * 20 * 9 * 20 + 2 * 2 * 9 * 11 * 20 * 6
    assert row.flops == 2 * products  # nothing but data goes in


def test_transposed_convolutions_exchange_the_passes():
    layer = nn.ConvTranspose2d(24, 2, 3, padding=1)
    images = Tensor(np.ones((8, 6, 6, 24), np.float32), requires_grad=True)
    assert dl.explain(layer, images).rows[0][5:8] == ("direct", "direct", "direct")
    with dl.use_backend("numba"):
        assert dl.explain(layer, images).rows[0][5:8] == ("scatter", "direct", "direct")
    assert dl.explain(nn.ConvTranspose2d(24, 16, 3, padding=1), (4, 8, 8, 24)).rows[0].forward == "winograd"
    (row,) = dl.explain(nn.Conv1d(3, 8, 5), (2, 20, 3))
    assert row[5:8] == ("direct", "-", "direct")
    assert row.flops == 2 * 2 * 2 * 16 * 8 * 15


def test_methods_asked_for_and_backends_in_force():
    conv = nn.Conv2d(16, 32, 3, padding=1, method="im2col")
    assert dl.explain(conv, (2, 6, 6, 16)).rows[0].why == (("im2col", "asked for"),)
    model = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.Flatten(), nn.Linear(32 * 64, 3))
    with dl.use_backend("reference"):
        found = dl.explain(model, (4, 8, 8, 16))
    rows = by_name(found)
    assert rows["0"][4:6] == ("reference", "im2col")
    assert rows["0"].why[0].why == "this backend has no winograd"
    assert rows["2"].forward == "BLAS"
    assert "use_backend('reference')" in str(found)


def test_few_rows_are_said_to_be_skinny():
    for rows, method in ((4, "skinny"), (5, "gemm")):
        assert dl.explain(nn.Linear(30, 20), (rows, 30)).rows[0].forward == method


def test_float64_models_get_float64():
    found = dl.explain(nn.Linear(3, 2).to(np.float64), (4, 3))
    assert found.dtype == "float64"


def test_bad_arguments():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(99, 3)))
    call = nn.Module.__call__
    with pytest.raises(TypeError, match="explain: model must be a Module, got function"):
        dl.explain(F.relu, (3, 4))
    with pytest.raises(
        ValueError, match=r"explain: layer '1.2' \(Linear\) cannot take its input of shape \(2, 36\): Linear: x must"
    ):
        dl.explain(model, (2, 8, 8, 1))
    with pytest.raises(ValueError, match=r"explain: layer '0' \(Conv2d\).* x must have 4 axes \(N, H, W, C\)"):
        dl.explain(model, (8, 8, 1))
    with pytest.raises(ValueError, match=r"explain: the model \(Embedding\).*indices must be integers, got float32"):
        dl.explain(nn.Embedding(3, 4), np.ones((2, 5), np.float32))
    with pytest.raises(TypeError, match="explain: input_shape must be an integer, got 2.5"):
        dl.explain(model, (2.5, 3))
    with pytest.raises(TypeError, match=r"must be a shape with the batch, such as \(32, 784\), or an array, got 7"):
        dl.explain(model, 7)
    assert nn.Module.__call__ is call
    assert kernels.get_backend() == ("auto",)


def test_layers_that_run_their_neighbours_are_named_after_all_of_them():
    convolutions = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 9, 3)
    model = nn.Sequential(convolutions[0], nn.Tanh(), nn.AvgPool2d(2), convolutions[1], nn.MaxPool2d(2))
    names = [row.layer for row in dl.explain(model, (2, 20, 20, 1))]
    assert names == ["Conv2d + Tanh + AvgPool2d", "Conv2d + MaxPool2d"]
    normed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval().requires_grad_(False)
    assert dl.explain(normed, (2, 8, 8, 3)).rows[0].layer == "Conv2d + BatchNorm2d + ReLU"
    assert [row.layer for row in dl.explain(nn.AvgPool2d(2), (2, 8, 8, 3))] == ["AvgPool2d"]


@pytest.mark.parametrize("backend", [name for name in ("numba", "cython") if name in kernels.backends_of("linear")])
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(1, 40, 30), (4, 40, 30), (12, 400, 30), (33, 400, 30), (9, 5, 6)]
)
def test_products_are_what_the_backend_says_of_them(rows, inputs, outputs, backend):
    """No threshold is known here: the file that decides is asked, with the sides of each pass."""
    product_path = import_module(f"dlfast.kernels.{backend}.linear").product_path
    with dl.use_backend(backend, "reference"):
        x = Tensor(np.ones((rows, inputs), np.float32), requires_grad=True)
        (row,) = dl.explain(nn.Linear(inputs, outputs), x).rows
    paths = (
        product_path(rows, outputs, inputs, False, True),
        product_path(rows, inputs, outputs, False, False),
        product_path(outputs, inputs, rows, True, False),
    )
    assert row[5:8] == tuple("gemm" if path == "blocks" else "skinny" for path in paths)


@pytest.mark.skipif(not kernels.built("cython"), reason="the Cython kernels are not built")
def test_paths_within_a_method_are_those_that_the_backend_names():
    pooled = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2))
    largest = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    tiles = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1))
    for model, shape, words in (
        (pooled, (8, 28, 28, 1), "pixels of a row in the lanes"),
        (largest, (8, 28, 28, 1), "winners give straight to the weights"),
        (tiles, (32, 14, 14, 3), "dz is transformed once for both gradients"),
    ):
        with dl.use_backend("cython"):
            assert words in " ".join(str(dl.explain(model, shape)).split())
        with dl.use_backend("numba"):
            assert words not in " ".join(str(dl.explain(model, shape)).split())
