"""dlfast: neural networks on NumPy arrays, with readable kernels that are faster than PyTorch on a CPU."""

import os as _os

_here = _os.path.dirname(_os.path.abspath(__file__))
if not _os.path.isdir(_os.path.join(_here, "kernels")):  # in a source tree kernels/ lies beside dlfast/
    __path__.append(_os.path.dirname(_here))

from . import data, functional, init, io, memory, models, nn, optim, train
from ._explain import explain
from ._gradcheck import gradcheck
from ._precision import get_precision, set_precision
from ._version import __version__
from .kernels import use_backend
from .kernels.threads import get_num_threads, set_num_threads
from .random import manual_seed
from .serialize import load, save
from .tensor import Tensor, no_grad

__all__ = [
    "Tensor",
    "__version__",
    "data",
    "explain",
    "functional",
    "get_num_threads",
    "get_precision",
    "gradcheck",
    "init",
    "io",
    "load",
    "manual_seed",
    "memory",
    "models",
    "nn",
    "no_grad",
    "optim",
    "save",
    "set_num_threads",
    "set_precision",
    "train",
    "use_backend",
]
