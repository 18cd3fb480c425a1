"""The commands that train models and use them: `dlfast train`, `dlfast generate`."""

from __future__ import annotations

from pathlib import Path

import click

from .errors import clear_errors

_MODELS = ("gpt", "char_lstm", "char_gru")
_THREADS = click.option("--threads", type=click.IntRange(min=1), help="Of the kernels.  [default: all processors]")


@click.command()
@click.argument("model", type=click.Choice(_MODELS))
@click.option("--data", help="gospels, or a file of text in UTF-8.  [default: gospels]")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the text.  [default: 24 for gpt, else 40]")
@click.option("--steps", type=click.IntRange(min=1), help="Updates in all, in place of --epochs.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Windows of an update.  [default: 16 for gpt, else 32]")
@click.option(
    "--lr", type=click.FloatRange(min=0, min_open=True), help="The highest one.  [default: 0.003 for gpt, else 0.004]"
)
@click.option("--seed", type=click.IntRange(min=0), help="The same seed, the same bits.  [default: 0]")
@_THREADS
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep.  [default: runs/MODEL]")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder, by its own options.")
def train(model, data, epochs, steps, batch_size, lr, seed, threads, out, resume) -> None:
    """Train MODEL and keep it in a folder: gpt, char_lstm or char_gru, on text.

    Windows of 128 characters from anywhere in the first 90 % of the text are learned; the loss on the rest, in nats a
    character, is shown after each epoch. AdamW's learning rate rises for 100 updates and falls to 0 along a cosine;
    gradients are clipped to a norm of 1. The folder keeps the best weights, and after each epoch all that --resume
    needs to end with the bits of a run that was never interrupted. With --resume a larger --epochs makes a run longer.
    """
    folder = Path("runs", model) if out is None else out
    if steps is not None and (epochs is not None or resume):
        raise click.ClickException("--steps stands alone: not with --epochs, nor with --resume")
    with clear_errors(ImportError, ValueError, OSError):
        from rich.console import Console

        from .. import set_num_threads
        from . import run, text

        if threads is not None:
            set_num_threads(threads)
        given = {"data": data, "epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
        if resume:
            plan = run.resumed_plan(folder, model=model, **given)
        else:
            plan = run.new_plan(folder, text.plan(model, **{**given, "data": data or "gospels", "steps": steps}))
        work, console = text.work(plan), Console(highlight=False)
        with clear_errors(FloatingPointError):
            history = run.train_plan(console, folder, plan, work, resume)
    if history.stopped is not None:
        if len(history):
            console.print(f"go on with: dlfast train {model} --out {folder} --resume")
        raise click.Abort
    best, last = min(history["val_loss"]), history["val_loss"][-1]
    console.print(f"validation loss {last:.4f} {work.measure} after {len(history)} epochs, {best:.4f} at best")


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
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
@_THREADS
def generate(checkpoint, prompt, length, temperature, top_k, seed, threads) -> None:
    """Continue a text with a model that `dlfast train` has trained, character by character.

    CHECKPOINT is the folder of the run, for its best weights, or one of its files, such as last.safetensors. In Python:
    `dlfast.models.generate`.
    """
    with clear_errors(ImportError, ValueError, OSError):
        from .. import set_num_threads
        from . import text

        if threads is not None:
            set_num_threads(threads)
        model, vocabulary = text.load_model(checkpoint)
        characters = text.write(model, vocabulary, prompt, length, temperature=temperature, top_k=top_k, seed=seed)
    click.echo(prompt, nl=False)
    for character in characters:
        click.echo(character, nl=False)
    click.echo()
