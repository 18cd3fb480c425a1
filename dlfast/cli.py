"""The command line, `dlfast demo` and the others. Commands import what they need when they run."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

import click

from ._files import check_writable
from ._version import __version__
from .bench import suite_names, usual_suites
from .commands.doctor import doctor
from .commands.errors import check_device, clear_errors
from .commands.options import device_option
from .commands.training import evaluate, export, generate, predict, train

_started = time.perf_counter()
_FILE = click.Path(dir_okay=False, path_type=Path)
_MAX_ERROR = 1e-6


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dlfast")
def main() -> None:
    """Neural networks on NumPy arrays, with fast kernels that are a page of Python or Cython each."""


@main.command()
@click.option("--epochs", type=click.IntRange(min=1), default=5, show_default=True, help="Passes over the images.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Images in an update.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed, the same bits.")
@click.option("--json", "json_file", type=_FILE, metavar="FILE", help="Write accuracy, speed and step times to FILE.")
@click.option("--plot", "plot_file", type=_FILE, metavar="FILE", help="Draw the curves into FILE (needs matplotlib).")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the kernels.  [default: all processors]")
@click.option(
    "--backend",
    type=click.Choice(["auto", "reference", "numba", "cython"]),
    default="auto",
    show_default=True,
    help="Kernels to train with; the reference stands in for those that a backend lacks.",
)
@click.option("--data", type=click.Choice(["mnist10k", "fashion-mnist"]), default="mnist10k", show_default=True)
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    help="Folder with the four files of fashion-mnist, or an .npz file.  [default: kept where `data.fetch` puts it]",
)
@device_option
@click.option("--compare", is_flag=True, help="Train the same network in PyTorch too: accuracy and time beside ours.")
def demo(epochs, batch_size, seed, json_file, plot_file, threads, backend, data, path, device, compare) -> None:
    """Train a CNN on real handwritten digits and time its training step.

    10,000 images ship with the package: 8,000 to learn from, 2,000 to validate on after each epoch. Adam starts at a
    learning rate of 0.002, which falls to 0 along a cosine. Then the network's training step is timed on each backend
    and, where PyTorch is installed, on PyTorch.

    --data fashion-mnist takes pictures of clothes: the first 20,000 of the training part and 5,000 of the test part.
    They are downloaded once (30 MB), or read from --path.

    --device cuda trains on a GPU. Where there is none, DLFAST_CUDA=host dlfast demo --device cuda runs every kernel as
    on a GPU, but on the CPU and some thousand times slower: it shows that all fits together, with 256 images.
    """
    check_device(device)
    _check_files(json_file, plot_file)
    if path is not None and data == "mnist10k":
        raise click.ClickException("--path says where fashion-mnist is: give --data fashion-mnist too")
    if compare and device != "cpu":
        raise click.ClickException("--compare trains on the CPU: leave --device out")
    if compare and find_spec("torch") is None:
        raise click.ClickException("--compare needs PyTorch: install torch")
    with clear_errors(ImportError, ValueError, RuntimeError, OSError):
        from rich.console import Console

        from . import kernels, set_num_threads
        from .commands import demo as job

        if threads is not None:
            set_num_threads(threads)
        with kernels.use_backend(backend):  # an unknown or missing backend is said before anything starts
            pass
        work = job.Demo.of(data, path, epochs, batch_size, seed, device)
    console = Console(highlight=False)
    with clear_errors(FloatingPointError):
        history = job.train_demo(console, work, backend)
    if history.stopped is not None:
        raise click.Abort
    console.print(f"{job.images_per_second(history):,.0f} images a second in training")
    with clear_errors(OSError, RuntimeError, ValueError):
        if plot_file is not None:
            history.plot(plot_file)
        others = {"pytorch": job.compare_training(console, work, history)} if compare else {}
        others["step_ms"] = job.compare_steps(console, device)
        if json_file is not None:
            job.write_figures(json_file, history, time.perf_counter() - _started, **others)
    console.print(f"validation accuracy {history['val_accuracy'][-1]:.4f} after {len(history)} epochs")


@main.command()
@click.option(
    "--suite",
    "suites",
    type=click.Choice(suite_names()),
    multiple=True,
    help="May be repeated.  [default: all but the random ones and distributed]",
)
@click.option(
    "--filter", "part", default="", metavar="TEXT", help="Only rows with TEXT in their or their group's name."
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Draws random rows.")
@click.option("--count", type=click.IntRange(min=1), default=60, show_default=True, help="Random rows of each kind.")
@click.option("--backends", default="auto", show_default=True, help="Of auto, numba, cython, reference; with commas.")
@click.option("--threads", type=click.IntRange(min=1), multiple=True, help="May be repeated.  [default: 1 and all]")
@click.option("--pytorch/--no-pytorch", default=True, help="Whether PyTorch takes part where it is installed.")
@click.option("--quick", is_flag=True, help="Three short rounds in place of seven: less exact.")
@click.option("--device", default="cpu", show_default=True, help='"cuda": the rows of a GPU; --suite is for the CPU.')
@click.option("--tf32/--no-tf32", default=False, help="With --device cuda: products by TF32, in PyTorch too.")
@click.option("--json", "json_file", type=_FILE, metavar="FILE", help="Write machine, roofs, times and ratios to FILE.")
@click.option("--plot", "plot_file", type=_FILE, metavar="FILE", help="Draw ratios and roofline (needs matplotlib).")
def bench(suites, part, seed, count, backends, threads, pytorch, quick, device, tf32, json_file, plot_file) -> None:
    """Time dlfast beside PyTorch and NumPy.

    Every contender's results, gradients included, are compared with the reference's first: a disagreement ends the run
    with exit code 1. Then the contenders take turns in one process, each turn after a rest and a call that is not
    timed. Tables give medians and minima in ms, ratios of medians, GF/s beside the multiply-adds and GB/s beside the
    copies that this machine is measured to do. PyTorch runs images in both of its layouts and counts by the faster.
    Takes about fifteen minutes; --quick, --suite and --filter make it shorter. Close other programs first.

    The suite random draws --count rows of each kind: pools, norms, softmax, activations, optimizers, linear,
    convolutions; random-sequences does of RNN, LSTM, GRU and attention, random-nets of training steps of small CNNs.
    --filter takes a kind. A library that computes wrongly is left out of a row, with a note. The rows follow from
    --seed alone, and those of a smaller count are the first of a larger. DLFAST_ISA=avx2 holds dlfast to AVX2;
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 does PyTorch, and the first lines say
    what is in force.

    --device cuda times dlfast on a GPU by its own clock, beside PyTorch on it with the same TF32 setting and beside the
    copy bandwidth measured in the same run. DLFAST_CUDA=host runs it without a GPU, on tiny arrays: those times mean
    nothing.
    """
    _check_files(json_file, plot_file)
    if device != "cpu" and suites:
        raise click.ClickException("--suite chooses among those of the CPU: with --device use --filter")
    with clear_errors(ImportError, ValueError, RuntimeError):
        from rich.console import Console

        from . import get_num_threads, kernels
        from .bench import measure, run

        told = None
        console = Console(highlight=False)
        if not console.is_terminal:  # a file or a pipe has no width that tables must keep to
            console.width = max(console.width, 140)
        if device == "cpu":
            names = [name.strip() for name in backends.split(",")]
            for name in names:  # an unknown or missing backend is said before anything starts
                with kernels.use_backend(name):
                    pass
            counts = sorted(set(threads or (1, get_num_threads())))
            options = measure.Options(names, counts, pytorch and measure.pytorch_installed())
            if quick:
                options = measure.quick(options)
            groups = measure.chosen_groups(suites or usual_suites(), part, seed=seed, count=count)
            results, roofs = run.run(console, groups, options)
        else:
            results, roofs, told = run.run_on_device(console, device, part, quick=quick, pytorch=pytorch, tf32=tf32)
    with clear_errors(OSError, ValueError):
        if json_file is not None:
            run.write_json(json_file, results, roofs, told)
        if plot_file is not None:
            from .bench import plots

            plots.draw(plot_file, results, roofs)


@main.command()
@click.option(
    "--series", "name", type=click.Choice(["sunspots", "co2", "elnino"]), default="sunspots", show_default=True
)
@click.option(
    "--layer",
    "kinds",
    type=click.Choice(["LSTM", "GRU", "RNN"]),
    multiple=True,
    help="May be repeated.  [default: LSTM and GRU]",
)
@click.option("--epochs", type=click.IntRange(min=1), default=40, show_default=True, help="Passes over the series.")
@device_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed, the same bits.")
@click.option(
    "--plot", "plot_file", type=_FILE, metavar="FILE", help="Draw the forecasts into FILE (needs matplotlib)."
)
def forecast(name, kinds, epochs, device, seed, plot_file) -> None:
    """Forecast a series of measurements with recurrent networks.

    The first four fifths of the yearly sunspot number, of CO2 in the air by weeks or of the sea's temperature off Peru
    by months are learned from, the last fifth is forecast: each value from those before it, and some steps at once.
    Errors are roots of mean squares, beside that of a forecast that repeats the last value.
    """
    _check_files(None, plot_file)
    check_device(device)
    from rich.console import Console

    from .commands import forecast as job

    console, found = Console(highlight=False), []
    for kind in kinds or ("LSTM", "GRU"):
        with console.status(f"training a forecaster of {name} with {kind}"), clear_errors(FloatingPointError):
            found.append(job.forecast(name, kind, epochs, seed, device))
        job.report(console, found[-1])
    if plot_file is not None:
        with clear_errors(OSError, RuntimeError, ValueError):
            job.draw(plot_file, found)


@main.command()
@click.option("--steps", type=click.IntRange(min=2), default=100, show_default=True, help="Length of the sequences.")
@click.option("--updates", type=click.IntRange(min=1), default=2000, show_default=True, help="Of each net, at most.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed, the same bits.")
@device_option
def remember(steps, updates, seed, device) -> None:
    """Show that an LSTM remembers over 100 steps where a plain RNN forgets.

    Both learn to add two numbers that are marked in a sequence of random ones, from fresh sequences each time, until
    the error on new ones is a twentieth of what answering 1 every time gives.
    """
    check_device(device)
    from rich.console import Console

    from .commands import adding

    adding.show(Console(highlight=False), steps, updates, seed, device)


@main.command()
def info() -> None:
    """Show versions, processor, threads, backends and which of them serves each operation."""
    from rich.console import Console

    from .commands import info

    info.print_info(Console(highlight=False))


@main.command()
def gradcheck() -> None:
    """Hold every operation's gradient against central differences in float64.

    Ends with exit code 1 if a relative error is above 1e-6.
    """
    from rich.console import Console
    from rich.table import Table

    from . import _gradcheck

    console = Console(highlight=False)
    table = Table("operation")
    table.add_column("largest relative error", justify="right")
    table.add_column("")
    failed = []
    for name, error in _gradcheck.operations():
        ok = error <= _MAX_ERROR  # not for NaN
        table.add_row(name, f"{error:.1e}", "[green]ok" if ok else "[red]wrong")
        failed += [] if ok else [name]
    console.print(table)
    if failed:
        raise click.ClickException(f"gradients above {_MAX_ERROR:.0e}: {', '.join(failed)}")


@main.command()
@click.option(
    "--backend",
    type=click.Choice(["auto", "numba"]),
    default="auto",
    show_default=True,
    help="auto: the kernels that are used by default; numba: all, for those who pin Numba.",
)
def warmup(backend) -> None:
    """Compile the Numba kernels ahead of their first use.

    Perceptrons, CNNs, recurrent layers and attention take a small training step in float32, and what they need is
    compiled and kept in the user's cache folder (DLFAST_CACHE_DIR moves it): the first real training step then starts
    at once. Kernels that are there already are only loaded. Kernels compiled for another processor, or from other
    sources, are never taken; run it again after an update. The Cython kernels need none of this.
    """
    with clear_errors(ImportError, RuntimeError):
        from rich.console import Console

        from .commands import warmup

        warmup.warm_up(Console(highlight=False), backend)


def _check_files(json_file: Path | None, plot_file: Path | None) -> None:
    """Say before the training what would fail after it."""
    for path in filter(None, (json_file, plot_file)):
        if not path.absolute().parent.is_dir():
            raise click.ClickException(f"cannot write {path}: there is no folder {path.absolute().parent}")
        with clear_errors(OSError):
            check_writable(path)
    if json_file is not None and plot_file is not None and json_file.resolve() == plot_file.resolve():
        raise click.ClickException(f"--json and --plot name one file, {plot_file}")
    if plot_file is None:
        return
    if find_spec("matplotlib") is None:
        raise click.ClickException("--plot needs matplotlib: install dlfast with its extra `plots`")
    from matplotlib.backend_bases import FigureCanvasBase

    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if plot_file.suffix.lower().removeprefix(".") not in known:
        raise click.ClickException(f"--plot {plot_file}: the name must end in one of .{', .'.join(known)}")


for command in (train, evaluate, predict, generate, export, doctor):
    main.add_command(command)

if __name__ == "__main__":
    main()
