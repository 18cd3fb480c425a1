"""dlfast: neural networks on NumPy arrays, with readable kernels that are faster than PyTorch on a CPU."""

import os as _os
import typing as _typing

import numpy as _np

_here = _os.path.dirname(_os.path.abspath(__file__))
if not _os.path.isdir(_os.path.join(_here, "kernels")):  # in a source tree kernels/ lies beside dlfast/
    __path__.append(_os.path.dirname(_here))

from . import (
    amp,
    autograd,
    cuda,
    data,
    distributed,
    functional,
    init,
    inspect,
    io,
    memory,
    models,
    nn,
    optim,
    train,
    utils,
)
from ._creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from ._devices import device
from ._dlpack import from_dlpack
from ._explain import explain
from ._functions import (
    abs,
    all,
    allclose,
    any,
    argmax,
    argmin,
    cat,
    chunk,
    clamp,
    clip,
    clone,
    cumsum,
    equal,
    exp,
    flatten,
    is_tensor,
    log,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    mm,
    norm,
    numel,
    permute,
    pow,
    relu,
    reshape,
    sigmoid,
    softmax,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sum,
    t,
    tanh,
    transpose,
    unsqueeze,
    var,
    where,
)
from ._gradcheck import gradcheck
from ._modes import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from ._precision import get_precision, set_precision
from ._suggest import missing as _missing
from ._version import __version__
from .autograd import Function
from .kernels import use_backend
from .kernels.threads import get_num_threads, set_num_threads
from .random import manual_seed
from .serialize import load, save
from .tensor import Tensor

float32, float64, int32, int64, uint8 = _np.float32, _np.float64, _np.int32, _np.int64, _np.uint8
float, double, int, long, bool = float32, float64, int32, int64, _np.bool_
concat = concatenate = cat

__all__ = [
    "Function",
    "Tensor",
    "__version__",
    "amp",
    "arange",
    "argmax",
    "argmin",
    "as_tensor",
    "autograd",
    "cat",
    "data",
    "distributed",
    "enable_grad",
    "explain",
    "eye",
    "from_dlpack",
    "from_numpy",
    "full",
    "functional",
    "get_num_threads",
    "get_precision",
    "gradcheck",
    "inference_mode",
    "init",
    "inspect",
    "io",
    "is_grad_enabled",
    "linspace",
    "load",
    "manual_seed",
    "memory",
    "models",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "optim",
    "rand",
    "randint",
    "randn",
    "save",
    "set_grad_enabled",
    "set_num_threads",
    "set_precision",
    "stack",
    "tensor",
    "train",
    "use_backend",
    "where",
    "zeros",
    "zeros_like",
]

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
