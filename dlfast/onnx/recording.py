"""Arrays that write down what is done with them: the model runs as it always does, and the graph is what it did.

They are arrays of a device, and whatever computes on devices computes with them: NumPy's functions come to
`numpy_functions`, kernels to `kernels`. Each holds its values too, computed on the CPU, so that shapes, dtypes and
errors are those of a real run. What depends on no input is a constant and leaves no node.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._devices import device
from ..kernels.devices import DeviceArray
from .graph import Graph


class Recorder(device):
    """The device on which arrays are recorded in a graph."""

    graph: Graph

    def __new__(cls, graph: Graph) -> Recorder:
        self = str.__new__(cls, "onnx")
        self.graph = graph
        return self

    def upload(self, array: np.ndarray) -> Recorded:
        """An array of the CPU as a constant of the graph."""
        return Recorded(self, array)


class Recorded(np.lib.mixins.NDArrayOperatorsMixin, DeviceArray):
    """An array of a graph: its values on the CPU, and the name of the node's result, None for a constant.

    origin: of a constant that is a part of another, that one and the index: how much of it may depend on the input's
    size, as with the table of positions.
    """

    __slots__ = ("__weakref__", "device", "name", "origin", "values")

    backend = ("reference",)  # not "cuda", whose convolutions are planned for the GPU that x lies on
    is_contiguous = True
    pointer = 0

    def __init__(self, recorder: Recorder, values: Any, name: str | None = None) -> None:
        self.device, self.values, self.name = recorder, np.asarray(values), name
        self.origin: tuple[Recorded, Any] | None = None

    @staticmethod
    def kernel(op: str) -> Any:
        """(forward, backward) of an operation for arrays like this."""
        from .kernels import kernel

        return kernel(op)

    # What NumPy calls

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        from .numpy_functions import call_ufunc

        return call_ufunc(self.device, ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from .numpy_functions import call_function

        return call_function(self.device, function, args, kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError("export: the model leaves dlfast's functions for NumPy's; what is done there leaves no graph")

    def __getitem__(self, index: Any) -> Any:
        from .indexing import getitem

        return getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        from .indexing import setitem

        setitem(self, index, value)

    # What it is

    @property
    def owner(self) -> Recorded:
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    @property
    def ndim(self) -> int:
        return self.values.ndim

    @property
    def size(self) -> int:
        return self.values.size

    @property
    def itemsize(self) -> int:
        return self.values.itemsize

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    @property
    def T(self) -> Any:
        return np.transpose(self)

    def __len__(self) -> int:
        return len(self.values)

    def numpy(self) -> np.ndarray:
        """The values of a constant. Raises ValueError for what the input decides, which a graph cannot depend on."""
        if self.name is None:
            return self.values
        raise ValueError(
            "export: the model looks at numbers that its input decides (an if, a length, an index made of them); "
            "the graph can hold only what is the same for every input"
        )

    def item(self) -> Any:
        return self.numpy().item()

    def __bool__(self) -> bool:
        return bool(self.numpy())

    def __float__(self) -> float:
        return float(self.numpy())

    def __int__(self) -> int:
        return int(self.numpy())

    def contiguous(self) -> Recorded:
        return self

    def copy(self, order: str = "C") -> Recorded:
        return Recorded(self.device, self.values.copy() if self.name is None else self.values, self.name)

    def __copy__(self) -> Recorded:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Recorded:
        return self.copy()

    def fill(self, value: Any) -> None:
        self[...] = value

    # Methods that are functions of NumPy

    def astype(self, dtype: Any, copy: bool = True) -> Recorded:
        from .numpy_functions import cast

        return cast(self, dtype)

    def reshape(self, *shape: Any) -> Any:
        return np.reshape(self, shape[0] if len(shape) == 1 else shape)

    def ravel(self) -> Any:
        return self.reshape(-1)

    flatten = ravel

    def transpose(self, *axes: Any) -> Any:
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return np.transpose(self, order or None)

    def swapaxes(self, first: int, second: int) -> Any:
        return np.swapaxes(self, first, second)

    def squeeze(self, axis: Any = None) -> Any:
        return np.squeeze(self, axis)

    def take(self, indices: Any, axis: Any = None, **_: Any) -> Any:
        return np.take(self, indices, axis)

    def repeat(self, repeats: Any, axis: Any = None) -> Any:
        return np.repeat(self, repeats, axis)


def _reduction(name: str) -> Any:
    function = getattr(np, name)

    def reduced(self: Recorded, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
        return function(self, axis=axis, keepdims=keepdims, **options)

    reduced.__name__ = name
    return reduced


for _name in ("sum", "mean", "max", "min", "prod", "any", "all", "argmax", "argmin"):
    setattr(Recorded, _name, _reduction(_name))


def values_of(x: Any) -> Any:
    """The values of a recorded array, in lists and tuples too; anything else as it is."""
    if isinstance(x, (list, tuple)):
        return type(x)(map(values_of, x))
    return x.values if isinstance(x, Recorded) else x


def depends(*arrays: Any) -> bool:
    """Whether any of these depends on the input."""
    return any(depends(*x) if isinstance(x, (list, tuple)) else getattr(x, "name", None) is not None for x in arrays)


def name_of(graph: Graph, x: Any, dtype: Any = None) -> str:
    """The name of an array in the graph, cast where it has another dtype; "" for None."""
    if x is None:
        return ""
    if isinstance(x, Recorded) and x.name is not None:
        if dtype is None or x.dtype == dtype:
            return x.name
        return graph.add("Cast", [x.name], to=np.dtype(dtype))
    if isinstance(x, Recorded) and x.origin is not None and (dtype is None or x.dtype == dtype):
        from .indexing import part_of

        return part_of(graph, *x.origin)
    values = values_of(x)
    if dtype is not None and getattr(values, "dtype", None) != dtype:
        values = np.asarray(values).astype(dtype)
    return graph.constant(values)
