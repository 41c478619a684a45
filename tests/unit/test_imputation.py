"""Holes of frames: how sure a model is of them, what is marked, and what stays as it is."""

import io

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pytest
import torch

from polymodal import impute
from polymodal.imputation import extend_arrow_schema, impute_batches
from polymodal.inference.imputer import Imputer
from polymodal.modalities import Image, Label, Text, Vector
from polymodal.models import build
from polymodal.models.base import Model
from polymodal.schema import Schema
from polymodal.table.frames import Reader
from polymodal.table.table import Table

FRAME = pd.DataFrame(
    {
        "kind": ["owl", None, "emu", "owl", None, "tit"],
        "grams": [180.0, 230.5, None, 175.0, None, None],
        "wings": [None, 20.0, 70.5, 60.0, None, None],
        "ring": ["a1", "a2", "a3", None, None, "a5"],
    }
)
SCHEMA = Schema(
    {
        "kind": Label(2, names=("emu", "owl"), hidden=(8,)),
        "grams": Vector(1, center=(190.0,), scale=(25.0,), hidden=(8,)),
        "wings": Vector(1, center=(50.0,), scale=(20.0,), hidden=(8,)),
    }
)


def model_of(schema: Schema = SCHEMA, name: str = "mac-wae") -> Model:
    return build(name, schema, latent_dim=4, hidden=(8,))


def png(side: int = 4) -> bytes:
    PIL.Image.new("RGB", (side, side), "red").save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def test_a_class_that_is_unknown_stays():
    imputer = Imputer(model_of())
    imputed = imputer.impute_chunk(FRAME)
    assert {name: cells.rows.tolist() for name, cells in imputed.items()} == {"kind": [1], "grams": [2], "wings": [0]}
    assert imputer.list_messages() == [
        "'kind': 1 class that is not in the schema occurs once, and is treated as unknown: 'tit' (1)",
        "8 cells were read as missing: 'kind' (2), 'grams' (3), 'wings' (3)",
        "2 rows with a missing cell have no observed value to impute it from",
        "2 missing cells stay missing, in columns that the model was not trained on: 'ring' (2)",
    ]
    assert (imputer.imputed, imputer.left) == (3, 2)
    made = impute(model_of(), FRAME)
    assert made["kind"][5] == "tit"
    assert made.loc[4].isna().all()
    assert made["ring"].equals(FRAME["ring"])


def test_what_is_marked():
    made = impute(model_of(), FRAME, marked=True)
    assert made["filled"].tolist() == ["wings", "kind", "grams", "", "", ""]
    both = impute(model_of(), FRAME.assign(wings=np.nan), marked=True)
    assert both["filled"].tolist()[:2] == ["wings", "kind,wings"]


def test_what_is_given_and_what_is_filled():
    made = impute(model_of(), FRAME, given=["grams"], to=["wings"], marked=True)
    assert made["filled"].tolist() == ["wings", "", "", "", "", ""]
    with pytest.raises(ValueError, match="wing"):
        impute(model_of(), FRAME, to=["wing"])


def test_names_that_stand_twice():
    twice = pd.concat([FRAME, FRAME[["ring"]]], axis=1)
    with pytest.raises(ValueError, match="'ring' occurs twice"):
        impute(model_of(), twice)
    with pytest.raises(ValueError, match="'filled' occurs twice"):
        impute(model_of(), FRAME.assign(filled=""), marked=True)


def test_a_row_counts_from_the_beginning():
    bad = FRAME.astype({"grams": object})
    bad.loc[4, "grams"] = "heavy"
    with pytest.raises(ValueError, match=r"^grams, row 4: the value must be a number; got .heavy"):
        impute(model_of(), bad, batch_size=3)


