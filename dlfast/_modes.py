"""Whether operations are recorded: no_grad, enable_grad, set_grad_enabled and inference_mode, as in PyTorch."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from ._tape import is_recording, set_recording

F = TypeVar("F", bound=Callable)


class _Mode:
    """A context manager, and a decorator of functions, generators and coroutines; it holds for one thread.

    A decorated generator or coroutine is in the mode while its own lines run, its caller's lines are not.
    """

    _recording = False
    _before: list[bool]

    def __new__(cls, function: Any = None) -> Any:
        mode = super().__new__(cls)
        mode._before = []
        return mode if function is None else mode(function)  # a bare decorator: @no_grad

    def __enter__(self) -> None:
        self._before.append(is_recording())
        set_recording(self._recording)

    def __exit__(self, *exception: object) -> None:
        set_recording(self._before.pop())

    def _again(self) -> _Mode:
        return type(self)()

    def __call__(self, function: F) -> F:
        name = type(self).__name__
        if isinstance(function, type) or not callable(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{name}: decorate a function or a method, not {function!r}; or write `with {name}(): ...`")
        if inspect.isgeneratorfunction(function):
            return self._wrapped(function, lambda *args, **kwargs: self._steps(function(*args, **kwargs)))
        if inspect.iscoroutinefunction(function):
            steps = types.coroutine(self._steps)

            async def awaiting(*args: Any, **kwargs: Any) -> Any:
                return await steps(function(*args, **kwargs))

            return self._wrapped(function, awaiting)

        def within(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return self._wrapped(function, within)

    @staticmethod
    def _wrapped(function: F, wrapper: Any) -> F:
        wrapped: Any = functools.update_wrapper(wrapper, function)
        return wrapped

    def _steps(self, inner: Any) -> Generator:
        """Run a generator or coroutine in the mode, from one yield to the next."""
        advance: Callable = lambda: inner.send(None)  # noqa: E731
        try:
            while True:
                with self._again():
                    value = advance()
                try:
                    sent = yield value
                    advance = functools.partial(inner.send, sent)
                except GeneratorExit:
                    with self._again():
                        inner.close()
                    raise
                except BaseException as error:
                    advance = functools.partial(inner.throw, error)
        except StopIteration as stop:
            return stop.value


class no_grad(_Mode):
    """Stop recording in this thread: `with no_grad(): ...`, `@no_grad()` or `@no_grad`."""


class enable_grad(_Mode):
    """Record in this thread, inside a `no_grad` too: `with enable_grad(): ...`, `@enable_grad()` or `@enable_grad`."""

    _recording = True


class set_grad_enabled(_Mode):
    """Record in this thread, or do not, from now on or for the length of a `with`: `set_grad_enabled(False)`."""

    def __new__(cls, mode: bool) -> Any:
        return super().__new__(cls)

    def __init__(self, mode: bool) -> None:
        self._recording = bool(mode)
        self._outside = is_recording()
        set_recording(self._recording)

    def __enter__(self) -> None:
        self._before.append(self._outside)
        set_recording(self._recording)

    def __call__(self, function: F) -> F:
        set_recording(self._outside)
        return super().__call__(function)

    def _again(self) -> _Mode:
        return (enable_grad if self._recording else no_grad)()


class inference_mode(_Mode):
    """`no_grad` under PyTorch's other name; `inference_mode(False)` changes nothing."""

    _mode = True

    def __new__(cls, mode: Any = True) -> Any:
        return super().__new__(cls, mode if callable(mode) else None)

    def __init__(self, mode: Any = True) -> None:
        self._mode = bool(mode)

    def __enter__(self) -> None:
        self._before.append(is_recording())
        if self._mode:
            set_recording(False)

    def _again(self) -> _Mode:
        return inference_mode(self._mode)


def is_grad_enabled() -> bool:
    """Whether operations in this thread are recorded."""
    return is_recording()
