"""Nexus: a hierarchical model with a VAE per modality (bottom) and a VAE over messages from them (top).

The bottom code of modality m is `z_m ~ q_m(z_m | x_m)`. The top code is `z ~ q(z | mean_m f_m(sg z_m))`, with message
networks f_m and sg the stop-gradient. The loss of a row is

    L = sum_m [ -w_m log p(x_m | z_m) + bottom_beta progress KL(q_m || p) ]
        + sum_m -log N(sg z_m; h_m(z), 1) + beta progress KL(q || p)

p is the standard normal prior, w_m a loss weight, N the normal density, h_m(z) the top decoder's prediction of z_m,
bottom_beta and beta weights of divergences, and progress in [0, 1] the warm-up. Missing modalities contribute nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from polymodal.batch import Batch
from polymodal.distributions import DiagNormal, Hierarchical
from polymodal.models.base import Loss, Weights
from polymodal.models.vae import VAE, divergence
from polymodal.networks import mlp
from polymodal.schema import Schema

__all__ = ["Nexus"]


class Nexus(VAE):
    """A hierarchical model: a VAE per modality, and a top VAE over their codes.

    The bottom code of modality m is z_m. Messages f_m(z_m) are averaged over the modalities. The top code z is encoded
    from their mean and trained to reconstruct the z_m. The top level passes no gradient to the bottom encoders:
    `sum_m [ -w_m log p(x_m | z_m) + bottom_beta KL(q_m || p) ] + sum_m -log N(sg z_m; h_m(z), 1) + beta KL(q || p)`.

    The code is [z, z_1, .., z_M]. For modalities that are not given, z_m is h_m(z).

    Arguments:
        schema: The modalities.
        latent_dim: Size of the top code.
        bottom_dim: Size of each bottom code.
        message_dim: Size of a message; 10 in the paper's setting.
        beta: Weight of the top divergence.
        bottom_beta: Weight of the bottom divergences.
        dropout: Probability per row that only a uniform number 1..M-1 of messages is kept in training; 0 in the
            paper's setting.
        squashed: Whether h_m ends in a sigmoid, as in the paper's setting.
        own: Whether given modalities are decoded from their own z_m; the paper's setting decodes all from h_m(z).
        hidden: Sizes of the hidden layers of f_m and of the top encoder; h_m has only the first of them.
        weights: See `Model`.

    Source: Vasco et al. (2022), Eq. 3-6 and forced perceptual dropout.
    """

    name = "nexus"

    def __init__(
        self,
        schema: Schema,
        latent_dim: int = 32,
        *,
        bottom_dim: int = 64,
        message_dim: int = 512,
        beta: float = 1.0,
        bottom_beta: float = 1.0,
        dropout: float = 0.2,
        squashed: bool = False,
        own: bool = True,
        hidden: Sequence[int] = (512, 512),
        weights: Weights = "balanced",
    ) -> None:
        super().__init__(schema, latent_dim, weights, code=bottom_dim)
        self.bottom_dim, self.message_dim, self.beta, self.bottom_beta = bottom_dim, message_dim, beta, bottom_beta
        self.dropout, self.squashed, self.own, self.hidden = dropout, squashed, own, tuple(hidden)
        self._check_factors(beta=beta, bottom_beta=bottom_beta)
        self._check_shares(dropout=dropout)
        self.messages = nn.ModuleList(mlp(bottom_dim, hidden, message_dim) for _ in schema)
        self.top = mlp(message_dim, hidden, 2 * latent_dim)
        ends = [nn.Sigmoid()] if squashed else []
        self.below = nn.ModuleList(nn.Sequential(*mlp(latent_dim, hidden[:1], bottom_dim), *ends) for _ in schema)

    @property
    def code_dim(self) -> int:
        """Total size of the top code and all bottom codes."""
        return self.latent_dim + len(self.schema) * self.bottom_dim

    @property
    def prior(self) -> Distribution:
        """Prior p(z) of the top code, with the bottom codes h_m(z)."""
        own = self._make_standard(self.bottom_dim).expand([len(self.schema)])
        none = torch.zeros(len(self.schema), dtype=torch.bool, device=self.weight.device)
        return Hierarchical(self._make_standard(self.latent_dim), own, none, self._predict_bottom)

    def log_ratio(self, z: Tensor, posterior: Distribution) -> Tensor:
        """Computes log p - log q of the top code and the given bottom codes, see `Model.log_ratio`.

        The prior of a bottom code is N(h_m(z), 1). Bottom codes that equal h_m(z) have no density under either
        distribution, and need none.
        """
        assert isinstance(posterior, Hierarchical)
        top, below = z[..., : self.latent_dim], z[..., self.latent_dim :].unflatten(-1, (len(self.schema), -1))
        made = self._predict_bottom(top)
        own = DiagNormal(made, torch.ones_like(made)).log_prob(below) - posterior.own.log_prob(below)  # (*, B, M)
        own = torch.where(posterior.has, own, 0.0).sum(-1)
        return self._make_standard(self.latent_dim).log_prob(top) - posterior.top.log_prob(top) + own

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0) -> Loss:
        """Computes the loss of both levels for a batch, see `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        has = batch.observed
        below = self._encode_bottom(self._hide_elements(x))
        z_below = below.rsample()  # (B, M, E)
        top = self._encode_top(z_below.detach(), self._select_messages(has))
        z = top.rsample()
        bottom_kl = (divergence(below, self._make_standard(self.bottom_dim)) * has).sum(-1).mean()
        made = DiagNormal(self._predict_bottom(z), torch.ones_like(z_below)).log_prob(z_below.detach())  # (B, M)
        back, kl = -(made * has).sum(-1).mean(), divergence(top, self._make_standard(self.latent_dim)).mean()
        costs = self.costs(x, torch.cat([z, z_below.flatten(1)], dim=1), has).mean(-1)
        total = self.weight @ costs + back + progress * (self.bottom_beta * bottom_kl + self.beta * kl)
        return self._make_loss(costs, {"bottom": bottom_kl, "back": back, "kl": kl}, total)

    def _infer(self, x: Mapping[str, Tensor], b: Tensor) -> Distribution:
        below = self._encode_bottom(x)
        own = below.expand(b.shape)
        has = b if self.own else torch.zeros_like(b)
        return Hierarchical(self._encode_top(below.mean, b), own, has, self._predict_bottom)

    def _encode_bottom(self, x: Mapping[str, Tensor]) -> DiagNormal:
        return DiagNormal.of(*self._encode_experts(x))

    def _encode_top(self, z_below: Tensor, b: Tensor) -> DiagNormal:
        """Returns q(z | mean message) for codes `(B, M, E)`; messages outside the mask b `(*, B, M)` are left out."""
        messages = torch.stack([f(z_below[:, m]) for m, f in enumerate(self.messages)], dim=1)  # (B, M, message)
        share = b.to(messages.dtype) / b.sum(-1, keepdim=True)
        mean = torch.einsum("...bm,bmf->...bf", share, messages)
        return DiagNormal.of(*self.top(mean).to(self.weight.dtype).chunk(2, dim=-1))

    def _select_code(self, name: str, z: Tensor) -> Tensor:
        """Returns the modality's bottom code."""
        start = self.latent_dim + self.schema.index(name) * self.bottom_dim
        return z[..., start : start + self.bottom_dim]

    def _predict_bottom(self, z: Tensor) -> Tensor:
        """Predicts the bottom codes h_m(z) from the top code, `(*, B, D) -> (*, B, M, E)`."""
        return torch.stack([h(z) for h in self.below], dim=-2).to(z.dtype)

    def _select_messages(self, has: Tensor) -> Tensor:
        """Returns the mask of the messages to keep, `(B, M)` bool, with at least one in every row."""
        if not self.training or not self.dropout:
            return has
        rank = torch.where(has, torch.rand(has.shape, device=has.device), 2.0).argsort(-1).argsort(-1)
        count = has.sum(-1)
        kept = 1 + (torch.rand(len(has), device=has.device) * (count - 1)).long()  # 1..count - 1
        dropped = torch.rand(len(has), device=has.device) < self.dropout
        return has & (~dropped[:, None] | (rank < kept.clamp(min=1)[:, None]))
