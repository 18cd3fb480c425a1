"""Parts of data sets: every row once, shares of classes exact to rounding, same parts from the same seed; weights."""

import numpy as np
import pytest

import dlfast as dl
from dlfast.data import ArrayDataset, Dataset, Subset, class_counts, class_weights, k_fold, random_split, split

COUNTS = (50, 7, 23, 20)  # rows of each class
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), COUNTS))
DATA = ArrayDataset(np.arange(100), LABELS)


class Named(Dataset):
    """Rows one at a time, whose targets are words."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return np.float32(index), "abcd"[LABELS[index]]


def rows_of(part):
    if isinstance(part, Subset):
        assert (part.dataset[0][0], len(part.dataset)) == (0, 100)
        return part.indices
    return part.arrays[0]


def assert_each_once(parts):
    assert sorted(np.concatenate([rows_of(part) for part in parts]).tolist()) == list(range(100))


@pytest.mark.parametrize("data", [DATA, Named(), Subset(DATA, np.arange(100))], ids=["arrays", "rows", "subset"])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("count", [80, 0.8, 37])
def test_stratified_shares(data, shuffle, count):
    dl.manual_seed(0)
    parts = data.split(count, shuffle=shuffle, stratify=True)
    size = 80 if count == 0.8 else count
    assert [len(part) for part in parts] == [size, 100 - size]
    assert_each_once(parts)
    for part in parts:
        rows = rows_of(part)
        assert (np.diff(rows) > 0).all()
        ideal = np.array(COUNTS) * len(part) / 100
        assert (abs(np.bincount(LABELS[rows], minlength=4) - ideal) < 1).all()
    if not shuffle:
        for name, first in enumerate(np.bincount(LABELS[rows_of(parts[0])])):
            assert set(np.flatnonzero(name == LABELS)[:first]) <= set(rows_of(parts[0]))
    dl.manual_seed(0)
    again = data.split(count, shuffle=shuffle, stratify=True)
    assert [rows_of(part).tolist() for part in again] == [rows_of(part).tolist() for part in parts]
    if shuffle:
        other = data.split(count, shuffle=True, stratify=True)
        assert rows_of(other[0]).tolist() != rows_of(parts[0]).tolist()


def test_split_by_labels_that_are_given():
    halves = np.arange(100) % 2
    first, rest = split(DATA, 10, stratify=halves, shuffle=True, generator=np.random.default_rng(0))
    assert np.bincount(first.arrays[0] % 2).tolist() == [5, 5]
    assert np.bincount(rest.arrays[0] % 2).tolist() == [45, 45]


def test_shuffled_split():
    dl.manual_seed(0)
    first, rest = DATA.split(30, shuffle=True)
    assert isinstance(first, ArrayDataset)
    assert first.arrays[0].tolist() != list(range(30))
    assert_each_once([first, rest])


def test_random_split_in_three():
    dl.manual_seed(0)
    parts = random_split(DATA, [0.7, 0.2, 0.1], stratify=True)
    assert [len(part) for part in parts] == [70, 20, 10]
    assert_each_once(parts)
    for part, share in zip(parts, (0.7, 0.2, 0.1)):
        assert (abs(np.bincount(LABELS[part.indices], minlength=4) - share * np.array(COUNTS)) < 1.5).all()
    assert (np.diff(parts[0].indices) < 0).any()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("stratify", [False, True])
def test_k_fold(shuffle, stratify):
    dl.manual_seed(0)
    folds = list(k_fold(DATA, 6, shuffle=shuffle, stratify=stratify))
    assert len(folds) == 6
    assert_each_once([validation for _, validation in folds])
    for training, validation in folds:
        assert_each_once([training, validation])
        assert len(validation) in (16, 17)
        if stratify:
            assert (abs(np.bincount(LABELS[validation.indices], minlength=4) - np.array(COUNTS) / 6) < 1).all()
    in_order = [validation.indices[0] for _, validation in folds] == [0, 17, 34, 51, 68, 84]
    assert in_order == (not shuffle and not stratify)


def test_class_counts_and_weights():
    assert class_counts(DATA).tolist() == list(COUNTS)
    assert class_counts(LABELS, 6).tolist() == [*COUNTS, 0, 0]
    assert class_counts(Subset(DATA, LABELS.argsort()[:60])).tolist() == [50, 7, 3]
    assert class_counts((np.zeros((3, 2)), np.array([1, 1, 0]))).tolist() == [1, 2]
    assert class_counts([2, 0]).tolist() == [1, 0, 1]
    weights = class_weights(DATA)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights * COUNTS, 25, rtol=1e-6)


def test_class_weights_beside_scikit_learn():
    utilities = pytest.importorskip("sklearn.utils.class_weight")
    expected = utilities.compute_class_weight("balanced", classes=np.arange(4), y=LABELS)
    np.testing.assert_allclose(class_weights(LABELS), expected, rtol=1e-6)


REAL = ArrayDataset(np.arange(4), np.arange(4) / 2)
BAD = [
    (
        lambda: DATA.split(80, stratify=np.r_[0, np.ones(99, int)]),
        ValueError,
        "class 0 has 1 rows, too few for 2 parts",
    ),
    (lambda: DATA.split(3, stratify=True), ValueError, "a part of 3 rows cannot have rows of all 4 classes"),
    (lambda: DATA.split(80, stratify=LABELS[:50]), ValueError, "a label for each of 100 rows, got 50"),
    (lambda: REAL.split(2, stratify=True), TypeError, "labels of classes must be integers or names, got float64"),
    (lambda: ArrayDataset(np.arange(4)).split(2, stratify=True), TypeError, "must have inputs and targets"),
    (lambda: split(DATA, 3, shuffle=True, generator=1), TypeError, "generator must be a NumPy generator"),
    (lambda: split(DATA, 0.001), ValueError, "count must be at least 1, got 0"),
    (lambda: k_fold(DATA, 101), ValueError, "folds must be at most the 100 rows"),
    (lambda: k_fold(DATA, 1), ValueError, "folds must be at least 2"),
    (lambda: k_fold(DATA, 8, stratify=True), ValueError, "class 1 has 7 rows, too few for 8 parts"),
    (lambda: class_counts(["a", "b"]), TypeError, "labels must be numbers"),
    (lambda: class_counts([0, 3], 3), ValueError, r"labels must be in 0..2, got 3"),
    (lambda: class_counts(np.zeros((2, 2), int)), ValueError, r"labels must have shape \(N,\), got \(2, 2\)"),
    (lambda: class_counts(3), TypeError, "expected a data set or an array of labels, got int"),
    (lambda: class_weights([0, 2]), ValueError, "without any: 1"),
    (lambda: class_weights(np.zeros(0, int)), ValueError, "without any: none at all"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
