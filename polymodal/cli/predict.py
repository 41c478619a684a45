"""Asking a run's model: translations of rows, codes of rows, samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from polymodal.cli import output_checks, output_folder, parquet_output
from polymodal.cli.run_folder import open_model, open_tables
from polymodal.datasets import user_tables
from polymodal.inference import streaming
from polymodal.modalities.base import Bounds, check_bounds
from polymodal.runtime.formatting import split_names
from polymodal.runtime.progress import say, shown
from polymodal.table import frames

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from polymodal.batch import Batch
    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["embed", "numbered", "sample", "selected", "stream", "translate"]

PASS = 256
"""Rows that are translated at once."""
READ = 4096
"""Rows of a table's file that are read at once, at least."""


class Source(NamedTuple):
    """Rows to ask a model about."""

    rows: int
    passes: int
    """How many batches they are."""
    pieces: Iterable[tuple[Tensor, Table]]
    """Numbers of rows, and what they hold; those that hold nothing are left out."""
    told: Callable[[], list[str]] = list
    """What was not taken as it stands, a sentence each, once all pieces are read."""


def translate(
    folder: Path,
    file: user_tables.File | None = None,
    *,
    given: Sequence[str] = (),
    to: Sequence[str] = (),
    rows: str = "0:8",
    split: str | None = None,
    samples: int | None = None,
    combine: Literal["mean"] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    temperature: float | None = None,
    seed: int = 0,
    bounds: Bounds = "observed",
    out: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    on_changed: str = "error",
) -> tuple[Path, output_folder.Answers]:
    """Makes modalities of rows from others, and writes them into a folder.

    Arguments:
        folder: Of the run.
        file: A table with the rows; by default they are those of a split.
        given: Names of what to start from; by default all that each row has.
        to: Names of what to make; by default every modality.
        rows: Numbers and ranges, such as "0:8" or "3,5,9".
        split: Of the run's data set; by default the test split.
        samples: Number of posterior samples of each row; by default one prediction, from the posterior mean.
        combine: As in `Model.translate`.
        steps: As there.
        guidance: As there.
        temperature: As there.
        seed: Random seed of the samples.
        bounds: What predicted numbers are held to, as in `polymodal.impute`.
        out: Where to; by default `translations` in the run's folder.
        device: As in `fit`.
        overwrite: Whether earlier translations may be replaced.
        on_changed: What to do where the table that the run was trained on has changed: "error", or "warn", which reads
            it with the model's schema.

    Returns:
        The folder, and what is in it.

    Raises:
        ValueError: A name or a row does not exist, a row has nothing of what is given, a cell cannot be read, there
            are both a file and a split, or `out` holds something else, or translations that are not to be replaced.
    """
    check_bounds(bounds)
    out = out or folder / "translations"
    _refuse_both(file, split)
    model = open_model(folder, device)
    schema = model.schema
    starts, ends = selected(given, schema), selected(to, schema)
    output_folder.check(out, "translate", _sources(folder, file, tables=False), overwrite=overwrite)
    chosen, batch = _chosen(folder, schema, rows, split, file, on_changed)
    seen = schema.mask(starts) & batch.observed
    _refuse_blind(schema, chosen, batch.observed, seen, starts)
    options = {"samples": samples, "combine": combine, "steps": steps, "guidance": guidance}
    options["temperature"] = temperature
    if samples is not None:
        options["seed"] = seed
    made = _translate_batches(model, batch, seen, ends, chosen, options)
    made = {name: schema[name].bound(value, bounds) for name, value in made.items()}
    answers = output_folder.Answers(schema, chosen, made, batch, seen)
    where = {"split": split or "test"} if file is None else {"file": str(file.path)}
    asked = {"run": str(folder), **where, "given": starts, "to": ends, "rows": chosen, **options, "bounds": bounds}
    return output_folder.write(out, answers, {"command": "translate", **asked, "seed": seed}), answers


