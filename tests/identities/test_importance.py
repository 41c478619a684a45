"""The importance-weighted bounds of MMVAE and MMVAE+ and the DReG gradient, against their expectations."""

import math
from itertools import pairwise

import pytest
import torch
from conftest import rows_of
from plain_losses import Bounds, family_of, standard
from torch.distributions import Normal, kl_divergence

from polymodal.batch import Batch
from polymodal.modalities import Label, Vector
from polymodal.models import build
from polymodal.objectives.importance import doubly_reparameterized, iwae
from polymodal.schema import Schema

pytestmark = pytest.mark.slow

SCHEMA = Schema(
    {
        "a": Vector(3, hidden=(4,)),
        "b": Label(4, hidden=(4,)),
        "c": Vector(2, hidden=(4,), cost="laplace(0.75)"),
    }
)
WEIGHTS = {"a": 0.5, "c": 2.0}
BOTH = pytest.mark.parametrize("name", ["mmvae", "mmvae-plus"])
FAMILIES = pytest.mark.parametrize("family", ["laplace", "normal"])


def make(name, schema=SCHEMA, seed=0, **arguments):
    if name == "mmvae-plus":
        arguments = {"private_dim": 2, "beta": 2.5} | arguments
    model = build(name, schema, seed=seed, latent_dim=3, weights=WEIGHTS if schema is SCHEMA else "sum", **arguments)
    model = model.double().train()
    with torch.no_grad():  # what starts at 0 would hide mistakes
        generator = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            if parameter is getattr(model, "prior_logits", None) or parameter is getattr(model, "auxiliary", None):
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def evaluate(model, compute, seed=11):
    torch.manual_seed(seed)
    model.zero_grad()
    total = compute()
    total.backward()
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    return total.detach(), gradients


def same(ours, theirs, **arguments):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10, **arguments)


def test_bound_is_the_log_of_the_mean_weight():
    torch.manual_seed(0)
    lw = torch.randn(7, 4, 2).double() * 3
    same(iwae(lw), lw.exp().mean(0).log())
    same(iwae(lw + 5000), iwae(lw) + 5000)
    same(iwae(lw[:1]), lw[0])
    same(doubly_reparameterized(lw, []), iwae(lw))


@BOTH
@FAMILIES
def test_with_one_draw_the_bound_is_the_stratified_elbo(name, family, complete):
    """Row by row the mean over experts of rec - (log q - log p), without an exponential in it."""
    model = make(name, family=family, draws=1, estimator="iwae")
    batch = rows_of(SCHEMA, 4, complete=complete)
    torch.manual_seed(0)
    loss = model.loss(batch)
    torch.manual_seed(0)
    plain = Bounds(model, batch)
    rows = []
    for i in range(4):
        elbos = [plain.joint(i, m, 0) + plain.densities(i, m, 0) for m in plain.rows[i]]
        rows.append(sum(elbos) / len(elbos))
    same(loss.total, -sum(rows) / 4)
    costs = sum(weight * loss.terms[f"cost/{key}"] for weight, key in zip(model.weight, SCHEMA, strict=True))
    scale = model.beta if name == "mmvae-plus" else 1
    penalties = sum(value for key, value in loss.terms.items() if key.startswith("penalty/"))
    same(costs + scale * penalties, loss.total)


def single(draws, estimator="iwae", size=1, family="normal", **arguments):
    """One modality, hence one expert."""
    schema = Schema({"a": Vector(3, hidden=(4,))})
    model = build(
        "mmvae", schema, latent_dim=size, draws=draws, family=family, estimator=estimator, weights="sum", **arguments
    )
    return model.double().train()


def repeated(batch, times):
    """The same rows again and again: a mean over them is one over draws."""
    return Batch(
        {key: torch.cat([value] * times) for key, value in batch.values.items()}, batch.observed.repeat(times, 1)
    )


@FAMILIES
def test_the_penalty_of_one_expert_is_its_divergence_in_expectation(family):
    model = single(1, size=2, family=family)
    batch = rows_of(model.schema, 1, complete=True)
    prior = standard(model, 2)
    mean, raw = model.encoders[0](model.schema.hide(batch, torch.float64)["a"]).chunk(2, -1)
    truth = kl_divergence(family_of(model, mean, raw), prior).sum()
    torch.manual_seed(0)
    with torch.no_grad():
        estimates = torch.stack([model.loss(repeated(batch, 50)).terms["penalty/kl"] for _ in range(200)])
    assert abs(estimates.mean() - truth) < 4 * estimates.std() / math.sqrt(200)


