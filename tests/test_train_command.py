"""`dlfast train` on rows, images, tables and series, and its config files, with nets of a few units."""

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import dlfast as dl
from dlfast import train
from dlfast.cli import main
from dlfast.commands import config, examples, networks, run, updates
from dlfast.commands.options import MODELS, Options

ROWS, CLASSES = 120, 3


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def trained(*arguments):
    result = call("train", *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def arrays(path):
    with np.load(path) as archive:
        return dict(archive)


def failed(*arguments):
    result = call(*arguments)
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """A folder of its own with data that can be learned: class c is bright in the rows from 2c on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "find_spec", lambda name: None)  # no curves, which take a second
    draw = np.random.default_rng(0)
    labels = np.arange(ROWS) % CLASSES
    images = draw.integers(0, 60, (ROWS, 8, 8), np.uint8)
    for image, label in zip(images, labels):
        image[2 * label : 2 * label + 2] += 150
    np.savez("images.npz", images=images, labels=labels)
    np.savez("parts.npz", x_train=images[:90], y_train=labels[:90], x_test=images[90:], y_test=labels[90:])
    x = draw.normal(size=(ROWS, 5)).astype(np.float32)
    np.savez("numbers.npz", x=x, y=10 + 3 * x[:, :2])
    return tmp_path


def state(path):
    return dl.load(Path(path, "last.safetensors"))


def same_bits(a, b):
    one, other = state(a), state(b)
    assert one["model"].keys() == other["model"].keys()
    for name, value in one["model"].items():
        np.testing.assert_array_equal(other["model"][name], value)
    columns = [name for name in one["history"]["epochs"][0] if name not in ("seconds", "images_per_second")]
    for ours, theirs in zip(one["history"]["epochs"], other["history"]["epochs"], strict=True):
        assert [ours[name] for name in columns] == [theirs[name] for name in columns]


@pytest.mark.parametrize("model", ["perceptron", "mlp", "demo_cnn", "resnet20", "sequence_net"])
def test_models_learn_images(model):
    more = {"demo_cnn": ("--set", "width=4"), "sequence_net": ("--set", "hidden_size=8", "--lr", 0.03)}
    more["resnet20"] = ("--epochs", 3)
    out = trained(model, "--data", "parts.npz", "--epochs", 8, "--batch-size", 16, *more.get(model, ()))
    assert "validation accuracy" in out
    with open(f"runs/{model}/history.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert max(float(row["val_accuracy"]) for row in rows) > 0.6
    written = config.read_folder(Path("runs", model))
    assert written.facts.classes == ["0", "1", "2"]
    assert (written.facts.rows, written.facts.val_rows) == (90, 30)
    assert {path.name for path in Path("runs", model).iterdir()} >= {
        "best.safetensors",
        "last.safetensors",
        "config.toml",
        "history.csv",
    }


def test_curves_are_drawn_where_matplotlib_is(monkeypatch):
    pytest.importorskip("matplotlib", reason="draws curves")
    monkeypatch.setattr(run, "find_spec", find_spec)
    trained("mlp", "--data", "images.npz", "--epochs", 2)
    assert Path("runs/mlp/curves.png").stat().st_size > 3000


def test_numbers_are_told():
    out = trained("mlp", "--data", "numbers.npz", "--epochs", 30, "--lr", 0.01)
    assert "squares of deviations" in out
    facts = config.read_folder(Path("runs/mlp")).facts
    assert facts.outputs == 2
    assert facts.classes == []
    np.testing.assert_allclose(facts.target_mean, arrays("numbers.npz")["y"].mean(axis=0), atol=0.5)
    assert state("runs/mlp")["history"]["epochs"][-1]["val_loss"] < 0.1


def test_a_forecaster_learns_a_series():
    trained("forecaster", "--epochs", 1, "--target", "elnino", "--set", "hidden_size=4")
    facts = config.read_folder(Path("runs/forecaster")).facts
    assert (facts.kind, facts.series, facts.shape) == ("series", "elnino", [24, 1])
    assert facts.mean == facts.target_mean


def test_a_config_file_repeats_the_run():
    options = ("--data", "images.npz", "--epochs", 3, "--augment", "flip,crop,erase", "--label-smoothing", 0.1)
    more = ("--set", "hidden=12,6", "--set", "dropout=0.2", "--seed", 4, "--class-weight", "balanced", "--clip-norm", 1)
    trained("mlp", *options, *more, "--out", "a")
    trained("--config", "a/config.toml", "--out", "b", "--threads", 1)
    same_bits("a", "b")
    assert Path("a/config.toml").read_text() == Path("b/config.toml").read_text()
    written = config.toml(Path("a/config.toml"))
    assert written["augment"] == ["flip", "crop", "erase"]
    assert written["set"] == {"hidden": [12, 6], "dropout": 0.2}
    assert set(written["versions"]) == {"dlfast", "numpy", "python"}


def test_options_replace_those_of_a_config_file():
    Path("mine.toml").write_text('model = "mlp"\ndata = "images.npz"\nepochs = 3\n[set]\nhidden = 5\n')
    trained("--config", "mine.toml", "--epochs", 1, "--set", "dropout=0.5")
    written = config.read_folder(Path("runs/mlp"))
    assert written.options.epochs == 1
    assert written.options.set == {"hidden": 5, "dropout": 0.5}
    assert written.options.lr == 1e-3


@pytest.mark.parametrize(
    "schedule", ["constant", "step", "exponential", "cosine", "warmup-cosine", "one-cycle", "plateau"]
)
def test_resume_ends_with_the_bits_of_an_unbroken_run(schedule, monkeypatch):
    options = ("mlp", "--data", "images.npz", "--epochs", 4, "--schedule", schedule, "--augment", "crop")
    if schedule == "step":
        options += ("--warmup", 5, "--step-size", 2)
    trained(*options, "--out", "whole")

    def interrupt(self, run):
        if run.epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train.CSVLogger, "on_epoch_begin", interrupt)
        broken = call("train", *options, "--out", "broken")
    assert "go on with: dlfast train mlp --out broken --resume" in broken.output
    trained("--out", "broken", "--resume")
    same_bits("whole", "broken")


def rates(schedule, **options):
    """The learning rate of each update of 4 epochs of 5."""
    plan_of = networks.complete(Options(model="mlp", data="digits", epochs=4, lr=1.0, schedule=schedule, **options))
    model = dl.nn.Linear(2, 1)
    plan = updates.plan(plan_of, model, 5)
    seen = []
    for _ in range(20):
        seen.append(plan.optimizer.param_groups[0]["lr"])
        plan.optimizer.step()
        plan.fit["scheduler"].step()
    return seen


def test_rates():
    assert rates("constant") == [1.0] * 20
    np.testing.assert_allclose(rates("constant", warmup=4), [0.25, 0.5, 0.75, *[1.0] * 17])
    np.testing.assert_allclose(rates("step", step_size=2, gamma=0.5), [1.0] * 10 + [0.5] * 10)
    np.testing.assert_allclose(
        rates("step", step_size=1, gamma=0.5, warmup=2)[:11], [0.5, *[1.0] * 4, *[0.5] * 5, 0.25]
    )
    np.testing.assert_allclose(rates("exponential", gamma=0.9), np.repeat(0.9 ** np.arange(4), 5))
    assert np.argmax(rates("one-cycle")) == 5
    half = (1 + np.cos(np.pi * np.arange(20) / 20)) / 2
    np.testing.assert_allclose(rates("cosine"), half)
    np.testing.assert_allclose(rates("cosine", warmup=4), np.minimum(half, (np.arange(20) + 1) / 4))
    cosine = rates("warmup-cosine", warmup=4)
    assert np.argmax(cosine) == 4
    assert rates("warmup-cosine", warmup=0.2) == cosine
    assert cosine[-1] < 0.02


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adagrad", "adam", "adamw", "nadam", "radam", "lion"])
def test_optimizers(optimizer):
    trained("mlp", "--data", "images.npz", "--epochs", 2, "--optimizer", optimizer, "--weight-decay", 0.001)
    losses = [epoch["train_loss"] for epoch in state("runs/mlp")["history"]["epochs"]]
    assert losses[1] < losses[0]
    assert state("runs/mlp")["optimizer_class"].lower() == optimizer


def test_a_run_that_is_killed_within_an_epoch_goes_on_from_its_last_steps(monkeypatch):
    options = ("mlp", "--data", "images.npz", "--epochs", 2, "--batch-size", 8, "--checkpoint-steps", 3)
    trained(*options, "--out", "whole")

    def fail(self, run):
        if run.steps == 8:
            raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(train.CSVLogger, "on_batch_end", fail)
        assert isinstance(call("train", *options, "--out", "broken").exception, RuntimeError)
    assert not Path("broken/history.csv").exists()
    trained("--out", "broken", "--resume")
    same_bits("whole", "broken")


def test_early_stopping_ends_a_run():
    out = trained("mlp", "--data", "images.npz", "--epochs", 60, "--early-stopping", 2, "--lr", 0.02)
    assert "stopped after" in out
    assert "no better than" in out


@pytest.mark.parametrize("model", MODELS)
def test_defaults_are_complete(model):
    options = networks.complete(Options(model=model, data={"gpt": "gospels"}.get(model) or _data_for(model)))
    lacking = [name for name, value in vars(options).items() if value is None]
    optional = {
        "path",
        "drop",
        "grey",
        "nesterov",
        "target",
        "image_size",
        "val_fraction",
        "steps",
        "updates",
        "momentum",
        "step_size",
        "gamma",
        "ranks",
        "sync_batch_norm",
    }
    assert set(lacking) <= optional
    for name, value in vars(options).items():
        assert value is None or not config.RULES[name].wrong(value)


def _data_for(model):
    return {"char_lstm": "gospels", "char_gru": "gospels", "forecaster": "series"}.get(model, "images.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet50"], "'resnet50' is not one of"),
        ([], "MODEL is missing"),
        (["mlp", "--data", "nothing.npz"], "--data nothing.npz: there is no such file or folder"),
        (["mlp", "--data", "broken.npz"], "broken.npz is no .npz file"),
        (["mlp", "--data", "names.npz"], "names.npz must have x and y or images and labels"),
        (["mlp", "--data", "lengths.npz"], "arrays must have equal lengths"),
        (
            ["lenet5", "--data", "images.npz"],
            "lenet5 takes images of 28 x 28 or 32 x 32; images.npz has images of 8 x 8",
        ),
        (
            ["lenet5", "--data", "images.npz"],
            "which perceptron, mlp, demo_cnn, small_vgg, resnet20, sequence_net would",
        ),
        (["demo_cnn", "--data", "numbers.npz"], "rows of shape (5,), which mlp would take"),
        (["gpt", "--data", "digits"], "gpt takes text; --data digits has rows or images"),
        (["mlp", "--data", "gospels"], "mlp takes rows of numbers; --data gospels is text: char_lstm, char_gru, gpt"),
        (["mlp", "--data", "series"], "is a series: forecaster"),
        (["alexnet"], "--data is missing: alexnet takes images from 63 x 63 on"),
        (["perceptron", "--data", "numbers.npz"], "and numbers to tell, which mlp would take"),
        (["mlp", "--data", "numbers.npz", "--label-smoothing", "0.1"], "are for classes; here numbers are told"),
        (["mlp", "--data", "numbers.npz", "--augment", "flip"], "--augment changes images; mlp reads table"),
        (["mlp", "--augment", "flip,turn"], "--augment must be a list of flip, crop"),
        (["mlp", "--set", "width=3"], "--set width: mlp has no such size; it has hidden, dropout"),
        (["mlp", "--set", "dropout=much"], "--set dropout must be a float for mlp, got 'much'"),
        (["mlp", "--set", "hidden"], "--set must be NAME=VALUE"),
        (["mlp", "--path", "x"], "--path says where mnist, fashion-mnist, cifar10 lie"),
        (["mlp", "--epochs", "0"], "--epochs"),
        (
            ["mlp", "--val-fraction", "0.001", "--data", "images.npz"],
            "images.npz has 120 rows, too few to hold --val-fraction 0.001 of them out",
        ),
        (["mlp", "--schedule", "one-cycle", "--warmup", "5"], "--warmup: one-cycle has none"),
        (["mlp", "--optimizer", "adam", "--momentum", "0.5"], "adam has neither to set"),
        (["mlp", "--report", "none/page.html"], "there is no folder"),
        (["gpt", "--label-smoothing", "0.1"], "--label-smoothing means nothing for gpt on gospels"),
        (["mlp", "--data", "images.npz", "--target", "x"], "--target means nothing for mlp on images.npz"),
        (["mlp", "--steps", "5"], "--steps means nothing for mlp on mnist10k"),
        (["mlp", "--config", "none.toml"], "there is no config file none.toml"),
        (["mlp", "--resume"], "runs/mlp holds no run of `dlfast train`"),
        (["--resume"], "--resume needs the run"),
        (["--config", "a.toml", "--resume"], "exclude each other"),
    ],
)
def test_user_errors_are_one_clear_line_and_nothing_is_written(arguments, message, tmp_path):
    Path("broken.npz").write_bytes(b"PK no archive")
    np.savez("names.npz", pictures=np.zeros((3, 2)), kinds=np.zeros(3))
    np.savez("lengths.npz", x=np.zeros((3, 2)), y=np.zeros(4))
    before = set(tmp_path.rglob("*"))
    assert message in failed("train", *arguments)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = ", "bad.toml is no TOML"),
        ('model = "mlp"\nlearning_rate = 1', "bad.toml: unknown key 'learning_rate'"),
        ('model = "mlp"\nepoch = 1', "did you mean epochs"),
        ('model = "mlp"\nepochs = "five"', "bad.toml: epochs must be an integer, got 'five'"),
        ('model = "mlp"\nepochs = true', "bad.toml: epochs must be an integer, got True"),
        ('model = "mlp"\nlr = -1', "bad.toml: lr must be above 0, got -1"),
        ('model = "mlpp"', "bad.toml: model must be one of perceptron, mlp"),
        ('model = "mlp"\naugment = "flip"', "bad.toml: augment must be a list of flip"),
        ('model = "mlp"\nset = 3', "bad.toml: set must be a table"),
        ('model = "mlp"\n[set]\nwidth = 3', "mlp has no such size"),
        ('model = "mlp"\n[found]\nkind = 3', "bad.toml: kind in [found] must be str, got 3"),
        ('model = "mlp"\n[found]\nkinds = 3', "bad.toml: unknown key 'kinds' in [found]; did you mean kind"),
        ('data = "digits"', "MODEL is missing"),
    ],
)
def test_config_files_that_are_wrong_name_file_and_key(text, message):
    Path("bad.toml").write_text(text)
    assert message in failed("train", "--config", "bad.toml")
    assert not Path("runs").exists()


def test_other_versions_and_changed_data_are_noted():
    trained("mlp", "--data", "images.npz", "--epochs", 1, "--out", "a")
    text = Path("a/config.toml").read_text()
    Path("old.toml").write_text(text.replace('[versions]\ndlfast = "', '[versions]\ndlfast = "0.0.'))
    assert "old.toml was written with dlfast 0.0." in " ".join(trained("--config", "old.toml", "--out", "b").split())
    images = arrays("images.npz")
    np.savez("images.npz", images=images["images"][:100], labels=images["labels"][:100])
    assert "the data has changed since a/config.toml was written: " in trained(
        "--config", "a/config.toml", "--out", "c"
    )
    same = trained("--config", "a/config.toml", "--data", "parts.npz", "--out", "d")
    assert "has changed" not in same


def test_report():
    trained("demo_cnn", "--data", "images.npz", "--epochs", 2, "--set", "width=2", "--report", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    assert "demo_cnn on images.npz" in page
    assert "</html>" in page


def test_help_tells_the_defaults():
    text = " ".join(call("train", "--help").output.split())
    assert "mlp rows of numbers; 30 epochs, batches of 32, adamw, lr 0.001, cosine; --set hidden, dropout" in text
    assert "on digits augment affine, epochs 150" in text


def test_a_folder_that_holds_a_run():
    trained("mlp", "--data", "images.npz", "--epochs", 2, "--schedule", "one-cycle")
    assert "holds a run: go on with it by --resume" in failed("train", "mlp", "--data", "images.npz")
    assert "has epochs" not in failed("train", "mlp", "--resume", "--lr", 0.5)
    assert "cannot be made longer" in failed("train", "mlp", "--resume", "--epochs", 9)
    images = arrays("images.npz")
    np.savez("images.npz", images=images["images"][::-1][:100], labels=images["labels"][:100])
    assert "the data has changed since the run in runs/mlp began" in failed("train", "mlp", "--resume")


def test_rows_held_out_have_every_class():
    np.savez("rare.npz", x=np.random.default_rng(0).normal(size=(100, 3)), y=np.array([0] * 90 + [1] * 10))
    work = examples.work(networks.complete(Options(model="mlp", data="rare.npz")))
    counts = [np.bincount(part.dataset.arrays[1]).tolist() for part in (work.training, work.validation)]
    assert counts == [[72, 8], [18, 2]]
    np.testing.assert_allclose(work.training.dataset.arrays[0].mean(axis=0), 0, atol=1e-6)
