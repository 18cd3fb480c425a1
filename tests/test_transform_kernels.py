"""The transforms of images that are kernels: the reference against loops over pixels, other backends against it."""

import math

import numpy as np
import pytest
from isas import each_isa

import dlfast as dl
from dlfast import kernels
from dlfast.data import transforms as T

BACKENDS = each_isa(kernels.backends_of("affine_transform"))
DTYPES = [np.float32, np.float64, np.uint8]
SHAPES = [(3, 8, 7, 3), (4, 5, 9, 1), (2, 6, 6, 2), (2, 3, 4, 5), (3, 1, 1, 3), (2, 1, 6, 1), (2, 5, 1, 3)]
LARGE = (40, 31, 33, 3)  # for several threads
FACTORS = [(None, None, None), (1, None, None), (None, 1, None), (None, None, 1), (1, 1, None), (1, 1, 1)]


def drawn(shape, dtype, seed=0):
    """Images, and maps of which some turn, mirror, squeeze or leave the image."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, shape, np.uint8) if dtype == np.uint8 else rng.random(shape).astype(dtype)
    maps = rng.uniform(-1.3, 1.3, (shape[0], 2, 3))
    maps[:, :, 2] = rng.uniform(-0.5, 1.5, (shape[0], 2)) * shape[1:3]
    maps[0] = (1, 0, 0), (0, 1, 0)
    return x, maps, 17 if dtype == np.uint8 else 0.25


def interpolated(image, row, column, fill):
    """A pixel in float64, tap by tap."""
    total = np.zeros(image.shape[2])
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            inside = 0 <= i < image.shape[0] and 0 <= j < image.shape[1]
            total += (1 - abs(row - i)) * (1 - abs(column - j)) * (image[i, j] if inside else fill)
    return total


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_reference_of_affine_interpolates_linearly(shape, dtype):
    x, maps, fill = drawn(shape, dtype)
    y = kernels.pair("affine_transform", "reference")(x, maps, fill=fill)
    assert y.dtype == dtype
    wanted = np.empty(shape)
    for n, i, j in np.ndindex(shape[:3]):
        wanted[n, i, j] = interpolated(x[n].astype(np.float64), *(maps[n] @ (i, j, 1)), fill)
    np.testing.assert_allclose(y, wanted, atol=0.5001 if dtype == np.uint8 else 1e-5 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(y[0], x[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, LARGE, (0, 4, 4, 3), (2, 0, 4, 3)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_affine_beside_the_reference(backend, shape, dtype):
    x, maps, fill = drawn(shape, dtype) if np.prod(shape) else (np.empty(shape, dtype), np.zeros((shape[0], 2, 3)), 0)
    x.flags.writeable = maps.flags.writeable = False
    y, wanted = (kernels.pair("affine_transform", name)(x, maps, fill=fill) for name in (backend, "reference"))
    assert y.dtype == dtype
    assert y.flags.c_contiguous
    assert not np.shares_memory(x, y)
    np.testing.assert_array_max_ulp(y, wanted, 4) if dtype != np.uint8 else np.testing.assert_allclose(y, wanted, 0, 1)


def jittered(backend, x, chosen, seed=1):
    rng, dtype = np.random.default_rng(seed), np.float64 if x.dtype == np.float64 else np.float32
    factors = [None if use is None else rng.uniform(0.2, 2, len(x)).astype(dtype) for use in chosen]
    return kernels.pair("jitter_transform", backend)(x, *factors), factors


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chosen", FACTORS, ids=str)
def test_the_reference_of_jitter_is_its_formula(chosen, dtype):
    x = drawn(SHAPES[0], dtype)[0]
    y, factors = jittered("reference", x, chosen)
    white, weights, wanted = 255 if dtype == np.uint8 else 1, (0.299, 0.587, 0.114), x.astype(np.float64)
    for step, factor in enumerate(factors):
        if factor is not None:
            f, grey = factor[:, None, None, None].astype(np.float64), (wanted @ weights)[..., None]
            other = (0, grey.mean((1, 2, 3), keepdims=True), grey)[step]
            wanted = np.clip(f * wanted + (1 - f) * other, 0, white)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, wanted, rtol=0, atol=0.501 if dtype == np.uint8 else 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chosen", FACTORS, ids=str)
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[1], SHAPES[3], LARGE, (0, 4, 4, 3)], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_jitter_beside_the_reference(backend, shape, chosen, dtype):
    x = drawn(shape, dtype)[0] if shape[0] else np.empty(shape, dtype)
    x.flags.writeable = False
    y, wanted = jittered(backend, x, chosen)[0], jittered("reference", x, chosen)[0]
    assert y.dtype == dtype
    assert not np.shares_memory(x, y)
    near = {np.uint8: 1, np.float32: 1e-6, np.float64: 1e-14}[dtype]  # the mean is a sum of many terms
    np.testing.assert_allclose(y.astype(np.float64), wanted, rtol=0, atol=near)
    if dtype == np.uint8:
        assert (y != wanted).sum() <= 0.01 * y.size  # ties, rounded either way


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_stays_where_it_is(backend):
    """In one image, and of affine in the four places that read it."""
    x, maps, _ = drawn(SHAPES[0], np.float32)
    x[1, 3, 3, 1] = np.nan
    maps[1] = (1, 0, 0.5), (0, 1, 0.5)
    y = kernels.pair("affine_transform", backend)(x, maps, fill=0)
    assert sorted(map(tuple, np.argwhere(np.isnan(y)))) == [(1, i, j, 1) for i in (2, 3) for j in (2, 3)]
    y = jittered(backend, x, (1, None, None))[0]
    assert np.argwhere(np.isnan(y)).tolist() == [[1, 3, 3, 1]]
    y = jittered(backend, x, (None, 1, None))[0]
    assert np.isnan(y[1]).all()
    assert not np.isnan(y[[0, 2]]).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_bits_for_any_number_of_threads(backend, dtype):
    x, maps, fill = drawn(LARGE, dtype)
    before, found = dl.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            dl.set_num_threads(threads)
            moved = kernels.pair("affine_transform", backend)(x, maps, fill=fill)
            found.append((moved.tobytes(), jittered(backend, x, (1, 1, 1))[0].tobytes()))
    finally:
        dl.set_num_threads(before)
    assert found[1:] == found[:1] * 2


@pytest.mark.parametrize("t", [T.RandomAffine(30, (0.2, 0.1), (0.7, 1.4), fill=0.5), T.ColorJitter(0.4, 0.4, 0.4)])
def test_one_seed_gives_the_same_images_on_every_backend(t):
    x, found = drawn(LARGE, np.float32)[0], []
    for backend in kernels.backends_of("affine_transform"):
        with kernels.use_backend(backend):
            found.append(t(x, np.random.default_rng(3)))
    assert len(found) == len(kernels.backends_of("affine_transform"))
    for y in found[1:]:
        np.testing.assert_allclose(y, found[0], rtol=0, atol=1e-6)


def test_fill_of_bytes_is_a_byte():
    x = drawn(SHAPES[0], np.uint8)[0]
    with pytest.raises(ValueError, match=r"RandomRotation: fill must be in 0..255 for images of bytes, got 300"):
        T.RandomRotation(10, fill=300)(x)
    assert T.RandomAffine(0, (0.5, 0.5), fill=255)(x).max() == 255
