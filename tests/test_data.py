"""The data sets that ship with the package, and the loader."""

import threading
from importlib.resources import files

import numpy as np
import pytest

import dlfast as dl
from dlfast.data import ArrayDataset, DataLoader, load


@pytest.mark.parametrize(("name", "side", "count", "steps"), [("digits", 8, 1797, 16), ("mnist10k", 28, 10000, 255)])
def test_images(name, side, count, steps):
    images, labels = load(name).arrays
    assert images.shape == (count, side, side, 1)
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    assert images.min() == 0
    assert images.max() == 1
    np.testing.assert_allclose(images[:50] * steps, np.round(images[:50] * steps), atol=1e-4)
    assert labels.shape == (count,)
    assert labels.dtype == np.int64
    assert set(labels) == set(range(10))
    assert np.bincount(labels).min() > count / 13


def test_digits_is_the_set_that_it_says():
    images, labels = load("digits").arrays
    assert labels[:5].tolist() == [0, 1, 2, 3, 4]
    assert (images[0, 0, :, 0] * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_gospels():
    text = load("gospels")
    assert text.text.startswith("The book of the generation of Jesus Christ")
    assert len(text) == len(text.codes) == 566084
    assert text.text.count("\n") == 4786
    assert text.codes.dtype == np.int64
    assert len(text.vocabulary) == 61
    assert "".join(sorted(set(text.text))) == text.vocabulary
    assert text.decode(text.codes[:200]) == text.text[:200]
    np.testing.assert_array_equal(text.encode(text.text[:200]), text.codes[:200])
    assert text.codes.max() == 60
    with pytest.raises(ValueError, match="not in the vocabulary: '7' 'ß'"):
        text.encode("ß and 7")


def test_series():
    series = load("series")
    assert {name: a.shape for name, a in vars(series).items()} == {
        "sunspots": (309,),
        "sunspots_year": (309,),
        "co2_weekly": (2284,),
        "elnino": (61, 13),
    }
    assert all(a.dtype == np.float32 for a in vars(series).values())
    np.testing.assert_array_equal(series.sunspots_year, np.arange(1700, 2009))
    np.testing.assert_array_equal(series.elnino[:, 0], np.arange(1950, 2011))
    assert np.isnan(series.co2_weekly).sum() == 59
    assert not any(np.isnan(a).any() for a in (series.sunspots, series.elnino))


def test_unknown_data_set():
    with pytest.raises(ValueError, match="unknown data set 'cifar'; known are digits, mnist10k, gospels, series"):
        load("cifar")


def test_the_package_names_every_source_and_stays_small():
    folder = files("dlfast.data")
    archives = [entry for entry in folder.iterdir() if entry.name.endswith(".npz")]
    assert sum(len(entry.read_bytes()) for entry in archives) < 2.2e6
    licences = folder.joinpath("LICENSES.md").read_text(encoding="utf-8")
    assert sorted(entry.name for entry in archives) == ["digits.npz", "gospels.npz", "mnist10k.npz", "series.npz"]
    assert all(f"`{entry.name}`" in licences for entry in archives)


class TestArrayDataset:
    def test_rows(self):
        data = ArrayDataset(np.arange(5), np.arange(10).reshape(5, 2))
        assert len(data) == 5
        x, y = data[[3, 0]]
        assert x.tolist() == [3, 0]
        assert y.tolist() == [[6, 7], [0, 1]]
        assert data[2][0] == 2
        assert "int64 (5, 2)" in repr(data)

    def test_any_arrays(self):
        data = ArrayDataset([1.5, 2.5], ["a", "b"], np.zeros((2, 0)), np.array([True, False]))
        assert len(data.arrays) == 4

    def test_split_is_in_order_and_copies_nothing(self):
        x = np.arange(6)
        first, rest = ArrayDataset(x, -x).split(4)
        assert first[:][0].tolist() == [0, 1, 2, 3]
        assert rest[:][1].tolist() == [-4, -5]
        assert np.shares_memory(rest.arrays[0], x)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="equal lengths, got 3, 2"):
            ArrayDataset(np.zeros(3), np.zeros(2))
        with pytest.raises(ValueError, match="at least one array"):
            ArrayDataset()
        with pytest.raises(TypeError, match="array 1 has dtype object"):
            ArrayDataset(np.zeros(1), np.array([None]))
        with pytest.raises(ValueError, match="array 0 has no length"):
            ArrayDataset(3.0)
        data = ArrayDataset(np.zeros(3))
        with pytest.raises(ValueError, match="count must be between 1 and 2 for 3 rows, got 3"):
            data.split(3)
        for count in (0, -1):
            with pytest.raises(ValueError, match=f"count must be at least 1, got {count}"):
                data.split(count)
        with pytest.raises(ValueError, match=r"count must be in \(0, 1\), got 1\.5"):
            data.split(1.5)
        with pytest.raises(TypeError, match="count must be an integer, got '2'"):
            data.split("2")


