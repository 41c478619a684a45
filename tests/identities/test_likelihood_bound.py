"""The importance-sampled bound where the evidence is known: modalities that are linear in a Gaussian code."""

from math import log, pi

import numpy as np
import pytest
import torch
from oracle import NOISE, PRECISION, SIZES, D, World
from scipy.stats import multivariate_normal
from torch.distributions import kl_divergence

from polymodal.evaluation import evaluate, likelihood
from polymodal.evaluation.likelihood import estimate_log_likelihood
from polymodal.models import build
from polymodal.table.table import Table

NAMES = tuple(SIZES)


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture
def rows(world):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        batch = world.draw(300)
    return Table(batch.values, batch.observed, world.schema)


def decoding(world, model, read=slice(D)):
    """Decoders of the world's own x_m = A_m z + c_m, which read z from their input's first elements."""
    for decoder, name in zip(model.decoders, NAMES, strict=True):
        (layer,) = decoder
        layer.weight.data.zero_()
        layer.weight.data[:, read] = world.loadings[name]
        layer.bias.data[:] = world.offsets[name]
    return model


def encoding(world, model, prior=False, width=1.0, size=D):
    """Experts p(z | x_m), without the prior or with it, whose variances are so many times the true ones."""
    for encoder, name in zip(model.encoders, NAMES, strict=True):
        (layer,) = encoder
        precision = PRECISION[name] + prior
        layer.weight.data.zero_()
        layer.bias.data.zero_()
        layer.weight.data[:D] = world.loadings[name].T / NOISE**2 / precision
        layer.bias.data[:D] = -layer.weight.data[:D] @ world.offsets[name]
        layer.bias.data[size : size + D] = log(width / precision)
    return model


def made(world, name, width=1.0, prior=False, **arguments):
    model = build(name, world.schema, latent_dim=D, **arguments).double()
    return encoding(world, decoding(world, model), prior, width)


def evidence(world, table):
    return float(world.evidence(table[:]).mean())


@pytest.mark.parametrize("draws", [1, 2, 50])
@pytest.mark.parametrize("memory", [1, 4 * 2**20])
def test_with_the_exact_posterior_it_is_the_evidence_of_every_draw(world, rows, draws, memory, monkeypatch):
    monkeypatch.setattr(likelihood, "CACHED", memory)
    value, count = estimate_log_likelihood(made(world, "mvae"), rows, draws=draws, batch_size=70)
    assert count == 300
    assert value == pytest.approx(evidence(world, rows), abs=1e-5)


def test_of_incomplete_rows_it_is_the_evidence_of_what_they_have(world, rows):
    generator = torch.Generator().manual_seed(0)
    observed = torch.rand(300, 3, generator=generator) < 0.6
    observed[:, 1] |= ~observed.any(1)
    values = {
        name: x.clone().masked_fill(~observed[:, [m]], torch.nan) for m, (name, x) in enumerate(rows.values.items())
    }
    expected, place = [], np.repeat(np.arange(3), [*SIZES.values()])
    x = world.centered(rows[:], NAMES).numpy()
    for row, has in zip(x, observed.numpy(), strict=True):
        some = has[place]
        expected.append(multivariate_normal(cov=world.covariance.numpy()[some][:, some]).logpdf(row[some]))
    value, _ = estimate_log_likelihood(made(world, "mvae"), Table(values, observed, world.schema), draws=3)
    assert value == pytest.approx(np.mean(expected), abs=1e-5)


def test_weights_of_modalities_do_not_enter(world, rows):
    heavy = made(world, "mvae", weights={"a": 7.0, "b": 0.0})
    assert estimate_log_likelihood(heavy, rows, draws=2)[0] == pytest.approx(evidence(world, rows), abs=1e-5)


def test_more_draws_come_closer_from_below(world, rows):
    model = made(world, "mvae", width=3.0)
    found = [estimate_log_likelihood(model, rows, draws=draws)[0] for draws in (1, 4, 16, 64)]
    assert (np.diff([*found, evidence(world, rows)]) > 0).all()
    assert estimate_log_likelihood(model, rows, draws=1000)[0] == pytest.approx(evidence(world, rows), abs=0.01)


