"""The data set "table": how its rows are split and read, in pieces of any size."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

import polymodal as pm
from polymodal.datasets import storage, table_building, user_tables
from polymodal.table import frames

ROWS = 300


@pytest.fixture(autouse=True)
def cached(monkeypatch, tmp_path):
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def birds():
    """A number, a class, a text, and a vector of two columns, with holes; every tenth row holds nothing."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({
        "id": np.arange(ROWS) + 0.5,
        "kind": draw.choice(["owl", "emu", "hen"], ROWS),
        "note": draw.choice(["sings at night", "runs fast", "lays an egg"], ROWS),
        "x1": draw.normal(size=ROWS),
        "x2": draw.normal(size=ROWS),
    })  # fmt: skip
    holes = draw.random(frame.shape) < 0.2
    holes[::10] = True
    return frame.mask(holes)


load = partial(pm.datasets.load, "table", modality={"id": "number", "note": "text:4"}, group=["x"])


def same(one, other):
    assert one.schema == other.schema
    for split in storage.SPLITS:
        left, right = getattr(one, split), getattr(other, split)
        assert torch.equal(left.observed, right.observed)
        for name, here in zip(left.schema, left.observed.unbind(1), strict=True):
            np.testing.assert_array_equal(left.values[name][here], right.values[name][here])  # NaN equals NaN


def test_rows_are_the_same_in_pieces_of_any_size(birds, tmp_path, monkeypatch, capsys):
    birds.to_parquet(tmp_path / "birds.parquet")
    whole = load(path=str(tmp_path / "birds.parquet"))
    said = capsys.readouterr().err
    for size in (7, 64):
        monkeypatch.setattr(frames, "ROWS", size)
        monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / f"cache{size}"))
        same(load(path=str(tmp_path / "birds.parquet")), whole)
        assert said in capsys.readouterr().err
    assert "train rows: 24 of 240 rows have no observed value and are left out" in said
    assert len(whole.train) + len(whole.validation) + len(whole.test) == ROWS - ROWS // 10


def test_a_file_of_either_kind_and_a_folder_give_the_same(birds, tmp_path):
    birds.to_csv(tmp_path / "birds.csv", index=False)
    birds.to_parquet(tmp_path / "birds.parquet")
    (tmp_path / "folder").mkdir()
    for number, start in enumerate((0, 100, 190)):
        part = birds[start : (100, 190, ROWS)[number]]
        part.to_parquet(tmp_path / "folder" / f"{number}.parquet", row_group_size=40)
    whole = load(path=str(tmp_path / "birds.csv"))
    same(load(path=str(tmp_path / "birds.parquet")), whole)
    same(load(path=str(tmp_path / "folder")), whole)


def test_splits_may_have_other_shares(birds, tmp_path):
    """Without test rows, all rows except those for validation are used for training."""
    birds.to_parquet(tmp_path / "birds.parquet")
    path = str(tmp_path / "birds.parquet")
    usual, alone, shares = load(path=path), load(path=path, test=0.0), load(path=path, validation=0.2, test=0.3)
    assert len(alone.test) == 0
    assert len(alone.train) == len(usual.train) + len(usual.test)
    np.testing.assert_array_equal(alone.validation.observed, usual.validation.observed)
    assert alone.train.source["arguments"]["test"] == 0
    assert {"test", "validation"}.isdisjoint(usual.train.source["arguments"])
    lengths = [len(split) for split in (shares.train, shares.validation, shares.test)]
    assert sum(lengths) == len(usual.train) + len(usual.validation) + len(usual.test)
    parts = table_building._split(ROWS, 0.1, 0, 0.2, 0.3)
    assert [len(parts[split]) for split in ("validation", "test")] == [round(0.2 * ROWS), round(0.3 * ROWS)]
    assert sorted(np.concatenate([*parts.values()])) == list(range(ROWS))
    old, order = table_building._split(ROWS, 0.1, 0), np.random.default_rng(0).permutation(ROWS)
    few = round(0.1 * ROWS)
    for split, rows in {"validation": order[:few], "test": order[few : 2 * few], "train": order[2 * few :]}.items():
        np.testing.assert_array_equal(old[split], np.sort(rows))


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"test": -0.1}, r"test must be in \[0, 1\).*got -0.1"),
        ({"validation": 0.0}, r"validation must be in \(0, 1\).*got 0.0"),
        ({"validation": 0.5, "test": 0.5}, "validation and test must sum to less than 1; got 0.5 and 0.5"),
        ({"validation": 0.5, "test": 0.499}, "at least one of 300 rows for training; got 0.5 and 0.499"),
    ],
)
def test_shares_must_leave_rows_for_training(birds, tmp_path, shares, said):
    birds.to_parquet(tmp_path / "birds.parquet")
    with pytest.raises(ValueError, match=said):
        load(path=str(tmp_path / "birds.parquet"), **shares)


def test_files_of_a_folder_may_lack_columns(birds, tmp_path):
    (tmp_path / "folder").mkdir()
    birds[:150].to_parquet(tmp_path / "folder" / "0.parquet")
    birds[150:].drop(columns="note").to_parquet(tmp_path / "folder" / "1.parquet")
    without = birds.assign(note=birds["note"].where(birds.index < 150))
    without.to_parquet(tmp_path / "without.parquet")
    same(load(path=str(tmp_path / "folder")), load(path=str(tmp_path / "without.parquet")))


