"""A world in closed form: modalities that are linear in a common Gaussian code, with Gaussian noise.

z ~ N(0, I), x_m = A_m z + c_m + s e. The columns of every A_m are orthogonal and equally long, so the exact posteriors
given any modalities have diagonal covariances, in whatever basis of z a model ends up. So the truth is one of every
model's states, with linear encoders and decoders: a gap that remains is its objective's or a mistake's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from math import log
from typing import Any

import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from polymodal.batch import Batch
from polymodal.modalities import Vector
from polymodal.models import Model, build
from polymodal.schema import Schema

D = 2
"""Size of the code."""
NOISE = 0.5
"""The standard deviation s."""
SIZES = {"a": 3, "b": 4, "c": 5}
PRECISION = {"a": 20.0, "b": 12.0, "c": 16.0}
"""What each modality adds to the precision of the code: A_m' A_m / s^2 is this times the identity."""

Set = tuple[str, ...]


class World:
    """The joint Gaussian of all modalities, float64."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.loadings: dict[str, Tensor] = {}
        for name, size in SIZES.items():
            columns = torch.linalg.qr(torch.randn(size, D, generator=generator, dtype=torch.float64))[0]
            self.loadings[name] = NOISE * PRECISION[name] ** 0.5 * columns
        self.offsets = {name: torch.linspace(-0.5, 0.5, size).double() for name, size in SIZES.items()}
        every = torch.cat(list(self.loadings.values()))
        self.covariance = every @ every.T + NOISE**2 * torch.eye(len(every)).double()

    @property
    def schema(self) -> Schema:
        """Linear networks, and the true noise."""
        return Schema({name: Vector(size, hidden=(), cost=f"gaussian({NOISE})") for name, size in SIZES.items()})

    def draw(self, rows: int) -> Batch:
        """Rows from PyTorch's global stream."""
        z = torch.randn(rows, D)
        values = {
            name: z @ loading.float().T + self.offsets[name].float() + NOISE * torch.randn(rows, SIZES[name])
            for name, loading in self.loadings.items()
        }
        return self.schema.batch(values)

    def centered(self, batch: Batch, names: Set) -> Tensor:
        """Values less their means, side by side, float64."""
        return torch.cat([batch.values[name].double() - self.offsets[name] for name in names], dim=1)

    def regression(self, given: Set, to: str) -> tuple[Tensor, Tensor]:
        """E[x_to | x_V] as a map of centred values, and Var(x_to,j | x_V)."""
        own, rest = self._block((to,), given), self._block(given, given)
        slope = own @ torch.linalg.inv(rest)
        return slope, (self._block((to,), (to,)) - slope @ own.T).diagonal()

    def conditional_mean(self, batch: Batch, given: Set, to: str) -> Tensor:
        return self.centered(batch, given) @ self.regression(given, to)[0].T + self.offsets[to]

    def evidence(self, batch: Batch) -> Tensor:
        """log p(x) of complete rows."""
        x = self.centered(batch, tuple(SIZES))
        return torch.from_numpy(multivariate_normal(cov=self.covariance.numpy()).logpdf(x.numpy()))

    def gap(self, slope: Tensor, given: Set, to: str) -> float:
        """The expected RMS gap of a linear answer `slope @ x_V` in conditional standard deviations."""
        exact, variance = self.regression(given, to)
        apart = slope - exact
        return float(((apart @ self._block(given, given) @ apart.T).diagonal() / variance).mean().sqrt())

    def _block(self, rows: Set, columns: Set) -> Tensor:
        return self.covariance[self._places(rows)][:, self._places(columns)]

    def _places(self, names: Set) -> Tensor:
        return torch.cat([torch.arange(sum(SIZES.values())).split(list(SIZES.values()))[_column(n)] for n in names])


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: Adam on fresh rows, its learning rate going to 0 along a cosine."""

    arguments: dict[str, Any] = field(default_factory=dict)
    rate: float = 0.03
    rows: int = 256
    steps: int = 800


_FREE = {"hidden": (32,), "indices": "exhaustive"}
"""Every index with its p(b), which is what the random ones are in expectation; one small hidden layer, for what x_m
counts for depends on b."""
_MIXTURE = {"family": "normal", "draws": 10}
"""The true prior, and bounds that are tight enough for the experts not to be narrower than they should be."""
NEXUS = {"beta": 0.1, "dropout": 0.2}
"""With weight beta on its divergence the top is as if the codes below had the noise variance beta about it. In truth
that is 1 - g^2, where g^2 of about 0.9 is the correlation of codes below of different modalities."""

RECIPES = {
    "jmvae": Recipe({"hidden": ()}),
    "m-wae": Recipe(_FREE, rate=0.01, rows=128, steps=600),
    "mac-vae": Recipe(_FREE, rate=0.01, rows=128, steps=1000),
    "mac-wae": Recipe(_FREE, rate=0.01, rows=128, steps=600),
    "mmvae": Recipe(_MIXTURE, rows=128, steps=1000),
    "mmvae-plus": Recipe({**_MIXTURE, "private_dim": 1, "beta": 1.0}, rows=128, steps=1000),
    "mopoe": Recipe(steps=1000),
    "mvae": Recipe(steps=1500),
    "mvtcae": Recipe({"beta": 1.0}),  # with which Eq. 8 is a bound on the evidence
    "nexus": Recipe({**NEXUS, "bottom_dim": D, "message_dim": 16, "hidden": (32, 32)}, rate=0.01, steps=1000),
}


def train(world: World, name: str) -> Model:
    """A model that has converged, in evaluation mode."""
    recipe = RECIPES[name]
    torch.manual_seed(0)
    model = build(name, world.schema, latent_dim=D, weights="sum", **recipe.arguments).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    for _ in range(recipe.steps):
        optimizer.zero_grad()
        model.loss(world.draw(recipe.rows)).total.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def directions(given: int) -> Iterator[tuple[Set, str]]:
    """Every choice of so many modalities, with every other one."""
    for chosen in combinations(SIZES, given):
        yield from ((chosen, to) for to in SIZES if to not in chosen)


def gaps(world: World, model: Model, given: int, rows: int = 4000) -> dict[tuple[Set, str], float]:
    """RMS over held-out rows and elements, in conditional standard deviations, by direction."""
    torch.manual_seed(1)
    batch, found = world.draw(rows), {}
    for chosen, to in directions(given):
        answer = model.predict(batch, list(chosen), [to])[to].mean.double()
        apart = answer - world.conditional_mean(batch, chosen, to)
        found[chosen, to] = float((apart.square() / world.regression(chosen, to)[1]).mean().sqrt())
    return found


def excess(world: World, model: Model, rows: int = 1000, draws: int = 200) -> tuple[float, float]:
    """By how much the importance bound given all exceeds the evidence of held-out rows, and its standard error."""
    torch.manual_seed(2)
    batch = world.draw(rows)
    with torch.no_grad():
        q = model.encode(batch)
        z = q.sample(torch.Size([draws]))
        likelihood = sum(p.log_prob(batch.values[name]) for name, p in model.decode(z).items())
        bound = (likelihood + model.prior.log_prob(z) - q.log_prob(z)).double().logsumexp(0) - log(draws)
    apart = bound - world.evidence(batch)
    return float(apart.mean()), float(apart.std()) / rows**0.5


def one_expert(world: World, given: Set, to: str) -> float:
    """The gap where the answer is that of one of V, drawn uniformly, and exact given that one: a mixture's."""
    squares = []
    for name in given:
        widened = [world.regression((name,), to)[0] if n == name else torch.zeros(SIZES[to], SIZES[n]) for n in given]
        squares.append(world.gap(torch.cat(widened, dim=1), given, to) ** 2)
    return (sum(squares) / len(squares)) ** 0.5


