"""Tensors and modules on the way between the CPU and a device."""

import copy
import pickle

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import nn
from dlfast.kernels.devices import DeviceArray

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def on_device(x=X, **options):
    return dl.tensor(x, device="cuda", **options)


# Tensors


def test_a_tensor_goes_there_and_back():
    x = dl.Tensor(X)
    y = x.to("cuda")
    assert (x.device, y.device) == ("cpu", "cuda:0")
    assert (y.device.type, y.device.index, y.is_cuda, x.is_cuda) == ("cuda", 0, True, False)
    assert isinstance(y.data, DeviceArray)
    for same in (y.to("cuda"), y.cuda(), y.cuda(0), y.to(device="cuda:0"), y.to(y), y.to(dl.cuda.get_device())):
        assert same is y
    for back in (y.cpu(), y.to("cpu"), y.to(x), y.to(dl.device("cpu"))):
        np.testing.assert_array_equal(back.numpy(), X)
    both = x.to("cuda", np.float64)
    assert (both.device, both.dtype) == ("cuda:0", np.float64)
    assert x.to(both).dtype == np.float64
    assert x.to(dtype=np.int64, device="cuda").dtype == np.int64
    assert y.to("cuda", copy=True) is not y
    for dtype in (np.float64, np.int64, np.int32, np.uint8, bool):
        np.testing.assert_array_equal(dl.Tensor(X.astype(dtype)).cuda().cpu().data, X.astype(dtype))


def test_gradients_flow_through_to():
    x = dl.Tensor(X, requires_grad=True)
    (x.to("cuda") * 2).cpu().sum().backward()
    np.testing.assert_array_equal(x.grad, np.full_like(X, 2))
    y = on_device(requires_grad=True)
    (y.to("cpu", np.float64) * 3).sum().backward()
    assert isinstance(y.grad, DeviceArray)
    np.testing.assert_array_equal(y.grad.numpy(), np.full_like(X, 3))


def test_values_are_read_only_when_asked_for():
    y = on_device()
    assert (y.sum().item(), float(y[1, 2]), int(y[0, 1]), bool(y[0, 0])) == (15.0, 5.0, 1, False)
    assert y.tolist() == X.tolist()
    assert repr(y).endswith("device='cuda:0')")
    assert "[3., 4., 5.]" in repr(y)
    assert repr(on_device(X.astype(np.float64))).endswith("device='cuda:0', dtype=float64)")
    for read in (y.numpy, lambda: np.asarray(y), lambda: np.array(y)):
        with pytest.raises(TypeError, match=r"lies on cuda:0; copy it to the CPU first: x.cpu\(\).numpy\(\)"):
            read()
    assert [row.tolist() for row in y] == X.tolist()


def test_tensors_made_there():
    for make in (dl.zeros, dl.ones, dl.empty, dl.rand, dl.randn):
        dl.manual_seed(0)
        made = make(2, 3, device="cuda", requires_grad=True)
        dl.manual_seed(0)
        np.testing.assert_array_equal(made.cpu().data, make(2, 3).data)
        assert made.requires_grad
        assert made.is_cuda
    for make, *given in ((dl.full, (2,), 3.0), (dl.eye, 3), (dl.arange, 4), (dl.linspace, 0, 1, 5), (dl.tensor, [1]),
                         (dl.randint, 0, 5, (4,)), (dl.randperm, 4), (dl.as_tensor, X)):  # fmt: skip
        assert make(*given, device="cuda").is_cuda
    like = on_device(X.astype(np.float64))
    for make in (dl.zeros_like, dl.ones_like, dl.empty_like, dl.rand_like, dl.randn_like, lambda x: dl.full_like(x, 2)):
        assert (make(like).device, make(like).dtype, make(like).shape) == ("cuda:0", np.float64, (2, 3))
    assert dl.zeros_like(like, device="cpu").device == "cpu"
    copied = dl.tensor(like)
    assert copied.is_cuda
    assert copied.data.pointer != like.data.pointer


