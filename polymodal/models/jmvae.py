"""JMVAE: a joint encoder, and an encoder per modality that approximates it when modalities are missing.

The loss of a row is

    L = rec + beta progress [ KL(q || p) + alpha sum_m KL(q || q_m) ],    rec = -sum_m w_m log p(x_m | z),    z ~ q

q(z | x) is the joint posterior given all modalities, q_m(z | x_m) the unimodal posterior of modality m, p the prior,
w_m a loss weight, alpha and beta weights of divergences, and progress in [0, 1] the warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from polymodal.batch import Batch
from polymodal.distributions import DiagNormal
from polymodal.models.base import Loss, Weights
from polymodal.models.vae import VAE, divergence
from polymodal.networks import mlp
from polymodal.objectives.aggregation import product
from polymodal.runtime.vectorizing import is_exporting
from polymodal.schema import Schema

__all__ = ["JMVAE"]


class JMVAE(VAE):
    """A joint posterior q(z | x) given all modalities, and unimodal posteriors q_m that are trained to match it.

    The loss is `rec + beta [ KL(q || p) + alpha sum_m KL(q || q_m) ]`. Given all modalities, the posterior is that of
    the joint encoder; otherwise it is the product of the given q_m, without a prior expert. The joint encoder needs all
    modalities, so the model cannot be trained on incomplete rows.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the code.
        alpha: Weight of the divergences from the unimodal posteriors.
        beta: Weight of all divergences; 1 in the paper.
        hidden: Sizes of the hidden layers of the joint encoder.
        rows: Rows that `fit` trains on: "all" raises an error for incomplete rows, "complete" leaves them out.
        weights: See `Model`.

    Source: Suzuki, Nakayama and Matsuo (2017), Eq. 5 (JMVAE-kl). For several but not all modalities, the paper trains
    a further encoder; this class uses the product of Vedantam et al. (2018) instead.
    """

    name = "jmvae"

    def __init__(
        self,
        schema: Schema,
        latent_dim: int = 64,
        *,
        alpha: float = 0.1,
        beta: float = 1.0,
        hidden: Sequence[int] = (512, 512),
        rows: Literal["all", "complete"] = "all",
        weights: Weights = "balanced",
    ) -> None:
        super().__init__(schema, latent_dim, weights)
        self.alpha, self.beta, self.hidden = alpha, beta, tuple(hidden)
        self.rows = rows
        self._check_factors(alpha=alpha, beta=beta)
        self.joint_encoders = nn.ModuleList(modality.build_encoder(latent_dim) for modality in schema.values())
        self.joint = mlp(len(schema) * latent_dim, hidden, 2 * latent_dim)

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0) -> Loss:
        """Computes Eq. 5 for a batch of complete rows, see `Model.loss`.

        Raises:
            ValueError: A row is incomplete.
        """
        self.require_trainable(batch.known)
        x = self.schema.hide(batch, self.weight.dtype)
        seen = self._hide_elements(x)
        q = self._encode_jointly(seen)
        costs = self.costs(x, q.rsample(), batch.observed).mean(-1)
        experts = self._compute_divergences(q, *self._encode_experts(seen)).sum(-1).mean()
        prior = divergence(q, self.prior).mean()
        total = self.weight @ costs + self.beta * progress * (prior + self.alpha * experts)
        return self._make_loss(costs, {"experts": experts, "kl": prior}, total)

    def _infer(self, x: Mapping[str, Tensor], b: Tensor) -> Distribution:
        apart = product(*self._encode_experts(x), b)
        whole = b.all(-1, keepdim=True)
        if not is_exporting() and not whole.any():
            return apart
        joint = self._encode_jointly(x)
        return DiagNormal(torch.where(whole, joint.mean, apart.mean), torch.where(whole, joint.stddev, apart.stddev))

    def _encode_jointly(self, x: Mapping[str, Tensor]) -> DiagNormal:
        """Returns the joint posterior q(z | x) of complete rows, `(B, *shape)` by name."""
        features = [*self._encode_values(self.joint_encoders, x).values()]
        return DiagNormal.of(*self.joint(torch.cat(features, dim=1)).to(self.weight.dtype).chunk(2, dim=-1))
