"""The plan of a convolution: what one call will do in all its passes, decided once.

Made where the arguments are checked, kept by shape, handed to the kernels as their option `plan`, and kept by them in
`saved`. So whoever asks afterwards (a backward pass, the fusion of neighbours, `dlfast.explain`) reads what was decided
and does not decide again. A plan is made for what one backend can do (`Abilities`). A kernel that is handed another
backend's takes `plan.of(ABILITIES)`: the same convolution, planned anew for its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .conv_methods import FEW_CHANNELS, Abilities, Choice, Geometry, choose, direct_bytes, output_shape
from .conv_on_device import choose_on_device
from .geometry import conv_transpose_output_size

PASSES = ("forward", "dx", "dweight")
WINDOW_BYTES = 1 << 24  # of padded rows under a row of pooling windows: with more, pixels are better written


class Plan:
    """What one convolution does.

    image, kernel: the shapes of x (N, H, W, C) and of the weight; of a transposed convolution, those of the convolution
    whose gradient it is, so that `image` is the shape of y. method: the one asked for, or "auto", or "exact".
    pool: the windows (rows, columns) that lie side by side behind it, None without; average: of their means.
    output: (N, P, Q, K) before pooling. choices: of each pass; forward, dx, dweight: their methods.
    windows, windows_back: the method by which windows are computed on the way, forward and for the weights; "" where
    the pixels between are written and read. pays: whether that is faster than the operations one by one.
    native: what the compiled backend makes of it.
    """

    __slots__ = (
        "_alone", "abilities", "activation", "average", "choices", "dweight", "dx", "forward", "geometry", "image",
        "kernel", "method", "native", "output", "pays", "pool", "scatters", "windows", "windows_back",
    )  # fmt: skip

    def __init__(
        self,
        image: tuple[int, ...],
        kernel: tuple[int, ...],
        geometry: Geometry,
        activation: str | None,
        method: str,
        pool: tuple[int, int] | None,
        average: bool,
        abilities: Abilities,
    ) -> None:
        self.image, self.kernel, self.geometry = image, kernel, geometry
        self.activation, self.method, self.pool, self.average = activation, method, pool, average
        self.abilities = abilities
        self.output = output_shape(image, kernel, geometry)
        self.choices = {name: self._choice(name) for name in PASSES}
        self.forward, self.dx, self.dweight = (self.choices[name].method for name in PASSES)
        self.scatters = abilities.scatters and geometry.groups == 1 and kernel[3] < FEW_CHANNELS
        self.windows, self.windows_back = self._at_once("forward"), self._at_once("dweight")
        self.pays = self._pooling_pays()
        self.native: Any = None
        self._alone: dict[str | None, Plan] = {}

    def of(self, abilities: Abilities) -> Plan:
        """This convolution as a backend of these abilities runs it."""
        if abilities is self.abilities:
            return self
        parts = self.image, self.kernel, self.geometry, self.activation, self.method, self.pool, self.average
        return plan(*parts, abilities)

    def alone(self, activation: str | None) -> Plan:
        """The convolution without pooling, and with this activation."""
        if activation not in self._alone:
            parts = self.image, self.kernel, self.geometry, activation, self.method
            self._alone[activation] = plan(*parts, abilities=self.abilities)
        return self._alone[activation]

    def _choice(self, passing: str) -> Choice:
        if self.abilities.on_device is not None:
            return choose_on_device(self.image, self.kernel, self.geometry, self.method, self.abilities.on_device)
        choice = choose(passing, self.image, self.kernel, self.geometry, self.method, self.abilities)
        if choice.method in self.abilities.methods:
            return choice
        return Choice("im2col", f"this backend has no {choice.method}")

    def _at_once(self, passing: str) -> str:
        """The method that computes this pass with its windows, without the pixels between; "" where none does.

        The direct one does so row by row of windows; tiles of 4 x 4 outputs hold whole windows of 2 x 2. The backward
        pass of means needs the pixels.
        """
        if self.pool is None:
            return ""
        method, able = self.choices[passing].method, self.abilities.averaged if self.average else self.abilities.pooled
        tiled = self.pool == (2, 2) and self.kernel[1:3] == (3, 3) and self.geometry.stride == (1, 1)
        few = method == "direct" and self.kernel[3] < FEW_CHANNELS and self.geometry.groups == 1
        if method not in able or not (few or (method == "winograd" and tiled)):
            return ""
        held = direct_bytes(self.image, self.kernel, self.geometry, self.pool[0])
        return "" if method == "direct" and held > WINDOW_BYTES else method

    def _pooling_pays(self) -> bool:
        """Whether convolution and pooling are better computed at once.

        With max-pooling that saves writing and reading the convolution's output, which is large against its arithmetic
        where the image has few channels: there the direct method does so, forward and for the weights; Winograd's,
        forward and for both. With average-pooling the output is written, for the gradient of the activation, but read
        from cache.
        """
        if self.pool is None or self.output[1] < self.pool[0] or self.output[2] < self.pool[1]:
            return False
        if self.average or self.windows != "winograd":
            return self.windows == "direct" and (self.average or self.windows_back == "direct")
        return self.windows_back == self.dx == "winograd"


@lru_cache(maxsize=1024)
def plan(
    image: tuple[int, ...],
    kernel: tuple[int, ...],
    geometry: Geometry,
    activation: str | None = None,
    method: str = "auto",
    pool: tuple[int, int] | None = None,
    average: bool = False,
    abilities: Abilities = Abilities(),  # noqa: B008
) -> Plan:
    """The plan of a convolution; the arguments are the fields of `Plan`."""
    return Plan(image, kernel, geometry, activation, method, pool, average, abilities)


def plan_of_transposed(
    x: tuple[int, ...],
    weight: tuple[int, ...],
    geometry: Geometry,
    output_padding: tuple[int, int],
    activation: str | None,
    method: str,
    abilities: Abilities,
) -> Plan:
    """That of the convolution whose gradient a transposed one is; geometry: its padding is cut off from y.

    The rows and columns that output_padding adds are beyond the last window, so the padding there may be negative.
    """
    top, bottom, left, right = geometry.padding
    (sh, sw), (dh, dw), (more_rows, more_columns) = geometry.stride, geometry.dilation, output_padding
    p = conv_transpose_output_size(x[1], weight[1], sh, top + bottom, dh, more_rows)
    q = conv_transpose_output_size(x[2], weight[2], sw, left + right, dw, more_columns)
    image = x[0], p, q, weight[3] * geometry.groups
    geometry = geometry._replace(padding=(top, bottom - more_rows, left, right - more_columns))
    return plan(image, weight, geometry, activation, method, abilities=abilities)
