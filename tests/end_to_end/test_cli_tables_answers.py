"""`polymodal embed` and `polymodal translate` on a table's file."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import within

import polymodal as pm
from polymodal.cli import input_rows

ROWS = 60


@pytest.fixture(scope="module")
def birds():
    """Two classes, a number and a vector of two columns; row 3 holds nothing, and row 5 no class."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({
        "kind": draw.choice(["owl", "emu"], ROWS),
        "grams": draw.normal(900.0, 100.0, ROWS).round(1),
        "x1": draw.normal(size=ROWS),
        "x2": draw.normal(size=ROWS),
    })  # fmt: skip
    frame.loc[3] = None
    frame.loc[5, "kind"] = None
    return frame


@pytest.fixture(scope="module")
def home(birds, tmp_path_factory):
    """A folder with the table in three forms, and a run on it."""
    home = tmp_path_factory.mktemp("home")
    birds.to_csv(home / "birds.csv", index=False)
    birds.to_parquet(home / "birds.parquet")
    (home / "folder").mkdir()
    birds[:7].to_parquet(home / "folder" / "0.parquet")
    birds[7:].to_parquet(home / "folder" / "1.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYMODAL_CACHE", str(home / "cache"))
        data = pm.datasets.load("table", path=str(home / "birds.csv"), group=["x"])
        model = pm.build("mac-wae", data.schema.replace(hidden=(8,)), latent_dim=3, hidden=(8,))
        pm.fit(model, data.train, data.validation, epochs=1, folder=home / "run", progress=False)
    return home


@pytest.fixture
def polymodal(monkeypatch, capsys, home):
    monkeypatch.setenv("POLYMODAL_CACHE", str(home / "cache"))
    monkeypatch.chdir(home)
    return lambda *arguments: within(monkeypatch, capsys, *arguments)


def expected(home, birds, given=None):
    """The model, and those rows that have something of what is given."""
    model = pm.load(home / "run" / "model")
    numbers = birds.index[birds[given or [*birds]].notna().any(axis=1)]
    return model, numbers, pm.Table.from_frame(birds.loc[numbers], model.schema, say=None)


@pytest.mark.parametrize("file", ["birds.csv", "birds.parquet", "folder"])
def test_codes_of_a_file(polymodal, home, birds, file, tmp_path, monkeypatch):
    monkeypatch.setattr(input_rows, "READ", 10)
    out = tmp_path / "codes.parquet"
    done = polymodal("embed", "run", file, "--out", out, "--batch-size", 5)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Codes of 59 rows: {out}; 1 left out, in which no given modality is observed\n"
    model, numbers, table = expected(home, birds)
    frame = pd.read_parquet(out)
    assert frame.columns.tolist() == ["row", "z0", "z1", "z2", "kind"]
    assert frame["row"].tolist() == numbers.tolist()
    assert frame[["z0", "z1", "z2"]].to_numpy() == pytest.approx(model.embed(table[:]).numpy(), abs=1e-5)
    assert frame["kind"].where(frame["kind"].notna(), None).tolist() == birds["kind"][numbers].tolist()


@pytest.mark.parametrize("file", ["birds.csv", "birds.parquet", "folder"])
def test_translations_of_a_file(polymodal, home, birds, file, tmp_path, monkeypatch):
    monkeypatch.setattr(input_rows, "READ", 10)
    out = tmp_path / "made.parquet"
    done = polymodal("translate", "run", file, "--given", "kind", "--to", "grams,x", "--out", out, "--batch-size", 4)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Predictions for 58 rows: {out}; 2 left out, in which no given modality is observed\n"
    model, numbers, table = expected(home, birds, ["kind"])
    made = model.schema.write(model.translate(table[:], ["kind"], ["grams", "x"]))
    frame = pd.read_parquet(out)
    assert frame.columns.tolist() == ["row", "grams", "x"]
    assert frame["row"].tolist() == numbers.tolist()
    assert frame["grams"].tolist() == pytest.approx([float(value) for value in made["grams"]], rel=1e-5)
    assert np.stack(frame["x"].tolist()) == pytest.approx(np.stack(made["x"]), abs=1e-5)  # a list of two


