"""The transforms of images on the device against the reference."""

import numpy as np
import pytest
from ondevice import down, up

from dlfast import kernels

SHAPES = [(3, 8, 7, 3), (2, 5, 9, 1), (2, 1, 6, 2), (2, 40, 33, 3), (0, 4, 4, 3)]
FACTORS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 0, 0)]


def drawn(shape, dtype):
    """Images, and maps of which some turn, mirror, squeeze or leave the image."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, shape, np.uint8) if dtype == np.uint8 else rng.random(shape).astype(dtype)
    maps = rng.uniform(-1.3, 1.3, (shape[0], 2, 3))
    maps[:, :, 2] = rng.uniform(-0.5, 1.5, (shape[0], 2)) * shape[1:3]
    maps[:1] = (1, 0, 0), (0, 1, 0)
    return x, maps


def compare(op, x, *arrays, **options):
    """Bytes may be one off where two are equally near."""
    y = down(kernels.pair(op, "cuda")(up(x), *arrays, **options))
    wanted = kernels.pair(op, "reference")(x, *arrays, **options)
    assert y.dtype == wanted.dtype
    difference = np.abs(y.astype(np.float64) - wanted)
    assert difference.max(initial=0) <= (1 if x.dtype == np.uint8 else 1e-6)
    if x.dtype == np.uint8:
        assert (difference > 0).sum() <= 0.01 * x.size


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_affine(shape, dtype):
    x, maps = drawn(shape, dtype)
    compare("affine_transform", x, maps, fill=17 if dtype == np.uint8 else 0.25)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("chosen", FACTORS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_jitter(shape, chosen, dtype):
    rng = np.random.default_rng(1)
    factors = [rng.uniform(0.2, 2, shape[0]).astype(np.float32) if use else None for use in chosen]
    compare("jitter_transform", drawn(shape, dtype)[0], *factors)


def test_nan_stays_where_it_is():
    x, maps = drawn(SHAPES[0], np.float32)
    x[1, 3, 3, 1] = np.nan
    maps[1] = (1, 0, 0.5), (0, 1, 0.5)
    y = down(kernels.pair("affine_transform", "cuda")(up(x), up(maps), fill=0))
    assert sorted(map(tuple, np.argwhere(np.isnan(y)))) == [(1, i, j, 1) for i in (2, 3) for j in (2, 3)]
