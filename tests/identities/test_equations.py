"""The losses of JMVAE, MVAE, MoPoE, MVTCAE and Nexus equal their equations, and costs their likelihoods."""

import math
from itertools import combinations

import pytest
import scipy.stats
import torch
from conftest import rows_of
from torch.distributions import Bernoulli, Categorical, Laplace, Normal, kl_divergence

from polymodal.modalities import Image, Label, Text, Vector
from polymodal.models import build, mopoe, mvae
from polymodal.schema import Schema

SCHEMA = Schema(
    {
        "a": Vector(3, hidden=(4,)),
        "b": Label(4, hidden=(4,)),
        "c": Vector(2, hidden=(4,), cost="laplace(0.75)"),
        "d": Vector(1, hidden=(4,)),
    }
)
NAMES = list(SCHEMA)
LIKELIHOODS = {
    "a": lambda p: Normal(p, 1.0),
    "b": lambda p: Categorical(logits=p),
    "c": lambda p: Laplace(p, 0.75),
    "d": lambda p: Normal(p, 1.0),
}
D, ROWS, PROGRESS = 3, 5, 0.3
STANDARD = Normal(torch.zeros(D).double(), torch.ones(D).double())
LEVEL = 1e-4  # of every chi-square test: the seeds are fixed, so a correct library never fails


def make(name, **arguments):
    return build(name, SCHEMA, latent_dim=D, weights={"a": 0.5, "c": 2.0}, **arguments).double().train()


def same(ours, theirs, **arguments):
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11, **arguments)


def check(model, batch, plain):
    """That value and gradients of the loss are those of a plain computation under the same random numbers."""
    results = []
    for compute in (lambda: model.loss(batch, progress=PROGRESS).total, plain):
        torch.manual_seed(11)
        model.zero_grad()
        total = compute()
        total.backward()
        results.append((total.detach(), {name: p.grad for name, p in model.named_parameters()}))
        model.zero_grad(set_to_none=True)
    (ours, gradients), (theirs, their_gradients) = results
    same(ours, theirs)
    for name, gradient in gradients.items():
        theirs = their_gradients[name]
        same(gradient, torch.zeros_like(gradient) if theirs is None else theirs, msg=name)
    return gradients


def parameters(model, batch):
    """Means and log-variances of every q_m, `(B, M, D)`, and prepared values."""
    x = SCHEMA.hide(batch, torch.float64)
    outputs = [encoder(x[name]) for name, encoder in zip(NAMES, model.encoders, strict=True)]
    mean, log_variance = torch.stack(outputs, 1).chunk(2, -1)
    return mean, log_variance, x


def product(mean, log_variance, prior):
    """By hand, of the experts `(n, D)` of one row."""
    precision, weighted = torch.full((mean.shape[-1],), float(prior), dtype=torch.float64), 0
    for one, raw in zip(mean, log_variance, strict=True):
        precision = precision + 1 / raw.exp()
        weighted = weighted + one / raw.exp()
    return Normal(weighted / precision, precision.rsqrt())


def stacked(rows):
    return Normal(torch.stack([q.loc for q in rows]), torch.stack([q.scale for q in rows]))


def reconstruction(model, x, z, i, some):
    """Of row i from its code, over some of the modalities."""
    total = 0
    for m in some:
        likelihood = LIKELIHOODS[NAMES[m]](model.decoders[m](z[None])[0])
        total = total - model.weight[m] * likelihood.log_prob(x[NAMES[m]][i]).sum()
    return total


def observed(batch):
    return [[m for m in range(len(NAMES)) if row[m]] for row in batch.observed.tolist()]


def kl(q, p=STANDARD):
    return kl_divergence(q, p).sum()


class TestMVTCAE:
    def test_of_alpha_0_it_is_a_beta_vae(self):
        model = make("mvtcae", alpha=0.0, beta=1.7)
        batch = rows_of(SCHEMA, ROWS, complete=True)

        def plain():
            mean, log_variance, x = parameters(model, batch)
            precision = (-log_variance).exp()
            q = Normal((precision * mean).sum(1) / precision.sum(1), precision.sum(1).rsqrt())
            z = q.rsample()
            likelihoods = {name: LIKELIHOODS[name](model.decoders[m](z)) for m, name in enumerate(NAMES)}
            rec = [-p.log_prob(x[name]).reshape(ROWS, -1).sum(1).mean() for name, p in likelihoods.items()]
            rec = sum(w * part for w, part in zip((0.5, 1.0, 2.0, 1.0), rec, strict=True))
            return rec + 1.7 * PROGRESS * kl_divergence(q, STANDARD.expand([ROWS, D])).sum(1).mean()

        check(model, batch, plain)

    @pytest.mark.parametrize("alpha", [0.0, 0.1, 0.6, 1.0])
    def test_loss_equals_the_plain_loop(self, alpha, complete):
        model = make("mvtcae", alpha=alpha, beta=1.7)
        batch = rows_of(SCHEMA, ROWS, complete=complete)

        def plain():
            mean, log_variance, x = parameters(model, batch)
            posteriors = [product(mean[i, has], log_variance[i, has], 0) for i, has in enumerate(observed(batch))]
            z = stacked(posteriors).rsample()
            total = 0
            for i, (has, q) in enumerate(zip(observed(batch), posteriors, strict=True)):
                apart = sum(kl(q, Normal(mean[i, m], (log_variance[i, m] / 2).exp())) for m in has)
                penalty = alpha / 4 * apart + (1 - alpha) * kl(q)
                total = total + (4 - alpha) / 4 * reconstruction(model, x, z[i], i, has) + 1.7 * PROGRESS * penalty
            return total / ROWS

        check(model, batch, plain)


