"""Names: what is missing points to the nearest; axis and dim are one; what PyTorch calls otherwise is there."""

import importlib
import inspect
import pickle

import numpy as np
import pytest
from samples import leaf

import dlfast as dl
from dlfast import functional as F
from dlfast import nn, optim
from dlfast.tensor import Tensor

MISSING = [
    (lambda: nn.Conv2D, "module 'dlfast.nn' has no attribute 'Conv2D'; did you mean Conv2d"),
    (lambda: nn.Relu, "did you mean ReLU"),
    (lambda: nn.BatchNorm2D, "did you mean BatchNorm2d"),
    (lambda: nn.CrossEntropy, "did you mean CrossEntropyLoss"),
    (lambda: nn.relu, "did you mean ReLU|there is dlfast"),
    (lambda: nn.qqqqqqqq, "module 'dlfast.nn' has no attribute 'qqqqqqqq'; it has .*Linear"),
    (lambda: F.cross_entropy_loss, "module 'dlfast.functional' has no attribute .*did you mean cross_entropy"),
    (lambda: F.cat, "there is dlfast.cat"),
    (lambda: optim.Adm, "module 'dlfast.optim' has no attribute 'Adm'; did you mean Adam"),
    (lambda: optim.clip_grad_norm, "did you mean clip_grad_norm_"),
    (lambda: dl.Linear, "module 'dlfast' has no attribute 'Linear'; there is dlfast.nn.Linear"),
    (lambda: dl.tensr, "did you mean tensor"),
    (lambda: dl.init.xavier_uniform, "did you mean xavier_uniform_"),
    (lambda: dl.data.Dataloader, "did you mean DataLoader"),
    (lambda: dl.train.fitt, "did you mean fit"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), MISSING)
def test_missing_names_point_to_the_nearest(call, words):
    with pytest.raises(AttributeError, match=words):
        call()


def test_modules_stay_modules():
    for name in (
        "dlfast",
        "dlfast.nn",
        "dlfast.functional",
        "dlfast.optim",
        "dlfast.init",
        "dlfast.data",
        "dlfast.train",
    ):
        module = importlib.import_module(name)
        assert not hasattr(module, "no_such_name")
        assert not hasattr(module, "__no_such_name__")
        assert inspect.getmodule(module) is None or inspect.ismodule(module)
        for public in getattr(module, "__all__", ()):
            getattr(module, public)
    with pytest.raises(ImportError, match="did you mean|cannot import name"):
        from dlfast.nn import Linaer  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("dlfast.no_such_module")
    from dlfast.nn.functional import relu
    from dlfast.utils.data import DataLoader

    assert relu is F.relu
    assert DataLoader is dl.data.DataLoader


REDUCTIONS = ["sum", "mean", "max", "min", "var", "std", "norm", "all", "any"]


@pytest.mark.parametrize("name", REDUCTIONS)
def test_axis_and_dim_are_one_argument(name):
    x = leaf(3, 4)
    method = getattr(x, name)
    np.testing.assert_array_equal(method(axis=1, keepdims=True), method(dim=1, keepdim=True))
    np.testing.assert_array_equal(method(axis=(0, 1)), method(dim=[0, 1]))
    np.testing.assert_array_equal(method(), method(dim=None))
    np.testing.assert_array_equal(method(dim=0), getattr(dl, name)(x, dim=0))
    with pytest.raises(TypeError, match=f"{name}: axis and dim are one argument under two names"):
        method(axis=1, dim=1)


def test_what_reductions_do_not_know():
    x = leaf(3)
    for call in (lambda: np.sum(x, out=np.ones(())), lambda: x.sum(dtype=np.float32), lambda: x.mean(axes=1)):
        with pytest.raises(TypeError, match="is not supported for a Tensor"):
            call()
    with pytest.raises(TypeError, match="ddof, correction and unbiased say the same"):
        x.var(ddof=1, unbiased=True)
    with pytest.raises(ValueError, match="p must be above 0"):
        x.norm(p=0)


NEW = [
    lambda x: x.cumsum(1) + x.cumsum(0),
    lambda x: x.cumsum(),
    lambda x: x.norm(1) + x.norm(2) + x.norm(3.5) + x.norm(np.inf) + x.norm(0.5),
    lambda x: x.norm(3, axis=1) + x.norm(axis=1),
    lambda x: x.std() + x.std(1, ddof=1),
    lambda x: dl.where(x.data > 0, x, x * x),
    lambda x: dl.where([[True], [False], [True]], x[0], 2.0),
    lambda x: dl.maximum(x, x[0]) + dl.minimum(x, 0.1),
    lambda x: x[:1].expand(2, 3, -1),
    lambda x: x.split([1, 3], axis=1)[1] + x.chunk(4, axis=1)[0],
    lambda x: x.flatten() * x.view(-1),
    lambda x: x.clone() * x.clamp(-1, 1),
    lambda x: F.cross_entropy(x, np.full((3, 4), 0.25), label_smoothing=0.2),
    lambda x: F.cross_entropy(x, np.eye(4)[:3], np.arange(4.0), reduction="sum"),
    lambda x: F.cross_entropy(np.ones((3, 4)), x * x),
    lambda x: F.cross_entropy(x, np.eye(4)[:3], label_smoothing=1, reduction="none"),
    lambda x: F.relu(x * 1, inplace=True) + F.elu(x * 1, 1.0, True),
]


