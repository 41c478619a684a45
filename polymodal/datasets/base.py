"""The `Dataset` class, and descriptions of data sets that are available before loading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polymodal.schema import Schema
from polymodal.table.table import Table

__all__ = ["Dataset", "Facts", "facts"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training, validation, and test tables with one schema.

    Arguments:
        name: Name of the data set in `DATASETS`.
        train: Table for training.
        validation: Table for choosing the best epoch.
        test: Table for reporting results.
    """

    name: str
    train: Table
    validation: Table
    test: Table

    @property
    def schema(self) -> Schema:
        """The schema of the tables, that is the modalities by name."""
        return self.train.schema

    def first(self, rows: int | None, held_out_rows: int | None) -> Dataset:
        """Returns the first rows of each split.

        The `source` of each table records the arguments `rows` and `held_out_rows`, with which the data set loads the
        same rows again.

        Arguments:
            rows: Number of training rows; None for all.
            held_out_rows: Number of validation rows, and of test rows; None for all.

        Returns:
            A data set whose tables share memory with those of this one.

        Raises:
            ValueError: A split has fewer rows.
        """
        asked = {"train": rows, "validation": held_out_rows, "test": held_out_rows}
        given = {name: n for name, n in {"rows": rows, "held_out_rows": held_out_rows}.items() if n is not None}
        tables = {}
        for split, count in asked.items():
            table: Table = getattr(self, split)
            source = {**table.source, "arguments": {**table.source.get("arguments", {}), **given}}
            try:
                tables[split] = table if not given else replace(table, source=source).first(count or len(table))
            except ValueError as error:
                raise ValueError(f"{split} rows of {self.name}: {error}") from None
        return Dataset(self.name, **tables)

    def __repr__(self) -> str:
        sizes = f"{len(self.train)} training, {len(self.validation)} validation, {len(self.test)} test rows"
        return f"<{self.name}: {sizes} of {', '.join(self.schema)}>"


@dataclass(frozen=True)
class Facts:
    """Description of a data set that is available without loading it: sizes, licence, and location of the files.

    Used as a decorator, it becomes the attribute `facts` of the function that loads the data set.

    Arguments:
        shapes: Modalities and their shapes in readable form, such as "m0..m4 3x28x28, label 10".
        rows: Numbers of training, validation, and test rows, if they are fixed; else None.
        licence: Licence of the data.
        size: Size of the source files.
        origin: Publisher and publication of the data.
        layouts: Alternative layouts of the source files. Each layout is a tuple of names or patterns of files and
            folders beneath the root, all of which must exist. Empty if the data set needs no files.
        get: Instructions to get the files by hand: one sentence that contains an address.
        shares: Name of the data set that uses the same source files, if this one has none of its own.
    """

    shapes: str
    rows: tuple[int, int, int] | None
    licence: str
    size: str
    origin: str
    layouts: tuple[tuple[str, ...], ...] = ()
    get: str = ""
    shares: str = ""

    def __call__(self, make: Callable[..., Dataset]) -> Callable[..., Dataset]:
        """Attaches the facts to a function."""
        make.facts = self  # pyright: ignore[reportFunctionMemberAccess]
        return make

    def find_layout(self, root: Path) -> int | None:
        """Returns the index of the first complete layout beneath a root, or None if none is complete."""
        return next((i for i, layout in enumerate(self.layouts) if not _missing(root, layout)), None)

    def require(self, root: Path) -> int:
        """Returns the index of the first complete layout beneath a root.

        Raises:
            FileNotFoundError: No layout is complete. The message names the first missing path of the layout with
                the fewest missing paths, and says where to get the files.
        """
        found = self.find_layout(root)
        if found is not None:
            return found
        missing = min((_missing(root, layout) for layout in self.layouts), key=len)
        choices = " or ".join(", ".join(layout) for layout in self.layouts)
        raise FileNotFoundError(f"{root / missing[0]} must exist, and does not; {root} must hold {choices}; {self.get}")


def facts(make: Callable[..., Any]) -> Facts | None:
    """Returns the facts of a registered data set, or None if its author provided none."""
    return getattr(make, "facts", None)


def _missing(root: Path, layout: tuple[str, ...]) -> list[str]:
    return [name for name in layout if not any(root.glob(name))]
