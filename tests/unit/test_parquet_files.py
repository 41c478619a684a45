"""Folders of Parquet files are one table, whatever their files have in common; a damaged file is named."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polymodal.datasets import user_tables
from polymodal.io.parquet_files import ParquetTable
from polymodal.io.parquet_folders import list_files
from polymodal.table.table import Table


def written(folder, **files):
    """A folder of files by name, each of columns by name."""
    for name, columns in files.items():
        path = folder / f"{name.replace('__', '/')}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = columns if isinstance(columns, pa.Table) else pa.table(columns)
        pq.write_table(table, path)
    return folder


def read(folder, rows=100):
    table = ParquetTable(folder)
    made = pa.Table.from_batches(table.batches(rows), table.schema)
    made.validate(full=True)
    return made


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (pa.array([None, None]), pa.array(["u"]), pa.string()),
        (pa.array(["u"]), pa.array([None, None]), pa.string()),
        (pa.array([float("nan")] * 2), pa.array(["u"]), pa.string()),
        (pa.array([None], pa.int64()), pa.array(["u"]), pa.string()),
        (pa.array([None], pa.float64()), pa.array(["u"]).dictionary_encode(), pa.dictionary(pa.int32(), pa.string())),
        (pa.array([1], pa.int8()), pa.array([300], pa.int64()), pa.int64()),
        (pa.array([1], pa.int64()), pa.array([1.5]), pa.float64()),
        (pa.array([1.5], pa.float32()), pa.array([1.25]), pa.float64()),
        (pa.array(["u"]), pa.array(["v"], pa.large_string()), pa.large_string()),
        (pa.array(["u"], pa.string_view()), pa.array(["v"]), pa.large_string()),
        (pa.array(["u"]).dictionary_encode(), pa.array(["v"]), pa.string()),
        (pa.array([1], pa.timestamp("ms")), pa.array([2], pa.timestamp("ns")), pa.timestamp("ns")),
        (pa.array([1], pa.decimal128(3, 2)), pa.array([1], pa.decimal128(7, 4)), pa.decimal128(7, 4)),
        (pa.array([1], pa.decimal128(5, 2)), pa.array([1.5], pa.float32()), pa.float64()),
        (pa.array([[1]], pa.list_(pa.int8())), pa.array([[1.5]], pa.list_(pa.float64())), pa.list_(pa.float64())),
        (
            pa.array([{"a": 1}], pa.struct([("a", pa.int8())])),
            pa.array([{"a": 2, "b": "x"}]),
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
        ),
    ],
    ids=lambda part: str(getattr(part, "type", part)).partition("[")[0],
)
def test_types_that_differ_get_one_that_holds_both(tmp_path, one, other, kind):
    made = read(written(tmp_path, a={"x": one}, b={"x": other}))
    assert made.schema.field("x").type == kind
    values = [value for part in (one, other) for value in part.to_pylist()]
    filled = [{"b": None, **value} if isinstance(value, dict) else value for value in values]
    assert made["x"].to_pylist() == [None if value != value else value for value in filled]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1]), pa.array(["u"])),
        (pa.array(["u"]), pa.array([b"u"])),
        (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC"))),
        (pa.array([True]), pa.array([1])),
        (pa.array([[1]]), pa.array([1])),
        (pa.array([1], pa.date32()), pa.array([1])),
        (pa.DictionaryArray.from_arrays([0], ["u"], ordered=True), pa.array(["v"])),
    ],
    ids=lambda part: str(getattr(part, "type", part)).partition("[")[0],
)
def test_types_that_have_none_in_common_are_refused_with_both_files(tmp_path, one, other):
    written(tmp_path, a={"x": one}, b={"x": one}, c={"x": other})
    with pytest.raises(ValueError, match=r"'x' must be of types .*a.parquet has .*c.parquet has .*; write one of them"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([2**53 + 1]), pa.array([1.5])),
        (pa.array([2**63], pa.uint64()), pa.array([-1])),
        (pa.array([10**15 + 1], pa.decimal128(22, 6)), pa.array([1.5])),
        (pa.array([2**62], pa.timestamp("us")), pa.array([1], pa.timestamp("ns"))),
    ],
    ids=lambda part: str(getattr(part, "type", part)).partition("[")[0],
)
def test_a_value_that_the_common_type_cannot_hold_is_refused(tmp_path, one, other):
    if pa.types.is_decimal(one.type):
        one = pa.array([pa.scalar("1234567890123456.123456").cast(one.type)])
    with pytest.raises(ValueError, match=r"a.parquet must hold 'x' as .*, as other files of .*; write the files anew"):
        read(written(tmp_path, a={"x": one}, b={"x": other}))


def test_columns_are_those_of_all_files_in_any_order(tmp_path):
    made = read(written(tmp_path, a={"x": [1], "y": ["u"]}, b={"y": ["v"], "z": [2.5], "x": [2]}, c={"z": [3.5]}))
    assert made.to_pydict() == {"x": [1, 2, None], "y": ["u", "v", None], "z": [None, 2.5, 3.5]}
    field = pa.field("x", pa.int8(), nullable=False)
    table = pa.Table.from_arrays([pa.array([1], pa.int8())], schema=pa.schema([field]))
    assert read(written(tmp_path / "strict", a=table, b={"y": [1]})).schema.field("x").nullable


@pytest.mark.parametrize(
    ("folders", "kind", "values"),
    [
        (["year=2020", "year=2021"], pa.int64(), [2020, 2021]),
        (["zip=00501", "zip=10001"], pa.string(), ["00501", "10001"]),
        (["day=2020-01-01", "day=2020-01-02"], pa.string(), ["2020-01-01", "2020-01-02"]),
        (["city=S%C3%A3o%20Paulo", "city=a%2Fb"], pa.string(), ["São Paulo", "a/b"]),
        (["kind=owl", "kind=__HIVE_DEFAULT_PARTITION__"], pa.string(), ["owl", None]),
        (["_id=1", "_id=2"], pa.int64(), [1, 2]),
        (["id=99999999999999999999", "id=1"], pa.string(), ["99999999999999999999", "1"]),
        (["a=1/b=x", "a=2/b=y"], pa.int64(), [1, 2]),
    ],
)
def test_folders_say_columns(tmp_path, folders, kind, values):
    for place, folder in enumerate(folders):
        written(tmp_path / folder, part={"x": [place, place]})
    made = read(tmp_path)
    name = folders[0].partition("=")[0]
    assert made.schema.field(name).type == kind
    pairs = {(x, value) for x, value in zip(made["x"].to_pylist(), made[name].to_pylist(), strict=True)}
    assert pairs == {(place, value) for place, value in enumerate(values)}
    assert made.schema.names[0] == "x"


def test_a_column_of_the_file_counts_more_than_that_of_its_folder(tmp_path):
    written(tmp_path / "year=2020", part={"x": [1], "year": [1999]})
    written(tmp_path / "year=2021", part={"x": [2]})
    assert read(tmp_path).to_pydict() == {"x": [1, 2], "year": [1999, 2021]}


def test_what_other_programs_leave_beside_a_table_is_no_part_of_it(tmp_path):
    written(tmp_path, a={"x": [1]}, _temporary__b={"x": [2]}, _delta_log__c={"y": [3]}, __d={"z": [4]})
    (tmp_path / "._a.parquet").write_bytes(b"\0\5\x16\7")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "._SUCCESS.crc").touch()
    (tmp_path / "e.parquet").mkdir()
    written(tmp_path / "e.parquet", part={"x": [5]})
    written(tmp_path, upper={"x": [6]})
    (tmp_path / "upper.parquet").rename(tmp_path / "upper.PARQUET")
    assert [path.relative_to(tmp_path).as_posix() for path in list_files(tmp_path)] == [
        "a.parquet",
        "e.parquet/part.parquet",
        "upper.PARQUET",
    ]
    assert sorted(read(tmp_path)["x"].to_pylist()) == [1, 5, 6]


def encoded(codes, categories, ordered=False):
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(categories), ordered=ordered)


def test_categories_are_those_of_all_files(tmp_path):
    made = read(written(tmp_path, a={"x": encoded([1, 0], ["low", "high"])}, b={"x": encoded([0, 1], ["mid", "high"])}))
    assert {tuple(chunk.dictionary.to_pylist()) for chunk in made["x"].chunks} == {("low", "high", "mid")}
    assert made["x"].to_pylist() == ["high", "low", "mid", "high"]


@pytest.mark.parametrize("first", [["low", "high"], ["low", "mid", "high"]])
def test_an_order_of_categories_that_holds_the_other_is_taken(tmp_path, first):
    other = ["low", "mid", "high"] if len(first) == 2 else ["mid", "high"]
    made = read(written(tmp_path, a={"x": encoded([1], first, True)}, b={"x": encoded([0], other, True)}))
    assert made["x"].chunk(0).dictionary.to_pylist() == ["low", "mid", "high"]
    assert made.schema.field("x").type.ordered
    assert made["x"].to_pylist() == [first[1], other[0]]


def test_orders_of_categories_that_contradict_each_other_are_refused(tmp_path):
    written(tmp_path, a={"x": encoded([0], ["low", "high"], True)}, b={"x": encoded([0], ["high", "low"], True)})
    with pytest.raises(ValueError, match=r"'x' must have its ordered categories in one order; .*a.parquet.*b.parquet"):
        read(tmp_path)


def test_more_categories_than_the_files_can_number(tmp_path):
    names = [[f"{part}{number}" for number in range(100)] for part in "abc"]
    files = {part: {"x": encoded(range(100), some)} for part, some in zip("abc", names, strict=True)}
    made = read(written(tmp_path, **files))
    assert made.schema.field("x").type.index_type == pa.int16()
    assert made["x"].to_pylist() == [name for some in names for name in some]


def test_what_pandas_notes_is_kept_for_the_columns_of_all_files(tmp_path):
    frame = pd.DataFrame({"x": [1, 2], "note": [None, None]}, index=pd.Index([5, 7], name="number"))
    frame.to_parquet(tmp_path / "a.parquet")
    frame.assign(note=["u", None], count=pd.array([1, None], dtype="Int16")).to_parquet(tmp_path / "b.parquet")
    made = pd.concat(ParquetTable(tmp_path).frames(1))
    assert made.index.name == "number"
    assert made.index.tolist() == [5, 7, 5, 7]
    assert made["count"].dtype == "Int16"
    assert made["note"].fillna("").tolist() == ["", "", "u", ""]


def test_one_file_is_read_as_it_is(tmp_path):
    field = pa.field("x", pa.int8(), nullable=False, metadata={"unit": "g"})
    table = pa.Table.from_arrays([pa.array([1, 2], pa.int8())], schema=pa.schema([field], {"origin": "here"}))
    written(tmp_path, a=table)
    path = tmp_path / "a.parquet"
    assert ParquetTable(path).schema.equals(pq.read_schema(path), check_metadata=True)
    assert read(path).equals(pq.read_table(path), check_metadata=True)


def test_rows_of_nothing_are_read(tmp_path):
    schema = pa.schema([("x", pa.int64()), ("k", pa.dictionary(pa.int8(), pa.string()))])
    with pq.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        writer.write_table(schema.empty_table())
    with pq.ParquetWriter(tmp_path / "b.parquet", schema) as writer:
        writer.write_table(schema.empty_table())
        writer.write_table(pa.table({"x": [1], "k": encoded([0], ["a"])}, schema=schema))
        writer.write_table(schema.empty_table())
    assert read(tmp_path / "a.parquet").num_rows == 0
    assert read(tmp_path).to_pydict() == {"x": [1], "k": ["a"]}


GOOD = json.loads(pa.Table.from_pandas(pd.DataFrame({"x": [1]})).schema.metadata[b"pandas"])


@pytest.mark.parametrize(
    "metadata",
    [
        {"columns": [{}], "index_columns": []},
        {"columns": [{"name": "x"}], "index_columns": [], "column_indexes": []},
        {**GOOD, "index_columns": ["gone"]},
        {**GOOD, "index_columns": [3]},
        {**GOOD, "columns": [{**GOOD["columns"][0], "numpy_type": "odd"}]},
        {**GOOD, "index_columns": [{"kind": "range", "start": 0, "stop": 10**30, "step": 1, "name": None}]},
        {},
        [],
        3,
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=lambda metadata: str(metadata)[:40],
)
def test_foreign_metadata_for_pandas_is_one_error_that_names_the_file(tmp_path, metadata):
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata)
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({"pandas": text}), tmp_path / "a.parquet")
    for path in (tmp_path / "a.parquet", tmp_path):
        for call in (read, user_tables.count_rows, Table.from_parquet):
            with pytest.raises(ValueError, match=r"a.parquet must be a Parquet file: .*; restore it, or write it anew"):
                call(path)


@pytest.mark.parametrize("length", [0, 1, 4, 8, 100, -1, -8])
def test_a_file_that_was_cut_is_named(tmp_path, length):
    written(tmp_path, a={"x": [1, 2]}, b={"x": [1, 2]})
    path = tmp_path / "b.parquet"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"b.parquet must be a Parquet file: "):
        read(tmp_path)


def test_a_damaged_file_is_one_error_or_is_read(tmp_path):
    pd.DataFrame({"x": [1, 2, 3], "k": ["u", "v", None]}).to_parquet(tmp_path / "whole.parquet")
    whole, draw = (tmp_path / "whole.parquet").read_bytes(), np.random.default_rng(0)
    path, said = tmp_path / "a.parquet", []
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[draw.integers(len(whole))] ^= 1 << draw.integers(8)
        path.write_bytes(damaged)
        try:
            list(ParquetTable(path).frames(2))
        except ValueError as error:
            said.append(str(error))
    assert len(said) > 50
    assert all(str(path) in text and len(text) < 400 for text in said)


def test_names_that_stand_twice(tmp_path):
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    assert ParquetTable(written(tmp_path / "one", a=twice) / "a.parquet").schema.names == ["x", "x"]
    with pytest.raises(ValueError, match=r"a.parquet must have columns of different names.* 'x' occurs twice"):
        read(written(tmp_path / "two", a=twice, b={"x": [1]}))
