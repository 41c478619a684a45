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
            TextColumn("{task.description}"),
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
        self.prior_steps = 0

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

    def begin_prior(self, steps: int, done: int) -> None:
        """The training of the prior begins, or is resumed after some of its steps."""
        self.bar.stop_task(self.task)
        self.task = self.bar.add_task("training the prior", total=steps, completed=done, losses="")
        self.prior_steps = steps
        self.say(f"training the prior in {steps} steps" + (f", resumed after {done}" if done else ""))

    def prior(self, step: int, train: float, validation: float) -> None:
        """A round of the prior's training is done."""
        losses = f"prior, step {step}/{self.prior_steps} · loss {train:.4g} · validation {validation:.4g}"
        self.bar.update(self.task, losses=losses)
        if not self.console.is_terminal:
            self.say(losses)

    def say(self, line: str) -> None:
        """Something that a person should know."""
        if self.shown:
            self.console.print(line, soft_wrap=True, highlight=False, markup=False)
