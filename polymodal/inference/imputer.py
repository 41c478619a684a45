"""Imputation of the missing cells of a data frame, chunk by chunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from polymodal.batch import Batch
from polymodal.inference.calibration import check_interval, has_interval, list_interval_messages
from polymodal.inference.cell_prediction import has_certainty, predict_cells
from polymodal.inference.imputed_cells import FILLED, HIGH, LOW, SURE, ImputedCells, remove_attributes
from polymodal.modalities import Audio, Image
from polymodal.modalities.base import Bounds, check_bounds
from polymodal.modalities.cell_texts import FORMATS, LOOKED_AT, choose_format, format_of, holds_texts, write_texts
from polymodal.modalities.cells import missing
from polymodal.models.base import Model, tell_untrained
from polymodal.runtime.formatting import brief, format_count
from polymodal.runtime.seeding import check_seed
from polymodal.runtime.validation import check_names, check_number
from polymodal.table import frames
from polymodal.tabular.filling import is_valid_cell
from polymodal.tabular.list_cells import find_gaps

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Imputer"]


class Imputer:
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
        interval: Probability that an interval contains the number, as in `impute`; None for no intervals.

    Raises:
        ValueError: A name is unknown, `imputation` is given and the model is deterministic (one code per row), or
            `interval` is given and the model is not calibrated.
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
        interval: float | None = None,
    ) -> None:
        schema = model.schema
        for name, names in {"given": given, "to": to}.items():
            if names is not None:
                check_names(name, names)
        check_number("unreadable", unreadable, 0, 1)
        check_seed(seed)
        check_bounds(bounds)
        if interval is not None:
            check_interval(model, interval, given)
        self.bounds: Bounds = bounds
        self.interval = interval
        self.model, self.seed, self.imputation = model, seed, imputation
        if imputation is not None and model.deterministic:
            raise ValueError(
                f"several imputations need a model with a distribution over codes; {model.name} has one code per row; "
                "build it with members=4, train a flow over its codes with fit(..., only='prior'), or use a model such "
                "as mac-vae"
            )
        self.given = schema.mask(list(schema) if given is None else list(given))
        self.to = list(schema) if to is None else [name for name in schema if schema.mask(list(to))[schema.index(name)]]
        self.reader = frames.Reader(schema, root, unreadable)
        self.files: dict[str, None] = {}
        """Columns that are not imputed, because their cells are files and a prediction is not a file."""
        self.formats: dict[str, str] = {}
        """Known cell formats, by column."""
        self.imputed, self.left = 0, 0
        """Number of imputed cells; number of rows with a missing cell and no observed modality to impute it from."""
        self.empty: Counter[str] = Counter()
        """Number of missing cells, for each column to impute."""
        self.unknown: Counter[str] = Counter()
        """Number of missing cells, for each column that is not in the model's schema."""
        self.unfit: dict[str, list[Any]] = {}
        """Predictions that the dtype of their column cannot represent, by column."""

    def infer_formats(self, frame: pd.DataFrame) -> None:
        """Infers the cell formats of columns, and finds columns of files, which cannot be imputed.

        `impute_chunk` calls this method on each chunk. A call on the complete frame gives more reliable formats.
        """
        recorded, frame = frame.attrs.get(FORMATS, {}), remove_attributes(frame)
        for name in self.to:
            modality = self.model.schema[name]
            known = getattr(modality, "formats", None) or [""] * len(self._columns(name))
            for column, form in zip(self._columns(name), known, strict=False):
                if column in frame.columns and column not in self.formats:
                    own = format_of(frame[column], recorded)
                    different = form and own and form != own
                    values = frame[column].dropna().unique()[:LOOKED_AT] if different else ()
                    self.formats[column] = choose_format(form, own, values)
            for column in self._columns(name) if isinstance(modality, Image | Audio) else ():
                if column in frame.columns and _contains_files(frame[column], isinstance(modality, Image)):
                    self.files[column] = None

    def impute_chunk(self, frame: pd.DataFrame) -> dict[str, ImputedCells]:
        """Returns the imputed cells of a chunk, by column.

        A row that observes none of the given modalities is not imputed.

        Raises:
            ValueError: A cell cannot be read; the message names its column and row.
        """
        return self.impute_chunk_several_times(frame, [self.imputation])[0]

    def impute_chunk_several_times(
        self, frame: pd.DataFrame, imputations: Sequence[int | None]
    ) -> list[dict[str, ImputedCells]]:
        """Returns the imputed cells of a chunk like `impute_chunk`, from several posterior samples.

        Rows are read and encoded once. The counts of this object are those of the first imputation.

        Arguments:
            frame: Rows of the chunk.
            imputations: Numbers of the posterior samples to impute from; None for the posterior mean.
        """
        start = self.reader.rows
        self.infer_formats(frame)
        frame = remove_attributes(frame)
        batch = self._read(frame)
        columns = {column: frame[column] for column in frame.columns}
        empty, asked = self._find_missing(columns)
        seen = batch.observed & self.given
        enough = seen.any(1).numpy()
        need = np.logical_or.reduce([*asked.values(), np.zeros(len(frame), bool)])
        self.left += int((need & ~enough).sum())
        rows = np.flatnonzero(need & enough)
        if not len(rows):
            return [{} for _ in imputations]
        masks = {name: mask[rows] for name, mask in asked.items() if mask[rows].any()}
        index = torch.from_numpy(rows)
        predictions = predict_cells(
            self.model,
            batch[index],
            seen[index],
            masks,
            (start + rows).tolist(),
            imputations,
            seed=self.seed,
            bounds=self.bounds,
            interval=self.interval,
        )
        return [
            self._select_cells(columns, rows, empty, predicted, count=place == 0)
            for place, predicted in enumerate(predictions)
        ]

    def format_cells(self, column: str, cells: Sequence[Any]) -> list[str]:
        """Returns the imputed cells of a column as texts in the format of the column.

        The format is inferred from the observed cells of the column; if there are none, it is the format at training.
        """
        return write_texts(self.formats.get(column, ""), cells)

    def list_messages(self) -> list[str]:
        """Returns messages about values that were changed on reading and about cells that cannot be imputed.

        Each message is one sentence.

        Raises:
            ValueError: A column has more damaged files than `unreadable` allows.
        """
        files = (
            "contains files or file names, and its missing cells stay missing, because a prediction is not a file; "
            "images can be imputed as bytes"
        )
        untrained = [name for name in self.model.untrained or () if name not in self.reader.absent]
        return [
            *self.reader.list_messages(),
            *([tell_untrained(untrained)] if untrained else []),
            *(f"{column!r} {files}" for column in self.files),
            *self._list_missing(),
            *([] if self.interval is None else list_interval_messages(self.model, self.to, self.interval)),
        ]

    def name_added_columns(self, columns: Iterable[str], sure: bool, marked: bool) -> dict[str, str]:
        """Returns the names of the added columns in order, and for each the column that it follows.

        The column `filled` follows itself, and comes last.

        Raises:
            ValueError: Two columns of the frame have the same name, or an added column has the name of one of them.
        """
        columns = list(columns)
        names = {column: name for name in self.to for column in self._columns(name)}
        added: dict[str, str] = {}
        for column in columns:
            if (name := names.get(column)) is not None:
                ends = [LOW, HIGH] if self.interval is not None and has_interval(self.model, name) else []
                certainty = [SURE] if sure and has_certainty(self.model, name) else []
                added |= {f"{column}{suffix}": column for suffix in ends + certainty}
        added |= {FILLED: FILLED} if marked else {}
        if twice := [name for name, times in Counter([*columns, *added]).items() if times > 1]:
            raise ValueError(f"column names must be unique; {twice[0]!r} occurs twice; rename one of the columns")
        return added

    def _read(self, frame: pd.DataFrame) -> Batch:
        """Reads a chunk as a batch, and clamps numbers far from the training values, which could cause overflow."""
        batch = self.reader.read(frame)
        values = {name: self.reader.outliers[name].clamp(value) for name, value in batch.values.items()}
        return Batch(values, batch.observed)

    def _find_missing(self, columns: dict[Any, pd.Series]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Finds and counts the missing cells of a chunk. A list of numbers counts if one of its numbers is missing.

        Returns:
            Masks of the missing cells by column to impute, and masks of the rows with such a cell by modality, `(N,)`
            bool each.
        """
        present = {*columns} - {*self.files}
        names = [name for name in self.to if {*self._columns(name)} <= present]
        empty = {column: missing(columns[column]) for name in names for column in self._columns(name)}
        for name in (name for name in names if len(self.model.schema[name].shape) == 1 and name in empty):
            empty[name] |= find_gaps(columns[name])
        self.empty.update({column: int(mask.sum()) for column, mask in empty.items()})
        further = [column for column in self.reader.further if column in columns]
        self.unknown.update({column: int(missing(columns[column]).sum()) for column in further})
        rows = {name: np.logical_or.reduce([empty[column] for column in self._columns(name)]) for name in names}
        return empty, rows

    def _select_cells(
        self,
        columns: dict[Any, pd.Series],
        rows: np.ndarray,
        empty: dict[str, np.ndarray],
        predicted: dict[str, ImputedCells],
        *,
        count: bool,
    ) -> dict[str, ImputedCells]:
        """Returns those predicted cells, by column, that are missing in the frame and that the dtype can represent.

        Arguments:
            columns: Columns of the chunk.
            rows: Rows of the chunk that were predicted, `(n,)` int64.
            empty: Masks of the missing cells by column.
            predicted: Predicted cells of each modality, one list per column; their rows are positions in `rows`.
            count: Whether to add the cells to the counts of this object.
        """
        imputed: dict[str, ImputedCells] = {}
        for name, cells_of in predicted.items():
            places = rows[cells_of.rows]
            for column, cells in zip(self._columns(name), cells_of.cells, strict=True):
                ends = cells_of.low, cells_of.high
                if holds_texts(columns[column], self.formats[column]):
                    cells, *ends = (self.format_cells(column, part) for part in (cells, *ends))
                absent, fits = empty[column][places], is_valid_cell(columns[column], cells)
                use = absent & fits
                selected, *ends = (_select(part, use) for part in (cells, *ends))
                imputed[column] = ImputedCells(places[use], selected, cells_of.sure[use], *ends)
                if count:
                    self.imputed += len(selected)
                    if not fits.all():
                        unfit = self.unfit.setdefault(column, [])
                        unfit += [cells[place] for place in np.flatnonzero(absent & ~fits)]
        return imputed

    def _list_missing(self) -> Iterator[str]:
        """Yields messages about the number of missing cells and the cells that stay missing."""
        if total := self.empty.total():
            where = ", ".join(f"{column!r} ({many:,})" for column, many in self.empty.items() if many)
            yield f"{format_count(total, 'cell')} {'were' if total > 1 else 'was'} read as missing: {brief(where)}"
        if left := self.left:
            have = "have" if left > 1 else "has"
            yield f"{format_count(left, 'row')} with a missing cell {have} no observed value to impute it from"
        for column, cells in self.unfit.items():
            if cells:
                yield (
                    f"{format_count(len(cells), 'missing cell')} of {column!r} {_stay(len(cells))} missing, because "
                    f"the column's type cannot represent the prediction, such as {cells[0]!r}"
                )
        if total := self.unknown.total():
            where = ", ".join(f"{column!r} ({many:,})" for column, many in self.unknown.items() if many)
            yield (
                f"{format_count(total, 'missing cell')} {_stay(total)} missing, in columns that the model was not "
                f"trained on: {brief(where)}"
            )

    def _columns(self, name: str) -> tuple[str, ...]:
        return self.model.schema[name].columns(name)


def _contains_files(column: pd.Series, by_name: bool) -> bool:
    """Returns whether the cells of a column are file names or, unless `by_name`, the contents of files."""
    import pandas as pd

    if column.dtype != object:
        return pd.api.types.is_string_dtype(column.dtype)
    observed = column.dropna()
    first = observed.iloc[0] if len(observed) else None
    if isinstance(first, bytes) or (isinstance(first, dict) and "bytes" in first):
        return not by_name
    return isinstance(first, str | PurePath | dict)


def _select(cells: Sequence[Any], use: np.ndarray) -> Sequence[Any]:
    """Returns the cells at which a mask `(n,)` is True, of n cells or of none."""
    return cells if use.all() or not len(cells) else [cells[int(place)] for place in np.flatnonzero(use)]


def _stay(number: int) -> str:
    return "stay" if number > 1 else "stays"
