"""What training reads: data sets, pairs of arrays, loaders of ours and of PyTorch, lists of batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import random
from .._arrays import plain_array
from .._devices import on_device, values_of
from ..data import ArrayDataset, DataLoader
from ..data.labels import targets_of
from ..tensor import Tensor, unwrap

_EXPECTED = "must be a pair (x, y) of arrays, a data set, a DataLoader or a list of batches (x, y)"


class Batches:
    """Batches that somebody else makes, a list of them or PyTorch's DataLoader, as tuples of NumPy arrays."""

    def __init__(self, name: str, source: Any):
        self._name, self.source = name, source

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[tuple]:
        return map(self._arrays, self.source)

    def _arrays(self, batch: Any) -> tuple:
        if not isinstance(batch, (tuple, list)):
            raise TypeError(f"{self._name}: each batch must be a tuple (x, y), got {type(batch).__name__}")
        return tuple(part if _is_away(part) else plain_array(part) for part in batch)

    def first_row(self) -> tuple:
        """One row, or a whole batch, without disturbing a shuffled order."""
        dataset = getattr(self.source, "dataset", None)
        return self._arrays(self.source[0] if dataset is None else dataset[0])


Loader = DataLoader | Batches


def as_loader(name: str, data: Any, batch_size: int, **options: Any) -> Loader:
    """Batches of inputs and targets from ``data``; a loader comes back as it is.

    Raises TypeError, which says what to write, for what is no data; ValueError where there is nothing to learn from.
    """
    loader = _loader(name, data, batch_size, options)
    if not len(loader):
        of = f": {len(loader.dataset)} rows in batches of {loader.batch_size}" if isinstance(loader, DataLoader) else ""
        raise ValueError(f"{name} has no batches{of}")
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, ArrayDataset) and len(loader.dataset.arrays) < 2:
        raise ValueError(f"{name} must have inputs and targets, got {loader.dataset!r}")
    _check_targets(name, first_targets(loader))
    return loader


def _loader(name: str, data: Any, batch_size: int, options: dict[str, Any]) -> Loader:
    if isinstance(data, (DataLoader, Batches)):
        return data
    if _is_torch_loader(data) or _is_batches(data):
        return Batches(name, data)
    if isinstance(data, (tuple, list)):
        if len(data) < 2 or any(part is None or np.isscalar(part) for part in data):
            raise TypeError(f"{name} {_EXPECTED}, got a {type(data).__name__} of {len(data)}")
        data = [_on_cpu(part) for part in data]
        _check_targets(name, data[-1])
        return DataLoader(ArrayDataset(*data), batch_size, **options)
    if hasattr(data, "tensors"):  # PyTorch's TensorDataset
        return DataLoader(ArrayDataset(*data.tensors), batch_size, **options)
    if (
        is_array(data)
        or isinstance(data, (str, dict))
        or not (hasattr(data, "__len__") and hasattr(data, "__getitem__"))
    ):
        raise TypeError(f"{name} {_EXPECTED}, got {_described(data)}; for two arrays write fit(model, (x, y), ...)")
    return DataLoader(data, batch_size, **options)


def batches_after(loader: Loader, count: int) -> Iterator[tuple]:
    """A pass over the batches without the first ``count``, which are gathered only where a loader cannot skip them."""
    if count and type(loader).__iter__ is DataLoader.__iter__:
        return loader.batches(count)  # type: ignore[union-attr]
    batches = iter(loader)
    for _ in range(count):
        next(batches, None)
    return batches


def description(loader: Loader) -> dict[str, Any]:
    """What a place in the order of the batches is a place in; None for what another's loader does not say."""
    own: dict[str, Any] = dict.fromkeys(("rows", "batch_size", "shuffle"))
    if isinstance(loader, DataLoader):
        own = {"rows": len(loader.dataset), "batch_size": loader.batch_size, "shuffle": bool(loader.shuffle)}
    return {**own, "batches": len(loader)}


def input_batches(x: Any, batch_size: int) -> Iterator[tuple] | list[tuple]:
    """Batches of the inputs alone, of an array or of what also holds targets; one empty batch of no rows."""
    if _is_torch_loader(x) or _is_batches(x):
        x = Batches("x", x)
    if isinstance(x, (DataLoader, Batches)):
        return (batch[:-1] if len(batch) > 1 else batch for batch in x)
    arrays = x.arrays if isinstance(x, ArrayDataset) else tuple(map(_on_cpu, getattr(x, "tensors", (x,))))
    inputs = ArrayDataset(*(arrays[:-1] or arrays))
    return iter(DataLoader(inputs, batch_size)) if len(inputs) else [inputs[:]]


def is_array(data: Any) -> bool:
    """Whether this is one array (of NumPy, PyTorch, pandas or ours), and no data set."""
    return isinstance(data, (np.ndarray, Tensor)) or (hasattr(data, "__array__") and hasattr(data, "shape"))


def _is_torch_loader(data: Any) -> bool:
    return type(data).__module__.startswith("torch.") and hasattr(data, "batch_size") and hasattr(data, "__iter__")


def _is_batches(data: Any) -> bool:
    """Whether this is a list of tuples of arrays: a pair (x, y) is a tuple, or a list of two arrays."""
    return isinstance(data, list) and len(data) > 0 and all(_is_batch(part) for part in data)


def _is_batch(part: Any) -> bool:
    return isinstance(part, tuple) and len(part) > 1 and all(is_array(array) and array.shape for array in part)


def _described(data: Any) -> str:
    return f"one array of shape {tuple(data.shape)}" if is_array(data) else f"a {type(data).__name__}"


def first_targets(loader: Loader) -> Any:
    """The targets of one row, or of none where a data set is empty: for their dtype."""
    if isinstance(loader, Batches):
        return _on_cpu(loader.first_row()[-1])
    return loader.peek()[-1]


def all_targets(loader: Loader) -> np.ndarray:
    """The targets of all rows, in the order of the data set; no random order is drawn, nothing random changed.

    A data set without arrays or ``targets`` has each of its rows read for it.
    """
    dataset = loader.dataset if isinstance(loader, DataLoader) else getattr(loader.source, "dataset", None)
    if dataset is None:
        return np.concatenate([_on_cpu(batch[-1]) for batch in loader])
    state = random.get_state()
    try:
        return targets_of(dataset)
    finally:
        random.set_state(state)


def _is_away(part: Any) -> bool:
    """Whether it is an array or a Tensor on a device."""
    return on_device(part.data if isinstance(part, Tensor) else part)


def _on_cpu(part: Any) -> Any:
    """What lies on a device as an array of the CPU, where batches are made; anything else as it is."""
    return values_of(unwrap(part)) if _is_away(part) else part


def _check_targets(name: str, targets: Any) -> None:
    """Raise TypeError for names of classes, which have to be numbered first."""
    if hasattr(targets, "cat"):
        raise TypeError(
            f"{name}: the targets are categories; number them: y = y.cat.codes (-1 stands for a missing one)"
        )
    array = plain_array(targets)
    if array.dtype.kind in "USO":
        example = array.reshape(-1)[0] if array.size else ""
        raise TypeError(
            f"{name}: the targets are text or objects, such as {str(example)!r}; number the classes: "
            "names, y = np.unique(y, return_inverse=True)"
        )
