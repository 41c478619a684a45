"""The linear path between single columns: numbers and classes are predicted from whatever else a row has."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

import polymodal as pm
from polymodal.networks import Factors
from polymodal.objectives.covariance import decompose, fit_covariance
from polymodal.training.linear_path import fit_linear_path

NAMES = ("a", "b", "c", "d")
SCHEMA = pm.Schema({**{name: pm.Vector(1, hidden=(8,)) for name in NAMES}, "kind": pm.Label(3, hidden=(8,))})


def simulate(rows: int, seed: int, missing: float = 0.2) -> pm.Table:
    """Rows of four numbers that depend linearly on two, and a class that depends on one of these."""
    generator = np.random.default_rng(seed)
    u = generator.normal(size=(rows, 2))
    x = u @ np.array([[1.0, 0.6, 0.2, -0.8], [0.0, 0.8, 1.0, 0.5]]) + 0.2 * generator.normal(size=(rows, 4))
    kind = np.digitize(u[:, 0] + 0.2 * generator.normal(size=rows), [-0.5, 0.5])
    observed = torch.from_numpy(generator.random((rows, 5)) >= missing)
    observed[:, 0] |= ~observed.any(1)
    values = {name: torch.from_numpy(x[:, [place]]).float() for place, name in enumerate(NAMES)}
    return pm.Table(values | {"kind": torch.from_numpy(kind)}, observed, schema=SCHEMA)


def test_the_covariance_of_complete_rows_is_that_of_numpy():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 4)))
    np.testing.assert_allclose(
        fit_covariance(x, torch.ones_like(x)), np.cov(x.T, bias=True) + np.outer(*2 * [x.mean(0)])
    )


def test_the_covariance_of_incomplete_rows_approaches_the_true_one():
    generator = np.random.default_rng(0)
    true = np.array([[1.0, 0.7, -0.4], [0.7, 1.0, 0.1], [-0.4, 0.1, 1.0]])
    x = torch.from_numpy(generator.multivariate_normal(np.zeros(3), true, size=20_000))
    mask = torch.from_numpy((generator.random(x.shape) < 0.7).astype(float))
    np.testing.assert_allclose(fit_covariance(x * mask, mask), true, atol=0.03)


@pytest.mark.parametrize("penalty", [0.01, 0.3])
def test_with_all_factors_predictions_are_those_of_ridge_regression(penalty: float):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 5))) @ torch.randn(5, 5, dtype=torch.float64)
    x -= x.mean(0)
    covariance = fit_covariance(x, torch.ones_like(x))
    factors = Factors([1] * 5, 5).double()
    loadings, noise = decompose(covariance, penalty, 5)
    factors.loadings.copy_(loadings)
    factors.noise.copy_(noise)
    b = torch.tensor([True, True, False, True, True])
    predicted = factors.predict(factors([*x.split(1, dim=1)], b.expand(60, 5)), 2)
    ridge = Ridge(alpha=60 * penalty, fit_intercept=False).fit(x[:, b], x[:, 2])
    np.testing.assert_allclose(predicted[:, 0], ridge.predict(x[:, b]), atol=1e-8)


def test_probabilities_are_mixed():
    factors = Factors([2, 3], 2)
    factors.loadings.normal_(generator=torch.Generator().manual_seed(0))
    factors.share[1] = 0.25
    output, u = torch.randn(6, 3), torch.randn(6, 2)
    q = factors.predict(u, 1).clamp(min=0.001)
    expected = 0.75 * output.softmax(-1) + 0.25 * q / q.sum(-1, keepdim=True)
    torch.testing.assert_close(factors.blend_scores(output, u, 1).softmax(-1), expected)
    torch.testing.assert_close(factors.blend_scores(output, torch.zeros(6, 2), 1).softmax(-1), output.softmax(-1))


@pytest.fixture(scope="module")
def model() -> pm.Model:
    model = pm.build("mac-wae", SCHEMA, latent_dim=4, hidden=(16,), draws=2, factors=16)
    pm.fit(model, simulate(200, 1), simulate(60, 2), epochs=3, batch_size=64, progress=False)
    return model


def test_linear_data_are_predicted_as_well_as_by_ridge_regression(model: pm.Model):
    train, test = simulate(200, 1, 0.0), simulate(500, 3, 0.0)
    assert model.factors == 7  # as many as numbers and classes
    for target in NAMES:
        others = [name for name in SCHEMA if name != target]
        code = {
            key: np.hstack([np.eye(3)[part.values[name]] if name == "kind" else part.values[name] for name in others])
            for key, part in {"train": train, "test": test}.items()
        }
        ridge = Ridge(1.0).fit(code["train"], train.values[target][:, 0]).predict(code["test"])
        true = test.values[target][:, 0].numpy()
        own = model.translate(test, others, [target])[target][:, 0].numpy()
        assert np.sqrt(np.mean((own - true) ** 2)) < 1.1 * np.sqrt(np.mean((ridge - true) ** 2))


def test_every_mask_gives_its_own_prediction_and_files_keep_it(model: pm.Model, tmp_path):
    test = simulate(40, 4)
    assert 0 < model.linear.share.max() <= 1
    again = pm.load(model.save(tmp_path / "model"))
    for name, value in model.translate(test).items():
        torch.testing.assert_close(again.translate(test)[name], value)
        one = torch.cat([model.translate(test[i])[name] for i in range(len(test.observed))])
        torch.testing.assert_close(one, value)


def test_members_have_their_own_shares():
    model = pm.build("mac-wae", SCHEMA, latent_dim=4, hidden=(16,), draws=2, factors=16, members=2)
    pm.fit(model, simulate(100, 1), simulate(60, 2), epochs=1, batch_size=64, progress=False)
    first, second = (member.linear for member in model.open_members())
    torch.testing.assert_close(first.loadings, second.loadings)
    assert not torch.equal(first.share, second.share)
    assert fit_linear_path(model, simulate(100, 1), simulate(60, 2))
    mean = sum(member.translate(simulate(9, 5))["a"] for member in model.open_members()) / 2
    torch.testing.assert_close(model.translate(simulate(9, 5))["a"], mean)


def test_the_covariance_of_many_columns_is_estimated_with_several_threads():
    """Batches of inverses of this size fail in some builds of PyTorch."""
    threads, x = torch.get_num_threads(), torch.randn(40, 163, dtype=torch.float64)
    mask = (torch.rand(x.shape) < 0.8).double()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(fit_covariance(x * mask, mask))
    finally:
        torch.set_num_threads(threads)
    assert torch.allclose(*found)
    assert torch.linalg.eigvalsh(found[0]).min() > -1e-9
