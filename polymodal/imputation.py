"""Imputation of missing cells in data frames, in the original units and dtypes.

All other cells stay unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.inference.streaming import decode_in_chunks
from polymodal.io.parquet_files import to_frame
from polymodal.modalities import Audio, Image
from polymodal.modalities.base import Bounds, check_bounds
from polymodal.modalities.cell_texts import LOOKED_AT, choose_format, format_of, holds_texts, write_texts
from polymodal.modalities.cells import missing
from polymodal.models.base import Model, answering, check_model, tell_untrained
from polymodal.models.flow_codes import sample_rows
from polymodal.runtime.formatting import brief, format_count
from polymodal.runtime.seeding import check_seed, number
from polymodal.runtime.validation import check_callable, check_frame, check_names, check_number, check_whole
from polymodal.table import frames
from polymodal.tabular import filling as cells
from polymodal.tabular.outliers import clamp

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from torch.distributions import Distribution

    from polymodal.modalities import Modality

__all__ = [
    "FILLED",
    "SURE",
    "Filled",
    "Filler",
    "concat_filled",
    "format_added_columns",
    "impute",
    "impute_batches",
    "kinds",
]

BATCH = 4096
FILLED = "filled"
"""Name of the column that lists the imputed columns of each row."""
SURE = "_sure"
"""Suffix that is appended to the name of a column to name the column with the certainty of its imputed cells."""
DRAWS = 20
"""Number of posterior samples for the standard deviation of an imputed number."""


class Filled(NamedTuple):
    """Imputed cells of a column."""

    rows: np.ndarray
    """Row numbers of the imputed cells, `(n,)` int64."""
    cells: Sequence[Any]
    """The n imputed cells."""
    sure: np.ndarray
    """Certainty of the cells, `(n,)`; NaN where it is not available.

    It is the probability of a class, or the standard deviation of a number over posterior samples.
    """


class Filler:
    """Imputes the missing cells of a data frame, chunk by chunk.

    Arguments:
        model: Model that predicts the missing cells.
        given: Names of the modalities to condition on; by default all.
        to: Names of the modalities to impute; by default all.
        root: Folder that file names in cells are relative to, as in `Table.from_frame`.
        unreadable: Largest share of a column's files that may be damaged, as in `Table.from_frame`.
        seed: Random seed of the posterior samples.
        imputation: Number of the posterior sample to impute from; by default the posterior mean is used.
        bounds: Range of imputed numbers, as in `impute`.

    Raises:
        ValueError: A name is unknown, or `imputation` is given and the model is deterministic (one code per row).
    """

    def __init__(
        self,
        model: Model,
        given: Sequence[str] | None = None,
        to: Sequence[str] | None = None,
        *,
        root: str | Path | None = None,
        unreadable: float = frames.MOST_UNREADABLE,
        seed: int = 0,
        imputation: int | None = None,
        bounds: Bounds = "observed",
    ) -> None:
        schema = model.schema
        for name, names in {"given": given, "to": to}.items():
            if names is not None:
                check_names(name, names)
        check_number("unreadable", unreadable, 0, 1)
        check_seed(seed)
        check_bounds(bounds)
        self.bounds: Bounds = bounds
        self.model, self.seed, self.imputation = model, seed, imputation
        if imputation is not None and model.deterministic:
            raise ValueError(
                f"{model.name} must have a distribution over codes for several imputations, and has one code per row; "
                "train a flow over its codes with fit(..., only='prior'), or take a model such as mac-vae"
            )
        self.given = schema.mask(list(schema) if given is None else list(given))
        self.to = list(schema) if to is None else [name for name in schema if schema.mask(list(to))[schema.index(name)]]
        self.reader = frames.Reader(schema, root, unreadable)
        self.files: dict[str, None] = {}
        """Columns that are not imputed, because their cells are files and a prediction is not a file."""
        self.formats: dict[str, str] = {}
        """Known cell formats, by column."""
        self.filled, self.left = 0, 0
        """Number of imputed cells; number of rows with a missing cell and no observed modality to impute it from."""
        self.empty: Counter[str] = Counter()
        """Number of missing cells, for each column to impute."""
        self.unknown: Counter[str] = Counter()
        """Number of missing cells, for each column that is not in the model's schema."""
        self.unfit: dict[str, list[Any]] = {}
        """Predictions that the dtype of their column cannot represent, by column."""

    def look(self, frame: pd.DataFrame) -> None:
        """Infers the cell formats of columns, and finds columns of files, which cannot be imputed.

        `holes` calls this method on each chunk. A call on the complete frame gives more reliable formats.
        """
        for name in self.to:
            modality = self.model.schema[name]
            known = getattr(modality, "formats", None) or [""] * len(self._columns(name))
            for column, form in zip(self._columns(name), known, strict=False):
                if column in frame.columns and column not in self.formats:
                    own = format_of(frame[column])
                    different = form and own and form != own
                    held = frame[column].dropna().unique()[:LOOKED_AT] if different else ()
                    self.formats[column] = choose_format(form, own, held)
            for column in self._columns(name) if isinstance(modality, Image | Audio) else ():
                if column in frame.columns and _holds_files(frame[column], isinstance(modality, Image)):
                    self.files[column] = None

    def holes(self, frame: pd.DataFrame) -> dict[str, Filled]:
        """Returns the imputed cells of a chunk, by column.

        A row that observes none of the given modalities is not imputed.

        Raises:
            ValueError: A cell cannot be read; the message names its column and row.
        """
        start = self.reader.rows
        batch = self._read(frame)
        self.look(frame)
        names = [name for name in self.to if {*self._columns(name)} <= {*frame.columns} - {*self.files}]
        empty = {column: missing(frame[column]) for name in names for column in self._columns(name)}
        self.empty.update({column: int(nothing.sum()) for column, nothing in empty.items()})
        further = [column for column in self.reader.further if column in frame.columns]
        self.unknown.update({column: int(missing(frame[column]).sum()) for column in further})
        wanted = {name: np.logical_or.reduce([empty[column] for column in self._columns(name)]) for name in names}
        seen = batch.observed & self.given
        some = seen.any(1).numpy()
        need = np.logical_or.reduce([*wanted.values(), np.zeros(len(frame), bool)])
        self.left += int((need & ~some).sum())
        rows = np.flatnonzero(need & some)
        filled: dict[str, Filled] = {}
        if len(rows):
            asked = {name: mask[rows] for name, mask in wanted.items() if mask[rows].any()}
            some = torch.from_numpy(rows)
            for name, made in self._impute_modalities(batch[some], seen[some], asked, (start + rows).tolist()).items():
                for column, own in zip(self._columns(name), made.cells, strict=True):
                    if holds_texts(frame[column], self.formats[column]):
                        own = self.texts(column, own)
                    hole, fits = empty[column][rows[made.rows]], cells.is_valid_cell(frame[column], own)
                    if not fits.all():
                        unfit = self.unfit.setdefault(column, [])
                        unfit += [own[place] for place in np.flatnonzero(hole & ~fits)]
                    mine = hole & fits
                    chosen = own if mine.all() else [own[place] for place in np.flatnonzero(mine)]
                    self.filled += len(chosen)
                    filled[column] = Filled(rows[made.rows][mine], chosen, made.sure[mine])
        return filled

    def texts(self, column: str, cells: Sequence[Any]) -> list[str]:
        """Returns the imputed cells of a column as texts in the format of the column.

        The format is inferred from the observed cells of the column; if there are none, it is the format at training.
        """
        return write_texts(self.formats.get(column, ""), cells)

    def _read(self, frame: pd.DataFrame) -> Batch:
        """Reads a chunk as a batch, and clamps numbers far from the training values, which could cause overflow."""
        batch = self.reader.read(frame)
        values = {name: clamp(self.model.schema[name], value) for name, value in batch.values.items()}
        return Batch(values, batch.observed)

    def list_messages(self) -> list[str]:
        """Returns messages about values that were changed on reading and about cells that cannot be imputed.

        Each message is one sentence.

        Raises:
            ValueError: A column has more damaged files than `unreadable` allows.
        """
        said = "holds files, or their names, and its holes stay: what is made has no file; pictures could be bytes"
        untrained = [name for name in self.model.untrained or () if name not in self.reader.absent]
        return [
            *self.reader.list_messages(),
            *([tell_untrained(untrained)] if untrained else []),
            *(f"{column!r} {said}" for column in self.files),
            *self._tell_holes(),
        ]

    def _tell_holes(self) -> Iterator[str]:
        """Yields messages about the number of missing cells and the cells that stay missing."""
        if total := self.empty.total():
            where = ", ".join(f"{column!r} ({many:,})" for column, many in self.empty.items() if many)
            yield f"{format_count(total, 'cell')} {_were(total)} read as missing: {brief(where)}"
        if left := self.left:
            yield (
                f"{format_count(left, 'row')} with a missing cell {'have' if left > 1 else 'has'} nothing to impute "
                "it from"
            )
        for column, kept in self.unfit.items():
            if kept:
                what = f"the column's type, which cannot hold what is predicted, such as {kept[0]!r}"
                yield f"{format_count(len(kept), 'missing cell')} of {column!r} {_stay(len(kept))} for {what}"
        if total := self.unknown.total():
            where = ", ".join(f"{column!r} ({many:,})" for column, many in self.unknown.items() if many)
            yield (
                f"{format_count(total, 'missing cell')} {_stay(total)}, in columns that the model was not trained on: "
                f"{brief(where)}"
            )

    def added(self, columns: Iterable[str], sure: bool, marked: bool) -> dict[str, str]:
        """Returns the names of the added columns, each by the column that it follows.

        The column `filled` has its own name as its key, and comes last.

        Raises:
            ValueError: Two columns of the frame have the same name, or an added column has the name of one of them.
        """
        columns = list(columns)
        mine = {
            column: f"{column}{SURE}"
            for column, name in ((column, name) for name in self.to for column in self._columns(name))
            if sure and column in columns and self._says(self.model.schema[name])
        }
        made = {column: mine[column] for column in columns if column in mine} | ({FILLED: FILLED} if marked else {})
        every = [*columns, *made.values()]
        if twice := [name for name, times in Counter(every).items() if times > 1]:
            raise ValueError(f"columns must have names of their own; {twice[0]!r} stands twice; rename one")
        return made

    def _says(self, modality: Modality) -> bool:
        """Returns whether the certainty of predictions is available: for classes always, for numbers from samples."""
        if modality.levels is not None:
            return not modality.shape
        return modality.shape == (1,) and not self.model.deterministic

    def _columns(self, name: str) -> tuple[str, ...]:
        return self.model.schema[name].columns(name)

    def _impute_modalities(
        self, batch: Batch, seen: Tensor, asked: dict[str, np.ndarray], rows: list[int]
    ) -> dict[str, Filled]:
        """Returns the imputed cells of each modality and their certainty, for the rows in which it is missing."""
        model = self.model
        with answering(model):
            batch = batch.to(model.weight.device)
            posterior = model.encode(batch, seen.to(model.weight.device))
            # The certainty of a row must not depend on the position of the row, so all rows share the same noise.
            same = [0] * len(rows)
            draws = None if model.deterministic else sample_rows(posterior, [DRAWS], seed=self.seed, rows=same)
            codes = posterior.mean
            if self.imputation is not None:
                own = number(self.seed, self.imputation)
                codes = sample_rows(posterior, [1], seed=own, rows=rows)[0]
            return {name: self._answer(name, mask, codes, draws) for name, mask in asked.items()}

    def _answer(self, name: str, mask: np.ndarray, mean: Tensor, draws: Tensor | None) -> Filled:
        model, modality = self.model, self.model.schema[name]
        rows = torch.from_numpy(np.flatnonzero(mask))
        kept: list[list[Any]] = [[] for _ in self._columns(name)]
        sure = np.full(len(rows), np.nan)
        which = torch.arange(len(rows), device=mean.device)
        for distribution, here in decode_in_chunks(model, name, mean[rows.to(mean.device)], which):
            part = (here >= 0).cpu().numpy()
            values = modality.bound(modality.value(distribution).cpu(), self.bounds)
            for column, made in zip(kept, modality.write_cells(values), strict=True):
                column.extend(made)
            if self._says(modality) and modality.levels is not None:
                sure[part] = _probability(distribution)
        if self._says(modality) and draws is not None and modality.levels is None:
            sure = self._compute_std(modality, name, draws[:, rows.to(mean.device)])
        return Filled(rows.numpy(), kept, sure)

    def _compute_std(self, modality: Modality, name: str, z: Tensor) -> np.ndarray:
        """Returns the standard deviation of a number in its original units, `(n,)`.

        Arguments:
            modality: The number's modality.
            name: Name of the modality.
            z: Posterior samples of the codes, `(S, n, code_dim)`.
        """
        values = modality.value(modality.distribution(self.model.emit(z, [name])[name])).cpu()
        return modality.write(values).std(0).squeeze(-1).numpy()


