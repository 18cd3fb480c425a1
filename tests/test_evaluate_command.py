"""`dlfast evaluate` and `dlfast predict`, against figures worked out by hand from the same weights."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import dlfast as dl
from dlfast import functional as F
from dlfast import train
from dlfast.cli import main
from dlfast.commands import networks, run

ROWS = 90


def call(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def arrays(path):
    with np.load(path) as archive:
        return dict(archive)


def failed(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "find_spec", lambda name: None)  # no curves, which take a second
    draw = np.random.default_rng(1)
    labels = np.array([2, 5, 7])[np.arange(ROWS) % 3]
    images = draw.integers(0, 90, (ROWS, 8, 8), np.uint8)
    for image, label in zip(images, labels):
        image[:, label - 2 : label] += 120
    np.savez("images.npz", images=images, labels=labels)
    np.savez("parts.npz", x_train=images[:60], y_train=labels[:60], x_test=images[60:], y_test=labels[60:])
    return tmp_path


def figures(*arguments):
    return json.loads(call("evaluate", *arguments, "--json", "-"))


def test_classes():
    call("train", "mlp", "--data", "parts.npz", "--epochs", 4, "--label-smoothing", 0.2, "--out", "run")
    images = arrays("parts.npz")["x_test"] / np.float32(255)
    labels = np.array([2, 5, 7]).searchsorted(arrays("parts.npz")["y_test"])
    training = arrays("parts.npz")["x_train"] / 255
    found, model = run.load_model(Path("run"))
    x = ((images - training.mean()) / training.std()).astype(np.float32)[..., None]
    logits = train.predict(model, x)
    guess = logits.argmax(axis=1)
    got = figures("run")
    assert got["rows"] == 30
    np.testing.assert_allclose(got["loss"], F.cross_entropy(logits, labels).item(), rtol=1e-5)
    np.testing.assert_allclose(got["accuracy"], np.mean(guess == labels))
    for code, name in enumerate("257"):
        right, taken, actual = (guess == code) & (labels == code), guess == code, labels == code
        expected = right.sum() / max(1, taken.sum()), right.sum() / actual.sum()
        scores = got["classes"][name]
        np.testing.assert_allclose((scores["precision"], scores["recall"]), expected)
        np.testing.assert_allclose(scores["f1"], 2 * right.sum() / (taken.sum() + actual.sum()))
        assert got["confusion_matrix"][code] == np.bincount(guess[actual], minlength=3).tolist()
    output = call("evaluate", "run")
    for words in ("30 rows, what parts.npz held out", "precision", "recall", "is \\ taken for", "accuracy"):
        assert words in output
    history = dl.load("run/last.safetensors")["history"]["epochs"]
    last = figures("run/last.safetensors")
    np.testing.assert_allclose(last["accuracy"], history[-1]["val_accuracy"])
    assert figures("run", "--data", "images.npz")["rows"] == ROWS


def test_predictions_of_classes():
    call("train", "mlp", "--data", "parts.npz", "--epochs", 6, "--out", "run")
    output = call("predict", "run", "--data", "parts.npz", "--out", "all.csv", "--json", "all.json")
    assert "and 10 more" in output
    with open("all.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert list(rows[0]) == ["row", "class", "p(2)", "p(5)", "p(7)"]
    right = [row["class"] == str(label) for row, label in zip(rows, arrays("parts.npz")["y_test"])]
    np.testing.assert_allclose(np.mean(right), figures("run")["accuracy"])
    for row in rows:
        shares = {name: float(row[f"p({name})"]) for name in "257"}
        assert abs(sum(shares.values()) - 1) < 1e-5
        assert row["class"] == max(shares, key=shares.get)
    assert [row["class"] for row in json.loads(Path("all.json").read_text())] == [row["class"] for row in rows]
    call("predict", "run", "--out", "all.npz")
    kept = arrays("all.npz")
    assert kept["classes"][kept["labels"]].tolist() == [row["class"] for row in rows]
    np.savez("alone.npz", arrays("parts.npz")["x_test"])
    assert [row["class"] for row in json.loads(call("predict", "run", "--data", "alone.npz", "--json", "-"))] == [
        row["class"] for row in rows
    ]


def test_a_perceptron_tells_probabilities():
    call("train", "perceptron", "--data", "images.npz", "--epochs", 3, "--out", "run")
    rows = json.loads(call("predict", "run", "--json", "-"))
    assert abs(sum(rows[0][f"p({name})"] for name in "257") - 1) < 1e-6
    assert figures("run")["accuracy"] > 0.6


def table(path, rows, header="width,colour,price,kind"):
    Path(path).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def test_tables():
    draw = np.random.default_rng(0)
    rows = []
    for i in range(100):
        width, colour = round(float(draw.uniform(1, 9)), 2), ("red", "blue")[i % 2]
        price = 3 * width + (20 if colour == "red" else 0)
        rows.append(f"{width if i != 7 else ''},{colour},{price:.3f},{'dear' if price > 25 else 'cheap'}")
    table("all.csv", rows)
    call("train", "mlp", "--data", "all.csv", "--drop", "price", "--epochs", 40, "--lr", 0.01, "--out", "classes")
    got = figures("classes")
    assert set(got["classes"]) == {"cheap", "dear"}
    assert got["accuracy"] > 0.8
    options = ("--target", "price", "--drop", "kind", "--epochs", 60, "--lr", 0.01)
    call("train", "mlp", "--data", "all.csv", *options, "--out", "prices")
    got = figures("prices")
    assert got["r2"] > 0.9
    assert 0 < got["mae"] <= got["rmse"] < 5
    table("new.csv", ["red,2", "blue,8"], "colour,width")
    told = json.loads(call("predict", "prices", "--data", "new.csv", "--json", "-"))
    np.testing.assert_allclose([row["price"] for row in told], [26, 24], atol=6)
    assert "has no column 'price' to compare with" in failed("evaluate", "prices", "--data", "new.csv")
    table("green.csv", ["green,2"], "colour,width")
    assert "'green' is none of 'blue', 'red'" in failed("predict", "prices", "--data", "green.csv")


def test_pictures(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="pictures are read with Pillow")
    draw = np.random.default_rng(0)
    for name, channel in (("apple", 0), ("leaf", 1)):
        Path("pictures", name).mkdir(parents=True)
        for i in range(15):
            pixels = draw.integers(0, 80, (12, 10, 3), np.uint8)
            pixels[..., channel] += 150
            image.fromarray(pixels).save(Path("pictures", name, f"{i}.png"))
    options = ("--image-size", 8, "--epochs", 6, "--batch-size", 8, "--set", "width=4", "--augment", "flip,crop")
    call("train", "demo_cnn", "--data", "pictures", *options, "--out", "run", "--seed", 1)
    call("train", "--config", "run/config.toml", "--out", "again")
    one, other = (dl.load(f"{name}/last.safetensors")["model"] for name in ("run", "again"))
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value)
    assert figures("run", "--data", "pictures")["accuracy"] > 0.9
    (row,) = json.loads(call("predict", "run", "--data", "pictures/leaf/3.png", "--json", "-"))
    assert row["class"] == "leaf"
    assert row["row"] == "pictures/leaf/3.png"
    rows = json.loads(call("predict", "run", "--data", "pictures/apple", "--json", "-"))
    assert [row["row"] for row in rows] == sorted(f"pictures/apple/{i}.png" for i in range(15))
    rows = json.loads(call("predict", "run", "--data", "pictures", "--json", "-"))
    assert {row["row"].split("/")[1] for row in rows} == {"apple", "leaf"}
    Path("pictures/tree").mkdir()
    image.fromarray(pixels).save("pictures/tree/1.png")
    assert "the training has no class tree, only apple, leaf" in failed("evaluate", "run", "--data", "pictures")
    Path("broken.png").write_bytes(b"no picture")
    assert "cannot read the picture broken.png" in failed("predict", "run", "--data", "broken.png")


def test_a_forecast_is_in_the_units_of_the_series():
    call("train", "forecaster", "--epochs", 1, "--target", "elnino", "--set", "hidden_size=4", "--out", "run")
    got = figures("run")
    assert got["rmse"] < 2  # degrees, of 15 to 30
    rows = json.loads(call("predict", "run", "--json", "-"))
    assert 15 < rows[0]["elnino"] < 30


def test_text(monkeypatch):
    usual = {"epochs": 2, "batch_size": 32, "lr": 0.01, "set": {"embedding_dim": 4, "hidden_size": 6}}
    network = networks.NETWORKS["char_gru"]
    monkeypatch.setitem(networks.NETWORKS, "char_gru", replace(network, usual={**network.usual, **usual}))
    Path("text.txt").write_text("In the beginning was the Word, and the Word was with God.\n" * 80, encoding="utf-8")
    call("train", "char_gru", "--data", "text.txt", "--out", "run")
    got = figures("run")
    np.testing.assert_allclose(got["perplexity"], np.exp(got["loss"]))
    with open("run/history.csv", encoding="utf-8") as file:
        np.testing.assert_allclose(got["loss"], float(list(csv.DictReader(file))[-1]["val_loss"]), rtol=1e-5)
    assert figures("run", "--data", "text.txt")["perplexity"] > 1
    Path("other.txt").write_text("Zanzibar? " * 40, encoding="utf-8")
    assert "not in the vocabulary: '?'" in failed("evaluate", "run", "--data", "other.txt")
    assert "`dlfast generate`" in failed("predict", "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nothing"], "there is no checkpoint nothing"),
        (["evaluate", "images.npz"], "images.npz is no checkpoint of `dlfast train`"),
        (["evaluate", "run/history.csv"], "not a sound safetensors file"),
        (["evaluate", "run", "--data", "none.npz"], "--data none.npz: there is no such file or folder"),
        (["evaluate", "run", "--data", "gospels"], "the model takes images"),
        (["evaluate", "run", "--data", "mnist10k"], "rows must have shape (8, 8, 1), as those of the training"),
        (["evaluate", "run", "--data", "digits"], "the training has no class 0"),
        (["evaluate", "run", "--data", "table.csv"], "table.csv is a table; the model was trained on images"),
        (["predict", "run", "--data", "table.csv"], "table.csv is a table; the model was trained on images"),
        (["predict", "run", "--out", "all.txt"], "must end in .csv, .npz or .json"),
        (["predict", "run", "--out", "none/all.csv"], "there is no folder"),
        (["predict", "run", "--data", "two.npz"], "must have one array, or x or images; it has a, b"),
        (["predict", "run", "--json", "none/all.json"], "there is no folder"),
        (["generate", "run", "--prompt", "a"], "holds mlp, which writes no text"),
    ],
)
def test_user_errors_are_one_clear_line(arguments, message):
    call("train", "mlp", "--data", "images.npz", "--epochs", 1, "--out", "run")
    table("table.csv", ["1,2"], "a,b")
    np.savez("two.npz", a=np.zeros((2, 3)), b=np.zeros((2, 3)))
    assert message in failed(*arguments)
