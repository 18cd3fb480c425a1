"""Initial values, written in place into a Tensor, Parameter or array, which is returned.

Weights are (out, ..., in): fan_in = I and fan_out = O for Linear (O, I); fan_in = R S C/groups and fan_out = K R S for
Conv2d (K, R, S, C/groups). Random numbers come from dlfast's generator (`manual_seed`).
"""

from __future__ import annotations

import math
import typing as _typing
from typing import TypeVar

import numpy as np

from . import _check as check
from ._changes import note
from ._devices import assign, on_device
from ._suggest import missing as _missing
from .random import generator
from .tensor import Tensor

T = TypeVar("T", Tensor, np.ndarray)


def _fill(op: str, tensor: T, values: object) -> T:
    array = tensor.data if isinstance(tensor, Tensor) else tensor
    if not (isinstance(array, np.ndarray) or on_device(array)) or array.dtype.kind != "f":
        raise TypeError(f"{op}: tensor must be a Tensor or array of floats, got {type(tensor).__name__}")
    assign(array, values)
    note(array)
    return tensor


def _fans(op: str, tensor: Tensor | np.ndarray) -> tuple[int, int]:
    shape = tensor.shape
    if len(shape) < 2:
        raise ValueError(f"{op}: tensor must have at least two axes (out, ..., in), got shape {shape}")
    taps = math.prod(shape[1:-1])
    return taps * shape[-1], taps * shape[0]


def zeros_(tensor: T) -> T:
    """All 0."""
    return _fill("zeros_", tensor, 0)


def ones_(tensor: T) -> T:
    """All 1."""
    return _fill("ones_", tensor, 1)


def constant_(tensor: T, value: float) -> T:
    """All `value`."""
    return _fill("constant_", tensor, value)


def uniform_(tensor: T, low: float = 0.0, high: float = 1.0) -> T:
    """Uniform in [low, high). Raises ValueError where low > high."""
    if low > high:
        raise ValueError(f"uniform_: low must not be above high, got {low} and {high}")
    return _fill("uniform_", tensor, generator().uniform(low, high, tensor.shape))


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0) -> T:
    """Normal with this mean and standard deviation. Raises ValueError for std < 0."""
    std = check.number("normal_", "std", std, 0, math.inf)
    return _fill("normal_", tensor, generator().normal(mean, std, tensor.shape))


