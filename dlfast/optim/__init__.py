"""Optimizers: parameters, gradients and state lie in flat arenas, and a whole step is one kernel call."""

import typing as _typing

from .._suggest import missing as _missing
from . import lr_scheduler, regularizers
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .clip import clip_grad_norm_, clip_grad_value_
from .lion import Lion
from .nadam import NAdam, RAdam
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "clip_grad_norm_",
    "clip_grad_value_",
    "lr_scheduler",
    "regularizers",
]

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