def averages(model, batch, repeats):
    torch.manual_seed(0)
    with torch.no_grad():
        return torch.stack([-model.loss(batch).total for _ in range(repeats)])


@BOTH
@FAMILIES
def test_the_bound_rises_with_the_number_of_draws(name, family):
    batch = repeated(rows_of(SCHEMA, 4, complete=True), 25)
    bounds = [averages(make(name, family=family, draws=draws, estimator="iwae"), batch, 25) for draws in (1, 5, 25)]
    for low, high in pairwise(bounds):
        difference = high - low
        assert difference.mean() > 5 * difference.std() / math.sqrt(25)


def test_the_bound_stays_below_the_likelihood_and_reaches_it():
    """log p(x) by quadrature over a code of size 1."""
    model = single(1)
    batch = rows_of(model.schema, 1, complete=True)
    x = model.schema.hide(batch, torch.float64)["a"]
    grid = torch.linspace(-12, 12, 4001).double()[:, None]
    with torch.no_grad():
        joint = Normal(model.decoders[0](grid), 1.0).log_prob(x).sum(1) + Normal(0.0, 1.0).log_prob(grid[:, 0])
    truth = joint.logsumexp(0) + math.log(24 / 4000)
    for draws, near in [(1, math.inf), (5, math.inf), (400, 0.01)]:
        model.draws = draws
        bounds = averages(model, repeated(batch, 50), 40)
        error = bounds.std() / math.sqrt(40)
        assert bounds.mean() - truth < 4 * error
        assert truth - bounds.mean() < near


class TestDReG:
    @BOTH
    @FAMILIES
    @pytest.mark.parametrize("draws", [1, 4])
    def test_value_and_gradients_of_all_but_the_encoders_are_those_of_the_bound(self, name, family, draws, complete):
        """Decoders, the prior's scales and those of r_n."""
        batch = rows_of(SCHEMA, 5, complete=complete)
        models = [make(name, family=family, draws=draws, estimator=estimator) for estimator in ("dreg", "iwae")]
        (value, gradients), (other, others) = (
            evaluate(m, lambda m=m: m.loss(batch, progress=0.6).total) for m in models
        )
        same(value, other)
        for key, gradient in gradients.items():
            if not key.startswith("encoders."):
                same(gradient, others[key], msg=key)
                assert gradient.abs().max() > 0, key
        assert any(not torch.allclose(gradients[key], others[key]) for key in gradients if key.startswith("encoders."))

    @staticmethod
    def encoders(model, batch, repeats):
        """Gradients of the encoders' parameters, one line a repeat."""
        torch.manual_seed(0)
        parameters, lines = list(model.encoders.parameters()), []
        for _ in range(repeats):
            gradients = torch.autograd.grad(model.loss(batch).total, parameters)
            lines.append(torch.cat([gradient.flatten() for gradient in gradients]))
        return torch.stack(lines)

    def compare(self, one, other):
        """That the means are equal within 4 standard errors, in every element and on random projections."""
        directions = torch.randn(one.shape[1], 20, generator=torch.Generator().manual_seed(1)).double()
        one, other = (torch.cat([lines, lines @ directions], 1) for lines in (one, other))
        error = ((one.var(0) + other.var(0)) / len(one)).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() <= 4 * error + 1e-12).all()
        assert (one.mean(0).abs() > 6 * error).any()  # there is something to compare

    @FAMILIES
    def test_of_one_expert_it_has_the_expectation_of_the_bound_s_and_less_variance(self, family):
        models = [single(6, estimator, size=2, family=family) for estimator in ("dreg", "iwae")]
        batch = repeated(rows_of(models[0].schema, 2, complete=True), 20)
        dreg, plain = (self.encoders(model, batch, 120) for model in models)
        self.compare(dreg, plain)
        assert dreg.var(0).sum() < 0.8 * plain.var(0).sum()

    @BOTH
    @FAMILIES
    def test_of_one_draw_it_has_the_expectation_of_the_bound_s(self, name, family, complete):
        """For any number of experts: the score of a whole mixture has mean 0."""
        models = [make(name, family=family, draws=1, estimator=estimator) for estimator in ("dreg", "iwae")]
        batch = repeated(rows_of(SCHEMA, 3, complete=complete), 40)
        self.compare(*(self.encoders(model, batch, 50) for model in models))
