"""Output folder of predictions or samples: image files, a table of all other values, and a contact sheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from polymodal.cli import output_checks
from polymodal.cli.contact_sheet import draw_contact_sheet
from polymodal.cli.predictions import Predictions, is_drawn_as_image, tabulate_values
from polymodal.cli.run_folder import refuse_unwritable
from polymodal.io import checkpoint
from polymodal.runtime.formatting import brief

__all__ = ["check_output_folder", "list_foreign_files", "refuse_foreign_files", "write_output_folder"]

RECORD = "made.json"
"""Name of the file that lists the files in the folder, which later calls may replace."""


def write_output_folder(folder: Path, predictions: Predictions, about: Mapping[str, Any]) -> Path:
    """Writes images `<modality>/<row>.png`, `table.csv`, `grid.png` and `made.json`: all of them or none.

    With several samples per row, the images are `<modality>/<row>-<sample>.png`. The files are written into a new
    folder, which then replaces the old one.

    Arguments:
        folder: Output folder; it may be missing, be empty, or hold the output of an earlier call.
        predictions: Predictions or samples to write.
        about: Arguments of the command, for `made.json`; values must have JSON types.

    Returns:
        The folder.

    Raises:
        ValueError: The folder holds other files.
    """
    refuse_foreign_files(folder)
    with checkpoint.replace_folder(folder.resolve()) as fresh:
        _write_images(fresh, predictions)
        (fresh / "table.csv").write_text(_csv(tabulate_values(predictions)), encoding="utf-8", newline="\n")
        draw_contact_sheet(predictions).save(fresh / "grid.png")
        files = sorted([*_files(fresh), RECORD])
        (fresh / RECORD).write_text(checkpoint.to_json({**about, "files": files}), encoding="utf-8", newline="\n")
    return folder


def check_output_folder(folder: Path, command: str, sources: Iterable[Path], *, overwrite: bool) -> None:
    """Checks that an output folder can be written, before a long computation.

    Arguments:
        folder: Output folder.
        command: Name of the command; it may only replace its own earlier output.
        sources: Input files and folders.
        overwrite: Whether to replace earlier output of the command.

    Raises:
        OSError: The folder cannot be written.
        ValueError: The folder is, contains or is inside an input, holds files that the command did not write, or holds
            earlier output and `overwrite` is not set.
    """
    output_checks.refuse_sources(folder, sources)
    refuse_foreign_files(folder)
    by = _record(folder).get("command", command)
    if by != command:
        raise ValueError(
            f"{folder} must be empty or hold output of {command}, because it will be replaced; it holds output of "
            f"{brief(by, 40)}; choose another --out"
        )
    if folder.exists() and any(folder.iterdir()):
        output_checks.refuse_existing(folder, overwrite=overwrite)
    refuse_unwritable(folder.resolve().parent, "--out")


def refuse_foreign_files(folder: Path) -> None:
    """Checks that a folder holds only files that `write_output_folder` wrote.

    Raises:
        ValueError: The folder holds other files, is a file, or is or contains the working directory of the process.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a folder, but it is a file; choose another --out")
    if folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise ValueError(
            f"{folder} will be replaced, so it must not be or contain the working directory; choose another --out"
        )
    if held := list_foreign_files(folder):
        raise ValueError(
            f"{folder} must be empty or hold only output of this command, because it will be replaced; it holds "
            f"{', '.join(held[:3])}; choose another --out"
        )


def list_foreign_files(folder: Path) -> list[str]:
    """Returns the files and empty folders in a folder that `write_output_folder` did not write.

    Raises:
        ValueError: The record of the written files is damaged.
    """
    own = _record(folder).get("files", [])
    if not (isinstance(own, list) and all(isinstance(name, str) for name in own)):
        raise ValueError(
            f"{folder / RECORD} must have a list of file names as files; got {own!r}; restore or remove it"
        )
    return sorted({*_files(folder)} - {*own})


def _record(folder: Path) -> dict[str, Any]:
    return checkpoint.read_json(folder / RECORD) if (folder / RECORD).is_file() else {}


def _write_images(folder: Path, predictions: Predictions) -> None:
    for name, values in predictions.values.items():
        if not is_drawn_as_image(predictions.schema[name]):
            continue
        (folder / _safe(name)).mkdir()
        for sample, images in enumerate(values):
            for row, image in zip(predictions.rows, images, strict=True):
                suffix = f"-{sample}" if predictions.samples > 1 else ""
                predictions.schema[name].show(image.cpu()).save(folder / _safe(name) / f"{row}{suffix}.png")


def _safe(name: str) -> str:
    """Returns a folder name for a modality: all but letters, digits, space, _ and - are percent-encoded.

    Example:
        >>> _safe("m0"), _safe("../a.b"), _safe("")
        ('m0', '%2E%2E%2Fa%2Eb', '%')
    """
    return re.sub(r"[^\w -]", lambda odd: "".join(f"%{byte:02X}" for byte in odd[0].encode()), name) or "%"


def _csv(table: list[tuple[str, list[Any]]], quoting: Any = csv.QUOTE_MINIMAL) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n", quoting=quoting)
    writer.writerow([head for head, _ in table])
    writer.writerows(zip(*(values for _, values in table), strict=True))
    if quoting == csv.QUOTE_MINIMAL and "\r" in file.getvalue():  # readers would parse it as the end of a line
        return _csv(table, csv.QUOTE_NONNUMERIC)
    return file.getvalue()


def _files(folder: Path) -> Iterator[str]:
    """Yields relative paths, such as `a/b.png`, of all files and empty folders in a folder."""
    for path in folder.rglob("*") if folder.exists() else ():
        if not path.is_dir() or not any(path.iterdir()):
            yield path.relative_to(folder).as_posix()
