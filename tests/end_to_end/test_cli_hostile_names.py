"""Names and classes are data: whatever is written in them, it is printed, and does nothing."""

import csv
import html
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import within
from rich.console import Console

from polymodal.cli import terminal
from polymodal.cli.app import main
from polymodal.cli.console import _table
from polymodal.runtime.formatting import printable

NAMES = [
    "w [kg]", "kind [/b]", "[bold]x[/bold]", "[link=https://x.y]z[/link]", "$\\frac$", "$x_1$ and $y", "a\\b",
    "_hidden", "<script>alert(1)</script>", "\" onload='x'", "{{ 7 * 7 }}", "%s {0} %(x)s",
    "`rm -rf`", "../../x", "-rf", "鳥 é ß",
]  # fmt: skip
"""Names that a table may have."""
CLASSES = [
    "\x1b[31mRED", "\x1b]0;title\x07", "\x1b[2J\x1b[H", "\u202eevil", "zero\u200bwidth", "tag\U000e0041", "two\nlines",
    "carriage\rreturn", "tab\there", "\x9b31m", "\u2028line", "bell\x07", "[red]x[/red]", "[/b]", "$\\frac$",
    "</td><b>",
]  # fmt: skip
"""Classes that its cells may hold."""
SEEN = ("w [kg]", "kind [/b]", "$\\frac$", "<script>alert(1)</script>")
"""Names of columns of the table that a model is trained on."""


def hidden(text, allowed="\n"):
    """Characters of a text that cannot be seen."""
    return {letter for letter in text if unicodedata.category(letter)[0] == "C" and letter not in allowed}


