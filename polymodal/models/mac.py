"""MAC-WAE and its two ablations: one class, three registered variants.

The loss of a batch of B rows, with K conditioning masks b_k and codes `z_ik ~ q(z | x_i, b_k)`:

    L = (1/K) sum_k [ (1/B) sum_i sum_m w_m c_m(x_im, g_m(z_ik)) + beta R progress D(z_k) ]

x_im is the value of modality m in row i, c_m the cost of this modality (0 where it is missing), g_m its decoder, and
w_m its loss weight. D is the penalty that matches the codes z_k = (z_1k, .., z_Bk) of one mask to the prior, beta its
weight, and progress in [0, 1] its warm-up. R = sum_m w_m c*_m is the weighted cost of the best constant prediction,
where c*_m is the mean cost of this prediction for modality m. So beta is relative to the cost of a trivial model. With
`relative=False`, as in the paper, R = 1.

With `indices="exhaustive"`, the mean over k is a sum over all masks b, weighted by p(b); see
`polymodal.objectives.conditioning` for p(b).

The encoder q(z | x_i, b_k) is that of `polymodal.models.joint_encoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import exp, lgamma, sqrt
from typing import Any, Literal

import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.models.base import Loss, Plan, Weights
from polymodal.models.joint_encoder import JointEncoder
from polymodal.models.loading import apply_bandwidth
from polymodal.models.masks import (
    Indices,
    Masks,
    check_masks,
    pad_masks,
    sample_masks,
    sample_members_masks,
)
from polymodal.objectives.regularizers import REGULARIZERS, Regularizer, make_regularizer, spell_regularizer
from polymodal.runtime.validation import check_whole
from polymodal.schema import Schema

__all__ = ["MAC", "m_wae", "mac_vae", "mac_wae"]


class MAC(JointEncoder):
    """Multimodal arbitrary conditioning: one encoder conditioned on the mask of observed modalities.

    Each step samples K conditioning masks b, encodes the batch under each mask, and decodes every modality from every
    code, including the modalities that the mask leaves out. Equal masks are decoded once if codes are deterministic.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the latent code.
        features: Size of each modality's features, the input of the joint encoder; by default the size of the code.
            docs/defaults.md reports measurements of larger sizes.
        beta: Weight of the penalty, at least 0; see `relative`.
        p0: Probability that a modality is missing in training, in [0, 1). None samples masks of every size: the number
            of observed modalities is uniform.
        draws: Number of conditioning masks per step, K.
        indices: "per-batch" samples one mask per pass, "per-sample" one per row and pass (a weaker penalty),
            "exhaustive" takes every mask once and weights it by p(b).
        stochastic: Whether the posterior is Gaussian instead of a deterministic code.
        conditioned: Whether the encoder is conditioned on b.
        regularizer: The penalty: a name in REGULARIZERS, optionally with arguments, such as "sliced", "sliced(64)",
            "imq", "mmd(2)" or "kl"; or an object, such as `MMD(2.0)`.
        relative: Whether beta is relative to the weighted cost R of the best constant prediction, which `fit` measures
            before its first step and which is saved with the model. By default True for penalties on samples, and
            False for the KL divergence, which is in nats like the likelihoods.
        bandwidth: Deprecated; use `regularizer="mmd(bandwidth)"`.
        hidden: Sizes of the hidden layers of the joint encoder.
        mask_hidden: Size of the hidden layer of the network that encodes the mask; 512 in the paper.
        skip: Whether a linear map of the features and of c(b) is added to the joint encoder's output. Without it, the
            model learns more slowly.
        hidden_dropout: Dropout probability of the joint encoder's hidden units, but not of the linear map, in [0, 1).
        at_once: Number of codes that a decoder processes at once. By default all K B codes, unless their backward pass
            would need more than half of the free memory. With fewer codes, gradients are computed chunk by chunk: they
            are the same, and the memory does not grow with K. Decoders must treat rows independently. On a CPU, each
            decoder's gradients are always computed before the next decoder runs.
        reconstruction: Reconstruction term: "cost", each modality's cost, or "likelihood", -log p(x | z). The two
            differ for `l2` only.
        weights: See `Model`.
        prior: Distribution that samples come from: "flow", a flow that `fit` trains on the codes of the best epoch's
            autoencoder, or "normal", the standard normal prior (and the Gaussian posterior of a stochastic encoder).
        factors: Maximum number of factors of a linear path, which are a part of the code; 0 for none. The linear path
            is between vectors of numbers if one of them has at least 16 numbers, and otherwise between all numbers and
            labels. By default 32 for wide vectors, else 0. A stochastic encoder has no linear path. See
            `polymodal.models.joint_encoder`.

    Raises:
        ValueError: An argument is out of its range, or the penalty is the KL divergence and the encoder deterministic.

    Source: MAC-WAE (Tokar and Sanner, AAAI 2026), Eq. 7-9 and Algorithm 1. Departures: p(b) weights the loss of
    `exhaustive`, as in Eq. 9 but not in the authors' code. The defaults are natural likelihoods and balanced weights,
    where the paper uses `l2` and weights of 1, and a relative sliced Wasserstein penalty and masks of every size, where
    the paper uses `relative=False`, `regularizer="mmd"`, `beta=1` and `p0=0.4`.
    """

    name = "mac-wae"
    reference_cost: Tensor

    @property
    def computes_members(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all networks are fully connected, see `Model.computes_members`."""
        groups = self._groups
        return groups.are_fully_connected(self.encoders) and groups.are_fully_connected(self.decoders)

    def __init__(
        self,
        schema: Schema,
        latent_dim: int = 64,
        *,
        features: int | None = None,
        beta: float = 0.1,
        p0: float | None = None,
        draws: int = 10,
        indices: Indices = "per-batch",
        stochastic: bool = False,
        conditioned: bool = True,
        regularizer: str | Regularizer = "sliced",
        relative: bool | None = None,
        bandwidth: float | None = None,
        hidden: Sequence[int] = (512,),
        mask_hidden: int = 512,
        skip: bool = True,
        hidden_dropout: float = 0.0,
        at_once: int | None = None,
        reconstruction: Literal["cost", "likelihood"] = "cost",
        weights: Weights = "balanced",
        prior: Literal["flow", "normal"] = "normal",
        factors: int | None = None,
    ) -> None:
        encoder: dict[str, Any] = {"features": features, "stochastic": stochastic, "conditioned": conditioned}
        joint: dict[str, Any] = {
            "hidden": hidden,
            "mask_hidden": mask_hidden,
            "skip": skip,
            "hidden_dropout": hidden_dropout,
            "factors": factors,
        }
        super().__init__(schema, latent_dim, weights, **joint, prior=prior, **encoder)
        self.beta, self.p0, self.draws, self.at_once = beta, p0, draws, at_once
        self.indices: Indices = indices
        self.penalty = make_regularizer(apply_bandwidth(regularizer, bandwidth))
        registered = type(self.penalty) in REGULARIZERS.values()
        self.regularizer = spell_regularizer(self.penalty) if registered else self.penalty
        self.bandwidth, self.reconstruction = None, reconstruction
        self.relative = self.penalty.on_samples if relative is None else relative
        self._check()
        if self.relative:
            self.register_buffer("reference_cost", torch.ones(()))
            self.weighed.fill_(False)

    def plan(self, observed: Tensor) -> Masks:
        """Samples the conditioning masks, see `Model.plan`. Equal masks are merged if their codes are equal."""
        merge, dtype = not self.stochastic, self.weight.dtype
        return sample_masks(observed, self.draws, self.p0, self.indices, merge=merge, dtype=dtype)

    def plan_members(self, observed: Tensor, members: int) -> Sequence[Masks]:
        """Samples the conditioning masks of n members, see `Model.plan_members`."""
        if not self.computes_members:
            return pad_masks([self.plan(observed) for _ in range(members)])
        return sample_members_masks(observed, members, self.draws, self.p0, self.indices, dtype=self.weight.dtype)

    def part(self, plan: Plan, rows: slice) -> Plan:
        """See `Model.part`."""
        masks = Masks(*plan)
        return masks._replace(distinct=masks.distinct[..., rows, :])

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0, plan: Plan = ()) -> Loss:
        """Computes the loss L of a batch (Eq. 9, Algorithm 1), see the module docstring and `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        b = Masks(*(plan or self.plan(batch.observed)))
        q = self._infer(self._hide_elements(x), b.distinct)
        z = q.rsample()  # (U, B, D): codes of equal masks are equal, and are decoded once
        shares = b.sum_shares()
        reconstruction, costs = self._sum_costs(x, z, batch.observed, shares, self.at_once)
        penalty = self.penalty(q, b.repeat(z), self._make_standard(self.latent_dim)).to(shares.dtype)
        penalty = (penalty * b.share).sum(-1)
        scale = self.beta * self.reference_cost if self.relative else self.beta
        kind = self.regularizer if isinstance(self.regularizer, str) else type(self.regularizer).__name__.lower()
        terms = {f"cost/{name}": cost for name, cost in zip(self.schema, costs, strict=True)}
        terms["codes/norm"] = (z.detach().to(shares.dtype).norm(dim=-1).mean(-1) * shares).sum(-1)
        terms[f"penalty/{kind.partition('(')[0]}"] = penalty
        return Loss(reconstruction + scale * progress * penalty, terms)

    @property
    def document(self) -> dict[str, Any]:
        """See `Model.document`.

        Raises:
            ValueError: A modality or the regulariser is not registered.
        """
        spell_regularizer(self.penalty)
        return super().document

    @property
    def constants(self) -> dict[str, float]:
        """Mean norm of standard normal codes, and R if the penalty is relative. See `Model.constants`."""
        norm = sqrt(2) * exp(lgamma((self.latent_dim + 1) / 2) - lgamma(self.latent_dim / 2))
        reference = {"reference_cost": float(self.reference_cost.flatten()[0])} if self.relative else {}
        return {"prior_norm": norm, **reference}

    def set_reference_cost(self, reference_cost: float) -> None:
        """Sets the weighted cost R of the best constant prediction. See `Model.set_reference_cost`."""
        if self.relative:
            self.reference_cost.fill_(reference_cost)

    @property
    def likelihood(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the reconstruction term is -log p(x | z) rather than the modalities' costs."""
        return self.reconstruction == "likelihood"

    def _check(self) -> None:
        """Checks the arguments of the loss."""
        check_masks(self.p0, self.indices, len(self.schema))
        check_whole("draws", self.draws)
        if self.at_once is not None:
            check_whole("at_once", self.at_once)
        self._check_factors(beta=self.beta)
        self._check_choice("indices", self.indices, ["per-batch", "per-sample", "exhaustive"])
        self._check_choice("reconstruction", self.reconstruction, ["cost", "likelihood"])
        if not self.penalty.on_samples and not self.stochastic:
            raise ValueError(
                f"{self.regularizer!r} needs a stochastic encoder, because the divergence of a single point is "
                "infinite; pass stochastic=True, or a penalty on samples such as regularizer='sliced'"
            )


mac_wae = MAC
"""MAC-WAE, the paper's model."""

mac_vae = partial(MAC, beta=1.0, stochastic=True, regularizer="kl", reconstruction="likelihood")
"""MAC-VAE, the ablation with a Gaussian posterior, the KL divergence and likelihoods."""

m_wae = partial(MAC, conditioned=False)
"""M-WAE, the ablation whose encoder is not conditioned on the mask."""