@overload
def impute(
    model: Model,
    frame: pd.DataFrame,
    given: Sequence[str] | None = None,
    to: Sequence[str] | None = None,
    *,
    sure: bool = False,
    marked: bool = False,
    batch_size: int = BATCH,
    root: str | Path | None = None,
    unreadable: float = frames.MOST_UNREADABLE,
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
    marked: bool = False,
    batch_size: int = BATCH,
    root: str | Path | None = None,
    unreadable: float = frames.MOST_UNREADABLE,
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
    marked: bool = False,
    batch_size: int = BATCH,
    root: str | Path | None = None,
    unreadable: float = frames.MOST_UNREADABLE,
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
            The spread over the frames shows the uncertainty of the imputed values. By default one frame is imputed
            from the posterior mean.
        sure: Whether to add a column after each column of classes or numbers with the certainty of its imputed cells:
            the probability of a class, or the standard deviation of a number over posterior samples. A deterministic
            model has no certainty of numbers.
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
            column of the schema, or `imputations` is given and the model is deterministic (one code per row).

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
    options: dict[str, Any] = {"given": given, "to": to, "root": root, "unreadable": unreadable}
    options |= {"seed": seed, "bounds": bounds}
    fillers = [Filler(model, **options, imputation=one) for one in several]
    made = [_impute(filler, frame, batch_size, sure=sure, marked=marked) for filler in fillers]
    for sentence in fillers[0].list_messages():  # all fillers have the same messages
        if say is not None:
            say(sentence)
    return made[0] if imputations is None else made


def _impute(filler: Filler, frame: pd.DataFrame, batch_size: int, *, sure: bool, marked: bool) -> pd.DataFrame:
    added = filler.added(frame.columns, sure, marked)
    filler.look(frame)
    starts = range(0, len(frame), batch_size)
    holes = [filler.holes(frame.iloc[start : start + batch_size]) for start in starts]
    filler.list_messages()  # raises an error if too many files are damaged
    return _beside(frame, concat_filled(holes, starts), added)


def kinds(filler: Filler, schema: pa.Schema, sure: bool = False, marked: bool = False) -> pa.Schema:
    """Returns the Arrow schema of the batches that `impute_batches` yields, given the schema of a file.

    Raises:
        ValueError: As in `Filler.added`.
    """
    import pyarrow as pa

    added = filler.added(schema.names, sure, marked)
    fields = []
    for field in schema:
        fields.append(field)
        fields += [pa.field(added[field.name], pa.float64())] if field.name in added else []
    fields += [pa.field(FILLED, pa.string())] if marked else []
    return pa.schema(fields, schema.metadata)


def impute_batches(
    filler: Filler, batches: Iterable[pa.RecordBatch], kinds: pa.Schema, path: str | Path = "the table"
) -> Iterator[pa.RecordBatch]:
    """Imputes the missing cells of Arrow record batches, one batch at a time.

    Arguments:
        filler: Filler that imputes the batches.
        batches: Record batches of a file.
        kinds: Schema of the imputed batches, as returned by `kinds`.
        path: Path of the file, for error messages.

    Yields:
        The imputed batches.

    Raises:
        ValueError: As in `impute`.
    """
    import pyarrow as pa

    for batch in batches:
        holes = filler.holes(to_frame(batch, path))
        arrays: list[pa.Array] = []
        for field in kinds:
            of = field.name.removesuffix(SURE)
            if field.name in batch.schema.names:
                column = batch.column(field.name)
                put = field.name in holes
                arrays.append(cells.put_arrow(column, *holes[field.name][:2]) if put else column)
            elif field.name == FILLED:
                arrays.append(pa.array(_names(batch.schema.names, holes, len(batch)), field.type))
            else:
                arrays.append(pa.array(_sure(holes.get(of), len(batch)), field.type, from_pandas=True))
        yield pa.RecordBatch.from_arrays(arrays, schema=kinds)


def _beside(piece: pd.DataFrame, holes: dict[str, Filled], added: dict[str, str]) -> pd.DataFrame:
    """Returns a copy of a frame with imputed cells and the requested added columns."""
    made = piece.copy()
    for column, filled in holes.items():
        made[column] = cells.put(piece[column], filled.rows, filled.cells)
    for column, name in added.items():
        if column != FILLED:
            made.insert([*made.columns].index(column) + 1, name, _sure(holes.get(column), len(piece)))
    if FILLED in added:
        made[FILLED] = _names(piece.columns, holes, len(piece))
    return made


def concat_filled(holes: Sequence[dict[str, Filled]], starts: Sequence[int]) -> dict[str, Filled]:
    """Concatenates the imputed cells of chunks into those of the complete table.

    Arguments:
        holes: Imputed cells of each chunk, by column.
        starts: Row number in the table of the first row of each chunk.
    """
    made: dict[str, Filled] = {}
    for column in dict.fromkeys(column for piece in holes for column in piece):
        parts = [(start, piece[column]) for start, piece in zip(starts, holes, strict=True) if column in piece]
        made[column] = Filled(
            np.concatenate([start + part.rows for start, part in parts]),
            [cell for _, part in parts for cell in part.cells],
            np.concatenate([part.sure for _, part in parts]),
        )
    return made


def format_added_columns(
    frame: pd.DataFrame, holes: dict[str, Filled], added: dict[str, str]
) -> Iterator[tuple[str, str, list[str]]]:
    """Yields the columns that `Filler.added` names, as texts.

    Yields:
        The column that the added column follows, the name of the added column, and one text per row.
    """
    for column, name in added.items():
        if column == FILLED:
            yield column, name, _names(frame.columns, holes, len(frame))
        else:
            numbers = _sure(holes.get(column), len(frame)).tolist()
            yield column, name, ["" if number != number else repr(number) for number in numbers]


def _holds_files(column: pd.Series, by_name: bool) -> bool:
    """Returns whether the cells of a column are file names or, unless `by_name`, the contents of files."""
    import pandas as pd

    if column.dtype != object:
        return pd.api.types.is_string_dtype(column.dtype)
    there = column.dropna()
    first = there.iloc[0] if len(there) else None
    if isinstance(first, bytes) or (isinstance(first, dict) and "bytes" in first):
        return not by_name
    return isinstance(first, str | PurePath | dict)


def _were(number: int) -> str:
    return "were" if number > 1 else "was"


def _stay(number: int) -> str:
    return "stay" if number > 1 else "stays"


def _sure(filled: Filled | None, rows: int) -> np.ndarray:
    numbers = np.full(rows, np.nan)
    if filled is not None:
        numbers[filled.rows] = filled.sure
    return numbers


def _names(columns: Iterable[str], holes: dict[str, Filled], rows: int) -> list[str]:
    """Returns for each row the names of the imputed columns, separated by commas."""
    names = np.full(rows, "", dtype=object)
    for column in columns:
        if column in holes:
            names[holes[column].rows] += f",{column}"
    return [some[1:] for some in names]


def _probability(distribution: Distribution) -> np.ndarray:
    """Returns the probability of the most probable class, `(n,)`."""
    return distribution.log_prob(distribution.mode).exp().cpu().numpy()
