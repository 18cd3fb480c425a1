"""Convolution and pooling in one operation, whose windows are read while they are in cache. Letters as in `conv2d`."""

from __future__ import annotations

from typing import Any

from .. import _check as check
from .._precision import automatic
from ..kernels import active_module, get_backend
from ..kernels.conv_methods import Geometry, pooled_method
from ..tensor import ArrayLike, Tensor, arrays_of, run, unwrap
from ._conv import Padding, checked


def conv2d_max_pool2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    pool_size: int | tuple[int, int] = 2,
    activation: str | None = None,
    method: str = "auto",
) -> Tensor:
    """Convolution and max-pooling in one: y = act(max over each window of z), z = conv2d(x, weight, bias).

    The windows of pool_size lie side by side, as `max_pool2d(z, pool_size)` has them; z is never written where the
    method is direct (few channels in x), or Winograd's and the windows are 2 x 2. For a monotonic activation, and all
    of these are, act(max(z)) = max(act(z)).
    Everything else as `conv2d`, y (N, P // rows, Q // columns, K).
    Raises as `conv2d`, and ValueError for a pool_size larger than z.
    """
    return _pooled(
        "conv2d_max_pool2d", (x, weight, bias), stride, padding, dilation, groups, pool_size, activation, method
    )


def conv2d_avg_pool2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    pool_size: int | tuple[int, int] = 2,
    activation: str | None = None,
    method: str = "auto",
) -> Tensor:
    """Convolution and average-pooling in one: y = mean over each window of act(conv2d(x, weight, bias)).

    The windows of pool_size lie side by side, as `avg_pool2d(a, pool_size)` has them; where the method is direct (few
    channels in x), they are read while they are in cache.
    Everything else as `conv2d`, y (N, P // rows, Q // columns, K).
    Raises as `conv2d`, and ValueError for a pool_size larger than the convolution.
    """
    return _pooled(
        "conv2d_avg_pool2d", (x, weight, bias), stride, padding, dilation, groups, pool_size, activation, method
    )


def _pooled(
    op: str, inputs: tuple, stride: Any, padding: Any, dilation: Any, groups: Any, pool_size: Any, activation: Any,
    method: str,
) -> Tensor:  # fmt: skip
    arrays = arrays_of(inputs)
    options, (_, p, q, _) = checked(op, arrays, stride, padding, dilation, groups, activation, method)
    pool = check.pair(op, "pool_size", pool_size, 1)
    if pool[0] > p or pool[1] > q:
        raise ValueError(
            f"{op}: pool_size {pool} is larger than the {p} x {q} pixels of the convolution of "
            f"x {arrays[0].shape} with weight {arrays[1].shape}; pad more or use a smaller window"
        )
    return run(op, inputs, arrays, {**options, "pool_size": pool})


def pools_at_once(
    x: ArrayLike, weight: Tensor, geometry: tuple, pool_size: tuple[int, int], average: bool = False
) -> bool:
    """Whether `conv2d_max_pool2d`, or with `average` `conv2d_avg_pool2d`, is faster than its two parts here, and would
    raise nothing that they would not. geometry: the fields of `Geometry`."""
    a, w = unwrap(x), weight.data
    in_force = automatic(), get_backend()
    return a.dtype == w.dtype and _pooling_pays(a.shape, w.shape, geometry, pool_size, int(average), in_force)


@check.remembered
def _pooling_pays(image: tuple, kernel: tuple, fields: tuple, pool_size: tuple, average: int, in_force: tuple) -> bool:
    """in_force: what the choice depends on besides the arguments."""
    geometry = Geometry(*fields)
    if len(image) != 4 or image[3] != kernel[3] * geometry.groups:
        return False
    method = pooled_method(image, kernel, geometry, pool_size, in_force[0], bool(average))
    op, methods = ("conv2d_avg_pool2d", "AVERAGED_METHODS") if average else ("conv2d_max_pool2d", "POOLED_METHODS")
    return method in getattr(active_module(op), methods, ())
