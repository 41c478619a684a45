"""Stopping training between two steps after Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Stop", "Stopped"]


class Stopped(KeyboardInterrupt):
    """Raised when training has stopped on request, at a point from which it can be resumed.

    Arguments:
        where: Sentence that describes the point at which training stopped.
        folder: Run folder.
        signal: Signal that requested the stop: `signal.SIGINT` (Ctrl-C) or `signal.SIGTERM`.
    """

    def __init__(self, where: str, folder: Path | None, signal: int) -> None:
        super().__init__(where, folder, signal)
        self.where, self.folder, self.signal = where, folder, signal

    def __str__(self) -> str:
        return f"{self.where}; to go on, call fit with the same arguments, folder={str(self.folder)!r} and resume=True"


class Stop:
    """Context manager that records the first Ctrl-C or SIGTERM instead of stopping; a second one stops at once.

    Signals that the process ignores stay ignored. Outside the main thread, Python cannot catch signals, and nothing is
    caught.

    Arguments:
        caught: Whether to catch the signals.

    Example:
        >>> import os
        >>> with Stop(caught=True) as stop:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     print(stop.asked == signal.SIGTERM)
        True
    """

    def __init__(self, *, caught: bool) -> None:
        self.asked: int | None = None
        self._caught = caught and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM) if self._caught else ():
            if (before := signal.getsignal(number)) not in (signal.SIG_IGN, None):
                self._before[number] = before
                signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        self.__exit__(None, None, None)
