"""Means of the terms of a loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from polymodal.models.base import Loss
from polymodal.runtime import distributed

__all__ = ["Means", "Terms"]


class Terms(NamedTuple):
    """What a loss came to: its terms and, last, its total, without gradients."""

    names: tuple[str, ...]
    values: Tensor
    """`(T,)`."""

    @classmethod
    def of(cls, loss: Loss) -> Terms:
        """Those of a loss."""
        terms = {**loss.terms, "total": loss.total}
        return cls(tuple(terms), torch.stack([term.detach() for term in terms.values()]))


class Means:
    """Means over rows of every term of the loss, which must stay finite.

    Several processes add the parts of the batches that they have, and make the means together.

    Arguments:
        split: "train" or "validation".
        epoch: For messages.
        rows: How many rows are added already, by all processes.
        steps: How many steps.
        every: After how many steps the sums are looked at, for which a GPU must be waited for; 1 looks at each step.
    """

    def __init__(self, split: str, epoch: int, rows: int = 0, steps: int = 0, *, every: int = 1) -> None:
        self.split, self.epoch, self.rows, self.steps, self.every = split, epoch, rows, steps, every
        self.names: tuple[str, ...] = ()
        self.trouble = ""
        self._sums: Tensor | None = None  # of this process

    @property
    def sums(self) -> dict[str, Tensor]:
        """Over the rows of all processes, by name; to be asked for in all of them."""
        if self._sums is None:
            return {}
        totals = self._sums if distributed.world() == 1 else distributed.sums(self._sums).to(self._sums)
        return {name: total.clone() for name, total in zip(self.names, totals, strict=True)}

    @sums.setter
    def sums(self, sums: Mapping[str, Tensor]) -> None:
        own = distributed.rank() == 0  # so that the processes' sums add up to these
        self.names, self._sums = tuple(sums), torch.stack([*sums.values()]) * own if sums else None

    def add(self, terms: Terms, rows: int, counted: float | None = None) -> None:
        """Adds the terms of the loss on a batch; `trouble` says where it was looked at and is not finite.

        Arguments:
            terms: Of the loss.
            rows: Of the batch.
            counted: For how many of them the terms stand; by default for all.
        """
        self.steps += 1
        self.rows += rows
        if self._sums is not None and terms.names != self.names:  # an earlier version began this epoch, with fewer
            terms = Terms(self.names, torch.stack([terms.values[terms.names.index(name)] for name in self.names]))
        added = terms.values * (rows if counted is None else counted)
        self.names, self._sums = terms.names, added if self._sums is None else self._sums + added
        if self.every == 1:
            self._look(terms.values, f"step {self.steps}")
        elif self.steps % self.every == 0:
            self.look()

    def look(self) -> None:
        """Looks at the sums, in which a number that is not finite stays, and notes it as `trouble`."""
        if self._sums is not None:
            first = (self.steps - 1) // self.every * self.every + 1
            self._look(self._sums, f"steps {first} to {self.steps}" if first < self.steps else f"step {first}")

    def check(self) -> None:
        """Looks at the sums, and refuses to go on where a number is not finite.

        Raises:
            FloatingPointError: Names the term and the step, or the last steps.
        """
        self.look()
        if self.trouble:
            raise FloatingPointError(self.trouble)

    def compute(self) -> dict[str, float]:
        """The means by name, such as "train/total".

        Raises:
            FloatingPointError: As in `check`.
        """
        self.check()
        return {f"{self.split}/{name}": float(total) / self.rows for name, total in self.sums.items()}

    def _look(self, values: Tensor, where: str) -> None:
        if self.trouble or values[-1].isfinite():
            return
        numbers = zip(self.names, values.tolist(), values.isfinite().tolist(), strict=True)
        wrong = ", ".join(f"{name} is {number}" for name, number, finite in numbers if not finite)
        self.trouble = (
            f"the {self.split} loss must stay finite; in epoch {self.epoch}, {where}, {wrong}; "
            "the model keeps its best weights until then; lower learning_rate or set clip, and look at the values "
            "of what is named here"
        )
