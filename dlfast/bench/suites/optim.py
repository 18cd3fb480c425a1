"""The optimizer's update: Adam on 4 million parameters, and with the gradients clipped to a norm before it."""

from __future__ import annotations

from functools import partial

from ..rows import Group, Row
from ..updates import Update

SHAPES = [(1000, 1000)] * 4
PARAMETERS = 4_000_000
ADAM = 7 * 4.0 * PARAMETERS  # bytes: parameter and two averages read and written, the gradient read
NORM = 4.0 * PARAMETERS  # the gradient read once more

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
    )
]