@pytest.mark.parametrize("fn", NEW)
def test_gradients(fn):
    dl.gradcheck(fn, np.random.default_rng(0).normal(size=(3, 4)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edges_of_norm_std_and_maximum(dtype):
    zero = Tensor(np.zeros(3, dtype), requires_grad=True)
    for y in (zero.norm(), zero.norm(3), zero.norm(0.5), zero.std(), zero.norm(1)):
        zero.grad = None
        y.backward()
        np.testing.assert_array_equal(zero.grad, 0)
        assert y.dtype == dtype
    x = Tensor(np.array([1, np.nan], dtype), requires_grad=True)
    y = dl.maximum(x, dl.ones(2, dtype=dtype))
    y.sum().backward()
    assert np.isnan(y.data[1])
    assert x.grad[0] == 0.5
    assert dl.zeros(0, 3).norm(dim=0).shape == (3,)
    with pytest.raises(ValueError, match="argmax"):
        dl.zeros(0).argmax()


def test_soft_labels_of_a_class_that_cannot_be():
    logits = Tensor(np.array([[0.0, -np.inf, 0.0]]), requires_grad=True)
    loss = F.cross_entropy(logits, np.array([[0.5, 0.0, 0.5]]))
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))
    np.testing.assert_allclose(logits.grad, 0, atol=1e-15)
    assert np.isnan(F.cross_entropy(np.ones((0, 3)), np.ones((0, 3))).item())
    with pytest.raises(TypeError, match="target must have the dtype of logits"):
        F.cross_entropy(np.ones((1, 3)), np.ones((1, 3), np.float32))
    with pytest.raises(TypeError, match="target must be integers"):
        F.cross_entropy(np.ones((2, 3)), np.ones(2))


def test_inplace_activations_change_what_they_are_given():
    for call in (
        F.relu,
        F.elu,
        F.silu,
        F.hardswish,
        F.leaky_relu,
        lambda x, inplace: F.dropout(x, 0.5, inplace=inplace),
    ):
        x = leaf(3)
        with pytest.raises(RuntimeError, match="leaf Tensor of shape .3,. that requires a gradient"):
            call(x, inplace=True)
        y = x * 1
        assert call(y, inplace=True) is y
        plain = Tensor(x.data.copy())
        assert call(plain, inplace=True) is plain
        array = x.data.copy()
        call(array, inplace=True)
        np.testing.assert_array_equal(array, x.data)
    assert repr(nn.ReLU(inplace=True)) == "ReLU(inplace=True)"
    assert repr(nn.ReLU(True)) == "ReLU(inplace=True)"
    assert nn.Dropout(0.5, True).mode == "inverted"
    assert nn.Dropout(0.5, "notes").mode == "notes"


def test_a_recorded_value_survives_no_grad():
    x = leaf(3)
    y = x * 1
    with dl.no_grad():
        F.relu(y, inplace=True)
    assert y.requires_grad
    np.testing.assert_array_equal(y, np.maximum(x.data, 0))


def test_pad_says_that_pytorchs_order_is_another():
    with pytest.raises(ValueError, match="pairs .before, after., first axis first"):
        F.pad(np.ones((2, 2)), (1, 1))
    assert "PyTorch" in F.pad.__doc__.split("\n\n")[0] + F.pad.__doc__.split("\n\n")[1]
    for method in (Tensor.var, Tensor.std, Tensor.max, Tensor.min):
        assert "PyTorch" in method.__doc__.split("\n\n")[0]