def test_copies_and_pickles_stay_there():
    y = on_device(requires_grad=True)
    for other in (copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
        assert (other.device, other.requires_grad) == ("cuda:0", True)
        np.testing.assert_array_equal(other.cpu().data, X)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64])
def test_sums_of_integers(dtype):
    y = on_device(np.array([1, 0, 1], dtype))
    assert y.sum().item() == 2
    assert (y == on_device(np.array([1, 1, 1], dtype))).sum().item() == 2


def test_random_numbers_are_those_of_the_cpu():
    for function in (lambda x: F.dropout(x, 0.4), lambda x: F.dropout2d(x[None, None], 0.5)):
        dl.manual_seed(0)
        wanted = function(dl.Tensor(X)).data
        dl.manual_seed(0)
        np.testing.assert_array_equal(function(on_device()).cpu().data, wanted)
    for fill in (dl.init.normal_, dl.init.xavier_uniform_, dl.init.orthogonal_, lambda x: x.normal_(), dl.init.zeros_):
        dl.manual_seed(0)
        wanted = fill(dl.Tensor(X.copy())).data
        dl.manual_seed(0)
        np.testing.assert_array_equal(fill(on_device()).cpu().data, wanted)


def test_changes_in_place():
    y = on_device()
    y += 1
    y[0] = 5
    y[1, :2] = on_device([7.0, 8.0])
    y.clamp_(0, 7)
    y.mul_(2)
    assert y.cpu().tolist() == [[10, 10, 10], [14, 14, 12]]
    y[:, 1] = X[:, 0]  # values come from anywhere
    y[0].copy_(dl.Tensor(X[1]))
    assert y.cpu().tolist() == [[3, 4, 5], [14, 3, 12]]
    assert y.zero_().cpu().tolist() == np.zeros((2, 3)).tolist()


# Modules


class Net(nn.Module):
    def __init__(self):
        self.conv, self.norm, self.out = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(8, 3)
        self.out2 = self.out
        self.positions = nn.PositionalEncoding(3, 0.0, 5, batch_first=True)
        self.register_buffer("scale", np.ones(3, np.float32))

    def forward(self, x):
        y = F.relu(self.norm(self.conv(x))).reshape(len(x.shape and x), -1)
        return self.positions((self.out2(y) * self.scale)[:, None])[:, 0]


IMAGES = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)


def test_a_module_moves():
    net = Net()
    parameters = list(net.parameters())
    wanted = net(IMAGES)
    wanted.sum().backward()
    gradients = [p.grad.copy() for p in parameters]
    assert net.to("cuda") is net
    assert all(new is old for new, old in zip(net.parameters(), parameters, strict=True))
    for p, gradient in zip(parameters, gradients, strict=True):  # gradients move with them
        assert p.is_cuda
        np.testing.assert_array_equal(p.grad.numpy(), gradient)
    assert isinstance(net.positions.table, DeviceArray)
    assert isinstance(net.scale, DeviceArray)
    assert net.norm.num_batches_tracked == 1
    assert isinstance(net.norm.num_batches_tracked, np.ndarray)  # the CPU counts
    np.testing.assert_allclose(net(dl.tensor(IMAGES, device="cuda")).cpu().data, wanted.data, rtol=1e-4, atol=1e-5)
    assert net.norm.num_batches_tracked == 2
    assert net.cpu() is net.cuda().cpu() is net
    assert {p.device for p in net.parameters()} == {"cpu"}
    assert isinstance(net.positions.table, np.ndarray)
    net.to("cuda", np.float64)
    assert {(p.device, p.dtype) for p in net.parameters()} == {("cuda:0", np.dtype(np.float64))}


def test_states_lie_on_the_cpu():
    net, other = Net().cuda(), Net()
    state = net.state_dict()
    assert {type(value) for value in state.values()} == {np.ndarray}
    assert "positions.table" not in state
    other.load_state_dict(state)
    third = Net().cuda()
    third.load_state_dict(other.state_dict())
    fourth = Net().cuda()
    fourth.load_state_dict({name: on_device(value) for name, value in state.items()})
    for found in (other.state_dict(), third.state_dict(), fourth.state_dict()):
        for name, value in state.items():
            np.testing.assert_array_equal(found[name], value)
    assert third.out.weight.is_cuda
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert copied.out.weight.is_cuda
        assert isinstance(copied.scale, DeviceArray)
        np.testing.assert_array_equal(copied.out.weight.cpu().data, state["out.weight"])