class TestJMVAE:
    def posterior(self, model, x):
        features = [encoder(x[name]) for name, encoder in zip(NAMES, model.joint_encoders, strict=True)]
        mean, log_variance = model.joint(torch.cat(features, 1)).chunk(2, -1)
        return Normal(mean, (log_variance / 2).exp())

    def test_loss_equals_the_plain_computation(self):
        model = make("jmvae", alpha=0.4, beta=1.7, hidden=(4,))
        batch = rows_of(SCHEMA, ROWS, complete=True)

        def plain():
            mean, log_variance, x = parameters(model, batch)
            q = self.posterior(model, x)
            z = q.rsample()
            total = 0
            for i in range(ROWS):
                one = Normal(q.loc[i], q.scale[i])
                apart = sum(kl(one, Normal(mean[i, m], (log_variance[i, m] / 2).exp())) for m in range(4))
                total = total + reconstruction(model, x, z[i], i, range(4)) + 1.7 * PROGRESS * (kl(one) + 0.4 * apart)
            return total / ROWS

        gradients = check(model, batch, plain)
        assert all(gradient.abs().max() > 0 for gradient in gradients.values())

    def test_divergences_are_those_of_torch(self):
        model = make("jmvae", hidden=(4,))
        batch = rows_of(SCHEMA, ROWS, complete=True)
        terms = model.loss(batch).terms
        mean, log_variance, x = parameters(model, batch)
        q = self.posterior(model, x)
        same(terms["penalty/kl"], kl_divergence(q, STANDARD.expand([ROWS, D])).sum(1).mean())
        apart = [kl_divergence(q, Normal(mean[:, m], (log_variance[:, m] / 2).exp())).sum(1) for m in range(4)]
        same(terms["penalty/experts"], sum(apart).mean())

    def test_all_are_told_by_the_joint_encoder_and_some_by_the_product(self):
        model = make("jmvae", hidden=(4,)).eval()
        batch = rows_of(SCHEMA, ROWS, complete=True)
        mean, log_variance, x = parameters(model, batch)
        joint = self.posterior(model, x)
        given = torch.ones(2, ROWS, 4, dtype=torch.bool)
        given[1, 1] = torch.tensor([True, False, False, True])
        given[1, 3] = torch.tensor([False, True, False, False])
        q = model.encode(batch, given)
        for k in range(2):
            for i in range(ROWS):
                some = given[k, i].nonzero()[:, 0]
                apart = product(mean[i, some], log_variance[i, some], 0)
                truth = Normal(joint.loc[i], joint.scale[i]) if len(some) == 4 else apart
                same(q.mean[k, i], truth.loc)
                same(q.stddev[k, i], truth.scale)
        only = model.encode(batch, ["d", "a"])
        same(only.mean[2], product(mean[2, [0, 3]], log_variance[2, [0, 3]], 0).loc)

    def test_a_row_that_lacks_something_is_told_by_the_product(self):
        model = make("jmvae", hidden=(4,)).eval()
        batch = rows_of(SCHEMA, ROWS, complete=False)
        q = model.encode(batch)
        mean, log_variance, _ = parameters(model, batch)
        for i, has in enumerate(observed(batch)):
            same(q.mean[i], product(mean[i, has], log_variance[i, has], 0).loc)
        with pytest.raises(ValueError, match="complete rows"):
            model.loss(batch)


