"""Tables of numbers and names in CSV files, as arrays that a network can learn from."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import _check as check
from .datasets import ArrayDataset

_MISSING = frozenset(("", "?", "na", "n/a", "nan", "null", "none"))
_DELIMITERS = ",;\t|"
_MOST_NAMES = 100  # of a column: more are most likely numbers of rows, or text
_MOST_CLASSES = 20  # that whole numbers are taken for


@dataclass(frozen=True)
class Column:
    """How a column becomes numbers. ``names``: its different values, none for numbers; ``fill``: for missing values."""

    name: str
    names: tuple[str, ...] = ()
    fill: float | str | None = None


@dataclass(frozen=True)
class TableFormat:
    """How a table becomes arrays, to read the next file as the training's was. ``classes``: none for regression."""

    columns: tuple[Column, ...]
    target: str
    classes: tuple[str, ...]
    one_hot: bool

    def as_dict(self) -> dict[str, Any]:
        """As JSON keeps it; `of_dict` reads it."""
        return asdict(self)

    @classmethod
    def of_dict(cls, kept: dict[str, Any]) -> TableFormat:
        columns = tuple(Column(c["name"], tuple(c["names"]), c["fill"]) for c in kept["columns"])
        return cls(columns, kept["target"], tuple(kept["classes"]), kept["one_hot"])


class Table(ArrayDataset):
    """The rows of a table: x float32 (N, F), and y, if it has a target: int64 (N,) classes, or float32 (N, 1) numbers.

    ``features`` are the names of the F columns of x, ``classes`` those of the classes (none for regression); ``format``
    reads another file in the same way: ``read_csv(path, like=table.format)``.
    """

    def __init__(self, table_format: TableFormat, *arrays: np.ndarray) -> None:
        super().__init__(*arrays)
        self.format = table_format

    @property
    def features(self) -> list[str]:
        found: list[str] = []
        for column in self.format.columns:
            one_hot = self.format.one_hot and column.names
            found += [f"{column.name}={name}" for name in column.names] if one_hot else [column.name]
        return found

    @property
    def classes(self) -> list[str]:
        return list(self.format.classes)


def read_csv(
    path: str | os.PathLike,
    target: str | int | None = None,
    *,
    task: str | None = None,
    categories: str = "one_hot",
    missing: str = "error",
    drop: Iterable[str] = (),
    categorical: Iterable[str] = (),
    like: TableFormat | None = None,
) -> Table:
    """A table of comma-separated values (or semicolons, tabs, bars: what the first line has most of), in UTF-8.

    The first line names the columns if none of its cells is a number; else they are called "0", "1", and so on.

    target       the column to learn, by name or number; None: the last one
    task         "classes" or "regression"; None: names are classes, and so are whole numbers of at most 20 values
    categories   what columns of names become: "one_hot", a 0 or 1 for each name, or "codes", the name's number
    missing      cells that are empty, ?, NA, N/A, NaN, null or None: "error", or "mean": columns of numbers get the
                 mean, columns of names the most frequent name. A target is never filled
    drop         columns to leave out
    categorical  columns of numbers to take for names
    like         the `format` of a table that was read before: its columns, names, fills and classes, whatever the order
                 of columns; a file without the target gives x alone. The other options are left out

    Nothing is scaled: see `transforms.Standardize`. Raises ValueError, which names line and column, for what is no
    number among numbers, for missing and infinite cells and for rows of another length, and OSError for no such file.
    """
    names, rows, lines = _read(Path(path))
    where = _Place(Path(path).name, lines)
    if like is not None:
        return _read_like(where, names, rows, like)
    check.choice("read_csv", "task", task, (None, "classes", "regression"))
    check.choice("read_csv", "categories", categories, ("one_hot", "codes"))
    check.choice("read_csv", "missing", missing, ("error", "mean"))
    dropped, forced = ({_column(names, name) for name in some} for some in (drop, categorical))
    goal = names[-1] if target is None else names[_column(names, target)]
    columns = []
    for i, name in enumerate(names):
        if name != goal and i not in dropped:
            columns.append(_inspect(where, name, [row[i] for row in rows], i in forced, missing == "mean"))
    if not columns:
        raise ValueError(f"read_csv: {where.file} has no columns besides the target {goal!r}")
    classes = _classes(where, goal, [row[names.index(goal)] for row in rows], task)
    return _read_like(where, names, rows, TableFormat(tuple(columns), goal, classes, categories == "one_hot"))


class _Place:
    """Says where in a file something is wrong."""

    def __init__(self, file: str, lines: list[int]) -> None:
        self.file, self.lines = file, lines

    def error(self, row: int, column: str, words: str) -> ValueError:
        return ValueError(f"read_csv: {self.file}, line {self.lines[row]}, column {column!r}: {words}")


