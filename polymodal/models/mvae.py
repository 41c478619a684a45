"""MVAE: a product of experts and the prior, trained on sums of bounds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from polymodal.batch import Batch
from polymodal.models.base import Loss, Plan, Weights
from polymodal.models.vae import VAE, divergence
from polymodal.objectives.aggregation import product
from polymodal.schema import Schema

__all__ = ["MVAE"]


class MVAE(VAE):
    """The product of the experts with the prior, trained on a sum of bounds.

    They are those of the full set, of every single modality, and of k random sets:
    `- [ELBO_all + sum_m ELBO_m + sum_t ELBO_t]`. A set's bound reconstructs its own modalities only, from a draw of
    its own. A row takes part in a set with what it has of it.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the code.
        beta: Weight of the divergences.
        draws: Random sets of 2 to M - 1 modalities per batch, k, all different; in training only.
        weights: See `Model`.

    Raises:
        ValueError: There are not as many sets.

    Source: Wu and Goodman (2018), Eq. 3 and 5.
    """

    name = "mvae"

    def __init__(
        self,
        schema: Schema,
        latent_dim: int = 64,
        *,
        beta: float = 1.0,
        draws: int = 0,
        weights: Weights = "balanced",
    ) -> None:
        super().__init__(schema, latent_dim, weights)
        self.beta, self.draws = beta, draws
        self._check_factors(beta=beta)
        m = len(schema)
        if not 0 <= draws <= (most := max(0, 2**m - 2 - m)):
            raise ValueError(
                f"draws must be at most the number of sets of 2 to {m - 1} modalities, {most}; got {draws}"
            )

    def plan(self, observed: Tensor) -> Plan:
        """The sets of modalities whose bounds are summed, `(T, M)` bool, and those that each modality is in, int64."""
        sets = self._sets(observed.device)
        return sets, *(taking.nonzero()[:, 0] for taking in sets.unbind(1))

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0, plan: Plan = ()) -> Loss:
        """The sum of the bounds on a batch, see `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        sets, *taken = plan or self.plan(batch.observed)
        members = sets[:, None] & batch.observed  # (T, B, M)
        q = product(*self._experts(x), members, prior=True)
        z = q.rsample()
        kl = torch.where(members.any(-1), divergence(q, self.prior), 0.0).sum(0).mean()
        costs = []
        for name, taking in zip(self.schema, taken, strict=True):
            costs.append(self._costs(x, {name: z[taking]}, batch.observed)[0].sum(0).mean())
        total = self.weight @ torch.stack(costs) + self.beta * progress * kl
        return self._loss(torch.stack(costs), {"kl": kl}, total)

    def _posterior(self, x: Mapping[str, Tensor], b: Tensor) -> Distribution:
        return product(*self._experts(x), b, prior=True)

    def _sets(self, device: torch.device) -> Tensor:
        """The full set, the single modalities, and random ones in training, `(T, M)` bool."""
        m = len(self.schema)
        sets = [torch.ones(1, m, dtype=torch.bool, device=device), torch.eye(m, dtype=torch.bool, device=device)]
        if self.training and self.draws:
            sets.append(random_sets(m, self.draws, device))
        return torch.cat(sets)


def random_sets(modalities: int, number: int, device: torch.device) -> Tensor:
    """Different sets of 2 to M - 1 modalities, uniform among all such, `(number, M)` bool.

    Example:
        >>> random_sets(3, 3, torch.device("cpu")).sum(1)
        tensor([2, 2, 2])
    """
    found = torch.zeros(0, modalities, dtype=torch.bool, device=device)
    while len(found) < number:
        more = torch.rand(4 * number, modalities, device=device) < 0.5
        size = more.sum(1)
        found = torch.cat([found, more[(size >= 2) & (size < modalities)]])
        _, first = found.unique(dim=0, return_inverse=True)
        kept = [i for i, value in enumerate(first.tolist()) if value not in first[:i].tolist()]
        found = found[kept]
    return found[:number]
