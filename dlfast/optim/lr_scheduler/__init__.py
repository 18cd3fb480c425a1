"""Learning-rate schedules: PyTorch's, with its names, arguments and values, and the notes' cosine with a rise.

    scheduler = lr_scheduler.CosineWithWarmup(optimizer, total_steps=1000, warmup_steps=100)
    for x, y in batches:
        ...
        optimizer.step()
        scheduler.step()                   # after the update: sets the rate of the next one

``scheduler.plot("rates.png")`` draws the whole curve and changes nothing; ``state_dict`` holds what a resumed
run needs.
"""

import typing as _typing

from ..._suggest import missing as _missing
from .base import LRScheduler
from .combined import ChainedScheduler, SequentialLR
from .curves import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from .cycles import CosineAnnealingLR, CosineAnnealingWarmRestarts, CosineWithWarmup
from .one_cycle import OneCycleLR
from .plateau import ReduceLROnPlateau
from .plotting import plot_schedules

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CosineWithWarmup",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "plot_schedules",
]

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
