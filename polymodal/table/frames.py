"""Conversion of data frames to the tensors of a table, with messages about cells that could not be read as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polymodal import csvfiles
from polymodal.batch import Batch
from polymodal.modalities.cells import CellError, Column, dense, format_unseen_values
from polymodal.runtime.formatting import brief, format_count
from polymodal.runtime.registry import nearest
from polymodal.runtime.validation import check_frame, check_path
from polymodal.tabular.outliers import Outliers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from polymodal.modalities import Modality
    from polymodal.schema import Schema

__all__ = ["MOST_UNREADABLE", "ROWS", "Reader", "fit_schema", "format_row", "read_csv", "read_frames"]

MOST_UNREADABLE = 0.01
"""Default for the largest share of damaged files in a column."""
FEWEST = 100
"""In a column with at least this many files, one damaged file is always allowed."""
ROWS = 65_536
"""Number of rows of a Parquet file or an Arrow table that are converted to one data frame at a time."""
MOST_LISTED = 5


class Reader:
    """Reads the data frames of one schema chunk by chunk, and counts the cells that it could not read as they are.

    Arguments:
        schema: The modalities.
        root: Folder that file names in cells are relative to; by default the working folder.
        unreadable: Largest share of damaged files in a column; damaged files count as not observed.
        numbers: Row numbers to use in messages; by default 0, 1, 2 and so on.
        labels: Labels of all rows in the index of their data frame. Messages add a label that is not the row number.
    """

    def __init__(
        self,
        schema: Schema,
        root: str | Path | None = None,
        unreadable: float = MOST_UNREADABLE,
        numbers: Sequence[int] | np.ndarray | None = None,
        labels: pd.Index | None = None,
    ) -> None:
        if root is not None:
            check_path("root", root)
        self.schema, self.root, self.unreadable = schema, Path(root or "."), unreadable
        self.numbers, self.labels = numbers, labels
        self.rows = 0
        self.unseen: dict[str, Counter[str]] = {name: Counter() for name in schema}
        self.damaged: dict[str, list[tuple[str, str]]] = {name: [] for name in schema}
        self.files: Counter[str] = Counter()
        self.truncated: Counter[str] = Counter()
        """Number of truncated texts by modality."""
        self.partial: Counter[str] = Counter()
        """Number of partly observed vectors that count as missing, by modality."""
        self.outliers = {name: Outliers(modality) for name, modality in schema.items()}
        self.absent: list[str] = []
        self.columns: set[str] = set()
        """The columns of the first chunk."""
        self.further: list[str] = []
        """The columns of the first chunk that belong to no modality."""

    def read(self, frame: pd.DataFrame) -> Batch:
        """Returns the rows of a chunk as a batch; a modality whose columns are missing is not observed.

        Raises:
            TypeError: `frame` is not a data frame.
            ValueError: A cell cannot be read, or no column of the schema is present, or a column that the schema needs
                occurs twice. For a cell, the error names the column and the row.
        """
        self._inspect_columns(check_frame(frame))
        columns = {name: self._column(name, modality, frame) for name, modality in self.schema.items()}
        self.rows += len(frame)
        none = torch.zeros(len(frame), dtype=torch.bool)
        observed = torch.stack([none if column is None else column.observed for column in columns.values()], dim=1)
        return Batch({name: column.values for name, column in columns.items() if column is not None}, observed)

    def list_messages(self) -> list[str]:
        """Returns one message for each problem: missing columns, unknown values, cut texts, outliers, damaged files.

        Raises:
            ValueError: More files are damaged than allowed.
        """
        self._refuse_damaged()
        messages = [sentence for name in self.absent for sentence in self._describe_absent(name)]
        for name, unseen in self.unseen.items():
            if unseen:
                what = ("word", "words") if self.schema[name].shape else ("class", "classes")
                messages.append(f"{name!r}: {format_unseen_values(unseen, *what)}")
        truncated = (name for name, count in self.truncated.items() if count > self.files[name] / 50)
        messages += [self._describe_truncation(name) for name in truncated]
        messages += [self._describe_partial(name) for name, count in self.partial.items() if count]
        messages += [far for name, outliers in self.outliers.items() if (far := outliers.format_message(name))]
        for name, damaged in self.damaged.items():
            if damaged:
                count = "count" if len(damaged) > 1 else "counts"
                messages.append(f"{name!r}: {_list_damaged(damaged)}, and {count} as missing")
        return messages

    def _inspect_columns(self, frame: pd.DataFrame) -> None:
        """Records the modalities whose columns are missing, for the first chunk only."""
        if self.rows:
            return
        _require_unique_names(self.schema, frame)
        wanted = {name: modality.columns(name) for name, modality in self.schema.items()}
        known = {column for columns in wanted.values() for column in columns}
        self.columns = {*frame.columns}
        self.further = [column for column in frame.columns if isinstance(column, str) and column not in known]
        self.absent = [name for name, columns in wanted.items() if not {*columns} <= self.columns]
        if len(self.absent) == len(self.schema):
            every = [column for columns in wanted.values() for column in columns]
            raise ValueError(
                f"the table must have at least one of the columns {brief(', '.join(every))}; it has "
                f"{brief(', '.join(map(str, frame.columns)))}; give them the names that they have in the training rows"
            )

    def _describe_absent(self, name: str) -> Iterator[str]:
        """Yields messages about the missing columns of a modality, with similar column names."""
        columns = self.schema[name].columns(name)
        near = {column: nearest(column, self.further) for column in columns if column not in self.columns}
        mean = f"; did you mean {near[name]!r}?" if columns == (name,) and near[name] else ""
        yield f"{name!r} is not among the columns and counts as missing{mean}"
        if columns != (name,) and (len(near) < len(columns) or any(near.values())):
            for column, other in near.items():
                mean = f"; did you mean {other!r}?" if other else ""
                yield f"{name!r} is read from {len(columns)} columns, of which {column!r} does not exist{mean}"

    def _describe_truncation(self, name: str) -> str:
        """Returns the message that texts are cut."""
        cut, are = self.truncated[name], "are" if self.truncated[name] > 1 else "is"
        length = self.schema[name].shape[0]
        return f"{name!r}: {cut:,} of {self.files[name]:,} texts {are} longer than {length} tokens and {are} cut"

    def _describe_partial(self, name: str) -> str:
        """Returns the message that partly observed vectors count as missing."""
        have, count = ("has", "counts") if self.partial[name] == 1 else ("have", "count")
        return (
            f"{name!r}: {format_count(self.partial[name], 'row')} {have} only some of its {self.schema[name].shape[0]} "
            f"numbers and {count} as missing; they are used by a vector with partial=True, which is set if training "
            "rows have only some numbers"
        )

    def _column(self, name: str, modality: Modality, frame: pd.DataFrame) -> Column | None:
        if name in self.absent:
            return None
        columns = modality.columns(name)
        try:
            column = modality.read_cells(*(dense(frame[column]) for column in columns), root=self.root)
        except CellError as error:
            raise ValueError(f"{' and '.join(columns)}, row {self._name_row(error.row)}: {error.why}") from error
        self.unseen[name].update(dict(column.odd))
        self.damaged[name] += [(self._name_row(row), why) for row, why in column.unreadable]
        self.truncated[name] += column.cut
        self.partial[name] += column.partial
        self.outliers[name].count(column.values, column.observed, self._name_row)
        self.files[name] += int(column.observed.sum()) + len(column.unreadable)
        return column

    def _name_row(self, row: int) -> str:
        """Returns the name to use in messages for a row of the current chunk."""
        position = self.rows + row
        return format_row(position, self.labels) if self.numbers is None else str(int(self.numbers[position]))

    def _refuse_damaged(self) -> None:
        for name, damaged in self.damaged.items():
            if len(damaged) > max(self.unreadable * self.files[name], self.files[name] >= FEWEST):
                enough = min(1.0, len(damaged) / self.files[name] + 0.005)
                raise ValueError(
                    f"{name!r}: at most {self.unreadable:.0%} of the files may be damaged; {_list_damaged(damaged)}; "
                    f"repair or remove them, or allow more with unreadable={enough:.2f}"
                )


def fit_schema(schema: Schema, frame: pd.DataFrame, name_row: Callable[[int], str] = str) -> Schema:
    """Returns the schema with unspecified settings learned from training rows: units, classes, words, formats.

    Arguments:
        schema: The modalities.
        frame: Training rows.
        name_row: Function from the position of a row to its name in messages.

    Raises:
        ValueError: A cell cannot be read; the error names the column and the row.
    """
    _require_unique_names(schema, frame)
    modalities = {}
    for name, modality in schema.items():
        columns = modality.columns(name)
        try:
            here = {*columns} <= {*frame.columns}
            cells = [dense(frame[column]) for column in columns if here]
            modalities[name] = modality.fitted(*cells).learn_cells(*cells) if here else modality
        except CellError as error:
            raise ValueError(f"{' and '.join(columns)}, row {name_row(error.row)}: {error.why}") from error
        except ValueError as error:
            raise ValueError(f"{name!r}: {error}") from error
    return type(schema)(modalities, schema.groups)


def read_csv(path: str | Path, columns: Sequence[str] | None = None, missing: Sequence[str] = ()) -> pd.DataFrame:
    """Reads the cells of a CSV file, without the white space around them.

    Columns of codes such as 007 become texts. The data frame stores the formats of the other columns, see `keep_texts`.

    Arguments:
        path: The file.
        columns: Names of the columns, if the first line does not contain them.
        missing: Further texts that mean a missing value; empty cells, NA, NaN, null and None always do.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a valid CSV file, or its number of columns is wrong.
    """
    return csvfiles.read(path, csvfiles.Options(columns or None, missing)).frame


def read_frames(
    pieces: Iterable[pd.DataFrame], reader: Reader, say: Callable[[str], object] | None
) -> tuple[dict[str, Tensor], Tensor]:
    """Returns the values by name and the observed mask `(N, M)` of all rows that have at least one value."""
    batches = []
    for piece in pieces:
        batch = reader.read(piece)
        some = batch.observed.any(1)
        batches.append(batch if some.all() else batch[some])
    if not batches:
        return {}, torch.zeros(0, len(reader.schema), dtype=torch.bool)
    observed = torch.cat([batch.observed for batch in batches])
    messages = reader.list_messages()
    if empty := reader.rows - len(observed):
        messages.append(f"{empty:,} of {reader.rows:,} rows have no observed value and are left out")
    if say is not None:
        for sentence in messages:
            say(sentence)
    return {name: torch.cat([batch.values[name] for batch in batches]) for name in batches[0].values}, observed


def format_row(position: int, labels: pd.Index | None) -> str:
    """Returns the name of a row in messages: its position, and its label where this is not the position.

    Example:
        >>> import pandas as pd
        >>> format_row(1, pd.Index([0, 1, 2])), format_row(1, pd.Index(["a", "b"])), format_row(1, None)
        ('1', "1 (label 'b')", '1')
    """
    label = position if labels is None else labels[position : position + 1].tolist()[0]
    return str(position) if label == position else f"{position} (label {label!r})"


def _require_unique_names(schema: Schema, frame: pd.DataFrame) -> None:
    """Raises an error if the frame has two columns with a name that a modality reads."""
    wanted = {column for name, modality in schema.items() for column in modality.columns(name)}
    for column in frame.columns[frame.columns.duplicated()]:
        if column in wanted:
            raise ValueError(f"column names must be unique; {column!r} occurs twice; rename one of the columns")


def _list_damaged(damaged: Sequence[tuple[str, str]]) -> str:
    listed = "; ".join(f"row {row}: {why}" for row, why in damaged[:MOST_LISTED])
    rest = f"; and {len(damaged) - MOST_LISTED} more" if len(damaged) > MOST_LISTED else ""
    return f"{len(damaged):,} file{'s' * (len(damaged) > 1)} cannot be read ({listed}{rest})"
