"""MVAE: a product of experts and the prior, trained on a sum of bounds.

For a set s of modalities, the posterior is `q_s ~ p prod_{m in s} q_m`, the normalised product of the prior p and the
unimodal posteriors (experts) q_m(z | x_m). The loss of a row is

    L = - [ ELBO_all + sum_m ELBO_{m} + sum_{t=1..k} ELBO_{s_t} ],
    ELBO_s = E_{z ~ q_s} sum_{m in s} w_m log p(x_m | z) - beta progress KL(q_s || p)

s_t are k random sets, w_m is a loss weight, beta the weight of the divergences, and progress in [0, 1] the warm-up. For
an incomplete row, s is restricted to its observed modalities, and an empty set contributes 0.
"""

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
    """The product of the experts and the prior, trained on a sum of bounds.

    The loss is `- [ELBO_all + sum_m ELBO_m + sum_t ELBO_t]`: the bounds of the full set, of every single modality, and
    of k random sets. A bound reconstructs only the modalities in its set, from a separate sample of its posterior. For
    an incomplete row, sets are restricted to the observed modalities.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the code.
        beta: Weight of the divergences.
        draws: Number of random sets of 2 to M - 1 modalities per batch, k; all are different. In training only.
        weights: See `Model`.

    Raises:
        ValueError: `draws` is negative or greater than the number of such sets.

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
        """Chooses the sets of modalities whose bounds are summed, see `Model.plan`.

        Returns:
            The T sets, `(T, M)` bool; and for each modality the indices of the sets that contain it, int64.
        """
        sets = self._choose_sets(observed.device)
        return sets, *(taking.nonzero()[:, 0] for taking in sets.unbind(1))

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0, plan: Plan = ()) -> Loss:
        """Computes the sum of the bounds for a batch, see `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        sets, *taken = plan or self.plan(batch.observed)
        members = sets[:, None] & batch.observed  # (T, B, M)
        q = product(*self._encode_experts(self._hide_elements(x)), members, prior=True)
        z = q.rsample()
        kl = torch.where(members.any(-1), divergence(q, self.prior), 0.0).sum(0).mean()
        costs = []
        for name, taking in zip(self.schema, taken, strict=True):
            costs.append(self._compute_costs(x, {name: z[taking]}, batch.observed)[0].sum(0).mean())
        total = self.weight @ torch.stack(costs) + self.beta * progress * kl
        return self._make_loss(torch.stack(costs), {"kl": kl}, total)

    def _infer(self, x: Mapping[str, Tensor], b: Tensor) -> Distribution:
        return product(*self._encode_experts(x), b, prior=True)

    def _choose_sets(self, device: torch.device) -> Tensor:
        """Returns the full set, the single modalities, and in training random sets, `(T, M)` bool."""
        m = len(self.schema)
        sets = [torch.ones(1, m, dtype=torch.bool, device=device), torch.eye(m, dtype=torch.bool, device=device)]
        if self.training and self.draws:
            sets.append(random_sets(m, self.draws, device))
        return torch.cat(sets)


def random_sets(modalities: int, number: int, device: torch.device) -> Tensor:
    """Samples different sets of 2 to M - 1 modalities, uniformly among all such sets, `(number, M)` bool.

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
