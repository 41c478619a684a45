"""The command `polymodal report`."""

from __future__ import annotations

from polymodal.cli.interruption import claim_output
from polymodal.cli.shared_options import Device, OnChanged, RunFolder
from polymodal.cli.terminal import tell
from polymodal.runtime.formatting import printable

__all__ = ["report"]


def report(folder: RunFolder, device: Device = "auto", on_changed: OnChanged = "error") -> None:
    """Write the report of a run, report.html, again, with images, scores and losses.

    The report is based on the run's model, history and scores. A run without scores is evaluated first.
    """
    from polymodal.cli.run_folder import rewrite_report

    with claim_output(folder / "report.html"):
        tell(f"Report: {printable(rewrite_report(folder, device, on_changed).resolve())}")
