"""CSV files and NumPy archives: numbers, names, missing values; what is wrong is named with its line and column."""

import json

import numpy as np
import pytest

from dlfast.data import TableFormat, read_csv, read_npz

FLOWERS = """length,colour,wet,kind
1.5,red,0,rose
2,blue,1,iris

-3e1,red,1,rose
4,"green, pale",0,aster
"""


def write(tmp_path, text, name="table.csv"):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def test_numbers_names_and_classes(tmp_path):
    table = read_csv(write(tmp_path, FLOWERS))
    x, y = table.arrays
    assert table.features == ["length", "colour=blue", "colour=green, pale", "colour=red", "wet"]
    assert x.dtype == np.float32
    assert x.tolist() == [[1.5, 0, 0, 1, 0], [2, 1, 0, 0, 1], [-30, 0, 0, 1, 1], [4, 0, 1, 0, 0]]
    assert table.classes == ["aster", "iris", "rose"]
    assert (y.dtype, y.tolist()) == (np.int64, [2, 1, 2, 0])
    assert len(table.split(0.5)[0]) == 2


def test_codes_drop_and_another_target(tmp_path):
    table = read_csv(write(tmp_path, FLOWERS), "wet", categories="codes", drop=["length"])
    assert table.features == ["colour", "kind"]
    assert table.arrays[0].tolist() == [[2, 2], [0, 1], [2, 2], [1, 0]]
    assert table.classes == ["0", "1"]
    assert table.arrays[1].tolist() == [0, 1, 1, 0]
    by_number = read_csv(write(tmp_path, FLOWERS), 2, categorical=["length"])
    assert by_number.features[:4] == ["length=-3e1", "length=1.5", "length=2", "length=4"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_and_no_names(tmp_path, delimiter):
    text = "\ufeff" + "5.1,3.5,0.25\n4.9,3.0,0.5\r\n".replace(",", delimiter)
    table = read_csv(write(tmp_path, text))
    assert table.features == ["0", "1"]
    assert table.classes == []
    assert table.arrays[1].dtype == np.float32
    assert table.arrays[1].tolist() == [[0.25], [0.5]]


def test_tasks(tmp_path):
    def y(values, **options):
        return read_csv(write(tmp_path, "x,y\n" + "".join(f"1,{value}\n" for value in values)), **options).arrays[1]

    assert y([10, 9, 9]).tolist() == [1, 0, 0]  # by size, not as words
    assert y(range(30)).shape == (30, 1)
    assert y(range(30), task="classes").shape == (30,)
    assert y([1, 2], task="regression").tolist() == [[1], [2]]
    assert y([0.5, 1]).tolist() == [[0.5], [1]]
    assert y([0.5, 1], task="classes").tolist() == [0, 1]
    with pytest.raises(ValueError, match="table.csv, line 3, column 'y': 'b' is no number"):
        y([1, "b"], task="regression")


def test_missing_values(tmp_path):
    file = write(tmp_path, "a,b,y\n1,red,0\n?,blue,1\n3, NA ,0\n5,red,1\n")
    with pytest.raises(ValueError, match=r"line 3, column 'a': the value is missing \('\?'\); fill it, or give"):
        read_csv(file)
    table = read_csv(file, missing="mean")
    assert table.arrays[0].tolist() == [[1, 0, 1], [3, 1, 0], [3, 0, 1], [5, 0, 1]]
    with pytest.raises(ValueError, match="line 3, column 'y': the target is missing"):
        read_csv(write(tmp_path, "a,y\n1,2\n1,\n"), missing="mean")


def test_another_file_is_read_like_the_first(tmp_path):
    training = read_csv(write(tmp_path, FLOWERS), missing="mean")
    kept = TableFormat.of_dict(json.loads(json.dumps(training.format.as_dict())))
    assert kept == training.format
    later = write(tmp_path, "wet,colour,length,more\n1,blue,,x\n0,,7,y\n", "later.csv")
    table = read_csv(later, like=kept)
    assert len(table.arrays) == 1
    mean = (1.5 + 2 - 30 + 4) / 4
    assert table.arrays[0].tolist() == [[mean, 1, 0, 0, 1], [7, 0, 0, 1, 0]]
    labelled = write(tmp_path, "kind,wet,colour,length\niris,1,red,2\n", "labelled.csv")
    assert read_csv(labelled, like=kept).arrays[1].tolist() == [1]
    with pytest.raises(ValueError, match="line 2, column 'colour': 'mauve' is none of 'blue', 'green, pale', 'red'"):
        read_csv(write(tmp_path, "length,colour,wet\n1,mauve,0\n"), like=kept)
    with pytest.raises(ValueError, match="there is no column 'colour'"):
        read_csv(write(tmp_path, "length,wet\n1,0\n"), like=kept)


def test_regression_beside_numpy(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 4))
    np.savetxt(tmp_path / "t.csv", values, delimiter=",")
    x, y = read_csv(tmp_path / "t.csv").arrays
    np.testing.assert_array_equal(x, values[:, :3].astype(np.float32))
    np.testing.assert_array_equal(y, values[:, 3:].astype(np.float32))


