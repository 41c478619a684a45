"""Progress display of a study, with an estimate of the remaining time."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from polymodal.runtime.formatting import printable
from polymodal.runtime.progress import format_duration, say

if TYPE_CHECKING:
    from polymodal.studies.grid import Cell

__all__ = ["Board"]


class Board:
    """Progress on stderr: a progress bar on a terminal, else one line per run, with the remaining time.

    The remaining time is estimated from the finished runs: for each waiting run, the mean duration of those with the
    same data set and model, or of all if there is none.

    Arguments:
        runs: Number of runs in the study.
        done: Number of runs that were already finished.
        at_once: Number of runs in parallel.
        shown: Whether to show progress.
    """

    def __init__(self, runs: int, done: int, at_once: int, *, shown: bool) -> None:
        self.runs, self.done, self.before, self.at_once, self.shown = runs, done, done, max(1, at_once), shown
        self.waiting: dict[str, Cell] = {}
        self.took: dict[tuple[str, str], list[float]] = {}
        self.bar: Any = None

    def __enter__(self) -> Board:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

        console = Console(stderr=True)
        if self.shown and self.before:
            say(f"{self.before} of {self.runs} runs are finished already")
        if self.shown and console.is_terminal:
            columns = SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False)
            self.bar = Progress(*columns, console=console, transient=True)
            self.bar.start()
            self.task = self.bar.add_task("", total=self.runs, completed=self.before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def set_waiting(self, cells: Iterable[Cell]) -> None:
        """Sets the runs that are waiting."""
        self.waiting = {cell.name: cell for cell in cells}

    def begin(self, what: str) -> None:
        """Shows the description of the current run."""
        self._show(what)

    def end(self, cell: Cell, failure: str, seconds: float) -> None:
        """Records the end of a run and shows it."""
        self.waiting.pop(cell.name, None)
        self.done += 1
        if not failure:
            self.took.setdefault((cell.dataset, cell.model), []).append(seconds)
        if not self.shown:
            return
        outcome = f"failed: {failure}" if failure else f"in {format_duration(seconds)}"
        line = f"{self.done}/{self.runs} {cell}: {outcome}"
        if self.bar is None:
            say(f"{line}{self._format_time_left()}")
            return
        if failure:
            self.bar.console.print(printable(line), soft_wrap=True, highlight=False, markup=False)
        self.bar.update(self.task, completed=self.done)
        self._show("")

    def _show(self, what: str) -> None:
        if self.bar is not None:
            self.bar.update(self.task, description=printable(f"{what}{self._format_time_left()}"))

    def _format_time_left(self) -> str:
        every = [seconds for taken in self.took.values() for seconds in taken]
        if not every or not self.waiting:
            return ""
        alike = [self.took.get((cell.dataset, cell.model), every) for cell in self.waiting.values()]
        seconds = sum(sum(taken) / len(taken) for taken in alike)
        return f"; about {format_duration(seconds / min(self.at_once, len(self.waiting)))} left"
