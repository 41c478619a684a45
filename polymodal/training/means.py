"""Means of the terms of a loss."""

from __future__ import annotations

from torch import Tensor

from polymodal.models.base import Loss

__all__ = ["Means"]


class Means:
    """Means over rows of every term of the loss, which must stay finite.

    Arguments:
        split: "train" or "validation".
        epoch: For messages.
        rows: How many rows are added already.
        steps: How many steps.
    """

    def __init__(self, split: str, epoch: int, rows: int = 0, steps: int = 0) -> None:
        self.split, self.epoch, self.rows, self.steps = split, epoch, rows, steps
        self.sums: dict[str, Tensor] = {}

    def add(self, loss: Loss, rows: int) -> None:
        """Adds a batch of so many rows.

        Raises:
            FloatingPointError: The total is not finite; names the term and the step.
        """
        self.steps += 1
        terms = {name: term.detach() for name, term in {**loss.terms, "total": loss.total}.items()}
        if not terms["total"].isfinite():
            raise FloatingPointError(self._trouble(terms))
        self.rows += rows
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0) + term * rows

    def compute(self) -> dict[str, float]:
        """The means by name, such as "train/total"."""
        return {f"{self.split}/{name}": float(total) / self.rows for name, total in self.sums.items()}

    def _trouble(self, terms: dict[str, Tensor]) -> str:
        wrong = ", ".join(f"{name} is {float(term)}" for name, term in terms.items() if not term.isfinite())
        return (
            f"the {self.split} loss must stay finite; in epoch {self.epoch}, step {self.steps}, {wrong}; "
            "the model keeps its best weights until then; lower learning_rate or set clip, and look at the values "
            "of what is named here"
        )
