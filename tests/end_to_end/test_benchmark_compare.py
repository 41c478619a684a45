"""Two commits in turn: what is measured, what is refused, and that nothing stays behind."""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import checkout, compare, machine
from benchmarks.shapes import SHAPES

ROOT = Path(__file__).parents[2]


def git(*arguments):
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)


pytestmark = pytest.mark.skipif(git("rev-parse", "HEAD").returncode != 0, reason="needs a git repository")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Temporary folders in a place of the test's own, where what stays behind is seen."""
    for rate in ("product_rate", "copy_rate"):
        monkeypatch.setattr(machine, rate, lambda: 1e9)
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield
    assert list(place.iterdir()) == []
    assert str(place) not in git("worktree", "list").stdout


def test_a_commit_beside_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(SHAPES, "mhd", replace(SHAPES["mhd"], draws=1))
    out = tmp_path / "compare.json"
    options = ["--shapes", "mhd", "--budget", "0.1", "--threads", "1", "--processes", "2", "--out", str(out)]
    assert compare.main(["HEAD~0", *options]) == 0
    done = capsys.readouterr()
    assert done.err.startswith("1/1 mhd: the new is ")
    assert done.out.splitlines()[-1] == f"Numbers: {out}"
    document = json.loads(out.read_text())
    assert document["base"] == git("rev-parse", "HEAD").stdout.strip()
    assert document["new"].startswith(document["base"][:9])
    (case,) = document["cases"]
    for side in ("old", "new", "ratio"):
        assert len(case[side]["all"]) == case["pairs"] == 6
        assert 0 < case[side]["lower"] <= case[side]["median"] <= case[side]["upper"]
    pairs = zip(case["old"]["all"], case["new"]["all"], strict=True)
    assert case["ratio"]["all"] == [old / new for old, new in pairs]
    assert len(case["medians"]) == case["processes"] == 2
    assert case["draws"] == 1
    assert case["weights"]["old"] > 0


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("", "base must name a commit, such as main, v0.1 or HEAD~3; got nothing; write BASE=main"),
        ("no-such-branch", "base must name a commit, such as main, v0.1 or HEAD~3; 'no-such-branch' names none"),
        ("HEAD --force", "base must name a commit, such as main, v0.1 or HEAD~3; 'HEAD --force' names none"),
        ("HEAD:Makefile", "base must name a commit, such as main, v0.1 or HEAD~3; 'HEAD:Makefile' names none"),
    ],
)
def test_a_base_that_is_none_is_one_line(base, said, capsys):
    assert compare.main([base]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"benchmarks: {said}")
    assert printed.count("\n") == 1


def test_no_repository_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="needs a git repository"):
        checkout.commit("HEAD")


@pytest.mark.parametrize("fault", [ValueError("broken"), KeyboardInterrupt()])
def test_the_folder_is_gone_whatever_happens(fault):
    there = []

    def work():
        with checkout.check_out(checkout.commit("HEAD")) as folder:
            there.append((folder, (folder / "benchmarks" / "shapes.py").exists()))
            assert str(folder) in git("worktree", "list").stdout
            raise fault

    with pytest.raises(type(fault)):
        work()
    ((folder, existed),) = there
    assert existed
    assert not folder.exists()


def test_being_told_to_end_leaves_nothing(tmp_path):
    code = (
        "import os, signal, tempfile; from benchmarks import checkout\n"
        f"tempfile.tempdir = {str(tmp_path / 'temporary')!r}\n"
        "with checkout.check_out(checkout.commit('HEAD')):\n"
        "    os.kill(os.getpid(), signal.SIGTERM); import time; time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in done.stderr


def folder_of(path, **files):
    """Code of a commit that never was."""
    for package in ("polymodal", "benchmarks"):
        (path / package).mkdir(parents=True)
        (path / package / "__init__.py").write_text("")
    for name, text in files.items():
        (path / "benchmarks" / f"{name}.py").write_text(text)
    return path


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "commit old cannot take these steps; it says ModuleNotFoundError: No module named 'benchmarks.harness'"),
        (
            {"harness": "fused = None", "shapes": "SHAPES = {}\nmodel_of = rows_of = None"},
            "commit old cannot take these steps; it says KeyError: 'mhd'",
        ),
        ({"harness": "import os; os._exit(3)"}, "the process with commit old ended with 3; what it said is above"),
    ],
)
def test_a_commit_that_cannot_take_these_steps_says_so(tmp_path, files, said):
    with pytest.raises(ValueError, match=said):
        ask(folder_of(tmp_path / "old", **files))


def ask(folder):
    worker = compare.Worker(folder, "commit old", 1)
    try:
        worker.begin()
        worker.ask(shape="mhd", draws=1)
    finally:
        worker.end()


def test_code_of_another_place_is_refused(tmp_path):
    """Where a commit has no package of that name, Python finds the installed one."""
    folder = folder_of(tmp_path / "old", harness="", shapes="")
    (folder / "polymodal" / "__init__.py").write_text("__file__ = '/elsewhere/polymodal/__init__.py'")
    with pytest.raises(ValueError, match=r"commit old was to be imported from .*; /elsewhere/"):
        ask(folder)