def test_a_class_is_as_sure_as_the_models_logits():
    model = model_of()
    made = impute(model, FRAME, sure=True, batch_size=2)
    assert list(made) == ["kind", "kind_sure", "grams", "wings", "ring"]
    batch = Reader(SCHEMA).read(FRAME)[1:2]
    model.eval()
    with torch.no_grad():
        logits = model.emit(model.encode(batch, batch.observed).mean, ["kind"])["kind"]
    best = logits.softmax(-1).max(-1)
    assert made["kind"][1] == SCHEMA["kind"].names[int(best.indices)]
    assert made["kind_sure"][1] == pytest.approx(float(best.values), abs=1e-6)
    assert made["kind_sure"].notna().tolist() == [False, True, False, False, False, False]


def test_a_number_is_as_sure_as_draws_agree():
    model = model_of(name="mac-vae")
    made = impute(model, FRAME, sure=True)
    assert list(made) == ["kind", "kind_sure", "grams", "grams_sure", "wings", "wings_sure", "ring"]
    assert made["grams_sure"][2] > 0
    assert made["grams_sure"].isna().tolist() == [True, True, False, True, True, True]
    pd.testing.assert_frame_equal(made, impute(model, FRAME, sure=True))
    assert impute(model, FRAME, sure=True, seed=1)["grams_sure"][2] != made["grams_sure"][2]


def test_rows_are_encoded_once_for_all_imputations(monkeypatch):
    model = model_of(name="mac-vae")
    alone = [Imputer(model, imputation=one).impute_chunk(FRAME)["grams"].cells[0] for one in range(3)]
    encode, calls = model.encode, []
    monkeypatch.setattr(model, "encode", lambda *arguments: calls.append(1) or encode(*arguments))
    made = impute(model, FRAME, imputations=3, sure=True, marked=True)
    assert len(calls) == 1
    assert [frame["grams"][2] for frame in made] == alone
    assert len(set(alone)) == 3


def test_of_arrow_as_of_a_frame():
    table = pa.Table.from_pandas(FRAME)
    imputer = Imputer(model_of())
    fields = extend_arrow_schema(imputer, table.schema, sure=True, marked=True)
    made = pa.Table.from_batches(impute_batches(imputer, table.to_batches(2), fields))
    assert made.schema.names == ["kind", "kind_sure", "grams", "wings", "ring", "filled"]
    same = impute(model_of(), FRAME, sure=True, marked=True, batch_size=2)
    pd.testing.assert_frame_equal(made.to_pandas(), same)


def test_a_type_is_that_of_the_whole_column():
    frame = pd.DataFrame({"tame": pd.Series([None, None, True, False], dtype=object), "grams": [1.0, 2.0, None, 4.0]})
    table = Table.from_frame(frame, Schema({"tame": Label(2, hidden=(8,)), "grams": Vector(1, hidden=(8,))}), say=None)
    made = impute(model_of(table.schema), frame, batch_size=1)
    assert [type(cell) for cell in made["tame"]] == [bool] * 4


def test_pictures_are_bytes():
    schema = Schema({"kind": SCHEMA["kind"], "photo": Image(3, 4, 4, widths=(4,))})
    frame = pd.DataFrame({"kind": ["owl", "emu"], "photo": pd.Series([png(), None], dtype=object)})
    made = impute(model_of(schema), frame)
    assert made["photo"][0] == png()
    with PIL.Image.open(io.BytesIO(made["photo"][1])) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (4, 4))


@pytest.mark.parametrize("kind", ["str", object])
def test_names_of_files_are_not_made(kind, tmp_path):
    (tmp_path / "owl.png").write_bytes(png())
    schema = Schema({"kind": SCHEMA["kind"], "photo": Image(3, 4, 4, widths=(4,))})
    frame = pd.DataFrame({"kind": ["owl", None, "emu"], "photo": pd.Series([None, "owl.png", "gone.png"], dtype=kind)})
    made = impute(model_of(schema), frame, root=tmp_path, batch_size=1, marked=True)
    assert made["photo"].equals(frame["photo"])
    assert made["filled"].tolist() == ["", "kind", ""]
    imputer = Imputer(model_of(schema), root=tmp_path)
    imputer.impute_chunk(frame)
    imputer.impute_chunk(frame)
    assert imputer.list_messages()[0].startswith(
        "'photo' contains files or file names, and its missing cells stay missing"
    )