def _read(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """The names of the columns, the rows, and the lines they stand in."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            reader = csv.reader(stream, delimiter=max(_DELIMITERS, key=first.count), strict=True)
            found = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except UnicodeDecodeError as error:
        raise ValueError(f"read_csv: {path} is no text in UTF-8: {error}") from error
    except csv.Error as error:
        raise ValueError(f"read_csv: {path}, line {reader.line_num}: {error}") from error
    if not found:
        raise ValueError(f"read_csv: {path} is empty")
    has_names = not any(_number(cell) is not None for cell in found[0][1])
    names = found[0][1] if has_names else [str(i) for i in range(len(found[0][1]))]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"read_csv: {path} has the column {twice[0]!r} twice")
    rows = found[has_names:]
    if not rows:
        raise ValueError(f"read_csv: {path} has names of columns and no rows")
    for line, cells in rows:
        if len(cells) != len(names):
            raise ValueError(f"read_csv: {path.name}, line {line}: {len(cells)} cells, expected {len(names)}")
    return names, [cells for _, cells in rows], [line for line, _ in rows]


def _column(names: list[str], wanted: str | int) -> int:
    """The place of a column that is given by name or number."""
    if isinstance(wanted, int) and not isinstance(wanted, bool) and -len(names) <= wanted < len(names):
        return wanted % len(names)
    if wanted not in names:
        raise ValueError(f"read_csv: there is no column {wanted!r}; there are {', '.join(map(repr, names))}")
    return names.index(str(wanted))


def _inspect(where: _Place, name: str, cells: list[str], is_names: bool, fill: bool) -> Column:
    """What a column holds. Most of its cells being numbers, all must be."""
    present = [cell for cell in cells if not _is_missing(cell)]
    if not present:
        raise ValueError(f"read_csv: {where.file}: column {name!r} holds nothing; leave it out with drop=[{name!r}]")
    numbers = [_number(cell) for cell in present]
    if not is_names and 2 * numbers.count(None) < len(numbers):
        values = [number for number in numbers if number is not None and math.isfinite(number)]
        return Column(name, (), math.fsum(values) / max(1, len(values)) if fill else None)
    counts = Counter(present)
    if len(counts) > _MOST_NAMES:
        raise ValueError(
            f"read_csv: {where.file}: column {name!r} has {len(counts)} different names, more than {_MOST_NAMES}; "
            f"leave it out with drop=[{name!r}]"
        )
    return Column(name, tuple(sorted(counts)), min(counts, key=lambda n: (-counts[n], n)) if fill else None)


def _classes(where: _Place, name: str, cells: list[str], task: str | None) -> tuple[str, ...]:
    """The names of the classes, numbers by size; none for regression."""
    for row, cell in enumerate(cells):
        if _is_missing(cell):
            raise where.error(row, name, "the target is missing; remove the row")
    different = set(cells)
    numbers = {cell: _number(cell) for cell in different}
    if task is None:
        whole = all(number is not None and number.is_integer() for number in numbers.values())
        few = len(different) <= _MOST_CLASSES and whole
        task = "classes" if few or None in numbers.values() else "regression"
    if task == "regression":
        return ()
    if None in numbers.values():
        return tuple(sorted(different))
    return tuple(sorted(different, key=lambda cell: (numbers[cell], cell)))


def _read_like(where: _Place, names: list[str], rows: list[list[str]], wanted: TableFormat) -> Table:
    parts = []
    for column in wanted.columns:
        cells = [row[_column(names, column.name)] for row in rows]
        if not column.names:
            parts.append(_numbers(where, column, cells))
            continue
        codes = _codes(where, column, cells)
        parts.append(np.eye(len(column.names))[codes] if wanted.one_hot else codes[:, None])
    x = np.concatenate(parts, axis=1).astype(np.float32)
    if wanted.target not in names:
        return Table(wanted, x)
    cells = [row[names.index(wanted.target)] for row in rows]
    if wanted.classes:
        return Table(wanted, x, _codes(where, Column(wanted.target, wanted.classes), cells))
    return Table(wanted, x, _numbers(where, Column(wanted.target), cells).astype(np.float32))


def _numbers(where: _Place, column: Column, cells: list[str]) -> np.ndarray:
    """float64 (N, 1)."""
    values = np.empty((len(cells), 1))
    for row, cell in enumerate(cells):
        number = _present(where, column, row, cell) if _is_missing(cell) else _number(cell)
        if number is None:
            raise where.error(row, column.name, f"{cell!r} is no number; names of classes: categorical=[...]")
        if not math.isfinite(number):
            raise where.error(row, column.name, f"{cell!r} is not finite")
        values[row] = number
    return values


def _codes(where: _Place, column: Column, cells: list[str]) -> np.ndarray:
    """The names' numbers, int64 (N,)."""
    numbered = {name: code for code, name in enumerate(column.names)}
    codes = np.empty(len(cells), np.int64)
    for row, cell in enumerate(cells):
        name = _present(where, column, row, cell) if _is_missing(cell) else cell
        if name not in numbered:
            known = ", ".join(map(repr, column.names[:10])) + (", ..." if len(column.names) > 10 else "")
            raise where.error(row, column.name, f"{cell!r} is none of {known}")
        codes[row] = numbered[name]
    return codes


def _present(where: _Place, column: Column, row: int, cell: str) -> Any:
    if column.fill is None:
        raise where.error(row, column.name, f"the value is missing ({cell!r}); fill it, or give missing='mean'")
    return column.fill


def _is_missing(cell: str) -> bool:
    return cell.lower() in _MISSING


def _number(cell: str) -> float | None:
    """The number that a cell holds. Python's 1_000 is none."""
    try:
        return None if "_" in cell or _is_missing(cell) else float(cell)
    except ValueError:
        return None
