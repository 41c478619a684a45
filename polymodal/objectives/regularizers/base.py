"""The interface of regularisers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["Regularizer"]


@dataclass(frozen=True)
class Regularizer(ABC):
    """A penalty D that matches the aggregate posterior to the prior, one value per conditioning.

    A subclass is a frozen dataclass. Its fields are its arguments, which text gives in their order: "mmd(2)".
    """

    on_samples: ClassVar[bool] = True
    """Whether the penalty is computed from samples of the codes alone, and so suits a deterministic encoder."""

    @abstractmethod
    def __call__(self, posterior: Distribution, z: Tensor, prior: Distribution) -> Tensor:
        """The penalty of each conditioning.

        Arguments:
            posterior: q(z | x, b), batch shape `(*, B)`; a penalty on samples does not read it.
            z: Samples from it, `(*, B, D)`.
            prior: p(z), event shape `(D,)`.

        Where several processes have a part of a batch each, `z` has this process's rows, and the result is weighted
        by their number and added up. A penalty that is no mean over rows must look at those of the others too, see
        `polymodal.runtime.distributed.here`.

        Returns:
            `(*)`: a model weights and adds the conditionings, under `exhaustive` by p(b).
        """