def table(classes=CLASSES):
    generator = np.random.default_rng(0)
    rows = 10 * len(classes)
    return pd.DataFrame(
        {
            "w [kg]": generator.normal(size=rows).round(3),
            "kind [/b]": np.array(classes, object)[np.arange(rows) % len(classes)],
            "$\\frac$": generator.normal(size=rows).round(3),
            "<script>alert(1)</script>": np.array(["yes", "[/no]"])[np.arange(rows) // 3 % 2],
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a table and a run on it, trained on the command line."""
    folder = tmp_path_factory.mktemp("hostile")
    table().to_parquet(folder / "t.parquet")
    command = [sys.executable, "-m", "polymodal", "train", "t.parquet", "--folder", "run", "--epochs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return folder


def joined(text):
    """Without the line breaks and the padding of a table."""
    return re.sub(r"\s+", " ", text)


def test_train_says_names_as_they_are(run):
    said = (run / "said.txt").read_text(encoding="utf-8")
    assert not hidden(said)
    assert all(name in said for name in SEEN)


COMMANDS = {
    "evaluate": ("evaluate", "run"),
    "evaluate further tasks": ("evaluate", "run", "--tasks", "translation,coherence,probe"),
    "translate": ("translate", "run", "--to", "kind [/b],w [kg]", "--rows", "0:8", "--out", "translated"),
    "translate a file": ("translate", "run", "t.parquet", "--to", "kind [/b]", "--rows", "0:8", "--out", "of-a-file"),
    "translate into a file": ("translate", "run", "--to", "kind [/b]", "--out", "translated.parquet"),
    "sample": ("sample", "run", "--number", "8", "--out", "sampled"),
    "impute": ("impute", "run", "t.parquet", "--out", "whole.parquet", "--marked", "--sure"),
    "embed": ("embed", "run", "--out", "codes.parquet"),
    "report": ("report", "run"),
    "export": ("export", "run", "--out", "exported"),
    "an unknown name": ("translate", "run", "--to", "\x1b[31mnone"),
    "an unknown file": ("impute", "run", "none\x1b[31m.csv"),
    "an unknown run": ("report", "\x1b]0;x\x07\nnone"),
    "a wrong option": ("report", "run", "--\x1b[31mnone"),
}
WRITING = ("translate", "translate a file", "translate into a file", "sample", "impute", "embed")
COMMANDS |= {command: (*COMMANDS[command], "--overwrite") for command in WRITING}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_print_nothing_that_cannot_be_seen(command, run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    monkeypatch.setenv("COLUMNS", "400")
    done = within(monkeypatch, capsys, *COMMANDS[command])
    assert done.returncode == (2 if command.startswith(("an unknown", "a wrong")) else 0), done.stderr
    assert not hidden(done.stdout + done.stderr)
    if done.returncode:
        assert done.stderr.count("\n") == 1
    if command in ("evaluate", "sample", "translate"):
        assert "w [kg]" in done.stdout
        assert "kind [/b]" in done.stdout


def test_classes_are_written_out_and_not_eaten(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    monkeypatch.setenv("COLUMNS", "400")
    done = within(
        monkeypatch, capsys, "translate", "run", "t.parquet", "--to", "kind [/b]", "--rows", "0:8", "--out", "classes"
    )
    for name in CLASSES[:8]:
        assert (
            joined(printable(name)) in joined(done.stdout) or joined(printable(" ".join(name.split()))) in done.stdout
        )


def test_pages_hold_names_as_text(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    assert within(monkeypatch, capsys, "evaluate", "run").returncode == 0
    assert within(monkeypatch, capsys, "report", "run").returncode == 0
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert not hidden(page)
    assert not re.findall(r"<(?!/?svg|/?path|/?g\b)[^>]*(?:<script|onload=)", page)
    assert "<script" not in page
    assert html.escape("<script>alert(1)</script>") in page.replace("<wbr>", "")


@pytest.mark.parametrize("letter", ["\x1b[31m", "\x07", "\n", "\u202e", "\u200b", "\u200d", "\ufeff", "\u2029", "\x85"])
def test_columns_whose_names_cannot_be_seen_are_refused_and_shown(letter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"a": np.arange(40) / 7, f"b{letter}c": np.arange(40)[::-1] / 9, "d": ["x", "y"] * 20})
    frame.to_parquet("t.parquet")
    done = within(monkeypatch, capsys, "train", "t.parquet", "--folder", "r", "--epochs", "1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not hidden(done.stdout + done.stderr)
    assert "names of modalities" in done.stderr
    assert repr(f"b{letter}c")[1:-1] in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_tables_in_a_terminal_print_names_as_they_are(name):
    console = Console(width=200, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(_table(name, "other"))
    assert name in captured.get()
    assert not hidden(re.sub(r"\x1b\[\d*m", "", captured.get()))  # rich's own bold type


PLACES = {"model": [*NAMES, *CLASSES], "task": [*NAMES[1:5], *CLASSES[:2]], "dataset": [*NAMES, *CLASSES],
          "modality": [*NAMES, *CLASSES], "metric": [NAMES[1], NAMES[4], CLASSES[0]]}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_names_in_scores_are_compared_and_printed(place, tmp_path, monkeypatch, capsys):
    names = list(dict.fromkeys(PLACES[place]))
    rows = []
    for number, name in enumerate(names):
        row = {"task": "many-to-one", "dataset": "d", "modality": f"m{number}", "metric": "acc", "better": "higher"}
        models = ("mac-wae", "nexus") if place != "model" else (name,)
        rows += [{**row, "model": model, place: name, "value": len(model)} for model in models]
    frame = pd.DataFrame(rows)
    if place == "model":
        frame["modality"] = "m0"
    frame.to_csv(tmp_path / "scores.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "600")
    done = within(monkeypatch, capsys, "compare", "--scores", "scores.csv", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert not hidden(done.stdout + done.stderr)
    page = Path("out/comparison.html").read_text(encoding="utf-8")
    assert not hidden(page)
    assert "<script" not in page
    for name in names:
        shown = printable(name).replace("_", "-") if place == "task" else printable(name)
        if place in ("model", "task"):
            assert shown in done.stdout
        assert html.escape(shown, quote=False) in page.replace("&#34;", '"').replace("&#39;", "'")


@pytest.mark.parametrize("name", ["$\\frac$", "$x^{", "\\alpha$", "_hidden", "[/b]", "\x1b[31mx", "two\nlines"])
def test_names_in_every_chart(name):
    from polymodal.comparison import charts, curves

    generator = np.random.default_rng(0)
    varied = pd.DataFrame({"number": [0.1, 1, 100], "value": [1.0, 2, 3], "seed": 0, "better": "lower"})
    varied = varied.assign(**dict.fromkeys(["model", "modality", "metric", "name", "task", "setting"], name))
    given = varied.assign(given=["1 other", "2 others", "the truth"])
    points = pd.DataFrame(
        {"model": name, "given": name, "label": [name, "b"] * 4, **dict.fromkeys("xy", generator.normal(size=8))}
    )
    over_draws = curves.plot_mask_numbers(varied.assign(number=[1, 5, 10]))
    for figure in (
        curves.plot_sweep(varied),
        over_draws,
        curves.plot_given_modalities(given),
        charts.plot_code_maps(points),
    ):
        figure.savefig(os.devnull, format="svg")


def test_a_redirected_stream_that_lacks_characters_gets_plain_ones(run):
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "polymodal", *COMMANDS["evaluate"]]
    done = subprocess.run(command, cwd=run, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kind [/b]" in done.stdout.decode("cp1252")
    assert "acc ^" in done.stdout.decode("cp1252")


WRITES = [(command, encoding) for command in ("evaluate", "translate", "impute") for encoding in ("cp1252", "ascii")]
WRITES += [("translate", encoding) for encoding in ("latin-1", "cp437", "cp932")] + [("an unknown file", "ascii")]


@pytest.mark.parametrize(("command", "encoding"), WRITES)
def test_every_command_writes_to_a_stream_that_lacks_characters(command, encoding, run, monkeypatch):
    """The same within a process."""
    monkeypatch.chdir(run)
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(sys, "argv", ["polymodal", *COMMANDS[command]])
    with pytest.raises(SystemExit) as left:
        main()
    out.flush()
    assert not left.value.code or command.startswith("an unknown")
    assert out.buffer.getvalue().decode(encoding) or err.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "shift-jis", "utf-8"])
def test_every_character_can_be_written(encoding):
    terminal.make_tolerant()
    text = "".join(terminal.PLAIN) + "鳥 é \N{BIRD} \ud800 \x1b"
    assert text.encode(encoding, terminal.ERRORS).decode(encoding)
    assert "\N{UPWARDS ARROW}\N{EN DASH}\N{HORIZONTAL ELLIPSIS}".encode("ascii", terminal.ERRORS) == b"^-..."


def test_settings_that_are_printed_can_be_read_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = ("train", "polydigits", "--dry-run", "--folder", "a\u202eb\nfit: x\x1b[31m")
    done = within(monkeypatch, capsys, *asked)
    assert done.returncode == 0, done.stderr
    assert not hidden(done.stdout)
    Path("s.yaml").write_text(done.stdout, encoding="utf-8")
    from polymodal.io import yaml

    assert yaml.read("s.yaml")["folder"] == asked[-1]


def test_a_plan_of_a_study_prints_its_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    models = {"mine [/b]": {"model": "mac-wae", "beta": 2}, "mac-wae": {}}
    study = {"name": "s", "datasets": "polydigits", "models": models,
             "vary": {"widths": [[8, 16], [16, 32]]}, "seeds": 1, "settings": {"rows": 100, "epochs": 1}}  # fmt: skip
    Path("s.yaml").write_text(json.dumps(study))
    done = within(monkeypatch, capsys, "compare", "s.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "mine [/b]" in done.stdout
    assert "widths=[8, 16]" in done.stdout or "[8,16]" in done.stdout


def test_debug_shows_where_and_nothing_that_cannot_be_seen(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    done = within(monkeypatch, capsys, "--debug", "report", "\x1b[31mnone")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert not hidden(done.stderr)
