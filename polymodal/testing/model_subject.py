"""The object that laws of models check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.models import MODELS, Model, build
from polymodal.schema import Schema
from polymodal.testing.examples import EXAMPLES, sample_rows
from polymodal.testing.laws import require_equal

__all__ = ["ModelSubject", "require_close", "require_same"]

LATENT_DIM = 6


@dataclass(frozen=True)
class ModelSubject:
    """A registered model that is checked."""

    name: str
    """Name in `MODELS`."""
    schema: Schema = field(default_factory=lambda: Schema(EXAMPLES))
    """At least three modalities."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `build`."""

    def make(self, schema: Schema | None = None, **arguments: Any) -> Model:
        """Builds the model; in float64, so that results can be compared closely."""
        return self.build(schema, **arguments).double()

    def build(self, schema: Schema | None = None, **arguments: Any) -> Model:
        """Builds the model as users do."""
        sizes = {"latent_dim": LATENT_DIM} if "latent_dim" in signature(MODELS[self.name]).parameters else {}
        return build(self.name, schema or self.schema, **(sizes | dict(self.arguments) | arguments))

    def rows(self, rows: int, *, complete: bool) -> Batch:
        """Samples rows on which the model can be trained: complete ones if it needs complete ones."""
        return sample_rows(self.schema, rows, complete=complete or self.make().rows is not None)


def require_same(one: Tensor, other: Tensor, what: str) -> None:
    """Raises an AssertionError unless two tensors are equal."""
    require_equal(one.shape, other.shape, f"the shape of {what}")
    if not torch.equal(one, other):
        distance = float((one.detach().double() - other.detach().double()).abs().max())
        raise AssertionError(f"{what} must be equal; they differ by {distance}")


def require_close(one: Tensor, other: Tensor, what: str) -> None:
    """Raises an AssertionError unless two tensors are equal but for rounding."""
    torch.testing.assert_close(one, other, msg=lambda text: f"{what} must be equal. {text}")
