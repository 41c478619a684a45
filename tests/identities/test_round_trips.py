"""What is read from a data frame and written again is what stood there; what is imputed leaves all else as it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from polymodal import impute
from polymodal.imputation import extend_arrow_schema, impute_batches
from polymodal.inference.imputer import Imputer
from polymodal.modalities import Label, Modality, Text, Vector
from polymodal.modalities.cells import class_name, missing
from polymodal.models import build
from polymodal.models.base import Model
from polymodal.schema import Schema
from polymodal.tabular import filling as cells

pytestmark = pytest.mark.slow

FEW = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
WORDS = ("a", "small", "red", "bird", "sings", "at", "night")
FLOATS = st.floats(-1e12, 1e12, allow_subnormal=False) | st.floats(-1e-200, 1e-200, allow_subnormal=False)
DAYS = st.integers(-20_000, 40_000)
CLASSES = ("owl", "emu", "Tawny frogmouth", "3", "été")


def column(values: st.SearchStrategy, kind: str, holes: tuple = (None,)) -> Callable[[int], st.SearchStrategy]:
    """Columns of a type; some of their cells hold nothing."""
    cell = st.one_of(values, values, values, st.sampled_from(holes)) if holes else values
    return lambda rows: st.lists(cell, min_size=rows, max_size=rows).map(lambda made: pd.Series(made, dtype=kind))


def lists(rows: int) -> st.SearchStrategy:
    """Columns of lists of one length."""
    length = st.integers(2, 4)
    return length.flatmap(lambda n: column(st.lists(FLOATS, min_size=n, max_size=n), "object")(rows))


COLUMNS: dict[str, Callable[[int], st.SearchStrategy]] = {
    "bool": column(st.booleans(), "bool", ()),
    "boolean": column(st.booleans(), "boolean", (pd.NA,)),
    "objects of bools": column(st.booleans(), "object"),
    "int": column(st.integers(-50_000, 49_000), "int64", ()),
    "large": column(st.integers(2**52, 2**52 + 9), "int64", ()),
    "Int64": column(st.integers(-5, 5), "Int64", (pd.NA,)),
    "int8": column(st.integers(-128, 127), "int8", ()),
    "float": column(FLOATS, "float64", (float("nan"),)),
    "Float64": column(FLOATS, "Float64", (pd.NA,)),
    "objects of texts": column(st.sampled_from(CLASSES), "object", (None, "", " ", float("nan"))),
    "str": column(st.sampled_from(CLASSES), "str", (None, "", " ")),
    "string": column(st.sampled_from(CLASSES), "string", (pd.NA, "")),
    "category": column(st.sampled_from(CLASSES), "category"),
    "categories of numbers": column(st.sampled_from([3, 1, 20]), "category"),
    "date": column(DAYS.map(lambda day: pd.Timestamp(day, unit="D")), "datetime64[us]"),
    "time": column(DAYS.map(lambda hour: pd.Timestamp(hour, unit="h")), "datetime64[us]"),
    "zone": column(DAYS.map(lambda day: pd.Timestamp(day, unit="D", tz="UTC")), "datetime64[us, UTC]"),
    "texts": column(st.lists(st.sampled_from(WORDS), min_size=2, max_size=6).map(" ".join), "str"),
    "lists": lists,
    "nothing": column(st.none(), "object"),
}


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Frames of columns of several types, the last of which may stand twice."""
    rows = draw(st.integers(2, 24))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=5, unique=True))
    made = {name: draw(COLUMNS[name](rows)) for name in names}
    if draw(st.booleans()):
        made["again"] = made[names[-1]].copy()
    return pd.DataFrame(made)


def inferred(frame: pd.DataFrame) -> Schema:
    try:
        return Schema.infer(frame, say=None)
    except ValueError as error:
        assume("all are left out" not in str(error))
        raise


def written(modality: Modality, column: pd.Series) -> list:
    """The cells of a column, read and written again."""
    return list(modality.write_cells(modality.read_cells(column, root=Path()).values)[0])


def emptied(column: pd.Series) -> tuple[pd.Series, np.ndarray]:
    """A column of which only the first value is left, where its type knows holes; and the rows of the others."""
    rows = np.flatnonzero(~missing(column))
    holes = column.copy()
    if column.dtype.kind not in "biu" or pd.api.types.is_extension_array_dtype(column.dtype):
        holes.iloc[rows[1:]] = None
    return holes, rows[1:]


def check_same(modality: Modality, was: pd.Series, made: pd.Series) -> None:
    if isinstance(modality, Vector):
        before, after = (np.array(cells.tolist(), np.float64).reshape(len(cells), -1) for cells in (was, made))
        span = before.max(0) - before.min(0)
        assert (np.abs(before - after) <= 1e-6 * span).all()
    elif isinstance(modality, Text):
        before = [modality.read(class_name(cell)).tolist() for cell in was]
        assert [modality.read(class_name(cell)).tolist() for cell in made] == before
    else:
        assert made.tolist() == was.tolist()
        assert [type(cell) for cell in made] == [type(cell) for cell in was]


@FEW
@given(frames())
def test_what_is_read_is_written_again(frame):
    schema = inferred(frame)
    for name, modality in schema.items():
        holes, rows = emptied(frame[name])
        answers = [written(modality, frame[name])[row] for row in rows]
        made = cells.put(holes, rows, answers)
        assert made.dtype == frame[name].dtype
        assert made.index.equals(frame.index)
        seen = ~missing(frame[name])
        if isinstance(modality, Text) and frame[name].dtype.kind == "M":
            seen &= made.notna().to_numpy()  # a date that was cut is no date
        check_same(modality, frame[name][seen], made[seen])
        if pd.api.types.is_integer_dtype(made.dtype):
            assert made[seen].tolist() == frame[name][seen].tolist()


