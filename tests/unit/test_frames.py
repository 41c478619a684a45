"""What frames hold that cannot be taken as it stands: errors that say where, and what is told."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pytest
import torch

from polymodal.imputation import impute
from polymodal.modalities import Image, Label, Text, Vector
from polymodal.models import build
from polymodal.schema import Schema
from polymodal.table.frames import Reader
from polymodal.table.table import Table

RED = (255, 0, 0)


def picture(colour: tuple[int, ...] = RED, mode: str = "RGB") -> bytes:
    PIL.Image.new(mode, (4, 4), colour).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


SCHEMA = Schema(
    {
        "kind": Label(2, names=("emu", "owl")),
        "grams": Vector(1, center=(200.0,), scale=(50.0,)),
        "curve": Vector(2),
        "note": Text(4, ("a", "red", "bird")),
    }
)


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("grams", "heavy", "the value must be a number; got 'heavy'"),
        ("grams", float("inf"), "numbers must be finite; got inf"),
        ("grams", 10**400, "the value must be a number"),
        ("grams", 1e300, "numbers must be below 3e38 units"),
        ("curve", [1.0, 2.0, 3.0], "a list must have 2 numbers, as those of training have; got 3"),
        ("curve", [1.0, float("inf")], "numbers must be finite"),
        ("curve", ["a", "b"], "could not convert"),
        ("curve", 3.0, "not iterable"),
        ("kind", ["owl"], "the value must be a text or a number; unhashable type: 'list'"),
    ],
)
def test_a_bad_cell_names_column_and_row(column, cell, said):
    frame = pd.DataFrame({"kind": ["owl"] * 6, column: pd.Series([None] * 4 + [cell, None], dtype=object)})
    with pytest.raises(ValueError, match=f"^{column}, row 4: .*{said.replace('[', '.')}"):
        Table.from_frame(frame, SCHEMA, say=None)
    reader = Reader(SCHEMA)
    reader.read(frame[:3])
    with pytest.raises(ValueError, match=f"^{column}, row 4: "):
        reader.read(frame[3:])


@pytest.mark.parametrize(("column", "modality"), [("kind", Label(2)), ("grams", Vector(1)), ("curve", Vector(2))])
def test_a_bad_cell_is_named_where_units_are_taken(column, modality):
    frame = pd.DataFrame({column: pd.Series([None, [1.0, 2.0], {}], dtype=object)})
    with pytest.raises(ValueError, match=f"^{column}, row [12]: "):
        Table.from_frame(frame, Schema({column: modality}), say=None)


@pytest.mark.parametrize(
    ("index", "name"),
    [(None, "2"), ([7, 1, 4], r"2 \(label 4\)"), (["a", "b", "c"], r"2 \(label 'c'\)"), ([1, 0, 2], "2")],
)
def test_a_row_is_named_by_its_position_and_its_label_where_that_differs(index, name):
    frame = pd.DataFrame({"kind": ["owl"] * 3, "grams": [1.0, 2.0, "heavy"]}, index=index)
    for schema in (SCHEMA, Schema({"grams": Vector(1)})):  # read with known units, and where units are learned
        with pytest.raises(ValueError, match=f"^grams, row {name}: "):
            Table.from_frame(frame, schema, say=None)
    model = build("mac-wae", SCHEMA, latent_dim=2, hidden=(4,))
    for batch_size in (1, 3):
        with pytest.raises(ValueError, match=f"^grams, row {name}: "):
            impute(model, frame, batch_size=batch_size)


def test_a_far_number_names_its_row_by_position_and_label():
    known = Table.from_frame(pd.DataFrame({"x": [0.0, 1.0, 0.5] * 9}), Schema({"x": Vector(1)}), say=None)
    messages: list[str] = []
    frame = pd.DataFrame({"x": [0.5, 1e6, 0.5]}, index=[5, 6, 7])
    Table.from_frame(frame, known.schema, say=messages.append)
    assert "1e+06 in row 1 (label 6)" in messages[0]


def test_two_columns_of_a_name():
    frame = pd.DataFrame([[1.0, 2.0]], columns=["grams", "grams"])
    for schema in (SCHEMA, Schema({"grams": Vector(1, center=(0.0,), scale=(1.0,))})):
        with pytest.raises(ValueError, match="'grams' occurs twice; rename"):
            Table.from_frame(frame, schema)
    with pytest.raises(ValueError, match="'grams' occurs twice; rename"):
        Reader(SCHEMA).read(frame)


def test_none_of_the_columns():
    with pytest.raises(ValueError, match="one of the columns kind, grams, curve, note; it has x"):
        Table.from_frame(pd.DataFrame({"x": [1]}), SCHEMA)


def test_what_is_unknown_is_told():
    frame = pd.DataFrame(
        {
            "kind": ["owl", "tit", "tit", None, "emu"],
            "note": ["a red bird", "a Blue bird", None, " ", "red"],
        }
    )
    said: list[str] = []
    table = Table.from_frame(frame, SCHEMA, say=said.append)
    assert said == [
        "'grams' is not among the columns and counts as missing",
        "'curve' is not among the columns and counts as missing",
        "'kind': 1 class that is not in the schema occurs 2 times, and is treated as unknown: 'tit' (2)",
        "'note': 1 word that is not in the schema occurs once, and is treated as unknown: 'blue' (1)",
        "2 of 5 rows have no observed value and are left out",
    ]
    assert table.observed[:, 0].tolist() == [True, False, True]
    assert table.observed[:, 3].tolist() == [True, True, True]
    assert not table.observed[:, 1:3].any()


@pytest.mark.parametrize(
    "cell",
    [picture, lambda: {"bytes": picture()}, lambda: "red.png", lambda: Path("red.png"),
     lambda: {"bytes": None, "path": "red.png"}, lambda: PIL.Image.new("RGB", (4, 4), RED),
     lambda: np.full((4, 4, 3), RED, np.uint8)],
)  # fmt: skip
def test_pictures(cell, tmp_path):
    (tmp_path / "red.png").write_bytes(picture())
    frame = pd.DataFrame({"photo": pd.Series([cell(), None, {"bytes": None, "path": None}, "gone.png"], dtype=object)})
    said: list[str] = []
    table = Table.from_frame(frame, Schema({"photo": Image(3, 4, 4)}), root=tmp_path, say=said.append)
    assert said == ["3 of 4 rows have no observed value and are left out"]
    assert table.values["photo"][0, :, 0, 0].tolist() == [*RED]


@pytest.mark.parametrize("kind", [object, pd.ArrowDtype(pa.binary())])
def test_pictures_of_bytes(kind):
    cells = pd.Series([picture(), None, b"no picture"], dtype=kind)
    made = Image(3, 4, 4).read_cells(cells, root=Path())
    assert made.observed.tolist() == [True, False, False]
    assert [row for row, _ in made.unreadable] == [2]


def test_what_is_transparent_is_white():
    made = Image(3, 4, 4).read_cells(pd.Series([picture((*RED, 0), "RGBA"), picture((*RED, 255), "RGBA")]), root=Path())
    assert made.values[:, :, 0, 0].tolist() == [[255, 255, 255], [*RED]]
    made = Image(4, 4, 4).read_cells(pd.Series([picture((*RED, 7), "RGBA")]), root=Path())
    assert made.values[0, :, 0, 0].tolist() == [*RED, 7]


@pytest.mark.parametrize("damage", [b"no picture", picture()[:45], b"", 5], ids=["text", "cut", "empty", "number"])
def test_damaged_pictures(damage):
    schema = Schema({"photo": Image(3, 4, 4)})
    cells = pd.Series([picture()] * 6 + [damage] + [picture()] * 3, dtype=object)
    frame = pd.DataFrame({"photo": cells})
    with pytest.raises(ValueError, match=r"^'photo': at most 1% .* 1 file cannot be read \(row 6: .*unreadable=0.1"):
        Table.from_frame(frame, schema)
    reader = Reader(schema)
    reader.read(frame[:4])
    reader.read(frame[4:])
    with pytest.raises(ValueError, match="row 6: "):
        reader.list_messages()
    said: list[str] = []
    table = Table.from_frame(frame, schema, unreadable=0.1, say=said.append)
    assert len(table) == 9
    assert said[0].startswith("'photo': 1 file cannot be read (row 6: ")


def test_one_of_a_hundred_may_be_damaged():
    frame = pd.DataFrame({"photo": pd.Series([picture()] * 99 + [b"no picture"], dtype=object)})
    assert len(Table.from_frame(frame, Schema({"photo": Image(3, 4, 4)}), say=None)) == 99


def test_units_and_classes_of_training_rows():
    frame = pd.DataFrame({"year": [10, 9, 2009, 9], "same": [0.1] * 4, "curve": [[0.1, 1.0], None, [0.1, 2.0], None]})
    schema = Schema({"year": Label(3), "same": Vector(1), "curve": Vector(2)})
    table = Table.from_frame(frame, schema)
    assert table.schema["year"].names == ("9", "10", "2009")
    assert table.schema["same"].scale == (1.0,)
    assert table.schema["curve"].scale == (1.0, 0.5)


def test_dates_are_read_the_same_in_every_piece():
    days = pd.Series(pd.to_datetime(["2007-11-11T08:30", "2007-11-12T00:00", "2007-11-13T09:00"] * 5))
    frame = pd.DataFrame({"day": days})
    schema = Schema.infer(frame, modalities={"day": "text:9"}, say=None)
    reader = Reader(schema)
    whole = Reader(schema).read(frame).values["day"]
    assert torch.equal(torch.cat([reader.read(frame[row : row + 1]).values["day"] for row in range(15)]), whole)


def test_a_table_of_every_source_is_the_same():
    frame = pd.DataFrame({"kind": ["owl", None, "emu"] * 4, "grams": [1.5, 2.5, None] * 4})
    tables = [
        Table.from_frame(frame, say=None),
        Table.from_arrow(pa.Table.from_pandas(frame), say=None),
        Table.from_dataset(frame.to_dict("records"), say=None),
    ]
    assert len({table.fingerprint() for table in tables}) == 1