def nexus_optimum(world: World, given: Set, to: str, beta: float, dropout: float) -> float:
    """The gap at the optimum of Nexus' objective.

    Below, every modality is a VAE of its own, whose optimum is exact: q_m = p(z | x_m), of precision 1 + P_m for P_m
    of PRECISION. The draws z_m have unit variances and the correlations g_m g_n, g_m = P_m / (1 + P_m).

    On top, let V be heard with probability p(V), and C_V be the covariance of E[z_1 .. z_M | z_V]. For an encoder that
    is free given each V, `sum_m -log N(z_m; h_m(z), 1) + beta KL` has the optimum of a probabilistic PCA with noise
    variance beta, of the matrix C = sum_V p(V) C_V: expectations under z_m | z_V of a Gaussian's log-density put the
    conditional mean in place of z_m, and add what no decoder changes. Its reconstruction is U (1 - beta / L) U' of
    E[z_1 .. z_M | z_V], for the largest eigenvalues L of C and their vectors U.

    Two things stand between this and the truth, E[x_n | x_m] = A_n E[z | x_m]. The noise variance beta shrinks the
    answer by 1 - beta / L: with beta = 1 by more than a third, for L < M. And the top, that sees draws and not means,
    takes z_n to be g_m g_n z_m and not z_m, whatever beta is.
    """
    loadings = world.loadings.values()
    g = torch.cat([torch.full((D,), p / (1 + p)) for p in PRECISION.values()]).double()
    shared = torch.cat([g[i : i + D].diag() for i in range(0, len(g), D)])
    covariance = shared @ shared.T
    covariance.fill_diagonal_(1.0)

    def expected(heard: Set) -> Tensor:  # E[z_1 .. z_M | z_V] of z_V
        seen = _codes(heard)
        return covariance[:, seen] @ torch.linalg.inv(covariance[seen][:, seen])

    mixed = torch.zeros_like(covariance)
    for number in range(1, len(SIZES) + 1):
        for heard in combinations(SIZES, number):
            seen, slope = _codes(heard), expected(heard)
            mixed += _probability(heard, dropout) * slope @ covariance[seen][:, seen] @ slope.T
    values, vectors = torch.linalg.eigh(mixed)
    values, vectors = values[-D:], vectors[:, -D:]
    made = vectors @ (1 - beta / values).clamp(min=0).diag() @ vectors.T @ expected(given)
    encoders = [a.T / NOISE**2 / (1 + p) for a, p in zip(loadings, PRECISION.values(), strict=True)]
    below = torch.block_diag(*[encoders[_column(name)] for name in given])
    return world.gap(world.loadings[to] @ made[_codes((to,))] @ below, given, to)


def _probability(heard: Set, dropout: float) -> float:
    """Of hearing these: all, but with probability `dropout` a uniform number of 1..M-1."""
    if len(heard) == len(SIZES):
        return 1 - dropout
    return dropout / (len(SIZES) - 1) / len(list(combinations(SIZES, len(heard))))


def _codes(names: Set) -> Tensor:
    return torch.cat([torch.arange(D) + D * _column(name) for name in names])


def _column(name: str) -> int:
    return list(SIZES).index(name)
