"""Holes of data frames filled in their own units, and every other cell left as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Batch
from polymodal.inference.streaming import answered
from polymodal.io.parquet_files import to_frame
from polymodal.modalities import Audio, Image
from polymodal.modalities.base import Bounds, check_bounds
from polymodal.modalities.cell_texts import LOOKED_AT, choose_format, format_of, holds_texts, write_texts
from polymodal.modalities.cells import missing
from polymodal.models.base import Model, answering, check_model, tell_untrained
from polymodal.models.flow_codes import sample_rows
from polymodal.runtime.formatting import brief
from polymodal.runtime.seeding import check_seed, number
from polymodal.runtime.validation import check_callable, check_frame, check_names, check_number, check_whole
from polymodal.table import frames
from polymodal.tabular import filling as cells
from polymodal.tabular.outliers import clamp
from polymodal.tabular.proposal import counted

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from torch.distributions import Distribution

    from polymodal.modalities import Modality

__all__ = ["FILLED", "SURE", "Filled", "Filler", "added_texts", "impute", "imputed", "joined", "kinds"]

BATCH = 4096
FILLED = "filled"
"""The column that says which cells of a row were filled."""
SURE = "_sure"
"""How the column is called, behind the name of another, that says how sure the model is of what it filled."""
DRAWS = 20
"""From the posterior, whose spread says how sure a model is of a number."""


class Filled(NamedTuple):
    """What stands in a column's holes."""

    rows: np.ndarray
    """Where, `(n,)` int64."""
    cells: Sequence[Any]
    """n of them."""
    sure: np.ndarray
    """The probability of a class; of a number the standard deviation over draws, NaN of a model that has none."""


