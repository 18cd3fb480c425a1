"""The loader's threads, samplers and collation: the batches of one thread, errors with their place, no thread left."""

import threading
import time
import traceback

import numpy as np
import pytest

import dlfast as dl
from dlfast import random
from dlfast.data import ArrayDataset, DataLoader, Dataset, Transformed, WeightedRandomSampler
from dlfast.data import transforms as T

AHEAD = [
    {},
    {"prefetch": True},
    {"prefetch": 5},
    {"num_workers": 1},
    {"num_workers": 3},
    {"num_workers": 2, "prefetch": 1},
]


class Rows(Dataset):
    """Rows one at a time, the later ones of a batch sooner; row `bad` cannot be read."""

    def __init__(self, count=23, bad=None):
        self.count, self.bad = count, bad

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        index = int(index)
        if index == self.bad:
            raise OSError(f"row {index} cannot be read")
        time.sleep(0.0002 * (index % 3))
        return np.full(2, index, np.float32), index


class Drawing(Rows):
    def __getitem__(self, index):
        return random.generator().random(3), int(index)


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("dlfast-loader")]


def passes(loader, count=2):
    return [[tuple(part.tolist() for part in batch) for batch in loader] for _ in range(count)]


@pytest.mark.parametrize("options", AHEAD, ids=str)
@pytest.mark.parametrize("arrays", [True, False])
def test_the_batches_of_one_thread(options, arrays):
    rows = Rows()
    data = ArrayDataset(np.arange(23), np.arange(23)) if arrays else rows
    dl.manual_seed(1)
    (expected,) = passes(DataLoader(data, 4, shuffle=True), 1)
    dl.manual_seed(1)
    (found,) = passes(DataLoader(data, 4, shuffle=True, **options), 1)
    assert found == expected
    assert len(found) == 6
    assert not loader_threads()


@pytest.mark.parametrize("options", AHEAD[1:], ids=str)
def test_prefetching_arrays_draws_nothing(options):
    data = ArrayDataset(np.arange(20), np.arange(20))
    dl.manual_seed(1)
    expected = passes(DataLoader(data, 4, shuffle=True), 3)
    dl.manual_seed(1)
    assert passes(DataLoader(data, 4, shuffle=True, **options), 3) == expected


def test_what_threads_draw_follows_from_the_seed_alone():
    def numbers(**options):
        dl.manual_seed(7)
        found = []
        for _ in range(2):
            for batch in DataLoader(Drawing(), 4, shuffle=True, **options):
                found.append(batch[0])
                random.generator().random(3)  # as dropout would
        return np.concatenate(found)

    expected = numbers(prefetch=True)
    assert len(np.unique(expected)) == expected.size
    for options in AHEAD[2:]:
        np.testing.assert_array_equal(numbers(**options), expected)


def test_a_transformed_data_set_draws_in_threads():
    x = np.random.default_rng(0).random((20, 6, 6, 1), np.float32)
    data = Transformed(ArrayDataset(x, np.arange(20)), T.RandomCrop(padding=2))
    dl.manual_seed(0)
    first, second = passes(DataLoader(data, 8, num_workers=2))
    assert first != second
    dl.manual_seed(0)
    assert passes(DataLoader(data, 8, prefetch=3)) == [first, second]
    assert len(data) == 20
    assert data.targets.tolist() == list(range(20))
    assert data[3][0].shape == (6, 6, 1)
    assert data[np.array([3, 4])][0].shape == (2, 6, 6, 1)
    with pytest.raises(TypeError, match="transform must be a function"):
        Transformed(x, 3)


@pytest.mark.parametrize("options", AHEAD, ids=str)
def test_an_error_arrives_at_its_batch_with_its_place(options):
    seen = []
    batches = DataLoader(Rows(bad=9), 4, **options)
    with pytest.raises(OSError, match="row 9 cannot be read") as caught:
        seen.extend(numbers.tolist() for _, numbers in batches)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert "in __getitem__" in "".join(traceback.format_tb(caught.tb))
    assert not loader_threads()


