"""Methods of convolution on a device: each against the reference, which one `auto` takes, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest
from cublas_double import CublasLt
from ondevice import down
from test_cuda_kernels import agrees

import dlfast as dl
from cases import CASES
from dlfast.kernels.conv_plan import plan
from dlfast.kernels.cuda import conv_im2col, cublas, device


@pytest.fixture(autouse=True)
def _no_floating_point_warnings():
    with np.errstate(all="ignore"):
        yield


def by(method, case):
    """The case with another method of convolution."""
    old = case.options["plan"]
    parts = old.image, old.kernel, old.geometry, old.activation, method, old.pool, old.average
    return replace(case, options=case.options | {"plan": plan(*parts)})


CONVOLUTIONS = [case for case in CASES if case.op in ("conv2d", "conv_transpose2d")]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_im2col_agrees_with_the_reference(case):
    agrees(by("im2col", case), "float32")


@pytest.mark.parametrize("case", CONVOLUTIONS[::5], ids=str)
def test_im2col_takes_a_share_of_the_images_at_a_time(case, monkeypatch):
    monkeypatch.setattr(conv_im2col, "MOST_BYTES", 1)  # one image
    agrees(by("im2col", case), "float32")


class OnTheDevice:
    """A convolution of 3 x 3, forward and back, on the host."""

    def __init__(self, **options):
        rng = np.random.default_rng(0)
        self.arrays = [rng.standard_normal(s, np.float32) for s in ((2, 6, 5, 4), (8, 3, 3, 4), (8,))]
        self.options = {"padding": 1, "activation": "relu"} | options

    def run(self, device_name, **options):
        tensors = [dl.tensor(x).to(device_name) for x in self.arrays]
        with dl.kernels.watch() as calls:
            y = dl.functional.conv2d(*tensors, **self.options | options)
        made = calls[0].options["plan"]
        forward, backward = dl.kernels.active("conv2d", y.data)
        y, saved = forward(*(x.data for x in tensors), plan=made)
        dy = dl.tensor(np.random.default_rng(1).standard_normal(y.shape, np.float32)).to(device_name)
        return [down(x) for x in (y, *backward(dy.data, saved, (True, True, True)))], made


@pytest.fixture
def host():
    with dl.cuda.host():
        yield


@pytest.mark.parametrize("method", ["auto", "implicit", "im2col"])
def test_methods_of_the_device(method, host):
    work = OnTheDevice()
    wanted, _ = work.run("cpu")
    got, made = work.run("cuda", method=method)
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    assert made.forward == made.dx == made.dweight == ("implicit" if method == "auto" else method)


def test_im2col_multiplies_by_cublas(host, monkeypatch):
    double = CublasLt()
    monkeypatch.setattr(device.Host, "cublas", cublas.Cublas(device.host_device(), double.bindings()))
    work = OnTheDevice()
    wanted, _ = work.run("cpu")
    got, _ = work.run("cuda", method="im2col")
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    assert [name for name, _ in double.problems()] == ["RELU_BIAS", "RELU_BIAS", "DEFAULT", "DEFAULT"]


def test_tensor_cores_make_im2col_the_choice(host, monkeypatch):
    monkeypatch.setattr(device.Host, "cublas", cublas.Cublas(device.host_device(), CublasLt().bindings()))
    assert OnTheDevice().run("cuda")[1].forward == "implicit"
    with dl.cuda.allow_tf32():
        made = OnTheDevice().run("cuda")[1]
    assert made.choices["forward"] == (
        "im2col",
        "cuBLASLt multiplies by tensor cores; cudnn cannot be used: " + LACKING,
    )


def test_one_channel_a_group_has_kernels_of_its_own(host):
    rng = np.random.default_rng(0)
    x, weight = (dl.tensor(rng.standard_normal(s, np.float32)).to("cuda") for s in ((2, 5, 5, 4), (4, 3, 3, 1)))
    with dl.kernels.watch() as calls:
        dl.functional.conv2d(x, weight, groups=4)
    method, why = calls[0].options["plan"].choices["forward"]
    assert method == "implicit"
    assert why.startswith("one channel a group, by kernels of their own")


def test_a_product_is_no_convolution(host):
    rng = np.random.default_rng(0)
    x, weight = (dl.tensor(rng.standard_normal(s, np.float32)).to("cuda") for s in ((2, 3, 3, 4), (8, 1, 1, 4)))
    with dl.kernels.watch() as calls:
        dl.functional.conv2d(x, weight)
    assert calls[0].options["plan"].choices["dx"].why.startswith("a 1 x 1 kernel is a product with the image")


LACKING = "the CPU plays the GPU"


def test_what_is_said_of_methods(host):
    work = OnTheDevice()
    with pytest.raises(ValueError, match=f"'cudnn' cannot be used: {LACKING}; 'auto', 'implicit', 'im2col' take"):
        work.run("cuda", method="cudnn")
    with pytest.raises(ValueError, match="'winograd' is one of the CPU; arrays on a device have 'auto', 'implicit'"):
        work.run("cuda", method="winograd")
    with pytest.raises(ValueError, match="method 'implicit' is for arrays on a device; the CPU has im2col, direct"):
        work.run("cpu", method="implicit")
    with pytest.raises(ValueError, match="method must be one of .*'cudnn'"):
        work.run("cuda", method="tiled")
    with pytest.raises(ValueError, match="method must be one of"):
        dl.nn.Conv2d(3, 8, 3, method="tiled")
    layer = dl.nn.Conv2d(4, 8, 3, method="implicit").to("cuda")
    assert "method='implicit'" in repr(layer)
    assert layer(dl.tensor(work.arrays[0]).to("cuda")).shape == (2, 4, 3, 8)


def test_explain_says_what_runs_on_a_device(host, monkeypatch):
    layers = dl.nn.Conv2d(3, 8, 3, padding=1, activation="relu"), dl.nn.Conv2d(8, 8, 1), dl.nn.Flatten()
    model = dl.nn.Sequential(*layers, dl.nn.Linear(8 * 36, 10)).to("cuda")
    found = dl.explain(model, (2, 6, 6, 3))
    assert [row.forward for row in found.rows] == ["implicit", "im2col", "", "tiles"]
    assert (found.device, found.peak, found.tf32) == ("cuda:0", None, False)
    text = str(found)
    assert "implicit: cudnn cannot be used: the CPU plays the GPU (0)" in text
    assert "tiles: of our own; cuBLASLt: the CPU plays the GPU (3)" in text
    assert "On cuda:0, in float32; TF32 is not allowed." in text
    monkeypatch.setattr(device.Host, "cublas", cublas.Cublas(device.host_device(), CublasLt().bindings()))
    monkeypatch.setattr(device.Host, "no_cublas", "")
    with dl.cuda.allow_tf32():
        found = dl.explain(model, np.zeros((2, 6, 6, 3), np.float32))
    assert [row.forward for row in found.rows] == ["im2col", "im2col", "", "cuBLASLt"]
    assert found.tf32
