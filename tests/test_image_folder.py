"""Pictures by class: what is read, in which order, from threads; broken pictures and folders are named."""

import numpy as np
import pytest

import dlfast as dl
from dlfast import nn, optim, train
from dlfast.data import DataLoader, ImageFolder, Transformed, class_counts
from dlfast.data import transforms as T

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

CLASSES = {"cat": 9, "ant": 6, "Dog": 5}


def picture(label, number, size=(8, 10)):
    rng = np.random.default_rng((label, number))
    values = rng.integers(0, 256, (*size, 3), np.uint8)
    values[..., label] = 255
    return values


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate(sorted(CLASSES)):
        (tmp_path / name / "more").mkdir(parents=True)
        for i in range(CLASSES[name]):
            place = tmp_path / name / ("more" if i == 1 else "") / f"{i}.png"
            Image.fromarray(picture(label, i)).save(place)
        (tmp_path / name / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_rows_in_the_order_of_names(folder):
    data = ImageFolder(folder)
    assert data.classes == ["Dog", "ant", "cat"]
    assert data.class_to_idx == {"Dog": 0, "ant": 1, "cat": 2}
    assert len(data) == 20
    assert data.targets.tolist() == [0] * 5 + [1] * 6 + [2] * 9
    assert class_counts(data).tolist() == [5, 6, 9]
    x, label = data[5]
    assert (x.shape, x.dtype, label) == ((8, 10, 3), np.float32, 1)
    np.testing.assert_allclose(x, picture(1, 0) / 255, atol=1e-6)
    assert [path.relative_to(folder).as_posix() for path, _ in data.samples[:5]] == [
        "Dog/0.png", "Dog/2.png", "Dog/3.png", "Dog/4.png", "Dog/more/1.png",
    ]  # fmt: skip
    x, labels = data[np.array([-1, 4])]
    assert (x.shape, labels.tolist()) == ((2, 8, 10, 3), [2, 0])
    np.testing.assert_allclose(x[1], picture(0, 1) / 255, atol=1e-6)
    assert data[:0][0].shape[0] == 0
    assert "20 pictures of 3 classes" in repr(data)


def test_sizes_and_grey(folder):
    x, _ = ImageFolder(folder, 4)[0]
    middle = picture(0, 0)[:, 1:9] / 255
    assert x.shape == (4, 4, 3)
    np.testing.assert_allclose(x.mean((0, 1)), middle.mean((0, 1)), atol=0.05)
    x, _ = ImageFolder(str(folder), (3, 7), grey=True)[:3]
    assert x.shape == (3, 3, 7, 1)
    grey = ImageFolder(folder, grey=True)[0][0][..., 0]
    np.testing.assert_allclose(grey, picture(0, 0) / 255 @ [0.299, 0.587, 0.114], atol=0.005)


def test_other_kinds_of_pictures(folder):
    values = picture(0, 0)
    place = folder / "Dog"
    for old in place.rglob("*.png"):
        old.unlink()
    Image.fromarray(values).convert("P").save(place / "a.gif")
    Image.fromarray(np.dstack([values, values[..., 0]])).save(place / "b.png")
    Image.fromarray(values[..., 0]).save(place / "c.BMP")
    Image.fromarray(values).save(place / "d.jpeg")
    x, _ = ImageFolder(folder)[:4]
    assert x.shape == (4, 8, 10, 3)
    np.testing.assert_allclose(x[1], values / 255, atol=1e-6)
    np.testing.assert_allclose(x[2], np.repeat(values[..., :1], 3, 2) / 255, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"prefetch": True}, {"num_workers": 3}], ids=str)
def test_loader_split_and_fit(folder, options):
    data = Transformed(ImageFolder(folder, 8), T.Normalize.of(ImageFolder(folder, 8)))
    training, validation = data.split(0.7, stratify=True)
    assert class_counts(validation).tolist() == [2, 2, 2] or class_counts(validation).sum() == 6
    dl.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    history = train.fit(
        model,
        DataLoader(training, 7, shuffle=True, **options),
        validation,
        epochs=15,
        loss=dl.functional.cross_entropy,
        optimizer=optim.Adam(model.parameters(), lr=1e-2),
        progress=False,
    )
    assert history["train_accuracy"][-1] == 1
    x, labels = next(iter(DataLoader(training, 14, **options)))
    np.testing.assert_array_equal(x, training[:][0])
    np.testing.assert_array_equal(labels, training.dataset.targets[training.indices])


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}], ids=str)
@pytest.mark.parametrize("damage", [b"", b"no picture at all", None])
def test_a_broken_picture_is_named(folder, damage, options):
    file = folder / "ant" / "3.png"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if damage is None else damage)
    data = ImageFolder(folder)
    with pytest.raises(ValueError, match=r"cannot read the picture .*ant.3\.png"):
        list(DataLoader(data, 4, **options))


def test_pictures_that_went_or_differ(folder):
    data = ImageFolder(folder)
    Image.fromarray(picture(0, 0, (8, 9))).save(folder / "Dog" / "3.png")
    with pytest.raises(ValueError, match=r"0\.png has \(8, 10, 3\), .*3\.png \(8, 9, 3\); give size="):
        data[:5]
    (folder / "Dog" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"3\.png"):
        data[:5]
    Image.fromarray(np.full((8, 10), 40000, np.uint16)).save(folder / "Dog" / "3.png")
    with pytest.raises(ValueError, match=r"3\.png: it has more than 8 bits a value"):
        data[:5]


def test_folders_that_are_none(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no folders in it; each class needs one"):
        ImageFolder(folder / "ant" / "more")
    (folder / "bee").mkdir()
    with pytest.raises(ValueError, match=r"bee has no pictures; known endings are \.jpg"):
        ImageFolder(folder)
    with pytest.raises(ValueError, match="size must be at least 1"):
        ImageFolder(folder, 0)


def test_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match="install dlfast with its extra `images`"):
        ImageFolder(folder)
