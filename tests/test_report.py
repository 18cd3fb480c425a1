"""write_report: a page that is well-formed, stands alone, escapes names, and says what `doctor` found."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from inspecting import assert_untouched, batch_norm_net, digits, fingerprint

import dlfast as dl
from dlfast import models, nn, train
from dlfast.inspect import write_report

VOID = {"meta", "img", "br", "link", "input", "hr"}
HISTORY = train.History(
    [{"train_loss": 2.3 / i, "val_loss": 2.4 / i, "val_accuracy": 0.2 * i, "seconds": 1.5} for i in range(1, 5)]
)
NASTY = ['<b>"0"</b>', "$1$ & 'one'", "2 > 1", *"3456789"]


class Page(HTMLParser):
    """Checks that every element is closed in its turn, and keeps what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.links, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    return Page(text)


def write(path, **options):
    return write_report(path, batch_norm_net(), digits(90, flat=False), HISTORY, **options)


def test_the_page_is_well_formed_and_stands_alone(tmp_path):
    pytest.importorskip("matplotlib")
    found = write(tmp_path / "a.html", val=digits(60, flat=False))
    page = page_of(tmp_path / "a.html")
    assert "script" not in page.tags
    assert not [link for link in page.links if not link.startswith(("data:image/png;base64,", "#"))]
    style = re.findall(r"<style.*?</style>", (tmp_path / "a.html").read_text(encoding="utf-8"), re.DOTALL)
    assert not re.search(r"@import|url\(\s*['\"]?http", " ".join(style))
    assert page.tags.count("svg") == 4  # curves, gradients, units, activations
    assert len(page.ids) == len(set(page.ids))
    wanted = ("Diagnosis", "Curves", "Confusion matrix", "Most wrongly classified", "First filters", "Gradient flow")
    for words in (*wanted, "Dead and saturated units", "Activations", "Layers", "1,498", "of 60 classified right"):
        assert words in page.text
    for finding in found:
        assert finding.code.replace("_", " ") in page.text
    assert "after 4 epochs of training" in page.text


def test_names_are_escaped(tmp_path):
    pytest.importorskip("matplotlib")
    write(tmp_path / "a.html", classes=NASTY, title="<script>alert('&')</script>")
    page = page_of(tmp_path / "a.html")
    assert "script" not in page.tags
    assert page.tags.count("b") < 60  # those of the page's own
    assert "<script>alert('&')</script>" in page.text
    for name in NASTY:
        assert name in page.text


class Named(nn.Module):
    """Layers under names that a page must not take for its own."""

    def __init__(self):
        setattr(self, "<i>&$a$", nn.Linear(64, 10))

    def forward(self, x):
        return getattr(self, "<i>&$a$")(x)


def test_other_models_and_data(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "a.html"
    write_report(path, Named(), digits())
    page = page_of(path)
    assert "<i>&$a$" in page.text
    assert "i" not in page.tags
    assert "not trained" in page.text
    x, _ = digits()
    write_report(path, models.mlp(64, 8, 2), (x, x[:, :2].copy()))
    assert "Confusion matrix" not in page_of(path).text
    text = dl.data.ArrayDataset(*dl.data.load("gospels").windows(50)[:60])
    write_report(path, models.char_gru(61, hidden_size=8), text)
    assert page_of(path).tags.count("image") >= 1  # the matrix of 61 classes is a picture
    sequences = x.reshape(-1, 8, 8), np.full(200, 8), np.arange(200) % 3
    write_report(path, models.sequence_net(8, 3, hidden_size=8), sequences, classes=["a", "b", "c"])
    assert "inputs 8 x 8 and 1" in page_of(path).text


def test_a_model_whose_training_diverged_has_a_page(tmp_path):
    model = batch_norm_net()
    model[5].weight.data[...] = np.nan
    history = [{"train_loss": 2.3, "val_loss": 2.3}, {"train_loss": float("nan"), "val_loss": float("nan")}]
    found = write_report(tmp_path / "a.html", model, digits(90, flat=False), history)
    assert found.codes == ["learning_rate_too_high", "nan_in_weights"]
    assert "learning rate too high" in page_of(tmp_path / "a.html").text


def test_without_matplotlib_there_are_words_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("dlfast.inspect._report.can_draw", lambda: False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write(tmp_path / "a.html")
    page = page_of(tmp_path / "a.html")
    assert "svg" not in page.tags
    assert "img" not in page.tags
    assert "they need matplotlib" in page.text
    assert "recall" in page.text  # the confusion matrix is a table


def test_the_model_stays_as_it_was(tmp_path):
    model = batch_norm_net()
    before = fingerprint(model)
    write_report(tmp_path / "a.html", model, digits(90, flat=False), HISTORY)
    assert_untouched(model, before)


def test_bad_arguments_leave_the_old_page(tmp_path):
    path = tmp_path / "a.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="tells 10 classes apart, got 2 names"):
        write(path, classes=["a", "b"])
    with pytest.raises(TypeError, match="model must be a Module"):
        write_report(path, "model", digits())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(IsADirectoryError):
        write(tmp_path)


def test_a_browser_shows_the_page(tmp_path):
    pytest.importorskip("matplotlib")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    write(tmp_path / "a.html")
    picture = tmp_path / "a.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=900,1600", f"--screenshot={picture}", (tmp_path / "a.html").as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    from matplotlib.image import imread

    pixels = imread(picture)
    assert pixels.shape[:2] == (1600, 900)
    assert pixels[..., :3].std() > 0.02  # there is something to see
    assert len(np.unique(pixels[::4, ::4, :3].reshape(-1, 3), axis=0)) > 30
