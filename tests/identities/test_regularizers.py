"""The MMDs and the sliced Wasserstein distance against closed forms and POT; the paper's theorem; the KL divergence."""

import json
import math
from dataclasses import dataclass

import ot
import pytest
import torch
from scipy.integrate import quad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from polymodal.distributions import DiagNormal
from polymodal.modalities import Label, Vector
from polymodal.models import build, load
from polymodal.objectives.conditioning import probabilities, subsets
from polymodal.objectives.regularizers import (
    IMQ,
    KL,
    MMD,
    REGULARIZERS,
    Regularizer,
    Sliced,
    make_regularizer,
    spell_regularizer,
)
from polymodal.schema import Schema

pytestmark = pytest.mark.slow


def prior(d):
    return DiagNormal(torch.zeros(d).double(), torch.ones(d).double())


@pytest.mark.parametrize("bandwidth", [0.5, 1.0, 3.0])
def test_mmd_equals_its_definition(bandwidth):
    z = torch.randn(3, 5, 4).double() * 2
    torch.manual_seed(0)
    ours = MMD(bandwidth)(prior(4), z, prior(4))
    torch.manual_seed(0)
    p = prior(4).sample((3, 5))
    for k in range(3):

        def kernel(u, v):
            return math.exp(-float((u - v).square().sum()) / (2 * 4 * bandwidth**2))

        pp = sum(kernel(p[k, i], p[k, j]) for i in range(5) for j in range(5) if i != j) / 20
        zz = sum(kernel(z[k, i], z[k, j]) for i in range(5) for j in range(5) if i != j) / 20
        pz = sum(kernel(p[k, i], z[k, j]) for i in range(5) for j in range(5)) / 25
        assert float(ours[k]) == pytest.approx(pp + zz - 2 * pz, abs=1e-12)


@pytest.mark.parametrize(
    ("shift", "scale", "bandwidth"), [(0.0, 1.0, 1.0), (0.5, 1.0, 0.7), (0.2, 2.0, 1.0), (0.0, 0.1, 2.0)]
)
def test_mmd_is_unbiased(shift, scale, bandwidth):
    """Against the closed form for two Gaussians: E exp(-|d|^2 / (2 l)) for Gaussian d, with l = D bandwidth^2."""
    d, rows, repeats = 3, 4, 20_000
    length = d * bandwidth**2

    def expected(mean, variance):
        return (length / (length + variance)) ** (d / 2) * math.exp(-d * mean**2 / (2 * (length + variance)))

    truth = expected(0, 2) + expected(0, 2 * scale**2) - 2 * expected(shift, 1 + scale**2)
    torch.manual_seed(0)
    z = shift + scale * torch.randn(repeats, rows, d).double()
    estimates = MMD(bandwidth)(prior(d), z, prior(d))
    error = float(estimates.std()) / math.sqrt(repeats)
    assert float(estimates.mean()) == pytest.approx(truth, abs=4 * error)
    assert error < 0.003


def test_imq_equals_its_definition():
    z = torch.randn(3, 5, 4).double() * 2
    torch.manual_seed(0)
    ours = IMQ()(prior(4), z, prior(4))
    torch.manual_seed(0)
    p = prior(4).sample((3, 5))

    def kernel(u, v):
        scales = [2 * 4 * s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
        return sum(c / (c + float((u - v).square().sum())) for c in scales) / 7

    for k in range(3):
        pp = sum(kernel(p[k, i], p[k, j]) for i in range(5) for j in range(5) if i != j) / 20
        zz = sum(kernel(z[k, i], z[k, j]) for i in range(5) for j in range(5) if i != j) / 20
        pz = sum(kernel(p[k, i], z[k, j]) for i in range(5) for j in range(5)) / 25
        assert float(ours[k]) == pytest.approx(pp + zz - 2 * pz, abs=1e-12)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 1.0), (0.2, 2.0), (0.0, 0.1)])
