"""The base class of modalities whose likelihood is defined by their cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.distributions import Distribution, Independent

from polymodal.modalities.base import Modality

if TYPE_CHECKING:
    from polymodal.modalities.costs import Choice

__all__ = ["Costed"]


class Costed(Modality):
    """A modality whose likelihood is defined by its cost, one of those in `polymodal.modalities.costs`."""

    if TYPE_CHECKING:
        cost: Choice  # pyright: ignore[reportIncompatibleMethodOverride] (a field with the name of the method)

    def distribution(self, parameters: Tensor) -> Distribution:
        """Returns p(x | z), with batch shape `(*, N)` and event shape `shape`.

        Raises:
            ValueError: The number of scores is not the number of classes.
        """
        if self.levels is not None and parameters.shape[-1] != self.levels:
            raise ValueError(f"parameters must have {self.levels} scores last, one a class; got {parameters.shape[-1]}")
        return Independent(self.cost.distribution(parameters), len(self.shape), validate_args=False)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Returns -log p(x | z) in nats, `(*, N)`, for prepared values `(N, *shape)`; it is finite for blanks."""
        return self.cost.nll(parameters, x)

    def value(self, distribution: Distribution) -> Tensor:
        """Returns the point prediction, `(*, N, *shape)`: the mean, or the most probable class or token."""
        return self.cost.value(distribution)

    def constant_cost(self, mean: Tensor, square: Tensor, *, likelihood: bool = False) -> Tensor:
        """Returns the mean cost of the best constant prediction; see `Modality.constant_cost`."""
        return (self.cost.nll_constant if likelihood else self.cost.constant)(mean, square)
