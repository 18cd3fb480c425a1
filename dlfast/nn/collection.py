"""Modules by name, and parameters in a row or by name: all are found by parameters() and state_dict()."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..tensor import ArrayLike, Parameter
from .module import Module


class _Named(Module):
    """Things of one kind by name, as a dictionary has them."""

    _kind: type = Module

    def __init__(self, given: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        self.update({} if given is None else given)

    def _accepted(self, value: Any) -> Any:
        if not isinstance(value, self._kind):
            raise TypeError(f"{type(self).__name__}: every value must be a {self._kind.__name__}, got {value!r}")
        return value

    def _entries_here(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if isinstance(value, self._kind)}

    def __setitem__(self, key: str, value: Any) -> None:
        name = type(self).__name__
        if not isinstance(key, str) or not key or "." in key:
            raise TypeError(f"{name}: keys must be plain strings without dots, got {key!r}")
        if key not in self._entries_here() and hasattr(self, key):
            raise KeyError(f"{name}: {key!r} is the name of one of its methods and cannot be a key")
        setattr(self, key, self._accepted(value))

    def __getitem__(self, key: str) -> Any:
        return self._entries_here()[key]

    def __delitem__(self, key: str) -> None:
        self._entries_here()[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._entries_here())

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries_here())

    def __contains__(self, key: object) -> bool:
        return key in self._entries_here()

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._entries_here().keys()

    def values(self) -> Iterable[Any]:
        """What is under the names."""
        return self._entries_here().values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Pairs of both."""
        return self._entries_here().items()

    def update(self, given: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Take these in."""
        pairs = given.items() if hasattr(given, "items") else given
        for key, value in pairs:
            self[key] = value

    def pop(self, key: str) -> Any:
        """Take out and return one."""
        value = self[key]
        del self[key]
        return value

    def clear(self) -> None:
        """Take all out."""
        for key in list(self):
            del self[key]


class ModuleDict(_Named):
    """A dictionary of modules whose parameters are found; it has no forward."""


class ParameterDict(_Named):
    """A dictionary of parameters that are found; arrays and Tensors become Parameters."""

    _kind = Parameter

    def _accepted(self, value: ArrayLike) -> Parameter:
        return value if isinstance(value, Parameter) else Parameter(value)


class ParameterList(Module):
    """A list of parameters that are found, under the names "0", "1", ...; arrays and Tensors become Parameters."""

    def __init__(self, values: Iterable[ArrayLike] | None = None) -> None:
        self.extend(() if values is None else values)

    def _row(self) -> list[Parameter]:
        return [value for value in vars(self).values() if isinstance(value, Parameter)]

    def append(self, value: ArrayLike) -> ParameterList:
        """Add one at the end. Returns self."""
        setattr(self, str(len(self)), value if isinstance(value, Parameter) else Parameter(value))
        return self

    def extend(self, values: Iterable[ArrayLike]) -> ParameterList:
        """Add several at the end. Returns self."""
        for value in values:
            self.append(value)
        return self

    def __len__(self) -> int:
        return len(self._row())

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._row())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return ParameterList(self._row()[index])
        return self._row()[operator.index(index)]

    def __setitem__(self, index: int, value: ArrayLike) -> None:
        number = range(len(self))[operator.index(index)]
        setattr(self, str(number), value if isinstance(value, Parameter) else Parameter(value))
