"""The encoder of MAC-WAE: a single network conditioned on the mask of observed modalities.

For the values x_V of the modalities in a conditioning mask b,

    q(z | x_V, b) = e(h_1, .., h_M, c(b)),    h_m = e_m(x_m) if b_m = 1, else e_m(blank_m)

e_m is the encoder of modality m and h_m its features, blank_m the value that stands for a missing one, c the network
that encodes the mask, and e the joint encoder. q is a single code, or a Gaussian if the encoder is stochastic.

With `prior="flow"`, `fit` then trains a flow over the codes of the trained autoencoder (`polymodal.networks.flow`).
Posterior and unconditional samples come from the flow. It does not change the encoder, the decoders or the point
predictions.

Wide vectors of numbers, or all numbers and labels (`factors=`), also have a linear path (`polymodal.networks.factors`):
the code is z = (e(..), u), where u are the factors of these modalities given x_V, and the prediction of modality m is

    (1 - a_m) g_m(e(..)) + a_m (mean_m + L_m u)

g_m is the decoder; for a label, probabilities are mixed so. `fit` computes the factor model and the share a_m after the
last epoch, see `polymodal.training.linear_path`. Training does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

from polymodal.batch import Rows
from polymodal.distributions import DiagNormal, Dirac
from polymodal.modalities.costed import Costed
from polymodal.models.base import Given, Model, Weights
from polymodal.models.flow_codes import FlowCodes
from polymodal.networks import Conditioner, Factors, Fusion, evaluating
from polymodal.networks.cpu import have_members, run_stacked
from polymodal.networks.masked_linear import fill_missing
from polymodal.networks.one_hot import encode_one_hot
from polymodal.runtime.validation import check_whole
from polymodal.runtime.vectorizing import is_exporting, is_vectorizing
from polymodal.schema import Schema

__all__ = ["JointEncoder"]

BLOCK = 64
"""Number of masks to encode at once is a multiple of this."""
MOST_BITS = 62
"""Most modalities whose mask is a whole number of 64 bits."""
WIDE = 16
"""Minimum size of the largest vector for a linear path by default."""
FACTORS = 32
"""Number of factors by default."""
MOST_ELEMENTS = 256
"""Maximum number of numbers and classes of a linear path without wide vectors."""


class JointEncoder(Model):
    """A model with one encoder for all conditioning masks, and optionally a flow over its codes.

    Encodings of one batch under several masks share computations: a modality's encoder runs once on the batch and once
    on a blank, and each mask selects between their features.

    Arguments: See `polymodal.models.mac.MAC`.
    """

    def __init__(
        self,
        schema: Schema,
        latent_dim: int,
        weights: Weights,
        *,
        features: int | None,
        stochastic: bool,
        conditioned: bool,
        hidden: Sequence[int],
        mask_hidden: int,
        skip: bool,
        hidden_dropout: float,
        prior: str,
        factors: int | None,
    ) -> None:
        super().__init__(schema, latent_dim, weights)
        if features is not None and features < 1:
            raise ValueError(f"features must be at least 1, or None for the size of the code; got {features}")
        check_whole("mask_hidden", mask_hidden)
        self._check_choice("prior", prior, ["flow", "normal"])
        if not 0 <= hidden_dropout < 1:
            raise ValueError(f"hidden_dropout must be in [0, 1); got {hidden_dropout}")
        self.features, self.stochastic, self.conditioned = features, stochastic, conditioned
        self.hidden, self.mask_hidden = tuple(hidden), mask_hidden
        self.skip, self.hidden_dropout, self._prior = skip, hidden_dropout, prior
        width, outputs = features or latent_dim, 2 * latent_dim if stochastic else latent_dim
        self.encoders = nn.ModuleList(modality.build_encoder(width) for modality in schema.values())
        self.decoders = nn.ModuleList(modality.build_decoder(latent_dim) for modality in schema.values())
        self.conditioner = Conditioner(len(schema), latent_dim, mask_hidden) if conditioned else None
        extra = latent_dim if conditioned else 0
        self.joint = Fusion(len(schema), width, extra, self.hidden, outputs, skip=skip, dropout=hidden_dropout)
        self.factors = self._count_factors(factors)
        self.linear = Factors(self._linear_sizes, self.factors) if self.factors else None

    @property
    def arguments(self) -> dict[str, Any]:
        """See `Model.arguments`."""
        made = super().arguments
        return {**made, "prior": self._prior} if "prior" in made else made  # a subclass may not have this argument

    @property
    def code_dim(self) -> int:
        """Total size of a code z, with the factors."""
        return self.latent_dim + self.factors

    @property
    def _vectors(self) -> list[str]:
        return [name for name, one in self.schema.items() if one.is_linear and one.shape[0] > 1]

    @property
    def has_wide_vectors(self) -> bool:
        """Whether the linear path is between vectors, at least one of which is wide."""
        sizes = [self.schema[name].shape[0] for name in self._vectors]
        return len(sizes) > 1 and max(sizes) >= WIDE

    @cached_property
    def linear_names(self) -> list[str]:
        """Names of the modalities that the linear path reads and predicts.

        If a vector is wide, these are the vectors of several numbers. Otherwise they are all numbers and labels; none
        if there is only one, or if there are too many numbers and classes.
        """
        if self.has_wide_vectors:
            return self._vectors
        names = [
            name for name, one in self.schema.items() if one.is_linear or (isinstance(one, Costed) and one.is_paddable)
        ]
        return names if len(names) > 1 and sum(map(self._count_elements, names)) <= MOST_ELEMENTS else []

    def _count_elements(self, name: str) -> int:
        modality = self.schema[name]
        return modality.shape[0] if modality.levels is None else modality.levels

    @property
    def _linear_sizes(self) -> list[int]:
        return [self._count_elements(name) for name in self.linear_names]

    def read_linear_values(self, x: Mapping[str, Tensor]) -> list[Tensor]:
        """Returns the values that the linear path reads, `(B, size)` by place in `linear_names`.

        Classes are one-hot vectors, and missing elements are 0.
        """
        values = []
        for name in self.linear_names:
            if (levels := self.schema[name].levels) is None:
                values.append(fill_missing(x[name]))
            else:
                values.append(encode_one_hot(x[name], levels, self.weight.dtype))
        return values

    @property
    def deterministic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the posterior is a single code per row: the encoder is deterministic and there is no flow."""
        return not self.stochastic and self.flow is None

    @property
    def prior(self) -> Distribution:
        """The distribution that unconditional samples come from; see `Model.prior`."""
        if self.flow is None:
            return super().prior
        mean = F.pad(self.flow.mean.to(self.weight.dtype), (0, self.factors))
        return FlowCodes(mean, partial(self._transport, self.flow.transport, None), self.flow.restarts)

    @property
    def samples_by_flow(self) -> bool:
        """See `Model.samples_by_flow`."""
        return self._prior == "flow"

    def enable_flow(self) -> None:
        """See `Model.enable_flow`."""
        self._prior = "flow"

    def encode(self, batch: Rows, given: Given = None) -> Distribution:
        """Returns q(z | x_V, b), see `Model.encode`.

        Encoders of modalities that are missing in all rows, or not given, do not run. With a trained flow, samples come
        from the flow, and the mean is the mean of the encoder's posterior.
        """
        b = _merge_rows(self.condition(batch.observed, given))
        x = self.schema.hide(batch, self.weight.dtype)
        used = [True] * len(x) if is_exporting() else b.flatten(0, -2).any(0).tolist()
        posterior, u = self._infer(x, b, used), self._infer_factors(x, b)
        mean = posterior.mean if u is None else torch.cat([posterior.mean, u], dim=-1)
        if self.flow is None:
            return posterior if u is None else Dirac(mean)
        transport = partial(self.flow.transport, c=posterior.mean, b=b)
        return FlowCodes(mean, partial(self._transport, transport, u), self.flow.restarts)

    def encode_members(self, batch: Rows, given: Given = None) -> list[Distribution]:
        """Returns the posteriors of n members, see `encode`; all parameters begin with an axis of members."""
        b = self.condition(batch.observed, given)
        shape, b = b.shape[:-1], _merge_rows(b)
        x = self.schema.hide(batch, self.weight.dtype)
        q, u = self._infer(x, b.reshape(1, -1, *b.shape[-2:])), self._infer_factors(x, b)
        if self.stochastic:
            moments = (part.reshape(len(part), *shape, -1) for part in (q.mean, q.stddev))
            return [DiagNormal(*own) for own in zip(*moments, strict=True)]
        z = q.mean.reshape(len(q.mean), *shape, -1)
        return [Dirac(own) for own in (z if u is None else torch.cat([z, u], dim=-1))]

    def emit_each(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the decoders' outputs, see `Networks.emit_each`, blended with the linear predictions.

        Codes without factors, `(*, latent_dim)`, give the decoders' outputs. Codes of n members are `(n, *, code_dim)`.
        """
        codes = {id(own): own[..., : self.latent_dim] for own in z.values()}  # equal codes remain one object
        outputs = super().emit_each({name: codes[id(own)] for name, own in z.items()})
        for place, name in enumerate(self.linear_names if self.linear is not None else ()):
            if name in outputs and z[name].shape[-1] > self.latent_dim:
                assert self.linear is not None
                blend = self.linear.blend if self.schema[name].levels is None else self.linear.blend_scores
                outputs[name] = blend(outputs[name], z[name][..., self.latent_dim :], place)
        return outputs

    def encode_modalities(self, batch: Rows) -> Tensor:
        """Encodes each modality to features, `(B, M, F)`; missing modalities enter as their blanks."""
        x = self.schema.hide(batch, self.weight.dtype)
        return torch.stack([*self._encode_values(self.encoders, x).values()], dim=1)

    def fuse(self, features: Tensor, blanks: Tensor, b: Tensor) -> Distribution:
        """Returns the encoder's q(z | x_V, b) from features, without the flow.

        Arguments:
            features: Result of `encode_modalities`, `(B, M, F)`.
            blanks: Result of `encode_blanks`, `(M, F)`.
            b: Conditioning masks, `(*, B, M)` or `(*, 1, M)` bool.
        """
        mask = None if self.conditioner is None else self._encode_masks(b)
        z = self.joint(features, blanks, b, mask)
        return DiagNormal.of(*z.chunk(2, dim=-1)) if self.stochastic else Dirac(z)

    def _encode_masks(self, b: Tensor) -> Tensor:
        """Returns c(b) for masks `(*, M)`; in training on a CPU, equal masks are encoded once."""
        assert self.conditioner is not None
        dtype = self.weight.dtype
        if have_members(self.conditioner.network):
            flat = b.flatten(1, -2)[:, None].to(dtype)
            return run_stacked([self.conditioner.network], flat)[:, 0].unflatten(1, b.shape[1:-1])
        if b.device.type != "cpu" or b.shape[-1] > MOST_BITS or not torch.is_grad_enabled() or is_vectorizing():
            return self.conditioner(b.to(dtype))
        bits = torch.arange(b.shape[-1])
        numbers, place = (b.long() << bits).sum(-1).unique(return_inverse=True)
        distinct = (numbers[:, None] >> bits & 1).to(dtype)
        # Zeros fill up the last block, because libraries prepare themselves for every new number of rows.
        distinct = F.pad(distinct, (0, 0, 0, -len(distinct) % BLOCK))
        return self.conditioner(distinct).index_select(0, place.flatten()).unflatten(0, place.shape)

    def _count_factors(self, factors: int | None) -> int:
        """Returns the number of factors, at most that of the elements; 0 if there is no linear path.

        Raises:
            ValueError: The number is negative.
        """
        if factors is not None and factors < 0:
            raise ValueError(f"factors must not be negative; got {factors}; 0 disables the linear path")
        sizes = [] if self.stochastic else self._linear_sizes
        if factors is None:
            factors = FACTORS if self.has_wide_vectors else 0
        return min(factors, sum(sizes))

    def _infer_factors(self, x: dict[str, Tensor], b: Tensor) -> Tensor | None:
        """Returns the factors given values and masks `(*, B, M)` or `(*, 1, M)`, `(*, B, R)`; None without factors."""
        if self.linear is None:
            return None
        names = self.linear_names
        b = torch.stack([b[..., self.schema.index(name)] for name in names], dim=-1)
        if is_exporting():
            return torch.where(self.linear.share.any(), self.linear(self.read_linear_values(x), b), 0.0)
        if not self.linear.share.any():  # nothing is predicted by the factors
            members = self.linear.loadings.shape[:-2]
            return self.linear.loadings.new_zeros(*members, *b.shape[:-2], len(x[names[0]]), self.factors)
        return self.linear(self.read_linear_values(x), b)

    def _select_code(self, name: str, z: Tensor) -> Tensor:
        return z[..., : self.latent_dim] if z.shape[-1] > self.latent_dim else z

    def _transport(self, transport: Callable[..., Tensor], u: Tensor | None, noise: Tensor, **options: Any) -> Tensor:
        """Maps noise to codes by a flow, and appends factors u; None takes them from the noise."""
        if not self.factors:
            return transport(noise, **options)
        more = {
            name: [one[..., : self.latent_dim] for one in value]
            for name, value in options.items()
            if name == "restart_noise"
        }
        z = transport(noise[..., : self.latent_dim], **options | more)
        return torch.cat([z, noise[..., self.latent_dim :] if u is None else u.expand(*z.shape[:-1], -1)], dim=-1)

    def _infer(self, x: dict[str, Tensor], b: Tensor, used: list[bool] | None = None) -> Distribution:
        """Returns q(z | x, b) for values and masks `(*, B, M)` or `(*, 1, M)`; `used` says which encoders run."""
        if used is None:
            return self.fuse(*self._encode_with_blanks(x), b)
        blank = self.encode_blanks()
        names = [name for m, name in enumerate(self.schema) if used[m]]
        features = self._encode_values(self.encoders, {name: x[name] for name in names})
        hidden = blank.expand(next(iter(x.values())).shape[0], -1, -1).unbind(1)
        known = torch.stack([features.get(name, hidden[m]) for m, name in enumerate(self.schema)], dim=1)  # (B, M, F)
        return self.fuse(known, blank, b)

    def _encode_with_blanks(self, x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the features of all values, `(B, M, F)`, and of missing modalities, `(M, F)`.

        Features of n members begin with an axis for them.

        Fully connected encoders treat rows independently, so a blank is one more row of their input.
        """
        joined = self._groups.find_fully_connected(self.encoders)
        blanks = {name: blank for name, blank in self._make_blanks().items() if name in joined}
        x = {name: torch.cat([value, blanks[name]]) if name in blanks else value for name, value in x.items()}
        features = self._encode_values(self.encoders, x)
        if len(blanks) == len(x):
            every = torch.stack([*features.values()], dim=-2)
            return every[..., :-1, :, :], every[..., -1, :, :]
        others = self._encode_blanks([name for name in x if name not in blanks])
        blank = torch.cat([features[name][-1:] if name in blanks else others[name] for name in x])
        known = [value[:-1] if name in blanks else value for name, value in features.items()]
        return torch.stack(known, dim=1), blank

    def encode_blanks(self) -> Tensor:
        """Returns the features of missing modalities, `(M, F)`, without dropout, whose sample all rows would share."""
        return torch.cat([*self._encode_blanks([*self.schema]).values()])

    def _encode_blanks(self, names: list[str]) -> dict[str, Tensor]:
        blanks = self._make_blanks()
        with evaluating(self.encoders):
            return self._encode_values(self.encoders, {name: blanks[name] for name in names})

    def _make_blanks(self) -> dict[str, Tensor]:
        device, dtype = self.weight.device, self.weight.dtype
        return {name: one.blank_on(device, dtype)[None] for name, one in self.schema.items()}


def _merge_rows(b: Tensor) -> Tensor:
    """Returns masks `(*, B, M)` as `(*, 1, M)` if those of all rows are equal."""
    alike = not is_exporting() and b.shape[-2] > 0 and bool((b == b[..., :1, :]).all())
    return b[..., :1, :] if alike else b