def test_imq_is_unbiased(shift, scale):
    """C / (C + r) is the mean of exp(-t r / C) over t ~ Exp(1), whose mean over two Gaussians has a closed form."""
    d, rows, repeats = 3, 4, 20_000

    def expected(mean, variance):
        def over(c):
            def integrand(t):
                spread = 1 + 2 * t * variance / c
                return math.exp(-t - t * d * mean**2 / (c * spread)) * spread ** (-d / 2)

            return quad(integrand, 0, math.inf)[0]

        return sum(over(2 * d * s) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)) / 7

    truth = expected(0, 2) + expected(0, 2 * scale**2) - 2 * expected(shift, 1 + scale**2)
    torch.manual_seed(0)
    z = shift + scale * torch.randn(repeats, rows, d).double()
    estimates = IMQ()(prior(d), z, prior(d))
    error = float(estimates.std()) / math.sqrt(repeats)
    assert float(estimates.mean()) == pytest.approx(truth, abs=4 * error)
    assert error < 0.003


class TestSliced:
    @pytest.mark.parametrize("target", ["quantiles", "samples"])
    @pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 1.0), (0.2, 2.0), (0.0, 0.1), (3.0, 30.0)])
    def test_two_gaussians(self, shift, scale, target):
        """W2^2 of N(theta m, s^2) and N(0, 1) is (theta m)^2 + (s - 1)^2, and the mean of (theta m)^2 is |m|^2 / D."""
        torch.manual_seed(0)
        z = shift + scale * torch.randn(20_000, 3).double()
        ours = float(Sliced(500, target)(prior(3), z, prior(3)))
        assert ours == pytest.approx(shift**2 + (scale - 1) ** 2, rel=0.05, abs=0.002)

    def test_equals_pot(self):
        """POT's distance between the codes and the prior's samples, on the same directions."""
        z = torch.randn(40, 5).double() * 2 + 1
        torch.manual_seed(3)
        ours = Sliced(30, "samples")(prior(5), z, prior(5))
        torch.manual_seed(3)
        theta = torch.randn(5, 30, dtype=torch.float64)
        theta = theta / theta.norm(dim=0, keepdim=True)
        p = prior(5).sample((40,))
        theirs = ot.sliced_wasserstein_distance(z.numpy(), p.numpy(), projections=theta.numpy())
        assert float(ours) == pytest.approx(theirs**2, rel=1e-12)

    def test_quantiles_are_those_of_scipy(self):
        from scipy.stats import norm

        z = torch.randn(1, 7, 1).double()
        expected = (z.flatten().sort().values.numpy() - norm.ppf([(i - 0.5) / 7 for i in range(1, 8)])) ** 2
        assert float(Sliced()(prior(1), z, prior(1))) == pytest.approx(expected.mean(), rel=1e-12)

    def test_of_codes_at_the_origin_it_is_about_one_and_it_pulls_from_afar(self):
        assert float(Sliced(500)(prior(8), torch.zeros(2000, 8).double(), prior(8))) == pytest.approx(1, abs=0.01)
        z = (100 * torch.randn(200, 8).double()).requires_grad_()
        for penalty, pulls in ((Sliced(500), True), (MMD(), False)):
            (gradient,) = torch.autograd.grad(penalty(prior(8), z, prior(8)), z)
            towards = float((gradient * z).sum() / z.norm() * len(z))
            assert (towards > 1) == pulls

    def test_quantiles_need_a_gaussian_prior(self):
        laplace = torch.distributions.Independent(torch.distributions.Laplace(torch.zeros(3), torch.ones(3)), 1)
        z = torch.randn(50, 3)
        with pytest.raises(TypeError, match="Gaussian prior; got Independent"):
            Sliced()(laplace, z, laplace)
        assert Sliced(64, "samples")(laplace, z, laplace).isfinite()


