"""The base class of variational autoencoders with one encoder per modality."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from polymodal.batch import Rows
from polymodal.distributions import DiagNormal
from polymodal.models.base import Given, Loss, Model, Weights
from polymodal.objectives.aggregation import product
from polymodal.schema import Schema

__all__ = ["VAE", "divergence"]


class VAE(Model):
    """A model with a Gaussian unimodal posterior q_m(z | x_m), also called an expert, for each modality m.

    A subclass defines how the experts are combined, and the loss. Missing modalities contribute to neither.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the code D.
        weights: See `Model`.
        code: Size of a decoder's input, and of the mean of an expert; by default D.
    """

    likelihood = True

    def __init__(self, schema: Schema, latent_dim: int, weights: Weights, code: int | None = None) -> None:
        super().__init__(schema, latent_dim, weights)
        self.encoders = nn.ModuleList(modality.build_encoder(2 * (code or latent_dim)) for modality in schema.values())
        self.decoders = nn.ModuleList(modality.build_decoder(code or latent_dim) for modality in schema.values())

    def encode(self, batch: Rows, given: Given = None) -> Distribution:
        """Returns q(z | x_V), see `Model.encode`."""
        b = self.condition(batch.observed, given)
        return self._infer(self.schema.hide(batch, self.weight.dtype), b)

    def _infer(self, x: Mapping[str, Tensor], b: Tensor) -> Distribution:
        """Returns q(z | x_V) for prepared values `(B, *shape)` and the conditioning mask b, `(*, B, M)` bool."""
        return product(*self._encode_experts(x), b)

    def _encode_experts(self, x: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the means and log-variances of all q_m, `(B, M, D)` each; arbitrary for missing modalities."""
        outputs = [*self._encode_values(self.encoders, x).values()]
        mean, log_variance = torch.stack(outputs, dim=1).to(self.weight.dtype).chunk(2, dim=-1)
        return mean, log_variance

    def _compute_divergences(self, q: Distribution, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Computes KL(q || q_m) between a Gaussian `(B, D)` and every expert, `(B, M)`."""
        every = DiagNormal(q.mean[:, None].expand_as(mean), q.stddev[:, None].expand_as(mean))
        return kl_divergence(every, DiagNormal.of(mean, log_variance))

    def _make_loss(self, costs: Tensor, penalties: Mapping[str, Tensor], total: Tensor) -> Loss:
        """Returns a `Loss` with mean costs `(M,)` and penalties by name as its terms."""
        terms = {f"cost/{name}": cost for name, cost in zip(self.schema, costs, strict=True)}
        return Loss(total, terms | {f"penalty/{name}": value for name, value in penalties.items()})


def divergence(q: Distribution, p: Distribution) -> Tensor:
    """Computes KL(q || p) in nats, `(*, B)`; p is broadcast to the batch shape of q."""
    return kl_divergence(q, p.expand(q.batch_shape))
