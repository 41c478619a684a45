"""The machine that something ran on, and the most memory that it took."""

from __future__ import annotations

import platform
import resource
import sys
from pathlib import Path

import torch

__all__ = ["described", "most", "processor", "restart"]


def described(device: torch.device) -> str:
    """What computes: a GPU's name, or the processor's and the number of threads.

    Example:
        >>> described(torch.device("cpu")).endswith(("thread", "threads"))
        True
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor() or 'CPU'}, {threads} thread{'s' * (threads > 1)}"


def processor() -> str | None:
    """The processor's model name; None where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def restart() -> int:
    """The bytes that the process holds, from which its most is counted anew where the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # another system than Linux: what was held at most, which is little more than what is held
        return most()
    return _status("VmRSS")


def most() -> int:
    """The most bytes that the process held, since `restart` on Linux."""
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    # Bytes on macOS, kilobytes elsewhere.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
