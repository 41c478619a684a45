"""Progress display during training."""

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
    """Progress display: a bar with losses and remaining time on a terminal, one line per epoch elsewhere.

    Arguments:
        epochs: Number of epochs.
        steps: Number of steps per epoch.
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

    def show_resumed(self, epoch: int, step: int) -> None:
        """Shows that a run is resumed in an epoch, after a number of its steps."""
        self.bar.update(self.task, completed=(epoch - 1) * self.steps + step)
        self.say(f"resuming in epoch {epoch}/{self.epochs}, after {step} of its {self.steps} steps")

    def advance(self) -> None:
        """Advances the bar by one step."""
        self.bar.advance(self.task)

    def show_epoch(self, epoch: int, train: float, validation: float, *, best: bool) -> None:
        """Shows the losses at the end of an epoch."""
        losses = f"epoch {epoch}/{self.epochs} · loss {train:.4g} · validation {validation:.4g}"
        self.bar.update(self.task, losses=losses)
        if not self.console.is_terminal:
            self.say(losses + (" (best)" if best else ""))

    def begin_prior(self, steps: int, done: int) -> None:
        """Shows that the training of the prior starts, or is resumed after a number of its steps."""
        self.bar.stop_task(self.task)
        self.task = self.bar.add_task("training the prior", total=steps, completed=done, losses="")
        self.prior_steps = steps
        self.say(f"training the prior in {steps} steps" + (f", resumed after {done}" if done else ""))

    def show_prior_round(self, step: int, train: float, validation: float) -> None:
        """Shows the losses at the end of a round of the prior's training."""
        losses = f"prior, step {step}/{self.prior_steps} · loss {train:.4g} · validation {validation:.4g}"
        self.bar.update(self.task, losses=losses)
        if not self.console.is_terminal:
            self.say(losses)

    def say(self, line: str) -> None:
        """Prints a line on stderr, if the display is shown."""
        if self.shown:
            self.console.print(line, soft_wrap=True, highlight=False, markup=False)
