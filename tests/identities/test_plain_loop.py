"""The loss equals the paper's Algorithm 1, one pass per index, written out here from the equations."""

from math import comb

import pytest
import torch
from conftest import EXAMPLES, rows_of
from torch import nn
from torch.distributions import Normal

from polymodal.modalities import Modality
from polymodal.models import build
from polymodal.objectives.conditioning import sample
from polymodal.schema import Schema

pytestmark = pytest.mark.slow

PAPER = {"regularizer": "mmd", "relative": False, "p0": 0.4, "beta": 1.0, "skip": False}


def plain_loop(model, batch, progress):
    """K passes: hide, encode all that is there, decode all, add up."""
    schema, rows = model.schema, len(batch)
    x = schema.hide(batch, torch.float64)
    indices, shares = draw_indices(model, batch.observed)
    shape = (len(indices), rows, model.latent_dim)
    noise = Normal(torch.zeros(shape).double(), 1.0).sample() if model.stochastic else None
    if model.regularizer in ("mmd", "imq"):
        p = Normal(torch.zeros(shape).double(), 1.0).sample()
    if model.regularizer == "sliced(16)":
        theta = torch.randn(len(indices), model.latent_dim, 16, dtype=torch.float64)
    reference = 7.5 if model.relative else 1.0
    total = 0
    for k, (b, share) in enumerate(zip(indices, shares, strict=True)):
        features = []
        for m, (name, modality) in enumerate(schema.items()):
            blank = modality.prepare(modality.blank, torch.float64).expand_as(x[name])
            hidden = torch.where(b[:, m].view(-1, *[1] * (x[name].dim() - 1)), x[name], blank)
            features.append(model.encoders[m](hidden))
        if model.conditioned:
            features.append(model.conditioner(b.double()))
        h = model.joint.rest(model.joint.first(torch.cat(features, dim=1)))
        z = h
        if model.stochastic:
            mean, log_variance = h.chunk(2, dim=1)
            z = mean + (log_variance / 2).exp() * noise[k]
        reconstruction = 0
        for m, (name, modality) in enumerate(schema.items()):
            parameters = model.decoders[m](z)
            for i in range(rows):
                if batch.observed[i, m]:
                    cost = modality.nll if model.reconstruction == "likelihood" else modality.compute_cost
                    reconstruction += model.weight[m] * cost(parameters[i : i + 1], x[name][i : i + 1])[0] / rows
        if model.regularizer == "mmd":
            penalty = discrepancy(p[k], z, lambda r, d: torch.exp(-r / (2 * d)))
        elif model.regularizer == "imq":
            penalty = discrepancy(p[k], z, inverse_multiquadratic)
        elif model.regularizer == "sliced(16)":
            penalty = sliced(theta[k], z)
        else:
            penalty = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        total += share * (reconstruction + model.beta * reference * progress * penalty)
    return total


def draw_indices(model, observed):
    if model.indices != "exhaustive":
        indices = sample(observed, model.draws, model.p0, per_sample=model.indices == "per-sample")
        return indices, [1 / model.draws] * model.draws
    modalities = observed.shape[1]
    indices, shares = [], []
    for number in range(1, 2**modalities):
        b = torch.tensor([bool(number >> m & 1) for m in reversed(range(modalities))])
        seen = int(b.sum())
        if model.p0 is None:
            shares.append(1 / (modalities * comb(modalities, seen)))
        else:
            shares.append(model.p0 ** (modalities - seen) * (1 - model.p0) ** seen / (1 - model.p0**modalities))
        indices.append(torch.stack([b & row if (b & row).any() else row for row in observed]))
    return indices, shares


def discrepancy(p, z, kernel):
    n, d = p.shape

    def k(u, v):
        return kernel((u - v).square().sum(), d)

    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    within = sum(k(p[i], p[j]) + k(z[i], z[j]) for i, j in pairs) / (n * (n - 1))
    return within - 2 / n**2 * sum(k(p[i], z[j]) for i in range(n) for j in range(n))


def inverse_multiquadratic(r, d):
    return sum(2 * d * s / (2 * d * s + r) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)) / 7


def sliced(theta, z):
    """One direction after the other, against the quantiles of the standard normal distribution."""
    rows, total = len(z), 0
    levels = torch.tensor([(i - 0.5) / rows for i in range(1, rows + 1)], dtype=torch.float64)
    for direction in theta.T:
        along = z @ (direction / direction.norm())
        total += (along.sort().values - Normal(0.0, 1.0).icdf(levels)).square().mean()
    return total / theta.shape[1]


def loss_and_gradients(model, compute):
    torch.manual_seed(11)
    model.zero_grad()
    total = compute()
    total.backward()
    return total.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("cost", ["natural", "l2"])
