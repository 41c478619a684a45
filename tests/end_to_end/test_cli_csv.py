"""CSV files of every dialect from the command line: trained on, imputed and translated, and otherwise left alone."""

import gzip
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import within

import polymodal as pm

KINDS = {"oak": 5.25, "elm": 8.1, "ash": 11.4}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(monkeypatch, capsys):
    return partial(within, monkeypatch, capsys)


@pytest.fixture
def worked(run):
    def command(*arguments):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        return done

    return command


def rows(number=45):
    """Kind, height and rings as texts; some heights and kinds are empty."""
    draw = np.random.default_rng(0)
    for row in range(number):
        kind = list(KINDS)[row % 3]
        height = f"{KINDS[kind] + draw.normal():.2f}"
        yield ["" if row % 7 == 3 else kind, "" if row % 5 == 4 else height, str(10 + row % 9)]


def text(separator=",", decimal=".", end="\n", behind="", blank="", quote="", header="kind,height,rings"):
    lines = [header.replace(",", separator + blank)]
    for kind, height, rings in rows():
        cells = [f"{quote}{kind}{quote}", height.replace(".", decimal), rings]
        lines.append((separator + blank).join(cells) + behind)
    return end.join(lines) + end


FILES = {
    "plain": (text(), "utf-8", ()),
    "semicolons": (text(";", ","), "utf-8", ("--separator ';' --decimal ,",)),
    "tabs": (text("\t", end="\r\n"), "utf-8", ("--separator tab",)),
    "commas behind": (text(behind=","), "utf-8", ("ends with a separator",)),
    "blanks": (text(blank=" "), "utf-8", ()),
    "quotes": (text(quote='"', end="\r\n"), "utf-8", ()),
    "mark": (text(), "utf-8-sig", ()),
    "utf-16": (text(";").replace("kind", "\u00e4rt"), "utf-16", ("--separator ';' --encoding utf-16",)),
    "no last line break": (text()[:-1], "utf-8", ()),
    "empty lines": (text().replace("oak", "\noak"), "utf-8", ()),
}


def filled(before, after, separator):
    """Cells before and after, of which only empty ones may differ."""
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        one, other = old.split(separator), new.split(separator)
        assert len(one) == len(other)
        for was, is_now in zip(one, other, strict=True):
            if was.strip('" \r'):
                assert was == is_now
            elif was != is_now:
                yield was, is_now


