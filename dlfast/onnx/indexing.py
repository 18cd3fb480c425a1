"""Parts of recorded arrays, read and written: x[index] and x[index] = value."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import ALL, Graph
from .recording import Recorded, depends, name_of, values_of


def _whole_index(x: Recorded, index: Any) -> list[Any]:
    """The index with an entry for every axis, and None for those that are new."""
    parts = list(index) if isinstance(index, tuple) else [index]
    used = sum(part is not None and part is not Ellipsis for part in parts)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = [slice(None)] * (x.ndim - used)
    return parts


def _is_number(part: Any) -> bool:
    return isinstance(part, (int, np.integer)) and not isinstance(part, (bool, np.bool_))


def getitem(x: Recorded, index: Any) -> Recorded:
    """x[index] for integers, slices, new axes, and one array of integers."""
    parts = values_of(index if isinstance(index, tuple) else (index,))
    values = x.values[parts]
    if not depends(x, *(index if isinstance(index, tuple) else (index,))):
        constant = Recorded(x.device, values)
        if all(part is None or isinstance(part, slice) for part in parts):
            constant.origin = x, index
        return constant
    whole = _whole_index(x, index)
    arrays = [part for part in whole if part is not None and not _is_number(part) and not isinstance(part, slice)]
    if len(arrays) > 1 or any(values_of(part).dtype.kind not in "iu" for part in arrays if hasattr(part, "dtype")):
        raise TypeError("export: an index may hold integers, slices and one array of integers, no masks")
    return Recorded(x.device, values, part_of(x.device.graph, x, index))


def part_of(g: Graph, x: Recorded, index: Any) -> str:
    """The nodes that take x[index]."""
    name, parts = name_of(g, x), _whole_index(x, index)
    starts: list[int] = []
    stops: list[int] = []
    axes: list[int] = []
    steps: list[int] = []
    dropped: list[int] = []
    new: list[int] = []
    gathered, axis = None, 0
    for place, part in enumerate(parts):
        if part is None:
            new.append(place - len(dropped))
            continue
        if _is_number(part):
            _add_slice(slice(int(part), int(part) + 1 if part != -1 else None), axis, starts, stops, axes, steps)
            dropped.append(axis)
        elif isinstance(part, slice):
            _add_slice(part, axis, starts, stops, axes, steps)
        else:
            gathered = axis, part
        axis += 1
    if axes:
        ends = g.sizes(starts), g.sizes(stops)
        name = g.add("Slice", [name, *ends, g.numbers(*axes), *([g.numbers(*steps)] if set(steps) != {1} else [])])
    if gathered is not None:
        name = g.add("Gather", [name, name_of(g, gathered[1], np.int64)], axis=gathered[0])
    if dropped:
        name = g.add("Squeeze", [name, g.numbers(*dropped)])
    return g.add("Unsqueeze", [name, g.numbers(*new)]) if new else name


def _add_slice(part: slice, axis: int, starts: list, stops: list, axes: list, steps: list) -> None:
    step = 1 if part.step is None else int(part.step)
    if part.start is None and part.stop is None and step == 1:
        return
    first, last = (0, ALL) if step > 0 else (ALL, -ALL)
    starts.append(first if part.start is None else int(part.start))
    stops.append(last if part.stop is None else int(part.stop))
    axes.append(axis)
    steps.append(step)


def setitem(x: Recorded, index: Any, value: Any) -> None:
    """x[index] = value for integers and slices of step 1; x is another result of the graph from then on."""
    parts = _whole_index(x, index)
    before = x.values
    x.values, x.origin = before.copy(), None
    x.values[values_of(index)] = values_of(value)
    if not depends(x, value):
        return
    if any(not _is_number(part) and not (isinstance(part, slice) and part.step in (None, 1)) for part in parts):
        raise TypeError("export: what is assigned to may be chosen by integers and slices of step 1 only")
    box = [_bounds(part, n) for part, n in zip(parts, before.shape, strict=True)]
    inner = tuple(end - start for start, end in box)
    g = x.device.graph
    shape = [1 if _is_number(part) else n for part, n in zip(parts, inner)]
    filling = _shaped(g, value, tuple(shape), before.dtype)
    uniform = x.name is None and (before.size == 0 or bool((before == before.flat[0]).all()))
    if inner == before.shape:
        x.name = filling
    elif uniform:
        sides = [start for start, _ in box] + [n - end for (_, end), n in zip(box, before.shape)]
        x.name = g.add("Pad", [filling, g.sizes(sides), g.scalar(before.flat[0], before.dtype)])
    else:
        x.name = _replaced(g, name_of(g, Recorded(x.device, before, x.name)), before.shape, box, filling)


def _bounds(part: Any, n: int) -> tuple[int, int]:
    if _is_number(part):
        return int(part) % n, int(part) % n + 1
    start, stop, _ = part.indices(n)
    return start, max(start, stop)


def _shaped(g: Graph, value: Any, shape: tuple[int, ...], dtype: Any) -> str:
    """The value as large as the box that it fills."""
    name, given = name_of(g, value, dtype), np.shape(values_of(value))
    if given == shape:
        return name
    if len(given) < len(shape) and np.prod(given) == np.prod(shape):
        return g.reshape(name, shape)
    return g.add("Expand", [name, g.sizes(shape)])


def _replaced(g: Graph, whole: str, shape: tuple[int, ...], box: list[tuple[int, int]], filling: str) -> str:
    """The whole with a box of it filled: axis by axis, what is before, the part, and what is behind."""
    axis = next((i for i, ((start, end), n) in enumerate(zip(box, shape)) if (start, end) != (0, n)), None)
    if axis is None:
        return filling
    start, end = box[axis]
    part = g.slice(whole, axis, start, end)
    inner = (*shape[:axis], end - start, *shape[axis + 1 :])
    box = [*box[:axis], (0, end - start), *box[axis + 1 :]]
    pieces = [g.slice(whole, axis, 0, start)] if start else []
    pieces.append(_replaced(g, part, inner, box, filling))
    pieces += [g.slice(whole, axis, end, ALL)] if end < shape[axis] else []
    return pieces[0] if len(pieces) == 1 else g.add("Concat", pieces, axis=axis)