def test_schema_and_units_are_of_the_first_training_rows(birds, tmp_path, monkeypatch, capsys):
    birds.loc[150:, "kind"] = "dodo"
    birds.loc[150:, "id"] = 1e6
    birds.to_parquet(tmp_path / "birds.parquet")
    monkeypatch.setattr(frames, "ROWS", 25)
    monkeypatch.setattr(table_building, "FITTED", 120)  # of which the piece that goes beyond it is the last
    data = load(path=str(tmp_path / "birds.parquet"))
    assert data.schema["kind"].names == ("emu", "hen", "owl")
    rows = table_building._split(ROWS, 0.1, 0)["train"]
    first = birds["id"][rows[rows < 125]]
    assert data.schema["id"].center == pytest.approx((first.mean(),))
    assert data.schema["id"].scale == pytest.approx((first.std(ddof=0),))
    strange = (birds["kind"][rows] == "dodo").sum()
    assert f"train rows: 'kind': 1 class that is not in the schema occurs {strange} times," in capsys.readouterr().err


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_a_cell_that_cannot_be_read_is_named_by_its_row(birds, tmp_path, end, monkeypatch):
    birds["id"] = birds["id"].astype(object)
    row = table_building._split(ROWS, 0.1, 0)["test"][20]
    birds.loc[row, "id"] = "many"
    birds["id"] = birds["id"].astype(str).where(birds["id"].notna())
    path = tmp_path / f"birds.{end}"
    birds.to_csv(path, index=False) if end == "csv" else birds.to_parquet(path)
    monkeypatch.setattr(frames, "ROWS", 16)
    with pytest.raises(ValueError, match=f"id, row {row}: the value must be a number; got 'many'"):
        load(path=str(path))
    assert not [*(tmp_path / "cache" / "datasets").glob("table-*")]


def test_numbers_beyond_all_units_are_refused(birds, tmp_path):
    birds.loc[table_building._split(ROWS, 0.1, 0)["test"], "id"] = 1e300
    birds.to_parquet(tmp_path / "birds.parquet")
    with pytest.raises(ValueError, match=r"id\b.* numbers must be"):
        load(path=str(tmp_path / "birds.parquet"))


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_what_is_no_table_is_refused(birds, tmp_path, end):
    path = tmp_path / f"birds.{end}"
    write = (lambda frame: frame.to_csv(path, index=False)) if end == "csv" else (lambda frame: frame.to_parquet(path))
    for rows in (0, 9):
        write(birds[:rows])
        with pytest.raises(ValueError, match=f"a table must have at least 10 rows.*got {rows}"):
            load(path=str(path))
    birds.loc[table_building._split(ROWS, 0.1, 0)["validation"]] = None
    write(birds)
    with pytest.raises(ValueError, match="none of the validation rows"):
        load(path=str(path))


def test_parquet_is_told_from_what_is_called_so(tmp_path):
    (tmp_path / "birds.parquet").write_text("kind,id\n")
    with pytest.raises(ValueError, match=r"birds.parquet must be a Parquet file: .*; restore it"):
        load(path=str(tmp_path / "birds.parquet"))
    with pytest.raises(ValueError, match=r"birds.parquet must be a Parquet file: .*; restore it"):
        user_tables.count_rows(str(tmp_path / "birds.parquet"))


def test_only_text_has_names_of_columns(birds, tmp_path):
    birds.to_parquet(tmp_path / "birds.parquet")
    with pytest.raises(ValueError, match=r"got .*birds.parquet; leave it out"):
        load(path=str(tmp_path / "birds.parquet"), missing=["?"])


def test_no_piece_is_read_behind_the_last_row_that_is_picked():
    frame = pd.DataFrame({"x": np.arange(20.0)})

    def pieces():
        yield from (frame[:5], frame[5:10], frame[10:15])
        raise AssertionError("it is not asked for")

    assert user_tables.select_rows(pieces(), [12, 3, 0])["x"].tolist() == [12.0, 3.0, 0.0]


def test_folders_say_columns_and_are_part_of_what_is_kept(tmp_path):
    frame = pd.DataFrame({"x": np.arange(60) / 7, "kind": ["owl", "emu"] * 30})
    for place, place_name in enumerate(("Bern", "Rome", "Oslo")):
        (tmp_path / "birds" / f"city={place_name}").mkdir(parents=True)
        part = frame[place * 20 : place * 20 + 20].drop(columns=["kind"] if place == 1 else [])
        part.to_parquet(tmp_path / "birds" / f"city={place_name}" / "part.parquet")
    made = pm.datasets.load("table", path=str(tmp_path / "birds")).train
    assert made.schema["city"].names == ("Bern", "Oslo", "Rome")
    assert 0 < int(made.observed[:, list(made.schema).index("kind")].sum()) < len(made)
    (tmp_path / "birds" / "city=Bern").rename(tmp_path / "birds" / "city=Wien")
    assert pm.datasets.load("table", path=str(tmp_path / "birds")).train.schema["city"].names == (
        "Oslo",
        "Rome",
        "Wien",
    )
