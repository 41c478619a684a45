"""The flow over codes against closed forms: order of its solver, paths, guidance, and a linear-Gaussian model."""

from functools import partial
from itertools import combinations, pairwise

import pytest
import torch

from polymodal.modalities import Vector
from polymodal.models import build
from polymodal.networks import CodeFlow
from polymodal.schema import Schema
from polymodal.table.table import Table
from polymodal.training import fit

pytestmark = pytest.mark.slow


@pytest.fixture
def flow():
    torch.manual_seed(0)
    flow = CodeFlow(3, 2, width=16, sigma=0.7, frequencies=1).double()  # a velocity that is smooth in t
    torch.nn.init.normal_(flow.out.weight)
    for film in [*flow.films, flow.context[-1]]:
        torch.nn.init.normal_(film.weight, std=0.1)
    flow.mean, flow.scale = torch.randn(3).double(), torch.rand(3).double() + 0.5
    return flow


def test_the_loss_is_the_squared_error_of_the_velocity_of_a_straight_path(flow):
    w, c, noise = torch.randn(3, 7, 3).double()
    t, b = torch.rand(7, 1).double(), torch.rand(7, 2) < 0.5
    b[0] = False
    losses = flow.loss(w, c, b, noise, t)
    for i in range(7):
        to, start = (w[i] - flow.mean) / flow.scale, (c[i] - flow.mean) / flow.scale * b[i].any() + 0.7 * noise[i]
        known = (c[i] - flow.mean) / flow.scale * b[i].any()
        found = flow.velocity(
            ((1 - t[i]) * start + t[i] * to)[None], t[i][None], flow.embed_condition(known[None], b[i][None])
        )
        assert losses[i].item() == pytest.approx((found[0] - (to - start)).square().mean().item(), rel=1e-12)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_error_of_the_solver_falls_with_the_square_of_its_steps(flow, guidance):
    noise, c, b = torch.randn(50, 3).double(), torch.randn(50, 3).double(), torch.rand(50, 2) < 0.5
    exact = flow.transport(noise, c, b, steps=2048, guidance=guidance)
    errors = [
        float((flow.transport(noise, c, b, steps=n, guidance=guidance) - exact).detach().norm()) for n in (64, 128, 256)
    ]
    assert [a / b for a, b in pairwise(errors)] == pytest.approx([4, 4], rel=0.15)


def test_the_error_falls_likewise_with_restarts(flow):
    noise, c, *others = torch.randn(4, 50, 3).double()
    b = torch.rand(50, 2) < 0.5
    exact = flow.transport(noise, c, b, restart_noise=others, steps=8192)
    errors = [
        float((flow.transport(noise, c, b, restart_noise=others, steps=n) - exact).detach().norm())
        for n in (256, 512, 1024)
    ]
    assert [a / b for a, b in pairwise(errors)] == pytest.approx([4, 4], rel=0.15)


def test_a_restart_begins_halfway_between_the_code_and_new_noise(flow):
    noise, c, more = torch.randn(3, 5, 3).double()
    b = torch.tensor([[True, False]] * 4 + [[False, False]])
    known = torch.where(b.any(-1, keepdim=True), (c - flow.mean) / flow.scale, 0.0)
    reached = flow.standardise(flow.transport(noise, c, b, steps=2))
    start, seen = (reached + known + 0.7 * more) / 2, flow.embed_condition(known, b)

    def velocity(w, t):
        return flow.velocity(w, torch.full((1, 1), t, dtype=torch.float64), seen)

    t = 1 - 0.5**2.5  # the second of the times 1 - (1 - 1/2) (1 - k/2)^1.5
    one, two = t - 0.5, 1 - t
    first = velocity(start, 0.5)
    middle = start + one * (first + velocity(start + one * first, t)) / 2
    now = velocity(middle, t)
    expected = middle + two * now + two**2 / one * (now - first) / 2
    found = flow.standardise(flow.transport(noise, c, b, restart_noise=[more], steps=4))
    torch.testing.assert_close(found, expected)
    few = flow.transport(noise, c, b, restart_noise=[more], steps=1)  # too few steps for two paths
    torch.testing.assert_close(few, flow.transport(noise, c, b, steps=1))


def test_with_the_exact_velocity_restarts_leave_the_distribution_as_it_is(monkeypatch):
    """Codes that are normal given c, in closed form: the velocity is linear, and the moments stay those of w."""
    mean, deviation, sigma = torch.tensor([0.3, -1.0]).double(), torch.tensor([0.6, 1.2]).double(), 1.0
    flow = CodeFlow(2, 2, width=8, sigma=sigma).double()

    def velocity(self, w, t, condition):
        variance = t.square() * deviation.square() + ((1 - t) * sigma).square()
        return mean + (t * deviation.square() - (1 - t) * sigma**2) / variance * (w - t * mean)

    monkeypatch.setattr(CodeFlow, "velocity", velocity)
    noise = torch.randn(3, 200_000, 2, generator=torch.Generator().manual_seed(0)).double()
    w = flow.transport(noise[0], restart_noise=[*noise[1:]], steps=96)
    torch.testing.assert_close(w.mean(0), mean, rtol=0, atol=0.01)
    torch.testing.assert_close(w.std(0), deviation, rtol=0.01, atol=0)
    assert torch.stack([w, noise[0]]).unbind(-1)[0].corrcoef()[0, 1] < 0.5  # it is another sample