class TestMVAE:
    EXTRA = torch.tensor([[True, True, False, False], [False, True, True, True]])

    @pytest.mark.parametrize("draws", [0, 2])
    def test_loss_equals_the_plain_loop(self, draws, complete, monkeypatch):
        model = make("mvae", beta=1.7, draws=draws)
        batch = rows_of(SCHEMA, ROWS, complete=complete)
        monkeypatch.setattr(mvae, "random_sets", lambda *arguments: self.EXTRA)

        def plain():
            mean, log_variance, x = parameters(model, batch)
            sets = [[0, 1, 2, 3], [0], [1], [2], [3], *([[0, 1], [1, 2, 3]] if draws else [])]
            taking = [[[m for m in s if m in has] for has in observed(batch)] for s in sets]
            posteriors = [
                [product(mean[i, some], log_variance[i, some], 1) for i, some in enumerate(rows)] for rows in taking
            ]
            z = stacked([stacked(rows) for rows in posteriors]).rsample()
            total = 0
            for t, rows in enumerate(taking):
                for i, some in enumerate(rows):
                    if some:
                        rec = reconstruction(model, x, z[t, i], i, some)
                        total = total + rec + 1.7 * PROGRESS * kl(posteriors[t][i])
            return total / ROWS

        check(model, batch, plain)

    def test_the_posterior_has_the_prior_as_an_expert(self, complete):
        model = make("mvae").eval()
        batch = rows_of(SCHEMA, ROWS, complete=complete)
        mean, log_variance, _ = parameters(model, batch)
        q = model.encode(batch)
        for i, has in enumerate(observed(batch)):
            truth = product(mean[i, has], log_variance[i, has], 1)
            same(q.mean[i], truth.loc)
            same(q.stddev[i], truth.scale)

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
    ALL = tuple(s for n in (1, 2, 3, 4) for s in combinations(range(4), n))

    def plain(self, model, batch, subsets, drawn):
        """`drawn(i, z)` is the code of row i, of the codes `z[A]` of all its subsets and of all that it has."""
        mean, log_variance, x = parameters(model, batch)
        per_row = []
        for has in observed(batch):
            whole = [s for s in subsets if set(s) <= set(has)] or [has]
            per_row.append((has, whole))
        posteriors = [
            [product(mean[i, list(s)], log_variance[i, list(s)], len(s) == 4) for i in range(ROWS)]
            for s in [[NAMES.index(n) for n, here in zip(NAMES, row, strict=True) if here] for row in model.members]
        ]
        everything = [product(mean[i, has], log_variance[i, has], len(has) == 4) for i, (has, _) in enumerate(per_row)]
        z = stacked([stacked(rows) for rows in [*posteriors, everything]]).rsample()
        total = 0
        for i, (has, whole) in enumerate(per_row):
            divergences = [kl(product(mean[i, list(s)], log_variance[i, list(s)], len(s) == 4)) for s in whole]
            total = total + reconstruction(model, x, drawn(i, z), i, has)
            total = total + 1.7 * PROGRESS * sum(divergences) / len(whole)
        return total / ROWS

    @pytest.mark.parametrize("subsets", [None, [["a", "b"], ["c"], ["d", "a", "b", "c"]]], ids=["all", "three"])
    @pytest.mark.parametrize("draw", ["full", "stratified"])
    def test_loss_equals_the_plain_loop(self, draw, subsets, complete, monkeypatch):
        model = make("mopoe", beta=1.7, draw=draw, subsets=subsets)
        batch = rows_of(SCHEMA, ROWS, complete=complete)
        mixed = self.ALL if subsets is None else [sorted(map(NAMES.index, names)) for names in subsets]
        dealt = []
        stratify = mopoe.stratify

        def recorded(allowed):
            dealt.append(stratify(allowed))
            return dealt[-1]

        monkeypatch.setattr(mopoe, "stratify", recorded)

        def plain():
            if draw == "full":
                return self.plain(model, batch, mixed, lambda i, z: z[-1, i])
            rows = [*model.members.tolist(), None]
            for i, has in enumerate(observed(batch)):
                row = rows[dealt[0][i]]
                names = set(has) if row is None else {m for m in range(4) if row[m]}
                assert names <= set(has)
                assert (row is None) == (not any(set(s) <= set(has) for s in mixed))
            return self.plain(model, batch, mixed, lambda i, z: z[dealt[0][i], i])

        check(model, batch, plain)
        assert len(dealt) == (draw == "stratified")

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
        dealt = []
        stratify = mopoe.stratify
        monkeypatch.setattr(mopoe, "stratify", lambda allowed: dealt.append(stratify(allowed)) or dealt[-1])
        torch.manual_seed(0)
        with torch.no_grad():
            for _ in range(600):
                model.loss(batch)
        members = [{m for m in range(4) if row[m]} for row in model.members.tolist()]
        for i, has in enumerate(observed(batch)):
            counts = torch.stack(dealt)[:, i].bincount(minlength=len(members) + 1)
            allowed = [k for k, s in enumerate(members) if s <= set(has)] or [len(members)]
            assert counts[allowed].sum() == 600
            assert len(allowed) == 1 or scipy.stats.chisquare(counts[allowed]).pvalue > LEVEL

    def test_strata_are_even(self, monkeypatch):
        model = make("mopoe")
        dealt = []
        stratify = mopoe.stratify
        monkeypatch.setattr(mopoe, "stratify", lambda allowed: dealt.append(stratify(allowed)) or dealt[-1])
        model.loss(rows_of(SCHEMA, 37, complete=True))
        counts = dealt[0].bincount(minlength=15)
        assert len(counts) == 15
        assert counts.min() >= 2
        assert (counts - 2).sum() == 7


