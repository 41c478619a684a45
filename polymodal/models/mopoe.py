"""MoPoE: a mixture over subsets of modalities of the product of each subset's experts.

With S subsets A of the modalities, the posterior is `q(z | x) = (1/S) sum_A q_A`, and the loss of a row is

    L = rec + beta progress (1/S) sum_A KL(q_A || p),    rec = -sum_m w_m log p(x_m | z)

q_A is the normalised product of the unimodal posteriors (experts) q_m(z | x_m), m in A, and for the full subset also of
the prior p. z is a sample from one q_A per row, w_m a loss weight, and progress in [0, 1] the warm-up. For an
incomplete row, the mixture is over the subsets of its observed modalities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from polymodal.batch import Batch
from polymodal.models.base import Loss, Weights
from polymodal.models.vae import VAE, divergence
from polymodal.objectives import conditioning
from polymodal.objectives.aggregation import product, stratify
from polymodal.schema import Schema

__all__ = ["MoPoE"]

MOST_SUBSETS = 1023


class MoPoE(VAE):
    """A uniform mixture of the products of experts of all subsets.

    The loss is `rec + beta mean_A KL(q_A || p)`, with the reconstruction from one subset per row. The prior is an
    expert of the full subset only. A row's mixture is over the subsets whose modalities are all observed. If there are
    none among `subsets`, the row uses the product of all its observed modalities.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the code.
        beta: Weight of the divergences.
        subsets: Subsets to mix over, as lists of names; by default all 2^M - 1.
        draw: Subset to reconstruct a row from: "stratified" assigns the same number of rows to each subset and the
            remaining rows at random; "full" uses all observed modalities (the paper's setting).
        weights: See `Model`.

    Raises:
        ValueError: There are too many subsets, a subset is empty, or a name is unknown.

    Source: Sutter, Daunhawer and Vogt (2021), Eq. 4-6 and the authors' code.
    """

    name = "mopoe"

    def __init__(
        self,
        schema: Schema,
        latent_dim: int = 64,
        *,
        beta: float = 1.0,
        subsets: Sequence[Sequence[str]] | None = None,
        draw: Literal["stratified", "full"] = "stratified",
        weights: Weights = "balanced",
    ) -> None:
        if subsets is None and 2 ** len(schema) - 1 > MOST_SUBSETS:
            raise ValueError(
                f"mopoe has 2^M - 1 subsets, at most {MOST_SUBSETS}; {len(schema)} modalities are too many; "
                "pass subsets=[[...], ...] with the lists of names to mix over"
            )
        super().__init__(schema, latent_dim, weights)
        self.beta, self.draw = beta, draw
        self.subsets = None if subsets is None else [list(names) for names in subsets]
        self._check_factors(beta=beta)
        chosen = conditioning.subsets(len(schema)) if subsets is None else self._mask_subsets(self.subsets or [])
        self.register_buffer("members", chosen, persistent=False)

    members: Tensor
    """Mask of the modalities in each subset, `(S, M)` bool."""

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0) -> Loss:
        """Computes Eq. 6 for a batch, see `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        mean, log_variance = self._encode_experts(self._hide_elements(x))
        members, allowed = self._find_subsets(batch.observed)  # (S, B, M), (S, B)
        q = product(mean, log_variance, members, members.all(-1))
        kl = torch.where(allowed, divergence(q, self.prior), 0.0).sum(0) / allowed.sum(0)
        z = self._select_codes(q.rsample(), members, batch.observed, allowed)
        costs = self.costs(x, z, batch.observed).mean(-1)
        total = self.weight @ costs + self.beta * progress * kl.mean()
        return self._make_loss(costs, {"kl": kl.mean()}, total)

    def _infer(self, x: Mapping[str, Tensor], b: Tensor) -> Distribution:
        return product(*self._encode_experts(x), b, b.all(-1))

    def _find_subsets(self, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the subsets `(S + 1, B, M)` of every row, and the mask of those to mix over, `(S + 1, B)`.

        The last subset has all observed modalities of a row. It counts only for rows without another complete subset.
        """
        allowed = ~(self.members[:, None] & ~observed).any(-1)
        members = torch.cat([self.members[:, None].expand(-1, len(observed), -1), observed[None]])
        return members, torch.cat([allowed, ~allowed.any(0, keepdim=True)])

    def _select_codes(self, z: Tensor, members: Tensor, observed: Tensor, allowed: Tensor) -> Tensor:
        """Selects one code per row, `(B, D)`, among the codes of all subsets `(S + 1, B, D)`."""
        if self.draw == "full":
            return z[-1]
        # With all 2^M - 1 subsets every row has one; for chosen subsets this must be read back from the device.
        some = self.subsets is None or allowed[:-1].any(0).all()
        index = stratify(allowed[:-1] if some else allowed)
        return z[index, torch.arange(len(observed), device=z.device)]

    def _mask_subsets(self, subsets: Sequence[Sequence[str]]) -> Tensor:
        if not subsets or not all(subsets):
            raise ValueError(f"subsets must be lists of names, none of them empty; got {subsets!r}")
        return torch.stack([self.schema.mask(list(names)) for names in subsets])
