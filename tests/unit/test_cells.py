"""Answers in the holes of columns, where no generated frame comes by them."""

import datetime
from decimal import Decimal
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from polymodal.modalities.cells import class_name, missing, texts
from polymodal.tabular.filling import dates, is_valid_cell, put, put_arrow

HOLE = np.array([1])


@pytest.mark.parametrize(
    ("column", "cell", "made"),
    [
        (pd.Series([1, None, 3], dtype="Int8"), 300.0, 127),
        (pd.Series([1, None, 3], dtype="UInt8"), -4.0, 0),
        (pd.Series([1, None, 3], dtype="Int64"), 1e300, 2**63 - 1),
        (pd.Series([1, None, 3], dtype="Int64"), "9007199254740993", 2**53 + 1),
        (pd.Series([1.0, None, 3.0], dtype="float32"), 0.5, 0.5),
        (pd.Series([True, None, False], dtype="boolean"), "False", False),
        (pd.Series([True, None], dtype=object), "True", True),
        (pd.Series([3, None], dtype=object), 4.4, 4),
        (pd.Series([3, None, 2.5], dtype=object), 4.4, 4.4),
        (pd.Series([Decimal("1.5"), None]), 2.5, Decimal("2.5")),
        (pd.Series([Decimal("1.25"), None]), 2.504, Decimal("2.50")),
        (pd.Series(["12", None], dtype=object), 2.5, "2.5"),
        (pd.Series(["owl", None], dtype="category"), "owl", "owl"),
        (pd.Series([3, None], dtype="category"), "3", 3),
        (pd.Series([datetime.date(2007, 11, 11), None]), "2007-11-12", datetime.date(2007, 11, 12)),
        (pd.Series([datetime.datetime(2007, 11, 11, 8), None], dtype=object), "2007-11-12T09:30:00",
         datetime.datetime(2007, 11, 12, 9, 30)),
        (pd.Series(pd.to_datetime(["2007-11-11", None])), "2007-11-12T09:30:00", pd.Timestamp("2007-11-12 09:30")),
        (pd.Series(pd.to_datetime(["2007-11-11", None])), "2007 - 11 - 12t09 : 30", pd.Timestamp("2007-11-12T09:30")),
        (pd.Series(pd.to_datetime(["2007-11-11", None])), 13828.5, pd.Timestamp("2007-11-11 12:00")),
        (pd.Series(pd.to_datetime(["2007-11-11", None])).dt.tz_localize("Europe/Berlin"), "2007-11-12",
         pd.Timestamp("2007-11-12", tz="Europe/Berlin")),
        (pd.Series([[1, 2], None]), np.array([1.6, 3.0]), [2, 3]),
        (pd.Series([(1.5, 2.0), None]), np.array([1.5, 3.0]), (1.5, 3.0)),
        (pd.Series([{"bytes": b"a", "path": "a.png"}, None]), b"b", {"bytes": b"b", "path": None}),
        (pd.Series([1, None], dtype=pd.ArrowDtype(pa.int16())), 2.6, 3),
        (pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string())), "b", "b"),
        (pd.Series([Decimal("1.50"), None], dtype=pd.ArrowDtype(pa.decimal128(5, 2))), 2.504, Decimal("2.50")),
    ],
)  # fmt: skip
def test_a_cell_is_of_its_columns_type(column, cell, made):
    filled = put(column, HOLE, [cell])
    assert filled.dtype == column.dtype
    assert np.array_equal(filled[1], made)
    assert type(filled[1]) is type(made) or not isinstance(made, list | tuple | Decimal | datetime.date)
    assert filled.drop(1).equals(column.drop(1))
    assert column.isna()[1]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        (pd.Series(["owl", None], dtype="category"), "emu"),
        (pd.Series(pd.to_datetime(["2007-11-11", None])), "owl"),
        (pd.Series([datetime.date(2007, 11, 11), None]), "owl"),
        (pd.Series([1, None], dtype="Int64"), "owl"),
        (pd.Series([1.5, None]), "owl"),
        (pd.Series(["owl", None]), ""),
    ],
)
def test_what_a_type_cannot_hold_is_left_out(column, cell):
    assert is_valid_cell(column, [cell]).tolist() == [False]
    assert put(column, HOLE, [cell]).equals(column)


