"""Loading under guard: within a time, and with all that could run a file's code made to raise."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import polymodal as pm

PAYLOAD = "__import__('os').system('touch owned')"
"""Code, for wherever a file has a string; it leaves a file, and must never be compiled."""

FORBIDDEN = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
)

_watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event in FORBIDDEN or (event == "compile" and "owned" in str(arguments[0])):
        raise AssertionError(f"a file made {event} happen: {arguments!r}")


sys.addaudithook(_watch)


class Forbidden:
    """Stands in for what must not be called."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise AssertionError("a file was unpickled")


@contextmanager
def guarded(seconds: float = 20.0) -> Iterator[None]:
    """Nothing within unpickles, compiles a payload, starts a process, or takes longer than this."""
    global _watching

    def late(*_: Any) -> None:
        raise AssertionError(f"it took more than {seconds} seconds")

    places = [(pickle, name) for name in ("Unpickler", "_Unpickler", "load", "loads", "_load", "_loads")]
    places += [(torch, "load"), (torch.serialization, "load"), (os, "system"), (subprocess, "Popen")]
    patches = [patch.object(place, name, Forbidden) for place, name in places]
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        for one in patches:
            one.start()
        _watching = True
        yield
    finally:
        _watching = False
        for one in patches:
            one.stop()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def told(read: Callable[[], Any], folder: Path) -> str:
    """What the one error of reading says: a ValueError or FileNotFoundError of one line, that names a file."""
    with guarded():
        try:
            read()
        except (ValueError, FileNotFoundError) as error:
            message = str(error)
        else:
            raise AssertionError("it was read")
    assert message.isprintable(), message
    assert len(message) < 1000 + len(str(folder)), message
    assert str(folder) in message, message
    return message


def refused(folder: Path) -> str:
    """What loading a model says."""
    return told(lambda: pm.load(folder), folder)
