"""Modalities whose likelihood is that of a cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.distributions import Distribution, Independent

from polymodal.modalities.base import Modality

if TYPE_CHECKING:
    from polymodal.modalities.costs import Choice

__all__ = ["Costed"]


class Costed(Modality):
    """A modality whose likelihood is that of its cost, one of `polymodal.modalities.costs`."""

    if TYPE_CHECKING:
        cost: Choice  # pyright: ignore[reportIncompatibleMethodOverride] (it holds what is called like the method)

    def distribution(self, parameters: Tensor) -> Distribution:
        """p(x | z): batch shape `(*, N)`, event shape `shape`.

        Raises:
            ValueError: There are not as many scores as classes.
        """
        if self.levels is not None and parameters.shape[-1] != self.levels:
            raise ValueError(f"parameters must have {self.levels} scores last, one a class; got {parameters.shape[-1]}")
        return Independent(self.cost.distribution(parameters), len(self.shape), validate_args=False)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """-log p(x | z) in nats, `(*, N)`, of prepared values `(N, *shape)`; finite on blanks."""
        return self.cost.nll(parameters, x)

    def value(self, distribution: Distribution) -> Tensor:
        """The one value to answer with, `(*, N, *shape)`: the mean, of classes and tokens the most probable."""
        return self.cost.value(distribution)

    def constant_cost(self, mean: Tensor, square: Tensor, *, likelihood: bool = False) -> Tensor:
        """The mean cost of the best constant prediction, see `Modality.constant_cost`."""
        return (self.cost.nll_constant if likelihood else self.cost.constant)(mean, square)