@pytest.mark.parametrize("name", FILES)
def test_what_is_imputed_is_all_that_changes(worked, name):
    content, encoding, said = FILES[name]
    Path("trees.csv").write_bytes(content.encode(encoding))
    trained = worked("train", "trees.csv", "--epochs", 1, "--folder", "run")
    assert all(sentence in trained.stderr for sentence in said)
    assert trained.stderr.count("as its first lines suggest") == any("--" in sentence for sentence in said)
    done = worked("impute", "run", "trees.csv", "--out", "out.csv", "--batch-size", 16)
    assert "Imputed 15 cells in 45 rows" in done.stdout
    assert all(sentence in done.stderr for sentence in said)
    after = Path("out.csv").read_bytes().decode(encoding)
    if encoding == "utf-8-sig":
        assert Path("out.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    separator = next(mark for mark in ";\t," if mark in content.splitlines()[0])
    changed = [*filled(content.split("\n"), after.split("\n"), separator)]
    assert len(changed) == 15
    numbers = [new for old, new in changed if new.strip('" ') not in KINDS]
    assert len(numbers) == 9
    assert all(("," in number) == (name == "semicolons") for number in numbers)
    assert all(new.startswith(" ") for old, new in changed if old.startswith(" "))
    assert all(new.startswith('"') for old, new in changed if old.startswith('"'))


def test_what_was_said_at_training_holds_for_other_files(worked, run):
    content = text(";", ",", header="").replace(";ash", ";elm").replace("oak", "NA").lstrip("\n")
    Path("trees.csv").write_text(content)
    options = ["--columns", "kind,height,rings", "--present", "kind=NA", "--missing", "12"]
    worked("train", "trees.csv", "--epochs", 1, "--folder", "run", *options)
    arguments = json.loads(Path("run/experiment.json").read_text())["data"]["arguments"]
    expected = {"columns": ["kind", "height", "rings"], "present": ["kind=NA"], "missing": ["12"]}
    expected |= {"separator": ";", "decimal": ","}
    assert {name: arguments.get(name) for name in expected} == expected
    assert "encoding" not in arguments
    Path("new.csv").write_text("NA;;12\nelm;;10\n;7,25;11\n")
    done = worked("impute", "run", "new.csv", "--out", "out.csv")
    assert "Imputed 4 cells in 3 rows" in done.stdout
    first, second, third = Path("out.csv").read_text().splitlines()
    assert first.startswith("NA;")
    assert not first.endswith(";12")
    assert first.split(";")[1].count(",") == second.split(";")[1].count(",") == 1
    assert third.split(";")[1:] == ["7,25", "11"]
    worked("translate", "run", "new.csv", "--given", "kind", "--rows", "0:2", "--to", "height", "--out", "made")
    worked("evaluate", "run")
    again = worked("impute", "run", "new.csv", "--out", "again.csv", "--missing", "11", "--present", "NA")
    assert "Imputed 4 cells in 3 rows" in again.stdout
    assert Path("again.csv").read_text().splitlines()[0].endswith(";12")
    Path("named.csv").write_text("kind,height\nelm,\noak,5.25\n")
    worked("impute", "run", "named.csv", "--out", "named-out.csv", "--header")
    assert Path("named-out.csv").read_text().splitlines()[0] == "kind,height"


def test_numbers_are_imputed_with_their_marks_of_thousands(worked):
    lines = [f'{kind},"{1 + row},{100 + 37 * row}"' for row in range(12) for kind in "ab"]
    Path("pay.csv").write_text("\n".join(["kind,pay", *lines, "a,", ""]))
    worked("train", "pay.csv", "--thousands", ",", "--epochs", 1, "--folder", "runs/pay")
    worked("impute", "runs/pay", "pay.csv", "--out", "out.csv")  # not said again
    before, after = (Path(name).read_text().splitlines() for name in ("pay.csv", "out.csv"))
    assert after[:-1] == before[:-1]
    assert re.fullmatch(r'a,"\d{1,2},\d{3}"', after[-1])


def test_how_sure_it_is_has_the_decimal_mark_of_the_file(worked):
    Path("trees.csv").write_text(text(";", ","))
    worked("train", "trees.csv", "--model", "mac-vae", "--epochs", 1, "--folder", "runs/trees")
    worked("impute", "runs/trees", "trees.csv", "--out", "out.csv", "--sure", "--marked")
    made = pd.read_csv("out.csv", sep=";", decimal=",")
    assert made["height_sure"].dtype == made["kind_sure"].dtype == float
    assert made["height_sure"].notna().any()


def test_an_index_is_not_learned_and_stays(worked):
    frame = pd.DataFrame([*rows()], columns=["kind", "height", "rings"]).replace("", None)
    frame.to_csv("trees.csv")
    done = worked("train", "trees.csv", "--epochs", 1, "--folder", "run")
    assert "the first column has no name and counts the rows" in done.stderr
    assert "Unnamed" not in pm.load("run/model").schema
    worked("impute", "run", "trees.csv", "--out", "out.csv")
    assert Path("out.csv").read_text().splitlines()[0] == ",kind,height,rings"
    assert pd.read_csv("out.csv", index_col=0).index.tolist() == list(range(45))
    table = pm.Table.from_csv("trees.csv", say=None)
    assert list(table.schema) == ["kind", "height", "rings"]
    kept = worked("train", "trees.csv", "--epochs", 1, "--folder", "kept", "--modality", "Unnamed: 0=number")
    assert "counts the rows" not in kept.stderr
    assert "Unnamed: 0" in pm.load("kept/model").schema


def test_a_dry_run_says_what_was_found(worked):
    Path("trees.csv").write_text(text(";", ",").replace("elm", "NA"))
    done = worked("train", "trees.csv", "--dry-run")
    data = yaml.safe_load(done.stdout)["data"]
    assert (data["separator"], data["decimal"]) == (";", ",")
    assert "trees.csv is read by --separator ';' --decimal ," in done.stderr
    assert "contain 'NA' and are read as missing" in done.stderr
    assert "label, 2 classes" in done.stderr
    Path("settings.yaml").write_text(done.stdout)
    worked("train", "--config", "settings.yaml", "--epochs", 1, "--folder", "run")


@pytest.mark.parametrize("name", ["trees.csv.gz", "trees.tsv", "trees.CSV", "trees.tsv.bz2"])
def test_other_endings(worked, name):
    content = text("\t" if ".tsv" in name else ",")
    pack = {"gz": gzip.compress, "bz2": __import__("bz2").compress}.get(name.rpartition(".")[2], bytes)
    Path(name).write_bytes(pack(content.encode()))
    worked("train", name, "--epochs", 1, "--folder", "run")
    done = worked("impute", "run", name)
    out = Path("run") / name.lower().replace("trees", "trees-filled")
    assert str(out) in done.stdout
    if not name.endswith("bz2"):
        made = gzip.decompress(out.read_bytes()) if name.endswith("gz") else out.read_bytes()
        assert made.decode().splitlines()[0] == content.splitlines()[0]


def table():
    frame = pd.DataFrame([*rows()], columns=["kind", "height", "rings"]).replace("", None)
    return frame.astype({"height": float, "rings": int})


def test_feather_is_read_and_written(worked):
    frame = table().assign(kind=table()["kind"].astype("category"))
    frame.to_feather("trees.feather")
    worked("train", "trees.feather", "--epochs", 1, "--folder", "run")
    worked("impute", "run", "trees.feather", "--out", "out.feather", "--batch-size", 16, "--marked")
    made = pd.read_feather("out.feather")
    assert list(made) == [*frame, "filled"]
    assert made["kind"].dtype == frame["kind"].dtype
    assert made.notna().all(axis=None)
    there = frame.notna()
    assert (made[list(frame)].where(there) == frame).where(there, True).all(axis=None)
    worked("translate", "run", "trees.feather", "--to", "height", "--out", "made.parquet")


@pytest.mark.parametrize("name", ["trees.jsonl", "trees.ndjson"])
def test_lines_of_json_are_read_and_not_written(worked, run, name):
    table().assign(code="007").to_json(name, orient="records", lines=True)
    trained = worked("train", name, "--epochs", 1, "--folder", "run")
    assert "'007'" in trained.stdout
    worked("translate", "run", name, "--to", "height", "--out", "made.parquet")
    assert len(pd.read_parquet("made.parquet")) > 30
    done = run("impute", "run", name)
    assert done.returncode == 2
    assert f"impute writes CSV, Parquet and Feather files, and cannot write the format of {name}" in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trees.xls", "trees.xls is an old Excel file, which is not read; .csv, .tsv,"),
        ("trees.pkl", "trees.pkl is a pickle, which can run code, which is not read"),
        ("trees.gz", "trees.gz is a compressed file of an unknown kind, which is not read"),
        ("trees.rows", "trees.rows is a file whose name ends in .rows, which is not read"),
        ("trees", "trees is a file without an ending, which is not read"),
        ("trees.feather", "trees.feather must be a Feather file"),
        ("trees.sav", "trees.sav is a file of SPSS, which is not read"),
        ("trees.csv.gz", "trees.csv.gz must be a complete compressed file"),
    ],
)
@pytest.mark.parametrize("command", ["train", "impute"])
def test_other_kinds_are_refused_by_their_kind(worked, run, name, said, command):
    Path("few.csv").write_text(text())
    if command == "impute":
        worked("train", "few.csv", "--epochs", 1, "--folder", "run", "--latent-dim", 2)
    Path(name).write_bytes(b"no, table\n")
    done = run(command, *(["run"] if command == "impute" else []), name)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_excel_needs_a_library_that_is_named(run):
    Path("trees.xlsx").write_bytes(b"no table")
    done = run("train", "trees.xlsx")
    assert done.returncode == 2
    assert "trees.xlsx must be an Excel file" in done.stderr


def test_a_kind_that_is_not_read_need_not_be_there(run):
    done = run("train", "gone.xls")
    assert "gone.xls is an old Excel file" in done.stderr
    assert "unknown data set 'trees'; known are" in run("train", "trees").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "wide.csv"], "wide.csv, line 3: there must be 2 cells"),
        (["train", "latin.csv"], "write --encoding cp1252"),
        (["train", "trees.csv", "--separator", "::"], "--separator must be a single character"),
        (["train", "trees.csv", "--present", "oak"], "--present must be a text that is read as missing"),
        (["train", "polydigits", "--separator", ";"], "--separator is for a table's file"),
        (["train", "polydigits", "--no-header"], "--no-header is for a table's file"),
        (["train", "trees.csv", "--encoding", "utf-9"], "--encoding must be the name of a text encoding"),
    ],
)
def test_a_mistake_is_one_line(run, arguments, said):
    Path("trees.csv").write_text(text())
    Path("wide.csv").write_text("kind,height\noak,5\nelm,8,\n" + "oak,4\n" * 20)
    Path("latin.csv").write_bytes(text().replace("oak", "chêne").encode("latin-1"))
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not Path("runs").exists()
