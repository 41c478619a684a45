"""The plain loops of the two mixtures of experts, one pass per expert and draw.

Each pass runs every encoder, for the density of a code under the mixture needs all experts, draws a code of one
expert, and runs every decoder on it.
"""

from __future__ import annotations

from math import log
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Laplace, Normal

from benchmarks.parts import Rows, expert, rec
from polymodal.batch import Batch

__all__ = ["mmvae", "mmvae_plus"]


def mmvae(model: Any, batch: Batch) -> Tensor:
    """Returns the negative mean of the experts' bounds, a scalar. Source: Shi et al. (2019), Eq. 3-4."""
    x = model.schema.hide(batch, model.weight.dtype)
    noise = _noise(model, model.draws, len(batch), len(x), model.latent_dim)
    total = model.weight.new_zeros(())
    for m in range(len(x)):
        passes = [_one_pass(model, x, m, noise[k, :, m]) for k in range(model.draws)]
        total = total - _bound(model, passes).mean() / len(x)
    return total


def _one_pass(model: Any, x: Rows, m: int, noise: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Returns the log-weights `(B,)` of a code that expert m samples, and the code `(B, D)`."""
    experts = [expert(model, x, n) for n in range(len(x))]
    z = _sample_posterior(model, *experts[m], noise)
    zeros = model.weight.new_zeros(model.latent_dim)
    prior = _family(model, zeros, zeros if model.prior_logits is None else model.prior_logits)
    return prior.log_prob(z).sum(-1) - _sample_mixture(model, experts, z) - rec(model, x, z), [z]


def mmvae_plus(model: Any, batch: Batch) -> Tensor:
    """Returns the negative mean of the experts' bounds, a scalar. Source: Palumbo et al. (2023), Eq. 4 and 6."""
    x = model.schema.hide(batch, model.weight.dtype)
    shape = model.draws, len(batch), len(x)
    noise, own = _noise(model, *shape, model.latent_dim), _noise(model, *shape, model.private_dim)
    others = _noise(model, model.draws, len(x), len(batch), len(x), model.private_dim)
    total = model.weight.new_zeros(())
    for m in range(len(x)):
        draws = [(noise[k, :, m], own[k, :, m], others[k, m]) for k in range(model.draws)]
        total = total - _bound(model, [_one_pass_plus(model, x, m, *each) for each in draws]).mean() / len(x)
    return total


def _one_pass_plus(
    model: Any, x: Rows, m: int, noise: Tensor, own: Tensor, others: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Returns the log-weights `(B,)` of expert m's codes and the codes, with noise `(B, D)`, `(B, P)`, `(B, M, P)`.

    Source: Palumbo et al. (2023), Eq. 4.
    """
    outputs = [expert(model, x, n) for n in range(len(x))]
    mean, raw = ([parts[i][:, : model.latent_dim] for parts in outputs] for i in (0, 1))
    u_mean, u_raw = (part[:, model.latent_dim :] for part in outputs[m])
    z, u = _sample_posterior(model, mean[m], raw[m], noise), _sample_posterior(model, u_mean, u_raw, own)
    cost = model.weight.new_zeros(len(z))
    for n, (name, modality) in enumerate(model.schema.items()):
        scales = model.auxiliary[n]
        private = u if n == m else _sample_posterior(model, torch.zeros_like(scales), scales, others[:, n])
        parameters = model.decoders[n](torch.cat([z, private], dim=1))
        cost = cost + model.weight[n] * modality.nll(parameters, x[name])
    densities = _score_standard(model, z) + _score_standard(model, u)
    densities = densities - _sample_mixture(model, list(zip(mean, raw, strict=True)), z)
    densities = densities - _family(model, *_fixed(model, u_mean, u_raw)).log_prob(u).sum(-1)
    return model.beta * densities - cost, [z, u]


def _bound(model: Any, passes: list[tuple[Tensor, list[Tensor]]]) -> Tensor:
    """Returns the bound `(B,)` of K log-weights and their codes. Source: Tucker et al. (2019), Eq. 8."""
    weights = torch.stack([each for each, _ in passes])  # (K, B)
    value = weights.logsumexp(0) - log(len(weights))
    if model.estimator == "iwae":
        return value
    share = weights.detach().softmax(0)
    for k, (_, codes) in enumerate(passes):
        for code in codes:
            code.register_hook(lambda gradient, k=k: gradient * share[k][:, None])
    surrogate = (share * weights).sum(0)
    return surrogate + (value - surrogate).detach()


def _sample_mixture(model: Any, experts: list[tuple[Tensor, Tensor]], z: Tensor) -> Tensor:
    """Returns the log-density `(B,)` of codes under the mixture, log (1/M) sum_n q_n(z)."""
    densities = [_family(model, *_fixed(model, *each)).log_prob(z).sum(-1) for each in experts]
    return torch.stack(densities).logsumexp(0) - log(len(experts))


def _score_standard(model: Any, z: Tensor) -> Tensor:
    """Log-density `(B,)` under the standard distribution of the family."""
    law = Normal if model.family == "normal" else Laplace
    return law(torch.zeros_like(z), torch.ones_like(z), validate_args=False).log_prob(z).sum(-1)


def _family(model: Any, mean: Tensor, raw: Tensor) -> Distribution:
    law = Normal if model.family == "normal" else Laplace
    return law(mean, _scale(model, raw), validate_args=False)


def _scale(model: Any, raw: Tensor) -> Tensor:
    """Returns positive scales from the outputs of the last layer, `(*, D)`."""
    return (raw / 2).exp() if model.family == "normal" else raw.shape[-1] * raw.softmax(-1) + 1e-6


def _sample_posterior(model: Any, mean: Tensor, raw: Tensor, noise: Tensor) -> Tensor:
    return mean + _scale(model, raw) * noise


def _fixed(model: Any, *parameters: Tensor) -> list[Tensor]:
    """Parameters as they enter a density: without gradients under DReG."""
    return [part.detach() if model.estimator == "dreg" else part for part in parameters]


def _noise(model: Any, *shape: int) -> Tensor:
    """Draws of the family's standard distribution."""
    law = Normal if model.family == "normal" else Laplace
    return law(model.weight.new_zeros(shape), model.weight.new_ones(shape), validate_args=False).rsample()
