"""The command `dlfast doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from .._files import check_writable
from .errors import clear_errors


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--data", help="Judge the model on this, as `dlfast evaluate` does.  [default: what the run held out]")
@click.option("--path", help="Where mnist, fashion-mnist or cifar10 lies.  [default: as in training]")
@click.option(
    "--report", "page", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.html", help="Write a page, too."
)
def doctor(checkpoint, data, path, page) -> None:
    """Say in words what is wrong with a run of `dlfast train`, and what the notes advise.

    CHECKPOINT is the folder of the run, for its best weights, or one of its files, such as last.safetensors. Its model,
    data, history and learning rate are examined: vanishing and exploding gradients, dead and saturated units, over- and
    underfitting, a learning rate too high or too low, data that is not normalised, labels that do not belong to the
    inputs, rare classes, NaN. --report writes one page of HTML with curves, the confusion matrix, what was most wrongly
    classified, gradients, activations and layers; its pictures need matplotlib.
    """
    with clear_errors(ImportError, ValueError, OSError):
        from .examining import examine

        if page is not None:
            check_writable(page)
        click.echo(str(examine(checkpoint, data, path, page)))
