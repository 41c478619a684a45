"""Profiles of data frame columns, from which modalities decide whether they suit a column."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.modalities.cell_texts import code_reason
from polymodal.modalities.cells import CellError, dense, missing, numbers, texts
from polymodal.runtime.formatting import brief, format_count, shell_quote

if TYPE_CHECKING:
    import pandas as pd

    from polymodal.modalities.base import Modality

__all__ = ["MOST", "Candidate", "Profile", "ends_as", "mostly"]

LOOKED_AT = 1000
"""Number of values that are inspected to determine the kind of texts or objects in a column."""
MOST = 0.9
"""Minimum share of the inspected values that must be of a kind."""
EXACT = 2**53
"""Floats of at least this size are always whole, so they do not show that a column has whole numbers."""
DATE = re.compile(
    r"(\d{4}([-/.])\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3\d{4}|\d{1,2}([-/])\d{1,2}\4\d{2})([T ]\d.*)?\s*"
)


class Candidate(NamedTuple):
    """A modality for a column, with the reason."""

    modality: Modality | None
    """The modality; None if the column is left out, for example because its files cannot be read."""
    why: str
    """Reason, such as "3 different texts in 344 rows"."""
    doubt: str = ""
    """Warning about an ambiguity, with the way to choose otherwise; empty if nothing is ambiguous."""


@dataclass(frozen=True)
class Profile:
    """The cells of a data frame column that have a value, indexed by row.

    Example:
        >>> import pandas as pd
        >>> profile = Profile.of(pd.DataFrame({"visits": [3, None, 0, 3]}), "visits")
        >>> profile.kind, profile.values.tolist(), profile.span, profile.there
        ('integer', [3, 0, 3], 'from 0 to 3', '3 of 4 rows')
    """

    name: str
    cells: pd.Series
    """The cells as in the frame."""
    kind: str
    """One of boolean, category, integer, number, text, date, bytes and object."""
    values: pd.Series
    """The cells, converted to values of their kind."""
    rows: int
    """Number of rows of the frame."""
    root: Path
    """Folder that file names in cells are relative to."""

    @classmethod
    def of(cls, frame: pd.DataFrame, name: str, root: Path | None = None) -> Profile:
        """Creates the profile of a column of a frame.

        Raises:
            ValueError: A number is infinite; the error names its row.
        """
        numbered = frame.index.dtype.kind == "i" and frame.index.is_unique
        cells = dense(frame[name] if numbered else frame[name].reset_index(drop=True))
        cells = cells[~missing(cells)]
        try:
            kind, values = _infer_kind(cells)
        except CellError as error:
            raise ValueError(f"{name}, row {cells.index[error.row]}: {error.why}") from error
        return cls(name, cells, kind, values, len(frame), root or Path())

    @cached_property
    def counts(self) -> pd.Series:
        """Number of rows with each different value."""
        return self.values.value_counts(sort=False)

    @property
    def comparable(self) -> bool:
        """Whether the values are hashable, so that equal ones can be found."""
        return self.kind not in ("bytes", "object")

    @property
    def each(self) -> float:
        """Mean number of rows per different value."""
        return len(self.values) / len(self.counts)

    @property
    def first(self) -> list[Any]:
        """The first values, which are inspected to determine their kind."""
        return self.values.iloc[:LOOKED_AT].tolist()

    @cached_property
    def dated(self) -> bool:
        """Whether the values are dates, or mostly texts that look like dates."""
        return self.kind == "date" or (self.kind == "text" and mostly(self.first, DATE.fullmatch))

    @cached_property
    def coded(self) -> str:
        """Reason why whole numbers in texts are codes, such as "have leading zeros"; empty if they are not."""
        return code_reason(self.values.str.strip()) if self.kind == "text" else ""

    @property
    def there(self) -> str:
        """The number of rows with a value, in words."""
        some, rows = len(self.values), format_count(self.rows, "row")
        return rows if some == self.rows else f"{some:,} of {rows}"

    @property
    def span(self) -> str:
        """The range from the smallest to the largest number, in words."""
        low, high = self.values.min(), self.values.max()
        if self.kind == "integer":
            return f"from {low} to {high}"
        return f"from {low:.5g} to {high:.5g}"

    @property
    def types(self) -> str:
        """The types of the values, in words."""
        return brief(", ".join(sorted({type(cell).__name__ for cell in self.first})))

    @property
    def digest(self) -> bytes:
        """Hash that is equal for columns with the same values in the same rows."""
        import pandas as pd

        return hashlib.blake2b(
            pd.util.hash_pandas_object(self.values, index=False).to_numpy().tobytes()
            + self.values.index.to_numpy("int64").tobytes()
        ).digest()

    def otherwise(self, word: str) -> str:
        """Returns the command-line option that assigns another modality to the column."""
        return f"--modality {shell_quote(f'{self.name}={word}')}"

    def wrong(self, place: int, why: str) -> ValueError:
        """Returns the error for a cell, by its position among the cells that have a value."""
        return ValueError(f"{self.name}, row {self.cells.index[place]}: {why}")


def _infer_kind(cells: pd.Series) -> tuple[str, pd.Series]:
    """Returns the kind of the cells of a column, and their values.

    Raises:
        CellError: A number is infinite.
    """
    import pandas as pd

    kind = cells.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return "category", cells.astype(object)
    if pd.api.types.is_bool_dtype(kind):
        return "boolean", cells.astype(bool)
    if pd.api.types.is_integer_dtype(kind):
        return "integer", cells.astype("uint64" if str(kind).lower().startswith("uint64") else "int64")
    if pd.api.types.is_float_dtype(kind):
        return _whole(_floats(cells))
    if pd.api.types.is_datetime64_any_dtype(kind):
        return "date", _texts(cells)
    return _of_objects(cells.astype(object))


def _of_objects(cells: pd.Series) -> tuple[str, pd.Series]:
    """Returns the kind and the values of cells of pandas' object type, like `_infer_kind`."""
    import pandas as pd

    match pd.api.types.infer_dtype(cells):
        case "string":
            return "text", cells
        case "boolean":
            return "boolean", cells.astype(bool)
        case "integer" | "floating" | "mixed-integer-float":
            return _whole(_floats(cells))
        case "decimal":
            return "number", _floats(cells)
        case "date" | "datetime" | "datetime64":
            return "date", _texts(cells)
        case "bytes":
            return "bytes", cells
    if len(cells) and all(isinstance(cell, PurePath) for cell in cells):
        return "text", cells.astype(str)
    return "object", cells


def _floats(cells: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.Series(numbers(cells), index=cells.index)


def _whole(values: pd.Series) -> tuple[str, pd.Series]:
    """Returns the kind and the values of floats, which become integers if all are whole.

    pandas stores whole numbers as floats if a cell is missing.
    """
    if len(values) and (values.abs() < EXACT).all() and (values % 1 == 0).all():
        return "integer", values.astype("int64")
    return "number", values


def _texts(cells: pd.Series) -> pd.Series:
    """Converts cells to texts; dates are in ISO 8601 format, with the time only if it is not midnight."""
    import pandas as pd

    return pd.Series(texts(cells), cells.index, dtype=object)


def ends_as(endings: tuple[str, ...]) -> Callable[[str], bool]:
    """Returns a function that checks whether a file name has one of these endings, in any case."""
    return lambda text: text.lower().rstrip().endswith(endings)


def mostly(cells: list[Any], of_a_kind: Callable[[Any], object]) -> bool:
    """Returns whether there are cells, and at least 9 in 10 of them are of a kind."""
    return bool(cells) and sum(bool(of_a_kind(cell)) for cell in cells) >= MOST * len(cells)