@FEW
@given(frames())
def test_what_is_read_is_written_again_by_arrow(frame):
    schema = inferred(frame)
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    for name, modality in schema.items():
        array = pa.concat_arrays(arrow[name].chunks)
        series = array.to_pandas()
        rows = np.flatnonzero(~missing(series))
        answers = [written(modality, series)[row] for row in rows]
        holes = pa.nulls(len(array), array.type)
        made = cells.put_arrow(holes, rows, answers)
        assert made.type == array.type
        made = made.to_pandas().iloc[rows]
        if isinstance(modality, Text) and series.dtype.kind == "M":
            rows, made = rows[made.notna()], made[made.notna()]
        check_same(modality, series.iloc[rows], made)


def small(schema: Schema, name: str = "mac-wae") -> Model:
    texts = {k: m for k, m in schema.items() if isinstance(m, Text)}
    assert all(text.width == 64 for text in texts.values())
    return build(name, schema.replace(hidden=(8,)), latent_dim=4, hidden=(8,)).requires_grad_(False)


def bits(column: pd.Series) -> list:
    """Cells that are equal only if all their bits are."""
    if column.dtype.kind == "f":
        return column.to_numpy(np.float64, na_value=np.nan).view(np.int64).tolist()
    return [repr(cell) for cell in column]


INDICES = {
    "default": lambda rows: pd.RangeIndex(rows),
    "letters": lambda rows: pd.Index([chr(97 + row) for row in range(rows)], name="letter"),
    "backwards": lambda rows: pd.RangeIndex(rows)[::-1],
    "not unique": lambda rows: pd.Index([row // 2 for row in range(rows)]),
    "two levels": lambda rows: pd.MultiIndex.from_product([range(rows), ["x"]]),
}


@FEW
@given(frames(), st.sampled_from(sorted(INDICES)), st.integers(1, 9))
def test_imputing_leaves_all_that_is_there(frame, index, batch_size):
    frame.index = INDICES[index](len(frame))
    schema = inferred(frame)
    made = impute(small(schema), frame, batch_size=batch_size)
    assert made.dtypes.equals(frame.dtypes)
    assert made.columns.equals(frame.columns)
    assert made.index.equals(frame.index)
    some = np.logical_or.reduce([~missing(frame[name]) for name in schema])
    for name in frame.columns:
        there = ~missing(frame[name])
        assert bits(made[name][there]) == bits(frame[name][there])
        if name not in schema:
            assert bits(made[name]) == bits(frame[name])
        elif not isinstance(schema[name], Text):  # what an untrained model writes may be no text, and no date
            assert not missing(made[name])[some].any()


@FEW
@given(frames(), st.integers(1, 9), st.booleans())
def test_imputing_by_arrow_leaves_all_that_is_there(frame, batch_size, added):
    model = small(inferred(frame))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    imputer = Imputer(model)
    made = impute_batches(
        imputer, table.to_batches(batch_size), extend_arrow_schema(imputer, table.schema, added, added)
    )
    made = pa.Table.from_batches(made)
    assert [name for name in made.schema.names if name in table.schema.names] == table.schema.names
    for field in table.schema:
        assert made.schema.field(field.name).type == field.type
        before, after = table[field.name], made[field.name]
        there = ~missing(before.to_pandas())
        assert after.filter(pa.array(there)).to_pylist() == before.filter(pa.array(there)).to_pylist()


def test_a_negative_zero_stays_one():
    frame = pd.DataFrame({"x": [-0.0, 1.5, None, 0.0, 2.5], "y": [1.5, None, -0.0, 3.5, 4.0]})
    made = impute(small(inferred(frame)), frame)
    assert np.signbit(made["x"][0])
    assert np.signbit(made["y"][2])
    assert not np.signbit(made["x"][3])


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        (pa.date32(), pd.Timestamp("2007-11-11").date()),
        (pa.timestamp("s"), pd.Timestamp("2007-11-11 08:30")),
        (pa.timestamp("ms", "Europe/Berlin"), pd.Timestamp("2007-11-11", tz="Europe/Berlin")),
        (pa.dictionary(pa.int8(), pa.string()), "owl"),
        (pa.dictionary(pa.int32(), pa.string(), ordered=True), "owl"),
        (pa.large_string(), "owl"),
        (pa.decimal128(5, 2), 3),
    ],
    ids=str,
)
def test_classes_of_arrow_types(kind, cell):
    array = pa.array([cell, None, cell]).cast(kind) if not pa.types.is_decimal(kind) else pa.array([3, None, 3], kind)
    series = array.to_pandas()
    label = Label(1).fitted(series)
    made = cells.put_arrow(array, np.array([1]), written(label, series.iloc[[0]]))
    assert made.type == kind
    assert made.to_pylist() == [array[0].as_py()] * 3


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.int64()), pa.list_(pa.float32(), 2), pa.large_list(pa.float64())], ids=str
)
def test_lists_of_arrow_types(kind):
    array = pa.array([[1, 2], None, [3, 5]], kind)
    vector = Vector(2).fitted(array.to_pandas())
    made = cells.put_arrow(array, np.array([1]), vector.write_cells(torch.ones(1, 2))[0])
    assert made.type == kind
    assert made[2].as_py() == [3, 5]
    assert made[1].as_py() == [3, 5]
