"""The results in docs/results: made again from the runs there, and what the README says of them."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from polymodal.models import MODELS
from polymodal.studies import compare, plan, running

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
STUDIES = sorted(path.parent.name for path in RESULTS.glob("*/study.yaml"))


def cells(name):
    return list(plan(name).cells())


@pytest.mark.parametrize("name", STUDIES)
def test_every_run_is_there(name):
    study = plan(name)
    for cell in study.cells():
        assert running.finished(RESULTS / "runs" / cell.name, study.tasks), cell


@pytest.mark.parametrize("name", STUDIES)
def test_the_tables_come_from_the_runs(name, tmp_path):
    shutil.copytree(RESULTS / "runs", tmp_path / "runs")
    made = compare(name, folder=tmp_path, progress=False)
    assert not made.failures
    tables = sorted(path.name for path in (RESULTS / name).glob("*.csv"))
    assert tables == sorted(path.name for path in (tmp_path / name).glob("*.csv"))
    for table in tables:
        here, there = (pd.read_csv(folder / name / table) for folder in (tmp_path, RESULTS))
        pd.testing.assert_frame_equal(here, there, rtol=1e-9)


def test_small_studies_have_all_models_and_two_seeds():
    small = [name for name in STUDIES if name.endswith("-small")]
    assert len(small) == 3
    for name in small:
        runs = pd.read_csv(RESULTS / name / "runs.csv")
        assert {*runs["model"]} == {*MODELS}
        assert (runs.groupby("model")["seed"].nunique() >= 2).all()


def test_figures_are_there_twice():
    for name in STUDIES:
        pictures = {path.stem for path in (RESULTS / name / "figures").glob("*.png")}
        assert pictures
        assert pictures == {path.stem for path in (RESULTS / name / "figures").glob("*.pdf")}


def best(name):
    return pd.read_csv(RESULTS / name / "best.csv").set_index("model")["outcomes"]


def rank(name, model, task):
    ranks = pd.read_csv(RESULTS / name / "ranks.csv").set_index(["model", "task"])["mean"]
    return float(ranks[model, task])


def test_what_the_readme_says():
    """Each line of its table: a study, the outcomes, those in which MAC-WAE is best, and its ranks."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([a-z-]+-small)` \| (\d+) of (\d+) \| (.+) \|$", text, re.MULTILINE)
    assert {line[0] for line in lines} == {name for name in STUDIES if name.endswith("-small")}
    for name, won, every, ranks in lines:
        outcomes = pd.read_csv(RESULTS / name / "table.csv")[["task", "dataset", "modality"]].drop_duplicates()
        assert int(won) == best(name)["mac-wae"]
        assert int(every) == len(outcomes)
        told = [float(number) for number in ranks.split(" | ")]
        expected = [rank(name, "mac-wae", task) for task in ("reconstruction", "many-to-one", "one-to-one")]
        assert told == pytest.approx(expected, abs=0.0051)