def trunc_normal_(tensor: T, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> T:
    """Normal with this mean and std, drawn again where it is outside [a, b]; bounds are numbers, not multiples of std.

    Raises ValueError for std <= 0 and a >= b. Source: Robert, "Simulation of truncated normal variables", 1995.
    """
    std = check.number("trunc_normal_", "std", std, 0, math.inf, low_open=True)
    if not a < b:
        raise ValueError(f"trunc_normal_: a must be below b, got {a} and {b}")
    count = math.prod(tensor.shape)
    values = _truncated((a - mean) / std, (b - mean) / std, count)
    # The sum may round to just outside.
    return _fill("trunc_normal_", tensor, np.clip(mean + std * values, a, b).reshape(tensor.shape))


def _truncated(low: float, high: float, count: int) -> np.ndarray:
    """So many standard normal numbers in [low, high], by rejection: of normal ones where enough are inside, else of
    uniform ones by their density."""
    nearest = min(max(0.0, low), high)
    often = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2 > 0.2
    low, high = max(low, nearest - 12), min(high, nearest + 12)  # beyond, the density is below 1e-31 of the largest
    values = np.empty(0)
    while len(values) < count:
        wanted = 2 * (count - len(values)) + 8
        if often:
            drawn = generator().normal(size=wanted)
            kept = (drawn >= low) & (drawn <= high)
        else:
            drawn = generator().uniform(low, high, wanted)
            kept = generator().uniform(size=wanted) < np.exp((nearest - drawn) * (nearest + drawn) / 2)
        values = np.append(values, drawn[kept])
    return values[:count]


def eye_(tensor: T) -> T:
    """The identity: 1 on the diagonal of a matrix, else 0. Raises ValueError for other than two axes."""
    rows, columns = _matrix("eye_", tensor)
    return _fill("eye_", tensor, np.eye(rows, columns))


def dirac_(tensor: T, groups: int = 1) -> T:
    """The identity of a convolution, weight (K, ..., C/groups): in each group channel i of the output is channel i of
    the input, as far as both have it; "same" padding and an odd kernel make it the whole identity.

    Raises ValueError for fewer than three axes and where groups does not divide K.
    """
    groups = check.integer("dirac_", "groups", groups, 1)
    shape = tensor.shape
    if len(shape) < 3 or shape[0] % groups:
        raise ValueError(f"dirac_: tensor must be (K, ..., C/groups) with K a multiple of {groups}, got shape {shape}")
    values = np.zeros(shape)
    center: list[int] = [length // 2 for length in shape[1:-1]]
    each = shape[0] // groups
    for out in range(shape[0]):
        if out % each < shape[-1]:
            place = (out, *center, out % each)
            values[place] = 1
    return _fill("dirac_", tensor, values)


def sparse_(tensor: T, sparsity: float, std: float = 0.01) -> T:
    """Normal with mean 0, but ceil(sparsity * rows) numbers of each column of a matrix are 0.

    sparsity in [0, 1]. Source: Martens, "Deep learning via Hessian-free optimization", 2010, section 5.
    """
    sparsity = check.number("sparse_", "sparsity", sparsity, 0, 1, high_closed=True)
    std = check.number("sparse_", "std", std, 0, math.inf)
    rows, columns = _matrix("sparse_", tensor)
    values = generator().normal(0, std, (rows, columns))
    empty = np.argsort(generator().uniform(size=(rows, columns)), axis=0)[: math.ceil(sparsity * rows)]
    np.put_along_axis(values, empty, 0, axis=0)
    return _fill("sparse_", tensor, values)


def _matrix(op: str, tensor: Tensor | np.ndarray) -> tuple[int, int]:
    if len(tensor.shape) != 2:
        raise ValueError(f"{op}: tensor must have two axes, got shape {tensor.shape}")
    return tensor.shape[0], tensor.shape[1]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """What keeps the variance through an activation: 1, 5/3 for tanh, sqrt 2 for relu, sqrt(2 / (1 + slope^2)) leaky.

    param: the slope of leaky_relu, 0.01 if None. Raises ValueError for an unknown name.
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"linear": 1.0, "conv2d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
    check.choice("calculate_gain", "nonlinearity", nonlinearity, (*gains, "leaky_relu"))
    return gains[nonlinearity]


def xavier_uniform_(tensor: T, gain: float = 1.0) -> T:
    """Uniform in +-gain sqrt(6 / (fan_in + fan_out)), for sigmoid and tanh. Source: Glorot and Bengio 2010, eq. 16."""
    limit = gain * math.sqrt(6 / sum(_fans("xavier_uniform_", tensor)))
    return uniform_(tensor, -limit, limit)


def xavier_normal_(tensor: T, gain: float = 1.0) -> T:
    """Normal with variance gain^2 2 / (fan_in + fan_out). Source: Glorot and Bengio 2010."""
    return normal_(tensor, 0, gain * math.sqrt(2 / sum(_fans("xavier_normal_", tensor))))


def kaiming_uniform_(tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """Uniform in +-gain sqrt(3 / fan); gain as for `kaiming_normal_`. Source: He et al. 2015, section 2.2."""
    limit = math.sqrt(3) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -limit, limit)


def kaiming_normal_(tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> T:
    """Normal with variance gain^2 / fan, for ReLU: gain^2 = 2 / (1 + a^2), a the slope for x < 0 (0 for ReLU).

    mode "fan_in" keeps the variance of the forward pass, "fan_out" that of the gradients. Also called he_normal_.
    Raises ValueError for an unknown mode or nonlinearity. Source: He et al. 2015, section 2.2.
    """
    return normal_(tensor, 0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))


glorot_uniform_ = xavier_uniform_
glorot_normal_ = xavier_normal_
he_uniform_ = kaiming_uniform_
he_normal_ = kaiming_normal_


def _kaiming_std(op: str, tensor: Tensor | np.ndarray, a: float, mode: str, nonlinearity: str) -> float:
    check.choice(op, "mode", mode, ("fan_in", "fan_out"))
    fan = _fans(op, tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def orthogonal_(tensor: T, gain: float = 1.0) -> T:
    """Rows (or columns, where there are more rows) orthonormal, times gain; axes after the first count as one.

    Source: Saxe et al. 2014.
    """
    _fans("orthogonal_", tensor)
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    q, r = np.linalg.qr(generator().normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))  # makes the distribution uniform over orthogonal matrices
    return _fill("orthogonal_", tensor, gain * (q.T if rows < columns else q).reshape(tensor.shape))


if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
