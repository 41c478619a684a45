"""Columns of a report: skill beside the best constant, which is scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import accuracy_score, root_mean_squared_error

from polymodal import Audio, Image, Label, Schema, Table, Vector, build, evaluate, report
from polymodal.datasets import load
from polymodal.report.column_scores import DASH, prepare_columns

SCHEMA = Schema(
    {
        "species": Label(3, hidden=(4,)),
        "mass": Vector(1, center=(4000.0,), scale=(800.0,), hidden=(4,)),
        "bill": Vector(2, scale=(5.0, 2.0), hidden=(4,)),
        "price": Vector(1, scale=(3.0,), hidden=(4,), log=True),
    }
)
EVERY = {"many-to-one": 0.0, "one-to-one": 0.0}


def rows_of(rows=60, *, complete=True, seed=0):
    """Rows of unlike means and spreads; what is missing is NaN or out of range."""
    generator = torch.Generator().manual_seed(seed)
    values = {
        "species": torch.randint(3, (rows,), generator=generator).clamp(max=1),
        "mass": 100 + 3 * torch.randn(rows, 1, generator=generator),
        "bill": torch.randn(rows, 2, generator=generator) * torch.tensor([1.0, 5.0]) + torch.tensor([0.0, 50.0]),
        "price": torch.rand(rows, 1, generator=generator),
    }
    observed = torch.ones(rows, len(SCHEMA), dtype=torch.bool)
    if not complete:
        observed = torch.rand(rows, len(SCHEMA), generator=generator) < 0.7
        observed[torch.arange(rows), torch.arange(rows) % len(SCHEMA)] = True
        for value, has in zip(values.values(), observed.T, strict=True):
            value[~has] = float("nan") if value.is_floating_point() else 99
    return Table(values, observed, SCHEMA)


def best_constant(table, name, given):
    """The score of scikit-learn's predictor that sees nothing, where the column and some of what is given are."""
    others = table.observed[:, [SCHEMA.index(other) for other in given]].any(1)
    has = table.observed[:, SCHEMA.index(name)] & others
    truth = table.values[name][has].double().numpy()
    nothing = np.zeros((len(truth), 1))
    if SCHEMA[name].metric == "acc":
        return 100 * accuracy_score(truth, DummyClassifier().fit(nothing, truth).predict(nothing)), int(has.sum())
    predicted = DummyRegressor().fit(nothing, truth).predict(nothing)
    return root_mean_squared_error(truth.ravel(), predicted.ravel()), int(has.sum())


def asked(name, task):
    others = [other for other in SCHEMA if other != name]
    return [("others", others)] if task == "many-to-one" else [(other, [other]) for other in others]


def scores_of(table, skills):
    """The scores of a model of that skill in each task."""
    frame = []
    for task, skill in skills.items():
        for name in SCHEMA:
            for given, names in asked(name, task):
                metric, (constant, rows) = SCHEMA[name].metric, best_constant(table, name, names)
                value = constant + skill * (100 - constant) if metric == "acc" else constant * (1 - skill)
                frame.append([task, name, given, metric, "", value, rows, ""])
    return pd.DataFrame(frame, columns=["task", "modality", "given", "metric", "better", "value", "rows", "note"])


def numbers(columns):
    """Every skill on the page."""
    cells = [cell for line in columns.lines for cell in line.skills if cell is not None]
    return [skill.text for row in columns.rows for skill in (row.skill, row.alone)] + [cell.text for cell in cells]


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(("skill", "text"), [(0.0, "0.00"), (1.0, "1.00"), (-0.5, "-0.50")])
def test_skill_is_measured_from_the_best_constant(complete, skill, text):
    table = rows_of(complete=complete)
    columns = prepare_columns(scores_of(table, dict.fromkeys(EVERY, skill)), SCHEMA, table)
    assert len(numbers(columns)) == 4 * 2 + 4 * 3
    assert set(numbers(columns)) == {text}
    assert [line.skills[place] for place, line in enumerate(columns.lines)] == [None] * 4


def test_the_constant_is_printed_in_both_units():
    table = rows_of(complete=False)
    rows = {row.name: row for row in prepare_columns(scores_of(table, EVERY), SCHEMA, table).rows}
    constant = {name: best_constant(table, name, [other for other in SCHEMA if other != name])[0] for name in SCHEMA}
    assert rows["species"].constant.text == f"{constant['species']:.1f} %"
    assert rows["mass"].constant.text == f"{constant['mass']:.2f} ({800 * constant['mass']:,.0f})"
    assert rows["bill"].constant.text == f"{constant['bill']:.2f}"
    assert rows["price"].constant.text == f"{constant['price']:.3f}"  # logarithms have no unit
    assert {row.type for row in rows.values()} == {"label, 3 classes", "number", "vector of 2"}


