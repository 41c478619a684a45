"""Scores beyond the paper's tasks, against models of which they are known, and against plain loops."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import rows_of
from kinds import CLASSES, SCHEMA, UNNAMED, Mirror, of, table_of, value, values_of
from sklearn.metrics import accuracy_score

from polymodal.evaluation import FURTHER, TASKS, evaluate, frechet_distance, train_classifiers
from polymodal.evaluation.coherence.agreement import ClassCounts
from polymodal.evaluation.likelihood import estimate_log_likelihood
from polymodal.modalities import Image, Label, Vector
from polymodal.models import build
from polymodal.schema import Schema
from polymodal.table.table import Table

pytestmark = pytest.mark.slow

VERIFIED = ("coherence", "generation")


@pytest.fixture(scope="module")
def classifiers():
    return train_classifiers(table_of())


@pytest.fixture(scope="module")
def unnamed():
    """Those of rows whose class is no modality."""
    return train_classifiers(table_of(UNNAMED))


# Coherence


def test_counts_are_scikit_learns():
    generator = torch.Generator().manual_seed(0)
    said, true = torch.randint(4, (9,), generator=generator), torch.randint(-1, 4, (30,), generator=generator)
    answers = torch.randint(-1, 9, (3, 30), generator=generator)
    verdicts = ClassCounts(3, 4)
    for rows in (slice(0, 11), slice(11, 30)):
        verdicts.update(said, true[rows], answers[:, rows])
    for stream, answer in enumerate(answers):
        has = (answer >= 0) & (true >= 0)
        made, expected = said[answer[has]].numpy(), true[has].numpy()
        assert verdicts.accuracy(stream) == pytest.approx(100 * accuracy_score(expected, made))
        assert int(verdicts.rows[stream]) == int(has.sum())
        shares = [np.bincount(part, minlength=4) / len(part) for part in (made, expected)]
        assert verdicts.variation(stream) == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)
    empty = ClassCounts(1, 4)
    empty.update(said[:0], true, torch.full((1, 30), -1))
    assert np.isnan([empty.accuracy(0), empty.variation(0)]).all()


def test_of_what_is_true_coherence_is_the_verifiers_own_accuracy(unnamed):
    table = table_of(UNNAMED, 150, seed=1)
    frame = evaluate(Mirror(UNNAMED, table), table, tasks="coherence", classifiers=unnamed, batch_size=64)
    for name in UNNAMED:
        said = unnamed.predict_classes(name, table.values[name])
        own = value(frame, task="coherence", modality=name, given="the truth", metric="verifier-acc")
        assert own == pytest.approx(100 * accuracy_score(table.labels, said))
        shares = [part.bincount(minlength=CLASSES) / len(part) for part in (said, table.labels)]
        apart = float((shares[0] - shares[1]).abs().sum() / 2)
        for given in ("1 other", "2 others"):
            row = of(frame, task="coherence", modality=name, given=given, metric="coherence")
            assert row["value"].item() == pytest.approx(own)
            assert row["rows"].item() == 150
        for given in ("1 other", "2 others", "nothing"):
            assert value(frame, task="calibration", modality=name, given=given, metric="tv") == pytest.approx(
                apart, abs=1e-7
            )
    every = torch.stack([unnamed.predict_classes(name, table.values[name]) for name in UNNAMED])
    agree = 100 * float((every == every[0]).all(0).float().mean())
    assert value(frame, task="coherence", modality="all", given="nothing") == pytest.approx(agree)
    assert set(frame["better"]) == {"higher", "lower"}


def test_of_the_label_it_is_the_accuracy_of_translations(classifiers):
    table = table_of(rows=80, seed=1)
    frame = evaluate(
        build("mac-wae", SCHEMA, latent_dim=4), table, tasks=["translation", "coherence"], classifiers=classifiers
    )
    for given in ("1 other", "2 others", "3 others"):
        asked = {"modality": "kind", "given": given}
        assert value(frame, task="coherence", **asked) == value(frame, task="translation", **asked)
    assert of(frame, modality="kind", metric="verifier-acc").empty


@pytest.mark.parametrize("kind", range(CLASSES))
def test_one_thing_always_agrees_with_itself_and_calibration_tells(classifiers, kind):
    table = table_of(rows=200, seed=1)
    judged = [name for name in SCHEMA if name != "noise"]
    schema = Schema({name: SCHEMA[name] for name in judged})
    values = {name: table.values[name] for name in judged}
    row = int((values["kind"] == kind).nonzero()[0])
    own = Table(values, schema=schema)
    model = Mirror(schema, Table({name: part[[row]] for name, part in values.items()}, schema=schema))
    frame = evaluate(model, own, tasks=VERIFIED, train=table_of(schema))
    assert value(frame, task="coherence", modality="all") == 100
    share = float((values["kind"] == kind).double().mean())
    for name in judged:
        assert value(frame, task="calibration", modality=name, given="nothing") == pytest.approx(1 - share)


def test_draws_whose_modalities_do_not_belong_together_agree_as_chance_has_it(classifiers):
    """True rows whose vectors are another row's: calibrated, and of one class as often as two rows are."""
    values = values_of(300, seed=1)
    mixed = {**values, "vector": values["vector"].roll(1, 0)}
    schema = Schema({name: SCHEMA[name] for name in ("picture", "vector", "kind")})
    table = table_of(schema, values=values)
    ready = train_classifiers(table_of(schema))
    frame = evaluate(Mirror(schema, table_of(schema, values=mixed)), table, tasks="coherence", classifiers=ready)
    same = float((values["kind"] == values["kind"].roll(1)).double().mean())
    assert value(frame, task="coherence", modality="all") == pytest.approx(100 * same, abs=3)
    for name in schema:
        assert value(frame, task="calibration", modality=name, given="nothing") < 0.03


