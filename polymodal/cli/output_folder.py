"""Output folder of predictions or samples: image files, a table of all other values, and a contact sheet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import PIL.Image
from torch import Tensor

from polymodal.cli import output_checks
from polymodal.cli.run_folder import refuse_unwritable
from polymodal.io import checkpoint
from polymodal.runtime.formatting import brief

if TYPE_CHECKING:
    from polymodal.batch import Batch
    from polymodal.modalities import Modality
    from polymodal.schema import Schema

__all__ = ["Answers", "check", "columns", "foreign", "pictorial", "refuse_foreign", "write"]

RECORD = "made.json"
"""Name of the file that lists the files in the folder, which later calls may replace."""


class Answers(NamedTuple):
    """Predictions or samples of a model, with the input rows of predictions."""

    schema: Schema
    rows: list[int]
    """Numbers of the B rows."""
    made: Mapping[str, Tensor]
    """Predicted or sampled values by modality, `(S, B, *shape)`, for S samples per row."""
    truth: Batch | None = None
    """The input rows."""
    given: Tensor | None = None
    """Conditioning mask of the rows, `(B, M)` bool."""

    @property
    def draws(self) -> int:
        """Returns the number of samples per row, S."""
        return len(next(iter(self.made.values())))

    def true(self, name: str, place: int) -> Tensor | None:
        """Returns the true value of a modality in a row, or None where it is missing."""
        if self.truth is None or not self.truth.observed[place, self.schema.index(name)]:
            return None
        return self.truth.values[name][place]


def write(folder: Path, answers: Answers, about: Mapping[str, Any]) -> Path:
    """Writes images `<modality>/<row>.png`, `table.csv`, `grid.png` and `made.json`: all of them or none.

    With several samples per row, the images are `<modality>/<row>-<sample>.png`. The files are written into a new
    folder, which then replaces the old one.

    Arguments:
        folder: Output folder; it may be missing, be empty, or hold the output of an earlier call.
        answers: Predictions or samples to write.
        about: Arguments of the command, for `made.json`; values must have JSON types.

    Returns:
        The folder.

    Raises:
        ValueError: The folder holds other files.
    """
    from polymodal.cli.contact_sheet import sheet

    refuse_foreign(folder)
    with checkpoint.replace_folder(folder.resolve()) as fresh:
        _write_pictures(fresh, answers)
        (fresh / "table.csv").write_text(_csv(columns(answers)), encoding="utf-8", newline="\n")
        sheet(answers).save(fresh / "grid.png")
        files = sorted([*_files(fresh), RECORD])
        (fresh / RECORD).write_text(checkpoint.to_json({**about, "files": files}), encoding="utf-8", newline="\n")
    return folder


def check(folder: Path, command: str, sources: Iterable[Path], *, overwrite: bool) -> None:
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
    refuse_foreign(folder)
    by = _record(folder).get("command", command)
    if by != command:
        raise ValueError(
            f"{folder} must be empty or hold what {command} wrote, for it is replaced; {brief(by, 40)} wrote it; "
            "choose another --out"
        )
    if folder.exists() and any(folder.iterdir()):
        output_checks.refuse_existing(folder, overwrite=overwrite)
    refuse_unwritable(folder.resolve().parent, "--out")


def refuse_foreign(folder: Path) -> None:
    """Checks that a folder holds only files that `write` wrote.

    Raises:
        ValueError: The folder holds other files, is a file, or is or contains the working directory of the process.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a folder, but it is a file; choose another --out")
    if folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise ValueError(f"{folder} must be a folder of its own, for it is replaced; the process stands in it")
    if held := foreign(folder):
        raise ValueError(
            f"{folder} must be empty or hold what this command wrote, for it is replaced; it holds "
            f"{', '.join(held[:3])}; choose another --out"
        )


def foreign(folder: Path) -> list[str]:
    """Returns the files and empty folders in a folder that `write` did not write.

    Raises:
        ValueError: The record of the written files is damaged.
    """
    own = _record(folder).get("files", [])
    if not (isinstance(own, list) and all(isinstance(name, str) for name in own)):
        raise ValueError(f"{folder / RECORD} must have a list of names as files; got {own!r}; restore or remove it")
    return sorted({*_files(folder)} - {*own})


def _record(folder: Path) -> dict[str, Any]:
    return checkpoint.read_json(folder / RECORD) if (folder / RECORD).is_file() else {}


def columns(answers: Answers) -> list[tuple[str, list[Any]]]:
    """Returns row numbers and all values other than images, predicted and true, in original units.

    Returns:
        Pairs of a column name and its S x B values; the samples of a row are consecutive.
    """
    several = answers.draws > 1
    cells = [(draw, place) for place in range(len(answers.rows)) for draw in range(answers.draws)]
    table: list[tuple[str, list[Any]]] = [("row", [answers.rows[place] for _, place in cells])]
    table += [("draw", [draw for draw, _ in cells])] if several else []
    for name, values in answers.made.items():
        modality = answers.schema[name]
        if pictorial(modality):
            continue
        table.append((name, [_to_cell(modality, values[cell]) for cell in cells]))
        if answers.truth is not None:
            table.append((f"{name}_truth", [_to_cell(modality, answers.true(name, place)) for _, place in cells]))
    return table


def pictorial(modality: Modality) -> bool:
    """Returns whether values of a modality are shown as images."""
    return isinstance(modality.show(modality.blank.clamp(min=0)), PIL.Image.Image)


def _write_pictures(folder: Path, answers: Answers) -> None:
    for name, values in answers.made.items():
        if not pictorial(answers.schema[name]):
            continue
        (folder / _safe(name)).mkdir()
        for draw, pictures in enumerate(values):
            for row, picture in zip(answers.rows, pictures, strict=True):
                suffix = f"-{draw}" if answers.draws > 1 else ""
                answers.schema[name].show(picture.cpu()).save(folder / _safe(name) / f"{row}{suffix}.png")


def _safe(name: str) -> str:
    """Returns a folder name for a modality: all but letters, digits, space, _ and - are percent-encoded.

    Example:
        >>> _safe("m0"), _safe("../a.b"), _safe("")
        ('m0', '%2E%2E%2Fa%2Eb', '%')
    """
    return re.sub(r"[^\w -]", lambda odd: "".join(f"%{byte:02X}" for byte in odd[0].encode()), name) or "%"


def _to_cell(modality: Modality, value: Tensor | None) -> Any:
    """Returns a value as a cell of a table; several numbers become a JSON list."""
    if value is None:
        return None
    raw = modality.write(value.cpu())
    raw = raw.tolist() if hasattr(raw, "tolist") else raw
    if isinstance(raw, list):
        return raw[0] if len(raw) == 1 else json.dumps(raw)
    return raw


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
