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

With `prior="flow"`, `fit` then trains a flow over the codes of the trained autoencoder (`polymodal.networks.flow`).
Posterior and unconditional samples come from the flow. It does not change the encoder, the decoders or the point
predictions.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from math import exp, lgamma, sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from polymodal.batch import Batch, Rows
from polymodal.distributions import DiagNormal, Dirac
from polymodal.models.base import Given, Loss, Model, Plan, Weights
from polymodal.models.flow_codes import FlowCodes
from polymodal.networks import Conditioner, Fusion, evaluating
from polymodal.networks.cpu.chunked import Piece, cut, sum_chunks
from polymodal.objectives import conditioning
from polymodal.objectives.regularizers import (
    MMD,
    REGULARIZERS,
    Regularizer,
    make_regularizer,
    spell_regularizer,
)
from polymodal.runtime.memory import count_saved_bytes, measure_free_memory
from polymodal.schema import Schema

__all__ = ["MAC", "m_wae", "mac_vae", "mac_wae", "upgrade_arguments"]

MOST_SUBSETS = 4095


class MAC(Model):
    """Multimodal arbitrary conditioning: one encoder conditioned on the mask of observed modalities.

    Each step samples K conditioning masks b, encodes the batch under each mask, and decodes every modality from
    every code, including the modalities that the mask leaves out. The K passes share computations: a modality's
    encoder runs once on the batch and once on a blank (the input that stands for a missing value), and equal masks are
    decoded once if codes are deterministic. The module docstring states the loss.

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
        skip: Whether a linear map of the features and of c(b) is added to the joint encoder's output. Without it, the
            model learns more slowly.
        at_once: Number of codes that a decoder processes at once. By default all K B codes, unless their backward pass
            would need more than half of the free memory. With fewer codes, gradients are computed chunk by chunk: they
            are the same, and the memory does not grow with K. Decoders must treat rows independently. On a CPU, each
            decoder's gradients are always computed before the next decoder runs.
        reconstruction: Reconstruction term: "cost", each modality's cost, or "likelihood", -log p(x | z). The two
            differ for `l2` only.
        weights: See `Model`.
        prior: Distribution that samples come from: "flow", a flow that `fit` trains on the codes of the best epoch's
            autoencoder, or "normal", the standard normal prior (and the Gaussian posterior of a stochastic encoder).

    Raises:
        ValueError: An argument is out of its range, or the penalty is the KL divergence and the encoder deterministic.

    Source: MAC-WAE (Tokar and Sanner, AAAI 2026), Eq. 7-9 and Algorithm 1. Departures: p(b) weights the loss of
    `exhaustive`, as in Eq. 9 but not in the authors' code. The defaults are natural likelihoods and balanced weights,
    where the paper uses `l2` and weights of 1, and a relative sliced Wasserstein penalty and masks of every size, where
    the paper uses `relative=False`, `regularizer="mmd"`, `beta=1` and `p0=0.4`.
    """

    name = "mac-wae"
    reference_cost: Tensor

    def __init__(
        self,
        schema: Schema,
        latent_dim: int = 64,
        *,
        features: int | None = None,
        beta: float = 0.1,
        p0: float | None = None,
        draws: int = 10,
        indices: Literal["per-batch", "per-sample", "exhaustive"] = "per-batch",
        stochastic: bool = False,
        conditioned: bool = True,
        regularizer: str | Regularizer = "sliced",
        relative: bool | None = None,
        bandwidth: float | None = None,
        hidden: Sequence[int] = (512,),
        skip: bool = True,
        at_once: int | None = None,
        reconstruction: Literal["cost", "likelihood"] = "cost",
        weights: Weights = "balanced",
        prior: Literal["flow", "normal"] = "normal",
    ) -> None:
        super().__init__(schema, latent_dim, weights)
        self.beta, self.p0, self.draws, self.indices = beta, p0, draws, indices
        self.stochastic, self.conditioned, self.hidden, self.skip = stochastic, conditioned, tuple(hidden), skip
        self.features = features
        self.penalty = make_regularizer(_with_bandwidth(regularizer, bandwidth))
        registered = type(self.penalty) in REGULARIZERS.values()
        self.regularizer = spell_regularizer(self.penalty) if registered else self.penalty
        self.bandwidth, self.reconstruction = None, reconstruction
        self.at_once, self._fitting, self._probed = at_once, 0, {}
        self._prior = prior
        self.relative = self.penalty.on_samples if relative is None else relative
        self._check()
        if self.relative:
            self.register_buffer("reference_cost", torch.ones(()))
            self.weighed.fill_(False)
        width = latent_dim if features is None else features
        self.encoders = nn.ModuleList(modality.build_encoder(width) for modality in schema.values())
        self.decoders = nn.ModuleList(modality.build_decoder(latent_dim) for modality in schema.values())
        self.conditioner = Conditioner(len(schema), latent_dim) if conditioned else None
        self.joint = Fusion(
            len(schema),
            width,
            latent_dim if conditioned else 0,
            self.hidden,
            2 * latent_dim if stochastic else latent_dim,
            skip=skip,
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """See `Model.arguments`."""
        made = super().arguments
        return {**made, "prior": self._prior} if "prior" in made else made  # a subclass may lack this argument

    @property
    def deterministic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the posterior is a single code per row: the encoder is deterministic and there is no flow."""
        return not self.stochastic and self.flow is None

    @property
    def document(self) -> dict[str, Any]:
        """See `Model.document`.

        Raises:
            ValueError: A modality or the regulariser is not registered.
        """
        spell_regularizer(self.penalty)
        return super().document

    @property
    def prior(self) -> Distribution:
        """The distribution that unconditional samples come from; see `Model.prior`."""
        if self.flow is None:
            return super().prior
        return FlowCodes(self.flow.mean.to(self.weight.dtype), self.flow.transport, self.flow.restarts)

    @property
    def samples_by_flow(self) -> bool:
        """See `Model.samples_by_flow`."""
        return self._prior == "flow"

    def enable_flow(self) -> None:
        """See `Model.enable_flow`."""
        self._prior = "flow"

    @property
    def constants(self) -> dict[str, float]:
        """Mean norm of standard normal codes, and R if the penalty is relative. See `Model.constants`."""
        norm = sqrt(2) * exp(lgamma((self.latent_dim + 1) / 2) - lgamma(self.latent_dim / 2))
        reference = {"reference_cost": float(self.reference_cost)} if self.relative else {}
        return {"prior_norm": norm, **reference}

    def set_reference_cost(self, reference_cost: float) -> None:
        """Sets the weighted cost R of the best constant prediction. See `Model.set_reference_cost`."""
        if self.relative:
            self.reference_cost.fill_(reference_cost)

    @property
    def likelihood(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the reconstruction term is -log p(x | z) rather than the modalities' costs."""
        return self.reconstruction == "likelihood"

    def encode(self, batch: Rows, given: Given = None) -> Distribution:
        """Returns q(z | x_V, b), see `Model.encode`.

        Encoders of modalities that are missing in all rows, or not given, do not run. With a trained flow, samples come
        from the flow, and the mean is the mean of the encoder's posterior.
        """
        b = self.condition(batch.observed, given)
        x, seen = self.schema.hide(batch, self.weight.dtype), b.flatten(0, -2).any(0).tolist()
        alike = len(batch.observed) > 0 and bool((b == b[..., :1, :]).all())
        b = b[..., :1, :] if alike else b
        posterior = self._posterior(x, b, seen)
        if self.flow is None:
            return posterior
        return FlowCodes(posterior.mean, partial(self.flow.transport, c=posterior.mean, b=b), self.flow.restarts)

    def encode_modalities(self, batch: Rows) -> Tensor:
        """Encodes each modality to features, `(B, M, F)`; missing modalities enter as their blanks."""
        x = self.schema.hide(batch, self.weight.dtype)
        return torch.stack([*self._encoded(self.encoders, x).values()], dim=1)

    def fuse(self, features: Tensor, blanks: Tensor, b: Tensor) -> Distribution:
        """Returns the encoder's q(z | x_V, b) from features, without the flow.

        Arguments:
            features: Result of `encode_modalities`, `(B, M, F)`.
            blanks: Result of `encode_blanks`, `(M, F)`.
            b: Conditioning masks, `(*, B, M)` or `(*, 1, M)` bool.
        """
        mask = None if self.conditioner is None else self.conditioner(b.to(self.weight.dtype))
        z = self.joint(features, blanks, b, mask)
        return DiagNormal.of(*z.chunk(2, dim=-1)) if self.stochastic else Dirac(z)

    def plan(self, observed: Tensor) -> Plan:
        """Samples the conditioning masks, see `Model.plan`.

        Returns:
            The distinct masks, `(U, B, M)` bool (all K masks if the encoder is stochastic); the index of each pass's
            mask among them, `(K,)` int64; and the weight of each pass in the loss, `(K,)`.
        """
        b, share = self._draw(observed)
        once, again = (b, torch.arange(len(b), device=b.device)) if self.stochastic else _distinct(b)
        return once, again, share

    def part(self, plan: Plan, rows: slice) -> Plan:
        """See `Model.part`."""
        once, again, share = plan
        return once[:, rows], again, share

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0, plan: Plan = ()) -> Loss:
        """Computes the loss L of a batch (Eq. 9), see the module docstring and `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        once, again, share = plan or self.plan(batch.observed)
        shares = share.new_zeros(len(once)).index_add(0, again, share)
        posterior = self._posterior(x, once, [True] * len(self.schema))
        z = posterior.rsample()
        total, costs = self._reconstruction(x, z, batch.observed, shares)
        penalty = self.penalty(posterior, z[again], self._standard(self.code_dim))
        penalty = penalty.to(share.dtype) @ share
        terms = {f"cost/{name}": cost for name, cost in zip(self.schema, costs, strict=True)}
        terms["codes/norm"] = z.detach().to(share.dtype).norm(dim=-1).mean(-1) @ shares
        scale = self.beta * self.reference_cost if self.relative else self.beta
        total = total + scale * progress * penalty
        return Loss(total, {**terms, f"penalty/{self._penalty_name}": penalty})

    @property
    def _penalty_name(self) -> str:
        text = self.regularizer if isinstance(self.regularizer, str) else type(self.regularizer).__name__.lower()
        return text.partition("(")[0]

    def _draw(self, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Samples conditioning masks `(K, B, M)` for a batch; also returns their weights in the loss, `(K,)`."""
        if self.indices == "exhaustive":
            every = conditioning.subsets(len(self.schema), observed.device)
            b = every[:, None] & observed
            share = conditioning.probabilities(every, self.p0).to(self.weight.dtype)
            return torch.where(b.any(-1, keepdim=True), b, observed), share
        b = conditioning.sample(observed, self.draws, self.p0, per_sample=self.indices == "per-sample")
        return b, torch.full((self.draws,), 1 / self.draws, dtype=self.weight.dtype, device=observed.device)

    def _reconstruction(
        self, x: dict[str, Tensor], z: Tensor, observed: Tensor, shares: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Computes the weighted reconstruction term from codes `(U, B, D)`, and the cost of each modality, `(M,)`."""
        most, (passes, rows, _) = self._most(z), z.shape
        if most >= passes * rows and z.device.type != "cpu":
            costs = self.costs(x, z, observed).mean(-1) @ shares
            return self.weight @ costs, costs
        costs, total = torch.zeros_like(self.weight), self.weight.new_zeros(())
        for names in self._alike(self.decoders, self.schema):
            decoders = [self.decoders[self.schema.index(name)] for name in names]
            parameters = dict.fromkeys(p for decoder in decoders for p in decoder.parameters())
            part = partial(self._part, names, x, observed, shares, costs)
            total = total + sum_chunks(part, z, parameters, cut(passes, rows, most))
        return total, costs

    def _part(
        self,
        names: list[str],
        x: dict[str, Tensor],
        observed: Tensor,
        shares: Tensor,
        costs: Tensor,
        z: Tensor,
        piece: Piece,
    ) -> Tensor:
        """Computes the weighted cost of a group of modalities for one chunk of codes.

        It adds the unweighted costs to `costs`, `(M,)`.
        """
        passes, rows = piece
        columns = [self.schema.index(name) for name in names]
        here = {name: x[name][rows] for name in names}
        some = self._costs(here, dict.fromkeys(names, z), observed[rows]).sum(-1) @ shares[passes] / len(observed)
        costs[columns] += some.detach()
        return self.weight[columns] @ some

    def _most(self, z: Tensor) -> int:
        """Returns the number of codes to decode at once: all of them, unless they do not fit in memory."""
        codes = z.shape[0] * z.shape[1]
        if self.at_once is not None or codes <= self._fitting:
            return self.at_once or codes
        if z.dtype not in self._probed:
            self._probed[z.dtype] = self._bytes(z.detach().new_zeros(4, self.code_dim))
        most = int(measure_free_memory(z.device) / 2 // self._probed[z.dtype])
        self._fitting = codes if codes <= most else self._fitting
        return max(1, most)

    def _bytes(self, probe: Tensor) -> float:
        """Estimates the bytes that the decoders' backward pass needs per code, from two and four codes."""
        with torch.enable_grad(), evaluating(self.decoders):
            few, more = (count_saved_bytes(partial(self.emit, probe[:n])) for n in (2, 4))
        return max(1, (more - few) / 2)

    def _posterior(self, x: dict[str, Tensor], b: Tensor, seen: list[bool]) -> Distribution:
        """Returns q(z | x, b) for prepared values and masks `(*, B, M)` or `(*, 1, M)`; only encoders in `seen` run."""
        blank = self.encode_blanks()
        features = self._encoded(self.encoders, {name: x[name] for m, name in enumerate(self.schema) if seen[m]})
        hidden = blank.expand(len(next(iter(x.values()))), -1, -1).unbind(1)
        known = torch.stack([features.get(name, hidden[m]) for m, name in enumerate(self.schema)], dim=1)  # (B, M, F)
        return self.fuse(known, blank, b)

    def encode_blanks(self) -> Tensor:
        """Returns the features of missing modalities, `(M, F)`, without dropout, whose sample all rows would share."""
        device, dtype = self.weight.device, self.weight.dtype
        blanks = {name: one.blank_on(device, dtype)[None] for name, one in self.schema.items()}
        with evaluating(self.encoders):
            features = self._encoded(self.encoders, blanks)
        return torch.cat([*features.values()])

    def _check(self) -> None:
        if self.p0 is not None and not 0 <= self.p0 < 1:
            raise ValueError(
                f"p0 must be in [0, 1), got {self.p0}; with 1.0 nothing would ever be observed; "
                "None samples masks of every size"
            )
        if self.features is not None and self.features < 1:
            raise ValueError(f"features must be at least 1, or None for the size of the code; got {self.features}")
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"at_once must be at least 1, or None; got {self.at_once}")
        self._check_factors(beta=self.beta)
        for name, choices in {
            "indices": ("per-batch", "per-sample", "exhaustive"),
            "reconstruction": ("cost", "likelihood"),
            "_prior": ("flow", "normal"),
        }.items():
            if (chosen := getattr(self, name)) not in choices:
                raise ValueError(f"{name.strip('_')} must be one of {', '.join(choices)}; got {chosen!r}")
        if self.indices == "exhaustive" and 2 ** len(self.schema) - 1 > MOST_SUBSETS:
            raise ValueError(
                f"exhaustive indices need 2^M - 1 passes, at most {MOST_SUBSETS}; {len(self.schema)} modalities "
                "are too many; use indices='per-batch'"
            )
        if not self.penalty.on_samples and not self.stochastic:
            raise ValueError(
                f"{self.regularizer!r} needs a stochastic encoder, for the divergence of a single point is infinite; "
                "pass stochastic=True, or a penalty on samples such as regularizer='sliced'"
            )