# Generation


def test_draws_that_are_the_true_rows_are_at_no_distance(unnamed):
    table = table_of(UNNAMED, 100, seed=1)
    frame = evaluate(Mirror(UNNAMED, table), table, tasks="generation", classifiers=unnamed)
    assert list(frame["modality"]) == list(UNNAMED)
    assert set(frame["metric"]) == {"frechet"}
    assert (frame["rows"] == 100).all()
    assert (frame["value"] < 1e-6).all()
    other = evaluate(Mirror(UNNAMED, table_of(UNNAMED, 100, seed=2)), table, tasks="generation", classifiers=unnamed)
    assert (other["value"] > 1e-3).all()


def test_a_distance_is_that_of_numpys_moments(unnamed):
    model, table = build("mac-wae", UNNAMED, latent_dim=4), table_of(UNNAMED, 90, seed=1)
    frame = evaluate(model, table, tasks="generation", classifiers=unnamed, batch_size=40, seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = model.sample(90)
    for name in UNNAMED:
        moments = []
        for values in (table.values[name], made[name]):
            features = unnamed.features(name, values).double().numpy()
            moments += [features.mean(0), np.cov(features.T)]
        assert value(frame, modality=name) == pytest.approx(frechet_distance(*moments), rel=1e-4)


def test_given_features_look_at_pictures_in_colours_between_0_and_1():
    schema = Schema(
        {
            "grey": Image(1, 8, 8, widths=(4,)),
            "colours": Image(3, 8, 8, widths=(4,)),
            "planes": Image(2, 8, 8, widths=(4,)),
            "kind": Label(2, hidden=(4,)),
        }
    )
    generator = torch.Generator().manual_seed(0)
    values = {
        name: (torch.rand(40, *schema[name].shape, generator=generator) * 255).byte()
        for name in ("grey", "colours", "planes")
    }
    table = Table({**values, "kind": torch.arange(40) % 2}, schema=schema)
    seen = []

    def features(pictures):
        seen.append(pictures)
        return pictures.flatten(2).mean(2)  # (N, 3)

    model = build("mac-wae", schema, latent_dim=4)
    ready = train_classifiers(table, epochs=1)
    frame = evaluate(model, table, tasks="generation", classifiers=ready, features=features, batch_size=16)
    fid = of(frame, metric="fid")
    assert list(fid["modality"]) == ["grey", "colours"]
    assert all(pictures.shape[1:] == (3, 8, 8) for pictures in seen)
    assert 0.9 < max(float(pictures.max()) for pictures in seen) <= 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = model.sample(40)
    moments = []
    for pictures in (values["colours"] / 255, made["colours"]):
        mean = pictures.flatten(2).mean(2).double().numpy()
        moments += [mean.mean(0), np.cov(mean.T)]
    assert value(fid, modality="colours") == pytest.approx(frechet_distance(*moments), rel=1e-3)
    seen.clear()
    evaluate(model, table, tasks="coherence", classifiers=ready, features=features)
    assert not seen


# Likelihood, of which more is known in tests/identities


@pytest.mark.parametrize("name", ["jmvae", "mac-vae", "mmvae", "mmvae-plus", "mopoe", "mvae", "mvtcae", "nexus"])
def test_every_model_with_a_density_has_a_bound_that_rises(name, schema, complete):
    batch = rows_of(schema, 11, complete=complete)
    model, table = build(name, schema, latent_dim=4), Table(batch.values, batch.observed, schema)
    one, many = ([estimate_log_likelihood(model, table, draws=k, seed=seed)[0] for seed in range(30)] for k in (1, 20))
    assert np.isfinite(one + many).all()
    assert np.mean(many) > np.mean(one)
    assert (
        value(evaluate(model, table, tasks="likelihood", batch_size=4))
        == estimate_log_likelihood(model, table, batch_size=4)[0]
    )


# What is asked for, and what is left alone


def test_tasks_that_learn_need_training_rows():
    model, table = build("mac-wae", SCHEMA, latent_dim=4), table_of(rows=20)
    with pytest.raises(
        ValueError, match=r"train must be a table of training rows, or ready classifiers, for coherence and"
    ):
        evaluate(model, table, tasks=VERIFIED)
    with pytest.raises(ValueError, match=r"for probe learns from it; pass train=data\.train"):
        evaluate(model, table, tasks=["probe", "coherence"], classifiers=train_classifiers(table, epochs=1))
    with pytest.raises(ValueError, match="train must have the model's modalities"):
        evaluate(model, table, tasks="probe", train=table_of(UNNAMED, 20))
    with pytest.raises(ValueError, match=r"unknown task 'prob'; known are probe, .*, translation, "):
        evaluate(model, table, tasks="prob")
    nameless, unnamed = Table(table_of(UNNAMED, 20).values, schema=UNNAMED), build("mac-wae", UNNAMED, latent_dim=4)
    with pytest.raises(ValueError, match="rows must have classes"):
        evaluate(unnamed, nameless, tasks="probe", train=nameless)


def test_the_label_is_one_and_the_same_for_rows_and_verifiers():
    schema = Schema({"a": Label(2), "b": Label(3), "vector": Vector(3, hidden=(4,))})
    values = {"a": torch.arange(30) % 2, "b": torch.arange(30) % 3, "vector": torch.randn(30, 3)}
    table = Table(values, schema=schema)
    model, ready = build("mac-wae", schema, latent_dim=4), train_classifiers(table, label="b", epochs=1)
    frame = evaluate(model, table, tasks=["coherence", "probe"], train=table, classifiers=ready)
    assert set(of(frame, metric="verifier-acc")["modality"]) == {"a", "vector"}
    assert set(of(frame, task="probe")["modality"]) == {"b"}
    with pytest.raises(ValueError, match=r"classifiers must predict a, .* these predict b"):
        evaluate(model, table, tasks="coherence", classifiers=ready, label="a")
    trained = evaluate(model, table, tasks="coherence", train=table, label="b")
    assert set(of(trained, metric="verifier-acc")["modality"]) == {"a", "vector"}


@pytest.mark.parametrize("schema", [SCHEMA, UNNAMED], ids=["label", "labels"])
def test_what_lies_under_the_mask_and_unknown_classes_change_nothing(schema):
    rows, seen = 60, []
    generator = torch.Generator().manual_seed(0)
    observed = torch.rand(rows, len(schema), generator=generator) < 0.7
    observed[:, 0] |= ~observed.any(1)
    for junk in (False, True):
        values = values_of(rows, seed=1)
        values["kind"][::7] = -1
        if schema is SCHEMA:
            observed[::7, 3] = False
            observed[:, 0] |= ~observed.any(1)
        held = {name: values[name].clone() for name in schema}
        for column, name in enumerate(schema):
            odd = torch.nan if held[name].is_floating_point() else 211 if name == "picture" else 10**6
            held[name][~observed[:, column]] = odd if junk else 0
        table = Table(held, observed, schema, labels=None if schema is SCHEMA else values["kind"])
        model = build("mvae", schema, latent_dim=4)
        seen.append(evaluate(model, table, tasks=[*TASKS, *FURTHER], train=table, batch_size=13))
    pd.testing.assert_frame_equal(*seen)
    known = int((values["kind"] >= 0).sum()) if schema is UNNAMED else int(observed[:, 3].sum())
    has = observed[:, 0] & (observed[:, 3] if schema is SCHEMA else values["kind"] >= 0)
    assert of(seen[0], metric="verifier-acc", modality="picture")["rows"].item() == int(has.sum())
    assert of(seen[0], task="probe", given="others")["rows"].item() <= known


def test_scoring_changes_neither_model_nor_verifiers_nor_random_streams(classifiers):
    model, table = build("mvae", SCHEMA, latent_dim=4).train(), table_of(rows=30)
    kept = {name: weight.clone() for name, weight in classifiers.state_dict().items()}
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    state, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    run = functools.partial(evaluate, model, table, tasks=FURTHER, train=table, classifiers=classifiers)
    first = run()
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert (numpys == np.random.get_state()[1]).all()  # noqa: NPY002
    assert all(torch.equal(kept[name], weight) for name, weight in classifiers.state_dict().items())
    torch.rand(7)
    pd.testing.assert_frame_equal(first, run())
    other = run(seed=1)
    assert not first["value"].equals(other["value"])


def test_every_batch_size_gives_the_same_but_for_what_is_drawn_from_posteriors(classifiers):
    model, table = build("mac-wae", SCHEMA, latent_dim=4), table_of(rows=33)
    asked = {"tasks": ["translation", "coherence", "generation", "probe"], "train": table, "classifiers": classifiers}
    one, other = (evaluate(model, table, batch_size=size, **asked) for size in (256, 8))
    pd.testing.assert_frame_equal(one, other, rtol=1e-3)
