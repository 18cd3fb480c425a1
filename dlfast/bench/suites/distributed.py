"""Several ranks of one thread each, on the processors of this machine: how training steps scale, and what an all-reduce
costs. It runs only where it is named, and needs MPI. Beside it stand the step, or the addition, of this process alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ... import models
from ..networks import Training
from ..rows import Group, Row

STEPS: list[tuple[str, Callable[[], Training]]] = [
    ("LeNet-5, 64 a rank", partial(Training.drawn, models.lenet5, (64, 28, 28, 1))),
    ("ResNet-20 32x32x3, 32 a rank", partial(Training.drawn, models.resnet20, (32, 32, 32, 3))),
    ("MLP 784-1024-1024-10, 64 a rank", partial(Training.drawn, partial(models.mlp, 784, 1024, 1024, 10), (64, 784))),
]
SIZES = {"4 bytes": 1, "4 KB": 1 << 10, "256 KB": 1 << 16, "1 MB": 1 << 18, "8 MB": 1 << 21, "64 MB": 1 << 24}


def groups(seed: int, count: int) -> list[Group]:
    """The groups; nothing is drawn."""
    steps = [_row(name, work, partial(_scaling, i)) for i, (name, work) in enumerate(STEPS)]
    sums = [_row(name, partial(_addition, size), partial(_bandwidth, size)) for name, size in SIZES.items()]
    return [Group("training step on several ranks", steps), Group("all-reduce of float32", sums)]


def _row(name: str, work: Callable, facts: Callable[[bool], Mapping[str, float]]) -> Row:
    return Row(name, work, tolerance=0.2, facts=facts)


def _addition(size: int):
    from ..ranks import Addition

    return Addition(size)


def _scaling(number: int, pytorch: bool) -> Mapping[str, float]:
    from ..ranks import scaling

    return scaling(number)


def _bandwidth(size: int, pytorch: bool) -> Mapping[str, float]:
    from ..ranks import bandwidth

    return bandwidth(size)