@pytest.mark.parametrize("file", ["birds.csv", "birds.parquet", "folder"])
def test_translations_of_rows_to_look_at(polymodal, home, birds, file, tmp_path, monkeypatch):
    monkeypatch.setattr(input_rows, "READ", 6)
    out = tmp_path / "made"
    done = polymodal("translate", "run", file, "--given", "kind", "--to", "grams", "--rows", "9,0:2", "--out", out)
    assert done.returncode == 0, done.stderr
    about = json.loads((out / "made.json").read_text())
    assert (about["file"], about["rows"]) == (file, [9, 0, 1])
    frame = pd.read_csv(out / "table.csv")
    assert frame["row"].tolist() == [9, 0, 1]
    assert frame["grams_truth"].tolist() == pytest.approx(birds["grams"][[9, 0, 1]].tolist(), rel=1e-5)


def test_what_is_not_taken_as_it_stands_is_told(polymodal, birds, tmp_path):
    birds.drop(columns="x2").replace({"owl": "dodo"}).to_csv(tmp_path / "odd.csv", index=False)
    done = polymodal("embed", "run", tmp_path / "odd.csv", "--out", tmp_path / "codes.parquet")
    assert done.returncode == 0
    assert "'x' is not among the columns and counts as missing\n" in done.stderr
    assert "'kind': " in done.stderr
    assert "'dodo'" in done.stderr


def test_a_file_may_have_no_names_and_holes_of_its_own(polymodal, birds, tmp_path):
    birds.to_csv(tmp_path / "bare.csv", index=False, header=False, na_rep="?")
    out = tmp_path / "codes.parquet"
    named = ("--columns", "kind,grams,x1,x2", "--missing", "?")
    assert polymodal("embed", "run", tmp_path / "bare.csv", "--out", out, *named).stdout.startswith("Codes of 59 rows")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["embed", "run", "birds.csv", "--split", "train"],
            "--split selects rows of the run's data set",
        ),
        (
            ["translate", "run", "birds.csv", "--rows", "3"],
            "--rows selects rows of the run's data set",
        ),
        (["embed", "run", "--missing", "?"], "--missing is for a table's file, and no file is given"),
        (["embed", "run", "birds.parquet", "--missing", "?"], "missing applies only to CSV files; got birds.parquet"),
        (["embed", "run", "bird.csv"], "bird.csv must be a file, and does not exist"),
        (["embed", "run", "bird.parquet"], "bird.parquet must be a Parquet file, or a folder of them"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(polymodal, tmp_path, arguments, said):
    done = polymodal(*arguments, "--out", tmp_path / "out.parquet")
    assert done.returncode == 2
    assert done.stderr.startswith(f"polymodal: {said}")
    assert done.stderr.count("\n") == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("command", ["embed", "translate"])
def test_the_table_stays_as_it_is(polymodal, home, command):
    before = (home / "birds.parquet").read_bytes()
    for file, out in (
        ("birds.parquet", "birds.parquet"),
        ("folder", "folder/0.parquet"),
        ("folder", "folder/2.parquet"),
    ):
        done = polymodal(command, "run", file, "--out", out)
        assert done.returncode == 2
        assert done.stderr.startswith(f"polymodal: --out must be another path than {file}, and not inside it")
    assert (home / "birds.parquet").read_bytes() == before
    assert len([*(home / "folder").iterdir()]) == 2


def test_a_row_that_has_nothing_is_named(polymodal, tmp_path):
    done = polymodal("translate", "run", "birds.csv", "--given", "kind", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "row 3 observes nothing, and given are kind; leave it out of --rows" in done.stderr
