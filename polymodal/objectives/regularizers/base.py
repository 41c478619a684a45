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

        Where several processes have a part of a batch each, `z` has this one's rows, and the result is weighted with
        their number and added up. A penalty that is no mean over rows must look at those of the others too, see
        `polymodal.parallel.here`.

        Returns:
            `(*)`: a model weights and adds the conditionings, under `exhaustive` by p(b).
        """