def test_weights_of_a_loss_move_with_it():
    loss = nn.CrossEntropyLoss(np.arange(1, 4, dtype=np.float32)).cuda()
    assert loss.state_dict() == {}
    wanted = F.cross_entropy(X, [0, 2], np.arange(1, 4, dtype=np.float32)).item()
    assert loss(on_device(), on_device([0, 2])).item() == pytest.approx(wanted, rel=1e-5)


def test_what_backward_reads_is_looked_after_there_too():
    w = dl.nn.Parameter(X).cuda().detach()
    x = on_device(requires_grad=True)
    y = (x * w).sum()
    w += 1
    with pytest.raises(RuntimeError, match="was changed in place after the forward pass had used it"):
        y.backward()


def test_labels_out_of_range_harm_nothing():
    x = on_device(requires_grad=True)
    loss = F.cross_entropy(x, on_device([0, 3]), reduction="none")
    loss.sum().backward()
    assert np.isnan(loss.cpu().data).tolist() == [False, True]
    assert np.isnan(x.grad.numpy()).all(1).tolist() == [False, True]
    weight = on_device(requires_grad=True)
    y = F.embedding(on_device([1, 2, -1]), weight)
    assert np.isnan(y.cpu().data).all(1).tolist() == [False, True, True]
    y[:1].sum().backward()
    assert weight.grad.numpy().tolist() == [[0, 0, 0], [1, 1, 1]]


# One's own operation


class Cube(dl.Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x)
        return x * x * x, y + 1

    @staticmethod
    def backward(ctx, dx, dy):
        (x,) = ctx.saved_tensors
        return 3 * x * x * dx, dy


def test_an_operation_of_ones_own():
    x, y = on_device(requires_grad=True), on_device(requires_grad=True)
    cubes, _ = Cube.apply(x, y)
    cubes.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 3 * X**2)
    np.testing.assert_array_equal(y.grad.numpy(), 0 * X)


# What looks at models and files


def test_what_looks_at_a_model_leaves_it_on_its_device(tmp_path):
    dl.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    wanted = [str(look(net)) for look in LOOKS]
    net.cuda()
    for look, words in zip(LOOKS, wanted, strict=True):
        assert str(look(net)) == words
    dl.explain(net, (2, 4, 4, 1))
    assert all(p.is_cuda for p in net.parameters())
    dl.save(tmp_path / "state", {"x": on_device(), "model": {"w": net[0].weight, "a": on_device().data}})
    state = dl.load(tmp_path / "state")
    np.testing.assert_array_equal(state["x"], X)
    np.testing.assert_array_equal(state["model"]["a"], X)
    np.testing.assert_array_equal(state["model"]["w"], net[0].weight.cpu().data)
    other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).cuda()
    dl.io.from_torch(dl.io.to_torch(net, input_shape=(4, 4, 1)), other, (4, 4, 1))
    np.testing.assert_array_equal(other[3].weight.cpu().data, net[3].weight.cpu().data)


LOOKS = [
    lambda net: dl.inspect.summary(net, (2, 4, 4, 1)),
    dl.inspect.weights,
    dl.inspect.filters,
]


def test_neighbours_are_fused_there_too():
    dl.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.Tanh(),
        nn.AvgPool2d(2), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)),
    )  # fmt: skip
    net(np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32))
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 1)).astype(np.float32)
    net.eval()
    with dl.no_grad(), dl.kernels.watch() as calls:
        wanted = net(x)
        net.cuda()
        found = net(on_device(x))
    np.testing.assert_allclose(found.cpu().data, wanted.data, rtol=1e-4, atol=1e-5)
    assert [call.backend for call in calls if call.op == "conv2d_batch_norm"][-1] == "cuda"
    assert {call.backend for call in calls} > {"cuda"}
