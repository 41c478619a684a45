"""What is hidden from imputers, and what they make of it."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import imputation
from benchmarks.imputation import DATA, METHODS, TABLES, hide, load, main

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} has no tables")


@pytest.mark.parametrize("how", imputation.HOW)
@pytest.mark.parametrize("name", TABLES)
def test_only_what_is_there_is_hidden_and_every_row_keeps_something(name, how):
    frame, schema = load(name)
    frame = frame[[*schema]]
    hidden = hide(frame, TABLES[name], how, 0)
    there = frame.notna().to_numpy()
    assert not (hidden & ~there).any()
    assert (there & ~hidden).any(1).all()
    assert 0.18 < hidden.sum() / there.sum() < 0.22 if how == "at random" else hidden.any(0).sum() == 1
    assert (hidden != hide(frame, TABLES[name], how, 1)).any()


@pytest.mark.parametrize("method", ["mean or mode", "KNNImputer", "IterativeImputer"])
def test_what_is_there_comes_back(method):
    frame, schema = load("penguins")
    coded = imputation.Coded(frame, schema)
    made = METHODS[method](frame, schema, 0)
    for name in schema:
        has = frame[name].notna().to_numpy()
        np.testing.assert_allclose(made[name][has], coded.column(coded.codes, name)[has], atol=1e-6)
        assert np.isfinite(made[name]).all()


def test_the_mean_and_the_most_frequent_class():
    frame, schema = load("penguins")
    made = METHODS["mean or mode"](frame, schema, 0)
    hole = int(np.flatnonzero(frame["sex"].isna())[0])
    assert schema["sex"].names[made["sex"][hole]] == frame["sex"].mode()[0]
    empty = int(np.flatnonzero(frame["body_mass_g"].isna())[0])
    assert made["body_mass_g"][empty] == pytest.approx(0, abs=1e-6)


def test_the_command_writes_every_case(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(imputation, "METHODS", {"mean or mode": METHODS["mean or mode"]})
    assert main(["--tables", "penguins", "--seeds", "2", "--out", str(tmp_path / "made.json")]) == 0
    cases = pd.DataFrame(json.loads((tmp_path / "made.json").read_text())["cases"])
    assert cases["how"].tolist() == list(imputation.HOW)
    assert cases["rmse"].between(0.5, 1.5).all()
    assert "mean or mode" in capsys.readouterr().out
