"""The commands in the README and in the guide to the command line do what these say."""

import re
import shlex
from pathlib import Path

import pytest
from commands import within
from tables import birds

ROOT = Path(__file__).parents[2]
SCORES = """task,dataset,modality,metric,better,model,value
many-to-one,birds,species,acc,higher,mac-wae,91.5
many-to-one,birds,species,acc,higher,mopoe,90.0
"""
PAGES = ("README.md", "docs/command_line.md", "docs/datasets.md", "docs/models.md", "docs/tables.md")


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def steps(page):
    """The commands of a page in order, each with the lines that follow it."""
    for block in re.findall(r"^```console\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL):
        for step in re.split(r"^\$ polymodal ", block, flags=re.MULTILINE)[1:]:
            command, *lines = step.splitlines()
            yield shlex.split(command), [line.strip() for line in lines if line.strip() not in ("", "...")]


@pytest.mark.parametrize("page", [*PAGES, "docs/export.md", "docs/studies.md"])
def test_every_command_does_what_the_page_shows(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("POLYMODAL_CACHE", str(tmp_path / "cache"))
    birds().to_csv("birds.csv", index=False)
    Path("scores.csv").write_text(SCORES, encoding="utf-8")
    for name, settings in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL):
        Path(name).write_text(settings, encoding="utf-8")
    for arguments, shown in steps(page):
        done = within(monkeypatch, capsys, *arguments)
        said = f"$ polymodal {shlex.join(arguments)}\n{done.stdout}{done.stderr}"
        mistake = bool(shown) and shown[0].startswith("polymodal: ")
        assert done.returncode == (2 if mistake else 0), said
        printed = [wordless(line) for line in (done.stdout + done.stderr).splitlines()]
        for line in shown:
            assert wordless(line) in printed, said


def wordless(line):
    """A line without its numbers, which are the machine's, and without the space around its words."""
    return " ".join(re.sub(r"\d[\d.,]*", "0", line).replace("0 second ", "0 seconds ").split())


@pytest.mark.parametrize("command", ["datasets", "train", "evaluate", "report", "translate", "sample", "embed"])
def test_the_guide_shows_every_command(command):
    assert any(arguments[0] == command for arguments, _ in steps("docs/command_line.md"))


@pytest.mark.parametrize("page", PAGES)
def test_no_command_stands_in_another_block(page):
    """Blocks are Python, which has its own test, or commands, which run here, or the gate's."""
    text = text_of(page)
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        if kind not in ("python", "console"):
            assert {line.partition("#")[0].strip() for line in block.splitlines()} <= {*gate}
