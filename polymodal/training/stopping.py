"""Ctrl-C and SIGTERM, met between two steps."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Stop", "Stopped"]


class Stopped(KeyboardInterrupt):
    """Training was asked to stop, and did, at a point from which it can be resumed.

    Arguments:
        where: Where it stands, in a sentence.
        folder: Of the run.
        signal: What asked for it: `signal.SIGINT` (Ctrl-C) or `signal.SIGTERM`.
    """

    def __init__(self, where: str, folder: Path | None, signal: int) -> None:
        super().__init__(where, folder, signal)
        self.where, self.folder, self.signal = where, folder, signal

    def __str__(self) -> str:
        return f"{self.where}; to go on, call fit with the same arguments, folder={str(self.folder)!r} and resume=True"


class Stop:
    """Notes that Ctrl-C or SIGTERM has come, in place of breaking off; a second one breaks off at once.

    Signals that the process ignores stay ignored; outside of the main thread, where Python cannot catch
    signals, nothing is caught.

    Arguments:
        caught: Whether to catch them at all.

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
