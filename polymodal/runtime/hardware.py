"""Name of the processor or GPU, and peak memory use of the process."""

from __future__ import annotations

import platform
import resource
import sys
from pathlib import Path

import torch

__all__ = ["describe_device", "describe_processor", "measure_peak_memory", "reset_peak_memory"]


def describe_device(device: torch.device) -> str:
    """Returns the name of a GPU, or the name of the processor and the number of threads.

    Example:
        >>> describe_device(torch.device("cpu")).endswith(("thread", "threads"))
        True
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{describe_processor() or 'CPU'}, {threads} thread{'s' * (threads > 1)}"


def describe_processor() -> str | None:
    """Returns the model name of the processor; None if the system does not provide it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def reset_peak_memory() -> int:
    """Resets the peak memory use of the process and returns its current memory use in bytes.

    If the system cannot reset the peak, as on systems other than Linux, returns the peak instead.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not Linux: the peak, which is little more than the current memory use
        return measure_peak_memory()
    return _read_status("VmRSS")


def measure_peak_memory() -> int:
    """Returns the peak memory use of the process in bytes; on Linux, the peak since `reset_peak_memory`."""
    if Path("/proc/self/status").exists():
        return _read_status("VmHWM")
    # Bytes on macOS, kilobytes elsewhere.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _read_status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