mac_wae = MAC
"""MAC-WAE, the paper's model."""

mac_vae = partial(MAC, beta=1.0, stochastic=True, regularizer="kl", reconstruction="likelihood")
"""MAC-VAE, the ablation with a Gaussian posterior, the KL divergence and likelihoods."""

m_wae = partial(MAC, conditioned=False)
"""M-WAE, the ablation whose encoder is not conditioned on the mask."""


def upgrade_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Converts the arguments of a model that was saved before `relative` existed to current ones.

    Arguments:
        arguments: Arguments from a file of format 1, or settings of that time, which always contain `bandwidth`.
    """
    bandwidth = arguments.get("bandwidth")
    named = arguments.get("regularizer", "mmd")
    regularizer = spell_regularizer(MMD(bandwidth)) if named == "mmd" and bandwidth is not None else named
    return {"relative": False, "skip": False, **arguments, "regularizer": regularizer, "bandwidth": None}


def _with_bandwidth(regularizer: str | Regularizer, bandwidth: float | None) -> str | Regularizer:
    """Returns the regulariser, with the deprecated argument `bandwidth` applied."""
    if bandwidth is None:
        return regularizer
    if regularizer != "mmd":
        raise ValueError(
            f"bandwidth belongs to 'mmd'; got bandwidth={bandwidth} with regularizer={regularizer!r}; "
            f"write regularizer='mmd({bandwidth:g})'"
        )
    warnings.warn(f"bandwidth is deprecated; write regularizer='mmd({bandwidth:g})'", DeprecationWarning, stacklevel=4)
    return MMD(bandwidth)


def _distinct(b: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distinct masks of `(K, B, M)`, and the index of each mask among them, `(K,)`."""
    flat, again = b.flatten(1).unique(dim=0, return_inverse=True)
    return flat.unflatten(1, b.shape[1:]), again
