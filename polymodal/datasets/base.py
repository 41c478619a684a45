"""What every data set is, and what is known of it before it is loaded."""

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
    """Three tables of one schema.

    Arguments:
        name: Its key in DATASETS.
        train: To learn from.
        validation: To choose the epoch by.
        test: To report on.
    """

    name: str
    train: Table
    validation: Table
    test: Table

    @property
    def schema(self) -> Schema:
        """The modalities."""
        return self.train.schema

    def first(self, rows: int | None, held_out_rows: int | None) -> Dataset:
        """The first rows of each split, made again by a data set's arguments `rows` and `held_out_rows`.

        Arguments:
            rows: Of training; None for all.
            held_out_rows: Of validation and of test; None for all.

        Raises:
            ValueError: A split has not so many rows.
        """
        asked = {"train": rows, "validation": held_out_rows, "test": held_out_rows}
        told = {name: n for name, n in {"rows": rows, "held_out_rows": held_out_rows}.items() if n is not None}
        tables = {}
        for split, count in asked.items():
            table: Table = getattr(self, split)
            source = {**table.source, "arguments": {**table.source.get("arguments", {}), **told}}
            try:
                tables[split] = table if not told else replace(table, source=source).first(count or len(table))
            except ValueError as error:
                raise ValueError(f"{split} rows of {self.name}: {error}") from None
        return Dataset(self.name, **tables)

    def __repr__(self) -> str:
        sizes = f"{len(self.train)} training, {len(self.validation)} validation, {len(self.test)} test rows"
        return f"<{self.name}: {sizes} of {', '.join(self.schema)}>"


@dataclass(frozen=True)
class Facts:
    """What people want to know of a data set before they load it, and where its files are.

    Used as a decorator it becomes the attribute `facts` of the function that loads the data set.

    Arguments:
        shapes: Of its modalities, as people say it: "m0..m4 3x28x28, label 10".
        rows: In training, validation and test, where they are always as many.
        licence: Of the data.
        size: Of the files that it is made from.
        origin: Who published it, where.
        layouts: What must be beneath its root: names of files or folders, or patterns of them; a layout is all of
            them together, and any one layout will do. The data set needs no files where there is none.
        get: What to do by hand to have the files: one sentence, that names an address.
        shares: The data set whose files it is made from too, where it has none of its own.
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
        """Puts the facts on a function."""
        make.facts = self  # pyright: ignore[reportFunctionMemberAccess]
        return make

    def found(self, root: Path) -> int | None:
        """Which of the layouts is there beneath a root; None where none is whole."""
        return next((i for i, layout in enumerate(self.layouts) if not _missing(root, layout)), None)

    def require(self, root: Path) -> int:
        """Which of the layouts is there beneath a root.

        Raises:
            FileNotFoundError: None is whole; names what is missing of the one that is there most, and where to get it.
        """
        found = self.found(root)
        if found is not None:
            return found
        missing = min((_missing(root, layout) for layout in self.layouts), key=len)
        choices = " or ".join(", ".join(layout) for layout in self.layouts)
        raise FileNotFoundError(f"{root / missing[0]} must exist, and does not; {root} must hold {choices}; {self.get}")


def facts(make: Callable[..., Any]) -> Facts | None:
    """The facts of a registered data set; None of one whose author wrote none."""
    return getattr(make, "facts", None)


def _missing(root: Path, layout: tuple[str, ...]) -> list[str]:
    return [name for name in layout if not any(root.glob(name))]
