"""Means of the terms of a loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from polymodal.models.base import Loss

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

    Arguments:
        split: "train" or "validation".
        epoch: For messages.
        rows: How many rows are added already.
        steps: How many steps.
        every: After how many steps the sums are looked at, for which a GPU must be waited for; 1 looks at each step.
    """

    def __init__(self, split: str, epoch: int, rows: int = 0, steps: int = 0, *, every: int = 1) -> None:
        self.split, self.epoch, self.rows, self.steps, self.every = split, epoch, rows, steps, every
        self.names: tuple[str, ...] = ()
        self._sums: Tensor | None = None

    @property
    def sums(self) -> dict[str, Tensor]:
        """Over the rows, by name."""
        totals = [] if self._sums is None else self._sums.unbind()
        return {name: total.clone() for name, total in zip(self.names, totals, strict=True)}

    @sums.setter
    def sums(self, sums: Mapping[str, Tensor]) -> None:
        self.names, self._sums = tuple(sums), torch.stack([*sums.values()]) if sums else None

    def add(self, terms: Terms, rows: int) -> None:
        """Adds a batch of so many rows.

        Raises:
            FloatingPointError: The total is not finite; names the term and the step.
        """
        self.steps += 1
        self.rows += rows
        added = terms.values * rows
        self.names, self._sums = terms.names, added if self._sums is None else self._sums + added
        if self.every == 1:
            self._check(terms.values, f"step {self.steps}")
        elif self.steps % self.every == 0:
            self.check()

    def check(self) -> None:
        """Looks at the sums, in which a number that is not finite stays.

        Raises:
            FloatingPointError: The total is not finite; names the term and the last steps.
        """
        if self._sums is not None:
            first = (self.steps - 1) // self.every * self.every + 1
            self._check(self._sums, f"steps {first} to {self.steps}" if first < self.steps else f"step {first}")

    def compute(self) -> dict[str, float]:
        """The means by name, such as "train/total".

        Raises:
            FloatingPointError: As in `check`.
        """
        self.check()
        totals = [] if self._sums is None else self._sums.tolist()
        return {f"{self.split}/{name}": total / self.rows for name, total in zip(self.names, totals, strict=True)}

    def _check(self, values: Tensor, where: str) -> None:
        if values[-1].isfinite():
            return
        numbers = zip(self.names, values.tolist(), values.isfinite().tolist(), strict=True)
        wrong = ", ".join(f"{name} is {number}" for name, number, finite in numbers if not finite)
        raise FloatingPointError(
            f"the {self.split} loss must stay finite; in epoch {self.epoch}, {where}, {wrong}; "
            "the model keeps its best weights until then; lower learning_rate or set clip, and look at the values "
            "of what is named here"
        )
