"""Forward hooks: functions that are called before and after a module's forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Hooks:
    """The hooks of one module: `before` and `after` hold pairs (hook, with_kwargs) in the order of their calls."""

    def __init__(self) -> None:
        self.before: list[tuple[Callable, bool]] = []
        self.after: list[tuple[Callable, bool]] = []

    def call(self, module: Any, args: tuple, kwargs: dict) -> Any:
        for hook, with_kwargs in tuple(self.before):
            if with_kwargs:
                result = hook(module, args, kwargs)
                args, kwargs = (args, kwargs) if result is None else result
            elif (result := hook(module, args)) is not None:
                args = result if isinstance(result, tuple) else (result,)
        output = module.forward(*args, **kwargs)
        for hook, with_kwargs in tuple(self.after):
            result = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
            output = output if result is None else result
        return output


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook away again, and so does leaving a `with`."""

    def __init__(self, module: Any, kind: str, entry: tuple[Callable, bool]) -> None:
        self._module, self._kind, self._entry = module, kind, entry

    def remove(self) -> None:
        """Take the hook away; once more does nothing."""
        hooks = self._module._hooks
        if hooks is None:
            return
        kept = [entry for entry in getattr(hooks, self._kind) if entry is not self._entry]
        setattr(hooks, self._kind, kept)
        if not hooks.before and not hooks.after:
            self._module._hooks = None

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def add_hook(module: Any, kind: str, hook: Callable, prepend: bool, with_kwargs: bool) -> RemovableHandle:
    """Register a hook on a module. TypeError for what cannot be called."""
    if not callable(hook):
        raise TypeError(f"{type(module).__name__}: a hook must be a function, got {hook!r}")
    if module._hooks is None:
        module._hooks = Hooks()  # through Module.__setattr__: plans that took the module over are made anew
    entry = (hook, bool(with_kwargs))
    entries = getattr(module._hooks, kind)
    entries.insert(0 if prepend else len(entries), entry)
    return RemovableHandle(module, kind, entry)
