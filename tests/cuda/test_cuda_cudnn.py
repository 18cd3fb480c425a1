"""What is asked of cuDNN: its graphs computed as the manual says, against the reference; and the calls."""

import numpy as np
import pytest
from cudnn_double import Cudnn
from ondevice import down, up
from test_cuda_kernels import agrees

import dlfast as dl
from cases import CASES
from dlfast import kernels
from dlfast.kernels.conv_methods import Geometry
from dlfast.kernels.conv_plan import plan
from dlfast.kernels.cuda import cudnn, device, libraries
from dlfast.kernels.cuda.attention import heads_of
from dlfast.kernels.cuda.cudnn_problem import attention, attention_fits, attention_gradients, convolution

HOST = device.host_device()


@pytest.fixture(autouse=True)
def _on_the_host():
    """The double computes in the host's memory, on machines with a GPU too."""
    with dl.cuda.host(), np.errstate(all="ignore"):
        yield


def with_cudnn(monkeypatch, **options):
    """The host with a cuDNN of its own."""
    double = Cudnn(**options)
    monkeypatch.setattr(device.Host, "cudnn", cudnn.Cudnn(HOST, double))
    monkeypatch.setattr(device.Host, "no_cudnn", "")
    return double


def even(case):
    """Whether the padding is alike on both sides, and nothing is empty."""
    top, bottom, left, right = case.options["plan"].geometry.padding
    full = all(x is None or x.size for x in case.inputs("float32"))
    return (top, left) == (bottom, right) and full


CONVOLUTIONS = [case for case in CASES if case.op.startswith("conv")]
BY_CUDNN = [case for case in CONVOLUTIONS if even(case)]


def executed(double):
    return [call[1:-1] for call in double.calls if call[0] == "executed"]


@pytest.mark.parametrize("case", BY_CUDNN, ids=str)
def test_convolutions_agree_with_the_reference(case, monkeypatch):
    double = with_cudnn(monkeypatch, workspace=64)
    agrees(case, "float32")
    assert executed(double)


@pytest.mark.parametrize("case", [case for case in CONVOLUTIONS if case not in BY_CUDNN], ids=str)
def test_others_are_left_to_our_kernels(case, monkeypatch):
    double = with_cudnn(monkeypatch)
    agrees(case, "float32")
    assert not executed(double)


def convolve(activation="relu", method="auto", dtype="float32", **geometry):
    """Forward and back on the device and by the reference: y, dx, dweight, dbias of each."""
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(s).astype(dtype) for s in ((2, 6, 5, 4), (8, 3, 3, 4), (8,)))
    of = plan(x.shape, weight.shape, Geometry((1, 1), (1, 1, 1, 1), (1, 1), 1), activation, method)
    dy = rng.standard_normal(of.output).astype(dtype)
    found = []
    for backend, move in (("cuda", up), ("reference", lambda each: each)):
        forward, backward = kernels.pair("conv2d", backend)
        y, saved = forward(*map(move, (x, weight, bias)), plan=of)
        found.append([down(each) for each in (y, *backward(move(dy), saved, (True, True, True)))])
    return found


def same(found, rtol=1e-4):
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine.astype(float), theirs.astype(float), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_bias_and_relu_are_fused(activation, monkeypatch):
    double = with_cudnn(monkeypatch)
    same(convolve(activation))
    first = {None: ("conv_fprop", "bias"), "relu": ("conv_fprop", "bias", "relu")}.get(activation, ("conv_fprop",))
    assert executed(double) == [first, ("conv_dgrad",), ("conv_wgrad",)]


def test_without_a_fused_plan_our_kernel_finishes(monkeypatch):
    double = with_cudnn(monkeypatch, refuses={"bias", "relu"})
    same(convolve())
    assert executed(double)[0] == ("conv_fprop",)


def test_without_any_plan_our_kernels_compute_and_who_insists_is_told(monkeypatch):
    double = with_cudnn(monkeypatch, refuses={"conv_fprop", "conv_dgrad", "conv_wgrad"})
    same(convolve())
    assert not executed(double)
    with pytest.raises(RuntimeError, match=r"no plan for x \(2, 6, 5, 4\), weight .*; let method='auto' choose"):
        convolve(method="cudnn")