def test_too_many_damaged_pictures():
    schema = Schema({"kind": SCHEMA["kind"], "photo": Image(3, 4, 4, widths=(4,))})
    frame = pd.DataFrame({"kind": ["owl", "emu"], "photo": pd.Series([png(), b"no picture"], dtype=object)})
    with pytest.raises(ValueError, match="'photo': at most 1% of the files may be damaged; 1 file cannot be read"):
        impute(model_of(schema), frame)
    assert impute(model_of(schema), frame, unreadable=0.5)["photo"][1] == b"no picture"


def test_what_fits_no_category_is_not_filled():
    frame = FRAME.assign(kind=pd.Series([None] * 6, dtype=pd.CategoricalDtype(["auk"])))
    imputer = Imputer(model_of())
    assert imputer.impute_chunk(frame)["kind"].rows.tolist() == []
    assert impute(model_of(), frame, marked=True)["filled"].tolist()[:3] == ["wings", "", "grams"]


def test_a_column_of_nothing_is_filled():
    frame = FRAME.assign(kind=np.nan)
    made = impute(model_of(), frame)
    assert made["kind"][:4].isin(["owl", "emu"]).all()


def test_one_of_several_columns_of_a_vector():
    schema = Schema({"kind": SCHEMA["kind"], "size": Vector(2, names=("grams", "wings"), hidden=(8,))})
    made = impute(model_of(schema), FRAME, marked=True)
    assert made["filled"].tolist()[:4] == ["wings", "kind", "grams", ""]
    assert made["grams"][0] == 180.0


def test_a_frame_without_rows():
    made = impute(model_of(), FRAME[:0], sure=True)
    assert list(made) == ["kind", "kind_sure", "grams", "wings", "ring"]
    assert not len(made)


def test_a_text_that_says_nothing_stays_a_hole(monkeypatch):
    schema = Schema({"grams": SCHEMA["grams"], "note": Text(2, ("red",), width=8, layers=1, heads=2, feedforward=8)})
    frame = pd.DataFrame({"grams": [1.0, 2.0], "note": ["red", None]})
    monkeypatch.setattr(Text, "write_cells", lambda self, values: [[""] * len(values)])
    made = impute(model_of(schema), frame, marked=True)
    assert made["note"].isna().tolist() == [False, True]
    assert made["filled"].tolist() == ["", ""]


@pytest.mark.parametrize(
    "cells",
    [
        pd.arrays.SparseArray([np.nan if row % 4 else row / 2 for row in range(40)]),
        pd.arrays.SparseArray([(0.0, np.nan, row / 2, 0.0)[row % 4] for row in range(40)], fill_value=0.0),
        pd.arrays.SparseArray([row % 3 == 0 for row in range(40)], fill_value=False),
        pd.arrays.SparseArray(np.array([None if row % 4 else "ab"[row % 8 // 4] for row in range(40)], object)),
        pd.arrays.SparseArray(pd.to_datetime([None if row % 4 else f"2020-01-{1 + row % 20:02}" for row in range(40)])),
    ],
    ids=lambda cells: str(cells.dtype),
)
def test_sparse_columns_are_read_and_imputed(cells):
    frame = pd.DataFrame({"y": np.arange(40) / 7, "x": cells})
    table = Table.from_frame(frame, say=None)
    model = build("mac-wae", table.schema.replace(hidden=(4,)), latent_dim=2, hidden=(4,))
    made = impute(model, frame, say=None)
    assert made["x"].dtype == frame["x"].dtype
    assert made["x"].notna().all()
    held = frame["x"].notna()
    assert made["x"][held].tolist() == frame["x"][held].tolist()
