"""The linear path of wide vectors: closed forms, another library's result, files, and what it leaves unchanged."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import FactorAnalysis
from sklearn.linear_model import RidgeCV

import polymodal as pm
from polymodal.cli.train import load_resumed_settings
from polymodal.networks import Factors
from polymodal.objectives.factor_analysis import fit_factor_model
from polymodal.training.linear_path import fit_linear_path

SIZES = (20, 7)
SCHEMA = pm.Schema(
    {"a": pm.Vector(20, hidden=(16,)), "kind": pm.Label(2, hidden=(8,)), "b": pm.Vector(7, hidden=(16,))}
)


def simulate(rows: int, seed: int = 0, missing: float = 0.0) -> pm.Table:
    """Rows of two vectors that depend linearly on 3 factors, and a label that depends on one of them."""
    loadings, generator = (
        torch.from_numpy(np.random.default_rng(5).normal(size=(3, 27))).float(),
        np.random.default_rng(seed),
    )
    u, noise = (torch.from_numpy(generator.normal(size=(rows, n))).float() for n in (3, 27))
    x = 2 + 0.6 * u @ loadings + 0.7 * noise
    observed = torch.from_numpy(generator.random((rows, 3)) >= missing)
    observed[:, 1] |= ~observed.any(1)
    values = {"a": x[:, :20], "kind": (u[:, 0] > 0).long(), "b": x[:, 20:]}
    return pm.Table(values, observed, schema=SCHEMA)


def build(**arguments) -> pm.Model:
    return pm.build("mac-wae", SCHEMA, **{"latent_dim": 6, "hidden": (16,), "draws": 4, **arguments})


def train(model: pm.Model, rows: int = 200, epochs: int = 3, missing: float = 0.0, **settings) -> pm.training.Fit:
    parts = simulate(rows, 1, missing), simulate(60, 2, missing)
    return pm.fit(model, *parts, epochs=epochs, batch_size=32, learning_rate=2e-3, progress=False, **settings)


def fill(factors: Factors) -> Factors:
    """Sets all parameters of the factor model to random values."""
    generator = torch.Generator().manual_seed(0)
    factors.mean.normal_(generator=generator)
    factors.loadings.normal_(generator=generator)
    factors.noise.uniform_(0.1, 2.0, generator=generator)
    return factors.double()


def test_factors_are_the_conditional_mean_of_the_joint_gaussian_under_every_mask():
    factors = fill(Factors(SIZES, 5))
    x = [torch.randn(4, size, dtype=torch.float64) for size in SIZES]
    b = torch.tensor([[True, False], [False, True], [True, True], [False, False]])
    u = factors(x, b[:, None])
    mean, loadings, noise = (part.numpy() for part in (factors.mean, factors.loadings, factors.noise))
    covariance = loadings @ loadings.T + np.diag(noise)
    for mask, got in zip(b, u, strict=True):
        has = np.repeat(mask.numpy(), SIZES)
        centred = (torch.cat(x, 1).numpy() - mean)[:, has]
        expected = centred @ np.linalg.solve(covariance[np.ix_(has, has)], loadings[has])
        np.testing.assert_allclose(got, expected, atol=1e-10)
        np.testing.assert_allclose(factors.predict(got, 1), mean[20:] + expected @ loadings[20:].T, atol=1e-10)


def test_masks_of_rows_equal_masks_of_batches():
    factors = fill(Factors(SIZES, 5))
    x = [torch.randn(6, size, dtype=torch.float64) for size in SIZES]
    b = torch.rand(3, 6, 2) < 0.5
    each = torch.stack([factors([part[i : i + 1] for part in x], b[:, i : i + 1]) for i in range(6)], dim=1)[:, :, 0]
    torch.testing.assert_close(factors(x, b), each)


def test_the_estimate_equals_that_of_scikit_learn():
    x = simulate(400).values
    x = torch.cat([x["a"], x["b"]], 1).double()
    x = (x - x.mean(0)) / x.std(0, correction=0)
    loadings, noise = fit_factor_model(x, torch.ones(400, 2, dtype=torch.bool), SIZES, 3)
    other = FactorAnalysis(3, tol=1e-10, max_iter=10_000, svd_method="lapack").fit(x.numpy())
    np.testing.assert_allclose(loadings @ loadings.mT + noise.diag(), other.get_covariance(), atol=0.01)


def test_missing_vectors_leave_the_estimate_near_that_of_complete_rows():
    whole, some = (simulate(4000, missing=missing) for missing in (0.0, 0.3))
    x = torch.cat([whole.values["a"], whole.values["b"]], 1).double() - 2
    observed = some.observed[:, [0, 2]]
    hidden = x * observed.repeat_interleave(torch.tensor(SIZES), dim=1)
    (l1, n1), (l2, n2) = (
        fit_factor_model(values, mask, SIZES, 3)
        for values, mask in ((x, torch.ones_like(observed)), (hidden, observed))
    )
    assert (n1 - n2).abs().max() < 0.1
    assert (l1 @ l1.mT - l2 @ l2.mT).abs().max() < 0.25


def test_a_row_that_lacks_all_vectors_does_not_count():
    x, observed = torch.randn(50, 27, dtype=torch.float64), torch.ones(50, 2, dtype=torch.bool)
    padded, more = torch.cat([x, torch.zeros(30, 27)]), torch.cat([observed, torch.zeros(30, 2, dtype=torch.bool)])
    pairs = zip(fit_factor_model(x, observed, SIZES, 3), fit_factor_model(padded, more, SIZES, 3), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other)


def test_with_share_1_a_prediction_is_the_linear_one_and_affine():
    model = build()
    fill(model.linear)
    model.double().linear.share.fill_(1.0)
    batch = simulate(30)[:]
    got = model.translate(batch, given=["a"], to=["b"])["b"]
    u = model.linear([batch.values["a"].double(), batch.values["b"].double()], torch.tensor([[True, False]]))
    torch.testing.assert_close(got, model.linear.predict(u, 1))
    a, b = (
        pm.Batch({**batch.values, "a": value}, batch.observed) for value in (-batch.values["a"], 0 * batch.values["a"])
    )
    mirrored, middle = (model.translate(one, given=["a"], to=["b"])["b"] for one in (a, b))
    torch.testing.assert_close(got + mirrored, 2 * middle)


def test_without_an_observed_vector_the_decoder_predicts_alone():
    model = build()
    fill(model.linear)
    model.float().linear.share.fill_(1.0)
    batch = simulate(10)[:]
    z = model.embed(batch, ["kind"])
    assert z.shape == (10, model.code_dim)
    assert not z[:, 6:].any()
    assert torch.equal(model.emit(z)["b"], model.emit(z[:, :6])["b"])


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_on_linear_data_the_model_is_within_2_percent_of_ridge_regression(missing):
    model = build()
    train(model, missing=missing)
    rows, held_out = simulate(200, 1, missing), simulate(1000, 3)
    for given, to in (("a", "b"), ("b", "a")):
        both = rows.observed[:, 0] & rows.observed[:, 2]
        ridge = RidgeCV(np.logspace(-2, 4, 13)).fit(rows.values[given][both], rows.values[to][both])
        baseline = np.square(ridge.predict(held_out.values[given]) - held_out.values[to].numpy()).mean() ** 0.5
        got = model.translate(held_out[:], given=[given], to=[to])[to]
        assert float((got - held_out.values[to]).square().mean().sqrt()) < 1.02 * baseline


def test_the_share_minimises_the_squared_error_on_validation_rows():
    model = build()
    train(model)
    rows, chosen = simulate(60, 2), float(model.linear.share[1])
    errors = []
    for share in (chosen, chosen - 0.02, chosen + 0.02):
        model.linear.share[1] = share
        b = torch.tensor([[True, True, False]])
        got = model.emit(model.encode(rows[:], b).mean, ["b"])["b"]
        errors.append(float((got - rows.values["b"]).square().mean().detach()))
    assert 0 <= chosen <= 1
    assert errors[0] <= min(errors) or chosen in (0.0, 1.0)


def test_training_without_it_is_the_same():
    one, other = build(), build(factors=0)
    histories = [train(model).history.drop(columns="seconds") for model in (one, other)]
    assert histories[0].equals(histories[1])
    weights = other.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in one.state_dict().items() if "linear" not in name)
    assert other.linear is None
    assert other.code_dim == 6


def test_a_saved_model_predicts_the_same_and_an_earlier_file_has_no_linear_path(tmp_path: Path):
    model, batch = build(), simulate(20)[:]
    train(model)
    loaded = pm.load(model.save(tmp_path / "new"))
    assert loaded.linear.share.any()
    for given in (["a"], ["kind", "b"], None):
        assert torch.equal(loaded.translate(batch, given)["b"], model.translate(batch, given)["b"])
    other = build(factors=0)
    document = json.loads((other.save(tmp_path / "old") / "model.json").read_text())
    del document["arguments"]["factors"]
    (tmp_path / "old" / "model.json").write_text(json.dumps(document))
    assert pm.load(tmp_path / "old").linear is None


def test_a_resumed_run_ends_with_the_same_linear_path(tmp_path: Path):
    whole, first = build(), build()
    train(whole, epochs=3)
    train(first, epochs=2, folder=tmp_path / "run")
    for _ in range(2):  # the second time, the run is over
        second = build()
        train(second, epochs=3, folder=tmp_path / "run", resume=True)
        saved = pm.load(tmp_path / "run" / "model").state_dict()
        for name, value in whole.state_dict().items():
            assert torch.equal(value, second.state_dict()[name])
            assert torch.equal(value, saved[name])


def test_a_flow_samples_the_other_codes():
    model, batch = build(prior="flow"), simulate(20)[:]
    train(model, epochs=1, prior_epochs=1)
    posterior = model.encode(batch, ["a"])
    samples = posterior.draw([3], seed=0, steps=2)
    assert samples.shape == (3, 20, model.code_dim)
    assert torch.equal(samples[..., 6:], posterior.mean[:, 6:].expand(3, -1, -1))
    assert model.translate(batch, ["a"], ["b"], samples=3, steps=2)["b"].shape == (3, 20, 7)
    assert model.sample(5, steps=2, seed=0)["b"].isfinite().all()


def test_no_linear_path_without_wide_vectors_or_with_a_stochastic_encoder():
    narrow = pm.Schema({"a": pm.Vector(15), "b": pm.Vector(4), "c": pm.Vector(1)})
    assert pm.build("mac-wae", narrow, latent_dim=2).factors == 0
    single = pm.Schema({"a": pm.Vector(30), "d": pm.Vector(30, activation="sigmoid")})
    assert pm.build("mac-wae", single, latent_dim=2).factors == 0
    for name, schema in (("mac-vae", SCHEMA), ("mac-wae", single)):
        assert pm.build(name, schema, latent_dim=2, factors=3).factors == 0
    with pytest.raises(ValueError, match=r"factors.*-1"):
        pm.build("mac-wae", SCHEMA, latent_dim=2, factors=-1)


def test_models_without_it_are_left_alone():
    model = pm.build("mvae", SCHEMA, latent_dim=2)
    assert not fit_linear_path(model, simulate(20), simulate(10))


@pytest.mark.parametrize(("arguments", "factors"), [({"beta": 0.1}, 0), ({"beta": 0.1, "factors": 32}, None)])
def test_a_run_of_an_earlier_version_resumes_without_it(tmp_path: Path, arguments: dict, factors: int | None):
    (tmp_path / "settings.yaml").write_text("dataset: polydigits\nmodel: mac-wae\nbuild: {beta: 0.1}\n")
    (tmp_path / "experiment.json").write_text(json.dumps({"model": {"name": "mac-wae", "arguments": arguments}}))
    assert load_resumed_settings(tmp_path, {}).build["factors"] == factors
