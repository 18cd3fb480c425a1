"""Ctrl-C while a training changes things waits until they are whole."""

from __future__ import annotations

import signal
import threading


class Interrupts:
    """Ctrl-C while weights, history or files change waits until they are whole.

    Only in the main thread, where signals arrive, and only where Python's own handler is in place.
    together: of several ranks, which must end at the same batch: Ctrl-C waits until they tell each other.
    """

    def __init__(self, together: bool = False):
        self._together = together
        self.holding = self.waiting = False
        self._held = _Held(self)

    def __enter__(self) -> Interrupts:
        main = threading.current_thread() is threading.main_thread()
        self._installed = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number, frame) -> None:
        if not (self.holding or self._together):
            raise KeyboardInterrupt
        self.waiting = True

    def held(self) -> _Held:
        """A context in which Ctrl-C waits for its end."""
        return self._held


class _Held:
    """No generator: training enters it with every batch."""

    def __init__(self, interrupts: Interrupts):
        self._interrupts = interrupts

    def __enter__(self) -> None:
        self._interrupts.holding = True

    def __exit__(self, kind, error, trace) -> None:
        self._interrupts.holding = False
        if self._interrupts.waiting and kind is None and not self._interrupts._together:
            self._interrupts.waiting = False
            raise KeyboardInterrupt
