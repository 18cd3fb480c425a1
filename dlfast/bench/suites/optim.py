"""The optimizers' updates of 4 million parameters, and Adam's with the gradients clipped to a norm before it."""

from __future__ import annotations

from functools import partial

from ..rows import Group, Row
from ..updates import Update

SHAPES = [(1000, 1000)] * 4
PARAMETERS = 4_000_000
ADAM = 7 * 4.0 * PARAMETERS  # bytes: parameter and two averages read and written, the gradient read
NORM = 4.0 * PARAMETERS  # the gradient read once more


def _other(kind: str, states: int, targets: dict[str, float]) -> Row:
    """A row of an optimizer that keeps so many arrays of state."""
    work = partial(Update, SHAPES, kind=kind)
    traffic = (3 + 2 * states) * 4.0 * PARAMETERS
    return Row(f"{kind}, 4 M parameters", work, bytes=traffic, targets=targets, copy_share=0.8)


GROUPS = [
    Group(
        "Adam",
        [
            Row(
                "Adam, 4 M parameters",
                partial(Update, SHAPES),
                bytes=ADAM,
                targets={"PyTorch fused": 1.0, "PyTorch default": 3.0},
                copy_share=0.8,
            ),
            Row(
                "clip by norm + Adam, 4 M parameters",
                partial(Update, SHAPES, clip=1.0),
                bytes=ADAM + NORM,
                targets={"PyTorch fused": 2.0},
                copy_share=0.8,
            ),
        ],
    ),
    Group(
        "other optimizers",
        [
            _other("SGD", 0, {"PyTorch fused": 1.0}),
            _other("RMSprop", 1, {"PyTorch default": 2.0}),
            _other("Adagrad", 1, {"PyTorch fused": 1.0}),
            _other("NAdam", 2, {"PyTorch default": 2.0}),
            _other("RAdam", 2, {"PyTorch default": 2.0}),
            _other("Lion", 1, {}),
        ],
    ),
]