def test_a_constant_velocity_is_integrated_exactly_in_one_step():
    flow = CodeFlow(3, 2, width=8, sigma=0.5).double()
    torch.nn.init.constant_(flow.out.bias, 2.0)
    noise, c = torch.randn(2, 5, 3).double()
    b = torch.tensor([[True, False]] * 4 + [[False, False]])
    expected = torch.where(b.any(-1, keepdim=True), c, 0.0) + 0.5 * noise + 2
    torch.testing.assert_close(flow.transport(noise, c, b, steps=1), expected)
    torch.testing.assert_close(flow.transport(noise), 0.5 * noise + 2)


def test_guidance_weighs_the_condition_against_nothing(flow):
    noise, c, b = torch.randn(5, 3).double(), torch.randn(5, 3).double(), torch.ones(5, 2, dtype=torch.bool)
    starts = (c - flow.mean) / flow.scale + 0.7 * noise
    seen = flow.embed_condition((c - flow.mean) / flow.scale, b)
    nothing = flow.embed_condition(torch.zeros(1, 3).double(), torch.zeros(1, 2))

    def velocity(w, t):
        t = torch.full((1, 1), t, dtype=torch.float64)
        without = flow.velocity(w, t, nothing)
        return without + 3 * (flow.velocity(w, t, seen) - without)

    first = velocity(starts, 0.0)
    expected = starts + (first + velocity(starts + first, 1.0)) / 2
    found = flow.standardise(flow.transport(noise, c, b, steps=1, guidance=3.0))
    torch.testing.assert_close(found, expected)


def test_temperature_scales_the_noise_where_something_is_given(flow):
    noise, c = torch.randn(2, 6, 3).double()
    b = torch.tensor([[True, False]] * 3 + [[False, False]] * 3)
    found = flow.transport(noise, c, b, temperature=0.8)
    torch.testing.assert_close(found[:3], flow.transport(0.8 * noise[:3], c[:3], b[:3]))
    torch.testing.assert_close(found[3:], flow.transport(noise[3:]))
    torch.testing.assert_close(flow.transport(noise, temperature=0.5), flow.transport(noise))
    one = flow.transport(noise[:3], c[:1], b[:1], temperature=0.0)
    torch.testing.assert_close(one, one[:1].expand(3, 3))


def test_samples_of_a_linear_gaussian_model_have_the_moments_of_the_closed_form(monkeypatch):
    """Encoders are linear in three Gaussian modalities: w given c is Gaussian for every mask, and for none."""
    monkeypatch.setattr("polymodal.models.execution.CodeFlow", partial(CodeFlow, width=64))  # small, for speed
    torch.manual_seed(0)
    schema = Schema({name: Vector(1, hidden=()) for name in "abc"})
    factor = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.5, -0.5, 0.7]])
    sigma = (factor @ factor.T).double()
    x = torch.randn(24_400, 3) @ factor.T

    def table(x):
        return Table({name: x[:, i : i + 1].contiguous() for i, name in enumerate("abc")}, schema=schema)

    model = build("mac-wae", schema, latent_dim=3, hidden=[])
    fit(model, table(x[:24_000]), table(x[24_000:]), only="prior", prior_epochs=300, progress=False)

    def coefficients(given):
        z = model.embed(table(torch.cat([torch.zeros(1, 3), torch.eye(3)]))[:4], given).detach().double()
        return (z[1:] - z[0]).T, z[0]

    of_w, offset = coefficients(None)
    marginal = of_w @ sigma @ of_w.T
    scale, rows = marginal.diag().sqrt(), table(x[24_000:])
    z = model.prior.draw([20_000], seed=1).double()
    assert ((z.mean(0) - offset) / scale).abs().max() < 0.05
    assert (z.T.cov() - marginal).norm() < 0.05 * marginal.norm()
    for given in (names for size in (1, 2, 3) for names in combinations("abc", size)):
        of_c, _ = coefficients(list(given))
        # Where all is given the codes c span what w spans, but their covariance may have no inverse in float32.
        gain = of_w @ sigma @ of_c.T @ torch.linalg.pinv(of_c @ sigma @ of_c.T, rtol=1e-5)
        covariance = marginal - gain @ of_c @ sigma @ of_w.T
        q = model.encode(rows[:400], list(given))
        mean = offset + (q.mean.detach().double() - coefficients(list(given))[1]) @ gain.T
        samples = q.draw([50], seed=2).double()
        assert (((samples.mean(0) - mean) / scale).square().mean().sqrt()) < 0.05 + (
            covariance.norm() / marginal.norm() / 50
        ) ** 0.5, given
        spread = (samples - samples.mean(0)).flatten(0, 1)
        error = (spread.T @ spread / (len(spread) * 49 / 50) - covariance).norm()
        assert error < 0.05 * max(covariance.norm(), 0.02 * marginal.norm()), given
