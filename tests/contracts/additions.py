"""A model, a modality and a data set as a user adds them: one class or function and one line in a registry each.

As a plugin of pytest (`-p additions`) it registers them before tests are collected, so that the tests that run over the
registries run on them too.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributions import Independent, Poisson, kl_divergence

import polymodal as pm
from polymodal.datasets import Dataset
from polymodal.datasets.base import Facts
from polymodal.distributions import DiagNormal
from polymodal.modalities.profile import Candidate
from polymodal.models.base import Loss, Weights
from polymodal.testing.laws import temporary_entries


class Average(pm.Model):
    """A variational autoencoder whose encoders' features are averaged over the observed modalities.

    Arguments:
        schema: The modalities.
        latent_dim: Size of the code.
        beta: Weight of the divergence from the prior.
        weights: See `Model`.
    """

    name = "average"

    def __init__(
        self, schema: pm.Schema, latent_dim: int = 16, *, beta: float = 1.0, weights: Weights = "balanced"
    ) -> None:
        super().__init__(schema, latent_dim, weights)
        self.beta = beta
        self.encoders = nn.ModuleList(modality.build_encoder(2 * latent_dim) for modality in schema.values())
        self.decoders = nn.ModuleList(modality.build_decoder(latent_dim) for modality in schema.values())

    def encode(self, batch, given=None):
        b = self.condition(batch.observed, given)
        x = self.schema.hide(batch, self.weight.dtype)
        features = torch.stack([encode(x[name]) for name, encode in zip(x, self.encoders, strict=True)], dim=-2)
        features = torch.where(b[..., None], features, 0).sum(-2) / b.sum(-1, keepdim=True)
        return DiagNormal.of(*features.chunk(2, dim=-1))

    def loss(self, batch, *, progress=1.0):
        q = self.encode(batch)
        x = self.schema.hide(batch, self.weight.dtype)
        costs = self.costs(x, q.rsample(), batch.observed).mean(-1)
        divergence = kl_divergence(q, self.prior.expand(q.batch_shape)).mean()
        terms = {f"cost/{name}": cost for name, cost in zip(self.schema, costs, strict=True)}
        return Loss(self.weight @ costs + self.beta * progress * divergence, {**terms, "penalty/kl": divergence})


@dataclass(frozen=True)
class Count(pm.Modality):
    """A count with a Poisson likelihood, float, `(1,)`. The decoder returns the logarithm of the rate."""

    width: int = 16

    @classmethod
    def suitability(cls, profile):
        counts = profile.kind == "integer" and profile.values.min() >= 0
        return 0.6 if counts else 0.0  # between numbers and classes

    @classmethod
    def candidate(cls, profile):
        return Candidate(cls(), f"counts {profile.span} in {profile.there}")

    @property
    def shape(self):
        return (1,)

    @property
    def metric(self):
        return "rmse"

    def read(self, raw):
        return torch.tensor([float(raw)])

    def write(self, value):
        return round(float(value))

    def encoder(self, features):
        return nn.Sequential(nn.Linear(1, self.width), nn.ReLU(), nn.Linear(self.width, features))

    def decoder(self, latent_dim):
        return nn.Sequential(nn.Linear(latent_dim, self.width), nn.ReLU(), nn.Linear(self.width, 1))

    def distribution(self, parameters):
        return Independent(Poisson(parameters.exp()), 1)

    def value(self, distribution):
        return distribution.mean


@Facts(shapes="visits 1, kind 3", rows=(60, 20, 20), licence="none", size="0 kB", origin="random numbers")
def visits(seed: int = 0) -> Dataset:
    """Numbers of visits that depend on the kind of a visitor."""
    schema = pm.Schema({"visits": Count(), "kind": pm.Label(3)})
    torch.manual_seed(seed)
    tables = []
    for rows in (60, 20, 20):
        kind = torch.randint(3, (rows,))
        values = {"visits": torch.poisson(4.0 * kind[:, None] + 1), "kind": kind}
        source = {"dataset": "visits", "arguments": {"seed": seed}}
        tables.append(pm.Table(values, torch.ones(rows, 2, dtype=torch.bool), schema, source=source))
    return Dataset("visits", *tables)


@contextmanager
def registered() -> Iterator[None]:
    """Registers all three, and restores the registries afterwards."""
    with ExitStack() as stack:
        stack.enter_context(temporary_entries(pm.MODELS, {"average": Average}))
        stack.enter_context(temporary_entries(pm.MODALITIES, {"count": Count}))
        stack.enter_context(temporary_entries(pm.DATASETS, {"visits": visits}))
        yield


def pytest_configure() -> None:
    pm.MODELS["average"] = Average
    pm.MODALITIES["count"] = Count
    pm.DATASETS["visits"] = visits