MANY = "n,y\n" + "".join(f"name{i},1\n" for i in range(101))
BAD = [
    ("a,y\n1,2\n1,2,3\n", {}, "table.csv, line 3: 3 cells, expected 2"),
    ("a,y\n1,2\n\n2,1\nfew,2\n3,1\n", {}, "line 5, column 'a': 'few' is no number"),
    ("a,y\n1,2\ninf,2\n", {}, "line 3, column 'a': 'inf' is not finite"),
    ("a,y\n1_0,2\n2,1\n3,1\n", {}, "line 2, column 'a': '1_0' is no number"),
    ('a,y\n"1,2\n', {}, "table.csv, line 2: unexpected end of data"),
    ("a,a\n1,2\n", {}, "has the column 'a' twice"),
    ("a,y\n", {}, "has names of columns and no rows"),
    ("\n", {}, "is empty"),
    ("y\n1\n", {}, "no columns besides the target 'y'"),
    ("a,y\n,2\n,3\n", {}, r"column 'a' holds nothing; leave it out with drop=\['a'\]"),
    (MANY, {}, "column 'n' has 101 different names, more than 100"),
    (FLOWERS, {"target": "height"}, "there is no column 'height'; there are 'length', 'colour', 'wet', 'kind'"),
    (FLOWERS, {"target": 9}, "there is no column 9"),
    (FLOWERS, {"drop": ["x"]}, "there is no column 'x'"),
    (FLOWERS, {"task": "guess"}, "task must be one of None, 'classes'"),
    (FLOWERS, {"missing": "zero"}, "missing must be one of 'error', 'mean'"),
    (FLOWERS, {"categories": "hash"}, "categories must be one of 'one_hot', 'codes'"),
]


@pytest.mark.parametrize(("text", "options", "message"), BAD, ids=range(len(BAD)))
def test_names_what_is_wrong(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message):
        read_csv(write(tmp_path, text), **options)


def test_no_such_file_and_no_text(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"a,b\n\xff,1\n")
    with pytest.raises(ValueError, match="is no text in UTF-8"):
        read_csv(tmp_path / "b.csv")


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5), np.uint8)
LABELS = np.arange(6, dtype=np.uint8)


def test_archives(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    x, y = read_npz(tmp_path / "a.npz").arrays
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(x, IMAGES[..., None] / np.float32(255))
    assert y.tolist() == list(range(6))
    np.savez_compressed(tmp_path / "b.npz", x_train=IMAGES[..., :3, None].repeat(3, 3), y_train=LABELS, x=IMAGES)
    assert read_npz(str(tmp_path / "b.npz"), "train").arrays[0].shape == (6, 4, 3, 3)
    np.savez(tmp_path / "c.npz", x=np.ones((2, 3)), y=np.array([0.5, 1], np.float32))
    x, y = read_npz(tmp_path / "c.npz").arrays
    assert (x.dtype, y.dtype) == (np.float64, np.float32)
    np.savez(tmp_path / "d.npz", x=np.arange(6, dtype=np.uint8).reshape(2, 3), y=np.array([True, False]))
    x, y = read_npz(tmp_path / "d.npz").arrays
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert y.tolist() == [1, 0]


def test_archives_that_are_none(tmp_path):
    def refused(message, part=None, error=ValueError, **arrays):
        if arrays:
            np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(error, match=message):
            read_npz(tmp_path / "a.npz", part)

    refused("there is no file", error=FileNotFoundError)
    refused("must have x and y or images and labels; it has x, z$", x=LABELS, z=LABELS)
    refused("it has parts: part='train'", x_train=LABELS, y_train=LABELS)
    refused("must have x_test and y_test", part="test", x_train=LABELS, y_train=LABELS)
    refused("part must be one of None, 'train'", part="all")
    refused("the inputs in .* must be numbers, got <U1", x=np.array(["a"]), y=np.array([1]))
    refused(r"the targets in .* number the classes", x=np.array([1]), y=np.array(["a"]))
    refused("equal lengths, got 6, 5", x=LABELS, y=LABELS[:5])
    refused("y in .* cannot be read: Object arrays", x=LABELS, y=np.array([None] * 6))
    (tmp_path / "a.npz").write_bytes(b"PK\3\4 and no more")
    refused("is no .npz file")
    with (tmp_path / "a.npz").open("wb") as stream:
        np.save(stream, LABELS)
    refused("it holds one array")
    (tmp_path / "a.npz").write_bytes(b"")
    refused("is no .npz file")
