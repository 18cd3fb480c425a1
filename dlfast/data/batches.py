"""Batches out of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import unwrap


def collate(rows: list) -> Any:
    """A batch out of rows: numbers and arrays are stacked, inside tuples and dictionaries too."""
    first = rows[0]
    if isinstance(first, (tuple, list)):
        return tuple(collate(list(column)) for column in zip(*rows, strict=True))
    if isinstance(first, dict):
        return {key: collate([row[key] for row in rows]) for key in first}
    if isinstance(first, str):
        return np.array(rows)
    arrays = [unwrap(row) for row in rows]
    if len({array.shape for array in arrays}) > 1:
        shapes = ", ".join(map(str, sorted({array.shape for array in arrays})))
        raise ValueError(f"DataLoader: the rows of a batch must have one shape, got {shapes}")
    return np.stack(arrays)


def without_rows(batch: Any) -> Any:
    """A batch of no rows, laid out like this one."""
    if isinstance(batch, (tuple, list)):
        return tuple(without_rows(part) for part in batch)
    if isinstance(batch, dict):
        return {key: without_rows(part) for key, part in batch.items()}
    return batch[:0]


def is_batch(batch: Any, row: Any, count: int) -> bool:
    """Whether a batch has `count` rows laid out like this one."""
    if isinstance(row, (tuple, list)):
        return (
            isinstance(batch, (tuple, list))
            and len(batch) == len(row)
            and all(is_batch(part, of, count) for part, of in zip(batch, row))
        )
    if isinstance(row, dict):
        return isinstance(batch, dict) and all(key in batch and is_batch(batch[key], row[key], count) for key in row)
    return np.shape(batch) == (count, *np.shape(row))
