"""Module: a layer, or a tree of layers, with its parameters and buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import _check as check
from .._tape import forget_gradients
from ..tensor import Parameter, Tensor
from ._blame import name_layer


class Module:
    """A layer: subclasses set Parameters and Modules as attributes and define `forward`.

    No call of super().__init__() is needed. Parameters, buffers and submodules are found among the attributes in the
    order in which they were set; lists of modules belong in a Sequential or ModuleList.
    """

    training = True
    changes = 0  # to attributes of any module, arrays and Tensors aside: they make plans by structure stale
    _buffer_names: tuple[str, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.forward(*args, **kwargs)
        except Exception as error:
            name_layer(error, self)
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        old = self.__dict__.get(name)
        if isinstance(old, Parameter) and not isinstance(value, Parameter) and value is not None:
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter, got {type(value).__name__}; "
                f"assign the values with .{name}.data = array"
            )
        object.__setattr__(self, name, value)
        if not isinstance(value, (np.ndarray, Tensor)):
            Module.changes += 1

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        Module.changes += 1

    def register_buffer(self, name: str, array: np.ndarray | None) -> None:
        """Keep an array that belongs to the state but is not learned, such as running statistics."""
        setattr(self, name, array)
        self._buffer_names = (*self._buffer_names, name)

    # The tree

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules set on this one, with their attribute names."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """The modules set on this one."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, each once, with dotted names; its own is the prefix."""
        seen: set[int] = set()
        stack = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module
                children = [(f"{name}.{key}" if name else key, child) for key, child in module.named_children()]
                stack.extend(reversed(children))

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter of the tree once, with its dotted name."""
        seen: set[int] = set()
        for name, parameter in self._entries(Parameter):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter of the tree once; a shared one is not repeated."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every buffer of the tree, with its dotted name."""
        return self._entries(np.ndarray)

    def buffers(self) -> Iterator[np.ndarray]:
        """Every buffer of the tree."""
        return (buffer for _, buffer in self.named_buffers())

    def _entries(self, kind: type | tuple[type, ...]) -> Iterator[tuple[str, Any]]:
        """Parameters, buffers or both, shared ones under each of their names."""
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, kind) and (isinstance(value, Parameter) or name in module._buffer_names):
                    yield (f"{prefix}.{name}" if prefix else name), value

    # State

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by dotted name; the names are PyTorch's, the layouts channels last."""
        return {name: np.array(value.data if isinstance(value, Parameter) else value) for name, value in self._state()}

    def _state(self) -> Iterator[tuple[str, Any]]:
        return self._entries((Parameter, np.ndarray))

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> dict[str, list[str]]:
        """Write these values into parameters and buffers, in place and cast to their dtypes.

        Everything is checked before anything is changed: ValueError lists keys that are missing or unexpected (both
        allowed without `strict`) and shapes that differ, TypeError values that are no numbers.
        Returns {"missing": [...], "unexpected": [...]}.
        """
        own = dict(self._state())
        given = {key: np.asarray(value.data if isinstance(value, Tensor) else value) for key, value in state.items()}
        missing, unexpected = [key for key in own if key not in given], [key for key in given if key not in own]
        faults = [f"missing {key}" for key in missing] + [f"unexpected {key}" for key in unexpected] if strict else []
        for key in own.keys() & given.keys():
            if given[key].dtype.kind not in "fiub":
                raise TypeError(f"load_state_dict: {key} must be an array of numbers, got dtype {given[key].dtype}")
        faults += [
            f"{key} must have shape {value.shape}, got {given[key].shape}"
            for key, value in own.items()
            if key in given and given[key].shape != value.shape
        ]
        if faults:
            raise ValueError(f"load_state_dict: {type(self).__name__} does not fit: " + "; ".join(faults))
        for key, value in own.items():
            if key in given:
                array = value.data if isinstance(value, Parameter) else value
                array[...] = given[key]
        return {"missing": missing, "unexpected": unexpected}

    # Modes

    def train(self, mode: bool = True) -> Module:
        """Training mode for the whole tree: dropout drops, batch normalisation uses the batch. Returns self."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Module:
        """Evaluation mode for the whole tree. Returns self."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Whether the parameters learn. Returns self."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        forget_gradients(list(self.parameters()))

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Call the function with every module of the tree, children first. Returns self."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    def to(self, target: Any) -> Module:
        """Cast float parameters and buffers to a dtype (float32 or float64), or stay on the "cpu". Returns self.

        Gradients are forgotten by a cast; make the optimizer afterwards.
        """
        if isinstance(target, str) and target == "cpu":
            return self
        if isinstance(target, str) and target.partition(":")[0] in ("cuda", "gpu", "mps"):
            raise ValueError(f"to: device must be 'cpu', got {target!r}; this version computes on CPUs only")
        dtype = np.dtype(target)
        if dtype not in check.FLOATS:
            raise TypeError(f"to: dtype must be float32 or float64, got {dtype}")
        for module in self.modules():
            for name, value in list(vars(module).items()):
                if isinstance(value, Parameter) and value.dtype != dtype:
                    value._rebind(value.data.astype(dtype))
                elif name in module._buffer_names and value is not None and value.dtype.kind == "f":
                    setattr(module, name, value.astype(dtype))
        return self

    # Printing

    def extra_repr(self) -> str:
        """The arguments to show between the parentheses."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        extra = self.extra_repr()
        if not children:
            return f"{type(self).__name__}({extra})"
        return "\n  ".join([f"{type(self).__name__}({extra}", *children]) + "\n)"
