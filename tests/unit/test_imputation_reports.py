"""What `impute` reports: nothing of what it could not take as it stands, or could not impute, passes in silence."""

import numpy as np
import pandas as pd
import pytest

import polymodal as pm
from polymodal.modalities import Label, Text, Vector
from polymodal.table.frames import Reader
from polymodal.tabular.outliers import WIDTHS

FRAME = pd.DataFrame(
    {
        "kind": ["oak", "elm", "ash"] * 20,
        "height": np.arange(60) / 7,
        "rings": np.arange(60) % 37,
        "tame": [True, False] * 30,
    }
)
TEXT = Text(4, ("old", "red", "tree"), width=8, layers=1, heads=2, feedforward=8, hidden=(8,))


def model_of(name="mac-wae", frame=FRAME, schema=None):
    table = pm.Table.from_frame(frame, schema, say=None)
    return pm.build(name, table.schema.replace(hidden=(8,)), latent_dim=4)


def reports(model, frame, **options):
    said = []
    pm.impute(model, frame, say=said.append, **options)
    return said


def test_it_prints_unless_told_otherwise(capsys):
    pm.impute(model_of(), FRAME.assign(kind="yew", height=None))
    assert "'yew' (60)" in capsys.readouterr().out
    pm.impute(model_of(), FRAME.assign(kind="yew", height=None), say=None)
    assert capsys.readouterr().out == ""


def test_a_complete_frame_is_not_worth_a_word():
    assert reports(model_of(), FRAME) == []


@pytest.mark.parametrize(
    ("wrong", "name", "right"),
    [
        ({"height": "heigth"}, "height", "heigth"),
        ({"height": "Height"}, "height", "Height"),
        ({"rings": " rings "}, "rings", " rings "),
        ({"kind": "kinds"}, "kind", "kinds"),
    ],
)
def test_misspelt_columns(wrong, name, right):
    said = reports(model_of(), FRAME.assign(height=np.nan).rename(columns=wrong))
    assert f"{name!r} is not among the columns and counts as missing; did you mean {right!r}?" in said


def test_absent_columns_that_nothing_resembles():
    said = reports(model_of(), FRAME[["kind", "rings"]].assign(note="x"))
    assert said == [f"{name!r} is not among the columns and counts as missing" for name in ("height", "tame")]


def test_a_vector_names_the_column_that_it_lacks():
    size = Vector(2, names=("height", "rings"))
    said = reports(
        model_of(schema=pm.Schema({"kind": Label(3), "size": size})), FRAME.rename(columns={"height": "hieght"})
    )
    assert "'size' is not among the columns and counts as missing" in said
    assert "'size' is read from 2 columns, of which 'height' does not exist; did you mean 'hieght'?" in said


def test_cells_that_were_missing_and_those_that_stay():
    frame = FRAME.astype({"kind": object, "tame": object, "rings": float}).assign(note=None)
    frame.loc[:2, "height"] = np.nan
    frame.loc[2, ["kind", "rings", "tame"]] = None
    frame["kind"] = frame["kind"].replace("ash", None).astype("category")
    model = model_of()
    said = reports(model, frame, to=["height", "kind"], given=["rings", "tame"])
    assert said[0] == "23 cells were read as missing: 'kind' (20), 'height' (3)"
    assert "1 row with a missing cell has no observed value to impute it from" in said
    assert "60 missing cells stay missing, in columns that the model was not trained on: 'note' (60)" in said


def test_predictions_that_a_columns_type_cannot_hold():
    frame = FRAME.assign(kind=pd.Series([None] * 60, dtype=pd.CategoricalDtype(["auk"])))
    said = " ".join(reports(model_of(), frame))
    assert (
        "60 missing cells of 'kind' stay missing, because the column's type cannot represent the prediction, such as "
        in said
    )


def test_unknown_words_and_classes():
    schema = pm.Schema({"kind": Label(3, names=("ash", "elm", "oak")), "note": TEXT})
    model = pm.build("mac-wae", schema, latent_dim=4)
    said = reports(model, pd.DataFrame({"kind": ["oak", "yew"], "note": ["a red tree", "old"]}))
    assert said == [
        "'kind': 1 class that is not in the schema occurs once, and is treated as unknown: 'yew' (1)",
        "'note': 1 word that is not in the schema occurs once, and is treated as unknown: 'a' (1)",
    ]


def test_several_imputations_report_once():
    said = reports(model_of("mac-vae"), FRAME.assign(kind=None), imputations=3)
    assert said == ["60 cells were read as missing: 'kind' (60)"]


