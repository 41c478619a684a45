"""The guide to the command line does what it says."""

import re
import shlex
from pathlib import Path

import pytest
from commands import within

GUIDE = Path(__file__).parents[2] / "docs" / "command_line.md"
BLOCKS = re.findall(r"^```console\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def steps():
    """The commands in order, each with the lines that follow it."""
    for block in BLOCKS:
        for step in re.split(r"^\$ polymodal ", block, flags=re.MULTILINE)[1:]:
            command, *lines = step.splitlines()
            yield shlex.split(command), [line.strip() for line in lines if line.strip() not in ("", "...")]


def test_every_command_does_what_the_guide_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for arguments, shown in steps():
        done = within(monkeypatch, capsys, *arguments)
        said = f"$ polymodal {shlex.join(arguments)}\n{done.stdout}{done.stderr}"
        mistake = bool(shown) and shown[0].startswith("polymodal: ")
        assert done.returncode == (2 if mistake else 0), said
        printed = [wordless(line) for line in (done.stdout + done.stderr).splitlines()]
        for line in shown:
            assert wordless(line) in printed, said


def wordless(line):
    """A line without its numbers, which are the machine's, and without the space around its words."""
    return " ".join(re.sub(r"\d[\d.,]*", "0", line).split())


@pytest.mark.parametrize("command", ["datasets", "train", "evaluate", "report", "translate", "sample", "embed"])
def test_the_guide_shows_every_command(command):
    assert any(arguments[0] == command for arguments, _ in steps())
