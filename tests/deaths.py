"""Commands that run in a process of their own without starting a new interpreter, and die, or find no room, there."""

import os
import re
import signal
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

from polymodal.io import atomic, checkpoint

PATHS = ("mkdir", "rename", "replace", "unlink", "write_bytes", "write_text")
HIDDEN = re.compile(r"\.(.+\.(partial|previous|polymodal\.lock)|polymodal\.lock)")
"""What stands in a folder while somebody writes there."""


class Ended(NamedTuple):
    status: int
    """The exit code, or minus the signal."""
    out: str
    err: str


def die_at(number, die=lambda: os.kill(os.getpid(), signal.SIGKILL)):
    """From now on this process dies before the so-manieth step that writes, or that changes names."""
    left = [number]

    def deadly(owner, name):
        plain = getattr(owner, name)

        def act(*arguments, **options):
            left[0] -= 1
            if not left[0]:
                die()
            return plain(*arguments, **options)

        setattr(owner, name, act)

    for owner, names in (
        (Path, PATHS),
        (atomic, ["_exchange", "flush"]),
        (checkpoint, ["_save", "flush"]),
        (atomic.shutil, ["rmtree"]),
        (os, ["fsync", "rmdir"]),
    ):
        for name in names:
            deadly(owner, name)
    return left


def forked(act, seconds=None):
    """Runs something in a fork of this process, killed after so many seconds; what it printed, and how it ended."""
    (out, into_out), (err, into_err) = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.dup2(into_out, 1)
            os.dup2(into_err, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            sys.__stdout__ = sys.stdout
            act()
            code = 0
        except SystemExit as left:
            code = left.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except OSError:
                    code = code or 120
            os._exit(code)
    os.close(into_out)
    os.close(into_err)
    if seconds is not None:
        import time

        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    texts = []
    for end in (out, err):
        with os.fdopen(end, "rb") as file:
            texts.append(file.read().decode())
    status = os.waitpid(pid, 0)[1]
    return Ended(os.waitstatus_to_exitcode(status), *texts)


def command(*arguments, cwd, before=None, seconds=None):
    """A command of polymodal in a fork; `before` runs there first."""

    def act():
        from polymodal.cli.app import main

        os.chdir(cwd)
        sys.argv = ["polymodal", *map(str, arguments)]
        if before is not None:
            before()
        main()

    return forked(act, seconds)


def litter(folder):
    """Hidden names of what was being written, below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*") if HIDDEN.fullmatch(path.name))


def _is_file(path):
    try:
        return path.is_file()
    except OSError:  # a link to itself
        return False


def snapshot(path):
    """What a file or folder holds; None where there is none."""
    if path.is_file():
        return path.read_bytes()
    files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if _is_file(file)}
    hidden = [name for name in files if any(map(HIDDEN.fullmatch, Path(name).parts))]
    return {name: content for name, content in files.items() if name not in hidden} or None
