"""Commands that use a trained model: translate rows, embed rows as latent codes, and sample from the prior."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from polymodal.cli import output_checks, output_folder, parquet_output
from polymodal.cli.run_folder import open_model, open_tables
from polymodal.datasets import user_tables
from polymodal.datasets.table_building import read_nonempty_rows
from polymodal.datasets.table_files import File
from polymodal.inference import streaming
from polymodal.modalities.base import Bounds, check_bounds
from polymodal.runtime.formatting import split_names
from polymodal.runtime.progress import say, show_progress
from polymodal.table import frames

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from polymodal.batch import Batch
    from polymodal.models import Model
    from polymodal.schema import Schema
    from polymodal.table.table import Table

__all__ = ["embed", "parse_modality_names", "parse_row_numbers", "sample", "stream", "translate"]

PASS = 256
"""Number of rows per translated batch."""
READ = 4096
"""Minimum number of rows per chunk that is read from a table's file."""


class Source(NamedTuple):
    """Input rows of a model."""

    rows: int
    passes: int
    """Number of batches."""
    pieces: Iterable[tuple[Tensor, Table]]
    """Chunks of row numbers and their rows; rows that observe no modality are left out."""
    messages: Callable[[], list[str]] = list
    """Function that returns messages about values that were changed on reading, after all chunks are read."""