class Filler:
    """Fills frames of one kind, piece after piece.

    Arguments:
        model: To ask.
        given: Names of the modalities to start from; by default all that a row has.
        to: Names of those to fill; by default every one.
        root: As in `Table.from_frame`.
        unreadable: As there.
        seed: Random seed of the posterior samples.
        imputation: Impute from this posterior sample, by number, instead of the posterior mean.
        bounds: As in `impute`.

    Raises:
        ValueError: A name is unknown, or a posterior sample is asked of a model that has one code per row.
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
        """Columns whose holes stay, for files stand in them, and what is made has none."""
        self.formats: dict[str, str] = {}
        """How columns write their cells, where that is known."""
        self.filled, self.left = 0, 0
        """Cells that were filled; rows that have a hole and nothing to fill it from."""
        self.empty: Counter[str] = Counter()
        """Missing cells by column, of those that are to be filled."""
        self.unknown: Counter[str] = Counter()
        """Missing cells of columns that the model does not know."""
        self.unfit: dict[str, list[Any]] = {}
        """Predictions that a column's type cannot hold."""

    def look(self, frame: pd.DataFrame) -> None:
        """Notes how columns write their cells, and columns of files that cannot be made.

        `holes` does so of each piece, but a whole frame says more.
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
        """What belongs into the holes of a piece, by column; a row that has nothing of what is given keeps its own.

        Raises:
            ValueError: A cell cannot be read; names column and row.
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
                    hole, fits = empty[column][rows[made.rows]], cells.held(frame[column], own)
                    if not fits.all():
                        unfit = self.unfit.setdefault(column, [])
                        unfit += [own[place] for place in np.flatnonzero(hole & ~fits)]
                    mine = hole & fits
                    chosen = own if mine.all() else [own[place] for place in np.flatnonzero(mine)]
                    self.filled += len(chosen)
                    filled[column] = Filled(rows[made.rows][mine], chosen, made.sure[mine])
        return filled

    def texts(self, column: str, cells: Sequence[Any]) -> list[str]:
        """What was imputed in a column, as texts that are written as the column's cells are.

        The format is that of the cells of the column where there are any, and otherwise that of training.
        """
        return write_texts(self.formats.get(column, ""), cells)

    def _read(self, frame: pd.DataFrame) -> Batch:
        """The rows, in which no number is so far from all that training saw that a prediction could overflow."""
        batch = self.reader.read(frame)
        values = {name: clamp(self.model.schema[name], value) for name, value in batch.values.items()}
        return Batch(values, batch.observed)

    def told(self) -> list[str]:
        """What was not taken as it stands, and what cannot be filled, a sentence each.

        Raises:
            ValueError: More files are damaged than may be.
        """
        said = "holds files, or their names, and its holes stay: what is made has no file; pictures could be bytes"
        untrained = [name for name in self.model.untrained or () if name not in self.reader.absent]
        return [
            *self.reader.told(),
            *([tell_untrained(untrained)] if untrained else []),
            *(f"{column!r} {said}" for column in self.files),
            *self._tell_holes(),
        ]

    def _tell_holes(self) -> Iterator[str]:
        """How many cells are missing, and which of them stay so."""
        if total := self.empty.total():
            where = ", ".join(f"{column!r} ({many:,})" for column, many in self.empty.items() if many)
            yield f"{counted(total, 'cell')} {_were(total)} read as missing: {brief(where)}"
        if left := self.left:
            yield (
                f"{counted(left, 'row')} with a missing cell {'have' if left > 1 else 'has'} nothing to impute it from"
            )
        for column, kept in self.unfit.items():
            if kept:
                what = f"the column's type, which cannot hold what is predicted, such as {kept[0]!r}"
                yield f"{counted(len(kept), 'missing cell')} of {column!r} {_stay(len(kept))} for {what}"
        if total := self.unknown.total():
            where = ", ".join(f"{column!r} ({many:,})" for column, many in self.unknown.items() if many)
            yield (
                f"{counted(total, 'missing cell')} {_stay(total)}, in columns that the model was not trained on: "
                f"{brief(where)}"
            )

    def added(self, columns: Iterable[str], sure: bool, marked: bool) -> dict[str, str]:
        """The names of the columns that are added beside those of a frame, in their order.

        Raises:
            ValueError: The frame has two columns of one name, or one that is to be added.
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
        """Whether the model knows how sure it is: of classes it does, of numbers if it draws."""
        if modality.levels is not None:
            return not modality.shape
        return modality.shape == (1,) and not self.model.deterministic

    def _columns(self, name: str) -> tuple[str, ...]:
        return self.model.schema[name].columns(name)

    def _impute_modalities(
        self, batch: Batch, seen: Tensor, asked: dict[str, np.ndarray], rows: list[int]
    ) -> dict[str, Filled]:
        """For each modality that some of the rows lack what it is there, its columns' cells, and how sure that is."""
        model = self.model
        with answering(model):
            batch = batch.to(model.weight.device)
            posterior = model.encode(batch, seen.to(model.weight.device))
            # How sure a model is of a row must not depend on where the row stands: all have the same noise.
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
        for distribution, here in answered(model, name, mean[rows.to(mean.device)], which):
            part = (here >= 0).cpu().numpy()
            values = modality.bound(modality.value(distribution).cpu(), self.bounds)
            for column, made in zip(kept, modality.write_cells(values), strict=True):
                column.extend(made)
            if self._says(modality) and modality.levels is not None:
                sure[part] = _probability(distribution)
        if self._says(modality) and draws is not None and modality.levels is None:
            sure = self._spread(modality, name, draws[:, rows.to(mean.device)])
        return Filled(rows.numpy(), kept, sure)

    def _spread(self, modality: Modality, name: str, z: Tensor) -> np.ndarray:
        """The standard deviation over draws `(S, n, code_dim)` of a number in its own units, `(n,)`."""
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
    """The same frame with its holes filled, in its own units and types; every other cell is untouched.

    Each hole is filled from all that its row has. What is left empty: columns that the model does not know, those of
    names of pictures' files, rows that have nothing of what is given, and what a column's type cannot hold.

    Arguments:
        model: To ask.
        frame: N rows; columns are found by their names, and may be missing.
        given: Names of the modalities to start from; by default all that a row has.
        to: Names of those to fill; by default every one.
        imputations: Number of imputed frames, each from a posterior sample of every row's code, so that the spread over
            them says how uncertain the model is of what is missing (multiple imputation). By default one frame, from
            the posterior mean.
        sure: Whether to add, beside each column that was filled, how sure the model is: the probability of the class;
            of a number the standard deviation over draws, of a model that draws.
        marked: Whether to add a column `filled` with the names of the columns that were filled, separated by commas.
        batch_size: Rows per pass.
        root: The folder that files in cells are named from.
        unreadable: The share of a column's files that may be damaged.
        seed: Random seed of the posterior samples.
        say: Reports in sentences what was not taken as it stands (classes, words and columns that training never saw,
            absent and misspelt columns, numbers far outside of the training rows'), how many cells were read as
            missing, and which of them stay so; None is silent.
        bounds: What imputed numbers are held to. "observed": numbers of which no training row has a negative one stay
            between the smallest and the largest one of training. "non-negative": they only stay non-negative. "none":
            no bounds.

    Returns:
        The frame, or a list of `imputations` frames.

    Raises:
        TypeError: What should be a data frame, a model or a list of names is something else.
        ValueError: A name is unknown, a cell cannot be read (names column and row), no column is known, or several
            imputations are asked of a model that has one code per row.

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
    for sentence in fillers[0].told():  # the same for all of them
        if say is not None:
            say(sentence)
    return made[0] if imputations is None else made


def _impute(filler: Filler, frame: pd.DataFrame, batch_size: int, *, sure: bool, marked: bool) -> pd.DataFrame:
    added = filler.added(frame.columns, sure, marked)
    filler.look(frame)
    starts = range(0, len(frame), batch_size)
    holes = [filler.holes(frame.iloc[start : start + batch_size]) for start in starts]
    filler.told()  # refuses too many damaged files
    return _beside(frame, joined(holes, starts), added)


def kinds(filler: Filler, schema: pa.Schema, sure: bool = False, marked: bool = False) -> pa.Schema:
    """Names and types of the columns that `imputed` makes of those of a file.

    Raises:
        ValueError: As `Filler.added`.
    """
    import pyarrow as pa

    added = filler.added(schema.names, sure, marked)
    fields = []
    for field in schema:
        fields.append(field)
        fields += [pa.field(added[field.name], pa.float64())] if field.name in added else []
    fields += [pa.field(FILLED, pa.string())] if marked else []
    return pa.schema(fields, schema.metadata)


def imputed(
    filler: Filler, batches: Iterable[pa.RecordBatch], kinds: pa.Schema, path: str | Path = "the table"
) -> Iterator[pa.RecordBatch]:
    """As `impute`, of Arrow's batches one after another.

    Arguments:
        filler: What fills them.
        batches: Of a file.
        kinds: What `kinds` made of the file's.
        path: The file, for messages.

    Raises:
        ValueError: As `impute`.
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
    """A piece with its holes filled, and with what was asked for beside them."""
    made = piece.copy()
    for column, filled in holes.items():
        made[column] = cells.put(piece[column], filled.rows, filled.cells)
    for column, name in added.items():
        if column != FILLED:
            made.insert([*made.columns].index(column) + 1, name, _sure(holes.get(column), len(piece)))
    if FILLED in added:
        made[FILLED] = _names(piece.columns, holes, len(piece))
    return made


