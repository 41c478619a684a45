"""The command line, run as people run it."""

import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from commands import process as polymodal
from commands import within
from typer.main import get_command

from polymodal.cli.app import app
from polymodal.cli.demo import summarise_demo


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A demo with little of everything."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    done = polymodal("demo", "--folder", folder, "--epochs", 1, "--rows", 500)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_the_demo_leaves_a_run_and_says_where(run):
    folder, done = run
    names = {path.name for path in folder.iterdir()}
    files = {"experiment.json", "history.csv", "prior_history.csv", "report.html", "scores.csv", "settings.yaml"}
    assert names == {*files, "model", "state"}
    begins, time, path, accuracy = done.stdout.splitlines()
    assert begins.startswith("Training mac-wae")
    assert re.search(r"the demo takes about \d+ seconds? in all", time)
    assert path == f"Report: {folder / 'report.html'}"
    assert re.search(r"label accuracy is [\d.]+ % given all five images", accuracy)
    assert accuracy == summarise_demo(pd.read_csv(folder / "scores.csv", keep_default_na=False))
    assert "epoch 1/1" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_report_can_be_written_anew_and_is_the_same(run):
    folder, _ = run
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    done = polymodal("report", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "report.html").read_bytes() == before


def test_a_mistake_leaves_an_earlier_demo_alone(run):
    folder, _ = run
    before = sorted(folder.rglob("*"))
    assert polymodal("demo", "--folder", folder, "--rows", 105).returncode == 2
    assert polymodal("demo", "--folder", folder, "--device", "gpu").returncode == 2
    assert sorted(folder.rglob("*")) == before


def test_another_run_is_not_a_demo(run, tmp_path):
    folder, _ = run
    shutil.copytree(folder, tmp_path / "run")
    record = tmp_path / "run" / "experiment.json"
    record.write_text(record.read_text().replace('"command": "demo"', '"command": "mine"'))
    done = polymodal("demo", "--folder", tmp_path / "run", "--epochs", 1, "--rows", 500)
    assert done.returncode == 2
    assert "it holds another run" in done.stderr
    assert (tmp_path / "run" / "model").exists()


def test_an_earlier_demo_is_replaced_and_nothing_else_is(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    done = polymodal("demo", "--folder", tmp_path, "--epochs", 1, "--rows", 500)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "it holds thesis.tex" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "nowhere"], "nowhere must be a run folder"),
        (["demo", "--folder", "x", "--rows", "105"], "rows must be a positive multiple of 10"),
        (["report", __file__], "with experiment.json; it is a file"),
        (["demo", "--folder", "x", "--device", "gpu"], "device must be an available one: auto, cpu"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, said, tmp_path):
    done = polymodal(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("polymodal: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [("--debug", "report", "nowhere"), ("report", "nowhere", "--debug")])
def test_debug_shows_where(tmp_path, arguments):
    done = polymodal(*arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("command", sorted(get_command(app).commands))
def test_help_shows_an_example(command, monkeypatch, capsys):
    done = within(monkeypatch, capsys, command, "--help")
    assert done.returncode == 0
    assert f"Example: polymodal {command}" in done.stdout


def test_nothing_heavy_is_imported_before_a_command_runs():
    code = "import sys; from polymodal.cli import app; print({*sys.modules} & {'torch', 'pandas', 'yaml'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_datasets_are_listed_and_described():
    done = polymodal("datasets")
    assert done.returncode == 0
    assert "polydigits" in done.stdout
    assert "rows=12800 " in polymodal("datasets", "polydigits").stdout


def test_version():
    from importlib.metadata import version

    assert polymodal("--version").stdout.strip() == version("polymodal")
