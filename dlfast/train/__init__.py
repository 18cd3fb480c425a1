"""Training: `fit` and what watches over it."""

from .callbacks import Callback, CSVLogger, EarlyStopping
from .checkpoint import Checkpoint
from .evaluation import evaluate, predict
from .history import History
from .loop import NonFiniteLoss, fit
from .progress import ProgressBar

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "NonFiniteLoss",
    "ProgressBar",
    "evaluate",
    "fit",
    "predict",
]