def test_a_model_that_always_says_the_constant_has_no_skill():
    table = rows_of(complete=False)
    model = build("mac-wae", SCHEMA, latent_dim=2, hidden=(4,))
    for name, decoder in zip(SCHEMA, model.decoders, strict=True):
        last = [layer for layer in decoder.modules() if isinstance(layer, torch.nn.Linear)][-1]
        seen = table.values[name][table.observed[:, SCHEMA.index(name)]]
        torch.nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(seen.bincount(minlength=3) if SCHEMA[name].metric == "acc" else seen.mean(0))
    columns = prepare_columns(evaluate(model, table), SCHEMA, table)
    assert [row.skill.text for row in columns.rows] == ["0.00"] * 4
    assert max(abs(float(text)) for text in numbers(columns)) < 0.1  # the best on fewer rows is another one


def test_the_best_comes_first_and_names_its_source():
    table = rows_of()
    scores = scores_of(table, EVERY)
    perfect = {("price", "others"): 0.0, ("species", "mass"): 100.0, ("bill", "price"): float("nan")}
    for (name, given), value in perfect.items():
        scores.loc[(scores["modality"] == name) & (scores["given"] == given), "value"] = value
    columns = prepare_columns(scores, SCHEMA, table)
    assert [row.name for row in columns.rows] == ["price", "species", "mass", "bill"]
    assert (columns.rows[1].source, columns.rows[1].alone.text) == ("mass", "1.00")
    assert columns.lines[1].skills[0].text == "1.00"
    assert columns.lines[3].skills[2].text == DASH


def test_a_column_that_never_varies_has_no_skill():
    schema = Schema({"same": Vector(1), "one": Label(2), "size": Vector(1)})
    values = {"same": torch.full((5, 1), 0.1), "one": torch.ones(5).long(), "size": torch.arange(5.0)[:, None]}
    table = Table(values, schema=schema)
    columns = prepare_columns(evaluate(build("mac-wae", schema, latent_dim=2), table), schema, table)
    assert [row.name for row in columns.rows] == ["size", "same", "one"]
    assert [row.skill.text for row in columns.rows[1:]] == [DASH, DASH]


def test_a_task_that_is_not_there_leaves_dashes():
    table = rows_of()
    columns = prepare_columns(scores_of(table, {"many-to-one": 0.5}), SCHEMA, table)
    assert columns.lines == []
    assert {(row.skill.text, row.source, row.alone.text) for row in columns.rows} == {("0.50", DASH, DASH)}
    columns = prepare_columns(scores_of(table, {"one-to-one": 0.5}), SCHEMA, table)
    assert {(row.score.text, row.skill.text, row.alone.text) for row in columns.rows} == {(DASH, DASH, "0.50")}
    assert DASH not in {row.constant.text for row in columns.rows}


def test_scores_are_the_same_from_a_file(tmp_path):
    schema = Schema({"1": Label(2), "2": Vector(1)})
    table = Table({"1": torch.arange(5) % 2, "2": torch.randn(5, 1)}, schema=schema)
    scores = evaluate(build("mac-wae", schema, latent_dim=2), table, tasks=["one-to-one"])
    scores.to_csv(tmp_path / "scores.csv", index=False)
    assert prepare_columns(pd.read_csv(tmp_path / "scores.csv"), schema, table) == prepare_columns(
        scores, schema, table
    )
    assert DASH not in {row.alone.text for row in prepare_columns(scores, schema, table).rows}


def test_pictures_sounds_and_groups_are_no_columns():
    schema = Schema(
        {"a": Label(2), "b": Label(2), "c": Vector(1), "photo": Image(1, 8, 8), "song": Audio(8, 8)},
        groups={"both": ["a", "b"]},
    )
    table = Table({"c": torch.randn(4, 1)}, schema=schema)
    assert prepare_columns(scores_of(rows_of(), EVERY), schema, table) is None


def test_the_page_has_the_section_only_for_tables(tmp_path):
    table = rows_of(12, complete=False)
    model = build("mac-wae", SCHEMA, latent_dim=2, hidden=(4,))
    page = report.write(tmp_path / "table.html", model, table, scores=evaluate(model, table)).read_text("utf-8")
    assert page.index('id="columns"') < page.index('id="scores"')
    data = load("polydigits", rows=20, held_out_rows=10)
    model = build("mac-wae", data.schema, latent_dim=4, hidden=(8,))
    page = report.write(tmp_path / "digits.html", model, data.test, scores=evaluate(model, data.test), examples=2)
    assert "columns" not in page.read_text("utf-8").split("</style>")[1]


def test_numbers_are_not_printed_in_the_cells_of_many_columns(tmp_path):
    schema = Schema({f"column_{index}": Label(2, hidden=(2,)) for index in range(13)})
    table = Table({name: torch.arange(4) % 2 for name in schema}, schema=schema)
    model = build("mac-wae", schema, latent_dim=2, draws=1, hidden=(2,))
    page = report.write(tmp_path / "wide.html", model, table, scores=evaluate(model, table), examples=1)
    assert page.read_text("utf-8").count('title="column_0 given ') == 12
