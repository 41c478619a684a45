"""Baselines of the columns of a table, against scikit-learn on inputs that are made by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, root_mean_squared_error
from sklearn.preprocessing import StandardScaler

from polymodal import Image, Label, Schema, Table, Vector, build, evaluate
from polymodal.evaluation import BASELINES, add_baselines, column_baselines
from polymodal.evaluation.column_baselines import compute_baselines
from polymodal.evaluation.score_file import write_scores

SCHEMA = Schema({"species": Label(3, hidden=(4,)), "mass": Vector(1, hidden=(4,)), "bill": Vector(2, hidden=(4,))})
NAMES = [*SCHEMA]


def rows_of(rows, *, complete=True, seed=0):
    """Rows in which each column depends on the others; what is missing is NaN or out of range."""
    generator = torch.Generator().manual_seed(seed)
    species = torch.randint(3, (rows,), generator=generator)
    mass = 100 + 5 * species[:, None] + torch.randn(rows, 1, generator=generator)
    bill = torch.cat([mass / 10, -species[:, None].float()], 1) + torch.randn(rows, 2, generator=generator)
    values = {"species": species, "mass": mass, "bill": bill}
    observed = torch.ones(rows, 3, dtype=torch.bool)
    if not complete:
        observed = torch.rand(rows, 3, generator=generator) < 0.7
        observed[torch.arange(rows), torch.arange(rows) % 3] = True
        for value, has in zip(values.values(), observed.T, strict=True):
            value[~has] = float("nan") if value.is_floating_point() else 99
    return Table(values, observed, SCHEMA)


def scored_rows(table, name):
    """Rows with the column and another one."""
    return table.observed[:, SCHEMA.index(name)] & (table.observed.sum(1) > 1)


def score(name, truth, predicted):
    if SCHEMA[name].metric == "acc":
        return 100 * accuracy_score(truth, predicted)
    return root_mean_squared_error(truth.ravel(), np.reshape(predicted, truth.shape).ravel())


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_the_constant_is_that_of_the_training_rows(name, complete):
    train, table = rows_of(50, complete=complete, seed=1), rows_of(40, complete=complete)
    own, has = train.values[name][train.observed[:, SCHEMA.index(name)]].double().numpy(), scored_rows(table, name)
    dummy = DummyClassifier() if SCHEMA[name].metric == "acc" else DummyRegressor()
    predicted = dummy.fit(np.zeros((len(own), 1)), own).predict(np.zeros((int(has.sum()), 1)))
    expected = score(name, table.values[name][has].double().numpy(), predicted)
    assert compute_baselines(train, table, NAMES)[name].constant == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_linear_model_is_that_of_scikit_learn(name):
    train, table = rows_of(80, seed=1), rows_of(40)

    def inputs(rows):
        kind = {"species": lambda x: np.eye(3)[x.numpy()]}
        others = [other for other in SCHEMA if other != name]
        return [kind.get(other, lambda x: x.double().numpy())(rows.values[other]) for other in others]

    scalers = [StandardScaler().fit(block) if block.shape[1] < 3 else None for block in inputs(train)]
    x, new = (
        np.concatenate([s.transform(b) if s else b for s, b in zip(scalers, inputs(rows), strict=True)], axis=1)
        for rows in (train, table)
    )
    is_class = SCHEMA[name].metric == "acc"
    model = LogisticRegression(tol=1e-6, max_iter=1000) if is_class else RidgeCV(np.logspace(-2, 4, 7))
    y, truth = (rows.values[name].numpy() for rows in (train, table))
    expected = score(name, truth, model.fit(x, y).predict(new))
    tolerance = 5.0 if is_class else 1e-4  # the solver of classes stops earlier: at most two rows differ
    assert compute_baselines(train, table, NAMES)[name].linear == pytest.approx(expected, abs=tolerance)


def test_what_is_missing_is_never_read():
    train, table = rows_of(60, complete=False, seed=1), rows_of(40, complete=False)
    other = [
        Table(
            {n: torch.where(has.view(-1, *[1] * (v.dim() - 1)), v, torch.zeros_like(v)) for (n, v), has in pairs},
            rows.observed,
            SCHEMA,
        )
        for rows in (train, table)
        for pairs in [list(zip(rows.values.items(), rows.observed.T, strict=True))]
    ]
    assert compute_baselines(train, table, NAMES) == compute_baselines(*other, NAMES)


def test_missing_inputs_are_told_apart_from_the_mean():
    """A class that only the missing cells of another column show is predicted from them."""
    schema = Schema({"kind": Label(2), "size": Vector(1)})
    kind = torch.arange(60) % 2
    observed = torch.stack([torch.ones(60, dtype=torch.bool), kind == 0], 1)
    filler = torch.ones(60, dtype=torch.bool)[:, None]
    schema = Schema({**schema, "noise": Vector(1)})
    values = {"kind": kind, "size": torch.randn(60, 1), "noise": torch.randn(60, 1)}
    table = Table(values, torch.cat([observed, filler], 1), schema)
    assert compute_baselines(table, table, ["kind"])["kind"].linear == 100


def test_scores_of_the_model_stay_and_others_have_no_baselines(tmp_path):
    train, table = rows_of(50, seed=1), rows_of(30, complete=False)
    scores = evaluate(build("mac-wae", SCHEMA, latent_dim=2, hidden=(4,)), table)
    more = add_baselines(scores, train, table)
    pd.testing.assert_frame_equal(more[[*scores]], scores)
    has = more[[*BASELINES]].notna().all(axis=1)
    assert (has == (scores["task"] == "many-to-one")).all()
    path = write_scores(tmp_path / "scores.csv", more, ["many-to-one"])
    again = add_baselines(pd.read_csv(path), train, table)
    pd.testing.assert_frame_equal(again[[*BASELINES]], more[[*BASELINES]])
    earlier = write_scores(tmp_path / "earlier.csv", scores)  # a file without baselines gets those of a task
    merged = pd.read_csv(write_scores(earlier, more[more["task"] == "many-to-one"]))
    pd.testing.assert_frame_equal(merged[[*BASELINES]], more[[*BASELINES]])


def test_images_are_neither_inputs_nor_columns():
    schema = Schema({"photo": Image(1, 28, 28), "size": Vector(1), "kind": Label(2)})
    values = {"size": torch.randn(30, 1), "kind": torch.arange(30) % 2}
    tables = [
        Table({"photo": torch.randint(256, (30, 1, 28, 28), dtype=torch.uint8), **values}, schema=schema)
        for _ in range(2)
    ]
    assert compute_baselines(tables[0], tables[0], ["size"]) == compute_baselines(tables[1], tables[1], ["size"])
    one = Schema({"photo": Image(1, 28, 28), "kind": Label(2)})
    table = Table({"photo": tables[0].values["photo"], "kind": values["kind"]}, schema=one)
    scores = evaluate(build("mac-wae", one, latent_dim=2), table, tasks="many-to-one")
    assert add_baselines(scores, table, table) is scores


def test_columns_that_never_vary_or_never_come():
    schema = Schema({"same": Vector(1), "one": Label(2), "size": Vector(1), "never": Vector(1)})
    values = {"same": torch.full((9, 1), 0.5), "one": torch.ones(9).long(), "size": torch.arange(9.0)[:, None]}
    table = Table(values, schema=schema)
    found = compute_baselines(table, table, [*schema])
    assert found["same"] == (0, 0)
    assert found["one"] == (100, 100)
    assert np.isnan(found["never"]).all()
    assert found["size"].linear == pytest.approx(found["size"].constant)  # the others say nothing


def test_linear_models_learn_from_a_sample_of_many_rows(monkeypatch):
    train, table = rows_of(3000, seed=1), rows_of(200)
    full = compute_baselines(train, table, NAMES)
    monkeypatch.setattr(column_baselines, "MOST", 500)
    few = compute_baselines(train, table, NAMES)
    for name in NAMES:
        assert few[name].constant == full[name].constant
        assert few[name].linear == pytest.approx(full[name].linear, rel=0.05)
        assert few[name].linear != full[name].linear or SCHEMA[name].metric == "acc"
