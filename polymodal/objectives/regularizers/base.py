"""Interface of regularisers."""

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

    A subclass is a frozen dataclass. Its fields are its arguments, in the order of its text form, such as "mmd(2)".
    """

    on_samples: ClassVar[bool] = True
    """Whether the penalty uses only samples of the codes, and so works with a deterministic encoder."""

    @abstractmethod
    def __call__(self, posterior: Distribution, z: Tensor, prior: Distribution) -> Tensor:
        """Computes the penalty of each conditioning.

        With several processes, `z` has the rows of this process, and the results of all processes are averaged,
        weighted by their numbers of rows. A penalty that is not a mean over rows must also use the rows of the other
        processes; see `polymodal.runtime.distributed.get_local_rows`.

        Arguments:
            posterior: Posterior q(z | x, b), batch shape `(*, B)`; not used by a penalty on samples.
            z: Posterior samples, `(*, B, D)`.
            prior: Prior p(z), event shape `(D,)`.

        Returns:
            Penalties `(*)`. The model sums them over conditionings with weights, under `exhaustive` with p(b).
        """
