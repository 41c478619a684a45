"""What a person sees while a model trains."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["TrainingProgress"]


class TrainingProgress:
    """A bar with losses and the time left on a terminal, a line per epoch elsewhere, nothing if not wanted.

    Arguments:
        epochs: Their number.
        steps: Steps per epoch.
        shown: Whether to show anything.
    """

    def __init__(self, epochs: int, steps: int, *, shown: bool) -> None:
        self.epochs, self.steps, self.shown = epochs, steps, shown
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (shown and self.console.is_terminal),
            refresh_per_second=4,
        )
        self.task = self.bar.add_task("training", total=epochs * steps, losses="")

    def __enter__(self) -> TrainingProgress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def resume(self, epoch: int, step: int) -> None:
        """A run goes on within an epoch, after so many of its steps."""
        self.bar.update(self.task, completed=(epoch - 1) * self.steps + step)
        self.say(f"going on in epoch {epoch}/{self.epochs}, after {step} of its {self.steps} steps")

    def step(self) -> None:
        """One step is done."""
        self.bar.advance(self.task)

    def epoch(self, epoch: int, train: float, validation: float, *, best: bool) -> None:
        """One epoch is done."""
        losses = f"epoch {epoch}/{self.epochs} · loss {train:.4g} · validation {validation:.4g}"
        self.bar.update(self.task, losses=losses)
        if not self.console.is_terminal:
            self.say(losses + (" (best)" if best else ""))

    def say(self, line: str) -> None:
        """Something that a person should know."""
        if self.shown:
            self.console.print(line, soft_wrap=True, highlight=False)
