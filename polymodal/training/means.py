"""Means of the terms of a loss over rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from polymodal.models.base import Loss
from polymodal.runtime import distributed

__all__ = ["Means", "Terms"]


class Terms(NamedTuple):
    """Values of the terms of a loss and, last, of its total, without gradients."""

    names: tuple[str, ...]
    values: Tensor
    """Values, `(T,)`."""

    @classmethod
    def of(cls, loss: Loss) -> Terms:
        """Returns the terms of a loss."""
        terms = {**loss.terms, "total": loss.total}
        return cls(tuple(terms), torch.stack([term.detach() for term in terms.values()]))


class Means:
    """Means of every term of the loss over rows, with a check that they stay finite.

    With several processes, each adds its parts of the batches, and the means are computed over all processes.

    Arguments:
        split: "train" or "validation".
        epoch: Number of the epoch, for messages.
        rows: Number of rows that all processes have already added.
        steps: Number of steps that have already been added.
        every: Number of steps between checks for finite sums, each of which synchronises with a GPU; 1 checks the terms
            of each step.
    """

    def __init__(self, split: str, epoch: int, rows: int = 0, steps: int = 0, *, every: int = 1) -> None:
        self.split, self.epoch, self.rows, self.steps, self.every = split, epoch, rows, steps, every
        self.names: tuple[str, ...] = ()
        self.trouble = ""
        self._sums: Tensor | None = None  # sums over the rows of this process

    @property
    def sums(self) -> dict[str, Tensor]:
        """Sums over the rows of all processes, by name; all processes must read them together."""
        if self._sums is None:
            return {}
        totals = self._sums if distributed.world_size() == 1 else distributed.all_reduce_sum(self._sums).to(self._sums)
        return {name: total.clone() for name, total in zip(self.names, totals, strict=True)}

    @sums.setter
    def sums(self, sums: Mapping[str, Tensor]) -> None:
        own = distributed.rank() == 0  # the sums of all processes must add up to these
        self.names, self._sums = tuple(sums), torch.stack([*sums.values()]) * own if sums else None

    def add(self, terms: Terms, rows: int, counted: float | None = None) -> None:
        """Adds the loss terms of a batch, and sets `trouble` to a message if a check finds a value that is not finite.

        Arguments:
            terms: Loss terms.
            rows: Number of rows of the batch.
            counted: Number of rows that the terms represent; by default all.
        """
        self.steps += 1
        self.rows += rows
        if self._sums is not None and terms.names != self.names:  # an earlier version began the epoch, with fewer terms
            terms = Terms(self.names, torch.stack([terms.values[terms.names.index(name)] for name in self.names]))
        added = terms.values * (rows if counted is None else counted)
        self.names, self._sums = terms.names, added if self._sums is None else self._sums + added
        if self.every == 1:
            self._record_trouble(terms.values, f"step {self.steps}")
        elif self.steps % self.every == 0:
            self.find_trouble()

    def find_trouble(self) -> None:
        """Checks that the sums are finite, and sets `trouble` if not; a sum stays non-finite once it is."""
        if self._sums is not None:
            first = (self.steps - 1) // self.every * self.every + 1
            self._record_trouble(
                self._sums, f"steps {first} to {self.steps}" if first < self.steps else f"step {first}"
            )

    def check(self) -> None:
        """Checks that all sums are finite.

        Raises:
            FloatingPointError: A sum is not finite; the message names the term and the step, or the last steps.
        """
        self.find_trouble()
        if self.trouble:
            raise FloatingPointError(self.trouble)

    def compute(self) -> dict[str, float]:
        """Returns the means by name, such as "train/total".

        Raises:
            FloatingPointError: A sum is not finite; see `check`.
        """
        self.check()
        return {f"{self.split}/{name}": float(total) / self.rows for name, total in self.sums.items()}

    def _record_trouble(self, values: Tensor, where: str) -> None:
        if self.trouble or values[-1].isfinite():
            return
        numbers = zip(self.names, values.tolist(), values.isfinite().tolist(), strict=True)
        wrong = ", ".join(f"{name} is {number}" for name, number, finite in numbers if not finite)
        self.trouble = (
            f"the {self.split} loss must stay finite; in epoch {self.epoch}, {where}, {wrong}; "
            "the model has the best weights before that; lower learning_rate or set clip, and check the values of the "
            "terms that are named here"
        )