def batches(loader):
    return [x.tolist() for x, _ in loader]


@pytest.mark.parametrize("prefetch", [False, True])
class TestDataLoader:
    def data(self, count=7):
        return ArrayDataset(np.arange(count), np.arange(count) * 10)

    def test_in_order(self, prefetch):
        loader = DataLoader(self.data(), batch_size=3, prefetch=prefetch)
        assert len(loader) == 3
        assert batches(loader) == [[0, 1, 2], [3, 4, 5], [6]]
        assert batches(loader) == batches(loader)

    def test_drop_last(self, prefetch):
        loader = DataLoader(self.data(), 3, drop_last=True, prefetch=prefetch)
        assert len(loader) == 2
        assert batches(loader) == [[0, 1, 2], [3, 4, 5]]
        assert len(DataLoader(self.data(6), 3, drop_last=True)) == 2

    def test_shuffled(self, prefetch):
        loader = DataLoader(self.data(100), 30, shuffle=True, prefetch=prefetch)
        dl.manual_seed(3)
        first, second = batches(loader), batches(loader)
        assert sorted(sum(first, [])) == list(range(100))
        assert first != second
        dl.manual_seed(3)
        assert [batches(loader), batches(loader)] == [first, second]
        assert all((y == 10 * x).all() for x, y in loader)

    def test_batches_are_copies(self, prefetch):
        data = self.data()
        for x, _ in DataLoader(data, 3, prefetch=prefetch):
            x[:] = -1
        assert data.arrays[0].tolist() == list(range(7))

    def test_empty_and_large_batches(self, prefetch):
        assert batches(DataLoader(self.data(0), 3, prefetch=prefetch)) == []
        assert batches(DataLoader(self.data(2), 30, prefetch=prefetch)) == [[0, 1]]
        assert len(DataLoader(self.data(2), 30, drop_last=True)) == 0

    def test_a_pass_from_a_batch_on(self, prefetch):
        """The later batches of the order that a whole pass has."""
        loader = DataLoader(self.data(20), 3, shuffle=True, prefetch=prefetch)
        for start in (0, 1, 6, 7):
            dl.manual_seed(1)
            expected, after = batches(loader)[start:], dl.random.get_state()
            dl.manual_seed(1)
            assert batches(loader.batches(start)) == expected
            assert len(expected) == 7 - start
            assert dl.random.get_state() == after

    def test_may_be_left_early(self, prefetch):
        before = threading.active_count()
        iterator = iter(DataLoader(self.data(), 2, prefetch=prefetch))
        next(iterator)
        del iterator
        assert threading.active_count() == before

    def test_errors_of_the_data_set_arrive(self, prefetch):
        class Broken:
            def __len__(self):
                return 4

            def __getitem__(self, index):
                raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            list(DataLoader(Broken(), 2, prefetch=prefetch))


def test_loader_names_bad_arguments():
    data = ArrayDataset(np.arange(3))
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {size}"):
            DataLoader(data, size)
    for size in (2.0, "2", True, None):
        with pytest.raises(TypeError, match="batch_size must be an integer"):
            DataLoader(data, size)
    with pytest.raises(TypeError, match="dataset must have a length and rows, got int"):
        DataLoader(5)
