"""MAC-WAE and its two ablations: one class, three registered variants."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from polymodal.batch import Batch, Rows
from polymodal.distributions import DiagNormal, Dirac
from polymodal.memory import free, kept
from polymodal.models.base import Given, Loss, Model, Plan, Weights
from polymodal.models.pieces import Piece, cut, summed
from polymodal.names import lookup
from polymodal.networks import Conditioner, Fusion, evaluating
from polymodal.objectives import conditioning
from polymodal.objectives.regularizers import REGULARIZERS
from polymodal.schema import Schema

__all__ = ["MAC", "m_wae", "mac_vae", "mac_wae"]

MOST_SUBSETS = 4095


class MAC(Model):
    """Multimodal arbitrary conditioning: one encoder that is told what it sees, one decoder per modality.

    Each step draws K conditioning indices b, encodes the batch under each, and decodes every modality from
    every code, the hidden ones too:
    `L = mean_k [ mean_i sum_m w_m c_m(x_im, g_m(z_ik)) + beta progress D(z_k) ]`.
    The K passes share all that they can: a modality's encoder runs once on the batch and once on a blank, and
    equal indices are decoded once where codes are deterministic.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the code, and of each modality's features.
        beta: Weight of the penalty.
        p0: Probability that a modality is hidden in training, in [0, 1).
        draws: Conditioning indices per step, K.
        indices: "per-batch" draws one index per pass, "per-sample" one per row and pass (a weaker penalty),
            "exhaustive" takes every subset once and weights it by p(b).
        stochastic: Gaussian posterior in place of a deterministic code.
        conditioned: Whether the encoder is told b.
        regularizer: A name in REGULARIZERS.
        bandwidth: Of the regulariser's kernel; by default its own, 1.
        hidden: Sizes of the hidden layers of the joint encoder.
        at_once: Codes that go through a decoder at once. All K B of them do by default, unless what their backward
            pass needs would take more than half of the memory that is left. With fewer, gradients are taken piece by
            piece: they are the same, and the memory does not grow with K. Decoders must treat rows independently.
            On a CPU each decoder's are taken before the next one runs in any case, while its outputs are near.
        reconstruction: What is minimised: "cost", each modality's cost, or "likelihood", -log p(x | z). The
            two differ for `l2` only.
        weights: See `Model`.

    Raises:
        ValueError: An argument is out of its range, or the KL divergence is asked of a deterministic encoder.

    Source: MAC-WAE (Tokar and Sanner, AAAI 2026), Eq. 7-9 and Algorithm 1. Departures: the loss of
    `exhaustive` is weighted by p(b), as Eq. 9 says and the authors' code does not; defaults use the natural
    likelihoods and balanced weights where the paper has `l2` and weights of 1.
    """

    name = "mac-wae"

    def __init__(
        self,
        schema: Schema,
        latent_dim: int = 64,
        *,
        beta: float = 1.0,
        p0: float = 0.4,
        draws: int = 10,
        indices: Literal["per-batch", "per-sample", "exhaustive"] = "per-batch",
        stochastic: bool = False,
        conditioned: bool = True,
        regularizer: str = "mmd",
        bandwidth: float | None = None,
        hidden: Sequence[int] = (512,),
        at_once: int | None = None,
        reconstruction: Literal["cost", "likelihood"] = "cost",
        weights: Weights = "balanced",
    ) -> None:
        super().__init__(schema, latent_dim, weights)
        self.beta, self.p0, self.draws, self.indices = beta, p0, draws, indices
        self.stochastic, self.conditioned, self.hidden = stochastic, conditioned, tuple(hidden)
        self.regularizer, self.bandwidth, self.reconstruction = regularizer, bandwidth, reconstruction
        self.at_once, self._fitting, self._probed = at_once, 0, {}
        self._check()
        penalty = lookup(REGULARIZERS, regularizer, "regularizer")
        self.penalty = penalty() if bandwidth is None else penalty(bandwidth)  # pyright: ignore[reportCallIssue]
        self.encoders = nn.ModuleList(modality.build_encoder(latent_dim) for modality in schema.values())
        self.decoders = nn.ModuleList(modality.build_decoder(latent_dim) for modality in schema.values())
        self.conditioner = Conditioner(len(schema), latent_dim) if conditioned else None
        self.joint = Fusion(
            len(schema),
            latent_dim,
            latent_dim if conditioned else 0,
            self.hidden,
            2 * latent_dim if stochastic else latent_dim,
        )

    @property
    def deterministic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the posterior is one code per row."""
        return not self.stochastic

    @property
    def likelihood(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether reconstruction is -log p(x | z) rather than the modalities' costs."""
        return self.reconstruction == "likelihood"

    def encode(self, batch: Rows, given: Given = None) -> Distribution:
        """q(z | x_V, b), see `Model.encode`. Encoders of modalities that no row is given do not run."""
        b = self.condition(batch.observed, given)
        x, seen = self.schema.hide(batch, self.weight.dtype), b.flatten(0, -2).any(0).tolist()
        alike = len(batch.observed) > 0 and bool((b == b[..., :1, :]).all())
        return self._posterior(x, b[..., :1, :] if alike else b, seen)

    def plan(self, observed: Tensor) -> Plan:
        """The conditioning indices, see `Model.plan`.

        Returns:
            Those that differ, `(U, B, M)` bool (all K where codes are drawn); which of them each pass has, `(K,)`
            int64; and what share of the loss each pass has, `(K,)`.
        """
        b, share = self._draw(observed)
        once, again = _distinct(b) if self.deterministic else (b, torch.arange(len(b), device=b.device))
        return once, again, share

    def part(self, plan: Plan, rows: slice) -> Plan:
        """See `Model.part`."""
        once, again, share = plan
        return once[:, rows], again, share

    def loss(self, batch: Batch, *, progress: float | Tensor = 1.0, plan: Plan = ()) -> Loss:
        """Eq. 9 on a batch, see `Model.loss`."""
        x = self.schema.hide(batch, self.weight.dtype)
        once, again, share = plan or self.plan(batch.observed)
        shares = share.new_zeros(len(once)).index_add(0, again, share)
        posterior = self._posterior(x, once, [True] * len(self.schema))
        z = posterior.rsample()
        total, costs = self._reconstruction(x, z, batch.observed, shares)
        penalty = self.penalty(posterior, z[again], self.prior)
        penalty = penalty.to(share.dtype) @ share
        terms = {f"cost/{name}": cost for name, cost in zip(self.schema, costs, strict=True)}
        total = total + self.beta * progress * penalty
        return Loss(total, {**terms, f"penalty/{self.regularizer}": penalty})

    def _draw(self, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Conditioning indices `(K, B, M)` of a batch and their shares of the loss `(K,)`."""
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
        """What it costs to reconstruct from codes `(U, B, D)`, weighted, and what each modality costs, `(M,)`."""
        most, (passes, rows, _) = self._most(z), z.shape
        if most >= passes * rows and z.device.type != "cpu":
            costs = self.costs(x, z, observed).mean(-1) @ shares
            return self.weight @ costs, costs
        costs, total = torch.zeros_like(self.weight), self.weight.new_zeros(())
        for names in self._alike(self.decoders, self.schema):
            decoders = [self.decoders[self.schema.index(name)] for name in names]
            parameters = dict.fromkeys(p for decoder in decoders for p in decoder.parameters())
            part = partial(self._part, names, x, observed, shares, costs)
            total = total + summed(part, z, parameters, cut(passes, rows, most))
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
        """What alike modalities cost from a piece of the codes, weighted; unweighted it is added to `costs`, `(M,)`."""
        passes, rows = piece
        columns = [self.schema.index(name) for name in names]
        here = {name: x[name][rows] for name in names}
        some = self._costs(here, dict.fromkeys(names, z), observed[rows]).sum(-1) @ shares[passes] / len(observed)
        costs[columns] += some.detach()
        return self.weight[columns] @ some

    def _most(self, z: Tensor) -> int:
        """How many codes go through the decoders at once: all of them, unless they would not fit in memory."""
        codes = z.shape[0] * z.shape[1]
        if self.at_once is not None or codes <= self._fitting:
            return self.at_once or codes
        if z.dtype not in self._probed:
            self._probed[z.dtype] = self._bytes(z.detach().new_zeros(4, self.code_dim))
        most = int(free(z.device) / 2 // self._probed[z.dtype])
        self._fitting = codes if codes <= most else self._fitting
        return max(1, most)

    def _bytes(self, probe: Tensor) -> float:
        """What the decoders' backward pass needs for one more code, seen on four."""
        with torch.enable_grad(), evaluating(self.decoders):
            few, more = (kept(partial(self.emit, probe[:n])) for n in (2, 4))
        return max(1, (more - few) / 2)

    def _posterior(self, x: dict[str, Tensor], b: Tensor, seen: list[bool]) -> Distribution:
        """q(z | x, b) of prepared values under `(*, B, M)` or `(*, 1, M)`; `seen` tells which encoders must run."""
        blank = self._blanks()
        features = self._encoded(self.encoders, {name: x[name] for m, name in enumerate(self.schema) if seen[m]})
        hidden = blank.expand(len(next(iter(x.values()))), -1, -1).unbind(1)
        known = torch.stack([features.get(name, hidden[m]) for m, name in enumerate(self.schema)], dim=1)  # (B, M, F)
        z = self.joint(known, blank, b, None if self.conditioner is None else self.conditioner(b.to(self.weight.dtype)))
        if self.deterministic:
            return Dirac(z)
        return DiagNormal.of(*z.chunk(2, dim=-1))

    def _blanks(self) -> Tensor:
        """Features of hidden modalities, `(M, F)`; without dropout, which would be one draw for all rows."""
        device, dtype = self.weight.device, self.weight.dtype
        blanks = {name: one.blank_on(device, dtype)[None] for name, one in self.schema.items()}
        with evaluating(self.encoders):
            features = self._encoded(self.encoders, blanks)
        return torch.cat([*features.values()])

    def _check(self) -> None:
        if not 0 <= self.p0 < 1:
            raise ValueError(f"p0 must be in [0, 1), got {self.p0}; with 1.0 nothing would ever be observed")
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"at_once must be at least 1, or None; got {self.at_once}")
        self._check_factors(beta=self.beta)
        for name, choices in {
            "indices": ("per-batch", "per-sample", "exhaustive"),
            "reconstruction": ("cost", "likelihood"),
        }.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        if self.indices == "exhaustive" and 2 ** len(self.schema) - 1 > MOST_SUBSETS:
            raise ValueError(
                f"exhaustive indices need 2^M - 1 passes, at most {MOST_SUBSETS}; {len(self.schema)} modalities "
                "are too many; use indices='per-batch'"
            )
        if self.regularizer == "kl" and not self.stochastic:
            raise ValueError(
                "the KL divergence needs a stochastic encoder, for that of a single point is infinite; "
                "pass stochastic=True, or regularizer='mmd'"
            )
        if self.regularizer == "kl" and self.bandwidth is not None:
            raise ValueError(f"bandwidth belongs to a kernel, and 'kl' has none; got {self.bandwidth}; leave it out")


mac_wae = MAC
"""The paper's model."""

mac_vae = partial(MAC, stochastic=True, regularizer="kl", reconstruction="likelihood")
"""The ablation with a Gaussian posterior, the KL divergence and likelihoods."""

m_wae = partial(MAC, conditioned=False)
"""The ablation whose encoder is not told which modalities it sees."""


def _distinct(b: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct ones of the indices `(K, B, M)`, and which of them each was, `(K,)`."""
    flat, again = b.flatten(1).unique(dim=0, return_inverse=True)
    return flat.unflatten(1, b.shape[1:]), again