def translate(
    folder: Path,
    file: File | None = None,
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
    """Predicts modalities of rows from other modalities, and writes the predictions into a folder.

    Arguments:
        folder: Run folder.
        file: Table with the input rows; by default the rows of a split are used.
        given: Names of the modalities to condition on; by default all.
        to: Names of the modalities to predict; by default all.
        rows: Row numbers and ranges, such as "0:8" or "3,5,9".
        split: Split of the run's data set; by default the test split.
        samples: Number of posterior samples per row; by default one prediction from the posterior mean.
        combine: Combination of the samples, as in `Model.translate`.
        steps: Number of solver steps, as in `Model.translate`.
        guidance: Weight of the condition, as in `Model.translate`.
        temperature: Scale of the noise, as in `Model.translate`.
        seed: Random seed of the samples.
        bounds: Range of predicted numbers, as in `polymodal.impute`.
        out: Output folder; by default `translations` in the run folder.
        device: Device, as in `fit`.
        overwrite: Whether to replace earlier translations.
        on_changed: Behaviour if the table of the training run has changed since training: "error" raises an error,
            "warn" reads the table with the model's schema.

    Returns:
        The output folder, and the predictions in it.

    Raises:
        ValueError: A name or a row does not exist, a row observes none of the given modalities, a cell cannot be read,
            both a file and a split are given, `out` holds other files, or `out` holds earlier translations and
            `overwrite` is not set.
    """
    check_bounds(bounds)
    out = out or folder / "translations"
    _refuse_both(file, split)
    model = open_model(folder, device)
    schema = model.schema
    starts, ends = parse_modality_names(given, schema), parse_modality_names(to, schema)
    output_folder.check(out, "translate", _sources(folder, file, tables=False), overwrite=overwrite)
    chosen, batch = _read_selected_rows(folder, schema, rows, split, file, on_changed)
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
    file: File | None = None,
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
    """Predicts modalities of rows as `translate` does, and writes them batch by batch into one Parquet file.

    The file has the columns `row`, `sample` if the samples are not combined, and one column per modality.

    Arguments:
        folder: Run folder.
        file: Table with the input rows; by default the rows of a split are used.
        out: Output file.
        given: Names of the modalities to condition on; by default all.
        to: Names of the modalities to predict; by default all.
        rows: Row numbers and ranges of a split, such as "0:8" or "3,5,9"; by default all rows.
        split: Split of the run's data set; by default the test split.
        samples: Number of posterior samples per row, as in `translate`; they are numbered from 0.
        combine: Combination of the samples, as in `Model.translate`.
        steps: Number of solver steps, as in `Model.translate`.
        guidance: Weight of the condition, as in `Model.translate`.
        temperature: Scale of the noise, as in `Model.translate`.
        seed: Random seed of the samples.
        bounds: Range of predicted numbers, as in `polymodal.impute`.
        device: Device, as in `fit`.
        batch_size: Number of rows per batch.
        overwrite: Whether to replace an earlier file of translations.
        on_changed: Behaviour if the table of the training run has changed, as in `translate`.

    Returns:
        The number of predicted rows, and the number of rows left out because they observe none of the given modalities.

    Raises:
        OSError: The file cannot be written.
        ValueError: A name or a row does not exist, a cell cannot be read, a file is given together with a split or
            rows, `out` is a folder or another kind of file, or `out` exists and `overwrite` is not set.
    """
    import pyarrow as pa

    check_bounds(bounds)
    parquet_output.check(out, "translations.parquet", _sources(folder, file), columns=["row"], overwrite=overwrite)
    _refuse_both(file, split, rows)
    model = open_model(folder, device)
    schema = model.schema
    starts, ends = parse_modality_names(given, schema), parse_modality_names(to, schema)
    source = _source(folder, schema, split, file, batch_size, on_changed)
    chosen = None if rows is None else parse_row_numbers(rows, source.rows)
    count = source.rows if chosen is None else len(chosen)
    passes = source.passes if chosen is None else -(-count // batch_size)
    options: dict[str, Any] = {"combine": combine, "steps": steps, "guidance": guidance, "temperature": temperature}
    model.check_samples(samples, **options)
    each = 1 if samples is None or combine is not None else samples  # output lines per input row
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
        for numbers, values in show_progress(parts, "translating", passes):
            columns = {"row": numbers.numpy().repeat(each)}
            if several:  # the samples of a row are consecutive
                columns["sample"] = np.arange(len(numbers) * each) % each
                values = {name: value.transpose(0, 1).flatten(0, 1) for name, value in values.items()}
            held = {name: schema[name].bound(value, bounds) for name, value in values.items()}
            write({**columns, **{name: parquet_output.cells(schema[name], value) for name, value in held.items()}})
            written += len(numbers)
        _say(source.messages())
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
    """Samples rows from the prior, and writes them into a folder. PyTorch's global random state stays unchanged.

    Arguments:
        folder: Run folder.
        number: Number of sampled rows.
        seed: Random seed for sampling.
        out: Output folder; by default `samples` in the run folder.
        bounds: Range of sampled numbers, as in `polymodal.impute`.
        device: Device, as in `fit`.
        overwrite: Whether to replace earlier samples.

    Returns:
        The output folder, and the samples in it.

    Raises:
        ValueError: `bounds` is unknown, `out` holds other files, or `out` holds earlier samples and `overwrite` is not
            set.
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
    file: File | None = None,
    *,
    out: Path,
    given: Sequence[str] = (),
    split: str | None = None,
    device: str = "auto",
    batch_size: int = 256,
    overwrite: bool = False,
    on_changed: str = "error",
) -> tuple[int, int]:
    """Writes the latent codes of rows to a Parquet file with the columns `row`, `z0`, `z1`, ..., and one per label.

    Arguments:
        folder: Run folder.
        file: Table with the input rows; by default the rows of a split are used.
        out: Output file.
        given: Names of the modalities to condition on; by default all.
        split: Split of the run's data set; by default the test split.
        device: Device, as in `fit`.
        batch_size: Number of rows per batch.
        overwrite: Whether to replace an earlier file of codes.
        on_changed: Behaviour if the table of the training run has changed, as in `translate`.

    Returns:
        The number of written rows, and the number of rows left out because they observe none of the given modalities.

    Raises:
        OSError: The file cannot be written.
        ValueError: A name does not exist, a cell cannot be read, both a file and a split are given, `out` is a folder
            or another kind of file, or `out` exists and `overwrite` is not set.
    """
    import pyarrow as pa

    parquet_output.check(out, "codes.parquet", _sources(folder, file), columns=["row", "z0"], overwrite=overwrite)
    _refuse_both(file, split)
    model = open_model(folder, device)
    schema, names = model.schema, parse_modality_names(given, model.schema)
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
        for rows, z, batch in show_progress(parts, "embedding", source.passes):
            known = {name: _read_labels(schema, name, batch) for name in labels}
            write({"row": rows.numpy(), **dict(zip(axes, z.float().numpy().T, strict=True)), **known})
            written += len(rows)
        _say(source.messages())
    return written, source.rows - written


def parse_modality_names(texts: Iterable[str], schema: Schema) -> list[str]:
    """Parses names of modalities such as "m0,label", and returns each name once; by default all names of the schema.

    Raises:
        ValueError: A modality does not exist.
    """
    names = [name for text in texts for name in ([text] if text in schema else split_names(text))]
    for name in names:
        schema.index(name)  # raises an error if the modality does not exist
    return list(dict.fromkeys(names)) or list(schema)


def parse_row_numbers(text: str, length: int) -> list[int]:
    """Parses row numbers and ranges such as "0:8" or "3,5,9", and returns each number once.

    Raises:
        ValueError: A row does not exist, or the text is not of this form.

    Example:
        >>> parse_row_numbers("0:3", 10), parse_row_numbers("9, 3, ::4", 10), parse_row_numbers("-2:", 10)
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


def _sources(folder: Path, file: File | None = None, *, tables: bool = True) -> list[Path]:
    """Returns the paths that must not be overwritten: the input table and the training table.

    If `tables` is False, a folder of training tables is left out, because it may also hold other files.
    """
    trained = [path for path in output_checks.training_table(folder) if tables or path.is_file()]
    return [*([] if file is None else [file.path]), *trained]


def _refuse_both(file: File | None, split: str | None, rows: str | None = None) -> None:
    """Checks that no split or rows of the run's data set are selected if a file with the rows is given."""
    for option, value in {"split": split, "rows": rows}.items():
        if file is not None and value is not None:
            raise ValueError(
                f"--{option} must be left out where a table's file is named, for all its rows are asked about; "
                f"got --{option} {value} and {file.path}"
            )


def _source(
    folder: Path, schema: Schema, split: str | None, file: File | None, batch_size: int, on_changed: str
) -> Source:
    """Returns the rows of a split or of a file; a file is read lazily."""
    if file is None:
        table = open_tables(folder, split or "test", on_changed=on_changed, schema=schema)[0]
        return Source(len(table), -(-len(table) // batch_size), [(torch.arange(len(table)), table)])
    lengths, pieces = file.read(batch_size * -(-READ // batch_size))
    _say(file.messages)
    reader = frames.Reader(schema, file.root)
    passes = sum(-(-length // batch_size) for length in lengths)
    return Source(sum(lengths), passes, _read(reader, pieces), reader.list_messages)


def _read(reader: frames.Reader, pieces: Iterable[pd.DataFrame]) -> Iterator[tuple[Tensor, Table]]:
    for piece in pieces:
        start = reader.rows
        places, table = read_nonempty_rows(reader, piece)
        yield start + places, table


def _read_selected_rows(
    folder: Path, schema: Schema, rows: str, split: str | None, file: File | None, on_changed: str
) -> tuple[list[int], Batch]:
    """Returns the selected rows of a split or of a file; a file is read only up to the last selected row."""
    if file is None:
        table = open_tables(folder, split or "test", on_changed=on_changed, schema=schema)[0]
        return (chosen := parse_row_numbers(rows, len(table))), table[chosen]
    lengths, pieces = file.read(READ)
    _say(file.messages)
    chosen = parse_row_numbers(rows, sum(lengths))
    reader = frames.Reader(schema, file.root, numbers=chosen)
    batch = reader.read(user_tables.select_rows(pieces, chosen))
    _say(reader.list_messages())
    return chosen, batch


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        say(sentence)


def _translate_batches(
    model: Model, batch: Batch, seen: Tensor, to: list[str], rows: list[int], options: dict[str, Any]
) -> dict[str, Tensor]:
    """Returns predictions `(S, B, *shape)` by modality, on the CPU.

    S is the number of posterior samples; it is 1 without samples, and if the samples are combined.
    """
    starts = range(0, len(batch), PASS)
    parts = show_progress(starts, "translating", len(starts)) if len(starts) > 1 else starts
    passes = []
    for start in parts:
        some = slice(start, start + PASS)
        passes.append(model.translate(batch[some], seen[some], to, rows=rows[some], **options))
    several = options["samples"] is not None and options["combine"] is None
    whole = {name: torch.cat([part[name].cpu() for part in passes], dim=int(several)) for name in to}
    return whole if several else {name: value[None] for name, value in whole.items()}


def _refuse_blind(schema: Schema, rows: list[int], observed: Tensor, seen: Tensor, given: list[str]) -> None:
    """Checks that every row observes at least one of the given modalities; the error names a row by its number."""
    if len(blind := (~seen.any(1)).nonzero()):
        place = int(blind[0])
        has = [name for name, here in zip(schema, observed[place].tolist(), strict=True) if here]
        held = f"only {', '.join(has)}" if has else "nothing"
        raise ValueError(
            f"every row must be given something that it has; row {rows[place]} has {held}, and was "
            f"given {', '.join(given)}; leave it out of --rows, or give more"
        )


def _read_labels(schema: Schema, name: str, batch: Batch) -> list[str | int | None]:
    """Returns a label of each row as written to a file, or None where it is missing."""
    has = batch.observed[:, schema.index(name)]
    return parquet_output.cells(schema[name], batch.values.get(name, has), has.tolist())
