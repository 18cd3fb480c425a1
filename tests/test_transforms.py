"""Transforms of images: each against its definition written out, the same bits from the same seed, bad input named."""

import numpy as np
import pytest

import dlfast as dl
from dlfast.data import ArrayDataset
from dlfast.data import transforms as T

SHAPE = (40, 9, 11, 3)
DTYPES = [np.float32, np.float64, np.uint8]


def images(dtype=np.float32, shape=SHAPE):
    rng = np.random.default_rng(1)
    return rng.integers(1, 256, shape, np.uint8) if dtype == np.uint8 else rng.random(shape).astype(dtype) + dtype(0.01)


def generator(seed=5):
    return np.random.default_rng(seed)


RANDOM = [
    T.RandomCrop(7, padding=2),
    T.RandomCrop(padding=(0, 3), padding_mode="reflect"),
    T.RandomHorizontalFlip(),
    T.RandomVerticalFlip(0.3),
    T.RandomErasing(),
    T.RandomErasing(0.9, value="random"),
    T.Cutout(4),
    T.ColorJitter(0.3, 0.3, 0.3),
    T.RandomRotation(20),
    T.RandomAffine(15, (0.1, 0.2), (0.8, 1.2)),
    T.Compose([T.RandomCrop(padding=1), T.RandomHorizontalFlip(), T.Normalize(0.5, 0.25)]),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("t", RANDOM, ids=str)
def test_draws_from_its_generator_and_changes_no_input(t, dtype):
    x = images(dtype)
    x.flags.writeable = False
    y = t(x, generator())
    assert not np.shares_memory(x, y)
    assert y.dtype == (dtype if not isinstance(t, T.Compose) or dtype == np.float64 else np.float32)
    np.testing.assert_array_equal(t(x, generator()), y)
    assert (t(x, generator(6)) != y).any()
    dl.manual_seed(5)
    first, second = t(x), t(x)
    np.testing.assert_array_equal(first, y)
    assert (second != first).any()
    strided = np.repeat(x, 2, axis=2)[:, :, ::2]
    np.testing.assert_array_equal(t(strided, generator()), y)
    assert len(t(x[:0], generator())) == 0


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_crop_takes_a_part_of_the_padded_image(mode):
    x = images()
    y = T.RandomCrop((6, 8), padding=(2, 3), fill=-1, padding_mode=mode)(x, generator())
    fill = {"constant_values": -1} if mode == "constant" else {}
    padded = np.pad(x, ((0, 0), (2, 2), (3, 3), (0, 0)), mode, **fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (6, 8), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    found = [np.argwhere((windows[i] == y[i]).all((2, 3, 4))) for i in range(len(x))]
    assert all(len(places) for places in found)
    corners = np.array([places[0] for places in found])
    assert set(corners[:, 0]) == set(range(8))
    assert set(corners[:, 1]) >= set(range(1, 9))


@pytest.mark.parametrize(("kind", "axis"), [(T.RandomHorizontalFlip, 2), (T.RandomVerticalFlip, 1)])
def test_flip(kind, axis):
    x = images(shape=(400, 4, 5, 1))
    mirrored = np.flip(x, axis)
    np.testing.assert_array_equal(kind(1)(x), mirrored)
    np.testing.assert_array_equal(kind(0)(x), x)
    y = kind(0.25)(x, generator())
    turned = (y == mirrored).all((1, 2, 3))
    assert 70 < turned.sum() < 130
    np.testing.assert_array_equal(y[~turned], x[~turned])


def rectangle(changed):
    """(rows, columns) of one image's changed pixels, which fill a rectangle."""
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert changed[np.ix_(rows, columns)].all()
    assert len(rows) == np.ptp(rows) + 1
    assert len(columns) == np.ptp(columns) + 1
    return rows, columns


def test_erasing_draws_rectangles_of_the_area_and_ratio():
    x = images(shape=(300, 40, 50, 2))
    y = T.RandomErasing(0.6, scale=(0.1, 0.2), ratio=(0.5, 2), value=(0, -1))(x, generator())
    erased = (y != x).any((1, 2, 3))
    assert 140 < erased.sum() < 220
    areas, ratios = [], []
    for i in np.flatnonzero(erased):
        rows, columns = rectangle((y[i] == (0, -1)).all(-1))
        areas.append(len(rows) * len(columns) / 2000)
        ratios.append(len(rows) / len(columns))
    assert 0.09 < min(areas) < 0.12
    assert 0.18 < max(areas) < 0.21
    assert 0.45 < min(ratios) < 0.7
    assert 1.5 < max(ratios) < 2.2


def test_erasing_with_noise():
    x = np.zeros((30, 20, 20, 1), np.float32)
    noise = T.RandomErasing(1, scale=(0.3, 0.3), value="random")(x, generator())
    noise = noise[noise != 0]
    assert noise.std() == pytest.approx(1, abs=0.1)
    of_bytes = T.RandomErasing(1, scale=(0.3, 0.3), value="random")(x.astype(np.uint8), generator())
    assert of_bytes.max() > 250


def test_erasing_leaves_images_that_hold_no_such_rectangle():
    x = images(shape=(5, 1, 1, 3))
    np.testing.assert_array_equal(T.RandomErasing(1)(x), x)


def test_cutout_squares_are_cut_at_the_edge():
    x = images(shape=(300, 10, 12, 3))
    y = T.Cutout(4)(x, generator())
    heights = []
    for i in range(len(x)):
        rows, columns = rectangle((y[i] == 0).all(-1))
        assert len(rows) == 4 or rows[0] == 0 or rows[-1] == 9
        assert len(columns) == 4 or columns[0] == 0 or columns[-1] == 11
        heights.append(len(rows))
    assert set(heights) == {2, 3, 4}


def test_affine_of_nothing_and_of_right_angles():
    x = images(shape=(3, 7, 7, 2))
    np.testing.assert_allclose(T.RandomAffine(0)(x), x, atol=1e-6)
    np.testing.assert_allclose(T.RandomRotation((90, 90))(x), np.rot90(x, axes=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(T.RandomRotation((-90, -90))(x), np.rot90(x, -1, axes=(1, 2)), atol=1e-5)


def test_affine_moves_and_scales():
    x = images(shape=(200, 8, 8, 1))
    moved = T.RandomAffine(0, (0.25, 0.0), fill=-3)(x, generator())
    across = generator().uniform([0, -0.25, 0, 1], [0, 0.25, 0, 1], (len(x), 4))[:, 1] * 8
    padded = np.pad(x[..., 0], ((0, 0), (0, 0), (3, 3)), constant_values=-3)
    for i, shift in enumerate(across):
        wanted = [np.interp(np.arange(3, 11) - shift, np.arange(14), row) for row in padded[i]]
        np.testing.assert_allclose(moved[i, ..., 0], wanted, atol=1e-5)
    ramp = np.broadcast_to(np.arange(9, dtype=np.float32)[:, None, None], (1, 9, 9, 1))
    larger = T.RandomAffine(0, scale=(2, 2))(ramp)
    np.testing.assert_allclose(larger[0, :, 4, 0], 4 + (np.arange(9) - 4) / 2, atol=1e-5)


def test_affine_rounds_bytes():
    x = np.full((2, 6, 6, 1), 200, np.uint8)
    assert (T.RandomRotation((30, 30), fill=200)(x) == 200).all()


def test_jitter_formulas():
    x = images()
    bright = T.ColorJitter(brightness=(0.5, 0.5))(x)
    np.testing.assert_allclose(bright, np.clip(x / 2, 0, 1), rtol=1e-5)
    luminance = x @ np.array([0.299, 0.587, 0.114], np.float32)
    contrast = T.ColorJitter(contrast=(0.4, 0.4))(x)
    mean = luminance.mean((1, 2))[:, None, None, None]
    np.testing.assert_allclose(contrast, np.clip(0.4 * x + 0.6 * mean, 0, 1), rtol=1e-5)
    grey = T.ColorJitter(saturation=(0, 0))(x)
    np.testing.assert_allclose(grey, np.repeat(np.clip(luminance, 0, 1)[..., None], 3, 3), rtol=1e-5)
    factors = T.ColorJitter(brightness=0.2)(np.full((500, 1, 1, 1), 0.5), generator()).ravel() / 0.5
    assert 0.8 <= factors.min() < 0.81
    assert 1.19 < factors.max() <= 1.2
    assert T.ColorJitter(brightness=(3, 3))(images(np.uint8)).max() == 255


@pytest.mark.parametrize("shape", [(6, 4, 5, 3), (6, 4, 5, 1), (6, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_normalize_of_data(shape, dtype):
    x = images(dtype, shape)
    norm = T.Normalize.of(ArrayDataset(x, np.arange(6)))
    axes = tuple(range(x.ndim - 1))
    np.testing.assert_allclose(norm.mean, x.astype(np.float64).mean(axes), rtol=1e-12)
    np.testing.assert_allclose(norm.std, x.astype(np.float64).std(axes), rtol=1e-12)
    y = norm(x)
    assert y.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axes), 1, atol=1e-5)
    np.testing.assert_allclose(norm.inverse(y), x, rtol=1e-4, atol=1e-4)


def test_normalize_measures_in_parts():
    x = 1000 + images(np.float64, (1500, 2))
    norm = T.Standardize.of(x)
    np.testing.assert_allclose(norm.std, x.std(0), rtol=1e-10)
    np.testing.assert_allclose(norm.mean, x.mean(0), rtol=1e-12)
    assert "Standardize(mean=[1000." in repr(norm)


def test_standardize_beside_scikit_learn():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    x = images(np.float64, (50, 4))
    x[:, 2] = 7.1
    scaler = preprocessing.StandardScaler().fit(x)
    standardize = T.Standardize.of((x, np.zeros(50)))
    np.testing.assert_allclose(standardize(x), scaler.transform(x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(standardize.inverse(standardize(x)), x, rtol=1e-12)


def test_to_float_lambda_and_compose():
    x = images(np.uint8)
    np.testing.assert_allclose(T.ToFloat()(x), x / np.float32(255))
    assert T.ToFloat()(images(np.float64)).dtype == np.float64
    halves = T.Compose([T.Lambda(lambda x: x[:, ::2]), T.ToFloat()])
    np.testing.assert_allclose(halves(x), x[:, ::2] / np.float32(255))
    assert repr(T.Compose([T.RandomHorizontalFlip()])) == "Compose([RandomHorizontalFlip(p=0.5)])"


def test_a_transform_of_ones_own():
    class Noise(T.Transform):
        def apply(self, x, generator):
            return x + generator.standard_normal(x.shape).astype(x.dtype)

    dl.manual_seed(0)
    noise = Noise()(np.zeros(SHAPE, np.float32))
    dl.manual_seed(0)
    np.testing.assert_array_equal(Noise()(np.zeros(SHAPE, np.float32)), noise)


X = images()
BAD = [
    (lambda: T.RandomCrop(7)(X[0]), ValueError, r"RandomCrop: expected a batch \(N, H, W, C\).*t\(x\[None\]\)\[0\]"),
    (lambda: T.RandomCrop(7)(X[0, 0]), ValueError, r"x must have 4 axes"),
    (lambda: T.Cutout(2)(X.astype(np.int64)), TypeError, "float32, float64 or uint8, got int64"),
    (lambda: T.RandomCrop(30, padding=2)(X), ValueError, r"images \(9, 11\) with padding \(2, 2\) hold no part"),
    (lambda: T.RandomCrop(padding=9, padding_mode="reflect")(X), ValueError, "too small to reflect"),
    (lambda: T.RandomCrop(padding=-1), ValueError, "padding must be at least 0"),
    (lambda: T.RandomCrop(0), ValueError, "size must be at least 1"),
    (lambda: T.RandomCrop(padding_mode="wrap"), ValueError, "padding_mode must be one of 'constant'"),
    (lambda: T.RandomHorizontalFlip(1.5), ValueError, r"p must be in \[0, 1\], got 1.5"),
    (lambda: T.RandomErasing(scale=(0.5, 0.1)), ValueError, r"scale must be \(least, most\)"),
    (lambda: T.RandomErasing(scale=0.5), ValueError, "scale must be two numbers"),
    (lambda: T.RandomErasing(ratio=(0, 1)), ValueError, "ratio must be positive"),
    (lambda: T.RandomErasing(value="black"), ValueError, "value must be one of 'random'"),
    (lambda: T.RandomErasing(value=(1, 2))(X), ValueError, "or one for each of 3 channels"),
    (lambda: T.Cutout(2, 300)(images(np.uint8)), ValueError, "value must be in 0..255"),
    (lambda: T.ColorJitter(brightness=-1), ValueError, r"brightness must be in \[0, inf\)"),
    (lambda: T.RandomRotation("much"), TypeError, "RandomRotation: degrees must be a number"),
    (lambda: T.RandomAffine(5, 0.1), ValueError, "translate must be two shares"),
    (lambda: T.RandomAffine(5, scale=(0, 1)), ValueError, "scale must be positive"),
    (lambda: T.Normalize([0, 0], [1, 0]), ValueError, "std must be positive"),
    (lambda: T.Normalize([0, 0], [1, 1, 1]), ValueError, "mean and std must have one length, got 2 and 3"),
    (lambda: T.Normalize("a", 1), ValueError, "mean must be a number"),
    (lambda: T.Normalize([0, 0], 1)(X), ValueError, "x must have 2 channels on its last axis"),
    (lambda: T.Standardize(0, 1)(X), ValueError, r"x must have 2 axes \(N, F\)"),
    (lambda: T.Normalize.of(X[:0]), ValueError, "there are no rows to measure"),
    (lambda: T.Normalize.of(np.full((3, 2), np.nan)), ValueError, "NaN or infinite"),
    (lambda: T.Normalize.of(3), TypeError, "expected an array or a data set, got int"),
    (lambda: T.Compose(T.ToFloat()), TypeError, "expected a list of transforms"),
    (lambda: T.Compose([3]), TypeError, "every transform must be callable, got 3"),
    (lambda: T.Lambda(3), TypeError, "expected a function"),
    (lambda: T.ToFloat()(X, 3), TypeError, "generator must be a NumPy generator, got int"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
