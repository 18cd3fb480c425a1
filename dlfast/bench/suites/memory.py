"""Memory of whole training steps: what a step asks of the system once it is warm, and its time with and without the
pool. The rows are those of `steps`."""

from __future__ import annotations

from functools import partial

from ..footprint import PoolOnOff, facts
from ..rows import Group, Row
from . import steps


def footprint(row: Row) -> Row:
    """The row's step, as a row of this suite."""
    return Row(row.name, partial(PoolOnOff.of, row.work), tolerance=row.tolerance, facts=partial(facts, row.work))


GROUPS = [
    Group(group.name.replace("training step", "memory of a training step"), [footprint(row) for row in group.rows])
    for group in steps.GROUPS
]
