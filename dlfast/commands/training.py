"""The commands that train models and use them: `dlfast train`, `evaluate`, `predict`, `generate` and `export`."""

from __future__ import annotations

from pathlib import Path

import click

from .._files import check_writable
from .errors import all_end_together, check_device, clear_errors
from .options import MODELS, device_option, parsed, train_options

_THREADS = click.option("--threads", type=click.IntRange(min=1), help="Of the kernels.  [default: all processors]")
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


class _Train(click.Command):
    """Its help ends with what each model takes and how it is usually trained."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from .networks import summary

        with formatter.section("Models"):
            formatter.write_dl([(name, summary(name)) for name in MODELS])


@click.command(cls=_Train)
@click.argument("model", type=click.Choice(MODELS), required=False, metavar="MODEL")
@train_options
@_THREADS
@click.option("--config", "file", type=click.Path(path_type=Path), help="A config.toml: its options, but those given.")
@click.option("--out", type=_FOLDER, help="Folder to keep.  [default: runs/MODEL]")
@click.option("--report", type=_FILE, metavar="FILE.html", help="Write a page: curves, mistakes, a diagnosis in words.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder, by its own options.")
def train(model, threads, file, out, report, resume, **given) -> None:
    """Train MODEL and keep it in a folder. What each takes, and its usual options, stand at the end.

    \b
    --data                           held out for validation
    digits                           the last 360 of 1,797 images of 8 x 8
    mnist10k                         the last 2,000 of 10,000 images of 28 x 28
    mnist, fashion-mnist, cifar10    their test part; fetched, or read from --path
    series                           the last fifth of sunspots, co2 or elnino (--target)
    gospels                          the last tenth
    FILE.npz                         x_test, y_test beside x_train, y_train; of x, y or images, labels a fifth
    FILE.csv                         a fifth; --target names the column to tell, the last one if none
    FOLDER                           folders test beside train; of a folder for each class a fifth
    FILE                             of text in UTF-8: the last tenth

    A fifth is drawn by the seed, of each class the same share; --val-fraction holds another share out. Targets that are
    whole numbers or names are classes, others numbers to tell. In tables a missing cell gets the column's mean, or its
    most frequent name. Language models learn windows of 128 characters from anywhere in the text; their loss is in nats
    a character.

    The folder keeps config.toml, history.csv, curves.png (with matplotlib), best.safetensors, the weights of the epoch
    with the best validation accuracy or loss, and last.safetensors, all that --resume needs to end with the bits of a
    run that was never interrupted. With --resume a larger --epochs makes a run longer. config.toml is complete:
    --config FILE repeats the run with the same bits; it may also be written by hand, with the options as keys.

    mpiexec -n 4 dlfast train ... trains on four ranks, processes that share each batch of 4 x batch-size rows. They may
    be more or fewer when the run is resumed.
    """
    from ..distributed import initialize

    with clear_errors(ImportError, RuntimeError):
        comm = initialize()
    with all_end_together(comm):
        _train(comm, model, threads, file, out, report, resume, given)


def _train(comm, model, threads, file, out, report, resume, given) -> None:
    with clear_errors(ImportError, ValueError, OSError):
        from rich.console import Console

        from ..distributed import initialize
        from . import beginning, run

        _set_threads(threads)
        _check_out(report)
        console, options = Console(highlight=False, quiet=comm.rank > 0), parsed({"model": model, **given})
        job = beginning.begin(options, file, out, resume)
        with clear_errors(RuntimeError):
            comm = initialize(device=job.options.device)
        with clear_errors(FloatingPointError):
            history = run.train_job(console, job, comm)
    if history.stopped == "interrupted":
        if (job.folder / "last.safetensors").exists():
            console.print(f"go on with: dlfast train {job.options.model} --out {job.folder} --resume")
        raise click.Abort
    run.report(console, history, job)
    if report is not None and comm.rank == 0:
        with clear_errors(ImportError, ValueError, OSError):
            run.write_report(report, history, job)


_CHECKPOINT = click.argument("checkpoint", type=click.Path(path_type=Path))
_PATH = click.option("--path", help="Where mnist, fashion-mnist or cifar10 lies.  [default: as in training]")


@click.command()
@_CHECKPOINT
@click.option("--data", help="A name or a path, as in `dlfast train`.  [default: what the run held out]")
@_PATH
@click.option("--json", "json_file", type=click.Path(), metavar="FILE", help="Write all to FILE; - for the terminal.")
@device_option
@_THREADS
def evaluate(checkpoint, data, path, json_file, device, threads) -> None:
    """Measure a model that `dlfast train` has trained.

    CHECKPOINT is the folder of the run, for its best weights, or one of its files, such as last.safetensors. Of classes
    loss, accuracy, precision, recall and F1 of each class and the confusion matrix are given; of numbers the mean
    absolute error, the root of the mean square error and R2, in the units of the data; of a text the loss in nats a
    character and the perplexity. Other data is read as the training's was: of a set with parts the test part, of a file
    or a folder all rows, of which a table needs its target.
    """
    with clear_errors(ImportError, ValueError, OSError):
        from rich.console import Console

        from . import evaluating, run

        check_device(device)
        _set_threads(threads)
        _check_out(json_file)
        evaluation = evaluating.evaluate(*run.load_model(checkpoint, device), data, path)
        if json_file != "-":
            console = Console(highlight=False)
            if not console.is_terminal:  # a file or a pipe has no width that tables must keep to
                console.width = max(console.width, 140)
            evaluating.report(console, evaluation)
        if json_file is not None:
            evaluating.write_json(json_file, evaluation.as_dict())


@click.command()
@_CHECKPOINT
@click.option("--data", help="A name, a file or a folder.  [default: what the run held out]")
@_PATH
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write all rows: .csv, .npz or .json.")
@click.option("--json", "json_file", type=click.Path(), metavar="FILE", help="Write all to FILE; - for the terminal.")
@device_option
@_THREADS
def predict(checkpoint, data, path, out, json_file, device, threads) -> None:
    """Say what a model that `dlfast train` has trained makes of data.

    CHECKPOINT is the folder of the run, for its best weights, or one of its files. Of each row the class and the
    probabilities of all classes are told, or the numbers, in the units of the data. Rows need no targets: --data may be
    an .npz file with x or images, a .csv with the columns of the training, a picture, a folder of pictures or of
    folders of them.
    """
    with clear_errors(ImportError, ValueError, OSError):
        from rich.console import Console

        from . import evaluating, run

        check_device(device)
        _set_threads(threads)
        _check_out(json_file)
        if out is not None:
            _check_out(out)
            if out.suffix not in (".csv", ".npz", ".json"):
                raise ValueError(f"--out {out}: the name must end in .csv, .npz or .json")
        predictions = evaluating.predict(*run.load_model(checkpoint, device), data, path)
        if json_file != "-":
            evaluating.show(Console(highlight=False), predictions)
        if json_file is not None:
            evaluating.write_json(json_file, predictions.as_rows())
        if out is not None:
            evaluating.write_predictions(out, predictions)


def _set_threads(threads: int | None) -> None:
    from .. import set_num_threads

    if threads is not None:
        set_num_threads(threads)


@click.command()
@_CHECKPOINT
@click.option("--out", type=_FILE, metavar="FILE.onnx", help="[default: model.onnx beside the weights]")
def export(checkpoint, out) -> None:
    """Write a model that `dlfast train` has trained as an ONNX file.

    CHECKPOINT is the folder of the run, for its best weights, or one of its files. The file takes any number of rows,
    images channels last, and sequences and texts of any length; rows as the model reads them, after the mean and the
    standard deviation that its metadata holds. Needs the extra `onnx`.
    """
    with clear_errors(ImportError, TypeError, ValueError, OSError):
        from . import exporting, run

        _check_out(out)
        click.echo(f"{exporting.write(*run.load_model(checkpoint), checkpoint, out)} is written")


def _check_out(path: str | Path | None) -> None:
    """Say before the work what would fail after it."""
    if path is not None and path != "-":
        if not (folder := Path(path).absolute().parent).is_dir():
            raise ValueError(f"cannot write {path}: there is no folder {folder}")
        check_writable(path)


@click.command()
@_CHECKPOINT
@click.option("--prompt", required=True, help="How the text begins.")
@click.option("--length", type=click.IntRange(min=0), default=500, show_default=True, help="Characters to add.")
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=0.8,
    show_default=True,
    help="Below 1 likely characters become likelier, above 1 less so.",
)
@click.option("--top-k", type=click.IntRange(min=1), help="Only the k likeliest characters.  [default: all]")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed, the same text.  [default: another every time]")
@device_option
@_THREADS
def generate(checkpoint, prompt, length, temperature, top_k, seed, device, threads) -> None:
    """Continue a text with a model that `dlfast train` has trained, character by character.

    CHECKPOINT is the folder of the run, for its best weights, or one of its files, such as last.safetensors. In Python:
    `dlfast.models.generate`.
    """
    with clear_errors(ImportError, ValueError, OSError):
        from . import text

        check_device(device)
        _set_threads(threads)
        model, vocabulary = text.load_writer(checkpoint, device)
        characters = text.write(model, vocabulary, prompt, length, temperature=temperature, top_k=top_k, seed=seed)
    click.echo(prompt, nl=False)
    for character in characters:
        click.echo(character, nl=False)
    click.echo()
