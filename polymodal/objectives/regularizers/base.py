"""What every regulariser provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["Regularizer"]


@dataclass(frozen=True)
class Regularizer(ABC):
    """A penalty D that brings codes to the prior, one value per conditioning."""

    @abstractmethod
    def __call__(self, posterior: Distribution, z: Tensor, prior: Distribution) -> Tensor:
        """The penalty of each conditioning.

        Arguments:
            posterior: q(z | x, b), batch shape `(*, B)`; a penalty on samples does not read it.
            z: Its draws, `(*, B, D)`.
            prior: p(z), event shape `(D,)`.

        Returns:
            `(*)`: a model weights and adds the conditionings, under `exhaustive` by p(b).
        """
