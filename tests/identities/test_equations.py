"""Losses equal their equations row by row, posteriors and sampled subsets are right, and costs are likelihoods."""

import math
from itertools import combinations

import pytest
import scipy.stats
import torch
from conftest import EXAMPLES, rows_of
from plain_losses import (
    ARGUMENTS,
    NEXUS,
    PAPER,
    PLAIN,
    assert_same_loss,
    at,
    encode_experts,
    encode_jointly,
    indices,
    mac,
    multiply,
    observed_of,
    prepare,
    standard_normal,
)
from torch import nn
from torch.distributions import Bernoulli, Categorical, Laplace, Normal, kl_divergence

from polymodal.modalities import Image, Label, Text, Vector
from polymodal.models import MODELS, build, mopoe, mvae
from polymodal.schema import Schema

pytestmark = pytest.mark.slow

SCHEMA = Schema(
    {
        "a": Vector(3, hidden=(4,), cost="l2"),  # the one cost that is no likelihood
        "b": Label(4, hidden=(4,)),
        "c": Vector(2, hidden=(4,), cost="laplace(0.75)"),
        "d": Vector(1, hidden=(4,)),
    }
)
D, ROWS = 3, 5
LEVEL = 1e-4  # of every chi-square test: the seeds are fixed, so a correct library never fails


def make(name, **arguments):
    return build(name, SCHEMA, weights={"a": 0.5, "c": 2.0}, **{"latent_dim": D, **arguments}).double().train()


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_models_without_a_plain_loss_are_listed():
    if missing := [name for name in MODELS if name not in PLAIN]:
        pytest.skip(f"add a plain loss to PLAIN in tests/identities/plain_losses.py for: {', '.join(missing)}")


@pytest.mark.parametrize(("name", "arguments"), [(name, each) for name in PLAIN for each in ARGUMENTS.get(name, [{}])])
def test_loss_and_gradients_equal_the_plain_loss(name, arguments, complete):
    if name == "jmvae" and not complete:
        pytest.skip("jmvae trains on complete rows")
    model = make(name, **arguments)
    model.set_reference_cost(7.5)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if not parameter.any():  # what starts at 0 would hide mistakes
            parameter.data.normal_(generator=generator)
    without_gradient = assert_same_loss(model, rows_of(SCHEMA, ROWS, complete=complete), PLAIN[name], progress=0.3)
    if complete or name not in ("mopoe", "nexus"):  # whose subsets and messages may leave out a modality
        assert not without_gradient


@pytest.mark.parametrize("name", PLAIN)
def test_loss_equals_the_plain_loss_with_every_type_of_modality(name):
    arguments = {"latent_dim": D, **ARGUMENTS.get(name, [{}])[0]}
    model = build(name, Schema(EXAMPLES), weights={"label": 5.0, "text": 0.5}, **arguments).double().train()
    assert_same_loss(model, rows_of(model.schema, 3, complete=name == "jmvae"), PLAIN[name], progress=0.3)


def assert_products(model, batch, prior):
    """Asserts that the posterior of each row is the product of its experts and, if `prior`, of the prior."""
    q, experts = model.encode(batch), encode_experts(model, prepare(model, batch))
    for i, has in enumerate(observed_of(batch)):
        truth = multiply(experts, i, has, prior)
        same(q.mean[i], truth.loc)
        same(q.stddev[i], truth.scale)


def smooth_values(schema):
    """Returns six rows of values that are a function of their position."""

    def value(modality):
        count = torch.arange(6 * max(1, torch.Size(modality.shape).numel())).view(6, *modality.shape)
        if modality.dtype == torch.uint8:
            return (count * 37 % 256).byte()
        return count % 4 if modality.dtype == torch.int64 else (count.double() * 0.7).sin().square()

    return schema.batch({name: value(modality) for name, modality in schema.items()})


