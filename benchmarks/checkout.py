"""Commits of this repository, and their files in a folder that is there for a while."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "check_out", "commit", "describe_working_tree"]

ROOT = Path(__file__).parents[1]


def commit(name: str) -> str:
    """Returns the full name of a commit.

    Arguments:
        name: Name of the commit for git: a hash, a branch, a tag, or `HEAD~3`.

    Raises:
        ValueError: There is none of this name, or no repository.
    """
    if not name.strip():
        raise ValueError("base must name a commit, such as main, v0.1 or HEAD~3; got nothing; write BASE=main")
    done = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if done.returncode == 0:
        return done.stdout.strip()
    if _git("rev-parse", "--git-dir").returncode:
        raise ValueError(f"comparing commits needs a git repository; {ROOT} is none; clone it rather than copy it")
    raise ValueError(f"base must name a commit, such as main, v0.1 or HEAD~3; {name!r} names none; see git log")


def describe_working_tree() -> str:
    """Returns the short name of the working tree's commit, and whether the tree has changes."""
    changed = _git("status", "--porcelain", "--", "polymodal", "benchmarks").stdout.strip()
    return commit("HEAD")[:9] + (" and changes that are not committed" if changed else "")


@contextmanager
def check_out(name: str) -> Iterator[Path]:
    """Creates a folder with the files of a commit: a git worktree that is removed afterwards, also after an error.

    SIGTERM is handled like Ctrl-C, so that the folder is removed then, too.
    """
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with tempfile.TemporaryDirectory(prefix="polymodal-", ignore_cleanup_errors=True) as folder:
            place = Path(folder).resolve() / "base"
            try:
                done = _git("worktree", "add", "--detach", str(place), name)
                if done.returncode:
                    raise OSError(f"git could not check {name} out: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
                yield place
            finally:
                _git("worktree", "remove", "--force", str(place))
    finally:
        signal.signal(signal.SIGTERM, before)


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ValueError("comparing commits needs git, and there is none; install it") from None


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt
