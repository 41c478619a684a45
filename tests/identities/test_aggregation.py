"""Products, mixtures and choices of experts are what they say, against scipy, quadrature and counting."""

import math
from itertools import chain, combinations, pairwise

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from conftest import rows_of
from torch.distributions import Laplace, Normal, kl_divergence

from polymodal.batch import Batch
from polymodal.distributions import Concatenated, DiagLaplace, DiagNormal, Hierarchical, Mixture
from polymodal.modalities import Image, Label, Vector
from polymodal.models import build
from polymodal.objectives.aggregation import product, stratify
from polymodal.schema import Schema

SCHEMA = Schema({"a": Vector(3, hidden=(4,)), "b": Label(4, hidden=(4,)), "c": Vector(2, hidden=(4,))})
LEVEL = 1e-4  # of every chi-square test: the seeds are fixed, so a correct library never fails


def same(ours, theirs, tolerance=1e-11):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def experts(rows, modalities, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, rows, modalities, size, generator=generator, dtype=torch.float64) * 1.5


def even(counts):
    return len(counts) == 1 or scipy.stats.chisquare(counts).pvalue > LEVEL


def every_set(items):
    items = list(items)
    return [list(s) for s in chain.from_iterable(combinations(items, n) for n in range(1, len(items) + 1))]


class TestProduct:
    @pytest.mark.parametrize("prior", [False, True])
    def test_equals_the_product_of_densities_normalised_by_quadrature(self, prior):
        mean, log_variance = experts(2, 3, 2)
        grid = np.linspace(-25, 25, 20_001)
        for chosen in every_set(range(3)):
            members = torch.zeros(2, 3, dtype=torch.bool)
            members[:, chosen] = True
            q = product(mean, log_variance, members, prior)
            for i in range(2):
                for d in range(2):
                    factors = [
                        scipy.stats.norm.logpdf(grid, float(mean[i, m, d]), math.exp(float(log_variance[i, m, d]) / 2))
                        for m in chosen
                    ]
                    log_density = sum(factors) + (scipy.stats.norm.logpdf(grid) if prior else 0)
                    density = np.exp(log_density - log_density.max())
                    density /= density.sum()
                    center = (density * grid).sum()
                    assert float(q.mean[i, d]) == pytest.approx(center, abs=1e-9)
                    assert float(q.variance[i, d]) == pytest.approx((density * (grid - center) ** 2).sum(), rel=1e-9)

    def test_an_absent_expert_drops_out_however_extreme(self):
        mean, log_variance = experts(3, 3, 2)
        without = product(mean[:, :2], log_variance[:, :2], torch.ones(3, 2, dtype=torch.bool))
        members = torch.tensor([True, True, False]).expand(3, 3)
        for extreme in (-200.0, -30.0, 0.0, 30.0, 200.0):
            for away in (0.0, -1e6, 1e300):
                mean[:, 2], log_variance[:, 2] = away, extreme
                q = product(mean, log_variance, members)
                same(q.mean, without.mean, 1e-14)
                same(q.stddev, without.stddev, 1e-14)

    def test_a_present_expert_rules_or_drops_out_where_it_is_extreme(self):
        mean, log_variance = experts(3, 3, 2)
        everybody = torch.ones(3, 3, dtype=torch.bool)
        log_variance[:, 2] = 200.0
        unsure = product(mean, log_variance, everybody)
        same(unsure.mean, product(mean[:, :2], log_variance[:, :2], everybody[:, :2]).mean)
        log_variance[:, 2] = -200.0
        sure = product(mean, log_variance, everybody)
        same(sure.mean, mean[:, 2])
        same(sure.stddev.log(), torch.full((3, 2), -100.0).double())

    @pytest.mark.parametrize("prior", [False, True])
    def test_gradients_are_finite_for_log_variances_up_to_200(self, prior):
        extremes = [-200.0, -60.0, 0.0, 60.0, 200.0]
        log_variance = torch.cartesian_prod(*[torch.tensor(extremes).double()] * 3)[..., None]
        rows = len(log_variance)
        for chosen in [[], *every_set(range(3))]:
            members = torch.zeros(rows, 3, dtype=torch.bool)
            members[:, chosen] = True
            mean = torch.linspace(-3, 3, 3 * rows).double().view(rows, 3, 1).requires_grad_()
            raw = log_variance.clone().requires_grad_()
            q = product(mean, raw, members, prior)
            outputs = [q.mean, q.stddev, q.stddev.log(), q.rsample(), kl_divergence(q, prior_of(1).expand([rows]))]
            for output in outputs:
                assert output.isfinite().all()
                gradients = torch.autograd.grad(output.sum(), (mean, raw), retain_graph=True, materialize_grads=True)
                absent = [m for m in range(3) if m not in chosen]
                for gradient in gradients:
                    assert gradient.isfinite().all()
                    assert not gradient[:, absent].any()

    def test_gradients_are_those_of_finite_differences(self):
        mean, log_variance = (part.requires_grad_() for part in experts(2, 3, 2).unbind())
        members = torch.tensor([[True, False, True], [False, True, True]])

        def compute(mean, log_variance):
            q = product(mean, log_variance, members)
            return q.mean, q.stddev

        assert torch.autograd.gradcheck(compute, (mean, log_variance))

    @pytest.mark.parametrize("prior", [False, True])
    def test_no_expert_is_the_prior(self, prior):
        q = product(*experts(3, 2, 2), torch.zeros(3, 2, dtype=torch.bool), prior)
        assert torch.equal(q.mean, torch.zeros(3, 2).double())
        assert torch.equal(q.stddev, torch.ones(3, 2).double())

    def test_leading_axes_equal_one_call_each(self):
        mean, log_variance = experts(4, 3, 2)
        torch.manual_seed(1)
        members, prior = torch.rand(2, 5, 4, 3) < 0.5, torch.rand(2, 5, 4) < 0.5
        together = product(mean, log_variance, members, prior)
        assert together.batch_shape == (2, 5, 4)
        for i in range(2):
            for k in range(5):
                alone = product(mean, log_variance, members[i, k], prior[i, k])
                same(together.mean[i, k], alone.mean, 1e-14)
                same(together.stddev[i, k], alone.stddev, 1e-14)

    def test_the_prior_is_one_more_standard_expert(self):
        mean, log_variance = experts(4, 3, 2)
        members = torch.tensor([[True, False, True]]).expand(4, 3)
        standard = torch.zeros(4, 1, 2).double()
        more = torch.cat([members, torch.ones(4, 1, dtype=torch.bool)], 1)
        by_hand = product(torch.cat([mean, standard], 1), torch.cat([log_variance, standard], 1), more)
        ours = product(mean, log_variance, members, prior=True)
        same(ours.mean, by_hand.mean, 1e-14)
        same(ours.stddev, by_hand.stddev, 1e-14)


def prior_of(size):
    return DiagNormal(torch.zeros(size).double(), torch.ones(size).double())


class TestStratify:
    @pytest.mark.parametrize(("choices", "rows"), [(1, 4), (3, 9), (5, 17), (7, 3), (4, 7)])
    def test_counts_differ_by_no_more_than_the_rest(self, choices, rows):
        torch.manual_seed(0)
        for _ in range(50):
            counts = stratify(torch.ones(choices, rows, dtype=torch.bool)).bincount(minlength=choices)
            assert len(counts) == choices
            assert counts.sum() == rows
            assert counts.min() >= rows // choices
            assert counts.max() <= rows // choices + rows % choices

    def test_every_row_is_dealt_every_choice_alike(self):
        torch.manual_seed(0)
        dealt = torch.stack([stratify(torch.ones(3, 5, dtype=torch.bool)) for _ in range(2000)])
        for row in dealt.T:
            assert even(row.bincount(minlength=3))

    def test_rows_that_refuse_some_are_dealt_what_they_allow_alike(self):
        allowed = torch.tensor(
            [
                [True, True, False, False, True, False, True],
                [True, False, True, False, True, True, True],
                [True, True, False, True, True, True, False],
                [True, True, False, False, True, True, True],
            ]
        )
        torch.manual_seed(0)
        dealt = torch.stack([stratify(allowed) for _ in range(4000)])
        for row in range(7):
            counts = dealt[:, row].bincount(minlength=4)
            assert not counts[~allowed[:, row]].any()
            assert even(counts[allowed[:, row]])


class TestMixture:
    present = torch.tensor([[True, True, True], [True, False, True], [False, True, False]])
    chosen = torch.tensor([2, 0, 1])

    def parameters(self):
        mean, raw = experts(3, 3, 2)
        return mean, raw.exp()

    @pytest.mark.parametrize(("kind", "theirs"), [(DiagNormal, scipy.stats.norm), (DiagLaplace, scipy.stats.laplace)])
    def test_log_prob_is_that_of_scipy(self, kind, theirs):
        mean, scale = self.parameters()
        q = Mixture(kind(mean, scale), self.present, self.chosen)
        z = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3
        ours = q.log_prob(z)
        assert ours.shape == (5, 3)
        for k in range(5):
            for i in range(3):
                here = [m for m in range(3) if self.present[i, m]]
                each = [theirs.logpdf(z[k, i].numpy(), mean[i, m].numpy(), scale[i, m].numpy()).sum() for m in here]
                truth = scipy.special.logsumexp(each) - math.log(len(here))
                assert float(ours[k, i]) == pytest.approx(truth, abs=1e-11)

    def test_absent_components_have_no_part(self):
        mean, scale = self.parameters()
        other = torch.where(self.present[..., None], mean, 1e9), torch.where(self.present[..., None], scale, 1e-50)
        one, two = (
            Mixture(DiagNormal(*parameters), self.present, self.chosen) for parameters in ((mean, scale), other)
        )
        z = torch.randn(5, 3, 2).double()
        assert torch.equal(one.log_prob(z), two.log_prob(z))
        assert torch.equal(one.mean, two.mean)
        same(one.variance, two.variance, 1e-14)
        draws = []
        for q in (one, two):
            torch.manual_seed(0)
            draws.append(q.sample((200,)))
        assert torch.equal(*draws)

    def test_gradients_are_finite_and_none_for_the_absent(self):
        mean, scale = (part.requires_grad_() for part in self.parameters())
        q = Mixture(DiagNormal(mean, scale), self.present, self.chosen)
        z = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        q.log_prob(z).sum().backward()
        for part in (mean, scale):
            assert part.grad.isfinite().all()
            assert not part.grad[~self.present].any()
            assert part.grad[self.present].abs().min() > 0

    @pytest.mark.parametrize("kind", [DiagNormal, DiagLaplace])
    def test_variance_and_the_mean_of_draws(self, kind):
        mean, scale = self.parameters()
        q = Mixture(kind(mean, scale), self.present, self.chosen)
        torch.manual_seed(0)
        n = 60_000
        z = q.sample((n,))
        share = self.present.double() / self.present.sum(1, keepdim=True)
        truth = (share[..., None] * mean).sum(1)
        center = z.mean(0)
        assert ((center - truth).abs() < 5 * z.std(0) / math.sqrt(n)).all()
        squares = (z - truth).square()
        assert ((squares.mean(0) - q.variance).abs() < 5 * squares.std(0) / math.sqrt(n)).all()

    def test_mean_is_the_chosen_component_s(self):
        mean, scale = self.parameters()
        q = Mixture(DiagNormal(mean, scale), self.present, self.chosen)
        assert torch.equal(q.mean, mean[range(3), self.chosen])

    def test_leading_axes(self):
        mean, scale = self.parameters()
        present = torch.stack([self.present, ~torch.eye(3, dtype=torch.bool)])
        chosen = torch.stack([self.chosen, torch.tensor([1, 2, 0])])
        q = Mixture(DiagNormal(mean, scale).expand([2, 3, 3]), present, chosen)
        z = torch.randn(2, 3, 2).double()
        for k in range(2):
            alone = Mixture(DiagNormal(mean, scale), present[k], chosen[k])
            assert torch.equal(q.mean[k], alone.mean)
            assert torch.equal(q.variance[k], alone.variance)
            assert torch.equal(q.log_prob(z)[k], alone.log_prob(z[k]))


class TestConcatenated:
    def parts(self, seed):
        torch.manual_seed(seed)
        sizes = 2, 1, 3
        means, scales = ([torch.randn(4, n).double() for n in sizes] for _ in range(2))
        kinds = DiagNormal, DiagLaplace, DiagNormal
        return [kind(mean, raw.exp()) for kind, mean, raw in zip(kinds, means, scales, strict=True)]

    def test_log_prob_and_divergence_are_sums(self):
        p, q = self.parts(0), self.parts(1)
        z = torch.randn(5, 4, 6).double()
        pieces = zip(p, (z[..., :2], z[..., 2:3], z[..., 3:]), strict=True)
        same(Concatenated(p).log_prob(z), sum(part.base_dist.log_prob(piece).sum(-1) for part, piece in pieces))
        each = [kl_divergence(a.base_dist, b.base_dist).sum(-1) for a, b in zip(p, q, strict=True)]
        same(kl_divergence(Concatenated(p), Concatenated(q)), sum(each))

    def test_moments_and_draws_stand_one_after_the_other(self):
        parts = self.parts(0)
        q = Concatenated(parts)
        assert torch.equal(q.mean, torch.cat([part.mean for part in parts], -1))
        assert torch.equal(q.variance, torch.cat([part.variance for part in parts], -1))
        for draw in ("sample", "rsample"):
            torch.manual_seed(3)
            ours = getattr(q, draw)((7,))
            torch.manual_seed(3)
            assert torch.equal(ours, torch.cat([getattr(part, draw)(torch.Size([7])) for part in parts], -1))
        wide = q.expand((3, 4))
        assert wide.batch_shape == (3, 4)
        assert torch.equal(wide.log_prob(q.mean), q.log_prob(q.mean).expand(3, 4))


class TestHierarchical:
    has = torch.tensor([[True, False, True], [False, False, False], [True, True, True], [False, True, False]])

    def make(self, scale):
        generator = torch.Generator().manual_seed(0)
        top_mean, below_mean = (torch.randn(4, *s, generator=generator).double() for s in ((2,), (3, 5)))
        matrix = torch.randn(3, 5, 2, generator=generator).double()
        top = DiagNormal(top_mean, torch.full_like(top_mean, scale))
        own = DiagNormal(below_mean, torch.full_like(below_mean, 2 * scale))
        return Hierarchical(top, own, self.has, lambda z: torch.einsum("med,...d->...me", matrix, z)), matrix

    def below(self, q, code, matrix):
        """By hand: what the rows that lack a code have in its place, and what the others have."""
        made = torch.einsum("med,...d->...me", matrix, code[..., :2])
        return code[..., 2:].unflatten(-1, (3, 5)), made

    def test_mean(self):
        q, matrix = self.make(0.7)
        below, made = self.below(q, q.mean, matrix)
        assert torch.equal(q.mean[:, :2], q.top.mean)
        same(below[~self.has], made[~self.has])
        assert torch.equal(below[self.has], q.own.mean[self.has])

    def test_a_draw_without_spread_is_the_mean(self):
        q, _ = self.make(1e-300)
        assert torch.equal(q.sample((3,)), q.mean.expand(3, -1, -1))

    def test_draws_follow_from_their_own_top(self):
        q, matrix = self.make(0.7)
        torch.manual_seed(0)
        n = 20_000
        code = q.sample((n,))
        assert code.shape == (n, 4, 2 + 3 * 5)
        below, made = self.below(q, code, matrix)
        same(below[:, ~self.has], made[:, ~self.has])
        assert ((code.mean(0) - q.mean).abs() < 5 * code.std(0) / math.sqrt(n)).all()  # `make` is linear
        own = below[:, self.has]
        same(own.std(0), torch.full_like(own[0], 1.4), 0.03)

    def test_variance_is_that_given_the_top(self):
        q, _ = self.make(0.7)
        below = q.variance[:, 2:].unflatten(-1, (3, 5))
        same(q.variance[:, :2], torch.full((4, 2), 0.49, dtype=torch.float64))
        assert not below[~self.has].any()
        same(below[self.has], torch.full((int(self.has.sum()), 5), 1.96, dtype=torch.float64))


def test_laplace_divergence_is_that_of_torch_and_of_quadrature():
    mean, raw = experts(2, 2, 3)
    scale = raw.exp()
    p, q = DiagLaplace(mean[0], scale[0]), DiagLaplace(mean[1], scale[1])
    ours = kl_divergence(p, q)
    same(ours, kl_divergence(Laplace(mean[0], scale[0]), Laplace(mean[1], scale[1])).sum(-1), 1e-13)
    for row in range(2):
        truth = 0
        for d in range(3):
            (a, s), (b, t) = ((float(mean[k, row, d]), float(scale[k, row, d])) for k in range(2))

            def integrand(z, a=a, s=s, b=b, t=t):
                return np.exp(-abs(z - a) / s) / (2 * s) * (abs(z - b) / t - abs(z - a) / s + math.log(t / s))

            for low, high in pairwise(sorted([a - 40 * s, a, b, a + 40 * s])):
                truth += scipy.integrate.quad(integrand, low, high, epsabs=1e-13, limit=200)[0]
        assert float(ours[row]) == pytest.approx(truth, abs=1e-9)


class TestRelatives:
    """What MoPoE is over some subsets only: the mixture of MMVAE, the product of MVTCAE."""

    def pair(self, other, subsets, **arguments):
        mopoe = build("mopoe", SCHEMA, latent_dim=3, subsets=subsets).double()
        relative = build(other, SCHEMA, latent_dim=3, seed=5, **arguments).double()
        mopoe.encoders.load_state_dict(relative.encoders.state_dict())
        return mopoe.eval(), relative.eval()

    def test_singletons_have_the_experts_of_mmvae(self, complete):
        mopoe, mmvae = self.pair("mmvae", [[name] for name in SCHEMA], family="normal")
        batch = rows_of(SCHEMA, 6, complete=complete)
        q = mmvae.encode(batch)
        experts = q.component_distribution
        divergences = torch.zeros(6, 3).double()
        for m, name in enumerate(SCHEMA):
            has = batch.observed[:, m]
            alone = mopoe.encode(batch[has], [name])
            same(alone.mean, experts.mean[has, m], 1e-13)
            same(alone.stddev, experts.stddev[has, m], 1e-13)
            standard = Normal(torch.zeros(3).double(), torch.ones(3).double())
            divergences[has, m] = kl_divergence(Normal(alone.mean, alone.stddev), standard).sum(-1)
        same(q.mixture_distribution.probs, batch.observed.double() / batch.observed.sum(1, keepdim=True), 1e-14)
        same(mopoe.loss(batch).terms["penalty/kl"], (divergences * q.mixture_distribution.probs).sum(1).mean(), 1e-12)

    def test_the_full_set_has_the_product_of_mvtcae_and_the_prior_expert(self):
        mopoe, mvtcae = self.pair("mvtcae", [list(SCHEMA)])
        batch = rows_of(SCHEMA, 6, complete=True)
        ours, theirs = mopoe.encode(batch), mvtcae.encode(batch)
        precision = 1 / theirs.variance + 1
        same(ours.variance, 1 / precision, 1e-13)
        same(ours.mean, theirs.mean / theirs.variance / precision, 1e-13)
        assert (ours.variance < theirs.variance).all()

    def test_rows_that_lack_something_have_the_product_of_mvtcae(self):
        mopoe, mvtcae = self.pair("mvtcae", [list(SCHEMA)])
        batch = rows_of(SCHEMA, 6, complete=False)
        for given in (None, batch.observed):
            ours, theirs = mopoe.encode(batch, given), mvtcae.encode(batch, given)
            same(ours.mean, theirs.mean, 1e-14)
            same(ours.stddev, theirs.stddev, 1e-14)


class TestChoice:
    """For each row one of the modalities that it is given."""

    schema = Schema(
        {
            "picture": Image(1, 4, 4, widths=(2,)),
            "a": Vector(3, hidden=(4,)),
            "label": Label(4, hidden=(4,)),
            "b": Vector(1, hidden=(4,)),
        }
    )

    def choose(self, batch, b):
        model = build("mmvae", self.schema, latent_dim=2).double()
        return model._choose_modality(self.schema.hide(batch, torch.float64), b)

    def rows(self, number):
        generator = torch.Generator().manual_seed(0)
        values = {
            "picture": torch.randint(256, (number, 1, 4, 4), generator=generator).byte(),
            "a": torch.randn(number, 3, generator=generator),
            "label": torch.randint(4, (number,), generator=generator),
            "b": torch.randn(number, 1, generator=generator),
        }
        return Batch(values, torch.ones(number, 4, dtype=torch.bool))

    def test_is_the_same_alone_in_a_batch_and_with_leading_axes(self):
        batch = self.rows(12)
        torch.manual_seed(0)
        b = torch.rand(5, 12, 4) < 0.6
        b[..., 1] |= ~b.any(-1)
        together = self.choose(batch, b)
        assert together.shape == (5, 12)
        order = torch.randperm(12)
        assert torch.equal(self.choose(batch[order], b[:, order]), together[:, order])
        for i in range(12):
            for k in range(5):
                assert self.choose(batch[i], b[k, i : i + 1])[0] == together[k, i]

    def test_is_among_the_given_and_reads_nothing_else(self):
        batch = self.rows(300)
        torch.manual_seed(0)
        b = torch.rand(300, 4) < 0.5
        b[:, 0] |= ~b.any(-1)
        chosen = self.choose(batch, b)
        assert b.gather(1, chosen[:, None]).all()
        others = self.rows(600)[300:]
        mixed = {
            name: torch.where(b[:, m].view(-1, *[1] * (value.dim() - 1)), value, others.values[name])
            for m, (name, value) in enumerate(batch.values.items())
        }
        assert torch.equal(self.choose(Batch(mixed, batch.observed), b), chosen)

    @pytest.mark.parametrize("given", [s for s in every_set(schema) if len(s) > 1], ids="-".join)
    def test_is_uniform_over_many_rows(self, given):
        batch = self.rows(4000)
        b = self.schema.mask(given).expand(4000, -1)
        counts = self.choose(batch, b).bincount(minlength=4)
        assert even(counts[b[0]])

    @pytest.mark.parametrize("model", ["mmvae", "mmvae-plus"])
    def test_the_answer_is_the_chosen_one_s_and_always_the_same(self, model):
        batch = self.rows(40)
        model = build(model, self.schema, latent_dim=2).double().eval()
        alone = torch.stack([model.encode(batch, [name]).mean[:, :2] for name in self.schema], 1)
        code = model.encode(batch).mean[:, :2]
        chosen = self.choose(batch, batch.observed)
        assert torch.equal(code, alone[range(40), chosen])
        assert len(chosen.unique()) == 4
        assert torch.equal(code, model.encode(batch).mean[:, :2])
