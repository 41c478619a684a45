"""Every model's loss as a plain loop: the baseline for the training step of each model.

It is the model's own networks with the model's own weights, and the same mathematics: loss and gradients equal
`Model.loss` to 1e-9 under the same random draws (`tests/identities/test_naive.py`). Each subset, expert and draw of
an objective is a pass of its own, which runs the encoders that it needs and decodes its own code; nothing is shared
between passes. JMVAE, MVTCAE and Nexus have one pass, so that there is nothing to share: for them, a ratio of 1
says that the library costs nothing. A loop that kept what the encoders say would lie between the two.

Rows are complete. Random numbers are drawn first, in the order in which the model draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from benchmarks import mixtures, reference
from benchmarks.parts import expert, kl, multiply_experts, normal, product, rec
from polymodal.batch import Batch
from polymodal.objectives.aggregation import stratify

__all__ = ["NAIVE", "count_passes", "loss"]


def loss(model: Any, batch: Batch) -> Tensor:
    """Returns the loss of B complete rows that a training step minimises, a scalar."""
    return NAIVE[model.name](model, batch)


def count_passes(model: Any) -> int:
    """Returns the number of passes of the loop in a step."""
    if model.name in ("mmvae", "mmvae-plus"):
        return len(model.schema) * model.draws
    if model.name in ("mac-vae", "mac-wae", "m-wae"):
        return model.draws
    if model.name == "mvae":
        return 1 + len(model.schema) + model.draws
    return len(model.members) if model.name == "mopoe" else 1


def jmvae(model: Any, batch: Batch) -> Tensor:
    """Suzuki et al. (2017), Eq. 5."""
    x = model.schema.hide(batch, model.weight.dtype)
    features = [encoder(x[name]) for name, encoder in zip(x, model.joint_encoders, strict=True)]
    mean, log_variance = model.joint(torch.cat(features, dim=1)).chunk(2, dim=-1)
    z = mean + (log_variance / 2).exp() * normal(mean, mean.shape)
    total = rec(model, x, z) + model.beta * kl(mean, log_variance)
    for m in range(len(x)):
        total = total + model.beta * model.alpha * kl(mean, log_variance, *expert(model, x, m))
    return total.mean()


def mopoe(model: Any, batch: Batch) -> Tensor:
    """Sutter et al. (2021), Eq. 6, one pass per subset, which decodes the rows that it was dealt."""
    x = model.schema.hide(batch, model.weight.dtype)
    noise = normal(model.weight, (len(model.members) + 1, len(batch), model.latent_dim))
    dealt = stratify(torch.ones(len(model.members), len(batch), dtype=torch.bool))
    total = model.weight.new_zeros(())
    for s, members in enumerate(model.members.tolist()):
        mean, log_variance = product(model, x, members, prior=all(members))
        total = total + model.beta * kl(mean, log_variance).sum() / len(model.members)
        rows = (dealt == s).nonzero().flatten()
        if len(rows):
            z = (mean + (log_variance / 2).exp() * noise[s])[rows]
            total = total + rec(model, {name: value[rows] for name, value in x.items()}, z).sum()
    return total / len(batch)


def mvae(model: Any, batch: Batch) -> Tensor:
    """Wu and Goodman (2018), Eq. 5, one pass per set, which decodes its own modalities."""
    x = model.schema.hide(batch, model.weight.dtype)
    sets = model.plan(batch.observed)[0].tolist()  # random ones among them: the first thing that either side draws
    noise = normal(model.weight, (len(sets), len(batch), model.latent_dim))
    total = model.weight.new_zeros(())
    for t, members in enumerate(sets):
        mean, log_variance = product(model, x, members, prior=True)
        z = mean + (log_variance / 2).exp() * noise[t]
        total = total + (rec(model, x, z, members) + model.beta * kl(mean, log_variance)).mean()
    return total


def mvtcae(model: Any, batch: Batch) -> Tensor:
    """Hwang et al. (2021), Eq. 8."""
    x = model.schema.hide(batch, model.weight.dtype)
    experts = [expert(model, x, m) for m in range(len(x))]
    mean, log_variance = multiply_experts(experts)
    z = mean + (log_variance / 2).exp() * normal(mean, mean.shape)
    share = model.alpha / len(x)
    total = (1 - share) * rec(model, x, z) + model.beta * (1 - model.alpha) * kl(mean, log_variance)
    for other in experts:
        total = total + model.beta * share * kl(mean, log_variance, *other)
    return total.mean()


def nexus(model: Any, batch: Batch) -> Tensor:
    """Vasco et al. (2022), Eq. 3-6, one modality after the other."""
    x = model.schema.hide(batch, model.weight.dtype)
    noise = normal(model.weight, (len(batch), len(x), model.bottom_dim))
    heard = model._select_messages(batch.observed)
    noise_above = normal(model.weight, (len(batch), model.latent_dim))
    total, below, message = model.weight.new_zeros(()), [], torch.zeros(())
    for m, name in enumerate(x):
        mean, log_variance = expert(model, x, m)
        z = mean + (log_variance / 2).exp() * noise[:, m]
        total = total + model.weight[m] * model.schema[name].nll(model.decoders[m](z), x[name])
        total = total + model.bottom_beta * kl(mean, log_variance)
        below.append(z.detach())
        message = message + model.messages[m](below[m]) * heard[:, m, None]
    mean, log_variance = model.top(message / heard.sum(1, keepdim=True)).chunk(2, dim=-1)
    z = mean + (log_variance / 2).exp() * noise_above
    for m in range(len(x)):
        total = total - Normal(model.below[m](z), 1.0).log_prob(below[m]).sum(1)
    return (total + model.beta * kl(mean, log_variance)).mean()


def mac_vae(model: Any, batch: Batch) -> Tensor:
    """MAC-VAE, one pass per conditioning index as in `reference.loss`."""
    x = model.schema.hide(batch, model.weight.dtype)
    b = reference.indices(model, batch)
    noise = normal(model.weight, (len(b), len(batch), model.latent_dim))
    total = model.weight.new_zeros(())
    for k in range(len(b)):
        mean, log_variance = reference.encode(model, x, b[k]).chunk(2, dim=-1)
        z = mean + (log_variance / 2).exp() * noise[k]
        total = total + (rec(model, x, z) + model.beta * kl(mean, log_variance)).mean() / len(b)
    return total


NAIVE: dict[str, Callable[[Any, Batch], Tensor]] = {
    "jmvae": jmvae,
    "m-wae": reference.loss,
    "mac-vae": mac_vae,
    "mac-wae": reference.loss,
    "mmvae": mixtures.mmvae,
    "mmvae-plus": mixtures.mmvae_plus,
    "mopoe": mopoe,
    "mvae": mvae,
    "mvtcae": mvtcae,
    "nexus": nexus,
}
"""Loops by the name of the model."""