class TestText:
    """A regulariser is given as text or as the object, and written as the text that makes it again."""

    @pytest.mark.parametrize(
        ("text", "made"),
        [
            ("mmd", MMD()),
            ("mmd(2)", MMD(2.0)),
            ("mmd( 0.1 )", MMD(0.1)),
            ("sliced()", Sliced()),
            ("sliced(32, samples)", Sliced(32, "samples")),
            ("imq", IMQ()),
            ("kl", KL()),
        ],
    )
    def test_is_read(self, text, made):
        assert make_regularizer(text) == made
        assert make_regularizer(spell_regularizer(made)) == made
        assert make_regularizer(made) is made

    def test_is_written_in_one_way(self):
        assert [spell_regularizer(one) for one in (MMD(1.0), MMD(2.0), MMD(2), MMD(1 / 3), Sliced(64), Sliced(8))] == [
            "mmd", "mmd(2)", "mmd(2)", "mmd(0.3333333333333333)", "sliced", "sliced(8)",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("mdm", "unknown regularizer 'mdm'; known are mmd"),
            ("mmd(2", "with arguments such as 'mmd\\(2\\)'"),
            ("mmd(0)", "bandwidth must be positive"),
            ("mmd(two)", "regularizer 'mmd\\(two\\)'"),
            ("mmd(1, 2)", "takes bandwidth"),
            ("kl(1)", "takes no arguments"),
            ("sliced(1.5)", "directions must be a whole number"),
            ("sliced(8, quartiles)", "target must be"),
        ],
    )
    def test_what_is_wrong_is_said(self, text, message):
        with pytest.raises(ValueError, match=message):
            make_regularizer(text)

    def test_one_that_is_not_registered_cannot_be_written(self):
        class Mine(Regularizer):
            def __call__(self, posterior, z, prior):
                return z.square().mean((-2, -1))

        with pytest.raises(ValueError, match="Mine must be in REGULARIZERS"):
            spell_regularizer(Mine())


class TestModels:
    """A model takes a regulariser as text or as the object, and its file holds the text."""

    SCHEMA = Schema({"size": Vector(2), "kind": Label(3)})

    @pytest.mark.parametrize(
        ("given", "written"), [("mmd(2)", "mmd(2)"), (MMD(2.0), "mmd(2)"), (Sliced(8), "sliced(8)"), ("imq", "imq")]
    )
    def test_it_is_saved_as_text(self, given, written, tmp_path):
        model = build("mac-wae", self.SCHEMA, latent_dim=3, regularizer=given)
        document = json.loads((model.save(tmp_path / "model") / "model.json").read_text(encoding="utf-8"))
        assert document["arguments"]["regularizer"] == written
        assert load(tmp_path / "model").penalty == make_regularizer(given)
        batch = self.SCHEMA.batch({"size": torch.rand(4, 2), "kind": torch.arange(4) % 3})
        assert f"penalty/{written.partition('(')[0]}" in model.loss(batch).terms

    def test_one_of_the_users_own_trains_and_is_saved_once_it_is_registered(self, tmp_path, monkeypatch):
        @dataclass(frozen=True)
        class Norm(Regularizer):
            scale: float = 1.0

            def __call__(self, posterior, z, prior):
                return self.scale * z.square().mean((-2, -1))

        model = build("mac-wae", self.SCHEMA, latent_dim=3, regularizer=Norm(3.0))
        batch = self.SCHEMA.batch({"size": torch.rand(4, 2), "kind": torch.arange(4) % 3})
        assert "penalty/norm" in model.loss(batch).terms
        with pytest.raises(ValueError, match="Norm must be in REGULARIZERS"):
            model.save(tmp_path / "model")
        monkeypatch.setitem(REGULARIZERS, "norm", Norm)
        made = build("mac-wae", self.SCHEMA, latent_dim=3, regularizer="norm(3)")
        assert made.penalty == Norm(3)
        assert load(made.save(tmp_path / "model")).penalty == Norm(3)

    def test_bandwidth_is_the_old_spelling(self):
        with pytest.warns(DeprecationWarning, match=r"write regularizer='mmd\(2\)'"):
            model = build("mac-wae", self.SCHEMA, latent_dim=3, regularizer="mmd", bandwidth=2.0)
        assert model.regularizer == "mmd(2)"
        with pytest.raises(ValueError, match=r"bandwidth belongs to 'mmd'.*write regularizer='mmd\(2\)'"):
            build("mac-wae", self.SCHEMA, latent_dim=3, bandwidth=2.0)

    def test_what_needs_a_density_refuses_a_deterministic_encoder(self):
        with pytest.raises(ValueError, match="'kl' needs a stochastic encoder"):
            build("mac-wae", self.SCHEMA, latent_dim=3, regularizer="kl")
        assert build("mac-wae", self.SCHEMA, latent_dim=3, regularizer="kl", stochastic=True).relative is False

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("mac-wae", ("sliced", 0.1, True)), ("m-wae", ("sliced", 0.1, True)), ("mac-vae", ("kl", 1.0, False))],
    )
    def test_each_variant_has_a_weight_that_suits_its_penalty(self, name, expected):
        model = build(name, self.SCHEMA, latent_dim=3)
        assert (model.regularizer, model.beta, model.relative) == expected


