"""`polymodal compare --scores`: three tables, figures and a page from one CSV file."""

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from commands import within

PAPER = Path(__file__).parents[3] / "shared" / "spec" / "paper_table4.csv"
HEAD = "task,dataset,modality,metric,better,model,value\n"
LINES = "many-to-one,MHD,label,acc,higher,mac-wae,97\nmany-to-one,MHD,label,acc,higher,nexus,90\n"
MORE = "many-to-one,MHD,image,ssim,higher,mac-wae,.5\nmany-to-one,MHD,image,ssim,higher,nexus,.6\n"
LINES += MORE + "many-to-one,MHD,image,ssim,higher,mopoe,.5\n"
COLUMNS = {
    "ranks.csv": ["task", "model", "mean", "standard_error"],
    "win_loss.csv": ["row", "column", "share", "wins", "outcomes", "p", "holm"],
    "best.csv": ["model", "outcomes"],
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("scores.csv").write_text(HEAD + LINES, encoding="utf-8")


@pytest.fixture
def run(monkeypatch, capsys):
    return partial(within, monkeypatch, capsys)


def test_writes_its_tables_into_a_folder_that_may_hold_other_files(run):
    Path("out/figures").mkdir(parents=True)
    Path("out/mine.txt").write_text("mine")
    Path("out/figures/mine.png").write_text("mine")
    done = run("compare", "--scores", "scores.csv", "--out", "out")
    assert done.returncode == 0, done.stderr
    for name, columns in COLUMNS.items():
        assert pd.read_csv(Path("out") / name).columns.tolist() == columns
    assert Path("out/mine.txt").read_text() == Path("out/figures/mine.png").read_text() == "mine"
    assert f"Page: {Path('out/comparison.html').resolve()}" in done.stdout.splitlines()
    best = pd.read_csv("out/best.csv").set_index("model")["outcomes"]
    assert best.to_dict() == {"mac-wae": 1, "nexus": 1, "mopoe": 0}
    ranks = pd.read_csv("out/ranks.csv").set_index("model")
    assert ranks["mean"].to_dict() == {"mac-wae": 0.625, "nexus": 0.5, "mopoe": 0.25}


def test_prints_what_it_wrote(run):
    done = run("compare", "--scores", "scores.csv")
    assert Path("runs/comparison/comparison.html").is_file()
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["MAC-WAE", "1", "0.625"] in lines
    assert ["MoPoE", "0", "0.250"] in lines


def test_running_again_gives_the_same_bytes(run):
    for out in ("a", "b", "a"):
        assert run("compare", "--scores", "scores.csv", "--out", out, "--overwrite").returncode == 0
    first, second = ({path.relative_to(out): path for path in Path(out).rglob("*.*")} for out in ("a", "b"))
    assert first.keys() == second.keys()
    assert {path.suffix for path in first} == {".csv", ".html", ".pdf", ".png"}
    for name, path in first.items():
        assert path.read_bytes() == second[name].read_bytes(), name


def test_models_are_left_out(run):
    assert run("compare", "--scores", "scores.csv", "--leave-out", "MoPoE, ").returncode == 0
    assert set(pd.read_csv("runs/comparison/best.csv")["model"]) == {"mac-wae", "nexus"}


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (None, [], "scores.csv must be a CSV file of scores"),
        ("", [], "it is empty"),
        ("task,model,value\na,b,1\n", [], "dataset, modality, metric, better missing"),
        (HEAD + LINES.replace("higher", "up", 1), [], "got 'up'"),
        (HEAD + LINES.replace("97", "many"), [], "got 'many' for many-to-one, MHD, label, acc, mac-wae"),
        (HEAD + LINES + LINES, [], "twice"),
        (HEAD + LINES.replace("acc", "rmse", 1), [], "must have one metric"),
        (HEAD + LINES, ["--leave-out", "nexsus"], "unknown model 'nexsus'; known are nexus"),
        (HEAD + LINES, ["--leave-out", "nexus,mopoe"], "an outcome for which at least two models have a score"),
        (HEAD + LINES, ["--out", "scores.csv"], "scores.csv must be a writable folder"),
    ],
)
def test_a_mistake_is_one_line(run, text, options, said):
    Path("scores.csv").unlink() if text is None else Path("scores.csv").write_text(text, encoding="utf-8")
    done = run("compare", "--scores", "scores.csv", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not Path("runs").exists()


@pytest.mark.skipif(not PAPER.is_file(), reason=f"needs the paper's numbers in {PAPER}")
def test_the_paper_s_table(run):
    done = run("compare", "--scores", PAPER, "--leave-out", "M-WAE")
    assert done.returncode == 0, done.stderr
    page = Path("runs/comparison/comparison.html").read_text(encoding="utf-8")
    assert "29 of 42" in page
    assert "outcomes in which MAC-WAE is best" in page
    assert "Left out: M-WAE." in page
    assert ["MAC-WAE", "29", "0.843", "0.886", "0.843"] in [line.split() for line in done.stdout.splitlines()]
