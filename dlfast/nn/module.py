"""Module: a layer, or a tree of layers, with its parameters and buffers."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .._arrays import refuse_masked
from .._changes import note
from .._devices import assign, on_cpu, on_device, wanted
from .._tape import forget_gradients
from ..kernels.devices import DeviceArray
from ..kernels.halves import is_half
from ..tensor import Parameter, Tensor
from ._blame import name_layer
from ._conversion import convert
from ._torch_layout import warn_of_layout
from .hooks import Hooks, RemovableHandle, add_hook


class Module:
    """A layer: subclasses set Parameters and Modules as attributes and define `forward`.

    No call of super().__init__() is needed. Parameters, buffers and submodules are found among the attributes in the
    order in which they were set; lists of modules belong in a Sequential or ModuleList.
    """

    training = True
    _hooks: Hooks | None = None
    changes = 0  # to attributes of any module, arrays and Tensors aside: they make plans by structure stale
    _buffer_names: tuple[str, ...] = ()
    _table_names: tuple[str, ...] = ()  # buffers that belong to no state

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if self._hooks is not None:
                return self._hooks.call(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            name_layer(error, self, args)
            raise

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call hook(module, args) before every forward; what it returns, unless None, takes the place of args.

        with_kwargs: hook(module, args, kwargs), which returns None or (args, kwargs). The handle's `remove()` ends it.
        """
        return add_hook(self, "before", hook, prepend, with_kwargs)

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call hook(module, args, output) after every forward; what it returns, unless None, becomes the output.

        with_kwargs: hook(module, args, kwargs, output). The handle's `remove()` ends it. A module with hooks is run by
        itself, where its neighbours in a Sequential would else have taken it over.
        """
        return add_hook(self, "after", hook, prepend, with_kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        old = self.__dict__.get(name)
        if isinstance(old, Parameter) and not isinstance(value, Parameter) and value is not None:
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter, got {type(value).__name__}; "
                f"assign the values with .{name}.data = array"
            )
        object.__setattr__(self, name, value)
        if not isinstance(value, (np.ndarray, Tensor, DeviceArray)):
            Module.changes += 1
        elif isinstance(value, Parameter):
            value._name = f"{type(self).__name__}.{name}"

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        Module.changes += 1

    def register_buffer(self, name: str, array: np.ndarray | None, persistent: bool = True) -> None:
        """Keep an array that is not learned and moves with the module (`to`), such as running statistics.

        It belongs to the state, unless persistent=False: for tables that are made anew with the module.
        """
        setattr(self, name, array)
        if persistent:
            self._buffer_names = (*self._buffer_names, name)
        else:
            self._table_names = (*self._table_names, name)

    # The tree

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules set on this one, with their attribute names, each once."""
        seen: set[int] = set()
        for name, child in self._named():
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def _named(self) -> Iterator[tuple[str, Module]]:
        """The modules set on this one, under each of their names."""
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
        warn_of_hidden(self)
        for name, parameter in self._entries(Parameter):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter of the tree once; a shared one is not repeated."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every buffer of the tree once, with its dotted name."""
        seen: set[int] = set()
        for name, buffer in self._entries(_ARRAYS):
            if id(buffer) not in seen:
                seen.add(id(buffer))
                yield name, buffer

    def buffers(self) -> Iterator[np.ndarray]:
        """Every buffer of the tree."""
        return (buffer for _, buffer in self.named_buffers())

    def _entries(self, kind: type | tuple[type, ...]) -> Iterator[tuple[str, Any]]:
        """Parameters, buffers or both, shared ones under each of their names."""
        for prefix, module in self._places():
            for name, value in vars(module).items():
                if isinstance(value, kind) and (isinstance(value, Parameter) or name in module._buffer_names):
                    yield prefix + name, value

    def _places(self, prefix: str = "", above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Module]]:
        """This module and all below it at each of their places, with what the names in them begin with."""
        yield prefix, self
        for name, child in self._named():
            if child is not self and not any(child is module for module in above):  # such as a link to the parent
                yield from child._places(f"{prefix}{name}.", (*above, self))

    # State

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by dotted name, on the CPU wherever the module lies.

        The names are PyTorch's, the layouts channels last. What is found under several names is there under each.
        """
        warn_of_hidden(self)
        return {name: on_cpu(value.data if isinstance(value, Parameter) else value) for name, value in self._state()}

    def _state(self) -> Iterator[tuple[str, Any]]:
        return self._entries((Parameter, *_ARRAYS))

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> dict[str, list[str]]:
        """Write these values into parameters and buffers, in place, cast to their dtypes and wherever they lie.

        Everything is checked before anything is changed: ValueError lists keys that are missing or unexpected (both
        allowed without `strict`) and shapes that differ, TypeError values that are no numbers.
        Returns {"missing": [...], "unexpected": [...]}.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                "load_state_dict: expected a dictionary of arrays by name, such as model.state_dict() or "
                f"dl.load(path), got {type(state).__name__}"
            )
        warn_of_layout(self, state)
        own = dict(self._state())
        given = {key: _given(key, value) for key, value in state.items()}
        missing, unexpected = [key for key in own if key not in given], [key for key in given if key not in own]
        faults = [f"missing {key}" for key in missing] + [f"unexpected {key}" for key in unexpected] if strict else []
        for key in own.keys() & given.keys():
            if given[key].dtype.kind not in "fiub" and not is_half(given[key].dtype):
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
                assign(array, given[key])
                note(array)
        return {"missing": missing, "unexpected": unexpected}

    # Modes

    def train(self, mode: bool = True) -> Module:
        """Training mode for the whole tree: dropout drops, batch normalisation uses the batch. Returns self."""
        for module in self.modules():
            module.training = bool(mode)
            if mode:
                module.__dict__.pop("_packed", None)  # see packed.py
        return self

    def eval(self) -> Module:
        """Evaluation mode for the whole tree. Returns self."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Whether the parameters learn. Returns self."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or with set_to_none=False fill them with 0."""
        clear_gradients(list(self.parameters()), set_to_none)

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Call the function with every module of the tree, children first. Returns self."""
        for module in reversed(list(self.modules())):
            function(module)
        return self

    def to(
        self, target: Any = None, dtype: Any = None, *, device: Any = None, non_blocking: bool = False
    ) -> Module:  # fmt: skip
        """Move parameters and buffers to a device ("cpu", "cuda", "cuda:1"), cast those of floats to a dtype, or both.

        Parameters stay the same objects, and their gradients move with them; a cast forgets gradients. An optimizer
        that was made before: see its own `to`. Counters, buffers of one integer, stay on the CPU, which counts.
        Returns self. Raises TypeError for a dtype other than float32 and float64 (on a device float16 and bfloat16,
        too), and for a device as `Tensor.to`, before anything is changed.
        """
        convert(self, *wanted("to", target, dtype, device))
        return self

    def float(self) -> Module:
        """Cast to float32. Returns self."""
        return self.to(np.float32)

    def double(self) -> Module:
        """Cast to float64. Returns self."""
        return self.to(np.float64)

    def half(self) -> Module:
        """Cast to float16, on a device. Returns self. To train, leave it in float32 and see `amp.autocast`."""
        return self.to(np.float16)

    def bfloat16(self) -> Module:
        """Cast to bfloat16, on a device. Returns self. Raises ImportError without ml_dtypes."""
        return self.to("bfloat16")

    def cpu(self) -> Module:
        """Move to the CPU. Returns self."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Module:
        """Move to a GPU: the first one, or "cuda:1" or 1 for another. Returns self. Raises as `to`."""
        return self.to("cuda" if device is None else device)

    # Printing

    def extra_repr(self) -> str:
        """The arguments to show between the parentheses."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._named()]
        extra = self.extra_repr()
        if not children:
            return f"{type(self).__name__}({extra})"
        return "\n  ".join([f"{type(self).__name__}({extra}", *children]) + "\n)"


_ARRAYS = (np.ndarray, DeviceArray)


def _given(key: str, value: Any) -> Any:
    """A value for `load_state_dict` as an array."""
    refuse_masked("load_state_dict", key, value)
    array = value.data if isinstance(value, Tensor) else value
    return array if on_device(array) else np.asarray(array)


def clear_gradients(parameters: list, set_to_none: bool) -> None:
    """Forget gradients, or fill them with 0."""
    if set_to_none:
        forget_gradients(parameters)
        return
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad[...] = 0


def warn_of_hidden(root: Module) -> None:
    """Warn where modules or parameters lie in plain lists, tuples or dictionaries, in which nobody looks for them."""
    known: set[int] | None = None
    for name, module in root.named_modules():
        for attribute, value in vars(module).items():
            if type(value) not in (list, tuple, dict) or attribute == "_plan" or not (held := _held(value)):
                continue
            if known is None:
                parts = list(root.modules())
                known = {id(part) for part in (*parts, *(p for part in parts for p in vars(part).values()))}
            if any(id(one) not in known for one in held):
                where = f"{name}.{attribute}" if name else attribute
                kind = "ModuleDict" if isinstance(value, dict) else "ModuleList"
                kind = kind.replace("Module", "Parameter") if isinstance(held[0], Parameter) else kind
                warnings.warn(
                    f"{type(root).__name__}: {where} is a plain {type(value).__name__} of modules or parameters, "
                    f"which parameters() and state_dict() do not find there; keep them in an nn.{kind}",
                    stacklevel=_outside(),
                )


def _held(value: Any) -> list:
    """The modules and parameters in nested lists, tuples and dictionaries."""
    if isinstance(value, (Module, Parameter)):
        return [value]
    if type(value) in (list, tuple):
        return [one for part in value for one in _held(part)]
    return _held(list(value.values())) if type(value) is dict else []


def _outside() -> int:
    """How many calls up, from who asks, the first is that is not of this library."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("dlfast."):
        frame, level = frame.f_back, level + 1
    return level
