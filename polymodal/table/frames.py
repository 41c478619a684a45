"""Data frames as the tensors of a table: columns to modalities, and what was not taken as it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polymodal import csvfiles
from polymodal.batch import Batch
from polymodal.modalities.cells import CellError, Column, counted, dense
from polymodal.runtime.formatting import brief
from polymodal.runtime.registry import nearest
from polymodal.runtime.validation import check_frame, check_path
from polymodal.tabular.outliers import Outliers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from polymodal.modalities import Modality
    from polymodal.schema import Schema

__all__ = ["MOST_UNREADABLE", "Reader", "collected", "csv", "fitted"]

MOST_UNREADABLE = 0.01
"""The share of a column's files that may be damaged, unless it is said that more may be."""
FEWEST = 100
"""Files of which one may be damaged, however few there are beside it."""
ROWS = 65_536
"""Of a Parquet file that are held as a data frame at once."""
MOST_LISTED = 5


class Reader:
    """Reads frames of one schema, piece after piece, and counts what it could not take as it stands.

    Arguments:
        schema: The modalities.
        root: The folder that files in cells are named from; by default the working folder.
        unreadable: The share of a column's files that may be damaged; they are then not observed.
        numbers: What people call the rows, where that is not 0, 1, 2 and so on.
    """

    def __init__(
        self,
        schema: Schema,
        root: str | Path | None = None,
        unreadable: float = MOST_UNREADABLE,
        numbers: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        if root is not None:
            check_path("root", root)
        self.schema, self.root, self.unreadable, self.numbers = schema, Path(root or "."), unreadable, numbers
        self.rows = 0
        self.odd: dict[str, Counter[str]] = {name: Counter() for name in schema}
        self.damaged: dict[str, list[tuple[int, str]]] = {name: [] for name in schema}
        self.files: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        """Texts that are cut, by modality."""
        self.outliers = {name: Outliers(modality) for name, modality in schema.items()}
        self.absent: list[str] = []
        self.here: set[str] = set()
        """The columns of the first piece."""
        self.further: list[str] = []
        """Those of them that are no modality's."""

    def read(self, frame: pd.DataFrame) -> Batch:
        """The rows of a piece; a modality whose columns are not there is not observed.

        Raises:
            TypeError: It is no data frame.
            ValueError: A cell cannot be read, or too many files are damaged; names column and row.
        """
        self._look(check_frame(frame))
        columns = {name: self._column(name, modality, frame) for name, modality in self.schema.items()}
        self.rows += len(frame)
        none = torch.zeros(len(frame), dtype=torch.bool)
        observed = torch.stack([none if column is None else column.observed for column in columns.values()], dim=1)
        return Batch({name: column.values for name, column in columns.items() if column is not None}, observed)

    def told(self) -> list[str]:
        """What was not taken as it stands, a sentence each.

        Raises:
            ValueError: More files are damaged than may be.
        """
        self._refuse_damaged()
        said = [sentence for name in self.absent for sentence in self._tell_absent(name)]
        for name, odd in self.odd.items():
            if odd:
                what = ("word", "words") if self.schema[name].shape else ("class", "classes")
                said.append(f"{name!r}: {counted(odd, *what)}")
        said += [self._tell_cut(name) for name, cut in self.cut.items() if cut > self.files[name] / 50]
        said += [far for name, outliers in self.outliers.items() if (far := outliers.tell(name))]
        for name, damaged in self.damaged.items():
            if damaged:
                said.append(f"{name!r}: {_files(damaged)}, and {'are' if len(damaged) > 1 else 'is'} not observed")
        return said

    def _look(self, frame: pd.DataFrame) -> None:
        """Notes the modalities whose columns are not there, at the first piece."""
        if self.rows:
            return
        _refuse_twice(self.schema, frame)
        wanted = {name: modality.columns(name) for name, modality in self.schema.items()}
        known = {column for columns in wanted.values() for column in columns}
        self.here = {*frame.columns}
        self.further = [column for column in frame.columns if isinstance(column, str) and column not in known]
        self.absent = [name for name, columns in wanted.items() if not {*columns} <= self.here]
        if len(self.absent) == len(self.schema):
            every = [column for columns in wanted.values() for column in columns]
            raise ValueError(
                f"the rows must have one of the columns {brief(', '.join(every))}; they have "
                f"{brief(', '.join(map(str, frame.columns)))}; name them as those of training"
            )

    def _tell_absent(self, name: str) -> Iterator[str]:
        """That a modality's columns are not there, and what they may be called instead."""
        columns = self.schema[name].columns(name)
        near = {column: nearest(column, self.further) for column in columns if column not in self.here}
        mean = f"; did you mean {near[name]!r}?" if columns == (name,) and near[name] else ""
        yield f"{name!r} is not among the columns, and is taken as not observed{mean}"
        if columns != (name,) and (len(near) < len(columns) or any(near.values())):
            for column, other in near.items():
                mean = f"; did you mean {other!r}?" if other else ""
                yield f"{name!r} is read from {len(columns)} columns, of which {column!r} is not there{mean}"

    def _tell_cut(self, name: str) -> str:
        """That more than 1 in 50 texts are cut."""
        cut, are = self.cut[name], "are" if self.cut[name] > 1 else "is"
        length = self.schema[name].shape[0]
        return f"{name!r}: {cut:,} of {self.files[name]:,} texts {are} longer than {length} tokens, and {are} cut"

    def _column(self, name: str, modality: Modality, frame: pd.DataFrame) -> Column | None:
        if name in self.absent:
            return None
        columns = modality.columns(name)
        try:
            column = modality.read_cells(*(dense(frame[column]) for column in columns), root=self.root)
        except CellError as error:
            raise ValueError(f"{' and '.join(columns)}, row {self._number(error.row)}: {error.why}") from error
        self.odd[name].update(dict(column.odd))
        self.damaged[name] += [(self._number(row), why) for row, why in column.unreadable]
        self.cut[name] += column.cut
        self.outliers[name].look(column.values, column.observed, self._number)
        self.files[name] += int(column.observed.sum()) + len(column.unreadable)
        return column

    def _number(self, row: int) -> int:
        """What people call a row of the piece at hand."""
        return self.rows + row if self.numbers is None else int(self.numbers[self.rows + row])

    def _refuse_damaged(self) -> None:
        for name, damaged in self.damaged.items():
            if len(damaged) > max(self.unreadable * self.files[name], self.files[name] >= FEWEST):
                raise ValueError(
                    f"{name!r}: at most {self.unreadable:.0%} of the files may be damaged; {_files(damaged)}; mend or "
                    f"remove them, or allow more by unreadable={min(1.0, len(damaged) / self.files[name] + 0.005):.2f}"
                )


def fitted(schema: Schema, frame: pd.DataFrame) -> Schema:
    """The schema with what its modalities leave open taken from training rows: units, classes, words, formats.

    Raises:
        ValueError: A cell cannot be read; names column and row.
    """
    _refuse_twice(schema, frame)
    modalities = {}
    for name, modality in schema.items():
        columns = modality.columns(name)
        try:
            here = {*columns} <= {*frame.columns}
            cells = [dense(frame[column]) for column in columns if here]
            modalities[name] = modality.fitted(*cells).learn_cells(*cells) if here else modality
        except CellError as error:
            row = frame.index[error.row] if frame.index.dtype.kind == "i" else error.row
            raise ValueError(f"{' and '.join(columns)}, row {row}: {error.why}") from error
        except ValueError as error:
            raise ValueError(f"{name!r}: {error}") from error
    return type(schema)(modalities, schema.groups)


def csv(path: str | Path, columns: Sequence[str] | None = None, missing: Sequence[str] = ()) -> pd.DataFrame:
    """The cells of a CSV file, white space around them left out.

    Columns of codes such as 007 are texts, and the frame keeps how the others are written, as `keep_texts` says.

    Arguments:
        path: The file.
        columns: Names of its columns, if its first line does not say them.
        missing: Further texts for a value that is not there; empty, NA, NaN, null and None are known.

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: It is no such file, or has another number of columns.
    """
    return csvfiles.read(path, csvfiles.Options(columns or None, missing)).frame


def collected(
    pieces: Iterable[pd.DataFrame], reader: Reader, say: Callable[[str], object] | None
) -> tuple[dict[str, Tensor], Tensor]:
    """The values by name, and what is observed, `(N, M)`, of rows that have anything; the others are left out."""
    batches = []
    for piece in pieces:
        batch = reader.read(piece)
        some = batch.observed.any(1)
        batches.append(batch if some.all() else batch[some])
    if not batches:
        return {}, torch.zeros(0, len(reader.schema), dtype=torch.bool)
    observed = torch.cat([batch.observed for batch in batches])
    said = reader.told()
    if empty := reader.rows - len(observed):
        said.append(f"{empty:,} of {reader.rows:,} rows hold nothing, and are left out")
    if say is not None:
        for sentence in said:
            say(sentence)
    return {name: torch.cat([batch.values[name] for batch in batches]) for name in batches[0].values}, observed


def _refuse_twice(schema: Schema, frame: pd.DataFrame) -> None:
    """Refuses columns of one name, of which it is unknown what a modality is to read."""
    wanted = {column for name, modality in schema.items() for column in modality.columns(name)}
    for column in frame.columns[frame.columns.duplicated()]:
        if column in wanted:
            raise ValueError(f"columns must have names of their own; {column!r} stands twice; rename one of them")


def _files(damaged: Sequence[tuple[int, str]]) -> str:
    listed = "; ".join(f"row {row}: {why}" for row, why in damaged[:MOST_LISTED])
    rest = f"; and {len(damaged) - MOST_LISTED} more" if len(damaged) > MOST_LISTED else ""
    return f"{len(damaged):,} file{'s' * (len(damaged) > 1)} cannot be read ({listed}{rest})"