@pytest.mark.parametrize("indices", ["per-batch", "per-sample", "exhaustive"])
@pytest.mark.parametrize(
    ("name", "penalty"),
    [
        ("mac-wae", PAPER),
        ("mac-wae", {"regularizer": "sliced(16)"}),
        ("mac-wae", {"regularizer": "imq", "p0": 0.6}),
        ("mac-wae", {"regularizer": "mmd", "stochastic": True, "skip": False}),
        ("mac-vae", {}),
        ("mac-vae", {"p0": 0.4}),
        ("m-wae", {"regularizer": "sliced(16)", "features": 9}),
    ],
)
def test_loss_and_gradients_equal_the_plain_loop(name, penalty, indices, cost, complete):
    schema = Schema(EXAMPLES) if cost == "natural" else Schema(EXAMPLES).replace(cost="l2")
    weights = {"label": 5.0, "text": 0.5}
    arguments = {"indices": indices, "weights": weights, **penalty, "beta": 2.0}
    model = build(name, schema, latent_dim=4, draws=4, hidden=(8, 8), **arguments).double().train()
    model.set_reference_cost(7.5)
    batch = rows_of(schema, 5, complete=complete)
    ours, our_gradients = loss_and_gradients(model, lambda: model.loss(batch, progress=0.3).total)
    plain, plain_gradients = loss_and_gradients(model, lambda: plain_loop(model, batch, 0.3))
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)
    for key, gradient in our_gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[key], rtol=1e-9, atol=1e-9, msg=key)
        assert gradient.abs().max() > 0, key


@pytest.mark.parametrize("hidden", [(), (8,), (8, 8, 8)])
def test_equal_indices_are_counted_by_their_multiplicity(hidden):
    """With two modalities and ten draws, at least seven of the indices are repeats."""
    schema = Schema({name: EXAMPLES[name] for name in ("vector", "label")})
    model = build("mac-wae", schema, latent_dim=4, draws=10, hidden=hidden, **PAPER).double().train()
    batch = rows_of(schema, 6, complete=True)
    decoded = []
    model.decoders[0].register_forward_hook(lambda module, inputs, output: decoded.append(len(output)))
    ours, our_gradients = loss_and_gradients(model, lambda: model.loss(batch).total)
    assert decoded[0] <= 3 * 6
    plain, plain_gradients = loss_and_gradients(model, lambda: plain_loop(model, batch, 1.0))
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)
    for key, gradient in our_gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[key], rtol=1e-9, atol=1e-9, msg=key)


def test_each_encoder_runs_once_on_the_batch_and_once_on_a_blank(schema):
    model = build("mac-wae", schema, latent_dim=4, draws=7).train()
    sizes = []
    for encoder in model.encoders:
        encoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    model.loss(rows_of(schema, 5, complete=True))
    assert sorted(sizes) == [1] * 5 + [5] * 5


def test_dropout_is_one_draw_per_row_and_none_on_the_blank():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 4)
            self.seen = []

        def forward(self, x):
            self.seen.append((len(x), self.training))
            return self.layer(nn.functional.dropout(x, 0.5, self.training))

    schema = Schema({"vector": EXAMPLES["vector"], "label": EXAMPLES["label"]})
    model = build("mac-wae", schema, latent_dim=4, draws=7).train()
    model.encoders[0] = Noisy()
    model.loss(rows_of(schema, 5, complete=True))
    assert sorted(model.encoders[0].seen) == [(1, False), (5, True)]
    assert model.encoders[0].training


@pytest.mark.parametrize("name", ["mac-wae", "mac-vae", "m-wae"])
def test_terms_add_up_to_the_total(name, schema, complete):
    model = build(name, schema, latent_dim=6, weights={"label": 3.0}, beta=0.7).double()
    model.set_reference_cost(7.5)
    reference = 7.5 if model.relative else 1
    loss = model.loss(rows_of(schema, 6, complete=complete), progress=0.5)
    weight = dict(zip(schema, model.weight, strict=True))
    costs = sum(weight[key.removeprefix("cost/")] * term for key, term in loss.terms.items() if key.startswith("cost/"))
    penalties = sum(term for key, term in loss.terms.items() if key.startswith("penalty/"))
    torch.testing.assert_close(loss.total, costs + 0.7 * reference * 0.5 * penalties)


def test_five_training_steps_are_pinned(schema):
    """A change of this number is a change of every training run."""
    model = build("mac-wae", schema, latent_dim=6, draws=3, seed=1, **PAPER).double().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-5)
    x = values(schema)
    torch.manual_seed(2)
    for _ in range(5):
        loss = model.loss(x).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(model.loss(x).total.detach()) == pytest.approx(GOLDEN, abs=1e-6)


def values(schema):
    def value(modality: Modality):
        count = torch.arange(6 * max(1, torch.Size(modality.shape).numel())).view(6, *modality.shape)
        if modality.dtype == torch.uint8:
            return (count * 37 % 256).byte()
        return count % 4 if modality.dtype == torch.int64 else (count.double() * 0.7).sin().square()

    return schema.batch({name: value(modality) for name, modality in schema.items()})


GOLDEN = 21.852013499934877
