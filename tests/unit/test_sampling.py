"""The scores of posterior samples against loops over their definitions, and against samplers of known quality."""

from itertools import combinations

import pytest
import torch

import polymodal as pm
from polymodal.evaluation import sampling, train_classifiers
from polymodal.evaluation.coherence.labels import get_classes
from polymodal.evaluation.sampling import SAMPLES, _choose_masks, _score_classes, _score_numbers, score_samples


def values(lines):
    return {one["metric"]: one["value"] for one in lines}


def test_numbers_by_hand():
    x, y = torch.randn(5, 7, 2, 3), torch.randn(7, 2, 3)
    found = values(_score_numbers("a", "nothing", x, y, intervals=True))
    error = torch.tensor([(x[s, i] - y[i]).norm() for s in range(5) for i in range(7)]).mean()
    spread = torch.tensor([(x[s, i] - x[t, i]).norm() for s, t in combinations(range(5), 2) for i in range(7)]).mean()
    apart = torch.tensor([(y[i] - y[j]).norm() for i, j in combinations(range(7), 2)]).mean()
    inside = ((y >= x.min(0).values) & (y <= x.max(0).values)).double().mean()
    expected = {
        "energy": error - spread / 2,
        "diversity": spread / apart,
        "coverage-error": 100 * (inside - 4 / 6).abs(),
    }
    assert found == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-5)


def test_the_true_distribution_has_the_lowest_energy_and_the_expected_coverage():
    torch.manual_seed(0)
    y = torch.randn(4_000, 1)
    scores = {
        scale: values(_score_numbers("a", "", scale * torch.randn(SAMPLES, 4_000, 1), y, intervals=True))
        for scale in (0.0, 0.5, 1.0, 2.0)
    }
    assert min(scores, key=lambda scale: scores[scale]["energy"]) == 1.0
    assert scores[1.0]["coverage-error"] < 2
    assert min(scores[scale]["coverage-error"] for scale in (0.0, 0.5, 2.0)) > 5
    assert scores[1.0]["diversity"] == pytest.approx(1, abs=0.03)
    assert scores[0.0]["diversity"] == 0


def test_classes_by_hand():
    # Two modalities, two samples and the point prediction, three rows; -1 is given.
    said = torch.tensor([[[0, 1, 2], [0, 0, 2], [0, 1, 2]], [[0, 2, -1], [0, 0, -1], [1, 1, -1]]])
    seen = torch.tensor([[0, 1, 2], [1, 1, -1]])  # a classifier takes the first row's true value for class 1
    found = values(_score_classes(said, seen, torch.tensor([0, 1, 2]), "one"))
    assert found["sample-acc"] == pytest.approx(100 * 7 / 10)
    assert found["point-acc"] == pytest.approx(100 * 4 / 5)
    assert found["agreement"] == pytest.approx(100 * 3 / 4)  # of the two rows in which two are predicted
    assert found["tv"] == pytest.approx(0.5 * (abs(6 - 2) + abs(1 - 6) + abs(3 - 2)) / 10)


def test_a_collapse_agrees_and_is_not_calibrated():
    true = torch.arange(10).repeat(20)
    said = torch.full((3, 10, 200), 4)
    found = values(_score_classes(said, true.expand(3, 200), true, "one"))
    assert found["agreement"] == 100
    assert found["tv"] == pytest.approx(0.9)


def test_what_is_given_is_so_many_of_what_is_observed():
    observed = torch.rand(500, 5) < 0.7
    observed[:, :2] = True
    given = _choose_masks(observed, 2, seed=0)
    assert (given.sum(1) == 2).all()
    assert not (given & ~observed).any()
    assert given[observed.all(1)].double().mean(0).min() > 0.25


@pytest.fixture(scope="module")
def data():
    return pm.datasets.load("polydigits", rows=120, held_out_rows=40)


@pytest.fixture(scope="module")
def classifiers(data):
    return train_classifiers(data.train, epochs=1)


def test_models_that_sample_are_scored_and_others_refuse(data, classifiers):
    model = pm.build("mvae", data.schema, latent_dim=4)
    scores = pm.evaluate(model, data.test, tasks=["sampling"], classifiers=classifiers)
    assert {*scores["task"]} == {"sampling"}
    assert {*scores["metric"]} == {"agreement", "sample-acc", "point-acc", "tv", "energy", "diversity"}
    assert scores["given"].unique().tolist() == ["1 modality", *(f"{k} modalities" for k in range(2, 6))]
    assert scores["value"].notna().all()
    again = pm.evaluate(model, data.test, tasks=["sampling"], classifiers=classifiers)
    assert again["value"].tolist() == scores["value"].tolist()
    deterministic = pm.build("mac-wae", data.schema, latent_dim=4)
    with pytest.raises(ValueError, match="one code per row"):
        pm.evaluate(deterministic, data.test, tasks=["sampling"], classifiers=classifiers)


def test_true_values_as_samples_have_no_variation_whatever_classifiers_make_of_them(data, classifiers, monkeypatch):
    truth = data.schema.hide(data.test[:], torch.float32)
    repeated = {name: torch.cat([value] * (SAMPLES + 1)) for name, value in truth.items()}
    monkeypatch.setattr(sampling, "_decode", lambda model, name, z: iter([repeated[name]]))
    given = data.schema.mask(["label"])
    monkeypatch.setattr(sampling, "_choose_masks", lambda observed, size, seed: given.expand_as(observed))
    model = pm.build("mvae", data.schema, latent_dim=4)
    lines = score_samples(model, data.test, classifiers, get_classes(data.test, "label"))
    assert classifiers.predict_classes("m0", truth["m0"]).ne(truth["label"]).any()
    assert {one["value"] for one in lines if one["metric"] == "tv"} == {0.0}


def test_without_classifiers_numbers_alone_are_scored(data):
    model = pm.build("mvae", data.schema, latent_dim=4)
    metrics = {one["metric"] for one in score_samples(model, data.test)}
    assert metrics == {"energy", "diversity"}
    assert {*pm.evaluate(model, data.test, tasks=["sampling"])["metric"]} == metrics
