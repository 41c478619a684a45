"""A folder of what a model made: pictures, a table, and a sheet of all to look at."""

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
"""The file that says what is in the folder, and so what may be replaced."""


class Answers(NamedTuple):
    """What a model made, and of what."""

    schema: Schema
    rows: list[int]
    """Their numbers, B."""
    made: Mapping[str, Tensor]
    """By name, `(S, B, *shape)`: S draws."""
    truth: Batch | None = None
    """What the rows hold."""
    given: Tensor | None = None
    """What the model was told of it, `(B, M)` bool."""

    @property
    def draws(self) -> int:
        """S."""
        return len(next(iter(self.made.values())))

    def true(self, name: str, place: int) -> Tensor | None:
        """What a row holds of a modality; None where it has none."""
        if self.truth is None or not self.truth.observed[place, self.schema.index(name)]:
            return None
        return self.truth.values[name][place]


def write(folder: Path, answers: Answers, about: Mapping[str, Any]) -> Path:
    """Writes pictures `<modality>/<row>.png`, `table.csv`, `grid.png` and `made.json`: all of them or none.

    They are written into a new folder beside it, which then takes its name.

    Arguments:
        folder: Where to; it may be missing, be empty, or hold what an earlier call wrote.
        answers: What to write.
        about: What was asked, for `made.json`; JSON's types.

    Returns:
        The folder.

    Raises:
        ValueError: The folder holds something else.
    """
    from polymodal.cli.contact_sheet import sheet

    refuse_foreign(folder)
    with checkpoint.replacing(folder.resolve()) as fresh:
        _write_pictures(fresh, answers)
        (fresh / "table.csv").write_text(_csv(columns(answers)), encoding="utf-8", newline="\n")
        sheet(answers).save(fresh / "grid.png")
        files = sorted([*_files(fresh), RECORD])
        (fresh / RECORD).write_text(checkpoint.to_json({**about, "files": files}), encoding="utf-8", newline="\n")
    return folder


def check(folder: Path, command: str, sources: Iterable[Path], *, overwrite: bool) -> None:
    """Refuses a folder that may not be written, before anything is made that takes long.

    Arguments:
        folder: To write.
        command: That writes it, and may replace what it wrote before.
        sources: Files and folders that it is made from.
        overwrite: Whether that may be replaced.

    Raises:
        OSError: The folder cannot be written there.
        ValueError: It is one of the sources, lies in one or holds one, holds something else than what the command
            wrote, or holds that and is not to be replaced.
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
    """Refuses a folder that holds anything but what `write` wrote.

    Raises:
        ValueError: It does, it is a file, or the process stands in it.
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
    """What a folder holds that `write` has not written there.

    Raises:
        ValueError: Its record of that is damaged.
    """
    own = _record(folder).get("files", [])
    if not (isinstance(own, list) and all(isinstance(name, str) for name in own)):
        raise ValueError(f"{folder / RECORD} must have a list of names as files; got {own!r}; restore or remove it")
    return sorted({*_files(folder)} - {*own})


def _record(folder: Path) -> dict[str, Any]:
    return checkpoint.read_json(folder / RECORD) if (folder / RECORD).is_file() else {}


def columns(answers: Answers) -> list[tuple[str, list[Any]]]:
    """Rows' numbers and all that is no picture, made and true, in users' units: columns of S x B values."""
    several = answers.draws > 1
    cells = [(draw, place) for place in range(len(answers.rows)) for draw in range(answers.draws)]
    table: list[tuple[str, list[Any]]] = [("row", [answers.rows[place] for _, place in cells])]
    table += [("draw", [draw for draw, _ in cells])] if several else []
    for name, values in answers.made.items():
        modality = answers.schema[name]
        if pictorial(modality):
            continue
        table.append((name, [_written(modality, values[cell]) for cell in cells]))
        if answers.truth is not None:
            table.append((f"{name}_truth", [_written(modality, answers.true(name, place)) for _, place in cells]))
    return table


def pictorial(modality: Modality) -> bool:
    """Whether people look at its values rather than read them."""
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
    """A modality's name as that of a folder: all but letters, digits, space, _ and - in hexadecimal.

    Example:
        >>> _safe("m0"), _safe("../a.b"), _safe("")
        ('m0', '%2E%2E%2Fa%2Eb', '%')
    """
    return re.sub(r"[^\w -]", lambda odd: "".join(f"%{byte:02X}" for byte in odd[0].encode()), name) or "%"


def _written(modality: Modality, value: Tensor | None) -> Any:
    """A value in a cell of a table; several numbers as a JSON list."""
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
    if quoting == csv.QUOTE_MINIMAL and "\r" in file.getvalue():  # which readers take for the end of a line
        return _csv(table, csv.QUOTE_NONNUMERIC)
    return file.getvalue()


def _files(folder: Path) -> Iterator[str]:
    """Files below a folder, as `a/b.png`, and its empty folders."""
    for path in folder.rglob("*") if folder.exists() else ():
        if not path.is_dir() or not any(path.iterdir()):
            yield path.relative_to(folder).as_posix()
