"""What the tape costs: chains of operations on one element, forward and backward, where kernels take next to nothing.

A hundredth of the time is that of one operation, its kernels included (about 0.5 us for an addition, 0.8 us for ReLU).
"""

from __future__ import annotations

from functools import partial

from ... import functional as F
from ..rows import BEST, Group, Operation, Row

LENGTH = 100


def chain(name: str, ours, pytorch) -> Row:
    """A row: the operation applied LENGTH times to its own result."""

    def repeated(function, *tensors):
        x, *others = tensors
        for _ in range(LENGTH):
            x = function(x, *others)
        return x

    others = () if name == "ReLU" else ((1,),)
    work = partial(
        Operation,
        [(1,), *others],
        (True, *(False for _ in others)),
        (1,),
        partial(repeated, ours),
        lambda torch, *tensors: repeated(partial(pytorch, torch), *tensors),
    )
    return Row(f"{name}, {LENGTH} times", work, targets={BEST: 2.0})


GROUPS = [
    Group(
        "tape",
        [
            chain("addition", lambda x, y: x + y, lambda torch, x, y: x + y),
            chain("ReLU", F.relu, lambda torch, x: torch.relu(x)),
        ],
    )
]
