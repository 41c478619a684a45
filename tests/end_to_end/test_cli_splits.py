"""A table that is trained without test rows, and baselines of its columns."""

import json

import pandas as pd
import pytest
from commands import Kept, within
from tables import birds

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs of a table with and without test rows."""
    root = tmp_path_factory.mktemp("splits")
    birds().to_csv(root / "birds.csv", index=False)
    monkeypatch = pytest.MonkeyPatch()
    said = {}
    for name, options in {"usual": [], "whole": ["--test", "0", "--validation", "0.2"]}.items():
        settings = ["--epochs", 1, "--folder", root / name]
        done = within(monkeypatch, Kept(), "train", root / "birds.csv", *settings, *options)
        assert done.returncode == 0
        said[name] = json.loads((root / name / "experiment.json").read_text())["data"]
    monkeypatch.undo()
    return root, said


def test_a_run_without_test_rows_is_evaluated_on_its_validation_rows(run, monkeypatch, capsys):
    root, data = run
    assert data["whole"]["arguments"]["test"] == 0
    assert data["whole"]["rows"] == data["usual"]["rows"] == 240 - 48  # other splits have as many rows in all
    done = within(monkeypatch, capsys, "evaluate", root / "whole")
    assert done.returncode == 0
    assert "no test rows" in done.stderr
    assert "scores-validation.csv" in done.stdout
    assert not (root / "whole" / "scores.csv").exists()
    scores = pd.read_csv(root / "whole" / "scores-validation.csv")
    assert scores["rows"].max() <= 48
    done = within(monkeypatch, capsys, "report", root / "whole")
    assert done.returncode == 0
    assert "of the validation split" in (root / "whole" / "report.html").read_text("utf-8")
    assert within(monkeypatch, capsys, "translate", root / "whole", "--rows", "0").returncode == 0
    for command in ("evaluate", "translate"):
        out = ["--out", root / "out"] if command == "translate" else []
        done = within(monkeypatch, capsys, command, root / "whole", "--split", "test", *out)
        assert done.returncode == 2
        assert "--test 0" in done.stderr
        assert "--split validation" in done.stderr


def test_baselines_stand_next_to_the_scores(run, monkeypatch, capsys):
    root, _ = run
    done = within(monkeypatch, capsys, "evaluate", root / "usual")
    assert done.returncode == 0
    assert "mean or mode" in done.stdout
    assert "ridge or logistic" in done.stdout
    scores = pd.read_csv(root / "usual" / "scores.csv")
    rows = scores[scores["task"] == "many-to-one"].set_index("modality")
    assert rows.loc["species", "ridge_or_logistic"] > rows.loc["species", "mean_or_mode"]
    assert scores[scores["task"] != "many-to-one"]["mean_or_mode"].isna().all()
    assert within(monkeypatch, capsys, "report", root / "usual").returncode == 0
    page = (root / "usual" / "report.html").read_text("utf-8")
    assert "ridge or logistic" in page
    scores.drop(columns=["mean_or_mode", "ridge_or_logistic"]).to_csv(root / "usual" / "scores.csv", index=False)
    assert within(monkeypatch, capsys, "report", root / "usual").returncode == 0  # scores of earlier versions
    assert (root / "usual" / "report.html").read_text("utf-8") == page


def test_shares_are_for_tables(tmp_path, monkeypatch, capsys):
    done = within(monkeypatch, capsys, "train", "polydigits", "--test", "0", "--folder", tmp_path / "run")
    assert done.returncode == 2
    assert "--test is for a table's file" in done.stderr
