"""Exports the model of a run, and shows what was written."""

from __future__ import annotations

from pathlib import Path

from polymodal.cli.run_folder import open_model
from polymodal.runtime.formatting import printable

__all__ = ["export_run"]


def export_run(folder: Path, out: Path | None, *, to: str, overwrite: bool) -> Path:
    """Exports the model of a run to a folder, and prints the files and how to use them.

    Arguments:
        folder: Run folder.
        out: Output folder; by default the folder named like the format in the run folder.
        to: Format: "onnx".
        overwrite: Whether to replace an earlier export.

    Returns:
        The output folder.
    """
    from polymodal.onnx import export

    made = export(open_model(folder, "cpu"), folder / to if out is None else out, overwrite=overwrite)
    for path in sorted(made.iterdir()):
        print(f"{path.stat().st_size:>14,} bytes  {path.name}")
    print(f"Wrote {printable(made)}, which predicts the same values as PyTorch on random rows. To use it:")
    print(f"  polymodal.onnx.Predictor({str(made)!r}).translate([{{...}}])")
    return made