def test_notes_keep_results_the_same_and_float32_exact(monkeypatch):
    double = with_cudnn(monkeypatch)
    convolve()
    exact = ("NONDETERMINISTIC", "TENSOR_CORE", "DOWN_CONVERT_INPUTS")
    built = [call for call in double.calls if call[0] == "built"]
    assert len(built) == 3
    assert all(call[-3:] == exact for call in built)
    with dl.cuda.allow_tf32():
        convolve()
    built = [call for call in double.calls if call[0] == "built"][3:]
    assert len(built) == 3
    assert all("TENSOR_CORE" not in call and "NONDETERMINISTIC" in call for call in built)


def test_a_graph_is_built_once(monkeypatch):
    double = with_cudnn(monkeypatch)
    convolve()
    convolve()
    assert [call[0] for call in double.calls].count("built") == 3
    assert len(executed(double)) == 6


def test_old_graphs_are_dropped(monkeypatch):
    with_cudnn(monkeypatch)
    monkeypatch.setattr(cudnn, "MOST_GRAPHS", 2)
    convolve()
    assert len(HOST.cudnn._graphs) == 2


def test_the_weights_gradient_is_written_into_its_place(monkeypatch):
    with_cudnn(monkeypatch)
    rng = np.random.default_rng(0)
    x, weight = (up(rng.standard_normal(s, np.float32)) for s in ((2, 6, 5, 4), (8, 3, 3, 4)))
    of = plan(x.shape, weight.shape, Geometry((1, 1), (1, 1, 1, 1), (1, 1), 1))
    forward, backward = kernels.pair("conv2d", "cuda")
    y, saved = forward(x, weight, None, plan=of)
    place = HOST.empty(weight.shape)
    _, dweight, _ = backward(y, saved, (False, kernels.Into(place), False))
    assert dweight is place
    assert np.isfinite(down(place)).all()


def test_asking_for_cudnn_by_name(monkeypatch):
    double = with_cudnn(monkeypatch)
    rng = np.random.default_rng(0)
    x, weight = (dl.tensor(rng.standard_normal(s, np.float32)).to("cuda") for s in ((2, 6, 5, 4), (8, 3, 3, 4)))
    dl.functional.conv2d(x, weight, method="cudnn")
    assert executed(double) == [("conv_fprop",)]
    dl.functional.conv2d(x, weight, method="implicit")
    assert len(executed(double)) == 1
    with pytest.raises(ValueError, match="'cudnn' needs as much padding above as below .*'implicit', 'im2col' take x"):
        dl.functional.conv2d(x, weight, padding=((0, 1), (0, 0)), method="cudnn")
    with dl.kernels.watch() as calls:
        dl.functional.conv2d(x, weight, padding=((0, 1), (0, 0)))
    assert calls[0].options["plan"].choices["forward"].method == "implicit"


def test_float64_is_not_asked_of_cudnn(monkeypatch):
    double = with_cudnn(monkeypatch)
    same(convolve(dtype="float64"))
    assert not executed(double)


HALF = np.float16


