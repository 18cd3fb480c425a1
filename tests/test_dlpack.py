"""Arrays to and from other libraries without a copy: DLPack, and NumPy's __array__."""

import numpy as np
import pytest
from peers import needs_torch, torch

import dlfast as dl
from dlfast._dlpack import _VERSIONED
from dlfast.tensor import Tensor
from dlfast.utils.dlpack import from_dlpack, to_dlpack

versioned = pytest.mark.skipif(not _VERSIONED, reason="this NumPy knows no versions of DLPack")
DTYPES = [np.float32, np.float64, np.int32, np.int64, np.uint8, np.float16]


def numbers(dtype=np.float32):
    return np.arange(12).reshape(3, 4).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", [lambda a: a, lambda a: a.T, lambda a: a[:, 1:3], lambda a: a[:0], lambda a: a[1, 2]])
def test_numpy_both_ways(view, dtype):
    array = view(numbers(dtype))
    array = np.asarray(array)
    for there in (np.from_dlpack(Tensor(array)), dl.from_dlpack(array).data):
        np.testing.assert_array_equal(there, array)
        assert there.dtype == array.dtype
        assert there.strides == array.strides or array.size < 2
        assert np.shares_memory(there, array) or not array.size


def test_what_one_writes_the_other_sees():
    array = numbers()
    x = dl.from_dlpack(array)
    x[0, 0] = 7
    assert array[0, 0] == 7
    np.from_dlpack(x)[0, 1] = 8
    assert array[0, 1] == 8


@needs_torch
def test_torch_both_ways():
    x = Tensor(numbers())
    for theirs in (
        torch.from_dlpack(x),
        torch.utils.dlpack.from_dlpack(x),
        torch.utils.dlpack.from_dlpack(to_dlpack(x)),
    ):
        assert theirs.data_ptr() == x.data.ctypes.data
        theirs[0, 0] += 1
    assert x.data[0, 0] == 3
    theirs = torch.arange(6.0).reshape(2, 3).t()
    for ours in (dl.from_dlpack(theirs), from_dlpack(torch.utils.dlpack.to_dlpack(theirs))):
        assert ours.data.ctypes.data == theirs.data_ptr()
        np.testing.assert_array_equal(ours.data, theirs.numpy())
    theirs[0, 0] = 9
    assert ours.data[0, 0] == 9
    copied = dl.from_dlpack(theirs, copy=True)
    theirs[0, 0] = 10
    assert copied.data[0, 0] == 9


@needs_torch
def test_memory_outlives_its_first_owner():
    def lend():
        return torch.from_dlpack(Tensor(np.full(1000, 3.0)))

    def borrow():
        return dl.from_dlpack(torch.full((1000,), 4.0))

    theirs, ours = lend(), borrow()
    _ = [np.full(1000, 5.0) for _ in range(50)]
    assert (theirs == 3).all()
    assert (ours.data == 4).all()


def test_a_gradient_does_not_get_lost():
    x = Tensor(numbers(), requires_grad=True)
    for call in (lambda: np.from_dlpack(x), lambda: dl.from_dlpack(x), lambda: np.from_dlpack(x * 2)):
        with pytest.raises(BufferError, match=r"requires a gradient.*give x.detach\(\)"):
            call()
    assert np.shares_memory(np.from_dlpack(x.detach()), x.data)


@needs_torch
def test_torch_tensors_with_a_gradient_or_of_other_dtypes():
    with pytest.raises(BufferError, match=r"a Tensor that requires a gradient cannot be taken over.*detach"):
        dl.from_dlpack(torch.ones(2, requires_grad=True))
    with pytest.raises(BufferError, match="cannot be taken over"):
        dl.from_dlpack(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(TypeError, match="must hold real numbers"):
        dl.from_dlpack(torch.ones(2, dtype=torch.complex64))


@versioned
def test_read_only_stays_read_only():
    array = numbers()
    array.flags.writeable = False
    x = dl.from_dlpack(array)
    assert not x.data.flags.writeable
    assert not np.from_dlpack(x).flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        x += 1
    with pytest.raises(BufferError, match=r"read-only, which the receiver's version.*x.clone\(\)"):
        x.__dlpack__()
    x.__dlpack__(copy=True, max_version=(1, 0))
    x.clone().__dlpack__()


class Elsewhere:
    def __dlpack__(self, **options):
        raise AssertionError("asked for an array that lies elsewhere")

    def __dlpack_device__(self):
        return 7, 0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: dl.from_dlpack([1.0]), TypeError, "expected an array with __dlpack__, got list"),
        (
            lambda x: dl.from_dlpack(Elsewhere()),
            BufferError,
            "must lie on the CPU or a GPU of NVIDIA, got one on a Vulkan",
        ),
        (lambda x: dl.from_dlpack(x, device="cuda"), ValueError, "device is 'cuda', but the array lies on cpu"),
        (lambda x: x.__dlpack__(stream=3), ValueError, "stream must be None"),
        (lambda x: x.__dlpack__(dl_device=(2, 0)), BufferError, r"dl_device must be \(1, 0\)"),
        (lambda x: x.__dlpack__((1, 0)), TypeError, "positional"),
    ],
)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call(Tensor(numbers()))


def test_the_protocol():
    x = Tensor(numbers())
    assert x.__dlpack_device__() == (1, 0)
    for options in ({}, {"stream": None}, {"stream": -1}, {"dl_device": (1, 0)}, {"copy": False}):
        capsule = x.__dlpack__(**options)
        assert '"dltensor"' in repr(capsule)
        assert np.shares_memory(dl.from_dlpack(capsule).data, x.data)
    assert not np.shares_memory(dl.from_dlpack(x.__dlpack__(copy=True)).data, x.data)
    assert not np.shares_memory(dl.from_dlpack(x, copy=True).data, x.data)
    assert np.shares_memory(dl.from_dlpack(x, device="cpu", copy=False).data, x.data)


@versioned
def test_versions():
    x = Tensor(numbers())
    for version in (None, (0, 8)):
        assert '"dltensor"' in repr(x.__dlpack__(max_version=version))
    for version in ((1, 0), (1, 3), (2, 0)):
        assert "dltensor_versioned" in repr(x.__dlpack__(max_version=version))


def test_numpy_arrays_of_tensors():
    x = Tensor(numbers(), requires_grad=True)
    assert np.asarray(x) is x.data
    assert np.asarray(x, dtype=np.float32) is x.data
    assert np.asarray(x, np.float64).dtype == np.float64
    copied = np.array(x)
    assert not np.shares_memory(copied, x.data)
    assert np.array([x, x]).shape == (2, 3, 4)
    np.testing.assert_array_equal(np.concatenate([np.asarray(x * 2), x.data]), np.concatenate([2 * x.data, x.data]))


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="copy= of NumPy 2")
def test_copy_as_numpy_2_has_it():
    x = Tensor(numbers())
    assert np.asarray(x, copy=False) is x.data
    assert np.array(x, copy=None) is x.data
    assert not np.shares_memory(np.asarray(x, copy=True), x.data)
    assert np.asarray(x, np.float64, copy=True).dtype == np.float64
    with pytest.raises(ValueError, match="float32 cannot become an array of .*float64.* without a copy"):
        np.asarray(x, dtype=np.float64, copy=False)