def elbo(world, model, table):
    """E_q log p(x | z) - KL(q || p) of complete rows in closed form."""
    q = model.encode(table[:])
    total = -kl_divergence(q, model.prior.expand(q.batch_shape))
    for name in NAMES:
        loading, apart = world.loadings[name], world.centered(table[:], (name,)) - q.mean @ world.loadings[name].T
        squares = apart.square().sum(1) + (q.variance @ loading.square().T).sum(1)
        total = total - squares / (2 * NOISE**2) - SIZES[name] * log(2 * pi * NOISE**2) / 2
    return float(total.detach().mean())


def test_from_one_draw_it_is_the_elbo_on_average(world, rows):
    model = made(world, "mvae", width=2.0)
    found = [estimate_log_likelihood(model, rows, draws=1, seed=seed)[0] for seed in range(100)]
    error = np.std(found, ddof=1) / len(found) ** 0.5
    assert np.mean(found) == pytest.approx(elbo(world, model, rows), abs=4 * error)
    assert error < 0.02 < evidence(world, rows) - np.mean(found)


@pytest.mark.parametrize("name", ["mmvae", "mmvae-plus"])
def test_of_a_mixture_it_counts_the_density_of_all_experts(world, rows, name):
    """Each row's draws come from p(z | x_m) of any m; with their mixture's density they give the evidence."""
    few = Table({key: x[:40] for key, x in rows.values.items()}, schema=world.schema)
    if name == "mmvae":
        model = made(world, name, prior=True, width=2.0, family="normal")
    else:  # private codes that say nothing: N(0, 1), which no decoder reads
        model = build(name, world.schema, latent_dim=D, private_dim=1, family="normal").double()
        model = encoding(world, decoding(world, model), prior=True, width=2.0, size=D + 1)
    found = [estimate_log_likelihood(model, few, draws=draws)[0] for draws in (1, 30, 5000)]
    assert found[0] < found[1] < found[2]
    assert found[2] == pytest.approx(evidence(world, few), abs=0.02)


@pytest.mark.parametrize("own", [True, False])
def test_of_nexus_it_is_that_of_both_levels(world, own):
    """z ~ N(0, I); z_m = h_m(z) and noise N(0, I), none where all is decoded through the top; x_m from z_m."""
    sizes = {"latent_dim": D, "bottom_dim": D, "message_dim": 2, "hidden": ()}
    model = build("nexus", world.schema, own=own, **sizes).double()
    encoding(world, decoding(world, model), width=2.0)
    (top,) = model.top
    top.weight.data.zero_()
    top.bias.data.zero_()  # the prior, as a proposal
    turns = []
    generator = torch.Generator().manual_seed(0)
    for part in model.below:
        (layer,) = part
        layer.weight.data = 0.7 * torch.randn(D, D, generator=generator, dtype=torch.float64)
        layer.bias.data = torch.randn(D, generator=generator, dtype=torch.float64)
        turns.append(layer)
    loadings, h = torch.block_diag(*world.loadings.values()), torch.cat([layer.weight.data for layer in turns])
    below = h @ h.T + (torch.eye(3 * D).double() if own else 0)
    noise = NOISE**2 * torch.eye(sum(SIZES.values())).double()
    mean = loadings @ torch.cat([layer.bias.data for layer in turns]) + torch.cat([*world.offsets.values()])
    law = multivariate_normal(mean.numpy(), (loadings @ below @ loadings.T + noise).numpy())
    x = torch.from_numpy(law.rvs(30, random_state=0))
    table = Table(dict(zip(NAMES, x.split([*SIZES.values()], dim=1), strict=True)), schema=world.schema)
    found = [estimate_log_likelihood(model, table, draws=draws)[0] for draws in (1, 100, 20_000)]
    assert found[0] < found[1] < found[2]
    assert found[2] == pytest.approx(law.logpdf(x.numpy()).mean(), abs=0.05), found


def test_models_without_a_density_have_no_score_and_alone_it_is_an_error(world, rows):
    model = build("mac-wae", world.schema, latent_dim=D)
    assert set(evaluate(model, rows, tasks=["many-to-one", "likelihood"])["task"]) == {"many-to-one"}
    with pytest.raises(ValueError, match="mac-wae must have a posterior and a likelihood with a density"):
        evaluate(model, rows, tasks="likelihood")
    frame = evaluate(made(world, "mvae"), rows, tasks="likelihood")
    told = frame[["task", "modality", "given", "metric", "better", "rows"]].to_numpy().tolist()
    assert told == [["likelihood", "all", "all", "bound", "higher", 300]]
    assert frame["value"].item() == pytest.approx(evidence(world, rows), abs=1e-5)
