"""A table that has changed since a model was trained on it, and runs whose files somebody has edited."""

import functools
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from commands import within
from typer.testing import CliRunner

import polymodal as pm
from polymodal.cli.app import app
from polymodal.datasets import storage
from polymodal.evaluation import BASELINES

FRAME = pd.DataFrame(
    {
        "kind": ["oak", "elm", "ash"] * 40,
        "height": np.tile([5.0, 50.0, 500.0], 40) + np.arange(120) / 100,
        "note": ["a tall old tree by a lake", "a small tree on the hill", "one ash that nobody has seen"] * 40,
    }
)
RENAMED = FRAME.replace({"kind": {"oak": "abies"}})
CHANGES = {
    "a class renamed": RENAMED,
    "classes exchanged": FRAME.assign(kind=FRAME["kind"].map({"oak": "ash", "ash": "oak", "elm": "elm"})),
    "another unit": FRAME.assign(height=FRAME["height"] / 1000),
    "further rows": pd.concat([FRAME, FRAME]),
    "rows in another order": FRAME[::-1],
    "fewer rows": FRAME[:60],
    "a column gone": FRAME.drop(columns="height"),
    "other words": FRAME.replace({"note": {"a small tree on the hill": "a little tree on the mountain"}}),
    "another column": FRAME.assign(girth=np.arange(120) / 7),
}
ASKED = {
    "evaluate": ["evaluate", "RUN"],
    "evaluate train": ["evaluate", "RUN", "--split", "train", "--tasks", "probe"],
    "translate": ["translate", "RUN", "--given", "note", "--to", "kind"],
    "translate into a file": ["translate", "RUN", "--to", "kind", "--out", "made.parquet"],
    "embed": ["embed", "RUN", "--out", "codes.parquet"],
    "report": ["report", "RUN"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A table, and a run on it; everything of a cache of its own."""
    place = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYMODAL_CACHE", str(place / "cache"))
        FRAME.to_csv(place / "trees.csv", index=False)
        options = ["--epochs", "60", "--folder", str(place / "run"), "--modality", "note=text:6"]
        options += ["--set", "layers=1", "--set", "width=16", "--set", "feedforward=16"]
        done = CliRunner().invoke(app, ["train", str(place / "trees.csv"), *options])
        assert done.exit_code == 0, done.output
        assert CliRunner().invoke(app, ["evaluate", str(place / "run")]).exit_code == 0
    return place


@pytest.fixture
def command(place, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("POLYMODAL_CACHE", str(place / "cache"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "run", tmp_path / "run")
    FRAME.to_csv(place / "trees.csv", index=False)
    return functools.partial(within, monkeypatch, capsys)


def asked(name):
    return ["run" if part == "RUN" else part for part in ASKED[name]]


def accuracy(path, task="many-to-one"):
    scores = pd.read_csv(path, keep_default_na=False)
    return scores[(scores["task"] == task) & (scores["modality"] == "kind")]["value"].astype(float).mean()


def snapshot(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_keeps_what_its_table_held(place):
    files = json.loads((place / "run" / "experiment.json").read_text())["data"]["files"]
    assert files["bytes"] == (place / "trees.csv").stat().st_size
    assert len(files["digest"]) == 32
    assert accuracy(place / "run" / "scores.csv") > 90


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("change", ["a class renamed", "further rows", "a column gone"])
def test_a_changed_table_is_refused_before_anything_is_written(command, place, tmp_path, name, change):
    CHANGES[change].to_csv(place / "trees.csv", index=False)
    before = snapshot(tmp_path)
    done = command(*asked(name))
    assert done.returncode == 2
    assert "trees.csv has changed since run was trained" in done.stderr
    assert done.stderr.rstrip().endswith("restore it, or use it nevertheless with --on-changed warn")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_table_can_be_read_with_the_models_schema(command, place, tmp_path, change):
    CHANGES[change].to_csv(place / "trees.csv", index=False)
    for _ in range(2):
        done = command("evaluate", "run", "--on-changed", "warn")
        assert done.returncode == 0, done.stderr
        assert "trees.csv has changed since run was trained" in done.stderr
        said = {"a class renamed": "'abies'", "a column gone": "'height' is ", "other words": "'little'"}
        assert said.get(change, "") in done.stderr
    scores = pd.read_csv(tmp_path / "run" / "scores.csv", keep_default_na=False)
    assert scores["note"].str.contains("the table has changed since training").all()
    expected = {"classes exchanged": (0, 60), "another unit": (0, 101), "other words": (50, 101)}
    low, high = expected.get(change, (90, 101))
    assert low <= accuracy(tmp_path / "run" / "scores.csv") < high
    assert command("translate", "run", "--on-changed", "warn", "--given", "note", "--rows", "0:4").returncode == 0
    table = pd.read_csv(tmp_path / "run" / "translations" / "table.csv", keep_default_na=False)
    truth = {*CHANGES[change]["kind"]} & {"oak", "elm", "ash"}
    assert {*table["kind_truth"]} <= truth | {""}


@pytest.mark.parametrize("name", ASKED)
def test_a_table_that_is_as_it_was_is_asked_about_without_a_word(command, place, tmp_path, name):
    content = (place / "trees.csv").read_bytes()
    (place / "trees.csv").unlink()
    (place / "trees.csv").write_bytes(content)  # another file, of the same bytes
    done = command(*asked(name))
    assert done.returncode == 0, done.stderr
    assert "changed" not in done.stderr
    assert "changed" not in (tmp_path / "run" / "scores.csv").read_text()


def test_scores_of_a_table_as_it_was_are_those_of_the_data_set(command, place, tmp_path):
    model = pm.load(tmp_path / "run" / "model")
    table = pm.datasets.load("table", path=str(place / "trees.csv"), modality={"note": "text:6"}).test
    ours = pm.evaluate(model, table)
    theirs = pd.read_csv(tmp_path / "run" / "scores.csv", keep_default_na=False)
    assert [*theirs] == [*ours, *BASELINES]
    pd.testing.assert_frame_equal(ours, theirs[[*ours]], rtol=1e-6)


def edited(run, change):
    path = run / "experiment.json"
    document = json.loads(path.read_text())
    change(document["data"])
    path.write_text(json.dumps(document))


def test_a_run_of_an_earlier_version_is_evaluated_as_before(command, place, tmp_path):
    def earlier(data):
        del data["files"]
        known = storage.folder("table", data["arguments"], [place / "trees.csv"])
        data["fingerprint"] = storage.fingerprint(known, "train")

    edited(tmp_path / "run", earlier)
    done = command("evaluate", "run")
    assert done.returncode == 0, done.stderr
    assert "change" not in done.stderr  # the fingerprint of its rows says that they are the same
    edited(tmp_path / "run", lambda data: data.update(fingerprint="of an earlier version"))
    done = command("evaluate", "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("does not record the contents of") == 1
    assert accuracy(tmp_path / "run" / "scores.csv") > 90
    RENAMED.to_csv(place / "trees.csv", index=False)
    done = command("evaluate", "run")
    assert done.returncode == 0, done.stderr
    assert "does not record the contents of" in done.stderr
    assert "'abies'" in done.stderr
    assert accuracy(tmp_path / "run" / "scores.csv") > 90


def test_a_schema_that_is_inferred_otherwise_today_is_the_models(command, place, tmp_path):
    edited(tmp_path / "run", lambda data: data["arguments"].update(modality={"note": "text:6", "kind": "text:3"}))
    done = command("evaluate", "run")
    assert done.returncode == 0, done.stderr
    assert accuracy(tmp_path / "run" / "scores.csv") > 90


def test_a_run_does_not_go_on_with_a_changed_table(command, place):
    RENAMED.to_csv(place / "trees.csv", index=False)
    done = command("train", "--resume", "run", "--epochs", "61")
    assert done.returncode == 2
    assert "a different experiment" in done.stderr


@pytest.mark.parametrize("value", ["ignore", "", "Error"])
def test_what_to_do_is_one_of_two_words(command, value):
    done = command("evaluate", "run", "--on-changed", value)
    assert done.returncode == 2
    assert "known are error, warn" in done.stderr


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "must be absolute"),
        (".", "must be absolute"),
        ("trees.csv", "must be absolute"),
        ("/", "must be a folder of Parquet files"),
        ("//", "must be a folder of Parquet files"),
        ("/tmp/..", "must be a folder of Parquet files"),
        ("/trees\0.csv", "none of them a control character"),
        ("/trees\x1b[31m.csv", "none of them a control character"),
        ("/" + "a" * 5000, "at most 4,096 characters"),
        ("/" + "a" * 1000, "must be that of a file or a folder"),
        ("/" + "a" * 1000 + ".csv", "must be that of a file or a folder"),
        (None, "path of table must be str"),
        (7, "path of table must be str"),
        (["/"], "path of table must be str"),
    ],
)
@pytest.mark.parametrize("name", ["evaluate", "translate", "embed"])
def test_a_path_that_is_none_is_refused_in_one_short_line(command, tmp_path, monkeypatch, path, said, name):
    def walked(*_, **__):
        raise AssertionError("the file system is walked over")

    walk = os.walk
    own = str(tmp_path)  # where hidden folders of the command's own are removed
    monkeypatch.setattr("os.walk", lambda top, *_, **__: walk(top, *_, **__) if str(top).startswith(own) else walked())
    monkeypatch.setattr("pathlib.Path.rglob", walked)
    edited(tmp_path / "run", lambda data: data["arguments"].update(path=path))
    done = command(*asked(name))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 450
    assert done.stderr.rstrip().isprintable()


def test_a_folder_that_is_too_large_is_not_looked_through(command, tmp_path, monkeypatch):
    monkeypatch.setattr("polymodal.datasets.table_files.MOST_ENTRIES", 20)
    for number in range(30):
        (tmp_path / "many" / str(number)).mkdir(parents=True)
    edited(tmp_path / "run", lambda data: data["arguments"].update(path=str(tmp_path / "many")))
    done = command("evaluate", "run")
    assert done.returncode == 2
    assert "at most 20 files and folders" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        {"rows": 10**10},
        {"held_out_rows": 10**10},
        {"rows": 10**30},
        {"rows": -10},
        {"rows": 1e3},
        {"seed": -1},
        {"rows": "\0" * 9},
        {"name\0": 1},
        {"a" * 5000: 1},
    ],
    ids=lambda arguments: brief_id(arguments),
)
def test_numbers_of_a_foreign_run_are_held_against_limits(command, tmp_path, arguments):
    data = {"dataset": "polydigits", "split": "train", "arguments": arguments}
    edited(tmp_path / "run", lambda noted: (noted.clear(), noted.update(data)))
    done = command("evaluate", "run")
    assert done.returncode == 2
    assert "experiment.json must name a data set that can be loaded" in done.stderr
    assert len(done.stderr) < 900
    assert done.stderr.rstrip().isprintable()


def brief_id(arguments):
    return repr(arguments)[:30]
