"""Integers without bound: whatever stride, padding, dilation, groups or size, a result or an error that says why.

The calls run in a process of their own, with little memory and a watch that ends it: a call that never returns, or that
ends the process, fails its test. `python tests/test_geometry.py cython` runs them alone.
"""

import faulthandler
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

import dlfast as dl
from dlfast import functional as F
from dlfast import kernels, nn
from dlfast.tensor import Tensor

BACKENDS = [name for name in ("reference", "numba", "cython") if name in kernels.backends_of("conv2d")]
HUGE = (2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 + 1, 10**30)
FAR = (1000, 30_000, 10**6, 10**7, *HUGE)
SMALL = (0, -1, -(2**63))
SECONDS, BYTES = 30, 3 << 30  # of a call; of memory


def drawn(*shape):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32), requires_grad=True)


def image_calls() -> Iterator[tuple]:
    """(function, arguments, options): convolutions, one integer at a time, for both axes and for either."""
    weights = {(3, 3, 8): 1, (3, 1, 8): 1, (16, 3, 20): 1, (16, 3, 16): 16, (8, 1, 6): 2}
    for (channels, side, outputs), groups in weights.items():
        arrays = drawn(2, 7, 6, channels), drawn(outputs, side, side, channels // groups)
        for name, values in {"stride": FAR, "dilation": FAR, "padding": HUGE}.items():
            for value in (*values, *SMALL):
                for given in (value, (value, 1), (1, value)):
                    yield F.conv2d, arrays, {"groups": groups, name: given}
        for value in (*HUGE, *SMALL):
            yield F.conv2d, arrays, {"groups": value}
        # Windows that see nothing but padding between those that see the image, and taps beyond it
        yield F.conv2d, arrays, {"groups": groups, "stride": 30_000, "padding": 30_000}
        yield F.conv2d, arrays, {"groups": groups, "stride": 10**6, "padding": 10**6}
        if side > 1:
            yield F.conv2d, arrays, {"groups": groups, "dilation": (10**6, 1), "padding": (10**6, 1)}
        yield F.conv2d, arrays, {"groups": groups, "dilation": 10**6, "padding": "same"}
        yield F.conv2d, arrays, {"groups": groups, "dilation": 2**40, "padding": "same"}


def other_calls() -> Iterator[tuple]:
    image, kernel, steps = drawn(2, 7, 6, 3), drawn(8, 3, 3, 3), drawn(2, 9, 3)
    for value in (*FAR, *SMALL):
        for function in (F.conv2d_max_pool2d, F.conv2d_avg_pool2d):
            for given in (value, (value, 1)):
                yield function, (image, kernel), {"pool_size": given}
                yield function, (image, kernel), {"pool_size": 1, "stride": given}
                yield function, (image, kernel), {"pool_size": 1, "dilation": given}
        yield F.conv1d, (steps, drawn(4, 2, 3)), {"stride": value}
        yield F.conv1d, (steps, drawn(4, 2, 3)), {"dilation": value}
        yield F.conv1d, (steps, drawn(4, 1, 3)), {"dilation": value, "padding": "same"}
        yield F.max_pool1d, (steps, 2), {"stride": value}
        for ceil_mode in (False, True):
            for function in (F.max_pool2d, F.avg_pool2d):
                for given in (value, (value, 1), (1, value)):
                    yield function, (image, given), {"ceil_mode": ceil_mode}
                    yield function, (image, given), {"stride": 1, "ceil_mode": ceil_mode}
                    yield function, (image, 2), {"stride": given, "ceil_mode": ceil_mode}
        for given in (value, (value, 1), (1, value)):
            yield F.max_pool2d, (image, 2), {"dilation": given}
            yield F.max_pool2d, (image, 1), {"dilation": given}
    for value in (*HUGE, *SMALL):
        yield F.conv2d_max_pool2d, (image, kernel), {"padding": value}
        yield F.conv1d, (steps, drawn(4, 2, 3)), {"padding": value}
        yield F.conv1d, (steps, drawn(4, 2, 3)), {"groups": value}
        yield F.max_pool1d, (steps, value), {"padding": value // 2}
        for function in (F.max_pool2d, F.avg_pool2d):
            yield function, (image, value), {"padding": value // 2}
            yield function, (image, 3), {"padding": value}
        yield F.pad, (image, [(0, 0), (value, 0), (0, 0), (0, 0)]), {}
        yield F.pad, (image, [(value, value)] * 4), {}
        yield F.adaptive_avg_pool2d, (image, value), {}
        yield F.adaptive_avg_pool2d, (image, (value, None)), {}
        yield F.adaptive_max_pool2d, (image, (value, None)), {}
        yield F.interpolate, (image, (value, 1)), {}
        yield F.interpolate, (image, (1, value)), {"mode": "bilinear"}
        yield F.avg_pool1d, (steps, 2), {"padding": value}
        yield F.conv_transpose1d, (steps, drawn(3, 2, 4)), {"stride": value}
        yield F.conv_transpose1d, (steps, drawn(3, 2, 4)), {"padding": value}
        yield F.one_hot, (np.array([0, 1]), value), {}
    yield from transposed_calls()


def transposed_calls() -> Iterator[tuple]:
    for size, side, outputs in ((1, 3, 2), (1, 1, 9), (2, 3, 9), (2, 1, 2)):
        arrays = drawn(2, size, size, 6), drawn(6, side, side, outputs)
        for value in (*HUGE, *SMALL):
            for given in (value, (1, value)):
                yield F.conv_transpose2d, arrays, {"stride": given}
                yield F.conv_transpose2d, arrays, {"dilation": given}
            yield F.conv_transpose2d, arrays, {"padding": value}
            yield F.conv_transpose2d, arrays, {"output_padding": value, "stride": value + 1}
            yield F.conv_transpose2d, arrays, {"groups": value}
        yield F.conv_transpose2d, arrays, {"stride": (1, 10**5)}
        yield F.conv_transpose2d, arrays, {"stride": (1, 10**5), "padding": 1, "output_padding": (0, 10**4)}


def complaint(function, arguments, options) -> str | None:
    """What is wrong with a call; None where it gives a result and gradients, or says what it wants."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        y = function(*arguments, **options)
        if isinstance(y, Tensor) and y.requires_grad:
            y.backward(np.ones(y.shape, np.float32))
    except (TypeError, ValueError) as error:
        name = function.__name__.removesuffix("1d")  # a pooling of sequences is one of images
        return None if str(error).startswith(name) else f"says {error!r}"
    except MemoryError:
        return None
    except Exception as error:
        return f"raises {error!r}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    return None


def main(backend: str) -> None:
    """Run the calls; print those that are wrong."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    with dl.use_backend(backend, "reference"):
        for call in (*image_calls(), *other_calls()):
            function, arguments, options = call
            given = [getattr(x, "shape", x) for x in arguments]
            print(f"{function.__name__}({given}, {options})", file=sys.stderr)
            if wrong := complaint(*call):
                print(f"{function.__name__}({given}, {options}) {wrong}", flush=True)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of memory are POSIX")
@pytest.mark.parametrize("backend", BACKENDS)
def test_extreme_integers_give_a_result_or_a_clear_error(backend):
    found = subprocess.run([sys.executable, __file__, backend], capture_output=True, text=True, timeout=250)
    last = "\n".join(found.stderr.splitlines()[-12:])
    assert found.returncode == 0, f"ended with {found.returncode} after\n{last}"
    assert not found.stdout, found.stdout


@pytest.fixture(params=BACKENDS)
def backend(request):
    with dl.use_backend(request.param, "reference"):
        yield request.param


@pytest.mark.parametrize("stride", [7, 30_000, 2**62])
@pytest.mark.parametrize(("channels", "groups"), [(3, 1), (16, 1), (16, 16)])
def test_a_stride_beyond_the_image_acts_like_one_window(channels, groups, stride, backend):
    x, w = drawn(2, 7, 6, channels), drawn(16, 3, 3, channels // groups)
    near, far = (F.conv2d(x, w, stride=s, padding=1, groups=groups) for s in (1, stride))
    np.testing.assert_allclose(far.data, near.data[:, :1, :1], rtol=1e-5, atol=1e-5)
    far.backward(np.ones(far.shape, np.float32))
    dx, dw = x.grad, w.grad
    x.grad = w.grad = None
    near[:, :1, :1].backward(np.ones(far.shape, np.float32))
    np.testing.assert_allclose(dx, x.grad, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dw, w.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("function", [F.max_pool2d, F.avg_pool2d])
@pytest.mark.parametrize("stride", [20, 2**62])
def test_pools_with_a_stride_beyond_the_image(stride, function, ceil_mode, backend):
    x = drawn(2, 7, 6, 5)
    y = function(x, 3, stride, 1, ceil_mode=ceil_mode)
    np.testing.assert_array_equal(y.data, function(x, 3, 1, 1).data[:, :1, :1])
    y.backward(np.ones(y.shape, np.float32))
    assert not x.grad[:, 2:].any()
    assert x.grad[:, :2, :2].any()


@pytest.mark.parametrize("channels", [3, 16])
def test_gaps_between_windows_have_no_gradient(channels, backend):
    """Strides longer than the kernel, and taps that are dilated past the image."""
    x, w = drawn(1, 11, 12, channels), drawn(4, 2, 2, channels)
    F.conv2d(x, w, stride=(5, 6)).backward(np.ones((1, 2, 2, 4), np.float32))
    inside = np.zeros((11, 12), bool)
    for row in (0, 1, 5, 6):
        inside[row, [0, 1, 6, 7]] = True
    assert not x.grad[:, ~inside].any()
    np.testing.assert_allclose(x.grad[0, 5:7, 6:8], w.data.sum(axis=0), rtol=1e-5)
    x.grad = None
    y = F.conv2d(x, w, dilation=(10**6, 1), padding=((10**6, 0), (0, 0)))
    np.testing.assert_allclose(y.data, F.conv2d(x, w[:, 1:]).data, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: F.conv2d(drawn(1, 4, 4, 1), drawn(1, 3, 3, 1), padding=2**63 - 1), "conv2d: padding must be at most 1048"),
    (lambda: F.conv2d(drawn(1, 4, 4, 1), drawn(1, 1, 1, 1), padding=10**6 * 8), "conv2d: padding must be at most 1048"),
    (lambda: F.conv2d(drawn(1, 4, 4, 1), drawn(1, 3, 3, 1), dilation=2**40), "conv2d: kernel spans 2199023255553 rows"),
    (lambda: F.conv2d(drawn(1, 4, 4, 1), drawn(1, 3, 3, 1), dilation=2**30, padding="same"), "dilate less"),
    (lambda: F.conv_transpose2d(drawn(1, 4, 4, 1), drawn(1, 3, 3, 1), stride=2**40), "more than any memory holds"),
    (lambda: F.max_pool2d(drawn(1, 4, 4, 1), 2**40), "kernel_size must have at most 2147483647 cells"),
    (lambda: F.max_pool2d(drawn(1, 4, 4, 1), (2**30, 1), ceil_mode=True), "windows must span at most 131072 pixels"),
    (lambda: F.adaptive_avg_pool2d(drawn(1, 4, 4, 1), 2**40), "more than any memory holds"),
    (lambda: F.pad(drawn(2), [(2**62, 2**62)]), "pad: the result would have shape"),
    (lambda: nn.Conv2d(1, 1, 3, stride=2**64), "Conv2d: stride must be at most 9223372036854775807"),
    (lambda: nn.MaxPool2d(2, dilation=2**64), "MaxPool2d: dilation must be at most"),
])  # fmt: skip
def test_what_has_no_meaning_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


if __name__ == "__main__":
    main(sys.argv[1])
