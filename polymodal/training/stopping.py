"""Stopping training between two steps after Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from polymodal.runtime import distributed
from polymodal.training.means import Means

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
        return f"{self.where}; to resume, call fit with the same arguments, folder={str(self.folder)!r} and resume=True"


class Stop:
    """Context manager that records the first Ctrl-C or SIGTERM instead of stopping; a second one stops at once.

    Signals that the process ignores stay ignored. Outside the main thread, Python cannot catch signals, and nothing is
    caught.

    Arguments:
        caught: Whether to catch the signals.

    Attributes:
        signal: The signal that was caught; None before.

    Example:
        >>> import os
        >>> with Stop(caught=True) as stop:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     print(stop.signal == signal.SIGTERM)
        True
    """

    def __init__(self, *, caught: bool) -> None:
        self.signal: int | None = None
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

    def is_requested(self, means: Means | None = None) -> bool:
        """Returns whether any process was asked to stop; all processes must call it.

        Arguments:
            means: Means of the loss terms, whose check for finite values is shared by all processes.

        Raises:
            FloatingPointError: The loss is not finite in one of the processes.
        """
        number, trouble = distributed.all_reduce_max(self.signal or 0, bool(means and means.trouble))
        if means and trouble:
            with distributed.share_errors():
                means.check()
        self.signal = number or self.signal
        return bool(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self.__exit__(None, None, None)
