"""Imputation of missing cells in data frames and Arrow batches, in the original units and dtypes.

All other cells stay unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from polymodal import csvfiles
from polymodal.inference.imputed_cells import (
    FILLED,
    SURE,
    ImputedCells,
    add_to_batch,
    add_to_frame,
    concat_cells,
    format_added_columns,
)
from polymodal.inference.imputer import Imputer
from polymodal.io.parquet_files import to_frame
from polymodal.modalities.base import Bounds
from polymodal.models.base import Model, check_model
from polymodal.runtime.validation import check_callable, check_frame, check_whole
from polymodal.table.frames import MOST_UNREADABLE

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["BATCH_SIZE", "extend_arrow_schema", "format_csv", "impute", "impute_batches"]

BATCH_SIZE = 4096
"""Default number of rows that are imputed at once."""


@overload
def impute(
    model: Model,
    frame: pd.DataFrame,
    given: Sequence[str] | None = None,
    to: Sequence[str] | None = None,
    *,
    sure: bool = False,
    interval: float | None = None,
    marked: bool = False,
    batch_size: int = BATCH_SIZE,
    root: str | Path | None = None,
    unreadable: float = MOST_UNREADABLE,
    seed: int = 0,
    say: Callable[[str], object] | None = print,
    bounds: Bounds = "observed",
) -> pd.DataFrame: ...


@overload
def impute(
    model: Model,
    frame: pd.DataFrame,
    given: Sequence[str] | None = None,
    to: Sequence[str] | None = None,
    *,
    imputations: int,
    sure: bool = False,
    interval: float | None = None,
    marked: bool = False,
    batch_size: int = BATCH_SIZE,
    root: str | Path | None = None,
    unreadable: float = MOST_UNREADABLE,
    seed: int = 0,
    say: Callable[[str], object] | None = print,
    bounds: Bounds = "observed",
) -> list[pd.DataFrame]: ...


def impute(
    model: Model,
    frame: pd.DataFrame,
    given: Sequence[str] | None = None,
    to: Sequence[str] | None = None,
    *,
    imputations: int | None = None,
    sure: bool = False,
    interval: float | None = None,
    marked: bool = False,
    batch_size: int = BATCH_SIZE,
    root: str | Path | None = None,
    unreadable: float = MOST_UNREADABLE,
    seed: int = 0,
    say: Callable[[str], object] | None = print,
    bounds: Bounds = "observed",
) -> pd.DataFrame | list[pd.DataFrame]:
    """Imputes the missing cells of a data frame, in the original units and dtypes.

    Each missing cell is predicted from the observed modalities of its row. All other cells stay unchanged. These cells
    stay missing: cells of columns that are not in the model's schema, cells of columns of image file names or audio
    files, cells of rows that observe none of the given modalities, and cells whose prediction the dtype cannot
    represent.

    Arguments:
        model: Model that predicts the missing cells.
        frame: N rows. Columns are matched by name, and columns of the schema may be absent.
        given: Names of the modalities to condition on; by default all.
        to: Names of the modalities to impute; by default all.
        imputations: Number of imputed frames, each from one posterior sample of every row's code (multiple imputation).
            For an ensemble, each frame takes the next member for a row, from a random one on.
            The spread over the frames shows the uncertainty of the imputed values. By default one frame is imputed
            from the posterior mean.
        sure: Whether to add a column after each column of classes or numbers with the certainty of its imputed cells:
            the probability of a class, or the standard deviation of a number. The latter is that over posterior
            samples, or, for a deterministic model or an ensemble of such models, the root mean squared error of the
            column in the validation rows. An ensemble that is not calibrated has the deviation over its members.
        interval: Probability between 0 and 1, such as 0.9, with which an interval is to contain the true number of an
            imputed cell. Two columns, such as `grams_low` and `grams_high`, are then added after each column of
            numbers. The intervals are calibrated on the validation rows, see `polymodal.inference.calibration`.
        marked: Whether to add a column `filled` with the names of the imputed columns, separated by commas.
        batch_size: Number of rows per batch.
        root: Folder that file names in cells are relative to.
        unreadable: Largest share of a column's files that may be damaged.
        seed: Random seed of the posterior samples.
        say: Function that receives messages, one sentence each, or None for no messages. They report values that were
            changed on reading (classes, words and columns that are not in the training data, absent and misspelt
            columns, numbers far outside the range of the training rows), the number of missing cells, and the cells
            that stay missing.
        bounds: Range of imputed numbers, for numbers that have no negative value in the training rows. "observed" clips
            to the smallest and the largest training value, "non-negative" clips at 0, and "none" does not clip.

    Returns:
        The imputed frame, or a list of `imputations` frames.

    Raises:
        TypeError: The data frame, the model or a list of names has another type.
        ValueError: A name is unknown, a cell cannot be read (the message names its column and row), the frame has no
            column of the schema, `imputations` is given and the model is deterministic (one code per row), or
            `interval` is given and the model has not been calibrated, or `given` too.

    Example:
        >>> import pandas as pd
        >>> from polymodal.models import build
        >>> from polymodal.table.table import Table
        >>> frame = pd.DataFrame({"kind": ["owl", "emu", None] * 9, "grams": [180.25, None, 36_000.5] * 9})
        >>> table = Table.from_frame(frame, say=None)
        >>> filled = impute(build("mac-wae", table.schema, latent_dim=4), frame, marked=True)
        18 cells were read as missing: 'kind' (9), 'grams' (9)
        >>> bool(filled.notna().all(axis=None)), filled["filled"].tolist()[:3]
        (True, ['', 'grams', 'kind'])
    """
    check_model(model)
    check_frame(frame)
    check_whole("batch_size", batch_size)
    check_callable("say", say)
    if imputations is not None:
        check_whole("imputations", imputations)
    several = [None] if imputations is None else range(imputations)
    imputer = Imputer(
        model,
        given,
        to,
        root=root,
        unreadable=unreadable,
        seed=seed,
        imputation=several[0],
        bounds=bounds,
        interval=interval,
    )
    imputer.reader.labels = frame.index
    added = imputer.name_added_columns(frame.columns, sure, marked)
    imputer.infer_formats(frame)
    starts = range(0, len(frame), batch_size)
    chunks = [imputer.impute_chunk_several_times(frame.iloc[start : start + batch_size], several) for start in starts]
    for sentence in imputer.list_messages():  # raises an error if too many files are damaged
        if say is not None:
            say(sentence)
    frames = [
        add_to_frame(frame, concat_cells([chunk[place] for chunk in chunks], starts), added)
        for place in range(len(several))
    ]
    return frames[0] if imputations is None else frames


def extend_arrow_schema(imputer: Imputer, schema: pa.Schema, sure: bool = False, marked: bool = False) -> pa.Schema:
    """Returns the Arrow schema of the batches that `impute_batches` yields, given the schema of a file.

    Raises:
        ValueError: As in `Imputer.name_added_columns`.
    """
    import pyarrow as pa

    added = imputer.name_added_columns(schema.names, sure, marked)
    fields = []
    for field in schema:
        fields.append(field)
        names = [name for name, column in added.items() if column == field.name and name != FILLED]
        fields += [pa.field(name, pa.float64() if name.endswith(SURE) else field.type) for name in names]
    fields += [pa.field(FILLED, pa.string())] if marked else []
    return pa.schema(fields, schema.metadata)


def impute_batches(
    imputer: Imputer, batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: str | Path = "the table"
) -> Iterator[pa.RecordBatch]:
    """Imputes the missing cells of Arrow record batches, one batch at a time.

    Arguments:
        imputer: Imputer of the missing cells.
        batches: Record batches of a file.
        schema: Schema of the imputed batches, as returned by `extend_arrow_schema`.
        path: Path of the file, for error messages.

    Yields:
        The imputed batches.

    Raises:
        ValueError: As in `impute`.
    """
    for batch in batches:
        yield add_to_batch(batch, imputer.impute_chunk(to_frame(batch, path)), schema)


def format_csv(
    imputer: Imputer,
    document: csvfiles.Document,
    chunks: Sequence[dict[str, ImputedCells]],
    starts: Sequence[int],
    added: dict[str, str],
) -> bytes:
    """Returns the content of a CSV file with imputed cells; every other character of the file is unchanged.

    Arguments:
        imputer: Imputer of the missing cells.
        document: The CSV file.
        chunks: Results of `imputer.impute_chunk` for consecutive rows of `document.frame`.
        starts: Number of the first row of each chunk.
        added: Columns to add, as returned by `Imputer.name_added_columns`.
    """
    holes = concat_cells(chunks, starts)
    texts = {name: imputer.format_cells(name, hole.cells) for name, hole in holes.items()}
    cells = {name: (hole.rows, document.localize(name, texts[name])) for name, hole in holes.items()}
    columns = [
        csvfiles.Added(name, None, texts) if after == FILLED else csvfiles.Added(name, after, texts)
        for after, name, texts in format_added_columns(
            document.frame,
            holes,
            added,
            lambda column, ends: document.localize(column, imputer.format_cells(column, ends)),
            document.options.decimal or ".",
        )
    ]
    return document.fill(cells, columns)
