"""Training: `fit` and what watches over it."""

import typing as _typing

from .._suggest import missing as _missing
from . import metrics
from .callbacks import Callback, CSVLogger, EarlyStopping, LambdaCallback, LRLogger
from .checkpoint import Checkpoint
from .evaluation import evaluate, predict
from .history import History
from .loop import fit
from .lr_finder import LRFind, lr_find
from .nonfinite import NonFiniteLoss
from .progress import ProgressBar
from .tensorboard import TensorBoard

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "LRFind",
    "LRLogger",
    "LambdaCallback",
    "NonFiniteLoss",
    "ProgressBar",
    "TensorBoard",
    "evaluate",
    "fit",
    "lr_find",
    "metrics",
    "predict",
]

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