def heads(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(HALF)


@pytest.mark.parametrize("heads_last", [True, False])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_halves(causal, heads_last, monkeypatch):
    double = with_cudnn(monkeypatch, workspace=32)
    shapes = ((2, 4, 6, 8), (2, 2, 7, 8), (2, 2, 7, 8), (2, 4, 6, 8))
    shapes = [(b, t, h, d) for b, h, t, d in shapes] if heads_last else shapes
    q, k, v, dy = (heads(shape, seed) for seed, shape in enumerate(shapes))
    options = {"heads_last": heads_last, "causal": causal, "scale": 0.3, "dropout": 0.0, "seed": 0}
    forward, backward = kernels.pair("attention", "cuda")
    y, saved = forward(*map(up, (q, k, v)), None, **options)
    got = y, *backward(up(dy), saved, (True, True, True, False))[:3]
    assert executed(double) == [("sdpa",), ("sdpa_backward",)]
    reference, reference_back = kernels.pair("attention", "reference")
    wanted, kept = reference(*(x.astype(float) for x in (q, k, v)), None, **options)
    lse = saved[5]
    np.testing.assert_allclose(down(lse), kept[5], rtol=1e-3, atol=1e-3)
    assert lse.dtype == np.float32
    same(
        [[down(x) for x in got], [wanted, *reference_back(dy.astype(float), kept, (True, True, True, False))[:3]]], 2e-2
    )


def test_self_attention_of_halves(monkeypatch):
    double = with_cudnn(monkeypatch)
    qkv, dy = heads((2, 6, 3, 4, 8), 0), heads((2, 6, 4, 8), 1)
    options = {"causal": True, "scale": 0.3, "dropout": 0.0, "seed": 0}
    forward, backward = kernels.pair("self_attention", "cuda")
    y, saved = forward(up(qkv), None, **options)
    got = y, backward(up(dy), saved, (True, False))[0]
    assert executed(double) == [("sdpa",), ("sdpa_backward",)]
    reference, reference_back = kernels.pair("self_attention", "reference")
    wanted, kept = reference(qkv.astype(float), None, **options)
    same([[down(x) for x in got], [wanted, reference_back(dy.astype(float), kept, (True, False))[0]]], 2e-2)


def test_attention_that_cudnn_does_not_define_as_we_do():
    q, k = (heads_of(up(heads((1, 2, 4, 8), 0)), False) for _ in range(2))
    assert attention_fits(q, k, None, 0.0)
    assert not attention_fits(q, k, up(np.zeros((1, 1, 4, 4), HALF)), 0.0)
    assert not attention_fits(q, k, None, 0.1)
    wide, odd = (heads_of(up(heads((1, 2, 4, d), 0)), False) for d in (136, 7))
    assert not attention_fits(wide, wide, None, 0.0)
    assert not attention_fits(odd, odd, None, 0.0)
    single = heads_of(up(np.zeros((1, 2, 4, 8), np.float32)), False)
    assert not attention_fits(single, single, None, 0.0)


def problems():
    of = plan((2, 9, 8, 16), (32, 3, 3, 16), Geometry((2, 2), (1, 1, 1, 1), (1, 1), 1), "relu")
    for dtype in ("float16", "float32"):
        yield convolution("forward", of, dtype, False, True, True)
        yield convolution("dx", of, dtype, False)
        yield convolution("dweight", of, dtype, False)
    q, k = (heads_of(up(heads((2, h, 6, 8), 0)), False) for h in (4, 2))
    yield attention(q, k, k, q, True, 0.5)
    yield attention_gradients((q, k, k, q, q), (q, k, k), True, 0.5)


def test_graphs_of_the_real_frontend():
    """Built by cudnn's own classes, without the library: the same operands, numbered as we number them."""
    real = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    for problem in problems():
        graph = cudnn.described(real, problem)
        node = graph.nodes[0]
        assert node.node_type.name.lower() in (problem.op, problem.op.replace("backward", "bwd"))
        for number, x in enumerate((*problem.inputs, *problem.outputs), 1):
            tensor = graph.find_tensor(number)
            assert (tuple(tensor.dim), tuple(tensor.stride)) == (x.dim, x.stride), x
            assert tensor.data_type.name == cudnn.DATA_TYPES[x.dtype]
            assert not tensor.is_virtual
        kinds = [each.params.get("mode", each.node_type.name) for each in graph.nodes[1:]]
        assert kinds == ["bias"] * problem.bias + ["relu"] * problem.relu
        for name, value in problem.options:
            assert node.params[name] == (list(value) if isinstance(value, tuple) else value)
    assert {"A", "FALLBACK"} <= set(real.heur_mode.__members__)
    assert {"NONDETERMINISTIC", "TENSOR_CORE", "DOWN_CONVERT_INPUTS"} <= set(real.numerical_note.__members__)


def test_what_is_lacking_is_said(monkeypatch):
    libraries.lacking_cudnn.cache_clear()
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    assert libraries.lacking_cudnn() == "nvidia-cudnn-frontend is not installed"
    assert libraries.Libraries().cudnn is None
    libraries.lacking_cudnn.cache_clear()
    monkeypatch.setattr(libraries, "find_spec", lambda name: name)
    monkeypatch.setattr(libraries, "import_module", lambda name: Cudnn())  # has no backend_version
    assert libraries.lacking_cudnn().startswith("cuDNN itself is not found (nvidia-cudnn-cu13 or nvidia-cudnn-cu12)")
    libraries.lacking_cudnn.cache_clear()


def test_most_convolutions_are_for_cudnn():
    assert len(BY_CUDNN) > 60


def gpu_with_cudnn():
    with dl.cuda.host(False):
        if not dl.cuda.is_available():
            pytest.skip(f"no GPU: {dl.cuda.status().reason}")
        found = dl.cuda.get_device()
    if found.cudnn is None:
        pytest.skip(f"no cuDNN: {found.no_cudnn}")
    return found


def within(bound, *found):
    for mine, theirs in zip(*found, strict=True):
        scale = max(1, np.abs(theirs).max())
        np.testing.assert_allclose(mine.astype(float), theirs, rtol=0, atol=bound * scale)


GPU_SHAPES = [
    ((4, 32, 30, 64), (128, 3, 3, 64), Geometry((1, 1), (1, 1, 1, 1), (1, 1), 1)),
    ((2, 33, 31, 3), (64, 7, 7, 3), Geometry((2, 2), (3, 3, 3, 3), (1, 1), 1)),
    ((2, 16, 16, 32), (32, 3, 3, 1), Geometry((1, 1), (1, 1, 1, 1), (1, 1), 32)),
    ((2, 20, 20, 8), (16, 3, 3, 4), Geometry((1, 1), (2, 2, 2, 2), (2, 2), 2)),
]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", GPU_SHAPES, ids=lambda shape: str(shape[:2]))
@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_convolutions_on_a_gpu(activation, shape, dtype):
    gpu, (image, kernel, geometry) = gpu_with_cudnn(), shape
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(s).astype(dtype) for s in (image, kernel, kernel[:1]))
    weight = (weight / np.sqrt(np.prod(kernel[1:]))).astype(dtype)
    of = plan(image, kernel, geometry, activation, "cudnn")
    dy = rng.standard_normal(of.output).astype(dtype)
    forward, backward = kernels.pair("conv2d", "cuda")
    y, saved = forward(*map(gpu.upload, (x, weight, bias)), plan=of)
    got = [each.numpy() for each in (y, *backward(gpu.upload(dy), saved, (True, True, True)))]
    forward, backward = kernels.pair("conv2d", "reference")
    wide = [each.astype(float) for each in (x, weight, bias, dy)]
    wanted, saved = forward(*wide[:3], plan=of)
    saved = (*saved[:2], got[0].astype(float) if activation else None, saved[3])  # ReLU's mask as it was
    within(1e-5 if dtype == "float32" else 5e-3, got, [wanted, *backward(wide[3], saved, (True, True, True))])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nan_comes_through_relu_on_a_gpu(dtype):
    gpu = gpu_with_cudnn()
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(s).astype(dtype) for s in ((1, 8, 8, 16), (32, 1, 1, 16), (32,)))
    x[0, 2, 3, 4] = np.nan
    of = plan(x.shape, weight.shape, Geometry((1, 1), (0, 0, 0, 0), (1, 1), 1), "relu", "cudnn")
    y, _ = kernels.pair("conv2d", "cuda")[0](*map(gpu.upload, (x, weight, bias)), plan=of)
    wanted = np.zeros((1, 8, 8), bool)
    wanted[0, 2, 3] = True
    assert np.array_equal(np.isnan(y.numpy()).all(axis=3), wanted)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("features", "shared"), [(64, 1), (128, 4)])
def test_attention_on_a_gpu(causal, features, shared):
    gpu = gpu_with_cudnn()
    q, dy = (heads((2, 4, 70, features), seed) for seed in (0, 1))
    k, v = (heads((2, 4 // shared, 90, features), seed) for seed in (2, 3))
    options = {"heads_last": False, "causal": causal, "scale": features**-0.5, "dropout": 0.0, "seed": 0}
    forward, backward = kernels.pair("attention", "cuda")
    y, saved = forward(*map(gpu.upload, (q, k, v)), None, **options)
    got = [x.numpy() for x in (y, *backward(gpu.upload(dy), saved, (True, True, True, False))[:3])]
    reference, reference_back = kernels.pair("attention", "reference")
    wanted, kept = reference(*(x.astype(float) for x in (q, k, v)), None, **options)
    within(5e-3, got, [wanted, *reference_back(dy.astype(float), kept, (True, True, True, False))[:3]])