class TestNexus:
    E = 4

    def make(self, **arguments):
        return make("nexus", bottom_dim=self.E, message_dim=5, hidden=(6,), beta=1.7, bottom_beta=0.6, **arguments)

    def plain(self, model, batch, heard):
        mean, log_variance, x = parameters(model, batch)
        bottom = Normal(mean, (log_variance / 2).exp())
        below = bottom.rsample()
        fixed = below.detach()
        tops = []
        for i in range(ROWS):
            messages = [model.messages[m](fixed[i, m][None])[0] for m in heard[i]]
            mean, log_variance = model.top((sum(messages) / len(messages))[None])[0].chunk(2)
            tops.append(Normal(mean, (log_variance / 2).exp()))
        z = stacked(tops).rsample()
        small = Normal(torch.zeros(self.E).double(), torch.ones(self.E).double())
        total = 0
        for i, has in enumerate(observed(batch)):
            total = total + 1.7 * PROGRESS * kl(tops[i])
            for m in has:
                total = total + reconstruction(model, x, below[i, m], i, [m])
                total = total + 0.6 * PROGRESS * kl(Normal(bottom.loc[i, m], bottom.scale[i, m]), small)
                total = total - Normal(model.below[m](z[i][None])[0], 1.0).log_prob(fixed[i, m]).sum()
        return total / ROWS

    @pytest.mark.parametrize("squashed", [False, True])
    @pytest.mark.parametrize("dropped", [False, True])
    def test_loss_equals_the_plain_loop(self, squashed, dropped, complete, monkeypatch):
        model = self.make(squashed=squashed, dropout=0.0)
        batch = rows_of(SCHEMA, ROWS, complete=complete)
        heard = observed(batch)
        if dropped:  # some of what a row has; all of it is still made from the top
            heard = [has[: max(1, len(has) - 1 - i % 2)] for i, has in enumerate(heard)]
            mask = torch.zeros(ROWS, 4, dtype=torch.bool)
            for i, some in enumerate(heard):
                mask[i, some] = True
            monkeypatch.setattr(model, "_select_messages", lambda has: mask)
        check(model, batch, lambda: self.plain(model, batch, heard))

    def test_the_top_gives_the_encoders_below_no_gradient(self, complete):
        model = self.make(dropout=0.5)
        batch = rows_of(SCHEMA, ROWS, complete=complete)
        bottom = [*model.encoders.parameters(), *model.decoders.parameters()]

        def gradients(compute):
            torch.manual_seed(0)
            return torch.autograd.grad(compute(), bottom)

        def alone():
            mean, log_variance, x = parameters(model, batch)
            q = Normal(mean, (log_variance / 2).exp())
            z = q.rsample()
            total = 0
            for i, has in enumerate(observed(batch)):
                for m in has:
                    small = Normal(torch.zeros(self.E).double(), torch.ones(self.E).double())
                    total = total + reconstruction(model, x, z[i, m], i, [m])
                    total = total + 0.6 * kl(Normal(q.loc[i, m], q.scale[i, m]), small)
            return total / ROWS

        ours = gradients(lambda: model.loss(batch).total)
        for one, other in zip(ours, gradients(alone), strict=True):
            same(one, other)
        model.beta = 1e6
        with torch.no_grad():
            for part in (model.top, model.below, model.messages):
                for parameter in part.parameters():
                    parameter.mul_(3).add_(1)
        assert model.loss(batch).total > 1e6
        for one, other in zip(ours, gradients(lambda: model.loss(batch).total), strict=True):
            assert torch.equal(one, other)
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
        mean, _, _ = parameters(model, batch)
        code = model.encode(batch, ["b", "c"]).mean
        messages = (model.messages[1](mean[:, 1]) + model.messages[2](mean[:, 2])) / 2
        top = model.top(messages)[:, :D]
        same(code[:, :D], top)
        for m in range(4):
            truth = mean[:, m] if own and m in (1, 2) else model.below[m](top)
            same(code[:, D + m * self.E : D + (m + 1) * self.E], truth)


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