def test_a_column_of_nothing_takes_what_comes():
    column = pd.Series([np.nan, np.nan])
    assert put(column, HOLE, ["owl"]).tolist()[1] == "owl"
    assert put(column, HOLE, [2.5]).dtype == column.dtype
    assert put_arrow(pa.nulls(2), HOLE, ["owl"]).null_count == 2


def test_hours_that_are_twice_or_left_out_in_a_zone():
    zone = pd.Series(pd.to_datetime(["2007-11-11", None, None])).dt.tz_localize("Europe/Berlin")
    made = put(zone, np.array([1, 2]), ["2007-03-25T02:30:00", "2007-10-28T02:30:00"])
    assert made.dt.strftime("%H:%M").tolist()[1:] == ["03:00", "02:30"]


@pytest.mark.parametrize("kind", [pa.decimal32(3, 2), pa.decimal128(38, 10), pa.decimal256(50, 0)])
@pytest.mark.parametrize("cell", [1e60, -1e60])
def test_a_number_that_is_too_large_is_the_largest_that_a_column_holds(kind, cell):
    made = put_arrow(pa.array([Decimal(1), None], kind), HOLE, [cell])[1].as_py()
    assert made == Decimal((cell < 0, (9,) * kind.precision, -kind.scale))


def test_categories_keep_their_order_and_those_that_no_row_has():
    column = pa.DictionaryArray.from_arrays(pa.array([2, None], pa.int8()), ["none", "low", "high"], ordered=True)
    made = put_arrow(column, HOLE, ["low"])
    assert made.type == column.type
    assert made.dictionary.equals(column.dictionary)
    assert made.to_pylist() == ["high", "low"]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.list_(pa.string_view()), pa.list_view(pa.float64()), pa.bool8()])
def test_types_that_arrow_cannot_take_apart(kind):
    cell = {pa.string_view(): "b", pa.bool8(): 1.0}.get(kind, ["b"] if "string" in str(kind) else [2.0])
    storage = pa.array([cell if kind != pa.bool8() else 1, None], getattr(kind, "storage_type", kind))
    column = kind.wrap_array(storage) if kind == pa.bool8() else storage
    made = put_arrow(column, HOLE, [cell])
    assert made.type == column.type
    assert made[0] == made[1]


def test_sparse_columns_are_filled():
    column = pd.Series(pd.arrays.SparseArray([0.0, np.nan, 2.5], fill_value=0.0))
    made = put(column, HOLE, [1.5])
    assert made.dtype == column.dtype
    assert made.tolist() == [0.0, 1.5, 2.5]
    assert missing(column).tolist() == [False, True, False]


def test_a_struct_holds_bytes():
    column = pa.array([{"bytes": b"a", "path": "a.png"}, None])
    assert put_arrow(column, HOLE, [b"b"])[1].as_py() == {"bytes": b"b", "path": None}


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (pd.Timestamp("2007-11-11"), "2007-11-11"),
        (pd.Timestamp("2007-11-11 08:30", tz="Europe/Berlin"), "2007-11-11T08:30:00"),
        (datetime.date(2007, 11, 11), "2007-11-11"),
        (np.float32(3.0), "3"),
        (np.int8(3), "3"),
        (np.True_, "True"),
        (-0.0, "0"),
        (PurePosixPath("a/b"), "a/b"),
    ],
)
def test_names_of_classes(cell, name):
    assert class_name(cell) == name


@pytest.mark.parametrize("kind", [object, "str", "string", "string[pyarrow]", "category", pd.ArrowDtype(pa.string())])
def test_blank_texts_are_missing(kind):
    column = pd.Series(["owl", "", " \t", None, "a b"], dtype=kind)
    assert missing(column).tolist() == [False, True, True, True, False]
    assert texts(column).tolist() == ["owl", "", "", "", "a b"]


def test_days_beyond_all_calendars_are_no_dates():
    assert dates([1e300, 0.0]).isna().tolist() == [True, False]
