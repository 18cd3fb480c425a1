"""Arrays on a device against NumPy's own: arithmetic, reductions, indexing, and NumPy's functions on them."""

import copy
import pickle
from operator import add, and_, floordiv, ge, gt, lt, matmul, mod, mul, ne, or_, sub, truediv, xor

import numpy as np
import pytest
from ondevice import device_in_use, up

import dlfast as dl
from dlfast.kernels.cuda import array_exchange as exchange
from dlfast.kernels.cuda import fibers
from dlfast.kernels.cuda.array import Array
from dlfast.kernels.cuda.device import Host

DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")
SHAPES = ((), (0,), (1,), (5,), (1025,), (3, 0, 2), (2, 3, 4), (33, 7), (2, 1, 3, 1, 2))


@pytest.fixture(autouse=True)
def _no_floating_point_warnings():
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(params=[False, True], ids=["forwards", "backwards"])
def order(request):
    """Warps and lanes run from the first to the last, and from the last to the first."""
    fibers.run_backwards(request.param)
    yield
    fibers.run_backwards(False)


def numbers(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.random(shape) > 0.5
    if np.dtype(dtype).kind == "f":
        return np.asarray(rng.standard_normal(shape) * 3, dtype)
    return rng.integers(0 if dtype == "uint8" else -9, 10, shape).astype(dtype)


def same(ours, theirs, ulps=4):
    """Shape and dtype agree, whole numbers exactly, floats to a few units in the last place."""
    assert isinstance(ours, Array)
    got, theirs = ours.numpy(), np.asarray(theirs)
    assert (got.shape, got.dtype) == (theirs.shape, theirs.dtype)
    if theirs.dtype.kind == "f":
        eps = np.finfo(theirs.dtype).eps * ulps
        np.testing.assert_allclose(got, theirs, rtol=eps, atol=eps)
    else:
        np.testing.assert_array_equal(got, theirs)


def agrees(function, *arrays, ulps=4):
    """function gives on arrays on the device what it gives on those of NumPy."""
    same(function(*map(up, arrays)), function(*arrays), ulps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_goes_up_and_comes_down(shape, dtype):
    x = numbers(shape, dtype)
    same(up(x), x)
    same(up(x).copy(), x)
    assert (up(x).ndim, up(x).size, up(x).nbytes, up(x).strides) == (x.ndim, x.size, x.nbytes, up(x).strides)
    same(pickle.loads(pickle.dumps(up(x))), x)
    same(copy.deepcopy(up(x)), x)


VIEWS = {
    "part": lambda x: x[1:, :, ::2],
    "backwards": lambda x: x[::-1, ::-2],
    "one": lambda x: x[1, -1],
    "new axis": lambda x: x[:, None, ..., 0],
    "transposed": lambda x: x.T,
    "permuted": lambda x: x.transpose(1, 2, 0),
    "swapped": lambda x: x.swapaxes(0, -1),
    "spread": lambda x: np.broadcast_to(x[:, :1], (3, 5, 4)),
    "moved": lambda x: np.moveaxis(x, 0, -1),
    "expanded": lambda x: np.squeeze(np.expand_dims(x, 1)),
    "flipped": lambda x: np.flip(x, 1),
    "regrouped": lambda x: x[:, :, ::2].reshape(2, -1),
    "regrouped view": lambda x: x[:, ::2].reshape(3, 3, 2, 2),
    "empty": lambda x: x[:, 2:2],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views(view):
    x = numbers((3, 5, 4) if view is not VIEWS["regrouped"] else (2, 5, 4), "float32")
    agrees(view, x)
    y, z = up(x), x.copy()
    ours, theirs = view(y), view(z)
    assert ours.is_contiguous == theirs.flags.c_contiguous or 1 in theirs.shape
    same(ours + 1, theirs + np.float32(1))
    if view is not VIEWS["spread"] and np.shares_memory(theirs, z):
        ours[...] = 7
        theirs[...] = 7
        same(y, z)


ARITHMETIC = (add, sub, mul, truediv, np.maximum, np.minimum, np.power, floordiv, mod)
PAIRS = (((), ()), ((0,), (1,)), ((1030,), (1030,)), ((33, 7), (7,)), ((2, 1, 4), (3, 1)), ((2, 3, 4), ()))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("op", ARITHMETIC, ids=lambda op: op.__name__)
def test_arithmetic(op, dtype):
    for one, other in PAIRS:
        x, y = numbers(one, dtype), numbers(other, dtype, 1)
        if op is np.power:
            x, y = abs(x), abs(y) if dtype == "int64" else y
        agrees(op, x, y, ulps=16)


@pytest.mark.parametrize("op", [gt, lt, ge, ne, np.logical_and, np.logical_xor], ids=lambda op: op.__name__)
def test_comparisons(op):
    for one, other in PAIRS:
        agrees(op, numbers(one, "float32"), numbers(other, "float32", 1))
    agrees(lambda x: op(x, 2), numbers((7,), "int64"))


FUNCTIONS = (
    np.negative, np.abs, np.sign, np.square, np.reciprocal, np.floor, np.ceil, np.trunc, np.rint, np.sqrt, np.exp,
    np.log, np.log1p, np.expm1, np.tanh, np.sin, np.cos, np.log2, np.log10, np.isnan, np.isfinite, np.isinf,
    np.logical_not, np.signbit,
)  # fmt: skip
EXTREME = [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 1e30, -1e30, 3e-40, np.inf, -np.inf, np.nan, 0.49999997, 8388609.0]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_functions(function):
    agrees(function, np.array(EXTREME, np.float32), ulps=8)
    agrees(function, numbers((6, 4, 3), "float32")[:, ::2].T, ulps=8)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("function", [np.negative, np.abs, np.sign, np.square, np.invert, np.logical_not])
def test_functions_of_integers(function, dtype):
    agrees(function, numbers((33, 7), dtype))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integers_added_at_places(dtype):
    x, index, values = numbers((5, 3), dtype), np.array([4, 0, 4, 2]), numbers((4, 3), dtype, 1)
    y = up(x)
    np.add.at(y, up(index), up(values))
    np.add.at(x, index, values)
    same(y, x)


def test_where_and_clip():
    x, y = numbers((33, 7), "float32"), numbers((7,), "float32", 1)
    agrees(lambda x, y: np.where(x > y, x, y), x, y)
    agrees(lambda x: np.where(x > 0, x, np.float32(-1)), x)
    agrees(lambda x: np.clip(x, -1, 2), x)


REDUCED = (((), None), ((0,), None), ((5,), 0), ((3, 70), 1), ((70, 3), 0), ((5, 4, 6), (0, 2)), ((3, 9000), 1),
           ((700, 40), 0), ((20000,), None), ((2, 3, 4), None), ((4, 0, 3), 1))  # fmt: skip


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean", "any", "all"])
def test_reductions(name, keepdims, order):
    for shape, axis in REDUCED:
        x = numbers(shape, "float32") / 3
        if name in ("max", "min") and not x.size:
            with pytest.raises(ValueError, match="no elements"):
                getattr(up(x), name)(axis=axis)
            continue
        if name == "prod" and x.size > 300:
            continue
        ours = getattr(up(x), name)(axis=axis, keepdims=keepdims)
        theirs = getattr(x.astype(np.float64), name)(axis=axis, keepdims=keepdims)
        got = ours.numpy()
        assert got.shape == np.shape(theirs)
        assert got.dtype == (bool if name in ("any", "all") else np.float32)
        np.testing.assert_allclose(got, theirs, rtol=2e-6, atol=3e-7 * np.sqrt(x.size))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places(name):
    for shape, axis in (((5,), 0), ((3, 70), 1), ((300, 3), 0), ((2, 200, 5), 1), ((20000,), None), ((4, 5), None)):
        x = numbers(shape, "float32")
        same(getattr(up(x), name)(axis=axis), np.asarray(getattr(x, name)(axis=axis)))
    agrees(lambda x: np.argmax(x, axis=1), np.array([[1, np.nan, np.nan], [2, 2, 1]], np.float32))


def test_running_sums():
    for shape, axis in (((5,), 0), ((3, 70), 1), ((2, 300, 5), 1), ((20000,), 0), ((4, 5), None), ((0, 3), 0)):
        x = numbers(shape, "int64")
        same(np.cumsum(up(x), axis=axis), np.cumsum(x, axis=axis))
        x = numbers(shape, "float32")
        np.testing.assert_allclose(up(x).cumsum(axis).numpy(), np.cumsum(x, axis, np.float64), rtol=1e-6, atol=1e-5)


INDICES = {
    "rows": lambda i: i,
    "columns": lambda i: (slice(None), i),
    "both": lambda i: (i, i[::-1]),
    "apart": lambda i: (i, slice(None), i),
    "with a number": lambda i: (0, slice(1, None), i),
    "a table": lambda i: (Ellipsis, i.reshape(2, 2)),
    "new axis": lambda i: (None, i, slice(None, None, 2)),
}


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("make", INDICES.values(), ids=INDICES)
def test_indices(make, on_cpu):
    x, i = numbers((4, 5, 4), "float32"), np.array([2, 0, -1, 2])
    theirs, ours = make(i), make(i if on_cpu else up(i))
    y, z = up(x), x.copy()
    same(y[ours], z[theirs])
    value = numbers(z[theirs].shape, "float32", 2)
    y[ours], z[theirs] = up(value), value
    same(y, z)
    y[ours] = z[theirs] = 3
    same(y, z)
    np.add.at(y, ours, up(value))
    np.add.at(z, theirs, value)
    same(y, z)


def test_masks():
    x = numbers((9, 5), "float32")
    agrees(lambda x: x[x > 0], x)
    agrees(lambda x: x[x[:, 0] > 0], x)
    for value in (0, np.float32(2)):
        y, z = up(x), x.copy()
        y[y > 0] = value
        z[z > 0] = value
        same(y, z)


ANY = {
    "concatenate": lambda x: np.concatenate([x, x[:1], x * 2], 0),
    "stack": lambda x: np.stack([x, x + 1], 1),
    "split": lambda x: np.split(x, [1, 3], 1)[1],
    "pad": lambda x: np.pad(x, [(1, 2), (0, 3)], constant_values=5),
    "reflect": lambda x: np.pad(x, [(1, 2), (3, 0)], "reflect"),
    "wrap": lambda x: np.pad(x, 1, "wrap"),
    "tile": lambda x: np.tile(x, (2, 1, 3)),
    "repeat": lambda x: np.repeat(x, 2, 1),
    "roll": lambda x: np.roll(x, 2, 0),
    "triu": lambda x: np.triu(x, 1),
    "tril": lambda x: np.tril(x, -1),
    "sort": lambda x: np.sort(x, 0),
    "argsort": lambda x: np.argsort(x, 1, stable=True) if type(x) is Array else np.argsort(x, 1, kind="stable"),
    "take": lambda x: np.take(x, [2, 0], 1),
    "along": lambda x: np.take_along_axis(x, np.argsort(x, 1), 1),
    "zeros": lambda x: np.zeros_like(x, shape=(2, 2), dtype=np.int64),
    "full": lambda x: np.full_like(x, 7),
    "matmul": lambda x: matmul(x, x[0]),
    "nonzero": lambda x: np.nonzero(x > 1)[1],
    "var": lambda x: np.square(x - np.mean(x, 1, keepdims=True)).sum(1),
}


@pytest.mark.parametrize("function", ANY.values(), ids=ANY)
def test_functions_of_numpy(function):
    agrees(function, numbers((5, 6), "float32"), ulps=32)


@pytest.mark.parametrize("source", DTYPES)
def test_casts(source):
    for target in DTYPES:
        x = np.abs(numbers((7, 5), source)) if source != "bool" else numbers((7, 5), source)
        same(up(x)[::2].T.astype(target), x[::2].T.astype(target))


def test_integers_and_booleans():
    for dtype in ("int32", "uint8"):
        x, y = numbers((33,), dtype), numbers((33,), dtype, 1)
        for op in (add, mul, floordiv, mod, and_, or_, xor):
            agrees(op, x, y)
    x, y = numbers((33,), "bool"), numbers((33,), "bool", 1)
    for op in (add, mul, and_, or_, xor, np.maximum):
        agrees(op, x, y)
    agrees(lambda x: ~x, x)
    agrees(lambda x: x.sum(), x)


def test_what_does_not_mix():
    x = up(np.ones((2, 3), np.float32))
    with pytest.raises(TypeError, match=r"an array of NumPy, of shape \(3,\), does not mix"):
        x + np.ones(3, np.float32)
    with pytest.raises(TypeError, match=r"x\.numpy\(\)"):
        np.asarray(x)
    with pytest.raises(TypeError, match=r"np\.linalg\.svd is not there for arrays on a GPU"):
        np.linalg.svd(x)
    with pytest.raises(TypeError, match="np.arctan is not there"):
        np.arctan(x)
    with pytest.raises(ValueError, match="could not be broadcast|not be broadcast|mismatch"):
        x + up(np.ones((4, 3), np.float32))[:, :2]
    if device_in_use().strict:
        with pytest.raises(IndexError, match="out of bounds"):
            x[up(np.array([0, 2]))]
    with pytest.raises(IndexError, match="index 2 is out of bounds"):
        x[[0, 2]]
    with pytest.raises(ValueError, match=r"shape \(2, 3\) is ambiguous"):
        bool(x)
    assert float(x.sum()) == 6
    assert f"device='{device_in_use()}'" in repr(x)


def test_dlpack_on_the_host():
    """It is memory of the CPU, which NumPy takes over."""
    if not isinstance(device_in_use(), Host):
        pytest.skip("arrays lie on a GPU")
    for dtype in (*DTYPES, "float16"):
        x = np.ones((3, 4), dtype)
        ours = up(x)
        theirs = np.from_dlpack(ours.T)
        np.testing.assert_array_equal(theirs, x.T)
        assert theirs.dtype == x.dtype
        theirs[1, 2] = 0
        assert ours[2, 1].item() == 0
    count = len(exchange._given)
    del theirs
    assert len(exchange._given) == count - 1
    capsule = ours.__dlpack__(max_version=(1, 0))
    assert len(exchange._given) == count
    del capsule
    assert len(exchange._given) == count - 1
    tensor = dl.tensor([1.0, 2.0]).to("cuda")
    np.from_dlpack(tensor)[0] = 5
    assert tensor.data[0].item() == 5
    assert not hasattr(ours, "__cuda_array_interface__")


@pytest.fixture
def as_gpu(monkeypatch):
    """The host says that it is a GPU, and notes the streams that are waited for."""
    if not isinstance(device_in_use(), Host):
        pytest.skip("arrays lie on a GPU")
    waits = []

    class Foreign:
        def __init__(self, device, handle):
            self.handle = handle

        def wait(self, other):
            waits.append(self.handle)

    monkeypatch.setattr(Host, "dlpack_device", (2, 0))
    monkeypatch.setattr(Host, "foreign_stream", lambda self, handle: Foreign(self, handle), raising=False)
    return waits


class Theirs:
    """The array of another library."""

    def __init__(self, x, names):
        self.x, self.flags = x, {}
        for name in names:
            setattr(self, name, getattr(x, name))


@pytest.mark.parametrize("version", [(1, 0), None])
def test_dlpack_on_a_gpu(as_gpu, version):
    x = up(numbers((3, 4), "float32"))
    for view in (x, x.T, x[1:, ::2], x[1, 2], x[:0]):
        y = exchange.taken(view.__dlpack__(max_version=version), x.device, Array)
        same(y, view.numpy())
        assert y.pointer == view.pointer
        assert y.strides == view.strides or y.size < 2
    assert as_gpu == []
    capsule = x.__dlpack__(stream=5, max_version=version)
    assert as_gpu == [5]
    assert exchange.place_in(capsule) == (2, 0)
    y = exchange.taken(capsule, x.device, Array)
    y[0, 0] = 7
    assert x[0, 0].item() == 7
    with pytest.raises(BufferError, match="taken before"):
        exchange.taken(capsule, x.device, Array)
    np.testing.assert_array_equal(np.from_dlpack(x, device="cpu") if version else x.numpy(), x.numpy())
    tensor = dl.from_dlpack(x)
    assert tensor.device == "cuda:0"
    tensor[0, 1] = 8
    assert x[0, 1].item() == 8
    assert dl.from_dlpack(x, copy=True).data.pointer != x.pointer
    with pytest.raises(ValueError, match="stream 0 is ambiguous"):
        x.__dlpack__(stream=0)
    with pytest.raises(BufferError, match=r"dl_device must be \(2, 0\)"):
        x.__dlpack__(dl_device=(2, 1))
    with pytest.raises(ValueError, match="device is 'cpu', but the array lies on cuda:0"):
        dl.from_dlpack(x, device="cpu")


def test_cuda_array_interface(as_gpu):
    x = up(numbers((3, 4), "float32"))
    for view in (x, x.T, x[::-1]):
        found = view.__cuda_array_interface__
        assert (found["shape"], found["typestr"], found["version"]) == (view.shape, "<f4", 3)
        assert found["data"] == (view.pointer, False)
        taken = exchange.from_interface(Theirs(view, ["__cuda_array_interface__"]), x.device, Array)
        same(taken, view.numpy())
        taken[0, 0] = 1
        assert view[0, 0].item() == 1
    assert as_gpu == []
    interface = {**x.__cuda_array_interface__, "stream": 7}
    exchange.from_interface(type("Theirs", (), {"__cuda_array_interface__": interface})(), x.device, Array)
    same(dl.cuda.array(Theirs(x, ["__cuda_array_interface__"])), x.numpy())
    tensor = dl.from_dlpack(x)
    assert tensor.__cuda_array_interface__["data"] == (x.pointer, False)
    tensor.requires_grad = True
    with pytest.raises(RuntimeError, match=r"requires a gradient cannot leave.*detach"):
        tensor.__cuda_array_interface__  # noqa: B018
    assert not hasattr(dl.tensor([1.0]), "__cuda_array_interface__")
    theirs = Theirs(x, ["__dlpack__", "__dlpack_device__"])
    assert dl.cuda.array(theirs).pointer == x.pointer
    assert dl.cuda.array(theirs, np.float64).dtype == np.float64
    assert dl.cuda.array(x).pointer != x.pointer


def test_in_place():
    for shape in ((5,), (1030,), (7, 6)):
        y, z = up(numbers(shape, "float32")), numbers(shape, "float32")
        memory = y.pointer
        for change in (add, sub, mul):
            y[1:] = change(y[1:], y[:-1])
            z[1:] = change(z[1:], z[:-1])
        y[1:] += y[:-1]
        z[1:] += z[:-1]
        y *= y
        z *= z
        y /= 3
        z /= np.float32(3)
        np.maximum(y, 1, out=y)
        np.maximum(z, 1, out=z)
        same(y, z)
        assert y.pointer == memory
    x = up(np.arange(3))
    with pytest.raises(TypeError, match="a result of float64 does not fit into an array of int64"):
        np.divide(x, 2, out=x)


def test_sums_of_many_numbers():
    """The error does not grow with their number, and the bits are the same each time."""
    x = np.full(300_000, 0.1, np.float32)
    for array, axis in ((x, 0), (x.reshape(-1, 2), 0), (x.reshape(3, -1), 1), (x.reshape(-1, 60), None)):
        ours, theirs = up(array).sum(axis), array.astype(np.float64).sum(axis)
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-7)
        assert up(array).sum(axis).numpy().tobytes() == ours.numpy().tobytes()


def test_numbers_beyond_the_dtype():
    x = up(np.array([0, 200, 255], np.uint8))
    same(~x, np.array([255, 55, 0], np.uint8))
    same(x == 300, np.zeros(3, bool))
    with pytest.raises(OverflowError, match="300 is beyond the range of uint8, from 0 to 255"):
        x + 300


def test_constants_are_there_in_a_captured_graph(device):
    from dlfast.kernels.cuda.capture import Graph

    x = device.upload(numbers((4, 6), "float32"))
    index = device.upload(np.array([[0], [3], [5], [1]]))

    def work():
        return np.take_along_axis(x, index, 1) + np.triu(x, 1).sum() + np.pad(x, 1, "reflect").mean()

    expected = work().numpy()
    graph = Graph(device, work)
    graph.replay()
    np.testing.assert_array_equal(graph.result.numpy(), expected)


def test_indices_out_of_bounds_touch_nothing(monkeypatch):
    monkeypatch.setattr(type(device_in_use()), "strict", False)
    x, index = up(numbers((4, 3), "float32")), up(np.array([0, 4, -5, 9]))
    before = x.numpy()
    theirs = before[[0, 0, 0, 0]]
    theirs[1:] = np.nan
    same(x[index], theirs)
    np.testing.assert_array_equal(up(np.arange(4))[index].numpy(), [0, -1, -1, -1])
    x[index] = 7
    before[0] = 7
    same(x, before)
    x[index] = up(theirs)
    before[0] = theirs[0]
    same(x, before)
    np.add.at(x, index, up(np.ones((4, 3), np.float32)))
    before[0] += 1
    same(x, before)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_halves(name):
    dtype = np.dtype(getattr(pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed"), name, name))
    x, y = (numbers((5, 33), "float32", seed).astype(dtype) for seed in (0, 1))
    for function in (add, mul, lambda x, y: x.T - y.T, gt, lambda x, y: np.where(x > y, x, y), lambda x, y: x[[2, 0]]):
        ours, theirs = function(up(x), up(y)), function(x, y)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours.numpy().astype(float), np.asarray(theirs).astype(float))
    assert (up(x) * 2.5).dtype == dtype
    total = up(x).sum(axis=0)
    assert total.dtype == dtype
    np.testing.assert_array_equal(total.numpy().astype(float), x.astype(float).sum(axis=0).astype(dtype).astype(float))
    for target in ("float32", "float64", "int64"):
        np.testing.assert_array_equal(up(x).astype(target).numpy(), x.astype(target))
        np.testing.assert_array_equal(up(x.astype(target)).astype(dtype).numpy(), x.astype(target).astype(dtype))


def test_two_devices():
    """What computes needs one; an assignment copies."""
    if not isinstance(device_in_use(), Host):
        pytest.skip("two hosts stand for two GPUs")
    x, other = up(numbers((4, 3), "float32")), Host().upload(numbers((4, 3), "float32", 1))
    with pytest.raises(ValueError, match="add: all arrays must lie on one device, got cuda:0, cuda:0"):
        x + other
    x[1:] = other[:3]
    same(x[1:], other[:3].numpy())
    x[...] = other.T.reshape(4, 3)
    same(x, other.T.numpy().reshape(4, 3))