class TestMAC:
    @pytest.mark.parametrize("hidden", [(), (8,), (8, 8, 8)])
    def test_equal_masks_are_decoded_once_and_weighted_by_their_number(self, hidden):
        """With two modalities and ten masks, at least seven of them are repeats."""
        schema = Schema({name: EXAMPLES[name] for name in ("vector", "label")})
        model = build("mac-wae", schema, latent_dim=4, draws=10, hidden=hidden, **PAPER).double().train()
        batch = rows_of(schema, 6, complete=True)
        assert_same_loss(model, batch, mac)
        decoded = []
        model.decoders[0].register_forward_hook(lambda module, inputs, output: decoded.append(len(output)))
        model.loss(batch)
        assert decoded[0] <= 3 * 6

    def test_each_encoder_runs_once_on_the_batch_and_once_on_a_blank(self, schema):
        model = build("mac-wae", schema, latent_dim=4, draws=7).train()
        sizes = []
        for encoder in model.encoders:
            encoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
        model.loss(rows_of(schema, 5, complete=True))
        assert sorted(sizes) == [1] * 5 + [5] * 5

    def test_dropout_is_one_draw_per_row_and_none_on_the_blank(self):
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
    def test_terms_add_up_to_the_total(self, name, schema, complete):
        model = build(name, schema, latent_dim=6, weights={"label": 3.0}, beta=0.7).double()
        model.set_reference_cost(7.5)
        reference = 7.5 if model.relative else 1
        loss = model.loss(rows_of(schema, 6, complete=complete), progress=0.5)
        weight = dict(zip(schema, model.weight, strict=True))
        costs = sum(
            weight[key.removeprefix("cost/")] * term for key, term in loss.terms.items() if key.startswith("cost/")
        )
        penalties = sum(term for key, term in loss.terms.items() if key.startswith("penalty/"))
        torch.testing.assert_close(loss.total, costs + 0.7 * reference * 0.5 * penalties)

    def test_five_training_steps_are_pinned(self, schema):
        """A change of this number is a change of every training run."""
        model = build("mac-wae", schema, latent_dim=6, draws=3, seed=1, **PAPER).double().train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-5)
        x = smooth_values(schema)
        torch.manual_seed(2)
        for _ in range(5):
            loss = model.loss(x).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert float(model.loss(x).total.detach()) == pytest.approx(21.852013499934877, abs=1e-6)


class TestJMVAE:
    def test_divergences_are_those_of_torch(self):
        model = make("jmvae", hidden=(4,))
        batch = rows_of(SCHEMA, ROWS, complete=True)
        terms = model.loss(batch).terms
        x = prepare(model, batch)
        q, experts = encode_jointly(model, x), encode_experts(model, x)
        same(terms["penalty/kl"], kl_divergence(q, standard_normal(q)).sum(1).mean())
        apart = [kl_divergence(q, at(experts, slice(None), m)).sum(1) for m in range(4)]
        same(terms["penalty/experts"], sum(apart).mean())

    def test_complete_rows_use_the_joint_encoder_and_others_the_product(self):
        model = make("jmvae", hidden=(4,)).eval()
        batch = rows_of(SCHEMA, ROWS, complete=True)
        x = prepare(model, batch)
        joint, experts = encode_jointly(model, x), encode_experts(model, x)
        given = torch.ones(2, ROWS, 4, dtype=torch.bool)
        given[1, 1] = torch.tensor([True, False, False, True])
        given[1, 3] = torch.tensor([False, True, False, False])
        q = model.encode(batch, given)
        for k, some in enumerate(map(indices, given)):
            for i, s in enumerate(some):
                truth = at(joint, i) if len(s) == 4 else multiply(experts, i, s, prior=False)
                same(q.mean[k, i], truth.loc)
                same(q.stddev[k, i], truth.scale)
        same(model.encode(batch, ["d", "a"]).mean[2], multiply(experts, 2, [0, 3], prior=False).loc)

    def test_incomplete_rows_use_the_product_and_are_not_trained_on(self):
        model = make("jmvae", hidden=(4,)).eval()
        batch = rows_of(SCHEMA, ROWS, complete=False)
        assert_products(model, batch, prior=False)
        with pytest.raises(ValueError, match="complete rows"):
            model.loss(batch)


class TestMVAE:
    def test_the_posterior_has_the_prior_as_an_expert(self, complete):
        assert_products(make("mvae").eval(), rows_of(SCHEMA, ROWS, complete=complete), prior=True)

    def test_random_sets_are_distinct_of_middle_size_and_uniform(self):
        allowed = [frozenset(s) for n in (2, 3) for s in combinations(range(4), n)]
        pairs = {frozenset(pair): 0 for pair in combinations(allowed, 2)}
        torch.manual_seed(0)
        for _ in range(4500):
            sets = mvae.random_sets(4, 2, torch.device("cpu"))
            pairs[frozenset(frozenset(row.nonzero()[:, 0].tolist()) for row in sets)] += 1
        assert len(pairs) == 45
        assert scipy.stats.chisquare([*pairs.values()]).pvalue > LEVEL

    def test_all_sets_can_be_asked_for(self):
        torch.manual_seed(0)
        for modalities in (3, 4, 5):
            number = 2**modalities - 2 - modalities
            for k in range(1, number + 1):
                sets = mvae.random_sets(modalities, k, torch.device("cpu"))
                assert sets.shape == (k, modalities)
                assert len(sets.unique(dim=0)) == k
                assert set(sets.sum(1).tolist()) <= set(range(2, modalities))

    def test_random_sets_are_for_training_alone(self):
        model, without = make("mvae", draws=3), make("mvae")
        batch = rows_of(SCHEMA, ROWS, complete=True)
        losses = []
        for one in (model.eval(), without.eval()):
            torch.manual_seed(0)
            losses.append(one.loss(batch).total)
        assert torch.equal(*losses)
        decoded = []
        for decoder in model.decoders:
            decoder.register_forward_hook(lambda module, inputs, output: decoded.append(len(output)))
        model.loss(batch)
        assert decoded == [2 * ROWS] * 4
        decoded.clear()
        model.train().loss(batch)
        assert sum(decoded) > 8 * ROWS