def joined(holes: Sequence[dict[str, Filled]], starts: Sequence[int]) -> dict[str, Filled]:
    """The holes of pieces as those of the whole, whose rows begin at `starts`."""
    made: dict[str, Filled] = {}
    for column in dict.fromkeys(column for piece in holes for column in piece):
        parts = [(start, piece[column]) for start, piece in zip(starts, holes, strict=True) if column in piece]
        made[column] = Filled(
            np.concatenate([start + part.rows for start, part in parts]),
            [cell for _, part in parts for cell in part.cells],
            np.concatenate([part.sure for _, part in parts]),
        )
    return made


def added_texts(
    frame: pd.DataFrame, holes: dict[str, Filled], added: dict[str, str]
) -> Iterator[tuple[str, str, list[str]]]:
    """The columns that `Filler.added` names, as texts: the one that each stands beside, its name, a text per row."""
    for column, name in added.items():
        if column == FILLED:
            yield column, name, _names(frame.columns, holes, len(frame))
        else:
            numbers = _sure(holes.get(column), len(frame)).tolist()
            yield column, name, ["" if number != number else repr(number) for number in numbers]


def _holds_files(column: pd.Series, by_name: bool) -> bool:
    """Whether a column holds names of files, or, unless by name alone, files."""
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
    """For each row the names of the columns that were filled, with commas between them."""
    names = np.full(rows, "", dtype=object)
    for column in columns:
        if column in holes:
            names[holes[column].rows] += f",{column}"
    return [some[1:] for some in names]


def _probability(distribution: Distribution) -> np.ndarray:
    """Of the most probable class, `(n,)`."""
    return distribution.log_prob(distribution.mode).exp().cpu().numpy()
