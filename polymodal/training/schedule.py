"""Learning rate schedules."""

from __future__ import annotations

from collections.abc import Iterable
from math import cos, pi
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

__all__ = ["Kind", "Schedule"]

Kind = Literal["constant", "cosine", "plateau"]

FACTOR, EPOCHS = 0.5, 5


class Schedule:
    """Sets the learning rate of an optimiser before each update and after each epoch.

    Let r be the peak learning rate, u the number of the update (from 0), w the number of updates of the linear warm-up
    and n the number of all updates. The rate of update u is

        r (u + 1) / w                                  if u < w
        r                                              otherwise, for "constant"
        r (1 + cos(pi (u - w) / (n - w))) / 2          otherwise, for "cosine"

    "plateau" halves the rate when the validation loss has not fallen for more than 5 epochs. The rate depends only on u
    and the validation losses, so the schedule has no other state to save.

    Arguments:
        optimizer: Optimiser whose learning rate is set.
        kind: "constant", "cosine" or "plateau".
        warmup: Number of warm-up updates w.
        updates: Number of all updates n.

    Source: cosine: Loshchilov and Hutter (2017), Eq. 5, without restarts.

    Example:
        >>> import torch
        >>> adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.4)
        >>> schedule = Schedule(adam, "cosine", warmup=2, updates=6)
        >>> [round(schedule.set_rate(update), 3) for update in range(6)]
        [0.2, 0.4, 0.4, 0.341, 0.2, 0.059]
    """

    def __init__(self, optimizer: Optimizer, kind: Kind, warmup: int, updates: int) -> None:
        self.optimizer, self.kind, self.warmup, self.updates = optimizer, kind, warmup, updates
        self.peak = float(optimizer.param_groups[0]["lr"])
        self.plateau = None
        if kind == "plateau":
            self.plateau = ReduceLROnPlateau(optimizer, factor=FACTOR, patience=EPOCHS, threshold=0.0, eps=0.0)

    def set_rate(self, update: int) -> float:
        """Sets and returns the learning rate of an update."""
        if self.plateau is None:
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate(update)
        return float(self.optimizer.param_groups[0]["lr"])

    def add_losses(self, losses: Iterable[float]) -> None:
        """Updates the "plateau" schedule with the validation losses of epochs, in order."""
        if self.plateau is not None:
            for loss in losses:
                self.plateau.step(loss)

    def _rate(self, update: int) -> float:
        if update < self.warmup:
            return self.peak * (update + 1) / self.warmup
        if self.kind == "constant":
            return self.peak
        return self.peak * (1 + cos(pi * (update - self.warmup) / (self.updates - self.warmup))) / 2
