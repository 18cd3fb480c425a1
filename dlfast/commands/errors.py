"""What the commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def clear_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn what a user can put right into one line without a traceback."""
    try:
        yield
    except kinds as error:
        raise click.ClickException(str(error)) from error