@pytest.mark.parametrize("penalty", [kind() for kind in REGULARIZERS.values()], ids=REGULARIZERS.keys())
def test_gradients_are_those_of_finite_differences(penalty):
    mean = torch.randn(2, 4, 3).double().requires_grad_()
    scale = (torch.rand(2, 4, 3).double() + 0.5).requires_grad_()

    def compute(mean, scale):
        torch.manual_seed(0)
        posterior = DiagNormal(mean, scale)
        return penalty(posterior, posterior.rsample(), prior(3))

    assert torch.autograd.gradcheck(compute, (mean, scale))


@pytest.mark.parametrize("penalty", [kind() for kind in REGULARIZERS.values()], ids=REGULARIZERS.keys())
def test_conditionings_do_not_mix(penalty):
    posterior = DiagNormal(torch.randn(2, 3, 4, 5).double(), torch.rand(2, 3, 4, 5).double() + 0.5)
    z = posterior.mean
    torch.manual_seed(0)
    whole = penalty(posterior, z, prior(5))
    assert whole.shape == (2, 3)
    other = z.clone()
    other[0, 0] += 1
    torch.manual_seed(0)
    changed = penalty(DiagNormal(other, posterior.stddev), other, prior(5)) != whole
    assert changed.sum() == 1
    assert changed[0, 0]


def test_mmd_of_one_row_says_why():
    with pytest.raises(ValueError, match="at least 2 rows"):
        MMD()(prior(3), torch.zeros(2, 1, 3).double(), prior(3))


def test_mmd_never_holds_the_differences_of_all_pairs():
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
            self.numel = max([self.numel, *sizes])
            return out

    k, rows, d = 3, 32, 64
    z = torch.randn(k, rows, d).double().requires_grad_()
    with Largest() as largest:
        MMD()(prior(d), z, prior(d)).sum().backward()
    assert largest.numel <= k * rows * max(rows, d)


def test_kl_is_the_closed_form():
    mean, scale = torch.randn(2, 5, 3).double(), torch.rand(2, 5, 3).double() + 0.1
    q = DiagNormal(mean, scale)
    closed = 0.5 * (mean.square() + scale.square() - 1 - 2 * scale.log()).sum(-1).mean(-1)
    torch.testing.assert_close(KL()(q, q.mean, prior(3)), closed, rtol=1e-12, atol=1e-12)


class TestTheorem:
    """`sum_k w_k V(P, Q_k) - V(P, Q) = sum_k w_k V(Q_k, Q) >= 0`, V with its diagonal, Q the mixture of the Q_k."""

    @staticmethod
    def v(u, a, v, b):
        """The statistic between points u of weights a and points v of weights b, each of sum 1."""
        kernel = MMD().kernel
        return a @ kernel(u, u) @ a + b @ kernel(v, v) @ b - 2 * a @ kernel(u, v) @ b

    @pytest.mark.parametrize("weights", ["p(b) over all subsets", "1/K over draws"])
    def test_identity(self, weights):
        b = subsets(4)
        w = probabilities(b, 0.4) if weights.startswith("p(b)") else torch.full((15,), 1 / 15, dtype=torch.float64)
        torch.manual_seed(0)
        sizes = torch.randint(2, 9, (15,)).tolist()
        q = [torch.randn(n, 6).double() * (1 + k / 5) + k / 10 for k, n in enumerate(sizes)]
        p = torch.randn(12, 6).double()
        even = [torch.full((n,), 1 / n, dtype=torch.float64) for n in [*sizes, 12]]
        mixture = torch.cat(q)
        mixed = torch.cat([w[k] * even[k] for k in range(15)])
        left = sum(w[k] * self.v(p, even[-1], q[k], even[k]) for k in range(15)) - self.v(p, even[-1], mixture, mixed)
        right = sum(w[k] * self.v(q[k], even[k], mixture, mixed) for k in range(15))
        assert float(left) == pytest.approx(float(right), abs=1e-12)
        assert right > 0.01