@pytest.mark.parametrize("options", AHEAD[1:], ids=str)
def test_a_pass_left_early_ends_its_threads_and_reads_no_further(options):
    rows, asked = Rows(1000), []
    rows.__class__ = type(
        "Counting", (Rows,), {"__getitem__": lambda self, i: asked.append(i) or Rows.__getitem__(self, i)}
    )
    loader = DataLoader(rows, 4, **options)
    for _ in loader:
        assert loader_threads()
        break
    assert not loader_threads()
    assert len(asked) <= 4 * (loader.prefetch + loader.num_workers + 4)
    assert len(passes(loader, 1)[0]) == 250


def test_the_numbers_of_workers():
    data = ArrayDataset(np.arange(3))
    assert [DataLoader(data, **options).prefetch for options in AHEAD] == [0, 2, 5, 2, 6, 1]
    with pytest.raises(ValueError, match="num_workers must be at least 0, got -1"):
        DataLoader(data, num_workers=-1)
    with pytest.raises(ValueError, match="prefetch must be at least 0, got -1"):
        DataLoader(data, prefetch=-1)
    with pytest.raises(ValueError, match="prefetch must be at least 1 where num_workers is"):
        DataLoader(data, num_workers=1, prefetch=0)
    with pytest.raises(TypeError, match="num_workers must be an integer, got True"):
        DataLoader(data, num_workers=True)


@pytest.mark.parametrize("options", AHEAD[:2], ids=str)
def test_sampler(options):
    data = ArrayDataset(np.arange(5) * 10)
    loader = DataLoader(data, 2, sampler=[4, 4, 0], **options)
    assert len(loader) == 2
    assert [x.tolist() for (x,) in loader] == [[40, 40], [0]]
    assert len(DataLoader(data, 2, sampler=[4, 4, 0], drop_last=True)) == 1
    assert list(DataLoader(data, 2, sampler=[])) == []


def test_a_sampler_by_weight_draws_anew_in_each_pass():
    data = ArrayDataset(np.arange(3))
    sampler = WeightedRandomSampler([1, 0, 3], 4000)
    dl.manual_seed(0)
    first, second = passes(DataLoader(data, 4000, sampler=sampler))
    assert first != second
    counts = np.bincount(np.array(first).ravel(), minlength=3)
    assert counts[1] == 0
    assert 2900 < counts[2] < 3100
    dl.manual_seed(0)
    assert passes(DataLoader(data, 4000, sampler=sampler)) == [first, second]
    once = WeightedRandomSampler([1, 0, 3], 2, replacement=False, generator=np.random.default_rng(0))
    assert all(sorted(once) == [0, 2] for _ in range(5))


def test_collate_fn_gets_rows():
    def padded(rows):
        return np.array([x.sum() for x, _ in rows]), len(rows)

    found = list(DataLoader(Rows(5), 3, collate_fn=padded))
    assert [(x.tolist(), count) for x, count in found] == [([0, 2, 4], 3), ([6, 8], 2)]


BAD = [
    (lambda data: DataLoader(data, sampler=[0], shuffle=True), ValueError, "sampler gives the order of rows"),
    (lambda data: DataLoader(data, sampler=3), TypeError, "sampler must give row numbers and have a length, got int"),
    (lambda data: list(DataLoader(data, sampler=[5])), ValueError, r"sampler's rows must be in 0..4, got 5"),
    (lambda data: list(DataLoader(data, sampler=[0.5])), TypeError, "sampler's rows must be integers"),
    (lambda data: DataLoader(data, collate_fn=3), TypeError, "collate_fn must be a function"),
    (lambda data: WeightedRandomSampler([], 3), ValueError, "at least one row"),
    (lambda data: WeightedRandomSampler([1, -1], 3), ValueError, "not negative"),
    (lambda data: WeightedRandomSampler([0, 0], 3), ValueError, "not all 0"),
    (
        lambda data: WeightedRandomSampler([1, 0], 2, replacement=False),
        ValueError,
        "2 samples without replacement of 1",
    ),
    (lambda data: WeightedRandomSampler([1], 0), ValueError, "num_samples must be at least 1"),
    (lambda data: WeightedRandomSampler([1], 1, generator=0), TypeError, "generator must be a NumPy generator"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call(ArrayDataset(np.arange(5)))
