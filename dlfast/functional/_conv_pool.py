"""Convolution and pooling in one operation, whose windows are read while they are in cache. Letters as in `conv2d`."""

from __future__ import annotations

from .. import _check as check
from .._precision import automatic
from ..kernels.conv_methods import Geometry
from ..kernels.conv_plan import plan
from ..tensor import ArrayLike, Tensor, arrays_of, run, unwrap
from ._conv import Padding, abilities, checked, conv_geometry, serving


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
    inputs = (x, weight, bias)
    arrays = arrays_of(inputs)
    options = stride, padding, dilation, groups, activation, method, pool_size
    return run("conv2d_max_pool2d", inputs, arrays, checked("conv2d_max_pool2d", arrays, *options, 0))


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
    inputs = (x, weight, bias)
    arrays = arrays_of(inputs)
    options = stride, padding, dilation, groups, activation, method, pool_size
    return run("conv2d_avg_pool2d", inputs, arrays, checked("conv2d_avg_pool2d", arrays, *options, 1))


def pools_at_once(
    x: ArrayLike, weight: Tensor, geometry: tuple, pool_size: tuple[int, int], average: bool = False
) -> bool:
    """Whether `conv2d_max_pool2d`, or with `average` `conv2d_avg_pool2d`, is faster than its two parts here, and would
    raise nothing that they would not. geometry: stride, padding, dilation and groups, as `conv2d` takes them."""
    a, w = unwrap(x), weight.data
    if a.dtype != w.dtype or a.ndim != 4:
        return False
    return _pooling_pays(a.shape, w.shape, geometry, pool_size, int(average), automatic(), serving(a))


@check.remembered
def _pooling_pays(
    image: tuple, kernel: tuple, fields: tuple, pool_size: tuple, average: int, auto: str, backend: tuple
) -> bool:
    """What the plan says. auto, backend: what it depends on besides the arguments."""
    stride, padding, dilation, groups = fields
    try:
        geometry = Geometry(*conv_geometry("conv2d", image, kernel, stride, padding, dilation), groups)
    except ValueError:
        return False
    if image[3] != kernel[3] * groups:
        return False
    return plan(image, kernel, geometry, None, auto, pool_size, bool(average), abilities(backend)).pays
