"""Asking a run's model: translations of rows, codes of rows, samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from polymodal import inference
from polymodal.interfaces import gallery, parquet
from polymodal.interfaces.runs import open_model, open_table
from polymodal.progress import shown
from polymodal.streams import seeded

if TYPE_CHECKING:
    from torch import Tensor

    from polymodal.batch import Batch
    from polymodal.models import Model
    from polymodal.schema import Schema

__all__ = ["embed", "numbered", "sample", "selected", "stream", "translate"]

PASS = 256
"""Rows that are translated at once."""


def translate(
    folder: Path,
    *,
    given: Sequence[str] = (),
    to: Sequence[str] = (),
    rows: str = "0:8",
    split: str = "test",
    samples: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
) -> tuple[Path, gallery.Answers]:
    """Makes modalities of a split's rows from others, and writes them into a folder.

    Arguments:
        folder: Of the run.
        given: Names of what to start from; by default all that each row has.
        to: Names of what to make; by default every modality.
        rows: Numbers and ranges, such as "0:8" or "3,5,9".
        split: Of the run's data set.
        samples: Draws from the posterior; by default one answer, from its mean.
        seed: Of the draws.
        out: Where to; by default `translations` in the run's folder.
        device: As in `fit`.

    Returns:
        The folder, and what is in it.

    Raises:
        ValueError: A name or a row does not exist, a row has nothing of what is given, or `out` holds something
            else.
    """
    out = out or folder / "translations"
    gallery.refuse_foreign(out)
    model, table = open_model(folder, device), open_table(folder, split)
    starts, ends = selected(given, table.schema), selected(to, table.schema)
    chosen = numbered(rows, len(table))
    batch = table[chosen]
    seen = table.schema.mask(starts) & batch.observed
    _refuse_blind(table.schema, chosen, batch.observed, seen, starts)
    with seeded(seed, model.weight.device):
        made = _translated(model, batch, seen, ends, samples)
    answers = gallery.Answers(table.schema, chosen, made, batch, seen)
    asked = {"run": str(folder), "split": split, "given": starts, "to": ends, "rows": chosen}
    return gallery.write(out, answers, {"command": "translate", **asked, "samples": samples, "seed": seed}), answers


def stream(
    folder: Path,
    *,
    out: Path,
    given: Sequence[str] = (),
    to: Sequence[str] = (),
    rows: str | None = None,
    split: str = "test",
    device: str = "auto",
    batch_size: int = PASS,
) -> tuple[int, int]:
    """As `translate`, into one Parquet file, as the answers come: `row`, and a column per modality.

    Arguments:
        folder: Of the run.
        out: The file; an existing one is replaced if it is Parquet.
        given: Names of what to start from; by default all that each row has.
        to: Names of what to make; by default every modality.
        rows: Numbers and ranges, such as "0:8" or "3,5,9"; by default all.
        split: Of the run's data set.
        device: As in `fit`.
        batch_size: Rows per pass.

    Returns:
        How many rows were written, and how many were left out, for they have nothing of what is given.

    Raises:
        OSError: The file cannot be written there.
        ValueError: A name or a row does not exist, or the file is a folder or something else than Parquet.
    """
    import pyarrow as pa

    parquet.check(out, "translations.parquet")
    model, table = open_model(folder, device), open_table(folder, split)
    schema, starts, ends = table.schema, selected(given, table.schema), selected(to, table.schema)
    chosen = None if rows is None else numbered(rows, len(table))
    count = len(table) if chosen is None else len(chosen)
    kinds = parquet.columns(schema, ends, {"row": pa.int64()})
    parts = inference.translate(model, table, starts, ends, batch_size, rows=chosen)
    written = 0
    with parquet.writing(out, kinds) as write:
        for numbers, values in shown(parts, "translating", -(-count // batch_size)):
            made = {name: parquet.cells(schema[name], value) for name, value in values.items()}
            write({"row": numbers.numpy(), **made})
            written += len(numbers)
    return written, count - written


def sample(
    folder: Path, *, number: int = 16, seed: int = 0, out: Path | None = None, device: str = "auto"
) -> tuple[Path, gallery.Answers]:
    """Makes rows from the prior, and writes them into a folder. PyTorch's random state is left as it was.

    Arguments:
        folder: Of the run.
        number: Of rows.
        seed: Of the draws.
        out: Where to; by default `samples` in the run's folder.
        device: As in `fit`.

    Returns:
        The folder, and what is in it.

    Raises:
        ValueError: `out` holds something else.
    """
    out = out or folder / "samples"
    gallery.refuse_foreign(out)
    model = open_model(folder, device)
    with seeded(seed, model.weight.device):
        made = {name: value[None] for name, value in model.sample(number).items()}
    answers = gallery.Answers(model.schema, list(range(number)), made)
    asked = {"command": "sample", "run": str(folder), "number": number, "seed": seed}
    return gallery.write(out, answers, asked), answers


def embed(
    folder: Path,
    *,
    out: Path,
    given: Sequence[str] = (),
    split: str = "test",
    device: str = "auto",
    batch_size: int = 256,
) -> tuple[int, int]:
    """Writes the codes of a split's rows as Parquet: `row`, `z0`, `z1`, ..., and a column per label.

    Arguments:
        folder: Of the run.
        out: The file; an existing one is replaced if it is Parquet.
        given: Names of what to start from; by default all that each row has.
        split: Of the run's data set.
        device: As in `fit`.
        batch_size: Rows per pass.

    Returns:
        How many rows were written, and how many were left out, for they have nothing of what is given.

    Raises:
        OSError: The file cannot be written there.
        ValueError: A name does not exist, or the file is a folder or something else than Parquet.
    """
    import pyarrow as pa

    parquet.check(out, "codes.parquet")
    model, table = open_model(folder, device), open_table(folder, split)
    schema, names = table.schema, selected(given, table.schema)
    labels = [name for name, modality in schema.items() if modality.levels is not None and not modality.shape]
    axes = [f"z{axis}" for axis in range(model.code_dim)]
    kinds = parquet.columns(schema, labels, {"row": pa.int64(), **dict.fromkeys(axes, pa.float32())})
    parts = inference.embed(model, table, names, batch_size)
    written = 0
    with parquet.writing(out, kinds) as write:
        for rows, z in shown(parts, "embedding", -(-len(table) // batch_size)):
            batch = table[rows]
            known = {name: _known(schema, name, batch) for name in labels}
            write({"row": rows.numpy(), **dict(zip(axes, z.float().numpy().T, strict=True)), **known})
            written += len(rows)
    return written, len(table) - written


def selected(texts: Iterable[str], schema: Schema) -> list[str]:
    """Names of modalities from "m0,label", each once; none means all.

    Raises:
        ValueError: One of them does not exist.
    """
    names = [name for text in texts for name in ([text] if text in schema else map(str.strip, text.split(",")))]
    for name in names:
        schema.index(name)  # refuses one that does not exist
    return list(dict.fromkeys(names)) or list(schema)


def numbered(text: str, length: int) -> list[int]:
    """Numbers of rows from "0:8" or "3,5,9", each once.

    Raises:
        ValueError: There is no such row.

    Example:
        >>> numbered("0:3", 10), numbered("9, 3, ::4", 10), numbered("-2:", 10)
        ([0, 1, 2], [9, 3, 0, 4, 8], [8, 9])
    """
    try:
        rows = [row for part in text.split(",") for row in _range(part, length)]
    except (ValueError, IndexError):
        rows = []
    if not rows:
        raise ValueError(f"rows must be among 0..{length - 1}, such as 0:8 or 3,5,9; got {text!r}")
    return list(dict.fromkeys(rows))


def _range(part: str, length: int) -> Iterable[int]:
    numbers = [int(number) if number.strip() else None for number in part.split(":")]
    return range(length)[slice(*numbers)] if ":" in part else [range(length)[int(part)]]


def _translated(model: Model, batch: Batch, seen: Tensor, to: list[str], samples: int | None) -> dict[str, Tensor]:
    """Answers `(S, B, *shape)` by name, on the CPU; one draw unless there are samples."""
    starts = range(0, len(batch), PASS)
    parts = shown(starts, "translating", len(starts)) if len(starts) > 1 else starts
    passes = [model.translate(batch[start : start + PASS], seen[start : start + PASS], to, samples) for start in parts]
    whole = {name: torch.cat([part[name].cpu() for part in passes], dim=0 if samples is None else 1) for name in to}
    return whole if samples is not None else {name: value[None] for name, value in whole.items()}


def _refuse_blind(schema: Schema, rows: list[int], observed: Tensor, seen: Tensor, given: list[str]) -> None:
    """Refuses a row that has nothing of what is given, by its number in the table."""
    if len(blind := (~seen.any(1)).nonzero()):
        place = int(blind[0])
        has = [name for name, here in zip(schema, observed[place].tolist(), strict=True) if here]
        raise ValueError(
            f"every row must be given something that it has; row {rows[place]} has only {', '.join(has)}, and was "
            f"given {', '.join(given)}; leave it out of --rows, or give more"
        )


def _known(schema: Schema, name: str, batch: Batch) -> list[str | int | None]:
    """A label of rows as a file holds it; None where a row has none."""
    has = batch.observed[:, schema.index(name)]
    return parquet.cells(schema[name], batch.values.get(name, has), has.tolist())