def stream(
    folder: Path,
    file: user_tables.File | None = None,
    *,
    out: Path,
    given: Sequence[str] = (),
    to: Sequence[str] = (),
    rows: str | None = None,
    split: str | None = None,
    samples: int | None = None,
    combine: Literal["mean"] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    temperature: float | None = None,
    seed: int = 0,
    bounds: Bounds = "observed",
    device: str = "auto",
    batch_size: int = PASS,
    overwrite: bool = False,
    on_changed: str = "error",
) -> tuple[int, int]:
    """As `translate`, into one Parquet file, batch by batch: `row`, `sample` if there are several, and the modalities.

    Arguments:
        folder: Of the run.
        file: A table with the rows; by default they are those of a split.
        out: The file.
        given: Names of what to start from; by default all that each row has.
        to: Names of what to make; by default every modality.
        rows: Numbers and ranges in a split, such as "0:8" or "3,5,9"; by default all.
        split: Of the run's data set; by default the test split.
        samples: As in `translate`; the samples of a row are numbered from 0.
        combine: As there.
        steps: As there.
        guidance: As there.
        temperature: As there.
        seed: As there.
        bounds: As there.
        device: As in `fit`.
        batch_size: Rows per pass.
        overwrite: Whether an earlier file of translations may be replaced.
        on_changed: As in `translate`.

    Returns:
        How many rows were predicted, and how many were left out, for they observe nothing of what is given.

    Raises:
        OSError: The file cannot be written there.
        ValueError: A name or a row does not exist, a cell cannot be read, there are both a file and a split or
            rows, or `out` is a folder, something else than such a file, or exists.
    """
    import pyarrow as pa

    check_bounds(bounds)
    parquet_output.check(out, "translations.parquet", _sources(folder, file), columns=["row"], overwrite=overwrite)
    _refuse_both(file, split, rows)
    model = open_model(folder, device)
    schema = model.schema
    starts, ends = selected(given, schema), selected(to, schema)
    source = _source(folder, schema, split, file, batch_size, on_changed)
    chosen = None if rows is None else numbered(rows, source.rows)
    count = source.rows if chosen is None else len(chosen)
    passes = source.passes if chosen is None else -(-count // batch_size)
    options: dict[str, Any] = {"combine": combine, "steps": steps, "guidance": guidance, "temperature": temperature}
    model.check_samples(samples, **options)
    each = 1 if samples is None or combine is not None else samples  # lines per row
    several = samples is not None and combine is None
    kinds = parquet_output.columns(schema, ends, {"row": pa.int64(), **({"sample": pa.int64()} if several else {})})

    def predict(numbers: Tensor, table: Table) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        asked = model, table, starts, ends, batch_size
        if samples is None:
            return streaming.translate(*asked, rows=chosen)
        first = int(numbers[0]) if len(numbers) else 0
        return streaming.translate_samples(*asked, samples=samples, seed=seed, rows=chosen, first=first, **options)

    parts = (
        (numbers[places], values) for numbers, table in source.pieces for places, values in predict(numbers, table)
    )
    written = 0
    with parquet_output.writing(out.resolve(), kinds) as write:
        for numbers, values in shown(parts, "translating", passes):
            columns = {"row": numbers.numpy().repeat(each)}
            if several:  # all samples of a row, and then those of the next
                columns["sample"] = np.arange(len(numbers) * each) % each
                values = {name: value.transpose(0, 1).flatten(0, 1) for name, value in values.items()}
            held = {name: schema[name].bound(value, bounds) for name, value in values.items()}
            write({**columns, **{name: parquet_output.cells(schema[name], value) for name, value in held.items()}})
            written += len(numbers)
        _say(source.told())
    return written, count - written


def sample(
    folder: Path,
    *,
    number: int = 16,
    seed: int = 0,
    out: Path | None = None,
    bounds: Bounds = "observed",
    device: str = "auto",
    overwrite: bool = False,
) -> tuple[Path, output_folder.Answers]:
    """Makes rows from the prior, and writes them into a folder. PyTorch's random state is left as it was.

    Arguments:
        folder: Of the run.
        number: Of rows.
        seed: Of the draws.
        out: Where to; by default `samples` in the run's folder.
        bounds: What sampled numbers are held to, as in `polymodal.impute`.
        device: As in `fit`.
        overwrite: Whether earlier samples may be replaced.

    Returns:
        The folder, and what is in it.

    Raises:
        ValueError: `bounds` has no such value, or `out` holds something else, or samples that are not to be replaced.
    """
    check_bounds(bounds)
    out = out or folder / "samples"
    output_folder.check(out, "sample", _sources(folder, tables=False), overwrite=overwrite)
    model = open_model(folder, device)
    schema, made = model.schema, model.sample(number, seed=seed)
    made = {name: schema[name].bound(value, bounds)[None] for name, value in made.items()}
    answers = output_folder.Answers(schema, list(range(number)), made)
    asked = {"command": "sample", "run": str(folder), "number": number, "seed": seed, "bounds": bounds}
    return output_folder.write(out, answers, asked), answers


def embed(
    folder: Path,
    file: user_tables.File | None = None,
    *,
    out: Path,
    given: Sequence[str] = (),
    split: str | None = None,
    device: str = "auto",
    batch_size: int = 256,
    overwrite: bool = False,
    on_changed: str = "error",
) -> tuple[int, int]:
    """Writes the codes of rows as Parquet: `row`, `z0`, `z1`, ..., and a column per label.

    Arguments:
        folder: Of the run.
        file: A table with the rows; by default they are those of a split.
        out: The file.
        given: Names of what to start from; by default all that each row has.
        split: Of the run's data set; by default the test split.
        device: As in `fit`.
        batch_size: Rows per pass.
        overwrite: Whether an earlier file of codes may be replaced.
        on_changed: As in `translate`.

    Returns:
        How many rows were written, and how many were left out, for they have nothing of what is given.

    Raises:
        OSError: The file cannot be written there.
        ValueError: A name does not exist, a cell cannot be read, there are both a file and a split, or `out` is a
            folder, something else than such a file, or exists.
    """
    import pyarrow as pa

    parquet_output.check(out, "codes.parquet", _sources(folder, file), columns=["row", "z0"], overwrite=overwrite)
    _refuse_both(file, split)
    model = open_model(folder, device)
    schema, names = model.schema, selected(given, model.schema)
    source = _source(folder, schema, split, file, batch_size, on_changed)
    labels = [name for name, modality in schema.items() if modality.levels is not None and not modality.shape]
    axes = [f"z{axis}" for axis in range(model.code_dim)]
    kinds = parquet_output.columns(schema, labels, {"row": pa.int64(), **dict.fromkeys(axes, pa.float32())})
    parts = (
        (numbers[places], z, table[places])
        for numbers, table in source.pieces
        for places, z in streaming.embed(model, table, names, batch_size)
    )
    written = 0
    with parquet_output.writing(out.resolve(), kinds) as write:
        for rows, z, batch in shown(parts, "embedding", source.passes):
            known = {name: _known(schema, name, batch) for name in labels}
            write({"row": rows.numpy(), **dict(zip(axes, z.float().numpy().T, strict=True)), **known})
            written += len(rows)
        _say(source.told())
    return written, source.rows - written


def selected(texts: Iterable[str], schema: Schema) -> list[str]:
    """Names of modalities from "m0,label", each once; none means all.

    Raises:
        ValueError: One of them does not exist.
    """
    names = [name for text in texts for name in ([text] if text in schema else split_names(text))]
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


def _sources(folder: Path, file: user_tables.File | None = None, *, tables: bool = True) -> list[Path]:
    """What is never written over: the table that is asked about, and that of training.

    A folder of training rows may hold what is no table.
    """
    trained = [path for path in output_checks.training_table(folder) if tables or path.is_file()]
    return [*([] if file is None else [file.path]), *trained]


def _refuse_both(file: user_tables.File | None, split: str | None, rows: str | None = None) -> None:
    """Refuses what chooses among the run's own rows, where a file has all that are asked about."""
    for option, value in {"split": split, "rows": rows}.items():
        if file is not None and value is not None:
            raise ValueError(
                f"--{option} must be left out where a table's file is named, for all its rows are asked about; "
                f"got --{option} {value} and {file.path}"
            )


def _source(
    folder: Path, schema: Schema, split: str | None, file: user_tables.File | None, batch_size: int, on_changed: str
) -> Source:
    """The rows of a split, or of a file, which is read as they are asked for."""
    if file is None:
        table = open_tables(folder, split or "test", on_changed=on_changed, schema=schema)[0]
        return Source(len(table), -(-len(table) // batch_size), [(torch.arange(len(table)), table)])
    lengths, pieces = file.read(batch_size * -(-READ // batch_size))
    _say(file.messages)
    reader = frames.Reader(schema, file.root)
    passes = sum(-(-length // batch_size) for length in lengths)
    return Source(sum(lengths), passes, _read(reader, pieces), reader.told)


def _read(reader: frames.Reader, pieces: Iterable[pd.DataFrame]) -> Iterator[tuple[Tensor, Table]]:
    for piece in pieces:
        start = reader.rows
        places, table = user_tables.held(reader, piece)
        yield start + places, table


def _chosen(
    folder: Path, schema: Schema, rows: str, split: str | None, file: user_tables.File | None, on_changed: str
) -> tuple[list[int], Batch]:
    """Some rows of a split or of a file, which is read no further than they go."""
    if file is None:
        table = open_tables(folder, split or "test", on_changed=on_changed, schema=schema)[0]
        return (chosen := numbered(rows, len(table))), table[chosen]
    lengths, pieces = file.read(READ)
    _say(file.messages)
    chosen = numbered(rows, sum(lengths))
    reader = frames.Reader(schema, file.root, numbers=chosen)
    batch = reader.read(user_tables.picked(pieces, chosen))
    _say(reader.told())
    return chosen, batch


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        say(sentence)


def _translate_batches(
    model: Model, batch: Batch, seen: Tensor, to: list[str], rows: list[int], options: dict[str, Any]
) -> dict[str, Tensor]:
    """Values `(S, B, *shape)` by name, on the CPU; S is 1 unless there are samples that are not combined."""
    starts = range(0, len(batch), PASS)
    parts = shown(starts, "translating", len(starts)) if len(starts) > 1 else starts
    passes = []
    for start in parts:
        some = slice(start, start + PASS)
        passes.append(model.translate(batch[some], seen[some], to, rows=rows[some], **options))
    several = options["samples"] is not None and options["combine"] is None
    whole = {name: torch.cat([part[name].cpu() for part in passes], dim=int(several)) for name in to}
    return whole if several else {name: value[None] for name, value in whole.items()}


def _refuse_blind(schema: Schema, rows: list[int], observed: Tensor, seen: Tensor, given: list[str]) -> None:
    """Refuses a row that has nothing of what is given, by its number in the table."""
    if len(blind := (~seen.any(1)).nonzero()):
        place = int(blind[0])
        has = [name for name, here in zip(schema, observed[place].tolist(), strict=True) if here]
        held = f"only {', '.join(has)}" if has else "nothing"
        raise ValueError(
            f"every row must be given something that it has; row {rows[place]} has {held}, and was "
            f"given {', '.join(given)}; leave it out of --rows, or give more"
        )


def _known(schema: Schema, name: str, batch: Batch) -> list[str | int | None]:
    """A label of rows as a file holds it; None where a row has none."""
    has = batch.observed[:, schema.index(name)]
    return parquet_output.cells(schema[name], batch.values.get(name, has), has.tolist())
