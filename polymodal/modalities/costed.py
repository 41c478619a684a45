"""The base class of modalities whose likelihood is defined by their cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution, Independent

from polymodal.modalities.base import Modality
from polymodal.modalities.costs import Cost, parse_cost

__all__ = ["Costed"]


class Costed(Modality):
    """A modality whose likelihood is defined by its cost, one of `costs`.

    Its argument `cost` is the name of the cost, with a scale if it is not 1, as in "laplace(0.75)".

    Raises:
        ValueError: There is no such cost, or its scale is not a positive number.
    """

    costs: ClassVar[Mapping[str, Cost]]
    """The available costs, by name; see `polymodal.modalities.costs`."""

    cost: str

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_cost(self.cost, self.costs)  # raises an error if it is invalid

    @property
    def is_paddable(self) -> bool:
        """Whether further classes with scores of -inf change neither the cost nor its gradients."""
        own = type(self).compute_cost is Costed.compute_cost and type(self).nll is Costed.nll
        return own and not self.shape and self.cost == "categorical"

    def distribution(self, parameters: Tensor) -> Distribution:
        """Returns p(x | z), with batch shape `(*, N)` and event shape `shape`.

        Raises:
            ValueError: The number of scores is not the number of classes.
        """
        if self.levels is not None and parameters.shape[-1] != self.levels:
            raise ValueError(f"parameters must have {self.levels} scores last, one a class; got {parameters.shape[-1]}")
        cost, scale = parse_cost(self.cost, self.costs)
        return Independent(cost.distribution(parameters, *scale), len(self.shape), validate_args=False)

    def nll(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Returns -log p(x | z) in nats, `(*, N)`, for prepared values `(N, *shape)`; it is finite for blanks."""
        cost, scale = parse_cost(self.cost, self.costs)
        return cost.nll(parameters, x, *scale)

    def compute_cost(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Returns the reconstruction cost, `(*, N)`; see `Modality.compute_cost`."""
        cost, scale = parse_cost(self.cost, self.costs)
        return cost.compute(parameters, x, *scale)

    def value(self, distribution: Distribution) -> Tensor:
        """Returns the point prediction, `(*, N, *shape)`: the mean, or the most probable class or token."""
        return distribution.mean if self.levels is None else distribution.mode

    def constant_cost(self, mean: Tensor, square: Tensor, *, likelihood: bool = False) -> Tensor:
        """Returns the mean cost of the best constant prediction; see `Modality.constant_cost`."""
        cost, scale = parse_cost(self.cost, self.costs)
        return (cost.constant_nll if likelihood else cost.constant)(mean, square, *scale)
