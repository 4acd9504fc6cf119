"""Ctrl-C and SIGTERM for commands that end what they are at: the first one is noted, a second one waits for nothing."""

import signal
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
#: What shells say about a process that ended on a signal.
_SIGNALLED: Final = 128


class Interrupted(Exception):
    """The command was told to stop."""


class Interruption:
    """Notes signals while its ``with`` block runs."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def noted(self) -> bool:
        """Tells whether the command is to stop."""
        return self._number is not None

    def check(self) -> None:
        """Raises `Interrupted` when the command is to stop."""
        if self._number is not None:
            raise Interrupted

    @property
    def status(self) -> int:
        """The exit status of a command that was stopped."""
        return _SIGNALLED + (self._number or signal.SIGINT)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._number is not None:
            raise KeyboardInterrupt
        self._number = number