class TestMoPoE:
    def record(self, monkeypatch):
        """Returns the list to which every assignment of rows to subsets is appended."""
        dealt, stratify = [], mopoe.stratify
        monkeypatch.setattr(mopoe, "stratify", lambda allowed: dealt.append(stratify(allowed)) or dealt[-1])
        return dealt

    @pytest.mark.parametrize("subsets", [None, [["a", "b"], ["c"], ["b"]]], ids=["all", "three"])
    def test_a_row_is_reconstructed_from_any_subset_that_it_has_alike(self, subsets, monkeypatch):
        model = make("mopoe", subsets=subsets)
        batch = rows_of(SCHEMA, 6, complete=False)
        whole = rows_of(SCHEMA, 1, complete=True).observed
        batch.observed[0] = whole[0]
        batch.observed[1] = torch.tensor([True, True, True, False])
        batch.observed[2] = torch.tensor([False, False, False, True])  # of the three subsets it has none whole
        for name, value in rows_of(SCHEMA, 6, complete=True).values.items():
            batch.values[name].copy_(value)
        dealt = self.record(monkeypatch)
        torch.manual_seed(0)
        with torch.no_grad():
            for _ in range(600):
                model.loss(batch)
        members = [{m for m in range(4) if row[m]} for row in model.members.tolist()]
        for i, has in enumerate(observed_of(batch)):
            counts = torch.stack(dealt)[:, i].bincount(minlength=len(members) + 1)
            allowed = [k for k, s in enumerate(members) if s <= set(has)] or [len(members)]
            assert counts[allowed].sum() == 600
            assert len(allowed) == 1 or scipy.stats.chisquare(counts[allowed]).pvalue > LEVEL

    def test_strata_are_even(self, monkeypatch):
        model = make("mopoe")
        dealt = self.record(monkeypatch)
        model.loss(rows_of(SCHEMA, 37, complete=True))
        counts = dealt[0].bincount(minlength=15)
        assert len(counts) == 15
        assert counts.min() >= 2
        assert (counts - 2).sum() == 7


class TestNexus:
    def make(self, **arguments):
        return make("nexus", **NEXUS, **arguments)

    def test_the_top_gives_the_encoders_below_no_gradient(self, complete):
        model = self.make(dropout=0.5)
        batch = rows_of(SCHEMA, ROWS, complete=complete)
        bottom = [*model.encoders.parameters(), *model.decoders.parameters()]

        def gradients():
            torch.manual_seed(0)
            return torch.autograd.grad(model.loss(batch).total, bottom)

        before = gradients()
        model.beta = 1e6
        with torch.no_grad():
            for part in (model.top, model.below, model.messages):
                for parameter in part.parameters():
                    parameter.mul_(2)
        assert model.loss(batch).total > 1e6
        assert all(map(torch.equal, before, gradients()))
        terms = model.loss(batch).terms
        for term in (terms["penalty/back"], terms["penalty/kl"]):
            assert all(
                g is None or not g.any()
                for g in torch.autograd.grad(term, bottom, allow_unused=True, retain_graph=True)
            )

    def test_forced_perceptual_dropout_keeps_a_uniform_number_of_messages(self):
        """Of M heard: all with probability .8; else any 1..M-1 alike, and of each number any set alike."""
        model = self.make(dropout=0.2)
        n = 20_000
        for has in ([0, 1, 2, 3], [0, 2, 3], [1, 3], [2]):
            row = torch.zeros(4, dtype=torch.bool)
            row[has] = True
            torch.manual_seed(0)
            heard = model._select_messages(row.expand(n, -1))
            assert heard.any(1).all()
            assert not (heard & ~row).any()
            sets = [s for k in range(1, len(has) + 1) for s in combinations(has, k)]
            counts = dict.fromkeys(sets, 0)
            for code in heard.tolist():
                counts[tuple(m for m in range(4) if code[m])] += 1
            if len(has) == 1:
                continue
            share = [0.8 if len(s) == len(has) else 0.2 / (len(has) - 1) / math.comb(len(has), len(s)) for s in sets]
            assert scipy.stats.chisquare([*counts.values()], [n * p for p in share]).pvalue > LEVEL

    def test_nothing_is_dropped_in_evaluation(self, complete):
        batch = rows_of(SCHEMA, ROWS, complete=complete)
        losses = []
        for model in (self.make(dropout=0.9).eval(), self.make(dropout=0.0).eval(), self.make(dropout=0.0).train()):
            torch.manual_seed(0)
            losses.append(model.loss(batch).total)
        assert losses[0] == losses[1] == losses[2]
        torch.manual_seed(0)
        assert self.make(dropout=0.9).train().loss(batch).total != losses[0]

    @pytest.mark.parametrize("own", [False, True])
    def test_what_is_not_given_follows_from_the_top(self, own):
        model = self.make(own=own).eval()
        batch = rows_of(SCHEMA, ROWS, complete=True)
        mean = encode_experts(model, prepare(model, batch)).loc
        code = model.encode(batch, ["b", "c"]).mean
        messages = (model.messages[1](mean[:, 1]) + model.messages[2](mean[:, 2])) / 2
        top = model.top(messages)[:, :D]
        same(code[:, :D], top)
        for m in range(4):
            truth = mean[:, m] if own and m in (1, 2) else model.below[m](top)
            same(code[:, D + 4 * m : D + 4 * (m + 1)], truth)


