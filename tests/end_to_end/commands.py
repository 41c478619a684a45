"""The command line, as a process and within this one."""

import subprocess
import sys
from typing import NamedTuple

from polymodal.cli.app import main


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Kept:
    """In place of `capsys`, for a fixture of a module."""

    def readouterr(self):
        return "", ""


def process(*arguments, cwd=None):
    command = [sys.executable, "-m", "polymodal.cli.app", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def within(monkeypatch, capsys, *arguments):
    """The same without a process of its own, which takes seconds."""
    monkeypatch.setattr(sys, "argv", ["polymodal", *map(str, arguments)])
    capsys.readouterr()
    code = 0
    try:
        main()
    except SystemExit as left:
        code = left.code or 0
    return Done(code, *capsys.readouterr())
