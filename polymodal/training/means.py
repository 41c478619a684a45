"""Means of the terms of a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal import parallel
from polymodal.batch import Batch
from polymodal.models.base import Loss

__all__ = ["Means"]


class Means:
    """Means over rows of every term of the loss, which must stay finite.

    Several processes add the parts of the batches that they have, and have the means of all.

    Arguments:
        split: "train" or "validation".
        epoch: For messages.
        rows: How many rows are added already, by all processes.
        steps: How many steps.
    """

    def __init__(self, split: str, epoch: int, rows: int = 0, steps: int = 0) -> None:
        self.split, self.epoch, self.rows, self.steps = split, epoch, rows, steps
        self.own: dict[str, Tensor] = {}
        self.trouble = ""

    @property
    def sums(self) -> dict[str, Tensor]:
        """Of every term over all rows; several processes make them together."""
        if parallel.world() == 1 or not self.own:
            return self.own
        total = parallel.sums(torch.stack([*self.own.values()]))
        return {name: number.to(own) for (name, own), number in zip(self.own.items(), total, strict=True)}

    def add(self, loss: Loss, batch: Batch) -> None:
        """Adds the loss on a batch; `trouble` says where it is not finite."""
        self.steps += 1
        terms = {name: term.detach() for name, term in {**loss.terms, "total": loss.total}.items()}
        if not self.trouble and not terms["total"].isfinite():
            self.trouble = self._trouble(terms)
        self.rows += len(batch.whole)
        for name, term in terms.items():
            self.own[name] = self.own.get(name, 0) + term * batch.counted

    def compute(self) -> dict[str, float]:
        """The means by name, such as "train/total"."""
        return {f"{self.split}/{name}": float(total) / self.rows for name, total in self.sums.items()}

    def check(self) -> None:
        """Refuses to go on with a loss that is not finite.

        Raises:
            FloatingPointError: Names the term and the step.
        """
        if self.trouble:
            raise FloatingPointError(self.trouble)

    def _trouble(self, terms: dict[str, Tensor]) -> str:
        wrong = ", ".join(f"{name} is {float(term)}" for name, term in terms.items() if not term.isfinite())
        return (
            f"the {self.split} loss must stay finite; in epoch {self.epoch}, step {self.steps}, {wrong}; "
            "the model keeps its best weights until then; lower learning_rate or set clip, and look at the values "
            "of what is named here"
        )
