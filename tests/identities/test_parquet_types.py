"""Imputing from Parquet to Parquet keeps schema, metadata, categories, and every cell that held something."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polymodal.cli import impute_file, output_checks
from polymodal.models import build
from polymodal.schema import Schema

pytestmark = pytest.mark.slow

ROWS = 30
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = ["owl", "emu", "wren", "ü"]
CATEGORIES = ["none", "low", "mid", "high"]
DAY = datetime.datetime(2020, 1, 1)


def numbers(draw, most=128):
    return [int(number) for number in draw.integers(0, most, ROWS)]


def moments(draw):
    return [DAY + datetime.timedelta(days=int(day), hours=int(day) % 3) for day in draw.integers(0, 9, ROWS)]


def decimals(digits):
    return lambda draw: [Decimal(int(number)).scaleb(-digits) for number in draw.integers(-999, 1000, ROWS)]


def words(draw):
    return [str(word) for word in draw.choice(WORDS, ROWS)]


def floats(draw):
    return [float(number) for number in draw.integers(-20, 20, ROWS) / 4]


def pairs(draw):
    return [[float(number), float(number) / 4] for number in draw.integers(-9, 9, ROWS)]


def structs(draw):
    return [{"a": int(number), "b": str(number)} for number in draw.integers(0, 9, ROWS)]


TYPES = {
    "bool": (pa.bool_(), lambda draw: [bool(bit) for bit in draw.integers(0, 2, ROWS)]),
    **{
        str(kind): (kind, numbers)
        for kind in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64())
    },
    **{str(kind): (kind, floats) for kind in (pa.float16(), pa.float32(), pa.float64())},
    **{str(kind): (kind, words) for kind in (pa.string(), pa.large_string(), pa.string_view())},
    **{
        str(kind): (kind, lambda draw: [word.encode() for word in words(draw)])
        for kind in (pa.binary(), pa.large_binary(), pa.binary_view())
    },
    "binary of 4": (pa.binary(4), lambda draw: [draw.bytes(4) for _ in range(ROWS)]),
    "date": (pa.date32(), lambda draw: [moment.date() for moment in moments(draw)]),
    "time of day": (pa.time64("ns"), lambda draw: [moment.time() for moment in moments(draw)]),
    "milliseconds": (pa.timestamp("ms"), moments),
    "microseconds": (pa.timestamp("us"), moments),
    "nanoseconds": (pa.timestamp("ns"), moments),
    "zone": (pa.timestamp("us", "Europe/Berlin"), moments),
    "offset": (pa.timestamp("ns", "+05:30"), moments),
    "duration": (pa.duration("us"), lambda draw: [moment - DAY for moment in moments(draw)]),
    "decimal32": (pa.decimal32(5, 2), decimals(2)),
    "decimal64": (pa.decimal64(12, 3), decimals(3)),
    "decimal128": (pa.decimal128(3, 2), decimals(2)),
    "decimal128 of whole numbers": (pa.decimal128(9, 0), decimals(0)),
    "decimal256": (pa.decimal256(50, 5), decimals(5)),
    "null": (pa.null(), lambda draw: [None] * ROWS),
    "categories": (pa.dictionary(pa.int8(), pa.string()), None),
    "ordered categories": (pa.dictionary(pa.int16(), pa.string(), ordered=True), None),
    "unsigned categories": (pa.dictionary(pa.uint8(), pa.string()), None),
    "categories of bytes": (pa.dictionary(pa.int32(), pa.binary()), None),
    "list": (pa.list_(pa.float32()), pairs),
    "large list": (pa.large_list(pa.float64()), pairs),
    "list of two": (pa.list_(pa.float64(), 2), pairs),
    "list view": (pa.list_view(pa.float64()), pairs),
    "list of texts": (pa.list_(pa.string()), lambda draw: [words(draw)[:2] for _ in range(ROWS)]),
    "list of structs": (pa.list_(pa.struct([("a", pa.int8()), ("b", pa.string())])), lambda draw: [structs(draw)[:2]]),
    "struct": (pa.struct([pa.field("a", pa.int32(), metadata={"unit": "g"}), ("b", pa.string())]), structs),
    "map": (pa.map_(pa.string(), pa.int32()), lambda draw: [[("a", 1), ("b", row)] for row in range(ROWS)]),
    "uuid": (pa.uuid(), lambda draw: [draw.bytes(16) for _ in range(ROWS)]),
    "json": (pa.json_(), lambda draw: ['{"a": 1}'] * ROWS),
    "bool of bytes": (pa.bool8(), lambda draw: numbers(draw, 2)),
    "tensor": (
        pa.fixed_shape_tensor(pa.float32(), (2, 2)),
        lambda draw: [[1.0, 2.0, 3.0, float(x)] for x in range(30)],
    ),
}


def array(name, seed, holes=True):
    """Values of a type, of which some are missing."""
    draw = np.random.default_rng(seed)
    kind, make = TYPES[name]
    empty = draw.random(ROWS) < 0.3 if holes else np.zeros(ROWS, bool)
    if make is None:
        places = draw.integers(1, 4, ROWS)  # the first of the categories is never there
        codes = pa.array(np.where(empty, 0, places), kind.index_type, mask=empty)
        return pa.DictionaryArray.from_arrays(codes, pa.array(CATEGORIES).cast(kind.value_type), ordered=kind.ordered)
    values = make(draw)
    values = [None if hole else values[row % len(values)] for row, hole in enumerate(empty)]
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    made = pa.array(values, storage)
    return kind.wrap_array(made) if isinstance(kind, pa.BaseExtensionType) else made


@pytest.fixture
def impute(tmp_path, monkeypatch):
    """Imputes a table, by default by a model that takes each of its columns for what it can."""
    monkeypatch.setattr(output_checks, "training_table", lambda folder: [])
    (tmp_path / "experiment.json").write_text('{"data": {"dataset": "table", "arguments": {}}}')

    def run(table, model=None):
        source, out = tmp_path / "source.parquet", tmp_path / "out.parquet"
        out.unlink(missing_ok=True)
        pq.write_table(table, source, row_group_size=13)
        model = model or small(pq.read_table(source).to_pandas())
        monkeypatch.setattr(impute_file, "open_model", lambda folder, device: model)
        impute_file.impute_table_file(tmp_path, source, out, batch_size=8)
        return source, out, model

    return run


def small(frame):
    schema = Schema.infer(frame, say=None).replace(hidden=(4,))
    return build("mac-wae", schema, latent_dim=2, hidden=(4,)).requires_grad_(False)


def check_kept(source, out):
    assert pq.read_schema(out).equals(pq.read_schema(source), check_metadata=True)
    before, after = pq.read_table(source), pq.read_table(out)
    for name in before.schema.names:
        was, made = before[name], after[name]
        assert len(made) == len(was)
        if pa.types.is_dictionary(was.type):
            one, other = (pa.concat_arrays(column.unify_dictionaries().chunks) for column in (was, made))
            assert other.dictionary.equals(one.dictionary)
        pairs = zip(was.to_pylist(), made.to_pylist(), strict=True)
        assert all(one is None or one == other for one, other in pairs)


@pytest.mark.parametrize("name", TYPES)
def test_every_type_is_kept(impute, name):
    table = pa.table({"kind": array("string", 1), "x": array(name, 2), "height": array("double", 3)})
    source, out, model = impute(table)
    check_kept(source, out)
    if "x" in model.schema:
        assert pq.read_table(out)["x"].null_count < table["x"].null_count


@pytest.fixture(scope="module")
def model():
    return small(pa.table({"kind": array("string", 1), "height": array("double", 3)}).to_pandas())


@FEW
@given(data=st.data())
def test_every_schema_is_kept(impute, model, data):
    names = data.draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=6))
    fields, arrays = [pa.field("height", pa.float64())], [array("double", 3)]
    for place, name in enumerate(names):
        nullable = data.draw(st.booleans()) or name == "null"
        metadata = data.draw(st.none() | st.dictionaries(st.text("abü", min_size=1), st.text("xyz"), max_size=2))
        fields.append(pa.field(f"{name} {place}", TYPES[name][0], nullable, metadata))
        arrays.append(array(name, data.draw(st.integers(0, 99)), holes=nullable))
    metadata = data.draw(st.none() | st.just({"origin": "somewhere", "ü": "\x00"}))
    source, out, _ = impute(pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata)), model)
    check_kept(source, out)


@pytest.mark.parametrize("index", ["default", "named", "filtered", "two levels"])
def test_frames_come_back_with_their_types_and_index(impute, index):
    frame = pa.table({"kind": array("string", 1), "height": array("double", 3)}).to_pandas()
    frame["count"] = pd.array([None if row % 4 else row * row % 17 for row in range(ROWS)], dtype="Int16")
    frame["size"] = pd.Categorical([CATEGORIES[1 + row % 3] for row in range(ROWS)], CATEGORIES, ordered=True)
    frame["year"] = pd.Categorical([None if row % 5 == 0 else 2020 + row % 3 for row in range(ROWS)])
    frame["flag"] = pd.array([None if row % 4 else row % 8 == 0 for row in range(ROWS)], dtype="boolean")
    if index == "named":
        frame.index = pd.Index(range(100, 100 + ROWS), name="number")
    elif index == "two levels":
        frame = frame.set_index([pd.Index(range(ROWS), name="row"), pd.Index(["x"] * ROWS, name="part")])
    frame = frame[frame["size"] != "low"] if index == "filtered" else frame
    source, out, _ = impute(pa.Table.from_pandas(frame))
    check_kept(source, out)
    made = pd.read_parquet(out)
    assert made.index.equals(frame.index)
    assert made.dtypes.drop("year").equals(frame.dtypes.drop("year"))  # categories of numbers are numbers in Parquet
    assert set(made["year"]) <= {2020, 2021, 2022}
    assert made["size"].max() == "high"
    assert made.notna().all(axis=None)