def test_constructors():
    given = np.ones(2)
    assert dl.tensor(given).data is not given
    assert dl.as_tensor(given).data is given
    assert dl.from_numpy(given).data is given
    assert dl.tensor([1.0], dtype=dl.float64, requires_grad=True).requires_grad
    assert dl.zeros(size=(2, 3)).shape == dl.zeros([2, 3]).shape == (2, 3)
    assert dl.zeros(()).shape == ()
    dl.manual_seed(3)
    first = dl.randn(5).data
    dl.manual_seed(3)
    np.testing.assert_array_equal(dl.randn(5).data, first)
    assert sorted(dl.randperm(5).tolist()) == list(range(5))
    assert dl.randint(5, (100,)).max() < 5
    assert dl.device("cpu").type == "cpu"
    for wrong, error, words in (
        (lambda: dl.zeros(2, -1), ValueError, "sizes must be at least 0"),
        (lambda: dl.ones(2.5), TypeError, "sizes must be integers"),
        (lambda: dl.zeros(2, device="mps"), ValueError, "device: must be 'cpu', 'cuda'"),
        (lambda: dl.device("cuda:x"), ValueError, "device: must be 'cpu', 'cuda'"),
        (lambda: dl.from_numpy([1]), TypeError, "must be a NumPy array"),
        (lambda: dl.tensor([1], requires_grad=True), TypeError, "requires_grad needs float32"),
        (lambda: leaf(2, 2).view(3), ValueError, "reshape"),
        (lambda: leaf(2).expand(3, 4), ValueError, "broadcast"),
        (lambda: leaf(2, 2).split([1, 2]), ValueError, "add up to the 2 elements"),
        (lambda: leaf(2, 2).to(device="xpu"), ValueError, "device: must be 'cpu', 'cuda'"),
    ):
        with pytest.raises(error, match=words):
            wrong()


def test_size_is_a_number_and_a_method():
    x = leaf(2, 3)
    assert x.size == 6
    assert x.size() == (2, 3)
    assert x.size(-1) == x.size(dim=1) == 3
    assert pickle.loads(pickle.dumps(x.size)) == 6


class ByInteger:
    """As data sets of PyTorch are: one row at a time."""

    def __init__(self, count=10):
        self.rows = [(np.full(3, i, np.float32), i) for i in range(count)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


class Misleading(ByInteger):
    """Takes an array without a murmur, and gives what is no batch."""

    def __getitem__(self, i):
        return np.full(3, i, np.float32), i


class Nested(ByInteger):
    def __getitem__(self, i):
        x, y = self.rows[i]
        return {"x": x, "pair": (x * 2, Tensor(x))}, str(y)


def test_data_sets_of_one_integer():
    for dataset in (ByInteger(), Misleading(), ByInteger().rows):
        batches = list(dl.data.DataLoader(dataset, batch_size=3))
        assert [len(y) for _, y in batches] == [3, 3, 3, 1]
        np.testing.assert_array_equal(batches[1][0], np.repeat([[3], [4], [5]], 3, axis=1))
        assert batches[1][1].tolist() == [3, 4, 5]
        assert batches[0][1].dtype == np.int64
    (inputs, names), *_ = dl.data.DataLoader(Nested(), batch_size=2)
    assert inputs["pair"][1].shape == (2, 3)
    assert names.tolist() == ["0", "1"]
    ragged = [np.ones(2), np.ones(3)]
    with pytest.raises(ValueError, match=r"rows of a batch must have one shape, got \(2,\), \(3,\)"):
        list(dl.data.DataLoader(ragged, batch_size=2))


def test_data_sets_of_arrays_are_gathered_at_once():
    seen = []

    class Watched(dl.data.ArrayDataset):
        def __getitem__(self, index):
            seen.append(np.ndim(index))
            return super().__getitem__(index)

    data = Watched(np.arange(10.0), np.arange(10))
    parts = dl.data.random_split(data, [7, 3])
    seen.clear()
    assert len(list(dl.data.DataLoader(parts[0], batch_size=4))) == 2
    assert seen == [1, 1]


def test_random_split():
    dl.manual_seed(0)
    data = dl.data.TensorDataset(dl.arange(10), dl.arange(10))
    parts = dl.data.random_split(data, [0.75, 0.25])
    assert [len(part) for part in parts] == [8, 2]
    found = sorted(int(row[0]) for part in parts for row in (part[i] for i in range(len(part))))
    assert found == list(range(10))
    np.testing.assert_array_equal(parts[0][[0, 1]][0], [parts[0][0][0], parts[0][1][0]])
    given = np.random.default_rng(1)
    assert len(dl.data.random_split(ByInteger(), [9, 1], generator=given)[0]) == 9
    for wrong, words in (
        ([5, 4], "add up to the 10 rows"),
        ([0.5, 0.6], "integers, or fractions"),
        ([11, -1], "add up"),
    ):
        with pytest.raises(ValueError, match=words):
            dl.data.random_split(data, wrong)
    with pytest.raises(ValueError, match="indices must be below 10"):
        dl.data.Subset(data, [10])


def test_training_on_data_sets_of_one_integer_and_of_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x, z):
            return self.a(x) + self.b(z)

    rows = [(np.ones(3, np.float32), np.zeros(3, np.float32), i % 2) for i in range(8)]
    model = Two()
    loader = dl.data.DataLoader(rows, batch_size=4)
    history = dl.train.fit(
        model,
        loader,
        epochs=1,
        loss=F.cross_entropy,
        optimizer=optim.Adam(model.parameters()),
        metrics=(),
        progress=False,
    )
    assert len(history) == 1