@pytest.mark.parametrize("name", ["mac-wae", "mac-vae", "mvae", "nexus"])
@pytest.mark.parametrize("far", [1e3, -1e5, 1e20, 1e37])
def test_a_number_far_from_training_is_reported_and_does_no_harm(name, far):
    model = model_of(name)
    frame = FRAME.assign(rings=np.nan).astype({"height": float})
    usual = pm.impute(model, frame, sure=True, say=None)
    frame.loc[7, "height"] = far
    said: list[str] = []
    made = pm.impute(model, frame, sure=True, say=said.append)
    assert said[0] == (
        f"'height': 1 row lies far outside of the training rows' range, 0 to 8.4286: {far:.5g} in row 7; predictions "
        "from them are not reliable"
    )
    assert np.isfinite(made["rings"]).all()
    assert abs(made["rings"][7]) < 1e4
    pd.testing.assert_frame_equal(made.drop(index=7), usual.drop(index=7))
    assert made["height"][7] == far
    sure = made.filter(like="_sure")[["rings_sure"]] if "rings_sure" in made else pd.DataFrame()
    assert np.isfinite(sure.to_numpy(float)).all()


@pytest.mark.parametrize("factor", [3, 100, 1000, 0.001])
def test_a_column_in_another_unit(factor):
    frame = pd.DataFrame({"kind": ["a", "b"] * 30, "height": 150 + 0.5 * np.arange(60)})
    said = reports(model_of(frame=frame), frame.assign(height=frame["height"] * factor))
    assert len(said) == 1
    assert "60 of 60 rows lie far outside of the training rows' range, 150 to 179.5" in said[0]
    assert "another unit" in said[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["normal", "exponential", "lognormal", "uniform", "standard_cauchy", "counts"])
def test_ordinary_numbers_are_never_far(seed, kind):
    generator = np.random.default_rng(seed)
    values = generator.poisson(0.3, 2000) * 1.0 if kind == "counts" else getattr(generator, kind)(size=2000)
    values = np.clip(values, -50, 50) if kind == "standard_cauchy" else values
    schema = pm.Table.from_frame(pd.DataFrame({"x": values[:200]}), pm.Schema({"x": Vector(1)}), say=None).schema
    reader = Reader(schema)
    reader.read(pd.DataFrame({"x": values[200:]}))
    assert reader.list_messages() == []


def test_the_range_of_logarithms_is_of_logarithms():
    income = np.exp(np.random.default_rng(0).normal(8, 2, 300))
    schema = pm.Table.from_frame(pd.DataFrame({"x": income}), pm.Schema({"x": Vector(1, log=True)}), say=None).schema
    reader = Reader(schema)
    reader.read(pd.DataFrame({"x": [income.max() * 1000]}))
    assert reader.list_messages() == []


def test_the_range_is_kept_with_the_model_and_older_ones_have_none(tmp_path):
    model = model_of()
    model.save(tmp_path / "model")
    assert pm.load(tmp_path / "model").schema["height"].limits == ((0.0, 59 / 7),)
    older = Vector(1, center=(4.0,), scale=(2.0,))
    assert older == Vector(1, center=(4.0,), scale=(2.0,), limits=((0.0, 1.0),))
    reader = Reader(pm.Schema({"x": older}))
    reader.read(pd.DataFrame({"x": [1e9]}))
    assert reader.list_messages() == []


def test_rows_of_a_table_are_judged_as_those_to_impute():
    schema = pm.Table.from_frame(FRAME, say=None).schema
    said: list[str] = []
    far = FRAME.assign(height=FRAME["height"] + (FRAME.index == 3) * (WIDTHS + 2) * 59 / 7)
    pm.Table.from_frame(far, schema, say=said.append)
    assert len(said) == 1
    assert "'height': 1 row lies far outside" in said[0]
    assert "in row 3" in said[0]


@pytest.mark.parametrize(("long", "rows"), [(2, 40), (12, 40), (1, 3)])
def test_texts_that_are_cut(long, rows):
    schema = pm.Schema({"kind": Label(3, names=("ash", "elm", "oak")), "note": TEXT})
    frame = pd.DataFrame({"kind": "oak", "note": ["old red tree " * 2] * long + ["old"] * (rows - long)})
    are = "are" if long > 1 else "is"
    said = reports(pm.build("mac-wae", schema, latent_dim=4), frame)
    assert said == [f"'note': {long} of {rows} texts {are} longer than 4 tokens and {are} cut"]
    few = pd.DataFrame({"kind": "oak", "note": ["old red tree " * 2] + ["old"] * 99})
    assert reports(pm.build("mac-wae", schema, latent_dim=4), few) == []
