"""Features of tables together: members, partly observed vectors, the linear path, intervals and dropout."""

import numpy as np
import pandas as pd
import pytest
import torch

import polymodal as pm
from polymodal.training.linear_path import fit_linear_path

SETTINGS = {"latent_dim": 4, "hidden": (12,), "draws": 3}
TRAINING = {"epochs": 3, "batch_size": 20, "learning_rate": 3e-3, "progress": False}


def make_frame(rows=120, holes=0.1, seed=0):
    """Two wide vectors and two columns that depend linearly on three factors; some of all cells are missing."""
    generator = np.random.default_rng(seed)
    u, loadings = generator.normal(size=(rows, 3)), np.random.default_rng(7).normal(size=(3, 29))
    x = u @ loadings + 0.5 * generator.normal(size=(rows, 29))
    names = [*(f"gene_{i}" for i in range(20)), *(f"protein_{i}" for i in range(7)), "age", "mass"]
    frame = pd.DataFrame(x, columns=names).assign(kind=np.where(u[:, 0] > 0, "owl", "emu"))
    frame = frame.mask(generator.random(frame.shape) < holes)
    for start, group in enumerate(("gene_", "protein_")):  # whole vectors are missing too
        frame.loc[start::9, [name for name in names if name.startswith(group)]] = np.nan
    return frame


def fit_frame(frame, folder=None, **options):
    schema = pm.Schema.infer(frame, groups=["gene_", "protein_"], say=None)
    train, validation = (pm.Table.from_frame(part, schema, say=None) for part in (frame[:80], frame[80:]))
    model = pm.build("mac-wae", schema.replace(hidden=(12,)), **SETTINGS, **options)
    pm.fit(model, train, validation, folder=folder, **TRAINING)
    return model, train, validation


def count_missing(frame):
    return int(frame.isna().to_numpy().sum())


@pytest.fixture(scope="module")
def fitted():
    return fit_frame(make_frame(), members=2)


def test_members_of_partly_observed_vectors_are_trained_at_once(fitted):
    model, train, _ = fitted
    assert all(train.schema[name].partial for name in ("gene", "protein"))
    assert model._is_batched
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    maps = [value for name, value in model.named_parameters() if name.endswith("missing")]
    assert maps
    assert all(value[0].any() and value[1].any() and not torch.equal(*value) for value in maps)


def test_an_ensemble_has_no_stacks_of_weights(fitted):
    assert fitted[0].stack_weights() == []
    single = pm.build("mac-wae", fitted[0].schema, **SETTINGS)
    assert single.stack_weights()  # such as the encoders of the two numbers


def test_each_member_has_the_linear_path_of_the_same_factors_and_its_own_share(fitted):
    model, train, validation = fitted
    assert torch.equal(model.linear.loadings[0], model.linear.loadings[1])
    assert model.linear.loadings.any()
    assert model.linear.share.shape == (2, 2)
    for member, share in zip(model.open_members(), model.linear.share.clone(), strict=True):
        assert fit_linear_path(member, train, validation)
        torch.testing.assert_close(member.linear.share, share)


def test_the_linear_path_of_members_does_not_depend_on_dropout_or_on_the_mode_of_the_model():
    model, train, validation = fit_frame(make_frame(), members=2, hidden_dropout=0.5)
    shares, states = [], []
    for training in (True, False):
        model.train(training)
        states.append(torch.get_rng_state())
        fit_linear_path(model, train, validation)
        shares.append(model.linear.share.clone())
        assert model.training == training
    assert torch.equal(*shares)
    assert torch.equal(states[0], torch.get_rng_state())


@pytest.mark.parametrize("members", [1, 2])
def test_all_features_together_impute_save_and_load(tmp_path, members):
    frame = make_frame()
    model, *_ = fit_frame(frame, folder=tmp_path / "run", members=members, hidden_dropout=0.3)
    assert {*model.calibration} == {"age", "mass"}
    options = {"interval": 0.9, "sure": True, "marked": True, "say": None}
    imputed = pm.impute(model, frame, **options)
    assert count_missing(frame) > 0
    assert count_missing(imputed[frame.columns]) == 0
    observed = frame.notna()
    pd.testing.assert_frame_equal(imputed[frame.columns].where(observed), frame.where(observed))
    within = imputed[["age_low", "age", "age_high"]].dropna()
    assert len(within) == frame["age"].isna().sum()
    assert (within.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    for other in (pm.load(model.save(tmp_path / "copy")), pm.load(tmp_path / "run" / "model")):
        pd.testing.assert_frame_equal(pm.impute(other, frame, **options), imputed)
        assert other.calibration == model.calibration


def test_a_run_with_all_features_resumes_with_the_same_bits(tmp_path):
    frame, options = make_frame(), {"members": 2, "hidden_dropout": 0.3}
    whole, train, validation = fit_frame(frame, **options)
    first, second = (pm.build("mac-wae", whole.schema, **SETTINGS, **options) for _ in range(2))
    pm.fit(first, train, validation, folder=tmp_path / "run", **TRAINING | {"epochs": 2})
    pm.fit(second, train, validation, folder=tmp_path / "run", resume=True, **TRAINING)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert whole.calibration == second.calibration


def test_a_missing_element_has_no_effect_on_the_linear_path():
    schema = pm.Schema({"a": pm.Vector(20, partial=True, hidden=(8,)), "b": pm.Vector(3, partial=True, hidden=(8,))})
    model = pm.build("mac-wae", schema, **SETTINGS, members=2).eval()
    model.linear.loadings.normal_(generator=torch.Generator().manual_seed(0))
    model.linear.share.fill_(1.0)
    x = {"a": torch.randn(5, 20), "b": torch.randn(5, 3)}
    x["a"][:, 3] = torch.nan
    predicted = model.predict(schema.batch(x), ["a"], ["b"])["b"].mean
    assert predicted.isfinite().all()
    first = model.open_members()[0]
    members = torch.stack([member.predict(schema.batch(x), ["a"], ["b"])["b"].mean for member in model.open_members()])
    assert first.linear is not None
    torch.testing.assert_close(predicted, members.mean(0))