class TestLikelihoods:
    @pytest.mark.parametrize(
        ("cost", "theirs"),
        [
            ("laplace(0.75)", lambda p: Laplace(p, 0.75)),
            ("laplace", lambda p: Laplace(p, 1.0)),
            ("gaussian(0.5)", lambda p: Normal(p, 0.5)),
            ("gaussian", lambda p: Normal(p, 1.0)),
            ("l2", lambda p: Normal(p, 1.0)),
            ("bernoulli", lambda p: Bernoulli(logits=p, validate_args=False)),
        ],
    )
    def test_of_numbers(self, cost, theirs):
        torch.manual_seed(0)
        for modality in (Image(2, 3, 4, cost=cost), Vector(5, cost=cost)):
            parameters = 2 * torch.randn(6, 7, *modality.shape).double()
            x = torch.rand(7, *modality.shape).double()
            x = x.round() if cost == "bernoulli" else x
            axes = tuple(range(-len(modality.shape), 0))
            ours = modality.nll(parameters, x)
            same(ours, -theirs(parameters).log_prob(x).sum(axes))
            same(ours, -modality.distribution(parameters).log_prob(x))
            free = ours - modality.compute_cost(parameters, x)  # a constant, but for l2
            if cost != "l2":
                same(free, free[0, 0].expand_as(free))

    @pytest.mark.parametrize("cost", ["categorical", "categorical-squashed"])
    def test_of_classes(self, cost):
        torch.manual_seed(0)
        words = ("one", "two", "three")
        for modality in (Label(5, cost=cost), Text(4, words, width=4, layers=1, heads=1, feedforward=4, cost=cost)):
            classes = modality.levels
            parameters = 3 * torch.randn(6, 7, *modality.shape, classes).double()
            x = torch.randint(classes, (7, *modality.shape))
            axes = tuple(range(-len(modality.shape), 0))
            logits = parameters.sigmoid() if cost.endswith("squashed") else parameters
            truth = -Categorical(logits=logits).log_prob(x)
            truth = truth.sum(axes) if axes else truth
            for ours in (modality.nll, modality.compute_cost):
                same(ours(parameters, x), truth)
            same(-modality.distribution(parameters).log_prob(x), truth)

    @pytest.mark.parametrize(("classes", "printed"), [(2, 0.73), (10, 0.23), (200, 0.013)])
    def test_a_squashed_class_is_never_too_probable(self, classes, printed):
        modality = Label(classes, cost="categorical-squashed")
        bound = math.e / (math.e + classes - 1)
        assert bound == pytest.approx(printed, abs=0.005)
        torch.manual_seed(0)
        for spread in (1.0, 10.0, 1e4):
            parameters = spread * torch.randn(500, classes).double()
            probabilities = modality.distribution(parameters).base_dist.probs
            same(probabilities.sum(-1), torch.ones(500).double())
            assert probabilities.max() <= bound + 1e-12
            assert modality.nll(parameters, torch.randint(classes, (500,))).min() >= -math.log(bound) - 1e-12
        extreme = torch.full((1, classes), -1e3, dtype=torch.float64)
        extreme[0, 0] = 1e3
        assert float(modality.distribution(extreme).base_dist.probs[0, 0]) == pytest.approx(bound, abs=1e-12)
