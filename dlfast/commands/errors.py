"""What the commands share."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ..distributed import Communicator, finalize


def check_device(name: str) -> None:
    """Say before anything starts why a device cannot be used."""
    from .._devices import find

    with clear_errors(ImportError, RuntimeError, ValueError):
        find(name)


@contextmanager
def clear_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn what a user can put right into one line without a traceback."""
    try:
        yield
    except kinds as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def all_end_together(comm: Communicator) -> Iterator[None]:
    """Where one rank of several fails, say why and end the others too: they would wait for it for ever."""
    try:
        yield
    except BaseException as error:
        if comm.size == 1:
            raise
        if comm.rank:
            time.sleep(0.5)  # where all fail alike, let rank 0 speak
        sys.stdout.flush()
        if isinstance(error, click.ClickException):
            click.echo(f"rank {comm.rank} of {comm.size}: Error: {error.format_message()}", err=True)
        elif not isinstance(error, click.Abort):
            traceback.print_exc()
        comm.abort(1)
    finalize()
